/**
 * What is tried when no block was found at first: to allow clean pages, to give up what is kept, to read all
 * gaps, and at last to take a shorter block.
 */
import { type Block, NONE } from '../base/units.js'
import { flushStacks, isCacheEmpty, keptGranules } from './block-cache.js'
import { dropFront, hasFront, take, takeAligned, takeLastShort } from './block-space.js'
import type { Books } from './books.js'
import { REFUSED_GROWTH, REFUSED_LIMIT } from './layout.js'
import { takeCommitted, takeLast } from './long-blocks.js'

const { max } = Math

/** Before clean pages are taken, kept blocks are given up if they are more than 1/64 of the used granules. */
const KEPT_SHARE = 64
/**
 * The clean pages that may be taken before the kept blocks are looked at again: 1/256 of the used pages, but
 * at least 16.
 */
const GROWTH_SHIFT = 8
const MIN_GROWTH_PAGES = 16

/** Cuts a block of `size` granules at a multiple of `mask + 1`, or returns NONE. */
export function takeOnce(books: Books, size: number, mask: number): Block {
  return mask === 0 ? take(books, size) : takeAligned(books, size, mask)
}

/**
 * Tries everything for a block that was refused. It takes clean pages after all, gives up what is kept,
 * reads all gaps, and at last makes the block only `least` granules long.
 */
export function takeAgain(books: Books, size: number, mask: number, least: number): Block {
  const { usedPages } = books
  const isGrowth = books.refusal === REFUSED_GROWTH
  books.growthPages = max(MIN_GROWTH_PAGES, usedPages >>> GROWTH_SHIFT)
  if (isGrowth) {
    const usedGranules = usedPages * books.pageGranules
    if (keptGranules(books) > usedGranules / KEPT_SHARE) giveUpKept(books)
    const block = takeOnce(books, size, mask)
    if (block !== NONE) return block
  }
  if (hasKept(books)) {
    giveUpKept(books)
    const block = takeOnce(books, size, mask)
    if (block !== NONE) return block
    // The attempt may have made a front before the limit refused it.
    dropFront(books)
  }
  let block = takeLastShort(books, size, mask)
  if (block === NONE && books.refusal !== REFUSED_LIMIT) block = takeLast(books, size, mask)
  if (block === NONE && books.refusal === REFUSED_LIMIT) block = takeCommitted(books, size, mask)
  return block === NONE && least < size ? takeAgain(books, least, mask, least) : block
}

/** Whether `giveUpKept` can make anything free: there are kept blocks or a front. */
export function hasKept(books: Books): boolean {
  return hasFront(books) || !isCacheEmpty(books)
}

/**
 * Makes all kept blocks and the front gaps. Afterwards a page is used exactly where a live block touches it.
 */
export function giveUpKept(books: Books): void {
  flushStacks(books)
  dropFront(books)
}
