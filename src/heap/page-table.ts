/**
 * The columns, and the ranges of managed pages that they describe.
 *
 * The columns grow with the highest page ever managed, not with the capacity. Short columns grow by an
 * eighth, long ones double. All columns lie in one buffer, one behind the other.
 *
 * This file makes, copies and drops columns, whatever they hold. The files that use the columns say what they
 * mean: `granule-map` (bits, occupied, rows), `short-gaps` (tops, leaves, branches, roots), `long-gaps`
 * (rows), `page-states` (dirty, aged, purged), `touched-books` (touched).
 *
 * Invariants, checked by `checkRanges`:
 *  1. ranges are disjoint, in ascending order, and lie within the reached part of the columns
 */
import { invariant } from '../base/assert.js'
import { clearRange, wordsFor } from '../base/bits.js'
import { bufferOf, byteOffsetOf, fillBytes, lengthOf, SafeMap } from '../base/primordials.js'
import { MAX_SPACE_BYTES, type PageCount, type PageNumber } from '../base/units.js'
import { type Books, NO_COLUMNS, type PageRange } from './books.js'
import { type Column, type Columns, copyTouched, wholeWords } from './columns.js'
import {
  BINS,
  BITS_PREFIX,
  FIRST_COLUMNS_AT,
  FIRST_COLUMNS_BYTES,
  FRAME_GRANULES,
  ROW_WORDS,
} from './layout.js'
import {
  copyGroups,
  FRAME_BITS_WORDS,
  GROUP_GRANULES_SHIFT,
  GROUP_SHIFT,
  groupsFor,
  LEVEL_SHIFT,
  noteTouched,
  touchedBytes,
} from './touched-books.js'

const { ceil, max, min } = Math

const MIN_COLUMN_PAGES = 4
/**
 * From this length on columns double. The runtime maps memory of its own for columns that long, and the
 * kernel gives that memory only when it is touched.
 */
const DOUBLING_FROM_PAGES = 2048
/** Fewer frames are not purged: the `bits` of 64 frames fill one page of 4 KiB. */
const MIN_PURGED_FRAMES = 64

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

/** Layouts of short columns. The key is the number of granules that the columns describe. */
const shortLayouts = new SafeMap<number, Layout>()
const NAMES = Object.keys(ELEMENT_BYTES) as (keyof Columns)[]
const WORD_BYTES = 4
/** The page size of most systems. It is used where `ColumnStorage.pageBytes` is absent. */
const USUAL_PAGE_BYTES = 4096
/**
 * From this total length on each column begins on a page. A page then belongs to one column only, so its
 * memory can be given back. Shorter books are counted as a whole.
 */
const PAGED_FROM_BYTES = 64 * 1024

/**
 * Bytes of memory that the books take. Of the stacks only the words that were touched count. Reads
 * `occupied`: one word for each 8 KiB of managed space.
 */
export function bookBytes(books: Books): number {
  if (books.isDropped) return 0
  const { binBits, bottoms, heads, spareRooms, summaries } = books
  const binBytes = heads.byteLength + binBits.byteLength + summaries.byteLength
  const stackBytes = books.touchedSlots * WORD_BYTES + bottoms.byteLength + spareRooms.byteLength
  return columnBytes(books) + binBytes + stackBytes
}

/**
 * Bytes of memory that the columns take: the pages that were written to and not given back. Columns of less
 * than 64 KiB count in full. Reads `occupied`: one word for each 8 KiB of managed space.
 */
export function columnBytes(books: Books): number {
  if (books.columnPages === 0) return 0
  const lengths = lengthsFor(books, books.reachedPages)
  const bytes = offsetsOf(books, lengths).endBytes
  if (bytes < PAGED_FROM_BYTES) return bytes
  const groupCount = groupsFor(lengths.occupied)
  noteTouched(books, groupCount)
  return touchedBytes(books, groupCount, lengths.dirty, bookPageBytes(books))
}

/**
 * Marks the group of `granule` as written to. Called before something starts there that may be gone before
 * `noteTouched` looks.
 */
