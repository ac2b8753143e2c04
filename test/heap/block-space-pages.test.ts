import { describe, expect, it } from 'vitest'
import { clearRange, setRange } from '../../src/base/bits.js'
import { NONE } from '../../src/base/units.js'
import { pairOf } from '../../src/heap/granule-map.js'
import { END, FIRST_BIT, ROW_WORDS } from '../../src/heap/layout.js'
import { type Books, blocksOf, expectWholeSpaceFree, makeBooks, observeSpace, PG, take } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG

function purge({ space }: Books, firstPage: number, pageCount: number): void {
  space.markPurged(firstPage, pageCount)
}

/** Every page is free and dirty. */
function dirtyBooks(pageBytes = 4096): Books {
  const books = makeBooks(PAGES, pageBytes)
  const granules = PAGES * books.table.pageGranules
  books.space.give(take(books, granules), granules)
  return books
}

describe('addRange', () => {
  it.each([4096, 65536])('joins a range right behind another, in pages of %i bytes', pageBytes => {
    const books = makeBooks(0, pageBytes)
    books.space.addRange(5, 10)
    books.space.addRange(15, 10)
    blocksOf(books)
    expect(books.table.ranges).toEqual([{ firstPage: 5, pageCount: 20 }])
    expectWholeSpaceFree(books)
  })

  it('coalesces with a gap before it, but not with a block', () => {
    const books = makeBooks(PAGES)
    take(books, GRANULES - 10)
    books.space.addRange(PAGES, 5)
    expect(blocksOf(books)).toEqual([[0, GRANULES - 10]])
    expect(take(books, 5 * PG + 10)).toBe(GRANULES - 10)
    books.space.addRange(PAGES + 5, 1)
    expect(take(books, PG)).toBe(GRANULES + 5 * PG)
    expectWholeSpaceFree(books)
  })

  it('coalesces with a front that reaches to the end once that is dropped', () => {
    const books = makeBooks(4)
    take(books, 10)
    books.space.addRange(4, 4)
    blocksOf(books)
    expect(take(books, 4 * PG)).toBe(4 * PG)
    books.space.dropFront()
    expectWholeSpaceFree(books)
  })

  it('never coalesces over pages that are not managed, be it one', () => {
    const books = makeBooks(0)
    books.space.addRange(12, 10)
    books.space.addRange(0, 11)
    blocksOf(books)
    expect(books.space.take(12 * PG)).toBe(NONE)
    expect([take(books, 10 * PG), take(books, 11 * PG)]).toEqual([12 * PG, 0])
    books.space.give(12 * PG, 22 * PG)
    books.space.give(0, 11 * PG)
    blocksOf(books)
    expect(books.space.take(11 * PG + 1)).toBe(NONE)
  })

  it('does not let a block grow over the end of its range', () => {
    const books = makeBooks(10)
    books.space.addRange(11, 10)
    take(books, 10 * PG)
    expect(books.space.resizeTo(0, books.space.next(0), 10 * PG + 1)).toBe(false)
    blocksOf(books)
  })
})

