/**
 * The columns that hold the books, and the page ranges that they describe.
 *
 * Nothing is stored in the managed memory itself. So a free page is truly empty, and an overrun cannot reach
 * the books. The unit of the books is the *frame*: 256 granules, 4 KiB in an arena, for every page size. The
 * books have, for each
 *
 *  - granule: two bits that say what starts there (`granule-map`)
 *  - frame: 27 bytes that say what crosses its borders and how long its gaps are
 *  - page: three bits that say what the page is to the kernel (`page-states`)
 *
 * That is 2.23 % of the space. Books take memory only where they were written to. To mark a long block or gap
 * never writes to the books of its inside.
 *
 * The columns grow with the highest page ever managed, not with the capacity. Short columns grow by an
 * eighth, long ones double. All columns lie in one buffer, one behind the other.
 *
 * This file owns the storage and the ranges. The files that use the columns say what they mean: `granule-map`
 * (bits, occupied, rows), `short-gaps` (tops, leaves, branches, roots), `long-gaps` (rows), `page-states`
 * (dirty, aged, purged), `touched-books` (touched).
 *
 * Invariants, checked by `checkRanges`:
 *  1. ranges are disjoint, in ascending order, and lie within the reached part of the columns
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
/**
 * From this length on columns double. The runtime maps memory of its own for columns that long, and the
 * kernel gives that memory only when it is touched.
 */
const DOUBLING_FROM_PAGES = 2048
/** Fewer frames are not purged: the `bits` of 64 frames fill one page of 4 KiB. */
const MIN_PURGED_FRAMES = 64

export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

/** One number for each column. */
type Lengths = Record<keyof Columns, number>

/** Bytes that one element of each column takes. */
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
/** The length of each column in elements, its offset in bytes, and where the last column ends. */
interface Layout {
  readonly lengths: Lengths
  readonly offsets: Lengths
  readonly endBytes: number
}

/** Layouts of small tables. The key is the number of granules that the columns describe. */
const smallLayouts = new SafeMap<number, Layout>()
const NAMES = Object.keys(ELEMENT_BYTES) as (keyof Columns)[]
const WORD_BYTES = 4
/** The page size of most systems. It is used where `ColumnStorage.pageBytes` is absent. */
const USUAL_PAGE_BYTES = 4096
/**
 * From this total length on each column begins on a page. A page then belongs to one column only, so its
 * memory can be given back. Shorter books are counted as a whole.
 */
const PAGED_FROM_BYTES = 64 * 1024
// Empty columns: a table has them before its first range and after `dropColumns`.
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

/** Owns the columns and the ranges of managed pages. */
export class PageTable implements Columns {
  readonly pageBytes: number
  /** log2 of the granules in a page. `block >>> granuleShift` is the page in which the block starts. */
  readonly granuleShift: number
  readonly pageGranules: number

  bits = NO_WORDS
  occupied = NO_HALVES
  rows = NO_WORDS
  tops = NO_BYTES
  leaves = NO_WORDS
  branches = NO_WORDS
  roots = NO_WORDS
  /** A set bit: the page is free and may be resident. */
  dirty = NO_WORDS
  /** A set bit: the page was already dirty at the last call of `PageStates.age`. A subset of `dirty`. */
  aged = NO_WORDS
  /** A set bit: the page was purged and was not used since. So its next use is a refault. */
  purged = NO_WORDS
  /** A set bit: the books of that group of frames were written to, see `touched-books`. */
  touched = NO_WORDS

  /** How many pages the columns have room for. */
  columnPages: PageCount = 0
  /** The length of `roots` in words. */
  protected rootWords = 0
  /**
   * The end of the pages that were ever managed in these columns. Behind it the columns were never touched.
   */
  private reachedPages: PageCount = 0
  /** The number of pages in all ranges together. */
  managedPages: PageCount = 0
  private knownRanges: PageRange[] = []
  protected readonly storage: ColumnStorage
  /**
   * Memory for the books of fixed length and for the first columns. Once `isDropped` is set, it belongs to
   * another heap.
   */
  private readonly region: Region
  /**
   * Whether the books were given up. Their memory may then be another heap's, so nothing may read or write
   * it.
   */
  protected isDropped = false

  /** `pageBytes` is a power of two from 4 KiB to 64 KiB. */
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

  /** Words of the region, from `offsetBytes` on. `length` counts words. */
  protected words(offsetBytes: number, length: number): Int32Array<ArrayBuffer> {
    const { buffer, offsetBytes: start } = this.region
    return new Int32Array(buffer, start + offsetBytes, length)
  }

  /** Half-words of the region, from `offsetBytes` on. `length` counts half-words. */
  protected halves(offsetBytes: number, length: number): Uint16Array<ArrayBuffer> {
    const { buffer, offsetBytes: start } = this.region
    return new Uint16Array(buffer, start + offsetBytes, length)
  }

  /**
   * All managed ranges, in ascending order. A change replaces the array, so a caller may keep it while it
   * iterates.
   */
  get ranges(): readonly PageRange[] {
    return this.knownRanges
  }

  /**
   * Bytes of memory that the columns take: the pages that were written to and not given back. Columns of less
   * than 64 KiB count in full. Reads `occupied`: one word for each 8 KiB of managed space.
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

  /**
   * Marks the group of `granule` as written to. Called before something starts there that may be gone before
   * `noteTouched` looks.
   */
  protected touch(granule: number): void {
    const group = granule >>> GROUP_GRANULES_SHIFT
    this.touched[group >>> 5] |= 1 << (group & 31)
  }

