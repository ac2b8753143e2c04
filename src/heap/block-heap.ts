/**
 * Blocks over a page-number space: which block a size gets, what a block is, and what freeing it makes free.
 *
 * The warm paths are here: a size that was freed lately comes from the stack of that size, and goes back there. All else
 * is behind them: the space that blocks are cut from, and the states of its pages.
 *
 * Blocks are told apart exactly and in O(1): a granule where no live block starts (freed, inside a block, unaligned, never
 * managed) has not both of its bits set in the map.
 *
 * It knows no kernel, no addon and no Buffer. Whoever owns the pages adds ranges of page numbers, is told by `refusal`
 * why an allocation found none, reads off which pages are dirty, and says when they were purged. Nothing here calls up.
 *
 * Invariants, checked by `check()` together with those of the parts:
 *  1. a block is live, or kept by the cache and then held back in the map, not both
 *  2. `#endPair` is the first pair of words of the map behind the last range
 */
import { invariant } from '../base/assert.js'
import { countRange } from '../base/bits.js'
import type { Block, PageCount, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import * as caching from './block-cache.js'
import { BlockCache } from './block-cache.js'
import * as space from './block-space.js'
import { BlockSpace } from './block-space.js'
import { type ColumnStorage, plainStorage } from './columns.js'
import { pairOf } from './granule-map.js'
import { PageStates } from './page-states.js'
import * as layout from './page-table.js'
import { type PageRange, PageTable } from './page-table.js'

export { REFUSED_LIMIT, REFUSED_SPACE } from './block-space.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BITS_PREFIX } = layout
const { DIRECT, FIRST_SIZE } = caching
const { REFUSED_GROWTH, REFUSED_LIMIT } = space
const { GRANULE_BYTES, GRANULE_SHIFT, NONE } = units

/** A small integer, so that comparing with it is cheap. */
const MAX_WHOLE_FROM_BYTES = 2 ** 31 - GRANULE_BYTES
/** The last granule that a block can start at. */
const MAX_BLOCK = 2 ** 31 - 1
/** Sizes up to this many bytes have a stack of their own in the cache. */
const DIRECT_BYTES = (DIRECT - 1) * GRANULE_BYTES
/** Before clean pages are taken, blocks are kept only where they are at most one part in so many of what is in use. */
const KEPT_SHARE = 64
/** Clean pages that may be taken before that is asked again: 1/128 of those in use, but no fewer than 16. */
const GROWTH_SHIFT = 7
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
}

