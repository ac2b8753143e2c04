import { describe, expect, it } from 'vitest'
import { clearRange, setRange } from '../../src/base/bits.js'
import { NONE } from '../../src/base/units.js'
import { dropFront, resizeTo, take } from '../../src/heap/block-space.js'
import type { Books } from '../../src/heap/books.js'
import { give } from '../../src/heap/gaps.js'
import { endOf, markGap, markHeld, markLive, pairOf, span } from '../../src/heap/granule-map.js'
import { END, FIRST_BIT, ROW_WORDS } from '../../src/heap/layout.js'
import { addRange, isRangeFree, markPurged, removeRange } from '../../src/heap/space-pages.js'
import { blocksOf, coalesce, expectWholeSpaceFree, makeBooks, mustTake, observeSpace, PG } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG

function purge(books: Books, firstPage: number, pageCount: number): void {
  markPurged(books, firstPage, pageCount)
}

/** Every page is free and dirty. */
function dirtyBooks(pageBytes = 4096): Books {
  const books = makeBooks(PAGES, pageBytes)
  const granules = PAGES * books.pageGranules
  give(books, mustTake(books, granules), granules)
  return books
}

describe('addRange', () => {
  it.each([4096, 65536])('joins a range right behind another, in pages of %i bytes', pageBytes => {
    const books = makeBooks(0, pageBytes)
    addRange(books, 5, 10)
    addRange(books, 15, 10)
    blocksOf(books)
    expect(books.ranges).toEqual([{ firstPage: 5, pageCount: 20 }])
    expectWholeSpaceFree(books)
  })

  it('coalesces with a gap before it, but not with a block', () => {
    const books = makeBooks(PAGES)
    mustTake(books, GRANULES - 10)
    addRange(books, PAGES, 5)
    expect(blocksOf(books)).toEqual([[0, GRANULES - 10]])
    expect(mustTake(books, 5 * PG + 10)).toBe(GRANULES - 10)
    addRange(books, PAGES + 5, 1)
    expect(mustTake(books, PG)).toBe(GRANULES + 5 * PG)
    expectWholeSpaceFree(books)
  })

  it('coalesces with a front that reaches to the end once that is dropped', () => {
    const books = makeBooks(4)
    mustTake(books, 10)
    addRange(books, 4, 4)
    blocksOf(books)
    expect(mustTake(books, 4 * PG)).toBe(4 * PG)
    dropFront(books)
    expectWholeSpaceFree(books)
  })

  it('never coalesces over pages that are not managed, be it one', () => {
    const books = makeBooks(0)
    addRange(books, 12, 10)
    addRange(books, 0, 11)
    blocksOf(books)
    expect(take(books, 12 * PG)).toBe(NONE)
    expect([mustTake(books, 10 * PG), mustTake(books, 11 * PG)]).toEqual([12 * PG, 0])
    give(books, 12 * PG, 22 * PG)
    give(books, 0, 11 * PG)
    blocksOf(books)
    expect(take(books, 11 * PG + 1)).toBe(NONE)
  })

  it('does not let a block grow over the end of its range', () => {
    const books = makeBooks(10)
    addRange(books, 11, 10)
    mustTake(books, 10 * PG)
    expect(resizeTo(books, 0, endOf(books, 0), 10 * PG + 1)).toBe(false)
    blocksOf(books)
  })
})

