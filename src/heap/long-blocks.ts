/**
 * Blocks that are cut from long gaps. Gaps without a clean page are used before others, so that memory that
 * is resident anyway is used before a page is committed.
 */
import { type Block, NONE, type PageCount } from '../base/units.js'
import type { Books } from './books.js'
import { addGap, cleanWithin, pageCeil } from './gaps.js'
import { carve, endOf, markGap, markHeld, markLive, span } from './granule-map.js'
import {
  COLD,
  EDGE,
  END,
  FRAME_GRANULES,
  FRAME_SHIFT,
  REFUSED_GROWTH,
  REFUSED_LIMIT,
  REFUSED_SPACE,
  ROW_WORDS,
  WARM,
} from './layout.js'
import {
  changeIn,
  changeLong,
  cleanOf,
  findLastLong,
  findLong,
  findLongAligned,
  followingLong,
  removeFrom,
  removeLong,
  slotOf,
} from './long-gaps.js'
import { cleanIn, fits, useCounted } from './page-states.js'
import { touch } from './page-table.js'
import { raiseTop } from './short-gaps.js'

const { max, min } = Math

/**
 * The start of a long gap for `size` granules at a multiple of `mask + 1`, or NONE. A warm gap if there is
 * one.
 */
export function findGap(books: Books, size: number, mask: number): Block {
  const warm = mask === 0 ? findLong(books, WARM, size) : findLongAligned(books, WARM, size, mask)
  if (warm !== NONE) return warm
  const cold = mask === 0 ? findLong(books, COLD, size) : findLongAligned(books, COLD, size, mask)
  if (cold === NONE) books.refusal = REFUSED_SPACE
  else if (books.growthPages <= 0) books.refusal = REFUSED_GROWTH
  else return cold
  return NONE
}

/** Whether a search finds a long gap for `size` granules. */
export function hasRoom(books: Books, size: number): boolean {
  return findLong(books, WARM, size) !== NONE || findLong(books, COLD, size) !== NONE
}

/**
 * Makes a live block of `size` granules, a frame or more, or returns NONE. It does what `cut` does for a
 * block at the start of a gap, in fewer steps, because services ask for such blocks often.
 *
 * @noinline
 */
export function takeLong(books: Books, size: number): Block {
  const gap = findGap(books, size, 0)
  if (gap === NONE) return NONE
  const { rows } = books
  const shift = books.granuleShift
  const roundUp = books.pageGranules - 1
  const frame = gap >>> FRAME_SHIFT
  const row = frame * ROW_WORDS
  const gapEnd = rows[row + END] >>> 0
  const clean = rows[row + EDGE] >>> FRAME_SHIFT
  const end = gap + size
  const firstPage = (gap + roundUp) >>> shift
  const endOfWhole = gapEnd >>> shift
  const endOfTouched = (end + roundUp) >>> shift
  const pages = (endOfTouched < endOfWhole ? endOfTouched : endOfWhole) - firstPage
  let taken = 0
  if (pages > 0) {
    if (clean > 0) taken = cleanIn(books, firstPage, pages)
    if (!useCounted(books, firstPage, pages, pages - taken)) {
      books.refusal = REFUSED_LIMIT
      return NONE
    }
    if (taken > 0) {
      books.growthPages -= taken
      touch(books, end)
      if (taken === pages) noteZeroed(books, gap, end, pages)
    }
  }
  books.cutBlocks++
  const slot = slotOf(gapEnd - gap, clean)
  carve(books, gap, end, gapEnd)
  const left = gapEnd - end
  if (left >= FRAME_GRANULES) {
    changeIn(books, slot, frame, slotOf(left, clean - taken), end, clean - taken)
  } else {
    removeFrom(books, slot, frame)
    if (left > 0) raiseTop(books, end >>> FRAME_SHIFT, left)
  }
  return gap
}

/** Whether a range starts at `granule`. */
function startsRange(books: Books, granule: number): boolean {
  const { ranges } = books
  for (let i = 0; i < ranges.length; i++) {
    if (ranges[i].firstPage * books.pageGranules === granule) return true
  }
  return false
}

/**
 * Makes a live block after `take` or `takeAligned` found no gap, or returns NONE. Reads all long gaps that
 * may have room, so that pages are added only if none has.
 */
export function takeLast(books: Books, size: number, mask: number): Block {
  const gap = findLastLong(books, size, mask)
  if (gap === NONE) {
    books.refusal = REFUSED_SPACE
    return NONE
  }
  const block = gap + (-gap & mask)
  return cut(books, gap, endOf(books, gap), block, block + size)
}