  /**
   * Makes pages known. A range that begins where another ends extends that one. Throws a `RangeError` if the
   * columns cannot grow; nothing has changed then.
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

  /** Forgets a whole range. `firstPage` and `pageCount` must be those of the range. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    this.shortenRange({ firstPage, pageCount }, pageCount)
  }

  /**
   * Forgets the last `count` pages of a range. The ranges are valid at each moment in between, so an
   * interruption does no harm.
   */
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
   * Gives back the memory of the books of frames [firstFrame, endFrame). The frames lie inside one gap, and
   * nothing starts or ends in them. So their `bits` and `occupied` are zero, and their rows mean nothing. In
   * a large space with few blocks these are most of the books.
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

  /** Tells the storage that `length` elements of a column, from `first` on, are not needed for now. */
  private purgeColumn(column: Column, first: number, length: number): void {
    const { BYTES_PER_ELEMENT } = column
    const offsetBytes = byteOffsetOf(column) + first * BYTES_PER_ELEMENT
    this.storage.purge?.(bufferOf(column), offsetBytes, length * BYTES_PER_ELEMENT)
  }

  /**
   * How many pages the new columns should have room for, to reach page `end`. At least an eighth more than
   * now, so that growing costs amortised O(1) a page.
   */
  protected pagesToReach(end: PageCount): PageCount {
    const { columnPages } = this
    const grown = columnPages < DOUBLING_FROM_PAGES ? columnPages + (columnPages >>> 3) : 2 * columnPages
    return max(MIN_COLUMN_PAGES, end, min(grown, MAX_SPACE_BYTES / this.pageBytes))
  }

  /**
   * Replaces the columns by shorter ones if at most half of the reached pages is still needed. Does nothing
   * if there is no memory for the shorter ones.
   */
  shrinkColumns(): void {
    const last = this.knownRanges[this.knownRanges.length - 1]
    const pages = max(MIN_COLUMN_PAGES, last === undefined ? 0 : last.firstPage + last.pageCount)
    if (pages > this.reachedPages >>> 1) return
    try {
      this.replaceColumns(pages)
    } catch {
      // No memory for the shorter columns: the longer ones stay in use.
    }
  }

  /**
   * The lengths of the columns, in elements, for `pages` pages. They describe one frame more, because the map
   * marks where the last range ends.
   */
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

  /**
   * Makes columns for `pages` pages, copies the old ones to them, and disposes of the old ones. Throws, and
   * changes nothing, if there is no memory.
   */
  private replaceColumns(pages: PageCount): void {
    // Used only from the second time on: the empty columns of the beginning were never allocated here.
    const storage = bufferOf(this.bits)
    const isFirst = this.columnPages === 0
    const made = this.makeColumns(pages)
    if (!isFirst) this.copyColumns(made)
    this.setColumns(made, lengthOf(made.roots), pages)
    if (!isFirst && storage !== this.region.buffer) this.storage.dispose(storage)
  }

  /**
   * Gives up the columns and the region. `regionBytes`: how much of the region was written to and must be
   * zeroed.
   */
  protected dropColumns(regionBytes: number): void {
    if (this.isDropped) return
    const storage = bufferOf(this.bits)
    const isOwn = this.columnPages > 0 && storage !== this.region.buffer
    // This is set first. An interruption after it leaves a region that nobody uses, never a region with two
    // users.
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

  /** Copies what was written to. `to` must be zero. */
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

  /**
   * Puts new columns in the place of the old ones. It calls nothing in between, so it cannot be interrupted.
   */
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

  /**
   * Lengths and offsets of the columns for `pages` pages. Those of small tables are remembered, because there
   * are many small tables.
   */
  private layoutFor(pages: PageCount): Layout {
    const key = pages * this.pageGranules
    const known = smallLayouts.get(key)
    if (known !== undefined) return known
    const lengths = this.lengthsFor(pages)
    const layout = { lengths, ...this.offsetsOf(lengths) }
    if (layout.endBytes <= FIRST_COLUMNS_BYTES) smallLayouts.set(key, layout)
    return layout
  }

  /** Zeroed columns for `pages` pages, one behind the other. Throws if there is no memory. */
  private makeColumns(pages: PageCount): Columns {
    const { lengths, offsets, endBytes } = this.layoutFor(pages)
    // Only the first columns lie in the region. Afterwards its memory is not zero any more.
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

  /**
   * The offset of each column in bytes, and where the last one ends. Long books are aligned to pages, short
   * ones to words.
   */
  private offsetsOf(lengths: Lengths): { offsets: Lengths; endBytes: number } {
    const packed = offsetsFrom(lengths, WORD_BYTES)
    return packed.endBytes < PAGED_FROM_BYTES ? packed : offsetsFrom(lengths, this.bookPageBytes)
  }

  /** The unit, in bytes, in which memory of the books comes and goes. */
  private get bookPageBytes(): number {
    return this.storage.pageBytes ?? USUAL_PAGE_BYTES
  }

  /** Throws an `Error` if invariant 1 does not hold. */
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

/** The offset of each column in bytes, a multiple of `alignBytes`, and where the last column ends. */
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
