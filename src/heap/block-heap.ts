/**
 * Blocks over a page-number space: which block a request gets, what a block is, and what freeing it makes
 * free.
 *
 * The warm paths are here. A size that was freed lately comes from the stack of that size, and goes back
 * there. All else is behind them: the space that blocks are cut from, and the states of its pages.
 *
 * A live block is recognised exactly, in O(1): both bits in the map are set where it starts, and nowhere
 * else. So a number that was freed, lies inside a block, is unaligned or was never managed is no live block.
 *
 * The functions share one object, `Books`. A file imports only what stands before it in this list; read the
 * left column first:
 *
 *      layout        constants of the columns            long-blocks   cuts blocks from long gaps
 *      columns       typed arrays that grow              block-space   cuts blocks from all gaps
 *      books         the state of a heap                 space-pages   adds, removes and purges pages
 *      touched-books which books take memory             saved-space   saves and restores the books
 *      page-table    the columns and the ranges          block-cache   keeps freed blocks
 *      page-states   what each page is                   take-again    what to try when a block was refused
 *      granule-map   what starts where                   lowest        the lowest place for a block
 *      short-gaps    finds gaps below a frame            survey        what a compaction would free
 *      long-gaps     finds all longer gaps               sizes         from bytes to granules
 *      gaps          makes gaps of freed blocks          check         checks all invariants
 *                                                        block-heap    what other rooms call
 *                                                        wiping-heap   a heap that overwrites freed blocks
 *
 * `heap`, `heap-options`, `compaction` and `saved-heap` are the published `Heap` over all of it.
 *
 * `BlockHeap` extends `Books` by the methods that other rooms call. It is one object, not two, because that is
 * faster: see docs/v8.md. Only `WipingHeap` extends it. Other rooms use this file, `WipingHeap`,
 * `REGION_BYTES`, and some figures of the books.
 *
 * The heap knows no kernel, no addon and no Buffer. The owner of the pages adds ranges of page numbers. It
 * reads from `refusal` why an allocation failed, reads which pages are dirty, and reports when they were
 * purged. Nothing here calls up.
 *
 * Invariants, checked by `check()` together with those of the parts:
 *  1. a block is live, or it is kept on a stack and held in the map; never both
 *  2. `endPair` is the first pair of words of the map behind the last range
 */
import { invariant } from '../base/assert.js'
import { countRange } from '../base/bits.js'
import type { Block, PageCount, PageNumber } from '../base/units.js'
import { GRANULE_BYTES, GRANULE_SHIFT, NONE } from '../base/units.js'
import {
  claim,
  dropAllBooks,
  extendStack,
  isCacheEmpty,
  isFor,
  keptBlocks,
  mayExtend,
  sharedOf,
  stackOf,
  takeBackRooms,
} from './block-cache.js'
import { frontHoldsPages, resizeTo, take } from './block-space.js'
import { Books, MAX_WHOLE_FROM_BYTES, type PageRange } from './books.js'
import { checkBooks } from './check.js'
import { type ColumnStorage, plainStorage } from './columns.js'
import { give } from './gaps.js'
import {
  anyLiveIn,
  endOf,
  isGap,
  isLive,
  listLiveIn,
  nextBehind,
  pairOf,
  startBefore,
  startOf,
} from './granule-map.js'
import {
  BITS_PREFIX,
  DIRECT,
  FIRST_BIT,
  FIRST_SIZE,
  FRAME_SHIFT,
  FULL,
  REFUSED_LIMIT,
  REFUSED_SPACE,
} from './layout.js'
import { hasRoom, takeLong, takeWithRoom } from './long-blocks.js'
import { mostInLong } from './long-gaps.js'
import { type LongGaps, takeLowest } from './lowest.js'
import { age, anyDirty, arePurged, committedPages, dirtyEnd, nextDirty } from './page-states.js'
import { bookBytes, shrinkColumns } from './page-table.js'
import { restoreSpace, saveBlocks, saveDirty } from './saved-space.js'
import { longestShort } from './short-gaps.js'
import { granulesFor, granulesIn, pagesFor, roomIn, runPagesFor } from './sizes.js'
import {
  addRange,
  cleanTailPages,
  isRangeFree,
  listUnused,
  markPurged,
  markResident,
  rebuildSpace,
  removeRange,
  removeTail,
} from './space-pages.js'
import { giveUpKept, hasKept, takeAgain, takeOnce } from './take-again.js'

export { REFUSED_LIMIT, REFUSED_SPACE } from './layout.js'