describe('removeRange', () => {
  it('forgets a range, so that it can be added again', () => {
    const books = makeBooks(10)
    books.space.addRange(20, 30)
    const range = { firstPage: 20, pageCount: 30 }
    const block = take(books, 30 * PG)
    expect(block).toBe(20 * PG)
    expect(books.space.isRangeFree(range)).toBe(false)
    expect(() => books.space.removeRange(20, 30)).toThrow('only a free range is removed')
    books.space.give(block, block + 30 * PG)
    expect(books.space.isRangeFree(range)).toBe(true)
    expect(() => books.space.removeRange(20, 30)).toThrow('only clean pages are forgotten')
  })

  it('leaves nothing behind in the map', () => {
    const books = makeBooks(10)
    books.space.addRange(20, 30)
    books.space.removeRange(20, 30)
    expect(books.table.managedPages).toBe(10)
    for (let at = pairOf(10 * PG + 32); at < books.table.bits.length; at++)
      expect(books.table.bits[at]).toBe(0)
    expect(books.table.occupied.subarray(11).every(pairs => pairs === 0)).toBe(true)
    books.space.addRange(15, 40)
    blocksOf(books)
    expect(take(books, 40 * PG)).toBe(15 * PG)
  })

  it('removes the first of all and leaves the others', () => {
    const books = makeBooks(10)
    books.space.addRange(20, 10)
    const block = take(books, 300)
    expect(block).toBe(0)
    books.space.give(block, 300)
    purge(books, 0, 2)
    books.space.removeRange(0, 10)
    expectWholeSpaceFree(books)
  })

  it('forgets what was short in a range', () => {
    const books = makeBooks(10)
    books.space.addRange(20, 10)
    take(books, 10 * PG)
    const blocks = Array.from({ length: 8 }, () => take(books, 300))
    for (const block of blocks) books.space.resizeTo(block, books.space.next(block), 290)
    for (const block of blocks) books.space.give(block, block + 290)
    blocksOf(books)
    purge(books, 20, 10)
    expect(books.space.isRangeFree({ firstPage: 20, pageCount: 10 })).toBe(true)
    expect(books.table.tops.some(top => top > 0)).toBe(true)
    books.space.removeRange(20, 10)
    expect(books.table.tops.every(top => top === 0)).toBe(true)
    blocksOf(books)
    expect(books.space.take(1)).toBe(NONE)
    expectWholeSpaceFree(books)
  })

  it('is not asked of a range that has joined another', () => {
    const books = makeBooks(10)
    books.space.addRange(10, 10)
    const before = observeSpace(books)
    expect(() => books.space.removeRange(10, 10)).toThrow('only a free range is removed')
    expect(observeSpace(books)).toEqual(before)
  })
})

describe('markPurged', () => {
  it.each([4096, 65536])('purges the middle of a gap of pages of %i bytes', pageBytes => {
    const books = dirtyBooks(pageBytes)
    purge(books, 5, 7)
    expect(books.states).toMatchObject({ dirtyPages: 13, refaultedPages: 0 })
    blocksOf(books)
    expectWholeSpaceFree(books)
    expect(books.states.refaultedPages).toBe(7)
  })

  it('purges gaps page by page, and the books are right after each', () => {
    const books = dirtyBooks()
    take(books, 300)
    for (let page = 2; page < PAGES; page++) {
      purge(books, page, 1)
      expect(blocksOf(books)).toEqual([[0, 300]])
    }
    expect(books.states).toMatchObject({ usedPages: 2, dirtyPages: 0 })
    expectWholeSpaceFree(books)
    expect(books.states.refaultedPages).toBe(18)
  })

  it('purges what has coalesced since with what was purged before', () => {
    const books = makeBooks(0)
    books.space.addRange(0, 10)
    const block = take(books, 10 * PG)
    books.space.addRange(10, 10)
    const behind = take(books, 10 * PG)
    books.space.give(behind, behind + 10 * PG)
    purge(books, 12, 5)
    blocksOf(books)
    books.space.give(block, block + 10 * PG)
    purge(books, 3, 9)
    purge(books, 17, 3)
    blocksOf(books)
    expect(books.states.dirtyPages).toBe(3)
    expectWholeSpaceFree(books)
  })

  it('purges the front, and the gap behind it in the same stretch', () => {
    const books = dirtyBooks()
    take(books, 10)
    purge(books, 1, PAGES - 1)
    expect(books.states).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    expect(blocksOf(books)).toEqual([[0, 10]])
    expect([take(books, 255), take(books, 255)]).toEqual([10, 265])
    expect(books.states).toMatchObject({ usedPages: 3, refaultedPages: 2 })
    books.space.dropFront()
    blocksOf(books)
    expectWholeSpaceFree(books)
    expect(books.states.refaultedPages).toBe(19)
  })

  it('purges a part of the front', () => {
    const books = dirtyBooks()
    take(books, 10)
    purge(books, 2, 1)
    blocksOf(books)
    books.space.dropFront()
    blocksOf(books)
    expect(books.states.dirtyPages).toBe(18)
    expectWholeSpaceFree(books)
  })

  it('goes on rightly where the gap that was purged last is a block now', () => {
    const books = dirtyBooks()
    purge(books, 0, 1)
    const block = take(books, 10 * PG)
    expect(block).toBe(0)
    purge(books, 15, 2)
    books.space.give(block, 10 * PG)
    purge(books, 4, 1)
    blocksOf(books)
    expect(books.states.dirtyPages).toBe(17)
    expectWholeSpaceFree(books)
  })

  it('makes a gap with one clean page one that is taken last, and that growth is asked for', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = [600, 300, 600, 300].map(size => take(books, size))
    books.space.give(a, a + 600)
    books.space.give(b, b + 600)
    purge(books, 1, 1)
    books.space.growthPages = 0
    expect(take(books, 600)).toBe(b)
    expect(books.space.take(600)).toBe(NONE)
    books.space.growthPages = 1
    expect(take(books, 600)).toBe(a)
    expect(books.space.growthPages).toBe(0)
    expectWholeSpaceFree(books)
  })
})

