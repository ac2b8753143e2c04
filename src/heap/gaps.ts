/**
 * Gaps of any length. A block that ends becomes a gap. The gap coalesces at once with those on both sides,
 * and is filed where a search finds it.
 *
 * Exactly these pages come free: they lie wholly in the coalesced gap, and did not lie wholly in a gap
 * before.
 */
import type { Block, PageCount } from '../base/units.js'
import type { Books } from './books.js'
import { mergeWithNext, mergeWithPrevious, nextBehind, span } from './granule-map.js'
import {
  ANY,
  BITS_PREFIX,
  END,
  FIRST_ANY,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  GAP,
  LATER_BITS,
  ROW_WORDS,
  START,
} from './layout.js'
import { addLong, addTo, changeIn, cleanOf, removeFrom, slotOf } from './long-gaps.js'
import { cleanIn, release } from './page-states.js'
import { raiseTop } from './short-gaps.js'

const { clz32, max, min } = Math

/** Files the gap [first, end), which is marked in the map. `clean` of its whole pages are clean. */
export function addGap(books: Books, first: Block, end: number, clean: PageCount): void {
  if (end - first < FRAME_GRANULES) raiseTop(books, first >>> FRAME_SHIFT, end - first)
  else addLong(books, first, end - first, clean)
}

/**
 * Makes the block [block, end), held or live, a gap, and coalesces it. O(1). `mergeWithNext`,
 * `mergeWithPrevious` and `span` are written out here: calling them takes 5 to 10 % more time where many
 * neighbours are gaps, see docs/heap.md.
 *
 * @noinline
 */