const { clz32, max, min } = Math

/** Each size up to this many bytes has a stack of its own. */
const DIRECT_BYTES = (DIRECT - 1) * GRANULE_BYTES
/** Options of a `BlockHeap`. */
export interface BlockHeapOptions {
  /**
   * Blocks of this many bytes and more are whole pages and start on a page. At least 4 KiB. The default, and
   * the most, is 2 GiB less 16 bytes.
   */
  wholePagesFromBytes?: number
  /**
   * Whether freed blocks are kept for the next request of their size. Default true. If false, the pages of a
   * freed block are free at once.
   */
  hasCache?: boolean
  /** Where the memory of the books comes from. Default: the runtime's own buffers. */
  storage?: ColumnStorage
  /** Whether purged pages read as zero. Default true. If false, `zeroedBlock` stays NONE. */
  purgesToZero?: boolean
}

/**
 * The heap that other rooms use. Functions that `allocate` and `free` call often are tagged `@noinline`, so that V8
 * always has room to inline these two into their caller. The `| 0` behind such a call says that its result is
 * an int32. docs/v8.md explains both.
 */
export class BlockHeap extends Books {
  private readonly hasCache: boolean
  /** The first pair of words of the map behind the last range. */
  private endPair = 0
  /**
   * Whether a change of more than one step is under way. If it is set when the next change begins, the last
   * one was interrupted: the stack overflowed, or script was terminated.
   */
  private isChanging = false
  /**
   * Whether the books were rebuilt since this was last cleared. After that free pages may count as dirty,
   * beyond all limits.
   */
  wasRebuilt = false
  /** The highest peak of used pages before the last call of `takePeakUsed`, which began a new peak. */
  private earlierPeakUsed: PageCount = 0

  /** `pageBytes` is a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, options: BlockHeapOptions = {}) {
    const { wholePagesFromBytes, hasCache = true, storage = plainStorage, purgesToZero = true } = options
    super(pageBytes, storage, wholePagesFromBytes)
    this.cleanIsZero = purgesToZero
    this.hasCache = hasCache
    if (!hasCache) this.growthPages = Number.MAX_SAFE_INTEGER
  }

  // ---- blocks ---------------------------------------------------------------------------------------------

  /**
   * Returns a live block of at least `sizeBytes`, an integer from 0 to 2^35. Returns NONE if there is none;
   * `refusal` then says why. O(1).
   */
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
   * Returns a live block of a size that has a stack of its own, which was empty, or NONE.
   *
   * @noinline
   */
  private allocateShort(sizeBytes: number): Block {
    const size = granulesIn(sizeBytes)
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = take(this, size)
    if (block === NONE) block = takeAgain(this, size, 0, size)
    this.isChanging = false
    return block
  }

  /**
   * Returns a live block of a longer size, from its shared stack or a new one, or NONE.
   *
   * @noinline
   */
  private allocateLong(sizeBytes: number): Block {
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    const size = granulesFor(this, sizeBytes)
    const stacks = this.stacks
    const shared = sharedOf(size)
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
    if (isWhole) return this.takeNew(size, this.pageGranules - 1, size)
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = takeLong(this, size)
    if (block === NONE) block = takeAgain(this, size, 0, granulesIn(sizeBytes))
    this.isChanging = false
    return block
  }

  /**
   * Returns a live block of at least `sizeBytes` at a multiple of `alignBytes`, or NONE; `refusal` then says
   * why. `alignBytes` is a power of two from 16 on, and may be more than a page.
   */
  allocateAligned(sizeBytes: number, alignBytes: number): Block {
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    if (isWhole && alignBytes <= this.pageBytes) return this.allocate(sizeBytes)
    const mask = (alignBytes >>> GRANULE_SHIFT) - 1
    const size = granulesFor(this, sizeBytes)
    return this.takeNew(size, mask, isWhole ? size : granulesIn(sizeBytes))
  }

  /**
   * Returns a live block of whole pages that has room to grow, or NONE; `refusal` then says why. It is cut
   * from a gap of at least twice its length: at the start if the gap begins a range, else in the middle,
   * because the block before the gap may grow too.
   */
  allocateWithRoom(sizeBytes: number): Block {
    const size = granulesFor(this, sizeBytes)
    this.refusal = REFUSED_SPACE
    if (sizeBytes < this.wholePagesFromBytes || 2 * size > MAX_WHOLE_FROM_BYTES) return NONE
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    const block = takeWithRoom(this, size, this.pageGranules - 1)
    this.isChanging = false
    return block
  }

