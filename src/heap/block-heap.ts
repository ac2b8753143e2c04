/**
 * Blocks over a page-number space: which block a size gets, what a block is, and what freeing it makes free.
 *
 * The warm paths are here: a size that was freed lately comes from the stack of that size, and goes back there. All else
 * is behind them: the space that blocks are cut from, and the states of its pages.
 *
 * Blocks are told apart exactly and in O(1): a granule where no live block starts (freed, inside a block, unaligned, never
 * managed) has not both of its bits set in the map.
 *
 * A heap is one object in layers, each a class in a file of its own that knows those below it: `PageTable` has the columns,
 * `PageStates` what pages are, `GranuleMap` what starts where, `ShortGaps` and `LongGaps` find gaps, `Gaps` makes them,
 * `LongBlocks` and `BlockSpace` cut blocks from them, `SpacePages` has ranges and purging, `SavedSpace` saves and restores,
 * `BlockCache` keeps. As objects that
 * hold each other they took a tenth more time: V8 checks each on the way, and inlines by the length of the bytecode, which
 * private names make longer, so there are none here. Whoever has a `BlockHeap` uses what this file says, and the figures and
 * ranges that it inherits; a test sees to it.
 *
 * It knows no kernel, no addon and no Buffer. Whoever owns the pages adds ranges of page numbers, is told by `refusal`
 * why an allocation found none, reads off which pages are dirty, and says when they were purged. Nothing here calls up.
 *
 * Invariants, checked by `check()` together with those of the parts:
 *  1. a block is live, or kept by the cache and then held back in the map, not both
 *  2. `endPair` is the first pair of words of the map behind the last range
 */
import { invariant } from '../base/assert.js'
import { countRange } from '../base/bits.js'
import type { Block, PageCount, PageNumber } from '../base/units.js'
import { GRANULE_BYTES, GRANULE_SHIFT, NONE } from '../base/units.js'
import { BlockCache } from './block-cache.js'
import { type ColumnStorage, plainStorage } from './columns.js'
import { pairOf } from './granule-map.js'
import {
  BITS_PREFIX,
  DIRECT,
  FIRST_BIT,
  FIRST_SIZE,
  FRAME_SHIFT,
  FULL,
  LONG_STEPS_SHIFT,
  REFUSED_GROWTH,
  REFUSED_LIMIT,
  REFUSED_SPACE,
} from './layout.js'
import type { PageRange } from './page-table.js'

export { REFUSED_LIMIT, REFUSED_SPACE } from './layout.js'

const { ceil, clz32, max, min } = Math

/** A small integer, so that comparing with it is cheap. */
const MAX_WHOLE_FROM_BYTES = 2 ** 31 - GRANULE_BYTES
/** Sizes up to this many bytes have a stack of their own in the cache. */
const DIRECT_BYTES = (DIRECT - 1) * GRANULE_BYTES
/** Before clean pages are taken, blocks are kept only where they are at most one part in so many of what is in use. */
const KEPT_SHARE = 64
/** Clean pages that may be taken before that is asked again: 1/256 of those in use, but no fewer than 16. */
const GROWTH_SHIFT = 8
const MIN_GROWTH_PAGES = 16

export interface BlockHeapOptions {
  /**
   * Blocks of this many bytes and more are whole pages, at the start of a page. At least 4 KiB. At most, and
   * by default, 2 GiB.
   */
  wholePagesFromBytes?: number
  /** Whether freed blocks are kept for the next of their size. Default true. Without, pages come free at once. */
  hasCache?: boolean
  /** Memory for the books. */
  storage?: ColumnStorage
  /** Whether purged pages read as zero. Default true. Without, no block is said to. */
  purgesToZero?: boolean
}

/**
 * What `allocate` and `free` call is tagged `@noinline`, so that V8 always has room to inline these two into their caller.
 * The `| 0` behind such a call says that its result is an int32. docs/v8.md has both.
 */