export function touch(books: Books, granule: number): void {
  const group = granule >>> GROUP_GRANULES_SHIFT
  books.touched[group >>> 5] |= 1 << (group & 31)
}

/**
 * Makes pages known. A range that begins where another ends extends that one. Throws a `RangeError` if the
 * columns cannot grow; nothing has changed then.
 */
export function insertRange(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  const end = firstPage + pageCount
  if (end > books.columnPages) replaceColumns(books, pagesToReach(books, end))
  if (end > books.reachedPages) books.reachedPages = end
  const known = books.ranges
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
  books.ranges = ranges
  books.managedPages += pageCount
}

/** Forgets a whole range. `firstPage` and `pageCount` must be those of the range. */
export function deleteRange(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  shortenRange(books, { firstPage, pageCount }, pageCount)
}

/**
 * Forgets the last `count` pages of a range. The ranges are valid at each moment in between, so an
 * interruption does no harm.
 */
export function shortenRange(books: Books, { firstPage, pageCount }: PageRange, count: PageCount): void {
  const known = books.ranges
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
  books.ranges = ranges
  books.managedPages -= count
}

/**
 * Gives back the memory of the books of frames [firstFrame, endFrame). The frames lie inside one gap, and
 * nothing starts or ends in them. So their `bits` and `occupied` are zero, and their rows mean nothing. In
 * a large space with few blocks these are most of the books.
 */
export function purgeFrames(books: Books, firstFrame: number, endFrame: number): void {
  const storage = books.storage
  if (storage.purge === undefined || endFrame - firstFrame < MIN_PURGED_FRAMES) return
  purgeColumn(
    books,
    books.bits,
    BITS_PREFIX + firstFrame * FRAME_BITS_WORDS,
    (endFrame - firstFrame) * FRAME_BITS_WORDS,
  )
  purgeColumn(books, books.rows, firstFrame * ROW_WORDS, (endFrame - firstFrame) * ROW_WORDS)
  purgeColumn(books, books.occupied, firstFrame, endFrame - firstFrame)
  clearRange(books.touched, groupsFor(firstFrame), endFrame >>> GROUP_SHIFT)
}

/** Tells the storage that `length` elements of a column, from `first` on, are not needed for now. */
function purgeColumn(books: Books, column: Column, first: number, length: number): void {
  const { BYTES_PER_ELEMENT } = column
  const offsetBytes = byteOffsetOf(column) + first * BYTES_PER_ELEMENT
  books.storage.purge?.(bufferOf(column), offsetBytes, length * BYTES_PER_ELEMENT)
}

/**
 * How many pages the new columns should have room for, to reach page `end`. At least an eighth more than
 * now, so that growing costs amortised O(1) a page.
 */
export function pagesToReach(books: Books, end: PageCount): PageCount {
  const { columnPages } = books
  const grown = columnPages < DOUBLING_FROM_PAGES ? columnPages + (columnPages >>> 3) : 2 * columnPages
  return max(MIN_COLUMN_PAGES, end, min(grown, MAX_SPACE_BYTES / books.pageBytes))
}

/**
 * Replaces the columns by shorter ones if at most half of the reached pages is still needed. Does nothing
 * if there is no memory for the shorter ones.
 */
export function shrinkColumns(books: Books): void {
  const last = books.ranges[books.ranges.length - 1]
  const pages = max(MIN_COLUMN_PAGES, last === undefined ? 0 : last.firstPage + last.pageCount)
  if (pages > books.reachedPages >>> 1) return
  try {
    replaceColumns(books, pages)
  } catch {
    // No memory for the shorter columns: the longer ones stay in use.
  }
}

/**
 * The lengths of the columns, in elements, for `pages` pages. They describe one frame more, because the map
 * marks where the last range ends.
 */
