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
import type { PageCount, PageNumber } from '../base/units.js'
import { PageTable } from './page-table.js'

const { min } = Math

/** Counts used and dirty pages, and has the bitmaps of dirty, aged and purged ones. */
export class PageStates extends PageTable {
  usedPages: PageCount = 0
  dirtyPages: PageCount = 0
  /** The most pages that were used at once since the last call of `BlockHeap.takePeakUsed`. */
  recentPeakPages: PageCount = 0
  peakCommittedPages: PageCount = 0
  /**
   * The most pages that may be committed. Only `useCounted` commits pages, so only it can reach the limit.
   */
  limitPages: PageCount = Number.MAX_SAFE_INTEGER
  /** Whether there may be an aged page. If false, `aged` is all zero. */
  private hasAged = false
  /** The refaults so far: pages that were used again after a purge. */
  refaultedPages: PageCount = 0

  /** Used and dirty pages. */
  get committedPages(): PageCount {
    return this.usedPages + this.dirtyPages
  }

  /** Makes all pages neither used nor dirty. Which pages were purged stays known. */
  protected forgetStates(): void {
    const { aged, dirty } = this
    this.usedPages = 0
    this.dirtyPages = 0
    for (let word = wordsFor(this.columnPages) - 1; word >= 0; word--) {
      if (dirty[word] !== 0) dirty[word] = 0
      if (aged[word] !== 0) aged[word] = 0
    }
  }

  /**
   * Counts the pages [firstPage, endPage) as used. Called after `forgetStates`, for pages that blocks touch.
   */
  protected countUsed(firstPage: PageNumber, endPage: PageNumber): void {
    if (firstPage >= endPage) return
    clearRange(this.purged, firstPage, endPage)
    this.usedPages += endPage - firstPage
  }

  /**
   * Counts the free pages [firstPage, endPage). Called after `forgetStates`. Pages that were purged are
   * clean, all others may be resident and are dirty. Returns the number of clean ones.
   */
  protected countFree(firstPage: PageNumber, endPage: PageNumber): PageCount {
    let clean = 0
    for (let page = firstPage; page < endPage; page++) {
      if (testBit(this.purged, page)) clean++
      else setRange(this.dirty, page, page + 1)
    }
    if (firstPage < endPage) this.dirtyPages += endPage - firstPage - clean
    return clean
  }

  /** Whether `cleanCount` more pages may be committed. */
  fits(cleanCount: PageCount): boolean {
    return this.committedPages + cleanCount <= this.limitPages
  }

  /** The number of clean pages among these free pages. Using them would commit as many. */
  cleanIn(firstPage: PageNumber, pageCount: PageCount): PageCount {
    return pageCount - countRange(this.dirty, firstPage, firstPage + pageCount)
  }

  /**
   * Makes free pages used, of which `dirtyCount` are dirty. Returns false, and changes nothing, if that would
   * commit more than `limitPages`.
   */
  useCounted(firstPage: PageNumber, pageCount: PageCount, dirtyCount: PageCount): boolean {
    const end = firstPage + pageCount
    const word = firstPage >>> 5
    if (dirtyCount === pageCount && word === (end - 1) >>> 5) {
      // Nearly all blocks come by here: they take a few pages, and all of these are dirty.
      const kept = ~((-1 << firstPage) & (-1 >>> -end))
      this.dirty[word] &= kept
      if (this.hasAged) this.aged[word] &= kept
      this.dirtyPages -= pageCount
      this.usedPages += pageCount
      if (this.usedPages > this.recentPeakPages) this.recentPeakPages = this.usedPages
      return true
    }
    if (dirtyCount < pageCount) {
      if (!this.fits(pageCount - dirtyCount)) return false
      this.refaultedPages += countRange(this.purged, firstPage, end)
      clearRange(this.purged, firstPage, end)
    }
    if (dirtyCount > 0) {
      this.dirtyPages -= dirtyCount
      clearRange(this.dirty, firstPage, end)
      if (this.hasAged) clearRange(this.aged, firstPage, end)
    }
    this.usedPages += pageCount
    if (this.usedPages > this.recentPeakPages) this.recentPeakPages = this.usedPages
    if (this.committedPages > this.peakCommittedPages) this.peakCommittedPages = this.committedPages
    return true
  }

