/**
 * The columns that the books of pages are kept in, and the page-number space they describe.
 *
 * For each page below the highest one ever managed: a tag of four bytes that says what is there, four links that only the
 * first page of a free run uses, and one bit in each of four bitmaps; 20.5 bytes, half a percent of a 4 KiB page. Nothing
 * is stored in the managed memory itself, so a free page is truly empty and an overrun cannot reach the books. The
 * columns grow with the highest page ever managed, not with the capacity.
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
import { type ColumnStorage, copyTo, disposeOf } from './columns.js'

/**
 * Tags, one a page. 0: inside a run, or not managed: no block starts there. Positive: a page of a slab, whose record is
 * at `tag - 1`. Negative and odd: the first or the last page of a free run. Negative and even: the first page of a run
 * that is one block. Negative tags carry the run's length.
 */
export const TAG_NONE = 0

export function freeTag(pageCount: PageCount): number {
  return -2 * pageCount - 1
}

export function usedTag(pageCount: PageCount): number {
  return -2 * pageCount
}

export function isFreeTag(tag: number): boolean {
  return tag < 0 && (tag & 1) !== 0
}

export function isUsedTag(tag: number): boolean {
  return tag < 0 && (tag & 1) === 0
}

/** Pages of the run that a negative tag is of. */
export function lengthOf(tag: number): PageCount {
  return -tag >>> 1
}

// Links of a free run, at its first page: link `l` of page `p` is `links[(p << LINK_SHIFT) + l]`.
export const LINK_SHIFT = 2
export const NEXT = 0 // neighbours in its bin, as pages
export const PREV = 1
export const DIRTY = 2 // how many of its pages are dirty
export const BIN = 3 // the bin that holds it

const MIN_PAGE_SHIFT = 12
const MAX_PAGE_SHIFT = 16
const MIN_COLUMN_PAGES = 64

export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

export class PageTable {
  readonly pageBytes: number
  /** log2 of granules a page: `block >>> granuleShift` is the block's page. */
  readonly granuleShift: number

  /** A tag for each page below `columnPages`, and one more, always 0, so that a page's right neighbour can be read. */
  tags: Int32Array
  links: Int32Array
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
  readonly #storage: ColumnStorage

  /** `pageBytes`: a power of two from 4 KiB to 64 KiB. */
  constructor(pageBytes: number, storage: ColumnStorage) {
    const pageShift = 31 - Math.clz32(pageBytes)
    invariant(
      pageBytes === 1 << pageShift && pageShift >= MIN_PAGE_SHIFT && pageShift <= MAX_PAGE_SHIFT,
      `pages are 4 to 64 KiB, not ${pageBytes} bytes`,
    )
    this.pageBytes = pageBytes
    this.granuleShift = pageShift - 4
    this.#storage = storage
    this.tags = copyTo(new Int32Array(0), 1, storage)
    this.links = new Int32Array(0)
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
    return this.tags.byteLength + this.links.byteLength + 4 * this.dirty.byteLength
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
    const after = this.#ranges[at]
    invariant(before === undefined || before.firstPage + before.pageCount <= firstPage, 'ranges are disjoint')
    invariant(
      after === undefined || after.firstPage > end,
      'a range joins the one before it, never one behind it',
    )
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

  /** Gives up columns of which less than half is used. Where there is no memory to do so, nothing happens. */
  shrink(): void {
    const last = this.#ranges[this.#ranges.length - 1]
    const pages = Math.max(MIN_COLUMN_PAGES, last === undefined ? 0 : last.firstPage + last.pageCount)
    if (pages > this.columnPages >>> 1) return
    try {
      this.#replaceColumns(pages)
    } catch {
      // No memory for the shorter ones: the longer ones go on.
    }
  }

  /** Segments double what is managed, so growing to exactly what is asked costs amortised O(1) a page. */
  #reserveColumns(pageCount: PageCount): void {
    if (pageCount <= this.columnPages) return
    this.#replaceColumns(Math.max(MIN_COLUMN_PAGES, pageCount))
  }

  #replaceColumns(pages: PageCount): void {
    const words = wordsFor(pages)
    const old = [this.tags, this.links, this.dirty, this.aged, this.purged, this.freeHeads]
    const storage = this.#storage
    // All before any is stored: an allocation that throws leaves the table as it was.
    const tags = copyTo(this.tags, pages + 1, storage)
    const links = copyTo(this.links, pages << LINK_SHIFT, storage)
    const dirty = copyTo(this.dirty, words, storage)
    const aged = copyTo(this.aged, words, storage)
    const purged = copyTo(this.purged, words, storage)
    const freeHeads = copyTo(this.freeHeads, words, storage)
    this.tags = tags
    this.links = links
    this.dirty = dirty
    this.aged = aged
    this.purged = purged
    this.freeHeads = freeHeads
    this.columnPages = pages
    for (const column of old) disposeOf(column, storage)
  }

  check(): void {
    const { tags } = this
    let page = 0
    let managed = 0
    for (const range of this.#ranges) {
      invariant(range.firstPage >= page && range.pageCount > 0, '1: ranges are ascending and disjoint')
      for (; page < range.firstPage; page++) invariant(tags[page] === TAG_NONE, '2: no tag between ranges')
      page = range.firstPage + range.pageCount
      managed += range.pageCount
    }
    invariant(page <= this.columnPages && managed === this.managedPages, '1: ranges lie within the columns')
    for (; page <= this.columnPages; page++) invariant(tags[page] === TAG_NONE, '2: no tag behind the ranges')
  }
}