describe('check', () => {
  /** Blocks at 0 to 300 and at 900 to 1200, a long gap between them, the front, a gap behind; all of it in order. */
  function fixture(): Books {
    const books = makeBooks(PAGES)
    for (const size of [300, 600, 300]) take(books, size)
    books.space.give(300, 900)
    take(books, 5 * PG)
    take(books, 10)
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
    books.table.rows[(2480 >>> 8) * ROW_WORDS + END] = GRANULES + 1
    expect(() => blocksOf(books)).toThrow('1: what starts at 2480 ends in its range')
  })

  it('finds a range whose end is not marked as such (1)', () => {
    for (const isLive of [true, false]) {
      const books = fixture()
      books.table.bits[pairOf(GRANULES) + 1] = FIRST_BIT
      if (!isLive) books.table.bits[pairOf(GRANULES)] = 0
      expect(() => blocksOf(books)).toThrow(`1: range ends at ${GRANULES}`)
    }
  })

  it('finds a front that is live (1)', () => {
    const books = fixture()
    books.map.markLive(310)
    expect(() => blocksOf(books)).toThrow('1: the front is held back')
  })

  it('finds a front of another length (1)', () => {
    const books = fixture()
    books.map.markHeld(600)
    books.map.span(310, 600)
    books.map.span(600, 900)
    expect(() => blocksOf(books)).toThrow('1: the front is held back')
  })

  it('finds two gaps that touch (2)', () => {
    const books = fixture()
    books.map.markGap(3000)
    books.map.span(2480, 3000)
    books.map.span(3000, GRANULES)
    expect(() => blocksOf(books)).toThrow('2: gap 3000 touches no other')
  })

  it('finds a stretch that is not found from its end (2 of the map)', () => {
    const books = fixture()
    books.map.span(2479, GRANULES)
    expect(() => blocksOf(books)).toThrow(`2: what ends at ${GRANULES} starts at 2480`)
  })

  it('finds a long gap that is not filed (3)', () => {
    const books = fixture()
    books.map.coalesce(900, 1200)
    expect(() => blocksOf(books)).toThrow('3: 2 long gaps, found 1')
  })

  it('finds a short gap above the top of its frame (3)', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    take(books, 256)
    books.space.resizeTo(0, books.space.next(0), 290)
    books.table.tops[1] = 0
    expect(() => blocksOf(books)).toThrow('1: gap 290 of 10 is not above')
  })

  it('finds a long gap with another count of clean pages than its row says (3)', () => {
    const books = fixture()
    setRange(books.table.dirty, 15, 16)
    books.states.dirtyPages++
    expect(() => blocksOf(books)).toThrow('1: gap 2480 counts its clean pages')
  })

  it('finds a wrong count of blocks (4)', () => {
    const books = fixture()
    books.space.heldBlocks++
    expect(() => blocksOf(books)).toThrow('4: 5 blocks, found 4')
  })

  it('finds a page that counts as used although no block touches it, and one that does not (5)', () => {
    for (const by of [1, -1]) {
      const books = fixture()
      books.states.usedPages += by
      expect(() => blocksOf(books)).toThrow(`1: ${9 + by} pages used, found 9`)
    }
  })

  it('finds a page of a block, and one that the front shares, that counts as free (5)', () => {
    for (const page of [0, 1, 3, 9]) {
      const books = fixture()
      setRange(books.table.dirty, page, page + 1)
      expect(() => blocksOf(books)).toThrow(`2: used page ${page} is not dirty`)
      clearRange(books.table.dirty, page, page + 1)
      blocksOf(books)
    }
  })
})