  /** Makes used pages dirty: they come free. */
  release(firstPage: PageNumber, pageCount: PageCount): void {
    setRange(this.dirty, firstPage, firstPage + pageCount)
    this.usedPages -= pageCount
    this.dirtyPages += pageCount
  }

  /** Makes free pages clean after they were given back. Returns how many of them were dirty. */
  markPurged(firstPage: PageNumber, pageCount: PageCount): PageCount {
    const { dirty, aged, purged } = this
    const end = firstPage + pageCount
    const count = countRange(dirty, firstPage, end)
    clearRange(dirty, firstPage, end)
    clearRange(aged, firstPage, end)
    setRange(purged, firstPage, end)
    this.dirtyPages -= count
    return count
  }

  /** Forgets pages that are no longer managed. They must be clean. */
  forgetPages(firstPage: PageNumber, pageCount: PageCount): void {
    const end = firstPage + pageCount
    invariant(countRange(this.dirty, firstPage, end) === 0, 'only clean pages are forgotten')
    clearRange(this.purged, firstPage, end)
  }

  /** Makes every page that is dirty now aged, until it is used again or purged. */
  age(): void {
    const { aged, dirty } = this
    this.hasAged = true
    // Writes only where the bitmaps differ, so that untouched memory stays untouched.
    for (let w = wordsFor(this.columnPages) - 1; w >= 0; w--) if (aged[w] !== dirty[w]) aged[w] = dirty[w]
    this.hasAged = this.dirtyPages > 0
  }

  /**
   * The first page, at or above `from`, of a stretch of dirty pages, or `columnPages` if there is none. With
   * `agedOnly`, of aged pages.
   */
  nextDirty(from: PageNumber, agedOnly: boolean): PageNumber {
    return nextSet(agedOnly ? this.aged : this.dirty, from, this.columnPages)
  }

  /**
   * The end of the stretch of dirty (or aged) pages that begins at `firstPage`. The stretch is cut off after
   * `maxPages`.
   */
  dirtyEnd(firstPage: PageNumber, maxPages: PageCount, agedOnly: boolean): PageNumber {
    const end = min(this.columnPages, firstPage + maxPages)
    return nextClear(agedOnly ? this.aged : this.dirty, firstPage, end)
  }

  /** Whether every page of [firstPage, end) was purged and not used since, so that it is free and clean. */
  arePurged(firstPage: PageNumber, end: PageNumber): boolean {
    return nextClear(this.purged, firstPage, end) === end
  }

  /** Whether any page of the range is dirty. */
  anyDirty(firstPage: PageNumber, pageCount: PageCount): boolean {
    const end = min(this.columnPages, firstPage + pageCount)
    return nextSet(this.dirty, firstPage, end) < end
  }

  /**
   * Checks counts and bitmaps. `isUsed` says whether a block, or an end of the front, touches a managed page.
   */
  checkPages(isUsed: (page: PageNumber) => boolean): void {
    let used = 0
    let dirty = 0
    for (const range of this.ranges) {
      for (let page = range.firstPage; page < range.firstPage + range.pageCount; page++) {
        const isDirty = testBit(this.dirty, page)
        if (isUsed(page)) {
          used++
          invariant(!isDirty, `2: used page ${page} is not dirty`)
          invariant(!testBit(this.purged, page), `2: used page ${page} is not purged`)
        } else if (isDirty) {
          dirty++
          invariant(!testBit(this.purged, page), `2: purged page ${page} is not dirty`)
        }
        invariant(isDirty || !testBit(this.aged, page), `2: aged page ${page} is dirty`)
      }
    }
    invariant(used === this.usedPages, `1: ${this.usedPages} pages used, found ${used}`)
    invariant(dirty === this.dirtyPages, `2: ${this.dirtyPages} pages dirty, found ${dirty}`)
    invariant(countRange(this.dirty, 0, this.columnPages) === dirty, '2: no unmanaged page is dirty')
    invariant(used + dirty <= this.managedPages, '1: no more used and dirty pages than managed ones')
    invariant(this.committedPages <= this.limitPages, '3: committed pages within the limit')
  }
}
