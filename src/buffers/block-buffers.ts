/**
 * The ordinary life of a block: see `Blocks`. What has to be done when a block ends depends on its
 * `ArrayBuffer`. There are three kinds:
 *
 * - A block of `detachFromBytes` or more has a buffer of its own. It is detached when the block ends.
 * - A shorter block of at most 64 KiB shares a window with its neighbours.
 * - Any other block has a buffer of its own that is kept: it stays with the pages for the next block there.
 *
 * A block whose memory other code can still reach when it ends is *set aside*: see `SetAside`.
 */

import { invariant } from '../base/assert.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { type Block, GRANULE_BYTES, NONE, type PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { LongGaps } from '../heap/lowest.js'
import type { PageSource } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import { endOf, type Segment } from '../memory/segment.js'
import { type Blocks, giveBackAll, type Moving, type Resizing, takeFrom } from './blocks.js'
import { Forgotten } from './forgotten.js'
import { OwnBuffers } from './own-buffers.js'
import type { ArenaBuffer, Epoch } from './owner.js'
import { SetAside } from './set-aside.js'
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

export class BlockBuffers extends MadeOf<Parts> implements Blocks, Resizing, Moving {
  readonly #heap = partsOf(this).heap
  readonly #source = partsOf(this).source
  readonly #windows = new Windows(this.#source, partsOf(this).refuseTransfer)
  readonly #own = new OwnBuffers(this.#source, partsOf(this).refuseTransfer)
  readonly #forgotten = new Forgotten(this.#source)
  readonly #detachFromBytes = partsOf(this).detachFromBytes
  /** A block of fewer bytes than this shares a window. */
  readonly #windowBelowBytes = min(this.#detachFromBytes, WINDOW_OVERLAP_BYTES + 1)
  readonly #setAside = new SetAside(this.#source)
  /** The stretch that `renew` purges: its first page, and its number of pages. */
  readonly #renewed = new Uint32Array(2)

  constructor(heap: BlockHeap, source: PageSource, detachFromBytes: number, arenaName: string) {
    super({ heap, source, detachFromBytes, refuseTransfer: transferRefusal(arenaName) })
  }

  // ---- taking ---------------------------------------------------------------------------------------------

  pagesFor(sizeBytes: number): PageCount {
    return this.#heap.pagesFor(sizeBytes)
  }

  runPagesFor(sizeBytes: number, alignBytes: number): PageCount {
    return this.#heap.runPagesFor(sizeBytes, alignBytes)
  }

  take(sizeBytes: number, alignBytes: number): Block {
    return takeFrom(this.#heap, sizeBytes, alignBytes)
  }

  makeOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
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
    if (sizeBytes >= this.#detachFromBytes) return this.#own.makeDetachable(block, 0, sizeBytes, epoch)
    return this.#own.makeKept(block, sizeBytes, this.#heap.sizeOf(block), epoch)
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

  #makeInNewWindow(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    this.#windows.open(block)
    return this.#windows.makeOwner(block, sizeBytes, epoch)
  }

  #setAsideIfLost(block: Block, sizeBytes: number): boolean {
    const wrapId = this.#windows.lostWrapOver(block, sizeBytes)
    if (wrapId === null) return false
    this.#setAside.add(block, wrapId)
    return true
  }

  takeBack(block: Block): void {
    this.#own.discard(block)
    this.#heap.free(block)
  }

