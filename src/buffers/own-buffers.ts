/**
 * Blocks with an `ArrayBuffer` of their own. There are two kinds:
 *
 * - *Detachable*: from `detachFromBytes` on, the buffer covers exactly the bytes that were asked for. It is
 *   detached when the block ends, so every later use of a view is an error or sees length 0.
 * - *Kept*: a shorter block that is too long for a window. When the block ends, its buffer stays with the
 *   pages and serves the next block that starts there. So nothing is wrapped or detached while the same sizes
 *   come and go.
 *
 * A kept buffer without a live block is *idle*.
 *
 * Invariants, checked by `check()`:
 *  1. `liveBlocks` buffers are in use; all others are idle.
 *  2. `idleBytes` is the sum of the lengths of the idle buffers.
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, copyBytes, SafeMap } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import type { PageSource } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import { endOf, type Segment } from '../memory/segment.js'
import { tryDetach } from './detach.js'
import { type ArenaBuffer, type Epoch, makeOwner } from './owner.js'
import type { Refusal } from './transfer-refusal.js'
import type { Reach } from './windows.js'

const { floor, min } = Math
const Bytes = Uint8Array

export interface OwnBuffer {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
  readonly lengthBytes: number
  /** The wrap of an earlier buffer of the same block that could not be detached, or null. */
  readonly reachedBy: WrapId | null
  isIdle: boolean
  /**
   * This class is detaching the buffer. So it is not taken for one that other code took, if that is
   * interrupted.
   */
  isEnding: boolean
}

export class OwnBuffers {
  readonly #source: PageSource
  readonly #refuseTransfer: Refusal
  readonly #byBlock = new SafeMap<Block, OwnBuffer>()
  liveBlocks = 0
  idleBytes = 0

  constructor(source: PageSource, refuseTransfer: Refusal) {
    this.#source = source
    this.#refuseTransfer = refuseTransfer
  }

  /**
   * Makes the owner of a block over a new buffer of exactly its bytes. These begin `startBytes` after the
   * block's start. Throws the errors of `PageSource.wrap`.
   */
  makeDetachable(block: Block, startBytes: number, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    this.discard(block)
    return this.#make(block, sizeBytes, sizeBytes, epoch, false, startBytes)
  }

  /**
   * Makes a buffer of exactly `lengthBytes` for a live block that has none, and no owner. Throws the errors of
   * `PageSource.wrap`.
   */
  open(block: Block, lengthBytes: number): ArrayBuffer {
    const { buffer, wrapId } = this.#source.wrap(block * GRANULE_BYTES, lengthBytes)
    this.#refuseTransfer(buffer)
    this.#byBlock.set(block, { buffer, wrapId, lengthBytes, reachedBy: null, isIdle: false, isEnding: false })
    this.liveBlocks++
    return buffer
  }