describe('removeRange', () => {
  it('forgets a range, so that it can be added again', () => {
    const books = makeBooks(10)
    addRange(books, 20, 30)
    const range = { firstPage: 20, pageCount: 30 }
    const block = mustTake(books, 30 * PG)
    expect(block).toBe(20 * PG)
    expect(isRangeFree(books, range)).toBe(false)
    expect(() => removeRange(books, 20, 30)).toThrow('only a free range is removed')
    give(books, block, block + 30 * PG)
    expect(isRangeFree(books, range)).toBe(true)
    expect(() => removeRange(books, 20, 30)).toThrow('only clean pages are forgotten')
  })

  it('leaves nothing behind in the map', () => {
    const books = makeBooks(10)
    addRange(books, 20, 30)
    removeRange(books, 20, 30)
    expect(books.managedPages).toBe(10)
    for (let at = pairOf(10 * PG + 32); at < books.bits.length; at++) expect(books.bits[at]).toBe(0)
    expect(books.occupied.subarray(11).every(pairs => pairs === 0)).toBe(true)
    addRange(books, 15, 40)
    blocksOf(books)
    expect(mustTake(books, 40 * PG)).toBe(15 * PG)
  })

  it('removes the first of all and leaves the others', () => {
    const books = makeBooks(10)
    addRange(books, 20, 10)
    const block = mustTake(books, 300)
    expect(block).toBe(0)
    give(books, block, 300)
    purge(books, 0, 2)
    removeRange(books, 0, 10)
    expectWholeSpaceFree(books)
  })

  it('forgets what was short in a range', () => {
    const books = makeBooks(10)
    addRange(books, 20, 10)
    mustTake(books, 10 * PG)
    const blocks = Array.from({ length: 8 }, () => mustTake(books, 300))
    for (const block of blocks) resizeTo(books, block, endOf(books, block), 290)
    for (const block of blocks) give(books, block, block + 290)
    blocksOf(books)
    purge(books, 20, 10)
    expect(isRangeFree(books, { firstPage: 20, pageCount: 10 })).toBe(true)
    expect(books.tops.some(top => top > 0)).toBe(true)
    removeRange(books, 20, 10)
    expect(books.tops.every(top => top === 0)).toBe(true)
    blocksOf(books)
    expect(take(books, 1)).toBe(NONE)
    expectWholeSpaceFree(books)
  })

  it('is not asked of a range that has joined another', () => {
    const books = makeBooks(10)
    addRange(books, 10, 10)
    const before = observeSpace(books)
    expect(() => removeRange(books, 10, 10)).toThrow('only a free range is removed')
    expect(observeSpace(books)).toEqual(before)
  })
})

describe('markPurged', () => {
  it.each([4096, 65536])('purges the middle of a gap of pages of %i bytes', pageBytes => {
    const books = dirtyBooks(pageBytes)
    purge(books, 5, 7)
    expect(books).toMatchObject({ dirtyPages: 13, refaultedPages: 0 })
    blocksOf(books)
    expectWholeSpaceFree(books)
    expect(books.refaultedPages).toBe(7)
  })

  it('purges gaps page by page, and the books are right after each', () => {
    const books = dirtyBooks()
    mustTake(books, 300)
    for (let page = 2; page < PAGES; page++) {
      purge(books, page, 1)
      expect(blocksOf(books)).toEqual([[0, 300]])
    }
    expect(books).toMatchObject({ usedPages: 2, dirtyPages: 0 })
    expectWholeSpaceFree(books)
    expect(books.refaultedPages).toBe(18)
  })

  it('purges what has coalesced since with what was purged before', () => {
    const books = makeBooks(0)
    addRange(books, 0, 10)
    const block = mustTake(books, 10 * PG)
    addRange(books, 10, 10)
    const behind = mustTake(books, 10 * PG)
    give(books, behind, behind + 10 * PG)
    purge(books, 12, 5)
    blocksOf(books)
    give(books, block, block + 10 * PG)
    purge(books, 3, 9)
    purge(books, 17, 3)
    blocksOf(books)
    expect(books.dirtyPages).toBe(3)
    expectWholeSpaceFree(books)
  })

  it('purges the front, and the gap behind it in the same stretch', () => {
    const books = dirtyBooks()
    mustTake(books, 10)
    purge(books, 1, PAGES - 1)
    expect(books).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    expect(blocksOf(books)).toEqual([[0, 10]])
    expect([mustTake(books, 255), mustTake(books, 255)]).toEqual([10, 265])
    expect(books).toMatchObject({ usedPages: 3, refaultedPages: 2 })
    dropFront(books)
    blocksOf(books)
    expectWholeSpaceFree(books)
    expect(books.refaultedPages).toBe(19)
  })

  it('purges a part of the front', () => {
    const books = dirtyBooks()
    mustTake(books, 10)
    purge(books, 2, 1)
    blocksOf(books)
    dropFront(books)
    blocksOf(books)
    expect(books.dirtyPages).toBe(18)
    expectWholeSpaceFree(books)
  })

  it('goes on rightly where the gap that was purged last is a block now', () => {
    const books = dirtyBooks()
    purge(books, 0, 1)
    const block = mustTake(books, 10 * PG)
    expect(block).toBe(0)
    purge(books, 15, 2)
    give(books, block, 10 * PG)
    purge(books, 4, 1)
    blocksOf(books)
    expect(books.dirtyPages).toBe(17)
    expectWholeSpaceFree(books)
  })

  it('makes a gap with one clean page one that is taken last, and that growth is asked for', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = [600, 300, 600, 300].map(size => mustTake(books, size))
    give(books, a, a + 600)
    give(books, b, b + 600)
    purge(books, 1, 1)
    books.growthPages = 0
    expect(mustTake(books, 600)).toBe(b)
    expect(take(books, 600)).toBe(NONE)
    books.growthPages = 1
    expect(mustTake(books, 600)).toBe(a)
    expect(books.growthPages).toBe(0)
    expectWholeSpaceFree(books)
  })
})

