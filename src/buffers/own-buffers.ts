/**
 * Blocks with an `ArrayBuffer` of their own.
 *
 * Two kinds. From `detachFromBytes` on, a block's buffer covers exactly its bytes and is detached when the block ends, so
 * that every later use of any view is an error or has length 0. Below that, a block that is too long for a window gets
 * a buffer that stays with its pages when the block ends, and serves the next block that starts there: nothing is
 * wrapped or detached while the same sizes come and go.
 *
 * Invariants, checked by `check()`:
 *  1. `liveBlocks` buffers are in use; the others are kept ones that wait
 *  2. `idleBytes` = the lengths of those that wait
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, SafeMap } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import type { WrapId } from '../memory/kernel.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { tryDetach } from './detach.js'
import { type ArenaBuffer, type Epoch, makeOwner } from './owner.js'
import type { Refusal } from './transfer-refusal.js'
import type { Reach } from './windows.js'

const { floor } = Math

export interface OwnBuffer {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
  readonly lengthBytes: number
  /** The wrap of an earlier buffer of the same block that could not be detached, or null. */
  readonly reachedBy: WrapId | null
  isIdle: boolean
  /** It is being detached here: nobody took it away, should that be interrupted. */
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
   * The owner of a block, over a new buffer of exactly its bytes, which begin `startBytes` behind the block's start. Throws
   * what the source throws.
   */
  makeDetachable(block: Block, startBytes: number, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    this.discard(block)
    return this.#make(block, sizeBytes, sizeBytes, epoch, false, startBytes)
  }

  /** The buffer of a block goes, if it has one: kept for it, or left there by a call that was interrupted. */
  discard(block: Block): void {
    const own = this.#byBlock.get(block)
    if (own !== undefined) this.#drop(block, own.isIdle ? own : this.#end(block))
  }

  /**
   * The owner of a block of `usableBytes`, over the buffer kept at its start if that is long enough. Throws what the
   * source throws.
   */
  makeKept(block: Block, sizeBytes: number, usableBytes: number, epoch: Epoch): ArenaBuffer {
    const kept = this.#byBlock.get(block)
    if (kept === undefined) return this.#make(block, sizeBytes, usableBytes, epoch, true)
    // A buffer of length zero was taken by somebody else while it waited here.
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

  /** Ends a block and keeps its buffer. Returns what `detach` does: somebody may have moved the buffer. */
  keep(block: Block): WrapId | null {
    const own = this.#end(block)
    return byteLengthOf(own.buffer) > 0 && own.reachedBy === null ? null : this.#drop(block, own)
  }

  /**
   * Ends a block and detaches its buffer. Returns null, or the wrap that still reaches the block's memory because
   * somebody else moved the buffer or the runtime would not detach it: set the block aside until that is finalized.
   */
  detach(block: Block): WrapId | null {
    return this.#drop(block, this.#end(block))
  }

  /** The wrap of a live block's buffer. */
  wrapIdOf(block: Block): WrapId {
    return this.#byBlock.get(block)?.wrapId ?? 0
  }

  /** What blocks may be reached by: where each begins, the wrap of its buffer, and of one that it had before. */
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

  /** Lets go of the buffer of a live block: it lives on with its views. */
  giveUp(block: Block): OwnBuffer {
    const own = this.#end(block)
    this.#byBlock.delete(block)
    this.idleBytes -= own.lengthBytes
    return own
  }

  /** Whether somebody took the buffer of a live block away. */
  isTaken(block: Block): boolean {
    const own = this.#byBlock.get(block)
    return own !== undefined && byteLengthOf(own.buffer) === 0
  }

  /**
   * Another buffer of `lengthBytes` for a live block, and its owner of `sizeBytes`; the old buffer is detached. `isKept`: it
   * will stay with the pages. Throws what the source throws; nothing has changed then.
   */
  replace(block: Block, sizeBytes: number, lengthBytes: number, epoch: Epoch, isKept: boolean): ArenaBuffer {
    const old = this.#end(block)
    try {
      const owner = this.#make(block, sizeBytes, lengthBytes, epoch, isKept)
      const made = this.#byBlock.get(block) as OwnBuffer
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

  /** Whether this buffer is one of ours: what a `subarray` of a large block lies over. */
  has(memory: ArrayBufferLike): boolean {
    for (const own of this.#byBlock.values()) if (own.buffer === memory) return true
    return false
  }

  /** The live block under this buffer, or NONE. Looks through all of them. */
  blockUnder(memory: ArrayBufferLike): Block {
    for (const [block, own] of this.#byBlock) if (own.buffer === memory) return own.isIdle ? NONE : block
    return NONE
  }

  /** Drops the kept buffers that wait and of whose pages `isCold` (first byte, length) holds. */
  dropIdle(isCold: (offsetBytes: number, lengthBytes: number) => boolean): void {
    if (this.idleBytes === 0) return
    for (const [block, own] of this.#byBlock) {
      if (own.isIdle && isCold(block * GRANULE_BYTES, own.lengthBytes)) this.#drop(block, own)
    }
  }

  /** Drops the kept buffers that wait and that somebody took away. */
  noticeTaken(): void {
    if (this.idleBytes === 0) return
    for (const [block, own] of this.#byBlock) {
      if (own.isIdle && byteLengthOf(own.buffer) === 0) this.#drop(block, own)
    }
  }

  /** Drops the kept buffers of a segment in which nothing lives any more. */
  removeSegment(segment: Segment): void {
    const start = segment.firstPage * this.#source.pageBytes
    const end = endOf(segment) * this.#source.pageBytes
    for (const [block, own] of this.#byBlock) {
      const offset = block * GRANULE_BYTES
      if (offset >= start && offset < end) this.#drop(block, own)
    }
  }

  /**
   * Every block is gone but for those that stay: detaches the buffers of the others. Calls `taken` for each block whose
   * memory somebody can still reach.
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

  /** Gives up a buffer that waits. Returns its wrap where somebody can still reach the memory, else null. */
  #drop(block: Block, own: OwnBuffer): WrapId | null {
    const reachedBy = this.#detach(block, own)
    this.#byBlock.delete(block)
    this.idleBytes -= own.lengthBytes
    return reachedBy
  }

  #detach(block: Block, own: OwnBuffer): WrapId | null {
    if (byteLengthOf(own.buffer) > 0) {
      own.isEnding = true
      tryDetach(this.#source, own.buffer)
    }
    if (own.isEnding && byteLengthOf(own.buffer) === 0) return own.reachedBy
    this.#source.segmentOf(floor((block * GRANULE_BYTES) / this.#source.pageBytes)).hasMovedBuffer = true
    return own.wrapId
  }

  /** Counts anew, after a change that was interrupted. */
  recount(): void {
    this.liveBlocks = 0
    this.idleBytes = 0
    for (const own of this.#byBlock.values()) {
      if (own.isIdle) this.idleBytes += own.lengthBytes
      else this.liveBlocks++
    }
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
