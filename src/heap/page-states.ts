/**
 * What each managed page is to the kernel: *used* (holds a live byte), *dirty* (free, maybe resident) or *clean* (free
 * and known to read as zero). Counts and bitmaps only; which gap or block a page belongs to is not its business.
 *
 * Dirty pages age: `age()` marks all that are dirty now, and a page that is used again loses the mark. Purging marked
 * pages at the end of each interval therefore returns every page within two intervals of coming free, and none that
 * was used within the last one.
 *
 * Invariants, checked by `checkPages`:
 *  1. used + dirty + clean = managed pages
 *  2. `dirty` counts the bits of the dirty bitmap; aged is a subset of dirty; no purged page is dirty
 *  3. committed pages = used + dirty, never above `limitPages`
 */
import { invariant } from '../base/assert.js'
import { clearRange, countRange, nextClear, nextSet, setRange, testBit, wordsFor } from '../base/bits.js'
import type { PageCount, PageNumber } from '../base/units.js'
import { PageTable } from './page-table.js'

const { min } = Math

export class PageStates extends PageTable {
  usedPages: PageCount = 0
  dirtyPages: PageCount = 0
  /** Most that were used at once since `BlockHeap.takePeakUsed` last said. */
  recentPeakPages: PageCount = 0
  peakCommittedPages: PageCount = 0
  /** Most pages that may be committed. Only `useCounted` commits, so only that can reach it. */
  limitPages: PageCount = Number.MAX_SAFE_INTEGER
  /** Whether any page may be aged. */
  private hasAged = false
  /** Pages used again after they were purged, ever. */
  refaultedPages: PageCount = 0

  get committedPages(): PageCount {
    return this.usedPages + this.dirtyPages
  }

  /** No page is used or dirty. Which ones were purged stays. */
  protected forgetStates(): void {
    const { aged, dirty } = this
    this.usedPages = 0
    this.dirtyPages = 0
    for (let word = wordsFor(this.columnPages) - 1; word >= 0; word--) {
      if (dirty[word] !== 0) dirty[word] = 0
      if (aged[word] !== 0) aged[word] = 0
    }
  }

  /** Counts pages [firstPage, endPage) that blocks touch, after `forgetStates`. */
  protected countUsed(firstPage: PageNumber, endPage: PageNumber): void {
    if (firstPage >= endPage) return
    clearRange(this.purged, firstPage, endPage)
    this.usedPages += endPage - firstPage
  }

  /**
   * Counts free pages, after `forgetStates`: those that were purged are clean, all others may be resident. Returns how many
   * are clean.
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

  /** Whether that many more pages may be committed. */
  fits(cleanCount: PageCount): boolean {
    return this.committedPages + cleanCount <= this.limitPages
  }

  /** How many of these free pages are clean: what using them would commit. */
  cleanIn(firstPage: PageNumber, pageCount: PageCount): PageCount {
    return pageCount - countRange(this.dirty, firstPage, firstPage + pageCount)
  }

  /**
   * Free pages become used, of which `dirtyCount` are dirty. Returns false, and changes nothing, where that would commit more
   * than `limitPages`.
   */
  useCounted(firstPage: PageNumber, pageCount: PageCount, dirtyCount: PageCount): boolean {
    const end = firstPage + pageCount
    const word = firstPage >>> 5
    if (dirtyCount === pageCount && word === (end - 1) >>> 5) {
      // Nearly all blocks: a few pages, all of them resident.
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

  /** Used pages come free, and are dirty. */
  release(firstPage: PageNumber, pageCount: PageCount): void {
    setRange(this.dirty, firstPage, firstPage + pageCount)
    this.usedPages -= pageCount
    this.dirtyPages += pageCount
  }

  /** Free pages were given back: clean from now on. Returns how many were dirty. */
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

  /** Forgets pages that are being unmapped: they must be clean. */
  forgetPages(firstPage: PageNumber, pageCount: PageCount): void {
    const end = firstPage + pageCount
    invariant(countRange(this.dirty, firstPage, end) === 0, 'only clean pages are forgotten')
    clearRange(this.purged, firstPage, end)
  }

  /** Every page that is dirty now counts as aged until it is used or purged. */
  age(): void {
    const { aged, dirty } = this
    this.hasAged = true
    // Only where they differ: what was never touched stays so.
    for (let w = wordsFor(this.columnPages) - 1; w >= 0; w--) if (aged[w] !== dirty[w]) aged[w] = dirty[w]
    this.hasAged = this.dirtyPages > 0
  }

  /** The first page of the next stretch of dirty (or of aged) pages at or above `from`, or `columnPages`. */
  nextDirty(from: PageNumber, agedOnly: boolean): PageNumber {
    return nextSet(agedOnly ? this.aged : this.dirty, from, this.columnPages)
  }

  /** The end of the stretch that begins at `firstPage`, `maxPages` at most. */
  dirtyEnd(firstPage: PageNumber, maxPages: PageCount, agedOnly: boolean): PageNumber {
    const end = min(this.columnPages, firstPage + maxPages)
    return nextClear(agedOnly ? this.aged : this.dirty, firstPage, end)
  }

  /** Whether every page up to `end` was purged and not used since: free and clean. */
  arePurged(firstPage: PageNumber, end: PageNumber): boolean {
    return nextClear(this.purged, firstPage, end) === end
  }

  /** Whether any page of the range is dirty. */
  anyDirty(firstPage: PageNumber, pageCount: PageCount): boolean {
    const end = min(this.columnPages, firstPage + pageCount)
    return nextSet(this.dirty, firstPage, end) < end
  }

  /** `isUsed` says what the blocks say of each managed page. */
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
