/**
 * What each managed page is to the kernel: *used* (a live or kept block touches it), *dirty* (free, and may
 * be resident) or *clean* (free, and known to read as zero). This file has counts and bitmaps only. It does
 * not know which gap or block a page belongs to.
 *
 * Dirty pages age. `age()` marks all pages that are dirty now, and a page that is used again loses its mark.
 * A caller that purges the marked pages at the end of each interval gives every page back within two
 * intervals of coming free, and no page that was used within the last one.
 *
 * Invariants, checked by `checkPages`:
 *  1. used + dirty + clean = managed pages
 *  2. `dirtyPages` counts the bits of `dirty`; aged pages are dirty; no purged page is dirty
 *  3. committed pages = used + dirty, never above `limitPages`
 */
import { invariant } from '../base/assert.js'
import { clearRange, countRange, nextClear, nextSet, setRange, testBit, wordsFor } from '../base/bits.js'
import { NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { Books } from './books.js'

const { min } = Math

/** Used and dirty pages. */
export function committedPages(books: Books): PageCount {
  return books.usedPages + books.dirtyPages
}

/** Makes all pages neither used nor dirty. Which pages were purged stays known. */
export function forgetStates(books: Books): void {
  const { aged, dirty } = books
  books.usedPages = 0
  books.dirtyPages = 0
  for (let word = wordsFor(books.columnPages) - 1; word >= 0; word--) {
    if (dirty[word] !== 0) dirty[word] = 0
    if (aged[word] !== 0) aged[word] = 0
  }
}

/**
 * Counts the pages [firstPage, endPage) as used. Called after `forgetStates`, for pages that blocks touch.
 */
export function countUsed(books: Books, firstPage: PageNumber, endPage: PageNumber): void {
  if (firstPage >= endPage) return
  clearRange(books.purged, firstPage, endPage)
  books.usedPages += endPage - firstPage
}

/**
 * Counts the free pages [firstPage, endPage). Called after `forgetStates`. Pages that were purged are
 * clean, all others may be resident and are dirty. Returns the number of clean ones.
 */
export function countFree(books: Books, firstPage: PageNumber, endPage: PageNumber): PageCount {
  let clean = 0
  for (let page = firstPage; page < endPage; page++) {
    if (testBit(books.purged, page)) clean++
    else setRange(books.dirty, page, page + 1)
  }
  if (firstPage < endPage) books.dirtyPages += endPage - firstPage - clean
  return clean
}

/** Whether `cleanCount` more pages may be committed. */
export function fits(books: Books, cleanCount: PageCount): boolean {
  return committedPages(books) + cleanCount <= books.limitPages
}

/** The number of clean pages among these free pages. Using all of them would commit that many more pages. */
export function cleanIn(books: Books, firstPage: PageNumber, pageCount: PageCount): PageCount {
  return pageCount - countRange(books.dirty, firstPage, firstPage + pageCount)
}

/**
 * Makes free pages used, of which `dirtyCount` are dirty. Returns false, and changes nothing, if that would
 * commit more than `limitPages`.
 */
export function useCounted(
  books: Books,
  firstPage: PageNumber,
  pageCount: PageCount,
  dirtyCount: PageCount,
): boolean {
  const end = firstPage + pageCount
  const word = firstPage >>> 5
  if (dirtyCount === pageCount && word === (end - 1) >>> 5) {
    // Nearly all calls take this path: a few pages, and all of them dirty.
    const kept = ~((-1 << firstPage) & (-1 >>> -end))
    books.dirty[word] &= kept
    if (books.hasAged) books.aged[word] &= kept
    books.dirtyPages -= pageCount
    books.usedPages += pageCount
    if (books.usedPages > books.recentPeakPages) books.recentPeakPages = books.usedPages
    return true
  }
  if (dirtyCount < pageCount) {
    if (!fits(books, pageCount - dirtyCount)) return false
    books.refaultedPages += countRange(books.purged, firstPage, end)
    clearRange(books.purged, firstPage, end)
  }
  if (dirtyCount > 0) {
    books.dirtyPages -= dirtyCount
    clearRange(books.dirty, firstPage, end)
    if (books.hasAged) clearRange(books.aged, firstPage, end)
  }
  books.usedPages += pageCount
  if (books.usedPages > books.recentPeakPages) books.recentPeakPages = books.usedPages
  if (committedPages(books) > books.peakCommittedPages) books.peakCommittedPages = committedPages(books)
  return true
}

/** Makes used pages dirty: they come free. */
export function release(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  setRange(books.dirty, firstPage, firstPage + pageCount)
  books.usedPages -= pageCount
  books.dirtyPages += pageCount
}

/** Makes free pages clean after they were given back. Returns how many of them were dirty. */
export function setPurged(books: Books, firstPage: PageNumber, pageCount: PageCount): PageCount {
  const { dirty, aged, purged } = books
  const end = firstPage + pageCount
  const count = countRange(dirty, firstPage, end)
  clearRange(dirty, firstPage, end)
  clearRange(aged, firstPage, end)
  setRange(purged, firstPage, end)
  books.dirtyPages -= count
  return count
}

/** Forgets pages that are no longer managed. They must be clean. */
export function forgetPages(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  const end = firstPage + pageCount
  invariant(countRange(books.dirty, firstPage, end) === 0, 'only clean pages are forgotten')
  clearRange(books.purged, firstPage, end)
}

/** Makes every page that is dirty now aged, until it is used again or purged. */
export function age(books: Books): void {
  const { aged, dirty } = books
  books.hasAged = true
  // Writes only where the bitmaps differ, so that untouched memory stays untouched.
  for (let w = wordsFor(books.columnPages) - 1; w >= 0; w--) if (aged[w] !== dirty[w]) aged[w] = dirty[w]
  books.hasAged = books.dirtyPages > 0
}

/**
 * The first page, at or above `from`, of a stretch of dirty pages, or NONE. With `agedOnly`, of aged pages.
 */
export function nextDirty(books: Books, from: PageNumber, agedOnly: boolean): PageNumber {
  const page = nextSet(agedOnly ? books.aged : books.dirty, from, books.columnPages)
  return page < books.columnPages ? page : NONE
}

/**
 * The end of the stretch of dirty (or aged) pages that begins at `firstPage`. The stretch is cut off after
 * `maxPages`.
 */
export function dirtyEnd(
  books: Books,
  firstPage: PageNumber,
  maxPages: PageCount,
  agedOnly: boolean,
): PageNumber {
  const end = min(books.columnPages, firstPage + maxPages)
  return nextClear(agedOnly ? books.aged : books.dirty, firstPage, end)
}

/** Whether every page of [firstPage, end) was purged and not used since, so that it is free and clean. */
export function arePurged(books: Books, firstPage: PageNumber, end: PageNumber): boolean {
  return nextClear(books.purged, firstPage, end) === end
}

/** Whether any page of the range is dirty. */
export function anyDirty(books: Books, firstPage: PageNumber, pageCount: PageCount): boolean {
  const end = min(books.columnPages, firstPage + pageCount)
  return nextSet(books.dirty, firstPage, end) < end
}
