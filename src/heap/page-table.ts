/**
 * The columns that the books are kept in, and the page-number space they describe.
 *
 * Nothing is stored in the managed memory itself, so a free page is truly empty and an overrun cannot reach the books.
 * The unit of the books is the *frame*, 256 granules or 4 KiB, whatever the size of a page: two bits a granule say what
 * starts there, 27 bytes a frame what lies across its borders and how long its gaps are, and three bits a page what the
 * page is to the kernel. That is 2.23 % of the space. The columns grow with the highest page ever managed, not with the
 * capacity: by an eighth, and twofold once they are long, as the kernel gives memory for what is touched. In steps of an
 * eighth a heap of 256 MiB left 20 to 30 MiB of outgrown columns to the garbage collector, for books of 6 MiB.
 *
 * This file owns storage and ranges. What the columns mean is said where they are kept: `granule-map` (bits, occupied,
 * rows), `short-gaps` (tops, leaves, branches, roots), `long-gaps` (rows), `page-states` (dirty, aged, purged).
 *
 * Invariants, checked by `checkRanges`:
 *  1. ranges are disjoint, in ascending order, and lie within what was reached of the columns
 */
import { invariant } from '../base/assert.js'
import { wordsFor } from '../base/bits.js'
import { MAX_SPACE_BYTES, type PageCount, type PageNumber } from '../base/units.js'
import { type Column, type ColumnStorage, copyTo, disposeOf } from './columns.js'
import { BINS, BITS_PREFIX, FRAME_GRANULES, ROW_WORDS } from './layout.js'

/** Words of `bits` a frame: a pair for every 32 granules. A frame is one cache line. */
const FRAME_BITS_WORDS = 16

/** Each level of the tree over frames has a bit for a word of the one below. */
const LEVEL_SHIFT = 5

const MIN_PAGE_SHIFT = 12
const MAX_PAGE_SHIFT = 16
const MIN_COLUMN_PAGES = 64
/** From here on most columns are long enough that the runtime maps memory for each, which costs nothing until it is touched. */
const DOUBLING_FROM_PAGES = 2048
/** The bits of fewer frames are less than a page. */
const MIN_PURGED_FRAMES = 64

export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

interface Columns {
  bits: Int32Array
  occupied: Uint16Array
  rows: Int32Array
  tops: Uint8Array
  leaves: Int32Array
  branches: Int32Array
  roots: Int32Array
  dirty: Int32Array
  aged: Int32Array
  purged: Int32Array
}

export class PageTable implements Columns {
  readonly pageBytes: number
  /** log2 of granules a page: `block >>> granuleShift` is the block's page. */
  readonly granuleShift: number
  readonly pageGranules: number

  bits = new Int32Array(0)
  occupied = new Uint16Array(0)
  rows = new Int32Array(0)
  tops = new Uint8Array(0)
  leaves = new Int32Array(0)
  branches = new Int32Array(0)
  roots = new Int32Array(0)
  /** Bit set: the page holds no live byte and may still be resident. */
  dirty = new Int32Array(0)
  /** Bit set: dirty since before the last call of `PageStates.age`. A subset of `dirty`. */
  aged = new Int32Array(0)
  /** Bit set: the page was purged and not used since, so that its next use is a refault. */
  purged = new Int32Array(0)

