/**
 * The columns that the books are kept in, and the page-number space they describe.
 *
 * Nothing is stored in the managed memory itself, so a free page is truly empty and an overrun cannot reach the books.
 * The unit of the books is the *frame*, 256 granules or 4 KiB, whatever the size of a page: two bits a granule say what
 * starts there, 27 bytes a frame what lies across its borders and how long its gaps are, and three bits a page what the
 * page is to the kernel. That is 2.23 % of the space, and takes memory where it was written to: inside a long block or gap
 * it is not. The columns grow with the highest page ever managed, not with the capacity: by an eighth, and twofold once they are
 * long. They lie in one buffer, one behind the other. In steps of an
 * eighth a heap of 256 MiB left 20 to 30 MiB of outgrown columns to the garbage collector, for books of 6 MiB.
 *
 * This file owns storage and ranges. What the columns mean is said where they are kept: `granule-map` (bits, occupied,
 * rows), `short-gaps` (tops, leaves, branches, roots), `long-gaps` (rows), `page-states` (dirty, aged, purged), `touched-books`
 * (touched).
 *
 * Invariants, checked by `checkRanges`:
 *  1. ranges are disjoint, in ascending order, and lie within what was reached of the columns
 */
import { invariant } from '../base/assert.js'
import { clearRange, wordsFor } from '../base/bits.js'
import { bufferOf, byteOffsetOf, fillBytes, lengthOf, SafeMap } from '../base/primordials.js'
import { MAX_SPACE_BYTES, type PageCount, type PageNumber } from '../base/units.js'
import { type Column, type ColumnStorage, copyTouched, type Region, wholeWords } from './columns.js'
import {
  BINS,
  BITS_PREFIX,
  FIRST_COLUMNS_AT,
  FIRST_COLUMNS_BYTES,
  FRAME_GRANULES,
  REGION_BYTES,
  ROW_WORDS,
} from './layout.js'
import {
  type Columns,
  copyGroups,
  FRAME_BITS_WORDS,
  GROUP_GRANULES_SHIFT,
  GROUP_SHIFT,
  groupsFor,
  LEVEL_SHIFT,
  noteTouched,
  touchedBytes,
} from './touched-books.js'

const { ceil, clz32, max, min } = Math

const MIN_PAGE_SHIFT = 12
const MAX_PAGE_SHIFT = 16
const MIN_COLUMN_PAGES = 4
/** From here on the columns are long enough that the runtime maps memory for them, which costs nothing until it is touched. */
const DOUBLING_FROM_PAGES = 2048
/** The bits of fewer frames are less than a page. */
const MIN_PURGED_FRAMES = 64

export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

/** A number for each column. */
type Lengths = Record<keyof Columns, number>

/** Bytes of an element of each column. */
const ELEMENT_BYTES: Lengths = {
  bits: 4,
  rows: 4,
  leaves: 4,
  branches: 4,
  roots: 4,
  dirty: 4,
  aged: 4,
  purged: 4,
  touched: 4,
  occupied: 2,
  tops: 1,
}
interface Layout {
  readonly lengths: Lengths
  readonly offsets: Lengths
  readonly endBytes: number
}

/** By the granules that they are for. */
const smallLayouts = new SafeMap<number, Layout>()
const NAMES = Object.keys(ELEMENT_BYTES) as (keyof Columns)[]
const WORD_BYTES = 4
/** Of most systems. */
const USUAL_PAGE_BYTES = 4096
/**
 * From here on each column begins on a page, so that a page has one column only, and its memory can go. Books that are shorter
 * are counted as a whole.
 */
const PAGED_FROM_BYTES = 64 * 1024
// What every table begins and ends with.
const NO_WORDS = new Int32Array(0)
const NO_HALVES = new Uint16Array(0)
const NO_BYTES = new Uint8Array(0)
const NO_COLUMNS: Columns = {
  bits: NO_WORDS,
  occupied: NO_HALVES,
  rows: NO_WORDS,
  tops: NO_BYTES,
  leaves: NO_WORDS,
  branches: NO_WORDS,
  roots: NO_WORDS,
  dirty: NO_WORDS,
  aged: NO_WORDS,
  purged: NO_WORDS,
  touched: NO_WORDS,
}

export class PageTable implements Columns {
  readonly pageBytes: number
  /** log2 of granules a page: `block >>> granuleShift` is the block's page. */
  readonly granuleShift: number
  readonly pageGranules: number

