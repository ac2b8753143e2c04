/**
 * Block and Buffer: which `ArrayBuffer` a block's Buffer is a view of, and what becomes of it when the block ends.
 *
 * - from `detachFromBytes` on: one of its own, detached at the end
 * - else up to 64 KiB: a window shared with its neighbours
 * - else: one of its own that stays with the pages for the next user
 *
 * A block whose memory somebody else can still reach, because they moved its `ArrayBuffer` (`transfer()`, a byte stream)
 * or the runtime refused to detach it, is *set aside* when it ends: it stays allocated in the heap, so that neither
 * its bytes nor its pages are reused, until the finalizer of that buffer ran.
 */

import { invariant } from '../base/assert.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { SafeMap } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { WrapId } from '../memory/kernel.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { Forgotten } from './forgotten.js'
import { OwnBuffers } from './own-buffers.js'
import type { ArenaBuffer, Epoch } from './owner.js'
import { type Refusal, transferRefusal } from './transfer-refusal.js'
import type { ViewReach } from './view-reach.js'
import { type Reach, WINDOW_OVERLAP_BYTES, WINDOW_STRIDE_BYTES, Windows } from './windows.js'

const { ceil, floor, max, min } = Math

// Kinds of buffer, in the order of the list above.
const DETACHED = 0
const SHARED = 1
const KEPT = 2

interface Parts {
  readonly heap: BlockHeap
  readonly source: PageSource
  readonly detachFromBytes: number
  readonly refuseTransfer: Refusal
}