  columnPages: PageCount = 0
  /** Behind this page nothing in the columns was ever touched. */
  private reachedPages: PageCount = 0
  /** All pages of all ranges. */
  managedPages: PageCount = 0
  private knownRanges: PageRange[] = []
  protected readonly storage: ColumnStorage

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, storage: ColumnStorage) {
    const pageShift = 31 - Math.clz32(pageBytes)
    invariant(
      pageBytes === 1 << pageShift && pageShift >= MIN_PAGE_SHIFT && pageShift <= MAX_PAGE_SHIFT,
      `pages are 4 to 64 KiB, not ${pageBytes} bytes`,
    )
    this.pageBytes = pageBytes
    this.granuleShift = pageShift - 4
    this.pageGranules = 1 << this.granuleShift
    this.storage = storage
  }

  get ranges(): readonly PageRange[] {
    return this.knownRanges
  }

  /** Bytes of the columns, as far as pages were ever managed. */
  get metadataBytes(): number {
    if (this.columnPages === 0) return 0
    const lengths = this.lengthsFor(this.reachedPages)
    return this.columns().reduce(
      (bytes, [name, column]) => bytes + lengths[name] * column.BYTES_PER_ELEMENT,
      0,
    )
  }

  /**
   * Makes pages known. A range that begins where another ends extends it. Throws a `RangeError` where the columns cannot
   * grow; nothing has changed then.
   */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    const end = firstPage + pageCount
    if (end > this.columnPages) this.replaceColumns(this.pagesToReach(end))
    if (end > this.reachedPages) this.reachedPages = end
    let at = this.knownRanges.findIndex(range => range.firstPage >= end)
    if (at < 0) at = this.knownRanges.length
    const before = this.knownRanges[at - 1]
    const after = this.knownRanges[at]
    invariant(before === undefined || before.firstPage + before.pageCount <= firstPage, 'ranges are disjoint')
    invariant(
      after === undefined || after.firstPage > end,
      'a range joins the one before it, never one behind it',
    )
    if (before !== undefined && before.firstPage + before.pageCount === firstPage) {
      this.knownRanges[at - 1] = { firstPage: before.firstPage, pageCount: before.pageCount + pageCount }
    } else {
      this.knownRanges.splice(at, 0, { firstPage, pageCount })
    }
    this.managedPages += pageCount
  }

  /** Forgets a range that was added whole. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    const at = this.knownRanges.findIndex(
      range => range.firstPage === firstPage && range.pageCount === pageCount,
    )
    invariant(at >= 0, 'a range is removed as it was added')
    this.knownRanges.splice(at, 1)
    this.managedPages -= pageCount
  }

  /**
   * Frames [firstFrame, endFrame) lie inside one gap, and nothing starts or ends there: their bits are zero and their rows
   * mean nothing, so the memory of both can go. With few blocks left in a large space, it is most of the books.
   */
  purgeFrames(firstFrame: number, endFrame: number): void {
    const storage = this.storage
    if (storage.purge === undefined || endFrame - firstFrame < MIN_PURGED_FRAMES) return
    const bitsAt = (frame: number) => (BITS_PREFIX + frame * FRAME_BITS_WORDS) * Int32Array.BYTES_PER_ELEMENT
    const rowsAt = (frame: number) => frame * ROW_WORDS * Int32Array.BYTES_PER_ELEMENT
    storage.purge(this.bits.buffer as ArrayBuffer, bitsAt(firstFrame), bitsAt(endFrame) - bitsAt(firstFrame))
    storage.purge(this.rows.buffer as ArrayBuffer, rowsAt(firstFrame), rowsAt(endFrame) - rowsAt(firstFrame))
  }

  /** Pages of columns that are to reach `end`. More by an eighth at least, so that growing costs amortised O(1) a page. */
  protected pagesToReach(end: PageCount): PageCount {
    const { columnPages } = this
    const grown = columnPages < DOUBLING_FROM_PAGES ? columnPages + (columnPages >>> 3) : 2 * columnPages
    return Math.max(MIN_COLUMN_PAGES, end, Math.min(grown, MAX_SPACE_BYTES / this.pageBytes))
  }

  /** Gives up columns of which less than half is used of what was. Where there is no memory to do so, nothing happens. */
  shrinkColumns(): void {
    const last = this.knownRanges[this.knownRanges.length - 1]
    const pages = Math.max(MIN_COLUMN_PAGES, last === undefined ? 0 : last.firstPage + last.pageCount)
    if (pages > this.reachedPages >>> 1) return
    try {
      this.replaceColumns(pages)
      this.reachedPages = pages
    } catch {
      // No memory for the shorter ones: the longer ones go on.
    }
  }

  private columns(): [keyof Columns, Column][] {
    const { bits, occupied, rows, tops, leaves, branches, roots, dirty, aged, purged } = this
    return Object.entries({ bits, occupied, rows, tops, leaves, branches, roots, dirty, aged, purged }) as [
      keyof Columns,
      Column,
    ][]
  }

  /** Lengths of the columns for that many pages. One frame more than there are: where the last range ends is marked. */
  private lengthsFor(pages: PageCount): Record<keyof Columns, number> {
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
    }
  }

  private replaceColumns(pages: PageCount): void {
    const storage = this.storage
    const lengths = this.lengthsFor(pages)
    const old = this.columns()
    const made: Column[] = []
    try {
      for (const [name, column] of old) made.push(copyTo(column, lengths[name], storage))
    } catch (error) {
      // None is stored yet: the table is as it was.
      for (const column of made) disposeOf(column, storage)
      throw error
    }
    Object.assign(this, Object.fromEntries(old.map(([name], index) => [name, made[index]])))
    this.columnPages = pages
    for (const [, column] of old) disposeOf(column, storage)
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
