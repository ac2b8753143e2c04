/**
 * The space that blocks are cut from, in granules. A block starts where the one before it ends, also in the
 * middle of a page. Gaps are split and coalesced at once, so each gap is as long as possible.
 *
 * The gaps alone determine what a page is: a page that lies wholly in a gap is free, any other is used. A
 * block that is taken makes exactly those pages used that lay wholly in its gap. A block that is given back
 * frees exactly those pages that now lie wholly in the coalesced gap and did not before.
 *
 * Short blocks come from the best fit among the short gaps, and else from the *front*. The front is one
 * longer gap that no other search finds. Short blocks are cut from it one behind the other.
 *
 * Invariants, checked by `checkSpace`:
 *  1. blocks, gaps and the front cover a range exactly; behind it a held granule marks its end
 *  2. no two gaps touch
 *  3. a gap is where it can be found: in `short-gaps`, or with its length and its clean pages in `long-gaps`
 *  4. `cutBlocks` counts the blocks that are live or kept
 *  5. a page is used exactly where a block touches it, or where the front begins or ends in the middle of it
 */
import { type Block, NONE, type PageNumber } from '../base/units.js'
import type { Books } from './books.js'
import { cleanWithin, giveFree, givePart, pageCeil } from './gaps.js'
import { endOf, isGap, markGap, markHeld, markLive, span, startBefore, unmark } from './granule-map.js'
import {
  ANY,
  BITS_PREFIX,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  REFUSED_LIMIT,
  REFUSED_SPACE,
  ROW_WORDS,
  START,
} from './layout.js'
import { cut, findGap, takeLong } from './long-blocks.js'
import { addLong, cleanOf, removeLong } from './long-gaps.js'
import { cleanIn, useCounted } from './page-states.js'
import { touch } from './page-table.js'
import { raiseTop, takeShort, takeShortOfAll } from './short-gaps.js'

const { min } = Math

/** The length of a front that is cut from a longer gap, before it is rounded up to a page. */
const FRONT_GRANULES = 1024

// ---- taking ---------------------------------------------------------------------------------------------

/**
 * Makes a live block of `size` granules, at least 1. Returns NONE if there is no room; `refusal` then says
 * why, and no block has changed. O(1).
 */
export function take(books: Books, size: number): Block {
  if (size >= FRAME_GRANULES) return takeLong(books, size)
  const block = takeShort(books, size)
  if (block !== NONE) {
    books.cutBlocks++
    return block
  }
  const front = books.front
  if (front + size <= books.frontEnd) return takeFromFront(books, front, front + size)
  return takeFromNewFront(books, size)
}

/**
 * Makes [block, end), the first part of the front, a live block. The rest stays the front. Returns NONE if
 * the page limit refuses. It is one long function, because V8 limits how much it inlines
 * into a function: see docs/v8.md.
 */