export class BlockBuffers extends MadeOf<Parts> {
  readonly #heap = partsOf(this).heap
  readonly #source = partsOf(this).source
  readonly #windows = new Windows(this.#source, partsOf(this).refuseTransfer)
  protected readonly own = new OwnBuffers(this.#source, partsOf(this).refuseTransfer)
  readonly #forgotten = new Forgotten(this.#source)
  readonly #detachFromBytes = partsOf(this).detachFromBytes
  /** Blocks of fewer bytes than this share windows. */
  readonly #windowBelowBytes = min(this.#detachFromBytes, WINDOW_OVERLAP_BYTES + 1)
  /** Blocks set aside, and the wrap that each waits for. */
  readonly #setAside = new SafeMap<Block, WrapId>()
  /** The stretch that `renew` purges: first page, and how many. */
  readonly #renewed = new Uint32Array(2)

  constructor(heap: BlockHeap, source: PageSource, detachFromBytes: number, arenaName: string) {
    super({ heap, source, detachFromBytes, refuseTransfer: transferRefusal(arenaName) })
  }

  /** Blocks that ended but are not free yet. */
  get setAsideBlocks(): number {
    return this.#setAside.size + this.#forgotten.size
  }

  /** Called when blocks that wait may be free within two turns of the event loop. Must hold no arena. */
  get onCollected(): (() => void) | null {
    return this.#forgotten.onCollected
  }

  set onCollected(run: (() => void) | null) {
    this.#forgotten.onCollected = run
  }

  addSegment(segment: Segment): void {
    this.#windows.addSegment(segment)
  }

  /** Blocks that ended and whose memory waits to be looked at before it is used again: none but with `debug`. */
  get quarantinedBlocks(): number {
    return 0
  }

  /** What they were asked for. */
  get quarantinedBytes(): number {
    return 0
  }

  /** Ends the wait of those. Returns how many there were. */
  emptyQuarantine(): number {
    return 0
  }

  /** How long a block to allocate for so many bytes, at a multiple of `alignBytes`. */
  heldBytes(sizeBytes: number, _alignBytes: number): number {
    return sizeBytes
  }

  /** What the start of that block has to be a multiple of. */
  heldAlign(_sizeBytes: number, alignBytes: number): number {
    return alignBytes
  }

  /** A block is about to be allocated. Nothing has changed yet: script may run here. */
  noteAllocation(): void {}

  /** A block is about to end, or its end to be put off. The same. */
  noteEnd(_block: Block): void {}

  /** All blocks are about to end. The same. */
  noteEndOfAll(): void {}

  /** What is known of a Buffer's life, as the `cause` of an error about it. */
  historyOf(_buffer: unknown): Error | undefined {
    return undefined
  }

  /**
   * The owner of a live block, or null where its memory is not ours to hand out now: the block was set aside, allocate
   * another. Throws what the runtime throws where it cannot make the buffer; the block is as before then. `alignBytes` as
   * it was allocated with.
   */
  makeOwner(block: Block, sizeBytes: number, epoch: Epoch, _alignBytes: number): ArenaBuffer | null {
    if (sizeBytes < this.#windowBelowBytes && this.#windows.lostCount === 0) {
      try {
        const buffer = this.#windows.makeOwner(block, sizeBytes, epoch)
        if (buffer !== null) return buffer
      } catch (error) {
        return this.#makeDespite(error, block, sizeBytes, epoch)
      }
    }
    return this.#makeOwnerSlow(block, sizeBytes, epoch)
  }

  #makeOwnerSlow(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    if (this.#windows.lostCount > 0 && this.#setAsideIfLost(block, sizeBytes)) return null
    if (sizeBytes < this.#windowBelowBytes) {
      try {
        const buffer = this.#windows.makeOwner(block, sizeBytes, epoch)
        return buffer !== null ? buffer : this.#makeInNewWindow(block, sizeBytes, epoch)
      } catch (error) {
        return this.#makeDespite(error, block, sizeBytes, epoch)
      }
    }
    if (sizeBytes >= this.#detachFromBytes) return this.makeDetachable(block, 0, sizeBytes, epoch)
    return this.own.makeKept(block, sizeBytes, this.#heap.sizeOf(block), epoch)
  }

  /**
   * A window's buffer that turns out to be detached was taken by somebody else, or here, by a call that was interrupted. Throws
   * any other error on.
   */
  #makeDespite(error: unknown, block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    if (!this.#windows.isTaken(block)) throw error
    this.#windows.lose(block)
    return this.#setAsideIfLost(block, sizeBytes) ? null : this.#makeInNewWindow(block, sizeBytes, epoch)
  }

  /** The owner of a block, over a buffer of exactly its bytes, which begin `startBytes` behind the block's start. */
  protected makeDetachable(block: Block, startBytes: number, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    return this.own.makeDetachable(block, startBytes, sizeBytes, epoch)
  }

  /** A block of which `makeOwner` threw: it is free again. */
  takeBack(block: Block): void {
    this.own.discard(block)
    this.#heap.free(block)
  }

  /**
   * Makes sure that the pages of a block, which were clean, read as zero: what was stored there since they went back goes. One call
   * to the kernel, however many there are. Returns false where it refuses.
   */
  renew(block: Block, sizeBytes: number): boolean {
    const { granuleShift } = this.#heap
    const firstPage = block >>> granuleShift
    const endGranule = block + ceil(sizeBytes / GRANULE_BYTES)
    this.#renewed[0] = firstPage
    this.#renewed[1] = ((endGranule - 1) >>> granuleShift) + 1 - firstPage
    try {
      return this.#source.purge(this.#renewed, 0, 1) === this.#renewed[1]
    } catch {
      return false
    }
  }

  /** Nobody can reach a block with a buffer of its own any more. */
  protected release(block: Block): void {
    this.#heap.free(block)
  }

  /** The Buffer of a block, still live, has length 0: somebody took its window away. */
  notice(block: Block, sizeBytes: number): void {
    if (sizeBytes >= this.#windowBelowBytes) return
    if (this.#windows.isTaken(block)) this.#windows.lose(block)
    this.#noticeTakenGivenUp()
  }

  #noticeTakenGivenUp(): void {
    this.#forgotten.noticeTaken((startBytes, wrapId) => this.#windows.loseGivenUp(startBytes, wrapId))
  }

  /** The wrap under a block that was handed out just now. */
  wrapIdOf(block: Block, sizeBytes: number): WrapId {
    return sizeBytes < this.#windowBelowBytes ? this.#windows.wrapIdOf(block) : this.own.wrapIdOf(block)
  }

  /** What the arena's memory may be reached by. */
  get reaches(): Reach[] {
    const setAside = [...this.#setAside].map(([block, wrapId]) => ({
      startBytes: block * GRANULE_BYTES,
      wrapId,
    }))
    return [...this.#windows.reaches, ...this.own.reaches, ...this.#forgotten.reaches, ...setAside]
  }

  /**
   * The owner of a block was collected, and views of it may be left: the block is free when the buffer of `wrapId`, what
   * `wrapIdOf` said when it was handed out, is gone.
   */
  forget(block: Block, sizeBytes: number, wrapId: WrapId): void {
    if (sizeBytes < this.#windowBelowBytes) {
      this.#forgetShared(block, wrapId)
    } else if (this.own.isTaken(block)) {
      this.end(block, sizeBytes)
    } else {
      const { buffer, reachedBy } = this.own.giveUp(block)
      this.#forgotten.add(block, wrapId, false, reachedBy)
      this.#forgotten.hold(wrapId, buffer, block * GRANULE_BYTES, false)
    }
  }

  #forgetShared(block: Block, wrapId: WrapId): void {
    if (this.#windows.isTaken(block)) this.#windows.lose(block)
    if (this.#windows.wrapIdOf(block) === wrapId || this.#forgotten.isHeld(wrapId)) {
      this.#forgotten.add(block, wrapId, true)
      this.#giveUpWindow(block, wrapId)
      return
    }
    this.#windows.leave(block)
    if (this.#source.isWrapped(wrapId)) this.#setAside.set(block, wrapId)
    else this.#heap.free(block)
  }

  /** Gives up the buffer of a block's window, if it is still `wrapId` and not too many of that window were. */
  #giveUpWindow(block: Block, wrapId: WrapId): void {
    const startBytes = startOfWindow(block)
    if (this.#windows.wrapIdOf(block) !== wrapId || this.#windows.isTaken(block)) return
    if (!this.#forgotten.hasRoom(startBytes)) return
    this.#forgotten.hold(wrapId, this.#windows.giveUp(block).buffer, startBytes, true)
  }

  /** The owner of a block is spent: frees the block, or sets it aside. `sizeBytes` as it was made with. */
  end(block: Block, sizeBytes: number): void {
    if (sizeBytes < this.#windowBelowBytes) {
      this.#windows.leave(block)
      this.#heap.free(block)
      return
    }
    const isDetached = sizeBytes >= this.#detachFromBytes
    const wrapId = isDetached ? this.own.detach(block) : this.own.keep(block)
    if (wrapId === null) this.release(block)
    else this.#setAside.set(block, wrapId)
  }

  /** Whether blocks are resized where they are at all. */
  get mayResize(): boolean {
    return true
  }

  /**
   * Whether a live block of `oldBytes`, whose Buffer is as it was made, may have `sizeBytes` where it is: the kind of buffer is
   * the same, and nobody who took one away can reach the bytes.
   */
  mayResizeTo(block: Block, oldBytes: number, sizeBytes: number): boolean {
    // The tail of what shrinks where it is would stay as it was.
    if (this.#heap.isWiping && sizeBytes < oldBytes) return false
    const kind = this.#kindOf(sizeBytes)
    if (kind !== this.#kindOf(oldBytes)) return false
    // Not the buffer of this block, then, but one that the same window was given since.
    if (kind === SHARED) this.notice(block, sizeBytes)
    return this.#windows.lostCount === 0 || this.#windows.lostWrapOver(block, sizeBytes) === null
  }

  /**
   * A new owner of another size for a live block that was resized where it is, as `mayResizeTo` allowed; the old owner ends.
   * Throws as `makeOwner` does; nothing has changed then.
   */
  replaceOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    const kind = this.#kindOf(sizeBytes)
    if (kind !== SHARED) {
      const lengthBytes = kind === DETACHED ? sizeBytes : this.#heap.sizeOf(block)
      return this.own.replace(block, sizeBytes, lengthBytes, epoch, kind === KEPT)
    }
    // Wrapped anew where its buffer was given up.
    const buffer =
      this.#windows.makeOwner(block, sizeBytes, epoch) ?? this.#makeInNewWindow(block, sizeBytes, epoch)
    invariant(buffer !== null, 'the window of a live block is wrapped')
    this.#windows.leave(block)
    return buffer
  }

  #kindOf(sizeBytes: number): number {
    if (sizeBytes < this.#windowBelowBytes) return SHARED
    return sizeBytes >= this.#detachFromBytes ? DETACHED : KEPT
  }

  /** Whether a buffer lies over memory of this arena. */
  has(memory: ArrayBufferLike): boolean {
    return this.#windows.has(memory) || this.own.has(memory) || this.#forgotten.holds(memory)
  }

  /** The live block that holds all of these bytes of a buffer, at least its first one; NONE where there is none. */
  blockUnder({ memory, offsetBytes, lengthBytes }: ViewReach): Block {
    if (memory.byteLength === 0) return NONE
    const own = this.own.blockUnder(memory)
    if (own !== NONE) return own
    let start = this.#windows.startOf(memory)
    if (start === NONE) start = this.#forgotten.startOf(memory)
    if (start === NONE) return NONE
    const first = start + offsetBytes
    const block = this.#heap.blockAt(floor(first / GRANULE_BYTES))
    if (block === NONE || this.isSetAside(block) || this.#forgotten.has(block)) return NONE
    return first + max(1, lengthBytes) <= block * GRANULE_BYTES + this.#heap.sizeOf(block) ? block : NONE
  }

  /** Whether there are buffers to drop once their pages are cold, or blocks that wait. */
  get hasIdle(): boolean {
    if (this.#windows.idleCount > 0 || this.own.idleBytes > 0) return true
    return this.#setAside.size > 0 || this.#forgotten.collectedCount > 0
  }

  /** Frees the blocks whose wait is over. */
  recoverSetAside(): void {
    this.#windows.recover()
    for (const [block, wrapId] of this.#setAside) {
      if (this.#source.isWrapped(wrapId)) continue
      this.#setAside.delete(block)
      this.release(block)
    }
    if (this.#forgotten.size > 0) this.#settleForgotten()
  }

  #settleForgotten(): void {
    this.#forgotten.settle((block, isShared, reachedBy) => {
      if (isShared) this.#windows.leave(block)
      if (reachedBy === null) this.release(block)
      else this.#setAside.set(block, reachedBy)
    })
    for (const [block, wrapId] of this.#forgotten.unheld()) this.#giveUpWindow(block, wrapId)
  }

  /** Looks for buffers that somebody took away: before memory changes under those that only wait. */
  noticeTaken(): void {
    this.#windows.noticeTaken()
    this.own.noticeTaken()
    this.#noticeTakenGivenUp()
  }

  /** Drops the buffers that nothing uses and whose pages were given back. */
  dropIdle(): void {
    const pageBytes = this.#heap.pageBytes
    this.#windows.dropIdle((firstPage, pageCount) => !this.#heap.anyDirty(firstPage, pageCount))
    this.own.dropIdle((offset, length) => !this.#heap.anyDirty(offset / pageBytes, ceil(length / pageBytes)))
  }

  /** Before a segment goes that holds no live block. */
  removeSegment(segment: Segment): void {
    this.#windows.removeSegment(segment)
    this.own.removeSegment(segment)
    const { pageBytes } = this.#source
    // What somebody took of it keeps the mapping: nothing is placed there again.
    this.#forgotten.removeRange(segment.firstPage * pageBytes, endOf(segment) * pageBytes)
  }

  /**
   * Every block ends at once but for those in `staying`, with the sizes they were made with: every buffer is detached in
   * which none of these lies. The caller frees the others, but for those set aside.
   */
  clear(staying: ReadonlyMap<Block, number>): void {
    const inWindows = [...staying].filter(([, sizeBytes]) => sizeBytes < this.#windowBelowBytes)
    this.#windows.clear(inWindows.map(([block]) => block))
    this.#forgotten.clear(
      new Set(inWindows.map(([block]) => startOfWindow(block))),
      (startBytes, wrapId) => this.#windows.loseGivenUp(startBytes, wrapId),
      (block, wrapId) => this.#setAside.set(block, wrapId),
    )
    this.own.clear(
      block => staying.has(block),
      (block, wrapId) => this.#setAside.set(block, wrapId),
    )
  }

  /** The memory of blocks set aside will not be reused any more: the books forget them. */
  abandonSetAside(): void {
    // Views of what waits may be left, and what is unmapped is gone.
    this.#heap.stopWiping()
    for (const block of this.#setAside.keys()) this.release(block)
    this.#setAside.clear()
  }

  /** Counts anew what a change left behind that was interrupted. */
  recount(): void {
    this.own.recount()
  }

  isSetAside(block: Block): boolean {
    return this.#setAside.has(block)
  }

  #makeInNewWindow(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    this.#windows.open(block)
    return this.#windows.makeOwner(block, sizeBytes, epoch)
  }

  #setAsideIfLost(block: Block, sizeBytes: number): boolean {
    const wrapId = this.#windows.lostWrapOver(block, sizeBytes)
    if (wrapId === null) return false
    this.#setAside.set(block, wrapId)
    return true
  }

  /** `liveBlocks`: blocks with an owner. */
  check(liveBlocks: number): void {
    this.own.check(this.own.liveBlocks)
    this.#windows.check(liveBlocks - this.own.liveBlocks + this.#forgotten.sharedBlocks)
    this.#forgotten.check()
  }
}

/** The byte at which the window of a block begins. */
function startOfWindow(block: Block): number {
  const offset = block * GRANULE_BYTES
  return offset - (offset % WINDOW_STRIDE_BYTES)
}
