/**
 * The life of a block: it is taken from the heap, gets its Buffer, and ends. Whoever takes a block from the
 * heap or gives it back does so here, and a test enforces that. The only exception is the warm path of
 * `Arena.allocUnsafe`, which asks the heap itself.
 *
 * When a block ends, it depends on its `ArrayBuffer` what has to be done. There are three kinds:
 *
 * - A block of `detachFromBytes` or more has a buffer of its own. It is detached when the block ends.
 * - A shorter block of at most 64 KiB shares a window with its neighbours.
 * - Any other block has a buffer of its own that is kept: it stays with the pages for the next block there.
 *
 * Other code can still reach the memory of a block in two cases: it moved the `ArrayBuffer` (`transfer()`, a
 * byte stream), or the runtime refused to detach it. Such a block is *set aside* when it ends. It stays
 * allocated in the heap, so that neither its bytes nor its pages are used again, until the finalizer of that
 * `ArrayBuffer` has run.
 */

import { invariant } from '../base/assert.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { lengthOf, SafeMap } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE, type PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import { endOf, type Segment } from '../memory/segment.js'
import { Forgotten } from './forgotten.js'
import { OwnBuffers } from './own-buffers.js'
import type { ArenaBuffer, Epoch } from './owner.js'
import { type Refusal, transferRefusal } from './transfer-refusal.js'
import type { ViewReach } from './view-reach.js'
import { type Reach, WINDOW_OVERLAP_BYTES, WINDOW_STRIDE_BYTES, Windows } from './windows.js'

const { ceil, floor, max, min } = Math