  /** Calls `visit` for each block at whose start a buffer is. */
  forEach(visit: (block: Block) => void): void {
    this.#byBlock.forEach((_, block) => {
      visit(block)
    })
  }

  /** The buffer at the start of a block, or undefined. */
  bufferOf(block: Block): ArrayBuffer | undefined {
    return this.#byBlock.get(block)?.buffer
  }

  /**
   * Drops the buffer of a block, if it has one: also a kept one, or one that an interrupted call left there. Returns as
   * `detach` does.
   */
  discard(block: Block): WrapId | null {
    const own = this.#byBlock.get(block)
    return own === undefined ? null : this.#drop(block, own.isIdle ? own : this.#end(block))
  }

  /**
   * Makes the owner of a block of `usableBytes`. Uses the buffer that is kept at its start, if that is long
   * enough. Throws the errors of `PageSource.wrap`.
   */
  makeKept(block: Block, sizeBytes: number, usableBytes: number, epoch: Epoch): ArenaBuffer {
    const kept = this.#byBlock.get(block)
    if (kept === undefined) return this.#make(block, sizeBytes, usableBytes, epoch, true)
    // A buffer of length 0 was taken by other code while it was idle.
    if (byteLengthOf(kept.buffer) < sizeBytes || !kept.isIdle) {
      this.discard(block)
      return this.#make(block, sizeBytes, usableBytes, epoch, true)
    }
    const buffer = makeOwner(kept.buffer, 0, sizeBytes, epoch, block)
    kept.isIdle = false
    this.idleBytes -= kept.lengthBytes
    this.liveBlocks++
    return buffer
  }

  /**
   * Ends a block and keeps its buffer. Returns as `detach` does, because other code may have moved the
   * buffer.
   */
  keep(block: Block): WrapId | null {
    const own = this.#end(block)
    return byteLengthOf(own.buffer) > 0 && own.reachedBy === null ? null : this.#drop(block, own)
  }

  /**
   * Ends a block and detaches its buffer. Returns null, or the wrap through which other code still reaches
   * the memory: other code moved the buffer, or the runtime refused to detach it. The caller then sets the
   * block aside until the finalizer of that wrap has run.
   */
  detach(block: Block): WrapId | null {
    return this.#drop(block, this.#end(block))
  }

  /** The wrap of a live block's buffer, or 0 if there is none. */
  wrapIdOf(block: Block): WrapId {
    return this.#byBlock.get(block)?.wrapId ?? 0
  }

  /**
   * All wraps through which these blocks may be reached, each with the first byte of its block. A block has
   * one for its buffer, and perhaps one for an earlier buffer.
   */
  get reaches(): Reach[] {
    return [...this.#byBlock].flatMap(([block, { wrapId, reachedBy }]) => {
      const startBytes = block * GRANULE_BYTES
      return reachedBy === null
        ? [{ startBytes, wrapId }]
        : [
            { startBytes, wrapId },
            { startBytes, wrapId: reachedBy },
          ]
    })
  }

  /** Gives up the buffer of a live block. The buffer lives as long as its views do. */
  giveUp(block: Block): OwnBuffer {
    const own = this.#end(block)
    this.#byBlock.delete(block)
    this.idleBytes -= own.lengthBytes
    return own
  }

  /** Whether other code took the buffer of a live block away. */
  isTaken(block: Block): boolean {
    const own = this.#byBlock.get(block)
    return own !== undefined && byteLengthOf(own.buffer) === 0
  }

  /** Does what `isTaken` does, but not for a buffer that this class has detached itself, in a call that was interrupted. */
  isTakenByOthers(block: Block): boolean {
    const own = this.#byBlock.get(block)
    return own !== undefined && !own.isEnding && byteLengthOf(own.buffer) === 0
  }

  /**
   * Gives a live block another buffer, with the same bytes, and detaches the old one. Changes nothing where the runtime
   * refuses that. It is for sources whose wraps have memory of their own: wherever this is interrupted, the buffer of
   * the block has the bytes. Throws the errors of `PageSource.wrap`.
   */
  renew(block: Block): void {
    const old = this.#byBlock.get(block) as OwnBuffer
    const { buffer, wrapId } = this.#source.wrap(block * GRANULE_BYTES, old.lengthBytes)
    this.#refuseTransfer(buffer)
    copyBytes(new Bytes(buffer), new Bytes(old.buffer))
    this.#byBlock.set(block, { ...old, buffer, wrapId })
    if (!tryDetach(this.#source, old.buffer, true)) this.#byBlock.set(block, old)
  }

  /**
   * Makes another buffer of `lengthBytes` for a live block, with the bytes of the block, and its owner of
   * `sizeBytes`. Detaches the old buffer. `isKept`: the new buffer is of the kept kind. Throws the errors of `PageSource.wrap`; then
   * nothing has changed.
   */
  replace(block: Block, sizeBytes: number, lengthBytes: number, epoch: Epoch, isKept: boolean): ArenaBuffer {
    const old = this.#end(block)
    try {
      const owner = this.#make(block, sizeBytes, lengthBytes, epoch, isKept)
      const made = this.#byBlock.get(block) as OwnBuffer
      if (!this.#source.sharesMemory) copyStart(made, old)
      this.#byBlock.set(block, { ...made, reachedBy: this.#detach(block, old) })
      this.idleBytes -= old.lengthBytes
      return owner
    } catch (error) {
      old.isIdle = false
      this.idleBytes -= old.lengthBytes
      this.liveBlocks++
      throw error
    }
  }

  /** Whether this buffer belongs to a block here, as under a `subarray` of a large block. */
  has(memory: ArrayBufferLike): boolean {
    for (const own of this.#byBlock.values()) if (own.buffer === memory) return true
    return false
  }

  /** Returns the live block over this buffer, or NONE. It searches all entries. */
  blockUnder(memory: ArrayBufferLike): Block {
    for (const [block, own] of this.#byBlock) if (own.buffer === memory) return own.isIdle ? NONE : block
    return NONE
  }

  /** Drops the idle buffers for which `isCold(offsetBytes, lengthBytes)` is true. */
  dropIdle(isCold: (offsetBytes: number, lengthBytes: number) => boolean): void {
    if (this.idleBytes === 0) return
    for (const [block, own] of this.#byBlock) {
      if (own.isIdle && isCold(block * GRANULE_BYTES, own.lengthBytes)) this.#drop(block, own, true)
    }
  }

  /** Drops the idle buffers that other code took away. */
  noticeTaken(): void {
    if (this.idleBytes === 0) return
    for (const [block, own] of this.#byBlock) {
      if (own.isIdle && byteLengthOf(own.buffer) === 0) this.#drop(block, own)
    }
  }

  /** Drops the kept buffers of a segment in which no block lives. */
  removeSegment(segment: Segment): void {
    const start = segment.firstPage * this.#source.pageBytes
    const end = endOf(segment) * this.#source.pageBytes
    for (const [block, own] of this.#byBlock) {
      const offset = block * GRANULE_BYTES
      if (offset >= start && offset < end) this.#drop(block, own, true)
    }
  }

  /**
   * Is called when every block ends except those for which `stays` is true. Detaches the buffers of all
   * others. Calls `taken` for each ended block whose memory other code can still reach.
   */
  clear(stays: (block: Block) => boolean, taken: (block: Block, wrapId: WrapId) => void): void {
    for (const [block, own] of this.#byBlock) {
      const isLive = !own.isIdle
      if (isLive && stays(block)) continue
      const wrapId = this.#drop(block, isLive ? this.#end(block) : own)
      if (wrapId !== null && isLive) taken(block, wrapId)
    }
  }

  #make(
    block: Block,
    sizeBytes: number,
    lengthBytes: number,
    epoch: Epoch,
    isKept: boolean,
    startBytes = 0,
  ): ArenaBuffer {
    const { buffer, wrapId } = this.#source.wrap(block * GRANULE_BYTES + startBytes, lengthBytes)
    if (isKept) this.#refuseTransfer(buffer)
    const owner = makeOwner(buffer, 0, sizeBytes, epoch, block)
    this.#byBlock.set(block, { buffer, wrapId, lengthBytes, reachedBy: null, isIdle: false, isEnding: false })
    this.liveBlocks++
    return owner
  }

  #end(block: Block): OwnBuffer {
    const own = this.#byBlock.get(block)
    invariant(own !== undefined && !own.isIdle, `block ${block} has a buffer of its own`)
    own.isIdle = true
    this.idleBytes += own.lengthBytes
    this.liveBlocks--
    return own
  }

  /** Drops an idle buffer. Returns its wrap where other code can still reach the memory, otherwise null. */
  #drop(block: Block, own: OwnBuffer, isCold = false): WrapId | null {
    const reachedBy = this.#detach(block, own, isCold)
    this.#byBlock.delete(block)
    this.idleBytes -= own.lengthBytes
    return reachedBy
  }

  #detach(block: Block, own: OwnBuffer, isCold = false): WrapId | null {
    if (byteLengthOf(own.buffer) > 0) {
      own.isEnding = true
      tryDetach(this.#source, own.buffer, isCold)
    }
    if (own.isEnding && byteLengthOf(own.buffer) === 0) return own.reachedBy
    this.#source.keepForGood(floor((block * GRANULE_BYTES) / this.#source.pageBytes))
    return own.wrapId
  }

  /** Counts everything anew, after a change that was interrupted. */
  recount(): void {
    this.liveBlocks = 0
    this.idleBytes = 0
    for (const own of this.#byBlock.values()) {
      if (own.isIdle) this.idleBytes += own.lengthBytes
      else this.liveBlocks++
    }
  }

  /** Does what `recount` does where no buffer is ever kept: idle ones, which interrupted calls left, are of live blocks. */
  revive(): void {
    for (const own of this.#byBlock.values()) own.isIdle = false
    this.recount()
  }

  check(liveBlocks: number): void {
    let live = 0
    let idleBytes = 0
    for (const own of this.#byBlock.values()) {
      if (own.isIdle) idleBytes += own.lengthBytes
      else live++
    }
    invariant(
      live === this.liveBlocks && live === liveBlocks,
      `1: ${liveBlocks} buffers of blocks, found ${live}`,
    )
    invariant(idleBytes === this.idleBytes, `2: ${this.idleBytes} idle bytes, found ${idleBytes}`)
  }
}

/** Copies what fits. */
function copyStart(to: OwnBuffer, from: OwnBuffer): void {
  copyBytes(new Bytes(to.buffer), new Bytes(from.buffer, 0, min(from.lengthBytes, to.lengthBytes)))
}