describe('check', () => {
  /** Blocks at 0 to 300 and at 900 to 1200, a long gap between them, the front, a gap behind; all of it in order. */
  function fixture(): Books {
    const books = makeBooks(PAGES)
    for (const size of [300, 600, 300]) mustTake(books, size)
    give(books, 300, 900)
    mustTake(books, 5 * PG)
    mustTake(books, 10)
    expect(blocksOf(books)).toEqual([
      [0, 300],
      [300, 310],
      [900, 1200],
      [1200, 2480],
    ])
    return books
  }

  it('finds a stretch that reaches behind its range (1)', () => {
    const books = fixture()
    books.rows[(2480 >>> 8) * ROW_WORDS + END] = GRANULES + 1
    expect(() => blocksOf(books)).toThrow('1: what starts at 2480 ends in its range')
  })

  it('finds a range whose end is not marked as such (1)', () => {
    for (const isLive of [true, false]) {
      const books = fixture()
      books.bits[pairOf(GRANULES) + 1] = FIRST_BIT
      if (!isLive) books.bits[pairOf(GRANULES)] = 0
      expect(() => blocksOf(books)).toThrow(`1: range ends at ${GRANULES}`)
    }
  })

  it('finds a front that is live (1)', () => {
    const books = fixture()
    markLive(books, 310)
    expect(() => blocksOf(books)).toThrow('1: the front is held back')
  })

  it('finds a front of another length (1)', () => {
    const books = fixture()
    markHeld(books, 600)
    span(books, 310, 600)
    span(books, 600, 900)
    expect(() => blocksOf(books)).toThrow('1: the front is held back')
  })

  it('finds two gaps that touch (2)', () => {
    const books = fixture()
    markGap(books, 3000)
    span(books, 2480, 3000)
    span(books, 3000, GRANULES)
    expect(() => blocksOf(books)).toThrow('2: gap 3000 touches no other')
  })

  it('finds a stretch that is not found from its end (2 of the map)', () => {
    const books = fixture()
    span(books, 2479, GRANULES)
    expect(() => blocksOf(books)).toThrow(`2: what ends at ${GRANULES} starts at 2480`)
  })

  it('finds a long gap that is not filed (3)', () => {
    const books = fixture()
    coalesce(books, 900, 1200)
    expect(() => blocksOf(books)).toThrow('3: 2 long gaps, found 1')
  })

  it('finds a short gap above the top of its frame (3)', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    mustTake(books, 256)
    resizeTo(books, 0, endOf(books, 0), 290)
    books.tops[1] = 0
    expect(() => blocksOf(books)).toThrow('1: gap 290 of 10 is not above')
  })

  it('finds a long gap with another count of clean pages than its row says (3)', () => {
    const books = fixture()
    setRange(books.dirty, 15, 16)
    books.dirtyPages++
    expect(() => blocksOf(books)).toThrow('1: gap 2480 counts its clean pages')
  })

  it('finds a wrong count of blocks (4)', () => {
    const books = fixture()
    books.cutBlocks++
    expect(() => blocksOf(books)).toThrow('4: 5 blocks, found 4')
  })

  it('finds a page that counts as used although no block touches it, and one that does not (5)', () => {
    for (const by of [1, -1]) {
      const books = fixture()
      books.usedPages += by
      expect(() => blocksOf(books)).toThrow(`1: ${9 + by} pages used, found 9`)
    }
  })

  it('finds a page of a block, and one that the front shares, that counts as free (5)', () => {
    for (const page of [0, 1, 3, 9]) {
      const books = fixture()
      setRange(books.dirty, page, page + 1)
      expect(() => blocksOf(books)).toThrow(`2: used page ${page} is not dirty`)
      clearRange(books.dirty, page, page + 1)
      blocksOf(books)
    }
  })
})