  /** What was stored there after the pages went back goes in one call to the kernel, however many pages. */
  renew(block: Block, sizeBytes: number): boolean {
    // A buffer made just now for this block alone, with memory of its own. Nothing was stored there.
    if (!this.#source.sharesMemory && sizeBytes >= this.#detachFromBytes) return true
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

  wrapIdOf(block: Block, sizeBytes: number): WrapId {
    return sizeBytes < this.#windowBelowBytes ? this.#windows.wrapIdOf(block) : this.#own.wrapIdOf(block)
  }

  // ---- ending ---------------------------------------------------------------------------------------------

  notice(block: Block, sizeBytes: number): void {
    if (sizeBytes >= this.#windowBelowBytes) return
    if (this.#windows.isTaken(block)) this.#windows.lose(block)
    this.#noticeTakenGivenUp()
  }

  end(block: Block, sizeBytes: number): void {
    if (sizeBytes < this.#windowBelowBytes) {
      this.#windows.leave(block)
      this.#heap.free(block)
      return
    }
    const isDetached = sizeBytes >= this.#detachFromBytes
    const wrapId = isDetached ? this.#own.detach(block) : this.#own.keep(block)
    if (wrapId === null) this.#heap.free(block)
    else this.#setAside.add(block, wrapId)
  }

  forget(block: Block, sizeBytes: number, wrapId: WrapId): void {
    if (sizeBytes < this.#windowBelowBytes) {
      this.#forgetShared(block, wrapId)
    } else if (this.#own.isTaken(block)) {
      this.end(block, sizeBytes)
    } else {
      const { buffer, reachedBy } = this.#own.giveUp(block)
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
    if (this.#source.isWrapped(wrapId)) this.#setAside.add(block, wrapId)
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

  endAll(staying: ReadonlyMap<Block, number>): void {
    this.#clearBuffers(staying)
    giveBackAll(this.#heap, block => staying.has(block) || this.isSetAside(block))
  }

  /** Detaches every buffer in which no block of `staying` lies. */
  #clearBuffers(staying: ReadonlyMap<Block, number>): void {
    const inWindows = [...staying].filter(([, sizeBytes]) => sizeBytes < this.#windowBelowBytes)
    this.#windows.clear(inWindows.map(([block]) => block))
    this.#forgotten.clear(
      new Set(inWindows.map(([block]) => startOfWindow(block))),
      (startBytes, wrapId) => this.#windows.loseGivenUp(startBytes, wrapId),
      (block, wrapId) => this.#setAside.add(block, wrapId),
    )
    this.#own.clear(
      block => staying.has(block),
      (block, wrapId) => this.#setAside.add(block, wrapId),
    )
  }

  // ---- resizing -------------------------------------------------------------------------------------------

  get resizing(): Resizing {
    return this
  }

  takeWithRoom(sizeBytes: number): Block {
    return this.#heap.allocateWithRoom(sizeBytes)
  }

  /** The kind of buffer must stay the same, and no buffer that other code took may reach the bytes. */
  mayResizeTo(block: Block, oldBytes: number, sizeBytes: number): boolean {
    // A block that shrinks in place would keep the bytes of its tail.
    if (this.#heap.isWiping && sizeBytes < oldBytes) return false
    const kind = this.#kindOf(sizeBytes)
    if (kind !== this.#kindOf(oldBytes)) return false
    // This block's Buffer still has its length. So a buffer that was taken is a newer one of the same window.
    if (kind === SHARED) this.notice(block, sizeBytes)
    // The bytes may be in a buffer that the window gave up. If they are there only, the block must move.
    const isShown = this.#source.sharesMemory || !this.#forgotten.holdsAt(startOfWindow(block))
    if (kind === SHARED && !isShown) return false
    return this.#windows.lostCount === 0 || this.#windows.lostWrapOver(block, sizeBytes) === null
  }

  resize(block: Block, sizeBytes: number): boolean {
    return this.#heap.resize(block, sizeBytes)
  }

  replaceOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer {
    const kind = this.#kindOf(sizeBytes)
    if (kind !== SHARED) {
      const lengthBytes = kind === DETACHED ? sizeBytes : this.#heap.sizeOf(block)
      return this.#own.replace(block, sizeBytes, lengthBytes, epoch, kind === KEPT)
    }
    // The window is wrapped anew if its buffer was given up.
    const buffer =
      this.#windows.makeOwner(block, sizeBytes, epoch) ?? this.#makeInNewWindow(block, sizeBytes, epoch)
    invariant(buffer !== null, 'the window of a live block is wrapped')
    this.#windows.leave(block)
    return buffer
  }

  // ---- moving ---------------------------------------------------------------------------------------------

  get moving(): Moving {
    return this
  }

  takeLowest(gaps: LongGaps, size: number, below: number): Block {
    return this.#heap.takeLowest(gaps, size, below)
  }

  endMoved(block: Block, sizeBytes: number): void {
    const isShared = this.#kindOf(sizeBytes) === SHARED
    if (isShared) this.#windows.leave(block)
    const wrapId = isShared ? null : this.#own.detach(block)
    if (wrapId === null) this.#heap.giveUp(block)
    else this.#setAside.add(block, wrapId)
  }

  #kindOf(sizeBytes: number): number {
    if (sizeBytes < this.#windowBelowBytes) return SHARED
    return sizeBytes >= this.#detachFromBytes ? DETACHED : KEPT
  }

  // ---- waiting --------------------------------------------------------------------------------------------

  get setAsideBlocks(): number {
    return this.#setAside.size + this.#forgotten.size
  }

  isSetAside(block: Block): boolean {
    return this.#setAside.has(block)
  }

  get onCollected(): (() => void) | null {
    return this.#forgotten.onCollected
  }

  set onCollected(run: (() => void) | null) {
    this.#forgotten.onCollected = run
  }

  recoverSetAside(): void {
    this.#windows.recover()
    this.#setAside.recover(block => this.#heap.free(block))
    if (this.#forgotten.size > 0) this.#endForgotten()
  }

  #endForgotten(): void {
    this.#forgotten.endUnseen((block, isShared, reachedBy) => {
      if (isShared) this.#windows.leave(block)
      if (reachedBy === null) this.#heap.free(block)
      else this.#setAside.add(block, reachedBy)
    })
    for (const [block, wrapId] of this.#forgotten.unheld()) this.#giveUpWindow(block, wrapId)
  }

  abandonSetAside(): void {
    // Views of these blocks may be left, so their bytes stay. Memory that is already unmapped must not be
    // written to.
    this.#heap.stopWiping()
    this.#setAside.abandon(block => this.#heap.free(block))
  }

  // ---- buffers and segments -------------------------------------------------------------------------------

  has(memory: ArrayBufferLike): boolean {
    return this.#windows.has(memory) || this.#own.has(memory) || this.#forgotten.holds(memory)
  }

  blockUnder({ memory, offsetBytes, lengthBytes }: ViewReach): Block {
    if (memory.byteLength === 0) return NONE
    const own = this.#own.blockUnder(memory)
    if (own !== NONE) return own
    let start = this.#windows.startOf(memory)
    if (start === NONE) start = this.#forgotten.startOf(memory)
    if (start === NONE) return NONE
    const first = start + offsetBytes
    const block = this.#heap.blockAt(floor(first / GRANULE_BYTES))
    if (block === NONE || this.isSetAside(block) || this.#forgotten.has(block)) return NONE
    return first + max(1, lengthBytes) <= block * GRANULE_BYTES + this.#heap.sizeOf(block) ? block : NONE
  }

  get reaches(): Reach[] {
    return [
      ...this.#windows.reaches,
      ...this.#own.reaches,
      ...this.#forgotten.reaches,
      ...this.#setAside.reaches,
    ]
  }

  get hasIdle(): boolean {
    if (this.#windows.idleCount > 0 || this.#own.idleBytes > 0) return true
    return this.#setAside.size > 0 || this.#forgotten.collectedCount > 0
  }

  noticeTaken(): void {
    this.#windows.noticeTaken()
    this.#own.noticeTaken()
    this.#noticeTakenGivenUp()
  }

  #noticeTakenGivenUp(): void {
    this.#forgotten.noticeTaken((startBytes, wrapId) => this.#windows.loseGivenUp(startBytes, wrapId))
  }

  dropIdle(): void {
    const pageBytes = this.#heap.pageBytes
    this.#windows.dropIdle((firstPage, pageCount) => !this.#heap.anyDirty(firstPage, pageCount))
    this.#own.dropIdle((offset, length) => !this.#heap.anyDirty(offset / pageBytes, ceil(length / pageBytes)))
  }

  addSegment(segment: Segment): void {
    this.#windows.addSegment(segment)
  }

  removeSegment(segment: Segment): void {
    this.#windows.removeSegment(segment)
    this.#own.removeSegment(segment)
    const { pageBytes } = this.#source
    // If other code took a given-up buffer, the segment stays mapped for good, and no block is placed there
    // again.
    this.#forgotten.removeRange(segment.firstPage * pageBytes, endOf(segment) * pageBytes)
  }

  recount(): void {
    this.#own.recount()
  }

  check(liveBlocks: number): void {
    this.#own.check(this.#own.liveBlocks)
    this.#windows.check(liveBlocks - this.#own.liveBlocks + this.#forgotten.sharedBlocks)
    this.#forgotten.check()
  }
}

/** The byte, in the page-number space, at which the window of a block begins. */
function startOfWindow(block: Block): number {
  const offset = block * GRANULE_BYTES
  return offset - (offset % WINDOW_STRIDE_BYTES)
}