// The three kinds of buffer, in the order of the list above.
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
  /** A block of fewer bytes than this shares a window. */
  readonly #windowBelowBytes = min(this.#detachFromBytes, WINDOW_OVERLAP_BYTES + 1)
  /** Blocks that are set aside, and the wrap whose finalizer each waits for. */
  readonly #setAside = new SafeMap<Block, WrapId>()
  /** The stretch that `renew` purges: its first page, and its number of pages. */
  readonly #renewed = new Uint32Array(2)

  constructor(heap: BlockHeap, source: PageSource, detachFromBytes: number, arenaName: string) {
    super({ heap, source, detachFromBytes, refuseTransfer: transferRefusal(arenaName) })
  }

  /** The number of blocks that ended but are not free yet. */
  get setAsideBlocks(): number {
    return this.#setAside.size + this.#forgotten.size
  }

  /**
   * Is called when waiting blocks may be free within two turns of the event loop. It must not refer to an
   * arena.
   */
  get onCollected(): (() => void) | null {
    return this.#forgotten.onCollected
  }

  set onCollected(run: (() => void) | null) {
    this.#forgotten.onCollected = run
  }

  addSegment(segment: Segment): void {
    this.#windows.addSegment(segment)
  }

  /** The number of blocks in quarantine. Always 0 without `debug`. */
  get quarantinedBlocks(): number {
    return 0
  }

  /** The bytes that were asked for, summed over the blocks in quarantine. Always 0 without `debug`. */
  get quarantinedBytes(): number {
    return 0
  }

  /** Ends the quarantine of all blocks. Returns how many there were. */
  emptyQuarantine(): number {
    return 0
  }

  /** Is called before a block is allocated. The books have not changed yet, so script may run here. */
  noteAllocation(): void {}

  /**
   * Is called before a block ends or its end is put off. The books have not changed yet, so script may run
   * here.
   */
  noteEnd(_block: Block): void {}

  /** Is called before all blocks end. The books have not changed yet, so script may run here. */
  noteEndOfAll(): void {}

  /** What is known of the life of a Buffer: an error to be the `cause` of an error about this Buffer. */
  historyOf(_buffer: unknown): Error | undefined {
    return undefined
  }

  // ---- taking ---------------------------------------------------------------------------------------------

  /** The most pages that a block of `sizeBytes` at a multiple of `alignBytes` needs. */
  pagesFor(sizeBytes: number, _alignBytes: number): PageCount {
    return this.#heap.pagesFor(sizeBytes)
  }

  /** The length of a run, in pages, that certainly has room for such a block. */
  runPagesFor(sizeBytes: number, alignBytes: number): PageCount {
    return this.#heap.runPagesFor(sizeBytes, alignBytes)
  }

  /** Takes a block from the heap. Returns NONE if there is none; `refusal` of the heap then says why. */
  take(sizeBytes: number, alignBytes: number): Block {
    invariant(!this.#heap.isOver, 'blocks come from arenas that are open')
    return alignBytes === GRANULE_BYTES
      ? this.#heap.allocate(sizeBytes)
      : this.#heap.allocateAligned(sizeBytes, alignBytes)
  }

  /** Does what `take` does, for a block of whole pages with room behind it. */
  takeWithRoom(sizeBytes: number): Block {
    return this.#heap.allocateWithRoom(sizeBytes)
  }

  /**
   * Makes the owner of a live block. Returns null where other code can reach the block's memory: the block is
   * then set aside, and the caller allocates another one. `alignBytes` is the alignment that was asked for.
   * Throws the error of the runtime where it cannot make the buffer; the block is then as before.
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
   * Is called when making an owner in the block's window threw `error`. If the window's buffer is detached,
   * either other code took it, or a call that was interrupted detached it. Then the window gets a new buffer,
   * or the block is set aside (null). Otherwise `error` is thrown again.
   */
  #makeDespite(error: unknown, block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    if (!this.#windows.isTaken(block)) throw error
    this.#windows.lose(block)
    return this.#setAsideIfLost(block, sizeBytes) ? null : this.#makeInNewWindow(block, sizeBytes, epoch)
  }

  /**
   * Makes the owner of a block over a buffer of exactly its bytes. These begin `startBytes` after the block's
   * start.
   */
  protected makeDetachable(block: Block, startBytes: number, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    return this.own.makeDetachable(block, startBytes, sizeBytes, epoch)
  }

  /** Gives back a block for which `makeOwner` threw. */
  takeBack(block: Block): void {
    this.own.discard(block)
    this.#heap.free(block)
  }

  /**
   * Purges the pages of a block, all of which were clean before it was allocated, so that they read as zero.
   * This removes what was stored there after the pages went back. It is one call to the kernel for any number
   * of pages. Returns whether all pages went back.
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

  /**
   * Is called when the Buffer of a live block has length 0: other code took its `ArrayBuffer` away. Marks
   * what was taken.
   */
  notice(block: Block, sizeBytes: number): void {
    if (sizeBytes >= this.#windowBelowBytes) return
    if (this.#windows.isTaken(block)) this.#windows.lose(block)
    this.#noticeTakenGivenUp()
  }

  #noticeTakenGivenUp(): void {
    this.#forgotten.noticeTaken((startBytes, wrapId) => this.#windows.loseGivenUp(startBytes, wrapId))
  }

  /** The wrap that holds the memory of a block which was handed out just now. */
  wrapIdOf(block: Block, sizeBytes: number): WrapId {
    return sizeBytes < this.#windowBelowBytes ? this.#windows.wrapIdOf(block) : this.own.wrapIdOf(block)
  }

  /** All wraps through which the memory of this arena may be reached. */
  get reaches(): Reach[] {
    const setAside = [...this.#setAside].map(([block, wrapId]) => ({
      startBytes: block * GRANULE_BYTES,
      wrapId,
    }))
    return [...this.#windows.reaches, ...this.own.reaches, ...this.#forgotten.reaches, ...setAside]
  }

  // ---- ending ---------------------------------------------------------------------------------------------

  /**
   * Ends a block whose owner is spent: frees it, or sets it aside. `sizeBytes` is the size that its owner was
   * made with.
   */
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

  /** Frees a block with a buffer of its own. Nobody can reach the block any more. */
  protected release(block: Block): void {
    this.#heap.free(block)
  }

  /**
   * Is called when the owner of a block was collected. Views of the block may be left, so the block is free
   * only when the buffer of `wrapId` is gone. `wrapId` is what `wrapIdOf` returned when the block was handed
   * out.
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

  /**
   * Gives up the buffer of the block's window, so that the window is wrapped anew. Does nothing if that
   * buffer is not `wrapId` any more, if other code took it, or if this window has given up too many buffers.
   */
  #giveUpWindow(block: Block, wrapId: WrapId): void {
    const startBytes = startOfWindow(block)
    if (this.#windows.wrapIdOf(block) !== wrapId || this.#windows.isTaken(block)) return
    if (!this.#forgotten.hasRoom(startBytes)) return
    this.#forgotten.hold(wrapId, this.#windows.giveUp(block).buffer, startBytes, true)
  }

  /**
   * Ends every block at once except those in `staying`, a map from block to the size that its owner was made
   * with. Gives back all that are not set aside, and what an interrupted call left behind.
   */
  endAll(staying: ReadonlyMap<Block, number>): void {
    this.clear(staying)
    const blocks = this.#heap.listLive()
    const count = lengthOf(blocks)
    for (let i = 0; i < count; i++) {
      if (!this.isSetAside(blocks[i]) && !staying.has(blocks[i])) this.#heap.free(blocks[i])
    }
    this.#heap.flush()
  }

  /** Detaches every buffer in which no block of `staying` lies. `endAll` frees these blocks afterwards. */
  protected clear(staying: ReadonlyMap<Block, number>): void {
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

  // ---- resizing -------------------------------------------------------------------------------------------

  /** Whether blocks may be resized in place at all. */
  get mayResize(): boolean {
    return true
  }

  /**
   * Whether a live block of `oldBytes` may be resized in place to `sizeBytes`. Its Buffer must still have its
   * length. The kind of buffer must stay the same, and no buffer that other code took may reach the bytes.
   */
  mayResizeTo(block: Block, oldBytes: number, sizeBytes: number): boolean {
    // A block that shrinks in place would keep the bytes of its tail.
    if (this.#heap.isWiping && sizeBytes < oldBytes) return false
    const kind = this.#kindOf(sizeBytes)
    if (kind !== this.#kindOf(oldBytes)) return false
    // This block's Buffer still has its length. So a buffer that was taken is a newer one of the same window.
    if (kind === SHARED) this.notice(block, sizeBytes)
    return this.#windows.lostCount === 0 || this.#windows.lostWrapOver(block, sizeBytes) === null
  }

  /**
   * Changes the length of a live block where it is, in the heap. Returns false, and changes nothing, if it has
   * to move; `refusal` of the heap then says why.
   */
  resize(block: Block, sizeBytes: number): boolean {
    return this.#heap.resize(block, sizeBytes)
  }

  /**
   * Makes a new owner, of another size, for a live block that was resized in place; `mayResizeTo` must have
   * allowed it. The old owner ends. Throws as `makeOwner` does; then nothing has changed.
   */
  replaceOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    const kind = this.#kindOf(sizeBytes)
    if (kind !== SHARED) {
      const lengthBytes = kind === DETACHED ? sizeBytes : this.#heap.sizeOf(block)
      return this.own.replace(block, sizeBytes, lengthBytes, epoch, kind === KEPT)
    }
    // The window is wrapped anew if its buffer was given up.
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

  // ---- buffers and segments -------------------------------------------------------------------------------

  /** Whether a buffer lies over memory of this arena. */
  has(memory: ArrayBufferLike): boolean {
    return this.#windows.has(memory) || this.own.has(memory) || this.#forgotten.holds(memory)
  }

  /**
   * Returns the live block that holds all bytes of a view, or NONE. A view of 0 bytes must begin inside the
   * block.
   */
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

  /** Whether `dropIdle` or `recoverSetAside` may have work: idle buffers exist, or blocks wait. */
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

  /** Finds buffers that other code took away. It runs before memory under idle buffers changes. */
  noticeTaken(): void {
    this.#windows.noticeTaken()
    this.own.noticeTaken()
    this.#noticeTakenGivenUp()
  }

  /** Drops the idle buffers whose pages were given back. */
  dropIdle(): void {
    const pageBytes = this.#heap.pageBytes
    this.#windows.dropIdle((firstPage, pageCount) => !this.#heap.anyDirty(firstPage, pageCount))
    this.own.dropIdle((offset, length) => !this.#heap.anyDirty(offset / pageBytes, ceil(length / pageBytes)))
  }

  /** Is called before a segment without a live block goes. */
  removeSegment(segment: Segment): void {
    this.#windows.removeSegment(segment)
    this.own.removeSegment(segment)
    const { pageBytes } = this.#source
    // If other code took a given-up buffer, the segment stays mapped for good, and no block is placed there
    // again.
    this.#forgotten.removeRange(segment.firstPage * pageBytes, endOf(segment) * pageBytes)
  }

  /**
   * Is called when the arena's memory will not be used again: removes the set-aside blocks from the books.
   */
  abandonSetAside(): void {
    // Views of these blocks may be left, so their bytes stay. Memory that is already unmapped must not be
    // written to.
    this.#heap.stopWiping()
    for (const block of this.#setAside.keys()) this.release(block)
    this.#setAside.clear()
  }

  /** Counts everything anew, after a change that was interrupted. */
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

  /** `liveBlocks`: the number of blocks that have an owner. */
  check(liveBlocks: number): void {
    this.own.check(this.own.liveBlocks)
    this.#windows.check(liveBlocks - this.own.liveBlocks + this.#forgotten.sharedBlocks)
    this.#forgotten.check()
  }
}

/** The byte, in the page-number space, at which the window of a block begins. */
function startOfWindow(block: Block): number {
  const offset = block * GRANULE_BYTES
  return offset - (offset % WINDOW_STRIDE_BYTES)
}