function lengthsFor(books: Books, pages: PageCount): Lengths {
  const frames = pages * (books.pageGranules / FRAME_GRANULES) + 1
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
function replaceColumns(books: Books, pages: PageCount): void {
  // Used only from the second time on: the empty columns of the beginning were never allocated here.
  const storage = bufferOf(books.bits)
  const isFirst = books.columnPages === 0
  const made = makeColumns(books, pages)
  if (!isFirst) copyColumns(books, made)
  setColumns(books, made, lengthOf(made.roots), pages)
  if (!isFirst && storage !== books.region.buffer) books.storage.dispose(storage)
}

/**
 * Gives up the columns and the region. `regionBytes`: how much of the region was written to and must be
 * zeroed.
 */
export function dropColumns(books: Books, regionBytes: number): void {
  if (books.isDropped) return
  const storage = bufferOf(books.bits)
  const isOwn = books.columnPages > 0 && storage !== books.region.buffer
  // This is set first. An interruption after it leaves a region that nobody uses, never a region with two
  // users.
  books.isDropped = true
  books.ranges = []
  books.managedPages = 0
  books.reachedPages = 0
  setColumns(books, NO_COLUMNS, 0, 0)
  if (isOwn) books.storage.dispose(storage)
  const { buffer, offsetBytes } = books.region
  fillBytes(new Uint8Array(buffer, offsetBytes, regionBytes), 0)
  books.storage.giveRegion?.(books.region)
}

/** Copies what was written to. `to` must be zero. */
function copyColumns(books: Books, to: Columns): void {
  noteTouched(books, groupsFor(lengthOf(books.occupied)))
  copyGroups(books, to)
  copyTouched(books.occupied, to.occupied)
  copyTouched(books.tops, to.tops)
  copyTouched(books.leaves, to.leaves)
  copyTouched(books.branches, to.branches)
  copyTouched(books.roots, to.roots)
  copyTouched(books.dirty, to.dirty)
  copyTouched(books.aged, to.aged)
  copyTouched(books.purged, to.purged)
}

/**
 * Puts new columns in the place of the old ones. It calls nothing in between, so it cannot be interrupted.
 */
function setColumns(books: Books, made: Columns, rootWords: number, pages: PageCount): void {
  if (books.reachedPages > pages) books.reachedPages = pages
  books.bits = made.bits
  books.occupied = made.occupied
  books.rows = made.rows
  books.tops = made.tops
  books.leaves = made.leaves
  books.branches = made.branches
  books.roots = made.roots
  books.dirty = made.dirty
  books.aged = made.aged
  books.purged = made.purged
  books.touched = made.touched
  books.rootWords = rootWords
  books.columnPages = pages
}

/**
 * Lengths and offsets of the columns for `pages` pages. Those of short columns are remembered,
 * because many heaps have such columns.
 */
function layoutFor(books: Books, pages: PageCount): Layout {
  const key = pages * books.pageGranules
  const known = shortLayouts.get(key)
  if (known !== undefined) return known
  const lengths = lengthsFor(books, pages)
  const layout = { lengths, ...offsetsOf(books, lengths) }
  if (layout.endBytes <= FIRST_COLUMNS_BYTES) shortLayouts.set(key, layout)
  return layout
}

/** Zeroed columns for `pages` pages, one behind the other. Throws if there is no memory. */
function makeColumns(books: Books, pages: PageCount): Columns {
  const { lengths, offsets, endBytes } = layoutFor(books, pages)
  // Only the first columns lie in the region. Afterwards its memory is not zero any more.
  const isInRegion = books.columnPages === 0 && endBytes <= FIRST_COLUMNS_BYTES
  const storage = isInRegion ? books.region.buffer : books.storage.allocate(endBytes)
  const at = isInRegion ? books.region.offsetBytes + FIRST_COLUMNS_AT : 0
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
function offsetsOf(books: Books, lengths: Lengths): { offsets: Lengths; endBytes: number } {
  const packed = offsetsFrom(lengths, WORD_BYTES)
  return packed.endBytes < PAGED_FROM_BYTES ? packed : offsetsFrom(lengths, bookPageBytes(books))
}

/** The unit, in bytes, in which memory of the books comes and goes. */
function bookPageBytes(books: Books): number {
  return books.storage.pageBytes ?? USUAL_PAGE_BYTES
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
