/**
 * The books of a space as lengths, and back. All books follow from what is live and what is dirty.
 *
 * The lengths of granules are gap and block in turn, from the first granule to the end of the last block. The
 * lengths of pages are pages that are not dirty and dirty ones in turn, to the end of the last dirty page. A
 * gap may be 0 long, and so may the first length of pages.
 */
import { setRange } from '../base/bits.js'
import { NONE } from '../base/units.js'
import type { Books } from './books.js'
import { addGap, cleanWithin } from './gaps.js'
import { endOf, isGap, markGap, markHeld, markLive, span, unmark } from './granule-map.js'
import { removeLong } from './long-gaps.js'
import { committedPages, dirtyEnd, nextDirty } from './page-states.js'
import { touch } from './page-table.js'
import { addRange } from './space-pages.js'

const { ceil, max } = Math

/**
 * Calls `write` for each live block, with its distance from the end of the last one and its length, in
 * granules. Flush first.
 */
export function saveBlocks(books: Books, write: (gap: number, length: number) => void): void {
  let end = 0
  for (const { firstPage, pageCount } of books.ranges) {
    const first = firstPage * books.pageGranules
    const rangeEnd = first + pageCount * books.pageGranules
    for (let at = first; at < rangeEnd; ) {
      const next = endOf(books, at)
      if (!isGap(books, at)) {
        write(at - end, next - at)
        end = next
      }
      at = next
    }
  }
}

/**
 * Calls `write` for each stretch of dirty pages, with its distance from the end of the last one and its
 * length, in pages.
 */
export function saveDirty(books: Books, write: (others: number, dirty: number) => void): void {
  let end = 0
  for (let page = nextDirty(books, 0, false); page !== NONE; ) {
    const stretchEnd = dirtyEnd(books, page, books.columnPages, false)
    write(page - end, stretchEnd - page)
    end = stretchEnd
    page = nextDirty(books, end, false)
  }
}

/**
 * Restores saved books into books that have no range yet. `stretches` are lengths in granules, `dirtyStretches`
 * lengths in pages. The caller has checked them.
 */
export function restoreSpace(books: Books, stretches: Uint32Array, dirtyStretches: Uint32Array): void {
  const endPage = max(ceil(sum(stretches) / books.pageGranules), sum(dirtyStretches))
  if (endPage === 0) return
  const end = endPage * books.pageGranules
  addRange(books, 0, endPage)
  removeLong(books, 0, end, endPage)
  unmark(books, 0)
  const lastEnd = restoreBlocks(books, stretches)
  if (lastEnd < end) {
    markGap(books, lastEnd)
    span(books, lastEnd, end)
  }
  restoreDirty(books, dirtyStretches)
  // A gap is filed by its clean pages, and only now are these known.
  let at = 0
  for (let index = 0; index < stretches.length; index += 2) {
    const block = at + stretches[index]
    if (block > at) addGap(books, at, block, cleanWithin(books, at, block))
    at = block + stretches[index + 1]
  }
  if (at < end) addGap(books, at, end, cleanWithin(books, at, end))
}

/** Marks blocks and gaps in the map and counts blocks and used pages. Returns the end of the last block. */
function restoreBlocks(books: Books, stretches: Uint32Array): number {
  const shift = books.granuleShift
  let at = 0
  let used = 0
  let usedEnd = 0
  for (let index = 0; index < stretches.length; index += 2) {
    const block = at + stretches[index]
    const end = block + stretches[index + 1]
    if (block > at) {
      markGap(books, at)
      span(books, at, block)
    }
    markHeld(books, block)
    markLive(books, block)
    span(books, block, end)
    touch(books, block)
    touch(books, end)
    const endPage = ((end - 1) >>> shift) + 1
    used += endPage - max(usedEnd, block >>> shift)
    usedEnd = endPage
    at = end
  }
  books.cutBlocks = stretches.length / 2
  books.usedPages = used
  books.recentPeakPages = used
  return at
}

/** Marks and counts the dirty pages. */
function restoreDirty(books: Books, dirtyStretches: Uint32Array): void {
  let page = 0
  for (let index = 0; index < dirtyStretches.length; index += 2) {
    page += dirtyStretches[index]
    setRange(books.dirty, page, page + dirtyStretches[index + 1])
    books.dirtyPages += dirtyStretches[index + 1]
    page += dirtyStretches[index + 1]
  }
  books.peakCommittedPages = committedPages(books)
}

function sum(lengths: Uint32Array): number {
  return lengths.reduce((total, length) => total + length, 0)
}
