/**
 * Sizes of blocks: from bytes that are asked for to granules.
 */
import { type Block, GRANULE_BYTES, GRANULE_SHIFT, type PageCount } from '../base/units.js'
import type { Books } from './books.js'
import { pageCeil } from './gaps.js'
import { DIRECT, FRAME_SHIFT, LONG_STEPS_SHIFT } from './layout.js'

const { ceil, clz32, max, min } = Math

/** The granules of a block of `sizeBytes`, rounded as blocks of that size are. */
export function granulesFor(books: Books, sizeBytes: number): number {
  if (sizeBytes >= books.wholePagesFromBytes) return pagesFor(books, sizeBytes) * books.pageGranules
  const size = granulesIn(sizeBytes)
  return size < DIRECT ? size : roundLong(size, books.wholeGranules)
}

/** The number of whole pages that hold `sizeBytes`. */
export function pagesFor(books: Books, sizeBytes: number): PageCount {
  return ceil(sizeBytes / books.pageBytes)
}

/** The length of a run, in pages, that certainly has room for a block of that size and alignment. */
export function runPagesFor(books: Books, sizeBytes: number, alignBytes: number): PageCount {
  const roundedBytes = granulesFor(books, sizeBytes) * GRANULE_BYTES
  return max(1, pagesFor(books, roundedBytes + alignBytes - GRANULE_BYTES))
}

/**
 * The bytes of the longest block for which the gap [first, end) has room. A block of whole pages has to
 * start on a page.
 */
export function roomIn(books: Books, first: Block, end: number): number {
  const bytes = (end - first) * GRANULE_BYTES
  if (bytes < books.wholePagesFromBytes) return bytes
  const wholeBytes =
    ((end >>> books.granuleShift) - (pageCeil(books, first) >>> books.granuleShift)) * books.pageBytes
  return wholeBytes >= books.wholePagesFromBytes ? wholeBytes : books.wholePagesFromBytes - 1
}

/**
 * Rounds the length of a block of a frame or more up, by at most 1/32 and less than a frame. Sizes that
 * hardly differ then share a stack, and gaps have lengths that are wanted again.
 *
 * `size` is below `limit`, and so is the result: a block as long as whole pages must be whole pages. A block
 * at the start of a page touches the same pages as one of `size` granules, elsewhere at most one more.
 */
function roundLong(size: number, limit: number): number {
  const shift = min(31 - clz32(size) - LONG_STEPS_SHIFT, FRAME_SHIFT)
  const mask = (1 << shift) - 1
  const rounded = (size + mask) & ~mask
  return rounded < limit ? rounded : size
}

/** The fewest granules that hold `sizeBytes`; at least 1. */
export function granulesIn(sizeBytes: number): number {
  return sizeBytes === 0 ? 1 : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
}