  /**
   * Returns a live block of `size` granules at a multiple of `mask + 1`, cut from the space. If there is no
   * room for it, the block has only `least` granules. Returns NONE if there is no room for that either.
   */
  private takeNew(size: number, mask: number, least: number): Block {
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    let block = takeOnce(this, size, mask)
    if (block === NONE) block = takeAgain(this, size, mask, least)
    this.isChanging = false
    return block
  }

  /**
   * Ends a live block. `block` is any int32. Returns false, and changes nothing, if no live block starts at
   * this granule. O(1).
   */
  free(block: Block): boolean {
    const bits = this.bits
    const pair = BITS_PREFIX + ((block >>> 5) << 1)
    if (pair >= this.endPair) return false
    const starts = bits[pair]
    const marks = bits[pair + 1]
    const bit = FIRST_BIT >>> block
    if ((starts & marks & bit) === 0) return false
    // The bits of the 32 granules behind the block's first one. Most blocks end there.
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
    if (slot === FULL || !this.keepMore(block, size, size)) give(this, block, block + size)
    this.isChanging = false
    return true
  }

  /** Ends a live block after an interrupted change. */
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
    const end = nextBehind(this, block)
    this.bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] ^= FIRST_BIT >>> block
    this.keepOrGive(block, end)
    this.isChanging = false
  }

  /** Puts the held block [block, end), of more than 32 granules, on its stack, or makes it a gap. */
  private keepOrGive(block: Block, end: number): void {
    const size = end - block
    const stack = stackOf(size)
    if (size >= DIRECT) {
      if (block === this.zeroedBlock) this.zeroedBlock = NONE
      if (!isFor(this, stack, size)) {
        const usedGranules = this.usedPages * this.pageGranules
        if (!this.hasCache || !claim(this, stack, size, usedGranules)) {
          give(this, block, end)
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
      give(this, block, block + size)
    }
  }

  /**
   * Puts a held block on its full stack, if the stack may have more room. Returns false, and changes nothing,
   * if it may not.
   *
   * @noinline
   */
  private keepMore(block: Block, size: number, stack: number): boolean {
    if (!this.hasCache) return false
    if (!mayExtend(this, stack, size, this.usedPages * this.pageGranules)) return false
    if (!extendStack(this, stack, size)) return false
    const { stacks } = this
    const top = stacks[stack] + 1
    stacks[top] = block
    stacks[stack] = top
    return true
  }

  // ---- moving ---------------------------------------------------------------------------------------------

  /**
   * Returns a live block of `size` granules at the lowest place wholly below the granule `below`, or NONE; `refusal`
   * then says why. `gaps` comes from a survey of this heap.
   */
  takeLowest(gaps: LongGaps, size: number, below: number): Block {
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return NONE
    this.isChanging = true
    const block = takeLowest(this, gaps, size, below)
    this.isChanging = false
    return block
  }

  /** Ends a live block. It is not kept on a stack, so that its pages are free if no other block touches them. */
  giveUp(block: Block): void {
    if (this.isChanging) this.rebuild()
    invariant(this.isLive(block), 'a block that moved was live')
    this.isChanging = true
    if (block === this.zeroedBlock) this.zeroedBlock = NONE
    const end = endOf(this, block)
    this.bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] ^= FIRST_BIT >>> block
    give(this, block, end)
    this.isChanging = false
  }

  /** The end of a live block, in granules. */
  endOf(block: Block): number {
    return endOf(this, block)
  }

  /** The highest live block, or NONE. */
  highestLive(): Block {
    return this.liveBefore(Number.MAX_SAFE_INTEGER)
  }

  /** The highest live block that starts below the granule `below`, or NONE. Reads all gaps and kept blocks in between. */
  liveBefore(below: number): Block {
    for (let i = this.ranges.length - 1; i >= 0; i--) {
      const first = this.ranges[i].firstPage * this.pageGranules
      const end = first + this.ranges[i].pageCount * this.pageGranules
      for (let at = min(below, end); at > first; ) {
        at = startBefore(this, at)
        if (isLive(this, at)) return at
      }
    }
    return NONE
  }

  /** The live block in which a managed granule lies, or NONE. */
  blockAt(granule: number): Block {
    const block = startOf(this, granule)
    return this.isLive(block) ? block : NONE
  }

  /** Whether blocks are overwritten with zeros before they are free. Only `WipingHeap` does it. */
  get isWiping(): boolean {
    return false
  }

  /** Ends the overwriting of blocks. Called before the memory goes, because others may still read it. */
  stopWiping(): void {}

  /** Whether a live block starts at this granule. O(1). */
  isLive(block: Block): boolean {
    return pairOf(block) < this.endPair && isLive(this, block)
  }

  /** The usable bytes of a live block, at least those that were asked for. */
  sizeOf(block: Block): number {
    return (endOf(this, block) - block) * GRANULE_BYTES
  }

  /**
   * Makes a live block fit `sizeBytes` without moving it. It shrinks, or grows over the gap behind it, but
   * not over a kept block. Returns false, and changes nothing, if the block has to move. `refusal` then says
   * whether only the page limit stood in the way.
   */
  resize(block: Block, sizeBytes: number): boolean {
    if ((this.isChanging || this.wasRebuilt) && !this.mayTake()) return false
    this.isChanging = true
    const isDone = this.resizeLive(block, sizeBytes)
    this.isChanging = false
    return isDone
  }

  /** Resizes a live block. `resize` calls it after it has begun a change. */
  private resizeLive(block: Block, sizeBytes: number): boolean {
    const end = endOf(this, block)
    const length = end - block
    this.refusal = REFUSED_SPACE
    const isWhole = sizeBytes >= this.wholePagesFromBytes
    if (isWhole !== length >= this.wholeGranules) return false
    const size = granulesFor(this, sizeBytes)
    const least = isWhole ? size : granulesIn(sizeBytes)
    // A block that is long enough, but had no room for the rounded length, stays as it is.
    const fits = least <= length && length < size
    const isDone =
      fits ||
      resizeTo(this, block, end, size) ||
      // The exact length would leave gaps of lengths that nothing else has. It is used only if there is no
      // room to move to.
      (least < size && !hasRoom(this, size) && resizeTo(this, block, end, least))
    // If the block shrinks below a frame, `free` would not clear this.
    if (isDone && block === this.zeroedBlock) this.zeroedBlock = NONE
    return isDone
  }

  /**
   * The pages that are missing at the end of the last range for a live block to grow to `sizeBytes`. Returns
   * 0 if more pages there would not help.
   */
  missingBehind(block: Block, sizeBytes: number): PageCount {
    const last = this.ranges[this.ranges.length - 1]
    const endOfLast = (last.firstPage + last.pageCount) * this.pageGranules
    const end = endOf(this, block)
    const endOfGap = end < endOfLast && isGap(this, end) ? endOf(this, end) : end
    if (endOfGap !== endOfLast) return 0
    return max(0, pagesFor(this, (block + granulesFor(this, sizeBytes) - endOfLast) * GRANULE_BYTES))
  }

  /** Every live block, in ascending order. Reads the map of all pages. */
  listLive(): Int32Array {
    if (this.isChanging) this.rebuild()
    const { pageGranules, ranges } = this
    const blocks = new Int32Array(this.liveBlocks)
    let count = 0
    for (let i = 0; i < ranges.length; i++) {
      const first = ranges[i].firstPage * pageGranules
      count = listLiveIn(this, first, first + ranges[i].pageCount * pageGranules, blocks, count)
    }
    return blocks
  }

  /**
   * Whether a live block starts in the granules [from, end), which are multiples of 32. It stops at the first one, so it
   * is quick where there are blocks.
   */
  anyLive(from: number, end: number): boolean {
    return anyLiveIn(this, from, end, this.endPair)
  }

  /** The number of whole pages that hold `sizeBytes`. */
  pagesFor(sizeBytes: number): PageCount {
    return pagesFor(this, sizeBytes)
  }

  /**
   * The length of a run, in pages, that certainly has room for a block of that size. Add as many pages if
   * `refusal` is `REFUSED_SPACE`.
   */
  runPagesFor(sizeBytes: number, alignBytes: number = GRANULE_BYTES): PageCount {
    return runPagesFor(this, sizeBytes, alignBytes)
  }

  // ---- pages ----------------------------------------------------------------------------------------------

  /**
   * Adds free, clean pages. A range right behind another joins it. Throws a `RangeError` if the books cannot
   * grow; nothing has changed then.
   */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    const { managedPages } = this
    this.isChanging = true
    try {
      addRange(this, firstPage, pageCount)
      this.meetEnd()
      this.isChanging = false
    } catch (error) {
      // There was no memory for the books: nothing has changed.
      if (this.managedPages === managedPages) this.isChanging = false
      throw error
    }
  }

  /** Removes a range whose pages are all free and clean. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    removeRange(this, firstPage, pageCount)
    this.meetEnd()
    this.isChanging = false
  }

  /**
   * Removes the last `pageCount` pages of a range, which must be free and clean. If the range has no more
   * pages, it is removed.
   */
  removeTail(range: PageRange, pageCount: PageCount): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    removeTail(this, range, pageCount)
    this.meetEnd()
    this.isChanging = false
  }

  /** Whether `flush` can make anything free: there are kept blocks or a front. */
  get hasKept(): boolean {
    return hasKept(this)
  }

  /** Whether `flush` may make pages free: a block is kept, or the front shares a page with a gap. */
  get holdsPages(): boolean {
    return frontHoldsPages(this) || !isCacheEmpty(this)
  }

  /**
   * Makes all kept blocks and the front gaps. Afterwards a page is used exactly where a live block touches
   * it. There are fewer than 7,400 kept blocks, as `stacks` has no words for more.
   */
  flush(): void {
    if (this.isDropped) return
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    giveUpKept(this)
    this.isChanging = false
  }

  /** Mends the books after an interrupted change. Each change does this itself before it begins. */
  mend(): void {
    if (this.isChanging) this.rebuild()
  }

  /**
   * Whether blocks may be taken after the books were rebuilt. Clean pages may count as dirty then, so that
   * using them would pass the limit unseen. If false, `refusal` is `REFUSED_LIMIT`.
   */
  private mayTake(): boolean {
    this.mend()
    if (this.limitPages === Number.MAX_SAFE_INTEGER) this.wasRebuilt = false
    this.refusal = REFUSED_LIMIT
    return committedPages(this) <= this.limitPages
  }

  /**
   * Rebuilds the books from the live blocks. It can be interrupted too: `isChanging` stays set until it has
   * ended. A block that was being allocated may stay live although nobody has it.
   */
  private rebuild(): void {
    takeBackRooms(this)
    rebuildSpace(this)
    this.meetEnd()
    this.wasRebuilt = true
    this.isChanging = false
  }

  /** Gives back the memory of books that were needed once and are mostly unused now. Call `flush` first. */
  shrinkBooks(): void {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    shrinkColumns(this)
    if (isCacheEmpty(this)) takeBackRooms(this)
    this.isChanging = false
  }

  /** Gives up all books, also those of live blocks. From then on only figures may be read. */
  dropBooks(): void {
    // The books that would be mended do not exist any more.
    this.isChanging = false
    dropAllBooks(this)
  }

  /** Whether the books were given up. Their memory may be another heap's. */
  get isOver(): boolean {
    return this.isDropped
  }

  /** Sets `endPair` after a change of the ranges. */
  private meetEnd(): void {
    this.endPair = this.findEndPair()
  }

  /** The value that `endPair` should have, from the last range. */
  private findEndPair(): number {
    const last = this.ranges[this.ranges.length - 1]
    return last === undefined ? 0 : pairOf((last.firstPage + last.pageCount) * this.pageGranules)
  }

  /** The most pages that were ever used at once. */
  get peakUsedPages(): PageCount {
    return max(this.earlierPeakUsed, this.recentPeakPages)
  }

  /** The number of live blocks. */
  get liveBlocks(): number {
    return this.cutBlocks - keptBlocks(this)
  }

  /** Makes free pages clean after they were given back to the kernel. Returns how many of them were dirty. */
  markPurged(firstPage: PageNumber, pageCount: PageCount): PageCount {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    const count = markPurged(this, firstPage, pageCount)
    this.isChanging = false
    return count
  }

  /**
   * Makes free, clean pages of one gap dirty. Returns false, and changes nothing, if the page limit refuses.
   */
  markResident(firstPage: PageNumber, pageCount: PageCount): boolean {
    if (this.isChanging) this.rebuild()
    this.isChanging = true
    const isDone = markResident(this, firstPage, pageCount)
    this.isChanging = false
    return isDone
  }

  // ---- what the pages are ---------------------------------------------------------------------------------

  /** The pages that are used or dirty. */
  get committedPages(): PageCount {
    return committedPages(this)
  }

  /** Whether any page of the range is dirty. */
  anyDirty(firstPage: PageNumber, pageCount: PageCount): boolean {
    return anyDirty(this, firstPage, pageCount)
  }

  /** Whether every page of [firstPage, end) was purged and not used since, so that it is free and clean. */
  arePurged(firstPage: PageNumber, end: PageNumber): boolean {
    return arePurged(this, firstPage, end)
  }

  /** Whether a range is one gap. Call `flush` first. */
  isRangeFree(range: PageRange): boolean {
    return isRangeFree(this, range)
  }

  /** The number of pages at the end of a range that are free and clean. Call `flush` first. */
  cleanTailPages(range: PageRange): PageCount {
    return cleanTailPages(this, range)
  }

  /** Bytes of memory that the books take. Reads one word for each 8 KiB of managed space. */
  get metadataBytes(): number {
    return bookBytes(this)
  }

  // ---- purging --------------------------------------------------------------------------------------------

  /**
   * The most pages that were used at once since the last call of this method. It costs the allocating paths
   * nothing.
   */
  takePeakUsed(): PageCount {
    const peak = this.recentPeakPages
    this.earlierPeakUsed = this.peakUsedPages
    this.recentPeakPages = this.usedPages
    return peak
  }

  /** The number of aged pages: dirty at the last `ageDirtyPages` and not used since. Reads one bitmap. */
  get agedPages(): PageCount {
    return countRange(this.aged, 0, this.columnPages)
  }

  /** Makes every page that is dirty now aged, until it is used again or purged. */
  ageDirtyPages(): void {
    age(this)
  }

  /**
   * The first page, at or above `from`, of a stretch of dirty pages, or NONE. With `agedOnly`, of aged pages.
   */
  nextDirty(from: PageNumber, agedOnly: boolean): PageNumber {
    return nextDirty(this, from, agedOnly)
  }

  /**
   * The end of the stretch of dirty (or aged) pages that begins at `firstPage`. The stretch is cut off after
   * `maxPages`.
   */
  dirtyEnd(firstPage: PageNumber, maxPages: PageCount, agedOnly: boolean): PageNumber {
    return dirtyEnd(this, firstPage, maxPages, agedOnly)
  }

  /**
   * The first page and the end of each stretch of pages that no live block touches: one flat list, in
   * ascending order. Flushes.
   */
  listUnused(): PageNumber[] {
    this.flush()
    return listUnused(this)
  }

  // ---- books of a space that begins at 0 ------------------------------------------------------------------

  /**
   * The bytes of the longest block that `allocate` could find room for if the space were known up to
   * `endPage`. Flushes. Reads all gaps that are nearly as long. If no gap is a frame long, it reads one byte
   * for each frame.
   */
  longestFreeBytes(endPage: PageCount): number {
    this.flush()
    const known = this.managedPages * this.pageGranules
    const last = known === 0 ? NONE : startBefore(this, known)
    const tail = last !== NONE && isGap(this, last) ? last : known
    const inTail = roomIn(this, tail, endPage * this.pageGranules)
    const most = max(
      inTail,
      mostInLong(this, (first, end) => roomIn(this, first, end)),
    )
    if (most >= DIRECT_BYTES) return most
    return max(most, longestShort(this, known >>> FRAME_SHIFT) * GRANULE_BYTES)
  }

  /**
   * Calls `writeBlock` for each live block, and `writeDirty` for each stretch of dirty pages. Both get the
   * distance from the end of the last one, and the length. Flushes.
   */
  save(
    writeBlock: (gapGranules: number, granules: number) => void,
    writeDirty: (otherPages: PageCount, dirtyPages: PageCount) => void,
  ): void {
    this.flush()
    saveBlocks(this, writeBlock)
    saveDirty(this, writeDirty)
  }

  /**
   * Restores saved books into a heap that has no range. `granules` holds the lengths of gap and block in
   * turn; `pages` those of pages that are not dirty and of dirty ones in turn. The caller has checked that
   * all of it lies within the space, that no dirty page holds a block, and that blocks that must be whole
   * pages are.
   */
  restore(
    granules: Uint32Array,
    pages: Uint32Array,
    { peakUsedPages, peakCommittedPages }: { peakUsedPages: PageCount; peakCommittedPages: PageCount },
  ): void {
    invariant(this.managedPages === 0, 'books are restored into an empty heap')
    restoreSpace(this, granules, pages)
    this.meetEnd()
    this.earlierPeakUsed = peakUsedPages
    this.peakCommittedPages = peakCommittedPages
  }

  /** Blocks of this many granules and more are whole pages. */
  get wholeFromGranules(): number {
    return this.wholeGranules
  }

  // ---- checks ---------------------------------------------------------------------------------------------

  /** Throws an `Error` that names the first broken invariant. Reads all books. */
  check(): void {
    this.mend()
    checkBooks(this)
    invariant(this.isDropped || this.endPair === this.findEndPair(), '2: the end of the map')
  }
}
