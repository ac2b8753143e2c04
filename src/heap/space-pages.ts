/**
 * The pages of the space: adding and removing ranges, purging, and rebuilding the books.
 *
 * Pages come and go as whole ranges, or at the end of a range. Purging pages, and making them resident, changes which pages of
 * a gap are clean, and so the bin of the gap. No warm path is here.
 *
 * `checkSpace` checks the invariants that `block-space.ts` lists.
 */
import { invariant } from '../base/assert.js'
import { previousSet } from '../base/bits.js'
import { type Block, NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { Books, PageRange } from './books.js'
import { addGap, giveFree, pageCeil } from './gaps.js'
import {
  endOf,
  isGap,
  isHeld,
  keepLive,
  markHeld,
  nextBit,
  span,
  startBefore,
  startOf,
  unmark,
} from './granule-map.js'
import { FRAME_GRANULES, FRAME_SHIFT } from './layout.js'
import { changeLong, cleanOf, followingLong, forgetLongGaps, removeLong } from './long-gaps.js'
import {
  cleanIn,
  committedPages,
  countFree,
  countUsed,
  forgetPages,
  forgetStates,
  release,
  setPurged,
  useCounted,
} from './page-states.js'
import { deleteRange, insertRange, purgeFrames, shortenRange, touch } from './page-table.js'
import { forgetShortGaps, forgetTops } from './short-gaps.js'

const { max, min } = Math

/** Adds free, clean pages. Throws a `RangeError` if the books cannot grow; nothing has changed then. */
export function addRange(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  insertRange(books, firstPage, pageCount)
  const first = firstPage * books.pageGranules
  const end = first + pageCount * books.pageGranules
  // A held granule stands before the range and at its end, so that neither is taken for a gap.
  if (first === 0) books.bits[0] = 1
  else if (!isHeld(books, first)) markHeld(books, first - 1)
  markHeld(books, end)
  markHeld(books, first)
  span(books, first, end)
  giveFree(books, first, end, pageCount)
}

/** Whether a range is one gap. Call `dropFront` first. */
export function isRangeFree(books: Books, { firstPage, pageCount }: PageRange): boolean {
  const first = firstPage * books.pageGranules
  return isGap(books, first) && endOf(books, first) === first + pageCount * books.pageGranules
}

/** Removes a range that is one gap and whose pages are all clean. */
export function removeRange(books: Books, firstPage: PageNumber, pageCount: PageCount): void {
  invariant(isRangeFree(books, { firstPage, pageCount }), 'only a free range is removed')
  const first = firstPage * books.pageGranules
  const end = first + pageCount * books.pageGranules
  removeLong(books, first, end - first, cleanOf(books, first))
  forgetTops(books, first >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
  unmark(books, first)
  unmark(books, end)
  if (first > 0) unmark(books, first - 1)
  forgetPages(books, firstPage, pageCount)
  deleteRange(books, firstPage, pageCount)
}

/** The number of pages at the end of a range that are free and clean. Call `dropFront` first. */
export function cleanTailPages(books: Books, { firstPage, pageCount }: PageRange): PageCount {
  if (pageCount === 0) return 0
  const endPage = firstPage + pageCount
  const end = endPage * books.pageGranules
  const gap = startBefore(books, end)
  if (!isGap(books, gap)) return 0
  const firstFree = pageCeil(books, gap) >>> books.granuleShift
  return endPage - max(firstFree, previousSet(books.dirty, endPage - 1) + 1)
}

/**
 * Removes the last `count` pages of a range, which must be free and clean. If the range has no more pages,
 * it is removed.
 */
export function removeTail(books: Books, { firstPage, pageCount }: PageRange, count: PageCount): void {
  if (count === 0) return
  invariant(count <= cleanTailPages(books, { firstPage, pageCount }), 'only free, clean pages are removed')
  const first = firstPage * books.pageGranules
  const end = first + pageCount * books.pageGranules
  const newEnd = end - count * books.pageGranules
  const gap = startBefore(books, end)
  const clean = cleanOf(books, gap)
  removeLong(books, gap, end - gap, clean)
  unmark(books, end)
  if (newEnd > gap) {
    markHeld(books, newEnd)
    span(books, gap, newEnd)
    addGap(books, gap, newEnd, clean - count)
  } else if (newEnd > first) {
    markHeld(books, newEnd)
  } else {
    unmark(books, first)
    if (first > 0) unmark(books, first - 1)
  }
  forgetTops(books, newEnd >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
  forgetPages(books, firstPage + pageCount - count, count)
  shortenRange(books, { firstPage, pageCount }, count)
}

/** Makes free pages clean after they were given back to the kernel. Returns how many of them were dirty. */
export function markPurged(books: Books, firstPage: PageNumber, pageCount: PageCount): PageCount {
  const end = firstPage + pageCount
  for (let page = firstPage; page < end; ) page = purgeIn(books, page, end)
  return setPurged(books, firstPage, pageCount)
}

/**
 * Makes free, clean pages of one gap dirty. Returns false, and changes nothing, if the page limit refuses.
 */
export function markResident(books: Books, firstPage: PageNumber, pageCount: PageCount): boolean {
  const peak = books.recentPeakPages
  if (!useCounted(books, firstPage, pageCount, 0)) return false
  release(books, firstPage, pageCount)
  books.recentPeakPages = peak
  const gap = startOf(books, firstPage * books.pageGranules)
  const length = endOf(books, gap) - gap
  const clean = cleanOf(books, gap)
  changeLong(books, gap, length, clean, gap, length, clean - pageCount)
  return true
}

/**
 * The first page and the end of each stretch of pages that lie wholly in a gap: one flat list, in ascending
 * order. Call `dropFront` first.
 */
export function listUnused(books: Books): PageNumber[] {
  const stretches: [PageNumber, PageNumber][] = []
  for (let gap = followingLong(books, NONE); gap !== NONE; gap = followingLong(books, gap)) {
    const firstPage = (gap + books.pageGranules - 1) >>> books.granuleShift
    const endPage = endOf(books, gap) >>> books.granuleShift
    if (firstPage < endPage) stretches.push([firstPage, endPage])
  }
  return stretches.sort(([a], [b]) => a - b).flat()
}

/**
 * Counts the pages from `page` up to `end` as clean in the gap in which `page` lies, and gives back the
 * books of its inside. The front is in no bin, so nothing is counted there. Returns the first page that
 * does not lie wholly in that gap, or `end`.
 */
function purgeIn(books: Books, page: PageNumber, end: PageNumber): PageNumber {
  const first = page * books.pageGranules
  const start = gapAround(books, first)
  const gapEnd = endOf(books, start)
  const endPage = min(end, gapEnd >>> books.granuleShift)
  if (isGap(books, start)) {
    const clean = cleanOf(books, start)
    const dirty = endPage - page - cleanIn(books, page, endPage - page)
    changeLong(books, start, gapEnd - start, clean, start, gapEnd - start, clean + dirty)
    const firstFrame = max(first, start + FRAME_GRANULES) >>> FRAME_SHIFT
    const endFrame = min(endPage * books.pageGranules, gapEnd - FRAME_GRANULES) >>> FRAME_SHIFT
    purgeFrames(books, firstFrame, endFrame)
  }
  return endPage
}

/**
 * The start of the gap, or of the front, in which a free page lies. Pages are purged in ascending order, so
 * it is often the same gap as before.
 */
function gapAround(books: Books, granule: number): Block {
  const known = books.purgedGap
  const isKnown = known <= granule && isGap(books, known) && endOf(books, known) > granule
  if (!isKnown) books.purgedGap = startOf(books, granule)
  return books.purgedGap
}

/**
 * Rebuilds all books from the live blocks in the map, after an interrupted change. A free page counts as
 * clean only if it was purged and not used since.
 */
export function rebuildSpace(books: Books): void {
  forgetShortGaps(books)
  forgetLongGaps(books)
  forgetStates(books)
  books.front = 0
  books.frontEnd = 0
  books.zeroedBlock = NONE
  books.purgedGap = 0
  books.cutBlocks = 0
  const { ranges, pageGranules } = books
  for (let i = 0; i < ranges.length; i++) {
    const first = ranges[i].firstPage * pageGranules
    const end = first + ranges[i].pageCount * pageGranules
    if (first === 0) books.bits[0] = 1
    else markHeld(books, first - 1)
    keepLive(books, first, end)
    markHeld(books, end)
    rebuildRange(books, first, end)
  }
  books.recentPeakPages = max(books.recentPeakPages, books.usedPages)
  books.peakCommittedPages = max(books.peakCommittedPages, committedPages(books))
}

/** Rebuilds the books of the range [first, end), whose bits and `occupied` are right. */
function rebuildRange(books: Books, first: number, end: number): void {
  const shift = books.granuleShift
  let usedEnd = first >>> shift
  for (let at = first; at < end; ) {
    const next = nextBit(books, at + 1, end)
    touch(books, at)
    span(books, at, next)
    if (isGap(books, at)) {
      addGap(books, at, next, countFree(books, (at + books.pageGranules - 1) >>> shift, next >>> shift))
    } else {
      books.cutBlocks++
      const lastEnd = ((next - 1) >>> shift) + 1
      countUsed(books, max(usedEnd, at >>> shift), lastEnd)
      usedEnd = lastEnd
    }
    at = next
  }
  touch(books, end)
}