export class BlockHeap {
  readonly pageBytes: number
  readonly #table: PageTable
  readonly #states: PageStates
  readonly #space: BlockSpace
  readonly #cache: BlockCache
  readonly #hasCache: boolean
  readonly #wholePagesFromBytes: number
  /** `#table.bits` and `#cache.stacks`, which are replaced when they grow. */
  #bits: Int32Array
  #stacks: Int32Array
  #endPair = 0
  /** The highest peak of used pages before `takePeakUsed` last began a new one. */
  #earlierPeakUsed: PageCount = 0
  /** Why the last `allocate` returned NONE. Valid only right after it did. */
  refusal = 0

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, options: BlockHeapOptions = {}) {
    const { wholePagesFromBytes = MAX_WHOLE_FROM_BYTES, hasCache = true, storage = plainStorage } = options
    this.pageBytes = pageBytes
    invariant(
      wholePagesFromBytes >= DIRECT * GRANULE_BYTES,
      'blocks of whole pages are no shorter than a frame',
    )
    const fromBytes = Math.min(wholePagesFromBytes, MAX_WHOLE_FROM_BYTES)
    const roundedBytes = Math.ceil(fromBytes / GRANULE_BYTES) * GRANULE_BYTES
    // What is as long as whole pages must be whole pages: one stack keeps both.
    this.#wholePagesFromBytes = roundedBytes % pageBytes === 0 ? roundedBytes - GRANULE_BYTES + 1 : fromBytes
    this.#hasCache = hasCache
    this.#table = new PageTable(pageBytes, storage)
    this.#states = new PageStates(this.#table)
    this.#space = new BlockSpace(this.#table, this.#states)
    this.#cache = new BlockCache(storage, this.#space.map)
    this.#bits = this.#table.bits
    this.#stacks = this.#cache.stacks
    if (!hasCache) this.#space.growthPages = Number.MAX_SAFE_INTEGER
  }

  // ---- blocks ----------------------------------------------------------------------------------------------------

  /** A block of at least `sizeBytes` (an integer from 0 to 2^35), or NONE; `refusal` then says why. O(1). */
  allocate(sizeBytes: number): Block {
    if (sizeBytes <= DIRECT_BYTES) {
      const stacks = this.#stacks
      const stack = ((sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT) << 1
      const top = stacks[stack]
      const kept = stacks[top]
      if (kept > 0) {
        stacks[stack] = top - 1
        const block = kept - 1
        this.#bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= 1 << block
        return block
      }
    }
    return this.#allocateSlow(sizeBytes)
  }

  #allocateSlow(sizeBytes: number): Block {
    if (sizeBytes > DIRECT_BYTES) return this.#allocateLong(sizeBytes)
    const block = this.#space.take(sizeBytes === 0 ? 1 : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT)
    return block !== NONE ? block : this.#takeAgain(this.#granulesFor(sizeBytes), 0)
  }

  #allocateLong(sizeBytes: number): Block {
    const isWhole = sizeBytes >= this.#wholePagesFromBytes
    const size = isWhole ? this.#granulesFor(sizeBytes) : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
    const stacks = this.#stacks
    const hashed = caching.hashOf(size)
    if (stacks[FIRST_SIZE + hashed] === size) {
      const stack = (DIRECT + hashed) << 1
      const top = stacks[stack]
      const kept = stacks[top]
      if (kept > 0) {
        stacks[stack] = top - 1
        const block = kept - 1
        this.#bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= 1 << block
        return block
      }
    }
    if (isWhole) return this.#take(size, this.#pageMask)
    const block = this.#space.takeLong(size)
    return block !== NONE ? block : this.#takeAgain(size, 0)
  }

  /** The same, at a multiple of `alignBytes`: a power of two from 16 to the page size. */
  allocateAligned(sizeBytes: number, alignBytes: number): Block {
    if (sizeBytes >= this.#wholePagesFromBytes) return this.allocate(sizeBytes)
    return this.#take(this.#granulesFor(sizeBytes), (alignBytes >>> GRANULE_SHIFT) - 1)
  }

  /** A new block of `size` granules, at a multiple of `mask + 1`. */
  #take(size: number, mask: number): Block {
    const block = mask === 0 ? this.#space.take(size) : this.#space.takeAligned(size, mask)
    return block !== NONE ? block : this.#takeAgain(size, mask)
  }

  #takeOnce(size: number, mask: number): Block {
    return mask === 0 ? this.#space.take(size) : this.#space.takeAligned(size, mask)
  }

  /** Does what can be done for a block that was refused: takes clean pages after all, or gives up what is kept. */
  #takeAgain(size: number, mask: number): Block {
    const space = this.#space
    const { usedPages } = this.#states
    const isGrowth = space.refusal === REFUSED_GROWTH
    space.growthPages = Math.max(MIN_GROWTH_PAGES, usedPages >>> GROWTH_SHIFT)
    if (isGrowth) {
      const usedGranules = usedPages * this.#table.pageGranules
      if (this.#cache.keptGranules > usedGranules / KEPT_SHARE) this.flush()
      const block = this.#takeOnce(size, mask)
      if (block !== NONE) return block
    }
    if (this.hasKept) {
      this.flush()
      const block = this.#takeOnce(size, mask)
      if (block !== NONE) return block
      // The attempt may have made a front, and then been refused by the limit.
      space.dropFront()
    }
    let block: Block = NONE
    if (space.refusal !== REFUSED_LIMIT) block = space.takeLast(size, mask)
    if (block === NONE && space.refusal === REFUSED_LIMIT) block = space.takeCommitted(size, mask)
    this.refusal = space.refusal
    return block
  }

  /** Ends a block. Returns false, and changes nothing, where no live block starts at this granule (an int32). O(1). */
  free(block: Block): boolean {
    const bits = this.#bits
    const pair = BITS_PREFIX + ((block >>> 5) << 1)
    if (pair >= this.#endPair) return false
    const starts = bits[pair]
    const marks = bits[pair + 1]
    const bit = 1 << block
    if ((starts & marks & bit) === 0) return false
    bits[pair + 1] = marks ^ bit
    // The bits from the block's granule on, for 32 granules: most blocks end within.
    const behind = ((bits[pair + 2] | bits[pair + 3]) << 1) << (~block & 31)
    const ends = (((starts | marks) >>> block) | behind) & -2
    if (ends === 0) {
      this.#freeLong(block)
      return true
    }
    const size = 31 - Math.clz32(ends & -ends)
    const stacks = this.#stacks
    const top = stacks[size << 1] + 1
    if (top <= stacks[(size << 1) + 1]) {
      stacks[top] = block + 1
      stacks[size << 1] = top
    } else {
      this.#giveOrKeep(block, size, size)
    }
    return true
  }

  /** Ends a block of 32 granules or more, already held back. */
  #freeLong(block: Block): void {
    const space = this.#space
    const end = space.map.nextBehind(block)
    const size = end - block
    const stack = this.#cache.stackOf(size)
    if (size >= DIRECT) {
      if (block === space.zeroedBlock) space.zeroedBlock = NONE
      if (!this.#cache.isFor(stack, size)) {
        const usedGranules = this.#states.usedPages * this.#table.pageGranules
        if (!this.#hasCache || !this.#cache.claim(stack, size, usedGranules)) {
          space.give(block, end)
          return
        }
      }
    }
    const stacks = this.#stacks
    const top = stacks[stack << 1] + 1
    if (top <= stacks[(stack << 1) + 1]) {
      stacks[top] = block + 1
      stacks[stack << 1] = top
    } else {
      this.#giveOrKeep(block, size, stack)
    }
  }

  /** Its stack is full: gives the block back, unless the stack may be longer. */
  #giveOrKeep(block: Block, size: number, stack: number): void {
    const usedGranules = this.#states.usedPages * this.#table.pageGranules
    // The slot holds the block plus one, and must not be negative.
    if (!this.#hasCache || block === MAX_BLOCK || !this.#cache.mayExtend(stack, size, usedGranules)) {
      this.#space.give(block, block + size)
      return
    }
    if (!this.#cache.extend(stack, size)) {
      this.#space.give(block, block + size)
      return
    }
    const { stacks } = this.#cache
    this.#stacks = stacks
    const top = stacks[stack << 1] + 1
    stacks[top] = block + 1
    stacks[stack << 1] = top
  }

  /** Whether a live block starts at this granule. O(1). */
  isLive(block: Block): boolean {
    return pairOf(block) < this.#endPair && this.#space.map.isLive(block)
  }

  /** Usable bytes of a live block: at least what was asked for. */
  sizeOf(block: Block): number {
    return (this.#space.map.next(block) - block) * GRANULE_BYTES
  }

  /**
   * Makes a live block fit `sizeBytes` without moving it: it shrinks, or grows over a gap behind it, not over a block that is
   * kept. Returns false, and changes nothing, where it has to move; `refusal` then says whether the page limit alone
   * stood in the way.
   */
  resize(block: Block, sizeBytes: number): boolean {
    const isWhole = sizeBytes >= this.#wholePagesFromBytes
    this.refusal = space.REFUSED_SPACE
    const wholeBytes = this.pagesFor(this.#wholePagesFromBytes) * this.pageBytes
    if (isWhole !== this.sizeOf(block) >= wholeBytes) return false
    const isDone = this.#space.resize(block, this.#granulesFor(sizeBytes))
    // Shrunk below a frame it would not be noticed when it is freed.
    if (isDone && block === this.#space.zeroedBlock) this.#space.zeroedBlock = NONE
    this.refusal = this.#space.refusal
    return isDone
  }

  /** Every live block, in ascending order. Walks all pages. */
  listLive(): Int32Array {
    const { pageGranules, ranges } = this.#table
    const blocks = new Int32Array(this.liveBlocks)
    let count = 0
    for (const { firstPage, pageCount } of ranges) {
      const first = firstPage * pageGranules
      const end = first + pageCount * pageGranules
      count += this.#space.map.listLive(first, end, blocks.subarray(count))
    }
    return blocks
  }

  /** Granules of a block of that many bytes. */
  #granulesFor(sizeBytes: number): number {
    if (sizeBytes >= this.#wholePagesFromBytes) return this.pagesFor(sizeBytes) * this.#table.pageGranules
    return sizeBytes === 0 ? 1 : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
  }

  get #pageMask(): number {
    return this.#table.pageGranules - 1
  }

  /** Whole pages for that many bytes. */
  pagesFor(sizeBytes: number): PageCount {
    return Math.ceil(sizeBytes / this.pageBytes)
  }

  /** Pages in a row that are sure to have room for a block of that size: what to add when `refusal` is `REFUSED_SPACE`. */
  runPagesFor(sizeBytes: number, alignBytes: number = GRANULE_BYTES): PageCount {
    return Math.max(1, this.pagesFor(sizeBytes + alignBytes - GRANULE_BYTES))
  }

  // ---- pages -----------------------------------------------------------------------------------------------------

  /** Adds free, clean pages. A range right behind another joins it. Throws a `RangeError` if the books cannot grow. */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.#cache.open()
    this.#space.addRange(firstPage, pageCount)
    this.#meetColumns()
  }

  /** Whether no block lives in a range, so that it can be removed. After `flush`. */
  isRangeFree(range: PageRange): boolean {
    return this.#space.isRangeFree(range)
  }

  /** Removes a range that is free and purged. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.#space.removeRange(firstPage, pageCount)
    this.#meetColumns()
  }

  // For a range whose end moves, as that of the program break does:

  /** How many pages at the end of a range are free and clean: what `removeTail` takes at most. After `flush`. */
  cleanTailPages(range: PageRange): PageCount {
    return this.#space.cleanTailPages(range)
  }

  /** Removes the last `pageCount` pages of a range, which are free and clean; all of it where it has no more. */
  removeTail(range: PageRange, pageCount: PageCount): void {
    this.#space.removeTail(range, pageCount)
    this.#meetColumns()
  }

  /** Whether freed blocks are kept, or space is held back for small ones, so that more can be had after `flush`. */
  get hasKept(): boolean {
    return this.#space.hasFront || !this.#cache.isEmpty
  }

  /** Whether `flush` may make pages free. */
  get holdsPages(): boolean {
    return this.#space.frontHoldsPages || !this.#cache.isEmpty
  }

  /**
   * Gives up what is kept for the next block of its size: a page is used afterwards exactly where a live block touches it.
   * At most some thousand blocks.
   */
  flush(): void {
    this.#cache.flush((block, end) => this.#space.give(block, end))
    this.#space.dropFront()
  }

  /** Gives back the memory of books that were needed once and are mostly unused now. After `flush`. */
  shrinkBooks(): void {
    this.#table.shrink()
    if (this.#cache.isEmpty) this.#cache.shrink()
    this.#meetColumns()
  }

  #meetColumns(): void {
    const { ranges, pageGranules, bits } = this.#table
    const last = ranges[ranges.length - 1]
    this.#bits = bits
    this.#stacks = this.#cache.stacks
    this.#endPair = last === undefined ? 0 : pairOf((last.firstPage + last.pageCount) * pageGranules)
  }

  /** Most pages that may be committed. */
  set limitPages(pageCount: PageCount) {
    this.#states.limitPages = pageCount
  }

  get limitPages(): PageCount {
    return this.#states.limitPages
  }

  /** A live block of a page or more that was handed out on clean pages only, so that it read as zero then: the latest, or NONE. */
  get zeroedBlock(): Block {
    return this.#space.zeroedBlock
  }

  /** Pages with live blocks, and those with blocks that are kept. */
  get usedPages(): PageCount {
    return this.#states.usedPages
  }

  get dirtyPages(): PageCount {
    return this.#states.dirtyPages
  }

  get committedPages(): PageCount {
    return this.#states.committedPages
  }

  get peakUsedPages(): PageCount {
    return Math.max(this.#earlierPeakUsed, this.#states.peakUsedPages)
  }

  get peakCommittedPages(): PageCount {
    return this.#states.peakCommittedPages
  }

  get refaultedPages(): PageCount {
    return this.#states.refaultedPages
  }

  get managedPages(): PageCount {
    return this.#table.managedPages
  }

  get liveBlocks(): number {
    return this.#space.heldBlocks - this.#cache.keptBlocks
  }

  get metadataBytes(): number {
    return this.#table.metadataBytes + this.#cache.metadataBytes
  }

  // ---- purging ---------------------------------------------------------------------------------------------------

  /** Most pages that were used at once since the last call of this. Costs the allocating paths nothing. */
  takePeakUsed(): PageCount {
    const peak = this.#states.peakUsedPages
    this.#earlierPeakUsed = this.peakUsedPages
    this.#states.peakUsedPages = this.#states.usedPages
    return peak
  }

  /** Dirty pages that were dirty at the last `ageDirtyPages` and not used since. Reads one bitmap. */
  get agedPages(): PageCount {
    return countRange(this.#table.aged, 0, this.#table.columnPages)
  }

  /** Every page that is dirty now counts as aged, until it is used again or purged. */
  ageDirtyPages(): void {
    this.#states.age()
  }

  /** First page, at or above `from`, of a stretch of dirty pages (of aged ones, if asked), or NONE. */
  nextDirty(from: PageNumber, agedOnly: boolean): PageNumber {
    const page = this.#states.nextDirty(from, agedOnly)
    return page < this.#table.columnPages ? page : NONE
  }

  /** The end of the stretch of dirty pages that starts at `firstPage`; no more than `maxPages` behind it. */
  dirtyEnd(firstPage: PageNumber, maxPages: PageCount, agedOnly: boolean): PageNumber {
    return this.#states.dirtyEnd(firstPage, maxPages, agedOnly)
  }

  /** Whether any page of the range is dirty. */
  anyDirty(firstPage: PageNumber, pageCount: PageCount): boolean {
    return this.#states.anyDirty(firstPage, pageCount)
  }

  /** These dirty pages were given back to the kernel: they are clean. */
  markPurged(firstPage: PageNumber, pageCount: PageCount): void {
    this.#space.markPurged(firstPage, pageCount)
  }

  /**
   * These free, clean pages of one gap were made resident: they are dirty from now on. Returns false, and changes nothing,
   * where that would commit more than `limitPages`.
   */
  markResident(firstPage: PageNumber, pageCount: PageCount): boolean {
    return this.#space.markResident(firstPage, pageCount)
  }

  /** First page and end, in turn, of each stretch of pages that no live block touches, in order. Flushes. */
  listUnused(): PageNumber[] {
    this.flush()
    return this.#space.listUnused()
  }

  // ---- proof -----------------------------------------------------------------------------------------------------

  /** Throws an `Error` that names the first broken invariant. Walks everything. */
  check(): void {
    this.#table.check()
    const held = new Set<Block>()
    let live = 0
    this.#space.check(block => {
      if (this.#space.map.isLive(block)) live++
      else held.add(block)
    })
    this.#cache.check(block => invariant(held.delete(block), `1: kept block ${block} is held back, once`))
    invariant(held.size === 0, `1: ${held.size} blocks are held back by nobody`)
    invariant(live === this.liveBlocks, `1: ${this.liveBlocks} live blocks, found ${live}`)
    const { ranges, pageGranules, bits } = this.#table
    const last = ranges[ranges.length - 1]
    const end = last === undefined ? 0 : pairOf((last.firstPage + last.pageCount) * pageGranules)
    invariant(this.#endPair === end && this.#bits === bits, '2: the end of the map')
  }
}