/**
 * Makes a live block after the limit has refused, or returns NONE. It takes any place, at either end of any
 * long gap, that commits no more than the limit allows. Reads all long gaps: only an allocation at the
 * limit takes that time.
 */
export function takeCommitted(books: Books, size: number, mask: number): Block {
  for (let gap = followingLong(books, NONE); gap !== NONE; gap = followingLong(books, gap)) {
    const end = endOf(books, gap)
    const low = gap + (-gap & mask)
    const high = (end - size) & ~mask
    if (low + size > end || high < gap) continue
    const isLow = fits(books, cleanTouched(books, low, low + size, gap, end))
    const isHigh = !isLow && fits(books, cleanTouched(books, high, high + size, gap, end))
    if (!isLow && !isHigh) continue
    const block = isLow ? low : high
    return cut(books, gap, end, block, block + size)
  }
  books.refusal = REFUSED_LIMIT
  return NONE
}

/**
 * Makes a live block of `size` granules, a frame or more, at a multiple of `mask + 1`, with room behind it.
 * Returns NONE if no gap has twice that length.
 */
export function takeWithRoom(books: Books, size: number, mask: number): Block {
  const warm = findLongAligned(books, WARM, 2 * size, mask)
  const gap = warm !== NONE ? warm : findLongAligned(books, COLD, 2 * size, mask)
  if (gap === NONE) {
    books.refusal = REFUSED_SPACE
    return NONE
  }
  const gapEnd = endOf(books, gap)
  const first = gap + (-gap & mask)
  const isAtStart = startsRange(books, gap)
  const block = isAtStart ? first : first + (((gapEnd - first - size) >>> 1) & ~mask)
  return cut(books, gap, gapEnd, block, block + size)
}

/**
 * Makes [block, end) of the long gap [gap, gapEnd) a live block and returns `block`. The parts on both
 * sides stay gaps. Returns NONE, and changes nothing, if the page limit refuses.
 */
export function cut(books: Books, gap: Block, gapEnd: number, block: Block, end: number): Block {
  const shift = books.granuleShift
  const clean = cleanOf(books, gap)
  const firstPage = (max(block & -books.pageGranules, gap) + books.pageGranules - 1) >>> shift
  const endPage = min(gapEnd >>> shift, (end + books.pageGranules - 1) >>> shift)
  const pages = endPage - firstPage
  let taken = 0
  if (pages > 0) {
    if (clean > 0) taken = cleanIn(books, firstPage, pages)
    if (!useCounted(books, firstPage, pages, pages - taken)) {
      books.refusal = REFUSED_LIMIT
      return NONE
    }
    books.growthPages -= taken
    if (taken > 0) {
      touch(books, block)
      touch(books, end)
    }
    if (taken === pages && end - block >= FRAME_GRANULES) noteZeroed(books, block, end, pages)
  }
  books.cutBlocks++
  if (block === gap) {
    carve(books, gap, end, gapEnd)
    const left = gapEnd - end
    if (left >= FRAME_GRANULES) {
      changeLong(books, gap, gapEnd - gap, clean, end, left, clean - taken)
    } else {
      removeLong(books, gap, gapEnd - gap, clean)
      if (left > 0) raiseTop(books, end >>> FRAME_SHIFT, left)
    }
    return block
  }
  // The gap behind the block is marked first. If this is interrupted, the block still ends where it should.
  if (end < gapEnd) markGap(books, end)
  markHeld(books, block)
  markLive(books, block)
  span(books, block, end)
  span(books, gap, block)
  removeLong(books, gap, gapEnd - gap, clean)
  const before = clean === 0 ? 0 : cleanWithin(books, gap, block)
  addGap(books, gap, block, before)
  if (end < gapEnd) {
    span(books, end, gapEnd)
    addGap(books, end, gapEnd, clean - taken - before)
  }
  return block
}

/**
 * Sets `zeroedBlock` if the block [block, end) touches only the `cleanPages` clean pages that were taken
 * for it.
 */
function noteZeroed(books: Books, block: Block, end: number, cleanPages: PageCount): void {
  const touched = ((end - 1) >>> books.granuleShift) - (block >>> books.granuleShift) + 1
  if (touched === cleanPages && books.cleanIsZero) books.zeroedBlock = block
}

/** The number of clean pages of the gap [gap, gapEnd) that a block [block, end) would touch. */
export function cleanTouched(books: Books, block: Block, end: number, gap: Block, gapEnd: number): PageCount {
  const first = max(gap, block & -books.pageGranules)
  const last = min(gapEnd, pageCeil(books, end))
  return cleanWithin(books, first, last)
}