function takeFromFront(books: Books, block: Block, end: number): Block {
  const shift = books.granuleShift
  const lastPage = (end - 1) >>> shift
  if (lastPage !== (block - 1) >>> shift && !useFront(books, block, lastPage)) return NONE
  const { bits, occupied, rows } = books
  const frontEnd = books.frontEnd
  const frame = block >>> FRAME_SHIFT
  const endFrame = end >>> FRAME_SHIFT
  books.cutBlocks++
  bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= FIRST_BIT >>> block
  if (endFrame !== frame) {
    rows[frame * ROW_WORDS + END] = end
    const lastFrame = (end - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = block
  }
  if (end === frontEnd) {
    books.front = 0
    books.frontEnd = 0
    return block
  }
  books.front = end
  bits[BITS_PREFIX + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
  occupied[endFrame] |= ANY >>> ((end >>> 5) & 7)
  if (frontEnd >>> FRAME_SHIFT !== endFrame) {
    rows[endFrame * ROW_WORDS + END] = frontEnd
    const lastFrame = (frontEnd - 1) >>> FRAME_SHIFT
    if (lastFrame !== endFrame) rows[lastFrame * ROW_WORDS + START] = end
  }
  return block
}

/**
 * Makes the pages used that a block at the start of the front will touch. `lastPage` is the last one.
 * Returns false if the page limit refuses.
 */
function useFront(books: Books, block: Block, lastPage: PageNumber): boolean {
  const firstPage = (block + books.pageGranules - 1) >>> books.granuleShift
  const endPage = min(lastPage + 1, books.frontEnd >>> books.granuleShift)
  if (firstPage >= endPage) return true
  const clean = cleanIn(books, firstPage, endPage - firstPage)
  if (!useCounted(books, firstPage, endPage - firstPage, endPage - firstPage - clean)) {
    books.refusal = REFUSED_LIMIT
    return false
  }
  books.growthPages -= clean
  return true
}

/**
 * Gives up the front, makes a new one and cuts a block from it. Returns NONE if there is no gap or the page
 * limit refuses.
 */
function takeFromNewFront(books: Books, size: number): Block {
  dropFront(books)
  const gap = findGap(books, size, 0)
  if (gap === NONE) return NONE
  const end = endOf(books, gap)
  const clean = cleanOf(books, gap)
  let frontEnd = end
  removeLong(books, gap, end - gap, clean)
  // It is cut on a page border: a page that the front shared with a gap would be neither used nor free.
  const cutAt = pageCeil(books, gap + FRONT_GRANULES)
  if (end - cutAt >= FRONT_GRANULES) {
    frontEnd = cutAt
    markGap(books, frontEnd)
    span(books, frontEnd, end)
    addLong(books, frontEnd, end - frontEnd, clean === 0 ? 0 : clean - cleanWithin(books, gap, frontEnd))
  }
  markHeld(books, gap)
  span(books, gap, frontEnd)
  touch(books, gap)
  touch(books, frontEnd - 1)
  books.front = gap
  books.frontEnd = frontEnd
  return takeFromFront(books, gap, gap + size)
}

/** Makes what is left of the front a gap. */
export function dropFront(books: Books): void {
  const front = books.front
  const frontEnd = books.frontEnd
  if (frontEnd === 0) return
  books.front = 0
  books.frontEnd = 0
  giveFree(books, front, frontEnd, cleanWithin(books, front, frontEnd))
}

/** Whether there is a front. */
export function hasFront(books: Books): boolean {
  return books.frontEnd !== 0
}

/** Whether `dropFront` would free a page: one that the front shares with a gap, at either end. */
export function frontHoldsPages(books: Books): boolean {
  const front = books.front
  const frontEnd = books.frontEnd
  if (frontEnd === 0) return false
  const mask = books.pageGranules - 1
  if ((frontEnd & mask) !== 0 && isGap(books, frontEnd)) return true
  const before = startBefore(books, front)
  return (front & mask) !== 0 && before !== NONE && isGap(books, before)
}

/**
 * Makes a live block of `size` granules at a multiple of `mask + 1` granules, or returns NONE; `refusal`
 * then says why. `mask + 1` is a power of two.
 */
export function takeAligned(books: Books, size: number, mask: number): Block {
  // All pages of a short gap are used already, so a longer block commits nothing. `align` gives back the
  // rest.
  const whole = size + mask < FRAME_GRANULES ? takeShort(books, size + mask) : NONE
  if (whole !== NONE) return align(books, whole, size, mask)
  const gap = findGap(books, size, mask)
  if (gap === NONE) return NONE
  const block = gap + (-gap & mask)
  return cut(books, gap, endOf(books, gap), block, block + size)
}

/**
 * Makes a live block from any short gap that has room, or returns NONE. Called when nothing else had room.
 * Reads all frames whose tops are too high, of which `take` reads a few.
 */
export function takeLastShort(books: Books, size: number, mask: number): Block {
  const whole = size + mask < FRAME_GRANULES ? takeShortOfAll(books, size + mask) : NONE
  return whole !== NONE ? align(books, whole, size, mask) : NONE
}

/**
 * Counts the new block at `whole`, of `size + mask` granules, and gives back all of it but `size` granules
 * at a multiple of `mask + 1`.
 */
function align(books: Books, whole: Block, size: number, mask: number): Block {
  books.cutBlocks++
  return trim(books, whole, whole + (-whole & mask), size, whole + size + mask)
}

/** Gives back all of the live block [whole, end) but `size` granules at `block`. */
function trim(books: Books, whole: Block, block: Block, size: number, end: number): Block {
  if (block > whole) {
    markHeld(books, block)
    markLive(books, block)
    span(books, block, end)
    span(books, whole, block)
    givePart(books, whole, block)
  }
  if (block + size < end) {
    span(books, block, block + size)
    markHeld(books, block + size)
    span(books, block + size, end)
    givePart(books, block + size, end)
  }
  return block
}

// ---- resizing -------------------------------------------------------------------------------------------

/**
 * Makes the live block [block, end) `size` granules long without moving it. Returns false, and changes
 * nothing, if it has to move.
 */
export function resizeTo(books: Books, block: Block, end: number, size: number): boolean {
  const newEnd = block + size
  books.refusal = REFUSED_SPACE
  if (newEnd > end) return grow(books, block, end, newEnd)
  if (newEnd < end) {
    span(books, block, newEnd)
    markHeld(books, newEnd)
    span(books, newEnd, end)
    givePart(books, newEnd, end)
  }
  return true
}

/**
 * Makes the live block [block, end) end at `newEnd`, if the gap behind it is long enough. Returns false,
 * and changes no block, if not.
 */
function grow(books: Books, block: Block, end: number, newEnd: number): boolean {
  if (end === books.front) dropFront(books)
  if (!isGap(books, end)) return false
  const gapEnd = endOf(books, end)
  if (gapEnd < newEnd) return false
  if (gapEnd - end >= FRAME_GRANULES) {
    if (cut(books, end, gapEnd, end, newEnd) === NONE) return false
    books.cutBlocks--
    if (books.zeroedBlock === end) books.zeroedBlock = NONE
  } else if (newEnd < gapEnd) {
    markGap(books, newEnd)
    span(books, newEnd, gapEnd)
    raiseTop(books, newEnd >>> FRAME_SHIFT, gapEnd - newEnd)
  }
  unmark(books, end)
  span(books, block, newEnd)
  return true
}