export function give(books: Books, block: Block, end: number): void {
  books.cutBlocks--
  const { bits, occupied, rows } = books
  // Merge with the next gap.
  let to = end
  let pair = BITS_PREFIX + ((end >>> 5) << 1)
  let starts = bits[pair]
  let marks = bits[pair + 1]
  if ((marks & ~starts) << end < 0) {
    const later = (starts | marks) & (LATER_BITS >>> end)
    to = later !== 0 ? (end & ~31) | clz32(later) : nextBehind(books, end)
    marks &= ~(FIRST_BIT >>> end)
    bits[pair + 1] = marks
    if ((marks & ~starts) === 0) {
      occupied[end >>> FRAME_SHIFT] &= ~(((starts | marks) === 0 ? GAP | ANY : GAP) >>> ((end >>> 5) & 7))
    }
  }
  // Merge with the previous gap. Before that, find the stretch that ends where the block starts.
  const last = (block - 1) | 0
  let before: number
  pair = BITS_PREFIX + ((last >> 5) << 1)
  const near = (bits[pair] | bits[pair + 1]) & (-1 << ~last)
  if (near !== 0) {
    before = (last & ~31) | clz32(near & -near)
  } else {
    const frame = last >>> FRAME_SHIFT
    const earlier = occupied[frame] & 0xff & (0xff00 >>> ((last >> 5) & 7))
    if (earlier === 0) {
      before = rows[frame * ROW_WORDS + START]
      pair = BITS_PREFIX + ((before >>> 5) << 1)
    } else {
      const word = (frame << 3) | (clz32(earlier & -earlier) - FIRST_ANY)
      pair = BITS_PREFIX + (word << 1)
      const any = bits[pair] | bits[pair + 1]
      before = (word << 5) | clz32(any & -any)
    }
  }
  const isAfterGap = before >= 0 && (bits[pair + 1] & ~bits[pair]) << before < 0
  const bit = FIRST_BIT >>> block
  let from = block
  pair = BITS_PREFIX + ((block >>> 5) << 1)
  starts = bits[pair] & ~bit
  bits[pair] = starts
  if (isAfterGap) {
    from = before
    marks = bits[pair + 1] & ~bit
    bits[pair + 1] = marks
    if ((starts | marks) === 0) occupied[block >>> FRAME_SHIFT] &= ~(ANY >>> ((block >>> 5) & 7))
  } else {
    bits[pair + 1] |= bit
    occupied[block >>> FRAME_SHIFT] |= GAP >>> ((block >>> 5) & 7)
  }
  const frame = from >>> FRAME_SHIFT
  if (to >>> FRAME_SHIFT !== frame) {
    rows[frame * ROW_WORDS + END] = to
    const lastFrame = (to - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = from
  }
  const length = to - from
  if (length >= FRAME_GRANULES) fileFreed(books, block, end, from, to)
  else raiseTop(books, frame, length)
}

/** Makes [first, end), the end of a live or held block, a gap. A held granule stands at `first`. */
export function givePart(books: Books, first: Block, end: number): void {
  // `give` counts one block less.
  books.cutBlocks++
  give(books, first, end)
}

/**
 * Makes [first, end), which is no block and whose whole pages are free, a gap. Coalesces it with the gaps on
 * both sides and files it. `clean` of its whole pages are clean.
 */
export function giveFree(books: Books, first: Block, end: number, clean: PageCount): void {
  const to = mergeWithNext(books, end)
  const from = mergeWithPrevious(books, first)
  span(books, from, to)
  if (to - from < FRAME_GRANULES) {
    raiseTop(books, from >>> FRAME_SHIFT, to - from)
    return
  }
  releaseEnds(books, first, end, from, to)
  fileLong(books, first, end, from, to, clean)
}

/**
 * Releases the pages of a block [first, end) that has coalesced to the long gap [from, to), and files that
 * gap.
 */
function fileFreed(books: Books, first: Block, end: number, from: Block, to: number): void {
  const shift = books.granuleShift
  let firstPage = first >>> shift
  let endPage = ((end - 1) >>> shift) + 1
  if (firstPage << shift < from) firstPage++
  if (endPage > to >>> shift) endPage = to >>> shift
  if (firstPage < endPage) release(books, firstPage, endPage - firstPage)
  fileLong(books, first, end, from, to, 0)
}

/**
 * Files the gap [from, to) to which [first, end) has coalesced, and takes the gaps on both sides out of
 * their bins. `clean` of the whole pages of [first, end) are clean.
 */
function fileLong(books: Books, first: Block, end: number, from: Block, to: number, clean: PageCount): void {
  const left = first - from
  const right = to - end
  const leftClean = left >= FRAME_GRANULES ? cleanOf(books, from) : 0
  const rightClean = right >= FRAME_GRANULES ? cleanOf(books, end) : 0
  const allClean = clean + leftClean + rightClean
  const slot = slotOf(to - from, allClean)
  if (left >= FRAME_GRANULES) {
    if (right >= FRAME_GRANULES) removeFrom(books, slotOf(right, rightClean), end >>> FRAME_SHIFT)
    changeIn(books, slotOf(left, leftClean), from >>> FRAME_SHIFT, slot, from, allClean)
  } else if (right >= FRAME_GRANULES) {
    changeIn(books, slotOf(right, rightClean), end >>> FRAME_SHIFT, slot, from, allClean)
  } else {
    addTo(books, slot, from, allClean)
  }
}

/**
 * Releases the pages that [first, end) shared with its neighbours and that now lie wholly in the gap
 * [from, to). All other pages of [first, end) were free already.
 */
function releaseEnds(books: Books, first: Block, end: number, from: Block, to: number): void {
  const shift = books.granuleShift
  const firstPage = (max(from, first & -books.pageGranules) + books.pageGranules - 1) >>> shift
  const endPage = min(pageCeil(books, end), to) >>> shift
  const firstFree = (first + books.pageGranules - 1) >>> shift
  const endFree = end >>> shift
  if (firstFree >= endFree) {
    if (firstPage < endPage) release(books, firstPage, endPage - firstPage)
    return
  }
  if (firstPage < firstFree) release(books, firstPage, firstFree - firstPage)
  if (endFree < endPage) release(books, endFree, endPage - endFree)
}

// ---- pages ----------------------------------------------------------------------------------------------

/** The first granule, at or behind `granule`, at which a page starts. */
export function pageCeil(books: Books, granule: number): number {
  return ((granule + books.pageGranules - 1) >>> books.granuleShift) * books.pageGranules
}

/** The number of clean pages that lie wholly in [first, end), which is free. */
export function cleanWithin(books: Books, first: Block, end: number): PageCount {
  const firstPage = (first + books.pageGranules - 1) >>> books.granuleShift
  const endPage = end >>> books.granuleShift
  return firstPage < endPage ? cleanIn(books, firstPage, endPage - firstPage) : 0
}