export class BlockHeap extends BlockCache {
  private readonly hasCache: boolean
  private readonly wholePagesFromBytes: number
  /** The least of a block of whole pages. */
  private readonly wholeGranules: number
  private endPair = 0
  /**
   * A change of more than one step is under way. Where it is set when the next one begins, the last one did not come to its end:
   * the stack overflowed, or the execution was terminated.
   */
  private isChanging = false
  /** The books were made anew since this was last cleared: free pages count as dirty, beyond all limits. */
  wasRebuilt = false
  /** The highest peak of used pages before `takePeakUsed` last began a new one. */
  private earlierPeakUsed: PageCount = 0

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, options: BlockHeapOptions = {}) {
    const {
      wholePagesFromBytes = MAX_WHOLE_FROM_BYTES,
      hasCache = true,
      storage = plainStorage,
      purgesToZero = true,
    } = options
    super(pageBytes, storage)
    this.cleanIsZero = purgesToZero
    invariant(
      wholePagesFromBytes >= DIRECT * GRANULE_BYTES,
      'blocks of whole pages are no shorter than a frame',
    )
    const fromBytes = min(wholePagesFromBytes, MAX_WHOLE_FROM_BYTES)
    const roundedBytes = ceil(fromBytes / GRANULE_BYTES) * GRANULE_BYTES
    // What is as long as whole pages must be whole pages: one stack keeps both.
    this.wholePagesFromBytes = roundedBytes % pageBytes === 0 ? roundedBytes - GRANULE_BYTES + 1 : fromBytes
    this.wholeGranules = this.granulesFor(this.wholePagesFromBytes)
    this.hasCache = hasCache
    if (!hasCache) this.growthPages = Number.MAX_SAFE_INTEGER
  }

  // ---- blocks ----------------------------------------------------------------------------------------------------

  /** A block of at least `sizeBytes` (an integer from 0 to 2^35), or NONE; `refusal` then says why. O(1). */
  allocate(sizeBytes: number): Block {
    if (sizeBytes <= DIRECT_BYTES) {
      const stacks = this.stacks
      const stack = (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
      const top = stacks[stack]
      const block = stacks[top]
      if (block >= 0) {
        stacks[stack] = top - 1
        this.bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= FIRST_BIT >>> block
        return block
      }
      return this.allocateShort(sizeBytes) | 0
    }
    return this.allocateLong(sizeBytes) | 0
  }

  /**
   * A block of a size that has a stack of its own, which was empty.
   *
   * @noinline
   */
  private allocateShort(sizeBytes: number): Block {
    const size = granulesIn(sizeBytes)
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = this.take(size)
    if (block === NONE) block = this.takeAgain(size, 0, size)
    this.isChanging = false
    return block
  }

  /**
   * A block of a longer size: from the stack that it shares with others, or a new one.
   *
   * @noinline
   */
  private allocateLong(sizeBytes: number): Block {
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    const size = this.granulesFor(sizeBytes)
    const stacks = this.stacks
    const shared = this.sharedOf(size)
    if (stacks[FIRST_SIZE + shared] === size) {
      const stack = DIRECT + shared
      const top = stacks[stack]
      const block = stacks[top]
      if (block >= 0) {
        stacks[stack] = top - 1
        this.bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= FIRST_BIT >>> block
        return block
      }
    }
    if (isWhole) return this.takeNew(size, this.pageMask, size)
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = this.takeLong(size)
    if (block === NONE) block = this.takeAgain(size, 0, granulesIn(sizeBytes))
    this.isChanging = false
    return block
  }

  /** The same, at a multiple of `alignBytes`: a power of two from 16 on, which may be more than a page. */
  allocateAligned(sizeBytes: number, alignBytes: number): Block {
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    if (isWhole && alignBytes <= this.pageBytes) return this.allocate(sizeBytes)
    const mask = (alignBytes >>> GRANULE_SHIFT) - 1
    const size = this.granulesFor(sizeBytes)
    return this.takeNew(size, mask, isWhole ? size : granulesIn(sizeBytes))
  }

  /**
   * A block of whole pages with room to grow over, or NONE, and `refusal` says why: from a gap of twice its length; in the
   * middle, where there is something before the gap that may grow too.
   */
  allocateWithRoom(sizeBytes: number): Block {
    const size = this.granulesFor(sizeBytes)
    this.refusal = REFUSED_SPACE
    if (sizeBytes < this.wholePagesFromBytes || 2 * size > MAX_WHOLE_FROM_BYTES) return NONE
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    const block = this.takeWithRoom(size, this.pageMask)
    this.isChanging = false
    return block
  }

  /** A new block of `size` granules, or of `least` where there is no room for that, at a multiple of `mask + 1`. */
  private takeNew(size: number, mask: number, least: number): Block {
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = this.takeOnce(size, mask)
    if (block === NONE) block = this.takeAgain(size, mask, least)
    this.isChanging = false
    return block
  }

  private takeOnce(size: number, mask: number): Block {
    return mask === 0 ? this.take(size) : this.takeAligned(size, mask)
  }

  /**
   * Does what can be done for a block that was refused: takes clean pages after all, gives up what is kept, or makes it no
   * longer than it must be, which is `least` granules.
   */
  private takeAgain(size: number, mask: number, least: number): Block {
    const { usedPages } = this
    const isGrowth = this.refusal === REFUSED_GROWTH
    this.growthPages = max(MIN_GROWTH_PAGES, usedPages >>> GROWTH_SHIFT)
    if (isGrowth) {
      const usedGranules = usedPages * this.pageGranules
      if (this.keptGranules > usedGranules / KEPT_SHARE) this.giveUpKept()
      const block = this.takeOnce(size, mask)
      if (block !== NONE) return block
    }
    if (this.hasKept) {
      this.giveUpKept()
      const block = this.takeOnce(size, mask)
      if (block !== NONE) return block
      // The attempt may have made a front, and then been refused by the limit.
      this.dropFront()
    }
    let block = this.takeLastShort(size, mask)
    if (block === NONE && this.refusal !== REFUSED_LIMIT) block = this.takeLast(size, mask)
    if (block === NONE && this.refusal === REFUSED_LIMIT) block = this.takeCommitted(size, mask)
    return block === NONE && least < size ? this.takeAgain(least, mask, least) : block
  }

  /** Ends a block. Returns false, and changes nothing, where no live block starts at this granule (an int32). O(1). */
  free(block: Block): boolean {
    const bits = this.bits
    const pair = BITS_PREFIX + ((block >>> 5) << 1)
    if (pair >= this.endPair) return false
    const starts = bits[pair]
    const marks = bits[pair + 1]
    const bit = FIRST_BIT >>> block
    if ((starts & marks & bit) === 0) return false
    // The bits behind the block's granule, for 32 granules: most blocks end within.
    const ends = (((starts | marks) << block) << 1) | ((bits[pair + 2] | bits[pair + 3]) >>> ~block)
    if (ends === 0) {
      this.freeLong(block)
      return true
    }
    const size = clz32(ends) + 1
    const stacks = this.stacks
    const top = stacks[size] + 1
    const slot = stacks[top]
    if (slot >= 0) {
      bits[pair + 1] = marks ^ bit
      stacks[top] = block
      stacks[size] = top
      return true
    }
    if (this.isChanging) return this.freeAgain(block)
    this.isChanging = true
    bits[pair + 1] = marks ^ bit
    if (slot === FULL || !this.keepMore(block, size, size)) this.give(block, block + size)
    this.isChanging = false
    return true
  }

  /** `free` where a change did not come to its end. */
  private freeAgain(block: Block): boolean {
    this.rebuild()
    return this.free(block)
  }

  /**
   * Ends a live block of more than 32 granules.
   *
   * @noinline
   */
  private freeLong(block: Block): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    const end = this.nextBehind(block)
    this.bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] ^= FIRST_BIT >>> block
    this.keepOrGive(block, end)
    this.isChanging = false
  }

  /** The long block [block, end) is held back, and ends. */
  private keepOrGive(block: Block, end: number): void {
    const size = end - block
    const stack = this.stackOf(size)
    if (size >= DIRECT) {
      if (block === this.zeroedBlock) this.zeroedBlock = NONE
      if (!this.isFor(stack, size)) {
        const usedGranules = this.usedPages * this.pageGranules
        if (!this.hasCache || !this.claim(stack, size, usedGranules)) {
          this.give(block, end)
          return
        }
      }
    }
    const stacks = this.stacks
    const top = stacks[stack] + 1
    const slot = stacks[top]
    if (slot >= 0) {
      stacks[top] = block
      stacks[stack] = top
    } else if (slot === FULL || !this.keepMore(block, size, stack)) {
      this.give(block, block + size)
    }
  }

  /**
   * Keeps a block whose stack is full, if that may be longer.
   *
   * @noinline
   */
  private keepMore(block: Block, size: number, stack: number): boolean {
    if (!this.hasCache) return false
    if (!this.mayExtend(stack, size, this.usedPages * this.pageGranules)) return false
    if (!this.extendStack(stack, size)) return false
    const { stacks } = this
    const top = stacks[stack] + 1
    stacks[top] = block
    stacks[stack] = top
    return true
  }

  /** The live block in which a granule lies, or NONE. */
  blockAt(granule: number): Block {
    const block = this.startOf(granule)
    return this.isLive(block) ? block : NONE
  }

  /** Whether blocks are overwritten before they are free. */
  get isWiping(): boolean {
    return false
  }

  /** The memory goes, and may still be seen: blocks are not overwritten any more. */
  stopWiping(): void {}

  /** Whether a live block starts at this granule. O(1). */
  override isLive(block: Block): boolean {
    return pairOf(block) < this.endPair && super.isLive(block)
  }

  /** Usable bytes of a live block: at least what was asked for. */
  sizeOf(block: Block): number {
    return (this.next(block) - block) * GRANULE_BYTES
  }

  /**
   * Makes a live block fit `sizeBytes` without moving it: it shrinks, or grows over a gap behind it, not over a block that is
   * kept. Returns false, and changes nothing, where it has to move; `refusal` then says whether the page limit alone
   * stood in the way.
   */
  resize(block: Block, sizeBytes: number): boolean {
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return false
    this.isChanging = true
    const isDone = this.resizeLive(block, sizeBytes)
    this.isChanging = false
    return isDone
  }

  private resizeLive(block: Block, sizeBytes: number): boolean {
    const end = this.next(block)
    const held = end - block
    this.refusal = REFUSED_SPACE
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    if (isWhole !== held >= this.wholeGranules) return false
    const size = this.granulesFor(sizeBytes)
    const least = isWhole ? size : granulesIn(sizeBytes)
    // One that is long enough, but had no room to be of full length, stays as it is.
    const fits = least <= held && held < size
    const isDone =
      fits ||
      this.resizeTo(block, end, size) ||
      // Growing into any gap would leave lengths that nothing else has. But where there is no room to move to, it must do.
      (least < size && !this.hasRoom(size) && this.resizeTo(block, end, least))
    // Shrunk below a frame it would not be noticed when it is freed.
    if (isDone && block === this.zeroedBlock) this.zeroedBlock = NONE
    return isDone
  }

  /**
   * How many pages more there would have to be at the end of the last range for a live block to grow to `sizeBytes`; 0 where that
   * would not help.
   */
  missingBehind(block: Block, sizeBytes: number): PageCount {
    const last = this.ranges[this.ranges.length - 1]
    const endOfLast = (last.firstPage + last.pageCount) * this.pageGranules
    const end = this.next(block)
    const endOfGap = end < endOfLast && this.isGap(end) ? this.next(end) : end
    if (endOfGap !== endOfLast) return 0
    return max(0, this.pagesFor((block + this.granulesFor(sizeBytes) - endOfLast) * GRANULE_BYTES))
  }

  /** Every live block, in ascending order. Walks all pages. */
  listLive(): Int32Array {
    if (this.isChanging) this.rebuild()
    const { pageGranules, ranges } = this
    const blocks = new Int32Array(this.liveBlocks)
    let count = 0
    for (let i = 0; i < ranges.length; i++) {
      const first = ranges[i].firstPage * pageGranules
      count = this.listLiveIn(first, first + ranges[i].pageCount * pageGranules, blocks, count)
    }
    return blocks
  }

  /** Granules of a block of that many bytes. */
  private granulesFor(sizeBytes: number): number {
    if (sizeBytes >= this.wholePagesFromBytes) return this.pagesFor(sizeBytes) * this.pageGranules
    const size = granulesIn(sizeBytes)
    return size < DIRECT ? size : roundLong(size, this.wholeGranules)
  }

  private get pageMask(): number {
    return this.pageGranules - 1
  }

  /** Whole pages for that many bytes. */
  pagesFor(sizeBytes: number): PageCount {
    return ceil(sizeBytes / this.pageBytes)
  }

  /** Pages in a row that are sure to have room for a block of that size: what to add when `refusal` is `REFUSED_SPACE`. */
  runPagesFor(sizeBytes: number, alignBytes: number = GRANULE_BYTES): PageCount {
    const heldBytes = this.granulesFor(sizeBytes) * GRANULE_BYTES
    return max(1, this.pagesFor(heldBytes + alignBytes - GRANULE_BYTES))
  }

  // ---- pages -----------------------------------------------------------------------------------------------------

  /** Adds free, clean pages. A range right behind another joins it. Throws a `RangeError` if the books cannot grow. */
  override addRange(firstPage: PageNumber, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    const { managedPages } = this
    this.isChanging = true
    try {
      super.addRange(firstPage, pageCount)
      this.meetEnd()
      this.isChanging = false
    } catch (error) {
      // No memory for the books: nothing has changed.
      if (this.managedPages === managedPages) this.isChanging = false
      throw error
    }
  }

  /** Removes a range that is free and purged. */
  override removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    super.removeRange(firstPage, pageCount)
    this.meetEnd()
    this.isChanging = false
  }

  /** Removes the last `pageCount` pages of a range, which are free and clean; all of it where it has no more. */
  override removeTail(range: PageRange, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    super.removeTail(range, pageCount)
    this.meetEnd()
    this.isChanging = false
  }

  /** Whether freed blocks are kept, or space is held back for small ones, so that more can be had after `flush`. */
  get hasKept(): boolean {
    return this.hasFront || !this.isEmpty
  }

  /** Whether `flush` may make pages free. */
  get holdsPages(): boolean {
    return this.frontHoldsPages || !this.isEmpty
  }

  /**
   * Gives up what is kept for the next block of its size: a page is used afterwards exactly where a live block touches it.
   * At most 24,000 blocks, and a quarter and an eighth of what is in use.
   */
  flush(): void {
    if (this.isDropped) return
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    this.giveUpKept()
    this.isChanging = false
  }

  private giveUpKept(): void {
    this.flushStacks()
    this.dropFront()
  }

  /** Makes good what a change left behind that did not come to its end. Done by itself before the next one. */
  mend(): void {
    if (this.isChanging) this.rebuild()
  }

  /**
   * Whether anything may be taken after the books were made anew: free pages that count as dirty, and are clean, would be used beyond
   * the limit. `refusal` says so then.
   */
  private mayTake(): boolean {
    this.mend()
    if (this.limitPages === Number.MAX_SAFE_INTEGER) this.wasRebuilt = false
    this.refusal = REFUSED_LIMIT
    return this.committedPages <= this.limitPages
  }

  /**
   * Makes the books anew from what is live. It can be interrupted too: `isChanging` stays set until it has ended. What was being
   * allocated may be left live, and nobody's.
   */
  private rebuild(): void {
    this.takeBackRooms()
    this.rebuildSpace()
    this.meetEnd()
    this.wasRebuilt = true
    this.isChanging = false
  }

  /** Gives back the memory of books that were needed once and are mostly unused now. After `flush`. */
  shrinkBooks(): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    this.shrinkColumns()
    if (this.isEmpty) this.takeBackRooms()
    this.isChanging = false
  }

  /** Gives up all books, whatever they hold. From now on nothing but figures may be asked for. */
  dropBooks(): void {
    // What would be made good is not there any more.
    this.isChanging = false
    this.dropBooksOfStacks()
  }

  /** The books were given up: their memory may be another heap's. */
  get isOver(): boolean {
    return this.isDropped
  }

  private meetEnd(): void {
    this.endPair = this.findEndPair()
  }

  private findEndPair(): number {
    const last = this.ranges[this.ranges.length - 1]
    return last === undefined ? 0 : pairOf((last.firstPage + last.pageCount) * this.pageGranules)
  }

  /** Most pages that were used at once, ever. */
  get peakUsedPages(): PageCount {
    return max(this.earlierPeakUsed, this.recentPeakPages)
  }

  get liveBlocks(): number {
    return this.heldBlocks - this.keptBlocks
  }

  /** These free pages were given back to the kernel: they are clean. Returns how many were dirty. */
  override markPurged(firstPage: PageNumber, pageCount: PageCount): PageCount {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    const count = super.markPurged(firstPage, pageCount)
    this.isChanging = false
    return count
  }

  /** Free, clean pages of one gap are dirty from now on. False, and nothing has changed, where the page limit refuses. */
  override markResident(firstPage: PageNumber, pageCount: PageCount): boolean {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    const isDone = super.markResident(firstPage, pageCount)
    this.isChanging = false
    return isDone
  }

  // ---- purging ---------------------------------------------------------------------------------------------------

  /** Most pages that were used at once since the last call of this. Costs the allocating paths nothing. */
  takePeakUsed(): PageCount {
    const peak = this.recentPeakPages
    this.earlierPeakUsed = this.peakUsedPages
    this.recentPeakPages = this.usedPages
    return peak
  }

  /** Dirty pages that were dirty at the last `ageDirtyPages` and not used since. Reads one bitmap. */
  get agedPages(): PageCount {
    return countRange(this.aged, 0, this.columnPages)
  }

  /** Every page that is dirty now counts as aged, until it is used again or purged. */
  ageDirtyPages(): void {
    this.age()
  }

  /** First page, at or above `from`, of a stretch of dirty pages (of aged ones, if asked), or NONE. */
  override nextDirty(from: PageNumber, agedOnly: boolean): PageNumber {
    const page = super.nextDirty(from, agedOnly)
    return page < this.columnPages ? page : NONE
  }

  /** First page and end, in turn, of each stretch of pages that no live block touches, in order. Flushes. */
  override listUnused(): PageNumber[] {
    this.flush()
    return super.listUnused()
  }

  // ---- books of a space that begins at 0 -------------------------------------------------------------------------

  /**
   * The most bytes that `allocate` could find room for, were the space known up to `endPage`. Flushes. Reads all gaps that are
   * nearly as long; where none is a frame long, a byte for each frame.
   */
  longestFreeBytes(endPage: PageCount): number {
    this.flush()
    const known = this.managedPages * this.pageGranules
    const last = known === 0 ? NONE : this.previous(known)
    const tail = last !== NONE && this.isGap(last) ? last : known
    const inTail = this.roomIn(tail, endPage * this.pageGranules)
    const most = max(
      inTail,
      this.mostInLong((first, end) => this.roomIn(first, end)),
    )
    if (most >= DIRECT_BYTES) return most
    return max(most, this.longestShort(known >>> FRAME_SHIFT) * GRANULE_BYTES)
  }

  /** Bytes of the longest block that a gap has room for: one of whole pages starts at a page. */
  private roomIn(first: Block, end: number): number {
    const bytes = (end - first) * GRANULE_BYTES
    if (bytes < this.wholePagesFromBytes) return bytes
    const wholeBytes =
      ((end >>> this.granuleShift) - (this.pageCeil(first) >>> this.granuleShift)) * this.pageBytes
    return wholeBytes >= this.wholePagesFromBytes ? wholeBytes : this.wholePagesFromBytes - 1
  }

  /**
   * Calls back for each live block, and for each stretch of dirty pages, with how far behind the last one it is, and how
   * long. Flushes.
   */
  save(
    writeBlock: (gapGranules: number, granules: number) => void,
    writeDirty: (otherPages: PageCount, dirtyPages: PageCount) => void,
  ): void {
    this.flush()
    this.saveBlocks(writeBlock)
    this.saveDirty(writeDirty)
  }

  /**
   * The opposite, for a heap without a range: gap and block in turn, not dirty and dirty in turn. All of it lies within the space, no
   * dirty page holds a block, and blocks that must be whole pages are.
   */
  restore(
    granules: Uint32Array,
    pages: Uint32Array,
    { peakUsedPages, peakCommittedPages }: { peakUsedPages: PageCount; peakCommittedPages: PageCount },
  ): void {
    invariant(this.managedPages === 0, 'books are restored into an empty heap')
    this.restoreSpace(granules, pages)
    this.earlierPeakUsed = peakUsedPages
    this.peakCommittedPages = peakCommittedPages
  }

  /** Blocks of that many granules and more are whole pages. */
  get wholeFromGranules(): number {
    return this.wholeGranules
  }

  // ---- proof -----------------------------------------------------------------------------------------------------

  /** Throws an `Error` that names the first broken invariant. Walks everything. */
  check(): void {
    this.mend()
    this.checkRanges()
    if (this.isDropped) return
    const held = new Set<Block>()
    let live = 0
    this.checkSpace(block => {
      if (this.isLive(block)) live++
      else held.add(block)
    })
    this.checkStacks(block => invariant(held.delete(block), `1: kept block ${block} is held back, once`))
    invariant(held.size === 0, `1: ${held.size} blocks are held back by nobody`)
    invariant(live === this.liveBlocks, `1: ${this.liveBlocks} live blocks, found ${live}`)
    invariant(this.endPair === this.findEndPair(), '2: the end of the map')
  }
}

/**
 * Blocks of a frame and more are up to 1/32 longer than they need be, but less than a frame: sizes that hardly differ have
 * one stack then, and gaps have lengths that are wanted again. Always shorter than `limit`, as `size` is: what is as long as
 * whole pages must be whole pages. At the start of a page it reaches no page that `size` does not, elsewhere at most one.
 */
function roundLong(size: number, limit: number): number {
  const shift = min(31 - clz32(size) - LONG_STEPS_SHIFT, FRAME_SHIFT)
  const mask = (1 << shift) - 1
  const rounded = (size + mask) & ~mask
  return rounded < limit ? rounded : size
}

/** The least granules for so many bytes. */
function granulesIn(sizeBytes: number): number {
  return sizeBytes === 0 ? 1 : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
}
