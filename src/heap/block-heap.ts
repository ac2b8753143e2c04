/**
 * Blocks over a page-number space: which block a size gets, what a block is, and what freeing it makes free.
 *
 * A small block is a slot of a slab, a larger one a run of pages. Which of the two a granule index belongs to stands in
 * the tag of its page, so looking a block up is exact and O(1): a granule where no live block starts (freed, inside a
 * block, unaligned, never managed) is told from one where a block does without any search.
 *
 * It knows no kernel, no addon and no Buffer. Whoever owns the pages adds ranges of page numbers, is told by `refusal`
 * why an allocation found none, reads off which pages are dirty, and says when they were purged. Nothing here calls up.
 *
 * Invariants, checked by `check()` together with those of the parts:
 *  1. every managed page is in exactly one of: a free run, a slab, a block that is a run
 *  2. live blocks = live slots + runs that are blocks
 *  3. a page is used exactly where a live block touches it
 */
import { invariant } from '../base/assert.js'
import { previousSet } from '../base/bits.js'
import type { Block, PageCount, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import { type ColumnStorage, plainStorage } from './columns.js'
import { PageRuns } from './page-runs.js'
import { PageStates } from './page-states.js'
import * as layout from './page-table.js'
import { type PageRange, PageTable } from './page-table.js'
import * as classLayout from './size-class.js'
import { SizeClasses } from './size-class.js'
import { Slabs } from './slabs.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { isFreeTag, isUsedTag, lengthOf, TAG_NONE, usedTag } = layout
const { CLASS_SHIFT, GRANULES, MAX_SLAB_BYTES, NO_CLASS, PAGES } = classLayout
const { GRANULE_BYTES, GRANULE_SHIFT, NONE } = units

/** No free run is long enough: add pages and try again. */
export const REFUSED_SPACE = 1
/** It would commit more than `limitPages`: purge and try again. */
export const REFUSED_LIMIT = 2
/** The runtime had no memory for the books: `failure` is what it said. */
export const REFUSED_BOOKS = 3

export class BlockHeap {
  readonly pageBytes: number
  readonly #table: PageTable
  readonly #states: PageStates
  readonly #runs: PageRuns
  readonly #classes: SizeClasses
  readonly #slabs: Slabs
  #liveRuns = 0
  /** Why the last `allocate` returned NONE. Valid only right after it did. */
  refusal = 0
  failure: unknown = null
  /** A live block that was handed out on clean pages only, so that it read as zero then: the latest such, or NONE. */
  zeroedBlock: Block = NONE

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. `storage`: memory for the books. */
  constructor(pageBytes: number, storage: ColumnStorage = plainStorage) {
    this.pageBytes = pageBytes
    this.#table = new PageTable(pageBytes, storage)
    this.#states = new PageStates(this.#table)
    this.#runs = new PageRuns(this.#table)
    this.#classes = new SizeClasses(pageBytes)
    this.#slabs = new Slabs(this.#table, this.#states, this.#runs, this.#classes, storage)
  }

  // ---- blocks ----------------------------------------------------------------------------------------------------

  /**
   * A block of at least `sizeBytes` (an integer from 0 to 2^35), or NONE; `refusal` then says why. O(1).
   */
  allocate(sizeBytes: number): Block {
    const sizeClass = this.#classOfSize(sizeBytes)
    return sizeClass !== NO_CLASS
      ? this.#allocateSlot(sizeClass)
      : this.#allocateRun(this.pagesFor(sizeBytes))
  }

  /** The same, at a multiple of `alignBytes`: a power of two from 16 to the page size. */
  allocateAligned(sizeBytes: number, alignBytes: number): Block {
    const sizeClass = this.#classes.aligned(sizeBytes, alignBytes)
    return sizeClass !== NO_CLASS ? this.#allocateSlot(sizeClass) : this.allocatePages(sizeBytes)
  }

  /** The same in whole pages of its own, whatever the size: for small blocks where no slab fits any more. */
  allocatePages(sizeBytes: number): Block {
    return this.#allocateRun(Math.max(1, this.pagesFor(sizeBytes)))
  }

  #allocateSlot(sizeClass: number): Block {
    const block = this.#slabs.allocate(sizeClass)
    return block !== NONE ? block : this.#allocateLastSlot(sizeClass)
  }

  /** Tries again with the pages of empty slabs, and says why there is nothing. */
  #allocateLastSlot(sizeClass: number): Block {
    if (!this.#slabs.hasRoom(sizeClass) && this.#slabs.releaseCurrents()) {
      const block = this.#slabs.allocate(sizeClass)
      if (block !== NONE) return block
    }
    this.refusal = this.#slabs.hasRoom(sizeClass) ? REFUSED_LIMIT : REFUSED_SPACE
    if (this.#slabs.failure !== null) {
      this.refusal = REFUSED_BOOKS
      this.failure = this.#slabs.failure
      this.#slabs.failure = null
    }
    return NONE
  }

  #allocateRun(pageCount: PageCount): Block {
    let first = this.#runs.take(pageCount)
    if (first === NONE && this.#slabs.releaseCurrents()) first = this.#runs.take(pageCount)
    if (first === NONE) {
      this.refusal = REFUSED_SPACE
      return NONE
    }
    const dirtyCount = this.#runs.takenDirty
    if (!this.#states.useCounted(first, pageCount, dirtyCount)) {
      this.#runs.give(first, pageCount)
      this.refusal = REFUSED_LIMIT
      return NONE
    }
    const block = first << this.#table.granuleShift
    this.zeroedBlock = dirtyCount === 0 ? block : NONE
    this.#table.tags[first] = usedTag(pageCount)
    this.#liveRuns++
    return block
  }

  /** Ends a block. Returns false, and changes nothing, where no live block starts at this granule (an int32). O(1). */
  free(block: Block): boolean {
    const { tags, granuleShift, columnPages } = this.#table
    const page = block >>> granuleShift
    if (page >= columnPages) return false
    const tag = tags[page]
    if (tag > 0) return this.#slabs.free(block, tag - 1)
    if (!isUsedTag(tag) || block !== page << granuleShift) return false
    const length = lengthOf(tag)
    tags[page] = TAG_NONE
    this.#states.release(page, length)
    this.#runs.giveCounted(page, length, length)
    this.#liveRuns--
    this.zeroedBlock = NONE
    return true
  }

  /** Whether a live block starts at this granule. O(1). */
  isLive(block: Block): boolean {
    const { tags, granuleShift, columnPages } = this.#table
    const page = block >>> granuleShift
    if (page >= columnPages) return false
    const tag = tags[page]
    return tag > 0 ? this.#slabs.isLive(block, tag - 1) : isUsedTag(tag) && block === page << granuleShift
  }

  /** Usable bytes of a live block: at least what was asked for. */
  sizeOf(block: Block): number {
    const { tags, granuleShift } = this.#table
    const tag = tags[block >>> granuleShift]
    return tag > 0 ? this.#classColumn(tag, GRANULES) << GRANULE_SHIFT : lengthOf(tag) * this.pageBytes
  }

  /**
   * Makes a live block fit `sizeBytes` without moving it, where its slot is the right one for that size or its run can
   * shrink or grow over free pages behind it. Returns false, and changes nothing, where it has to move; `refusal` then
   * says whether the page limit alone stood in the way.
   */
  resize(block: Block, sizeBytes: number): boolean {
    const { tags, granuleShift } = this.#table
    const page = block >>> granuleShift
    const tag = tags[page]
    this.refusal = REFUSED_SPACE
    if (tag > 0 || sizeBytes <= MAX_SLAB_BYTES) {
      return (
        tag > 0 &&
        sizeBytes <= MAX_SLAB_BYTES &&
        this.#classOfSize(sizeBytes) === this.#slabs.classOf(tag - 1)
      )
    }
    const pageCount = this.pagesFor(sizeBytes)
    const length = lengthOf(tag)
    if (pageCount > length) return this.#growRun(page, length, pageCount)
    if (pageCount < length) {
      tags[page] = usedTag(pageCount)
      this.#states.release(page + pageCount, length - pageCount)
      this.#runs.give(page + pageCount, length - pageCount)
    }
    return true
  }

  #growRun(page: PageNumber, length: PageCount, pageCount: PageCount): boolean {
    const more = pageCount - length
    if (this.#runs.freeRunAt(page + length) < more) return false
    const cleanCount = this.#states.cleanIn(page + length, more)
    if (!this.#states.fits(cleanCount)) {
      this.refusal = REFUSED_LIMIT
      return false
    }
    // In this order: taking the pages reads their dirty bits, using them clears these.
    this.#runs.takeAt(page + length, more)
    this.#states.useCounted(page + length, more, more - cleanCount)
    this.#table.tags[page] = usedTag(pageCount)
    return true
  }

  /** Every live block, in ascending order. Walks all pages. */
  listLive(): Int32Array {
    const { tags, granuleShift, ranges } = this.#table
    const blocks = new Int32Array(this.liveBlocks)
    let count = 0
    for (const { firstPage, pageCount } of ranges) {
      for (let page = firstPage; page < firstPage + pageCount; page += this.#pagesAt(page)) {
        const tag = tags[page]
        if (tag > 0) count += this.#slabs.listLive(tag - 1, blocks.subarray(count))
        else if (isUsedTag(tag)) blocks[count++] = page << granuleShift
      }
    }
    return blocks
  }

  /** Pages of the slab or run that starts at `page`. */
  #pagesAt(page: PageNumber): PageCount {
    const tag = this.#table.tags[page]
    return tag > 0 ? this.#classColumn(tag, PAGES) : lengthOf(tag)
  }

  /** A figure of the size class of the slab with this tag. */
  #classColumn(tag: number, column: number): number {
    return this.#classes.columns[(this.#slabs.classOf(tag - 1) << CLASS_SHIFT) + column]
  }

  #classOfSize(sizeBytes: number): number {
    if (sizeBytes > MAX_SLAB_BYTES) return NO_CLASS
    return this.#classes.ofGranules[(sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT]
  }

  /** Whole pages for that many bytes. */
  pagesFor(sizeBytes: number): PageCount {
    return Math.ceil(sizeBytes / this.pageBytes)
  }

  /** Pages in a row that a block of that size may need: what to add when `refusal` is `REFUSED_SPACE`. */
  runPagesFor(sizeBytes: number): PageCount {
    return sizeBytes > MAX_SLAB_BYTES ? this.pagesFor(sizeBytes) : this.#classes.longestSlabPages
  }

  // ---- pages -----------------------------------------------------------------------------------------------------

  /** Adds free, clean pages. A range right behind another joins it. Throws a `RangeError` if the books cannot grow. */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.#table.addRange(firstPage, pageCount)
    this.#runs.give(firstPage, pageCount)
  }

  /** Whether no block lives in a range, so that it can be removed. */
  isRangeFree(range: PageRange): boolean {
    return this.#runs.freeRunAt(range.firstPage) === range.pageCount
  }

  /** Removes a range that is free and purged. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.#runs.takeAt(firstPage, pageCount)
    this.#states.forget(firstPage, pageCount)
    this.#table.removeRange(firstPage, pageCount)
  }

  // For a range whose end moves, as that of the program break does:

  /** How many pages at the end of a range are free and clean: what `removeTail` takes at most. */
  cleanTailPages({ firstPage, pageCount }: PageRange): PageCount {
    const { tags, dirty } = this.#table
    const last = firstPage + pageCount - 1
    if (pageCount === 0 || !isFreeTag(tags[last])) return 0
    return Math.min(lengthOf(tags[last]), last - previousSet(dirty, last))
  }

  /** Removes the last `pageCount` pages of a range, which are free and clean; all of it where it has no more. */
  removeTail({ firstPage, pageCount: length }: PageRange, pageCount: PageCount): void {
    const end = firstPage + length
    const free = lengthOf(this.#table.tags[end - 1])
    this.#runs.takeAt(end - free, free)
    if (free > pageCount) this.#runs.give(end - free, free - pageCount)
    this.#states.forget(end - pageCount, pageCount)
    this.#table.removeRange(firstPage, length)
    if (length > pageCount) this.#table.addRange(firstPage, length - pageCount)
  }

  /** Slabs kept warm for the next small block give their pages back. Before ranges are tested for being free. */
  releaseEmptySlabs(): void {
    this.#slabs.releaseCurrents()
  }

  /** Gives back the memory of books that were needed once and are mostly unused now. */
  shrinkBooks(): void {
    this.#table.shrink()
    this.#slabs.shrinkBooks()
  }

  /** Most pages that may be committed. */
  set limitPages(pageCount: PageCount) {
    this.#states.limitPages = pageCount
  }

  get limitPages(): PageCount {
    return this.#states.limitPages
  }

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
    return this.#states.peakUsedPages
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
    return this.#slabs.liveSlots + this.#liveRuns
  }

  get metadataBytes(): number {
    return this.#table.metadataBytes + this.#slabs.metadataBytes
  }

  // ---- purging ---------------------------------------------------------------------------------------------------

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
    const { tags } = this.#table
    const end = firstPage + pageCount
    this.#states.markPurged(firstPage, pageCount)
    for (let page = firstPage; page < end; ) {
      if (tags[page] > 0) {
        page++ // an idle page of a slab
        continue
      }
      const head = this.#runs.headOf(page)
      page = head + lengthOf(tags[head])
      this.#runs.refresh(head)
    }
  }

  // ---- proof -----------------------------------------------------------------------------------------------------

  /** Throws an `Error` that names the first broken invariant. Walks everything. */
  check(): void {
    this.#table.check()
    this.#runs.check()
    const { tags, ranges } = this.#table
    const used = new Uint8Array(this.#table.columnPages)
    const count = { freePages: 0, runs: 0, slabs: 0, listedSlabs: 0 }
    for (const { firstPage, pageCount } of ranges) {
      let page = firstPage
      while (page < firstPage + pageCount) {
        const tag = tags[page]
        invariant(tag !== TAG_NONE, `1: page ${page} starts a free run, a slab or a block`)
        page += tag > 0 ? this.#checkSlab(page, used, count) : this.#checkRun(page, used, count)
      }
      invariant(page === firstPage + pageCount, '1: a range is covered exactly')
    }
    invariant(count.freePages === this.#runs.freePages, '1: every free run is in a bin')
    invariant(count.runs === this.#liveRuns, '2: live runs')
    this.#slabs.checkLists(count.listedSlabs, count.slabs)
    this.#states.check(page => used[page] === 1)
  }

  #checkSlab(
    firstPage: PageNumber,
    used: Uint8Array,
    count: { slabs: number; listedSlabs: number },
  ): PageCount {
    const pages = this.#slabs.checkSlab(firstPage)
    for (let page = firstPage; page < firstPage + pages; page++)
      used[page] = this.#slabs.isPageLive(page) ? 1 : 0
    count.slabs++
    if (this.#slabs.isListed(this.#table.tags[firstPage] - 1)) count.listedSlabs++
    return pages
  }

  #checkRun(firstPage: PageNumber, used: Uint8Array, count: { freePages: number; runs: number }): PageCount {
    const { tags } = this.#table
    const length = lengthOf(tags[firstPage])
    if (isFreeTag(tags[firstPage])) {
      count.freePages += length
      return length
    }
    count.runs++
    used.fill(1, firstPage, firstPage + length)
    for (let page = firstPage + 1; page < firstPage + length; page++) {
      invariant(tags[page] === TAG_NONE, `1: no tag inside the block at page ${firstPage}`)
    }
    return length
  }
}