  bits = NO_WORDS
  occupied = NO_HALVES
  rows = NO_WORDS
  tops = NO_BYTES
  leaves = NO_WORDS
  branches = NO_WORDS
  roots = NO_WORDS
  /** Bit set: the page holds no live byte and may still be resident. */
  dirty = NO_WORDS
  /** Bit set: dirty since before the last call of `PageStates.age`. A subset of `dirty`. */
  aged = NO_WORDS
  /** Bit set: the page was purged and not used since, so that its next use is a refault. */
  purged = NO_WORDS
  /** Bit set: books of that group of frames were written to, see `touched-books`. */
  touched = NO_WORDS

  columnPages: PageCount = 0
  /** Words of `roots`. */
  protected rootWords = 0
  /** Behind this page nothing in the columns was ever touched. */
  private reachedPages: PageCount = 0
  /** All pages of all ranges. */
  managedPages: PageCount = 0
  private knownRanges: PageRange[] = []
  protected readonly storage: ColumnStorage
  /** What is of fixed length, and the first columns; another heap's as soon as `isDropped`. */
  private readonly region: Region
  /** The books were given up: whatever of them can still be reached is another heap's. */
  protected isDropped = false

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, storage: ColumnStorage) {
    const pageShift = 31 - clz32(pageBytes)
    invariant(
      pageBytes === 1 << pageShift && pageShift >= MIN_PAGE_SHIFT && pageShift <= MAX_PAGE_SHIFT,
      `pages are 4 to 64 KiB, not ${pageBytes} bytes`,
    )
    this.pageBytes = pageBytes
    this.granuleShift = pageShift - 4
    this.pageGranules = 1 << this.granuleShift
    this.storage = storage
    const taken = storage.takeRegion?.() ?? null
    this.region = taken ?? { buffer: new ArrayBuffer(REGION_BYTES), offsetBytes: 0 }
  }

  protected words(offsetBytes: number, length: number): Int32Array<ArrayBuffer> {
    const { buffer, offsetBytes: start } = this.region
    return new Int32Array(buffer, start + offsetBytes, length)
  }

  protected halves(offsetBytes: number, length: number): Uint16Array<ArrayBuffer> {
    const { buffer, offsetBytes: start } = this.region
    return new Uint16Array(buffer, start + offsetBytes, length)
  }

  get ranges(): readonly PageRange[] {
    return this.knownRanges
  }

  /**
   * Bytes of the columns that take memory: those of the pages that were written to and not given back. Short ones count in
   * full. Reads 1/2048 of what is managed.
   */
  get metadataBytes(): number {
    if (this.columnPages === 0) return 0
    const lengths = this.lengthsFor(this.reachedPages)
    const bytes = this.offsetsOf(lengths).endBytes
    if (bytes < PAGED_FROM_BYTES) return bytes
    const groupCount = groupsFor(lengths.occupied)
    noteTouched(this, groupCount)
    return touchedBytes(this, groupCount, lengths.dirty, this.bookPageBytes)
  }

  /** Something is about to start at this granule that no other column may tell of later. */
  protected touch(granule: number): void {
    const group = granule >>> GROUP_GRANULES_SHIFT
    this.touched[group >>> 5] |= 1 << (group & 31)
  }

  /**
   * Makes pages known. A range that begins where another ends extends it. Throws a `RangeError` where the columns cannot
   * grow; nothing has changed then.
   */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    const end = firstPage + pageCount
    if (end > this.columnPages) this.replaceColumns(this.pagesToReach(end))
    if (end > this.reachedPages) this.reachedPages = end
    const known = this.knownRanges
    const ranges: PageRange[] = []
    let at = 0
    for (; at < known.length && known[at].firstPage < end; at++) ranges[at] = known[at]
    const before = known[at - 1]
    const after = known[at]
    invariant(before === undefined || before.firstPage + before.pageCount <= firstPage, 'ranges are disjoint')
    invariant(
      after === undefined || after.firstPage > end,
      'a range joins the one before it, never one behind it',
    )
    if (before !== undefined && before.firstPage + before.pageCount === firstPage) {
      ranges[at - 1] = { firstPage: before.firstPage, pageCount: before.pageCount + pageCount }
    } else {
      ranges[at] = { firstPage, pageCount }
    }
    for (let length = ranges.length; at < known.length; at++) ranges[length++] = known[at]
    this.knownRanges = ranges
    this.managedPages += pageCount
  }

  /** Forgets a range that was added whole. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.shortenRange({ firstPage, pageCount }, pageCount)
  }

  /** Forgets the last `count` pages of a range. The ranges are right whatever interrupts it. */
  protected shortenRange({ firstPage, pageCount }: PageRange, count: PageCount): void {
    const known = this.knownRanges
    const ranges: PageRange[] = []
    let isFound = false
    let length = 0
    for (let i = 0; i < known.length; i++) {
      if (known[i].firstPage !== firstPage || known[i].pageCount !== pageCount) {
        ranges[length++] = known[i]
        continue
      }
      isFound = true
      if (count < pageCount) ranges[length++] = { firstPage, pageCount: pageCount - count }
    }
    invariant(isFound, 'a range is removed as it was added')
    this.knownRanges = ranges
    this.managedPages -= count
  }

  /**
   * Frames [firstFrame, endFrame) lie inside one gap, and nothing starts or ends there: their bits and what `occupied` says are
   * zero and their rows mean nothing, so the memory of these can go. With few blocks left in a large space, it is most of
   * the books.
   */
  purgeFrames(firstFrame: number, endFrame: number): void {
    const storage = this.storage
    if (storage.purge === undefined || endFrame - firstFrame < MIN_PURGED_FRAMES) return
    this.purgeColumn(
      this.bits,
      BITS_PREFIX + firstFrame * FRAME_BITS_WORDS,
      (endFrame - firstFrame) * FRAME_BITS_WORDS,
    )
    this.purgeColumn(this.rows, firstFrame * ROW_WORDS, (endFrame - firstFrame) * ROW_WORDS)
    this.purgeColumn(this.occupied, firstFrame, endFrame - firstFrame)
    clearRange(this.touched, groupsFor(firstFrame), endFrame >>> GROUP_SHIFT)
  }

  private purgeColumn(column: Column, first: number, length: number): void {
    const { BYTES_PER_ELEMENT } = column
    const offsetBytes = byteOffsetOf(column) + first * BYTES_PER_ELEMENT
    this.storage.purge?.(bufferOf(column), offsetBytes, length * BYTES_PER_ELEMENT)
  }

  /** Pages of columns that are to reach `end`. More by an eighth at least, so that growing costs amortised O(1) a page. */
  protected pagesToReach(end: PageCount): PageCount {
    const { columnPages } = this
    const grown = columnPages < DOUBLING_FROM_PAGES ? columnPages + (columnPages >>> 3) : 2 * columnPages
    return max(MIN_COLUMN_PAGES, end, min(grown, MAX_SPACE_BYTES / this.pageBytes))
  }

  /** Gives up columns of which less than half is used of what was. Where there is no memory to do so, nothing happens. */
  shrinkColumns(): void {
    const last = this.knownRanges[this.knownRanges.length - 1]
    const pages = max(MIN_COLUMN_PAGES, last === undefined ? 0 : last.firstPage + last.pageCount)
    if (pages > this.reachedPages >>> 1) return
    try {
      this.replaceColumns(pages)
    } catch {
      // No memory for the shorter ones: the longer ones go on.
    }
  }

  /** Lengths of the columns for that many pages. One frame more than there are: where the last range ends is marked. */
  private lengthsFor(pages: PageCount): Lengths {
    const frames = pages * (this.pageGranules / FRAME_GRANULES) + 1
    const words = wordsFor(pages)
    return {
      bits: BITS_PREFIX + frames * FRAME_BITS_WORDS,
      occupied: frames,
      rows: frames * ROW_WORDS,
      tops: frames,
      leaves: wordsFor(frames) * BINS,
      branches: wordsFor(frames >>> LEVEL_SHIFT) * BINS + BINS,
      roots: wordsFor(frames >>> (2 * LEVEL_SHIFT)) * BINS + BINS,
      dirty: words,
      aged: words,
      purged: words,
      touched: wordsFor(groupsFor(frames)),
    }
  }

  private replaceColumns(pages: PageCount): void {
    // The empty ones that every column starts as were never allocated here.
    const storage = bufferOf(this.bits)
    const isFirst = this.columnPages === 0
    const made = this.makeColumns(pages)
    if (!isFirst) this.copyColumns(made)
    this.setColumns(made, lengthOf(made.roots), pages)
    if (!isFirst && storage !== this.region.buffer) this.storage.dispose(storage)
  }

  /** Gives up the columns, and the region, of which that many bytes were written to. */
  protected dropColumns(regionBytes: number): void {
    if (this.isDropped) return
    const storage = bufferOf(this.bits)
    const isOwn = this.columnPages > 0 && storage !== this.region.buffer
    // First: what is interrupted after this leaves a region unused, never one with two users.
    this.isDropped = true
    this.knownRanges = []
    this.managedPages = 0
    this.reachedPages = 0
    this.setColumns(NO_COLUMNS, 0, 0)
    if (isOwn) this.storage.dispose(storage)
    const { buffer, offsetBytes } = this.region
    fillBytes(new Uint8Array(buffer, offsetBytes, regionBytes), 0)
    this.storage.giveRegion?.(this.region)
  }

  private copyColumns(to: Columns): void {
    noteTouched(this, groupsFor(lengthOf(this.occupied)))
    copyGroups(this, to)
    copyTouched(this.occupied, to.occupied)
    copyTouched(this.tops, to.tops)
    copyTouched(this.leaves, to.leaves)
    copyTouched(this.branches, to.branches)
    copyTouched(this.roots, to.roots)
    copyTouched(this.dirty, to.dirty)
    copyTouched(this.aged, to.aged)
    copyTouched(this.purged, to.purged)
  }

  /** In one step: nothing is called in it, so nothing interrupts it. */
  private setColumns(made: Columns, rootWords: number, pages: PageCount): void {
    if (this.reachedPages > pages) this.reachedPages = pages
    this.bits = made.bits
    this.occupied = made.occupied
    this.rows = made.rows
    this.tops = made.tops
    this.leaves = made.leaves
    this.branches = made.branches
    this.roots = made.roots
    this.dirty = made.dirty
    this.aged = made.aged
    this.purged = made.purged
    this.touched = made.touched
    this.rootWords = rootWords
    this.columnPages = pages
  }

  /** Lengths and places of columns for that many pages. Those of small tables, of which there are many, are known. */
  private layoutFor(pages: PageCount): Layout {
    const key = pages * this.pageGranules
    const known = smallLayouts.get(key)
    if (known !== undefined) return known
    const lengths = this.lengthsFor(pages)
    const layout = { lengths, ...this.offsetsOf(lengths) }
    if (layout.endBytes <= FIRST_COLUMNS_BYTES) smallLayouts.set(key, layout)
    return layout
  }

  /** Zeroed columns for that many pages, one behind the other. Throws where there is no memory. */
  private makeColumns(pages: PageCount): Columns {
    const { lengths, offsets, endBytes } = this.layoutFor(pages)
    // Later ones do not lie there: it is not zero any more.
    const isInRegion = this.columnPages === 0 && endBytes <= FIRST_COLUMNS_BYTES
    const storage = isInRegion ? this.region.buffer : this.storage.allocate(endBytes)
    const at = isInRegion ? this.region.offsetBytes + FIRST_COLUMNS_AT : 0
    return {
      bits: new Int32Array(storage, at + offsets.bits, lengths.bits),
      occupied: new Uint16Array(storage, at + offsets.occupied, lengths.occupied),
      rows: new Int32Array(storage, at + offsets.rows, lengths.rows),
      tops: new Uint8Array(storage, at + offsets.tops, lengths.tops),
      leaves: new Int32Array(storage, at + offsets.leaves, lengths.leaves),
      branches: new Int32Array(storage, at + offsets.branches, lengths.branches),
      roots: new Int32Array(storage, at + offsets.roots, lengths.roots),
      dirty: new Int32Array(storage, at + offsets.dirty, lengths.dirty),
      aged: new Int32Array(storage, at + offsets.aged, lengths.aged),
      purged: new Int32Array(storage, at + offsets.purged, lengths.purged),
      touched: new Int32Array(storage, at + offsets.touched, lengths.touched),
    }
  }

  /** Where columns of those lengths begin, in bytes, and where the last one ends. */
  private offsetsOf(lengths: Lengths): { offsets: Lengths; endBytes: number } {
    const packed = offsetsFrom(lengths, WORD_BYTES)
    return packed.endBytes < PAGED_FROM_BYTES ? packed : offsetsFrom(lengths, this.bookPageBytes)
  }

  /** The unit in which memory of the books comes and goes. */
  private get bookPageBytes(): number {
    return this.storage.pageBytes ?? USUAL_PAGE_BYTES
  }

  checkRanges(): void {
    let page = 0
    let managed = 0
    for (const range of this.knownRanges) {
      invariant(range.firstPage >= page && range.pageCount > 0, '1: ranges are ascending and disjoint')
      page = range.firstPage + range.pageCount
      managed += range.pageCount
    }
    const isWithin = page <= this.reachedPages && this.reachedPages <= this.columnPages
    invariant(isWithin && managed === this.managedPages, '1: ranges lie within the columns')
  }
}

/** Where columns of those lengths begin, in bytes, each at a multiple of `alignBytes`, and where the last one ends. */
function offsetsFrom(lengths: Lengths, alignBytes: number): { offsets: Lengths; endBytes: number } {
  let endBytes = 0
  const offsets: Partial<Lengths> = {}
  for (let i = 0; i < NAMES.length; i++) {
    const name = NAMES[i]
    const offset = ceil(endBytes / alignBytes) * alignBytes
    offsets[name] = offset
    endBytes = offset + lengths[name] * ELEMENT_BYTES[name]
  }
  return { offsets: offsets as Lengths, endBytes: wholeWords(endBytes) }
}
