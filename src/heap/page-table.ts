/**
 * The columns that all of the heap's books are kept in, and the page-number space they describe.
 *
 * One record of 1/64 of a page (64 bytes for a 4 KiB page: one cache line) for each page that was ever managed, in one
 * `Int32Array`: what `free` must read to find and judge a block lies together. The first eight words are the fields
 * below, the rest is the slot bitmap of a slab that starts on that page. Beside it one bit a page for what the kernel
 * holds. Nothing is stored in the managed memory itself, so a free page is truly empty and an overrun cannot reach the
 * books. The columns grow with the highest page ever managed, not with the capacity.
 *
 * This file owns storage and ranges. It does not know which page is free or why (`page-runs`, `slabs`, `page-states`).
 *
 * Invariants, checked by `check()`:
 *  1. ranges are disjoint, in ascending order, and lie within the columns
 *  2. no page outside the ranges carries a tag
 */
import { invariant } from '../base/assert.js'
import { wordsFor } from '../base/bits.js'
import type { PageCount, PageNumber } from '../base/units.js'

/** What a page is. Positive tags are the size class of the slab the page belongs to. */
export const TAG_NONE = 0 // inside a run, or not managed: no block starts here
export const TAG_FREE = -1 // the first or last page of a free run
export const TAG_RUN = -2 // the first page of a run that is one block

// Fields of a record. A field is valid only under the tags named.
export const TAG = 0
export const LENGTH = 1 // FREE (first and last page), RUN: pages in the run
export const SLAB = 1 // slab pages: record index of the slab's first page
export const NEXT = 2 // first page of a FREE run or of a slab in a list: neighbours in its bin or bucket
export const PREV = 3
export const DIRTY = 4 // first page of a FREE run: how many of its pages are dirty
export const FREE_SLOTS = 4 // first page of a slab
export const BIN = 5 // first page of a FREE run: the bin that holds it
export const HINT = 5 // first page of a slab: no slot is free in the bitmap words before this one
export const LIVE = 6 // pages of a slab of several: live slots that touch this page
export const BUCKET = 7 // first page of a slab: the bucket that lists it, or NONE
export const BITMAP = 8 // first page of a slab: first word of its slot bitmap, 1 = free

const MIN_PAGE_SHIFT = 12
const MAX_PAGE_SHIFT = 16
const FIRST_COLUMN_PAGES = 64

export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

export class PageTable {
  readonly pageBytes: number
  /** log2 of granules a page: `block >>> granuleShift` is the block's page. */
  readonly granuleShift: number
  /** log2 of words a record: `page << recordShift` is the page's record. */
  readonly recordShift: number

  /** One record for each page below `columnPages`, and one more, all zero, so that a page's right neighbour can be read. */
  records: Int32Array
  /** Bit set: the page holds no live byte and may still be resident. */
  dirty: Int32Array
  /** Bit set: dirty since before the last call of `PageStates.age`. A subset of `dirty`. */
  aged: Int32Array
  /** Bit set: the page was purged and not used since, so that its next use is a refault. */
  purged: Int32Array
  /** Bit set: a free run starts here. Finds the run around a page in the middle of it. */
  freeHeads: Int32Array

  columnPages: PageCount = 0
  /** All pages of all ranges. */
  managedPages: PageCount = 0
  #ranges: PageRange[] = []

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number) {
    const pageShift = Math.log2(pageBytes)
    invariant(
      Number.isInteger(pageShift) && pageShift >= MIN_PAGE_SHIFT && pageShift <= MAX_PAGE_SHIFT,
      `pages are 4 to 64 KiB, not ${pageBytes} bytes`,
    )
    this.pageBytes = pageBytes
    this.granuleShift = pageShift - 4
    this.recordShift = pageShift - 8
    this.records = new Int32Array(1 << this.recordShift)
    this.dirty = new Int32Array(0)
    this.aged = new Int32Array(0)
    this.purged = new Int32Array(0)
    this.freeHeads = new Int32Array(0)
  }

  get ranges(): readonly PageRange[] {
    return this.#ranges
  }

  /** Bytes of the columns. */
  get metadataBytes(): number {
    return this.records.byteLength + 4 * this.dirty.byteLength
  }

  /**
   * Makes pages known, all unmanaged tags zero. A range that begins where another ends extends it. Throws a
   * `RangeError` where the columns cannot grow; nothing has changed then.
   */
  addRange(firstPage: PageNumber, pageCount: PageCount): void {
    const end = firstPage + pageCount
    this.#reserveColumns(end)
    let at = this.#ranges.findIndex(range => range.firstPage >= end)
    if (at < 0) at = this.#ranges.length
    const before = this.#ranges[at - 1]
    invariant(before === undefined || before.firstPage + before.pageCount <= firstPage, 'ranges are disjoint')
    if (before !== undefined && before.firstPage + before.pageCount === firstPage) {
      this.#ranges[at - 1] = { firstPage: before.firstPage, pageCount: before.pageCount + pageCount }
    } else {
      this.#ranges.splice(at, 0, { firstPage, pageCount })
    }
    this.managedPages += pageCount
  }

  /** Forgets a range that was added whole. */
  removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    const at = this.#ranges.findIndex(range => range.firstPage === firstPage && range.pageCount === pageCount)
    invariant(at >= 0, 'a range is removed as it was added')
    this.#ranges.splice(at, 1)
    this.managedPages -= pageCount
  }

  /** Grows by half at least, so that growing costs amortised O(1) a page. */
  #reserveColumns(pageCount: PageCount): void {
    if (pageCount <= this.columnPages) return
    const pages = Math.max(FIRST_COLUMN_PAGES, pageCount, this.columnPages + (this.columnPages >>> 1))
    const words = wordsFor(pages)
    const grown = (old: Int32Array, length: number): Int32Array => {
      const column = new Int32Array(length)
      column.set(old)
      return column
    }
    // All five before any is stored: an allocation that throws leaves the table as it was.
    const records = grown(this.records, (pages + 1) << this.recordShift)
    const dirty = grown(this.dirty, words)
    const aged = grown(this.aged, words)
    const purged = grown(this.purged, words)
    const freeHeads = grown(this.freeHeads, words)
    this.records = records
    this.dirty = dirty
    this.aged = aged
    this.purged = purged
    this.freeHeads = freeHeads
    this.columnPages = pages
  }

  check(): void {
    const { records, recordShift } = this
    let page = 0
    let managed = 0
    for (const range of this.#ranges) {
      invariant(range.firstPage >= page && range.pageCount > 0, '1: ranges are ascending and disjoint')
      for (; page < range.firstPage; page++)
        invariant(records[page << recordShift] === TAG_NONE, '2: no tag between ranges')
      page = range.firstPage + range.pageCount
      managed += range.pageCount
    }
    invariant(page <= this.columnPages && managed === this.managedPages, '1: ranges lie within the columns')
    for (; page <= this.columnPages; page++)
      invariant(records[page << recordShift] === TAG_NONE, '2: no tag behind the ranges')
  }
}
