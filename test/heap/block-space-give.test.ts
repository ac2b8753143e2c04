import { describe, expect, it } from 'vitest'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { type Books, blocksOf, expectWholeSpaceFree, makeBooks, observeSpace, PG, take } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG

function takeAll(books: Books, sizes: number[]): number[] {
  return sizes.map(size => take(books, size))
}

describe('give', () => {
  it('coalesces with neither, with one and with both neighbours, long and short', () => {
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]
    const sizes = [3, 100, 250, 300, 800]
    for (const order of orders) {
      for (const first of sizes) {
        for (const second of sizes) {
          const books = makeBooks(PAGES)
          // Blocks side by side, whatever their sizes.
          take(books, GRANULES)
          const starts = [5, 5 + first, 5 + first + second]
          const ends = [starts[1], starts[2], starts[2] + 300]
          books.space.resizeTo(0, books.space.next(0), 5)
          const covered = take(books, GRANULES - 5)
          expect(covered).toBe(5)
          for (const [at, start] of starts.entries()) {
            books.space.resizeTo(start, books.space.next(start), ends[at] - start)
            expect(take(books, GRANULES - ends[at])).toBe(ends[at])
          }
          expect(blocksOf(books).length).toBe(5)
          for (const at of order) {
            books.space.give(starts[at], ends[at])
            blocksOf(books)
          }
          expect(books.map.next(5)).toBe(ends[2])
          expectWholeSpaceFree(books)
        }
      }
    }
  })

  it('coalesces blocks given back in any order', () => {
    for (const step of [1, 3, 7, 11, 13]) {
      const books = makeBooks(PAGES)
      const blocks = takeAll(
        books,
        Array.from({ length: 17 }, () => 300),
      )
      for (let n = 0; n < 17; n++) {
        const block = blocks[(n * step) % 17]
        books.space.give(block, block + 300)
        blocksOf(books)
      }
      expect(books.states).toMatchObject({ usedPages: 0, dirtyPages: PAGES })
      expectWholeSpaceFree(books)
    }
  })

  it('frees the pages that no other block touches', () => {
    const books = makeBooks(PAGES)
    takeAll(books, [300, 300, 300])
    books.space.give(300, 600)
    expect(books.states).toMatchObject({ usedPages: 4, dirtyPages: 0 })
    books.space.give(0, 300)
    expect(books.states).toMatchObject({ usedPages: 2, dirtyPages: 2 })
    books.space.give(600, 900)
    expect(books.states).toMatchObject({ usedPages: 0, dirtyPages: 4 })
    expectWholeSpaceFree(books)
  })

  it('frees a page of 64 KiB with the last of the blocks on it', () => {
    const books = makeBooks(PAGES, 65536)
    const blocks = Array.from({ length: 64 }, () => take(books, 64))
    books.space.dropFront()
    for (const block of blocks.slice(1)) books.space.give(block, block + 64)
    expect(books.states).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    books.space.give(0, 64)
    expect(books.states).toMatchObject({ usedPages: 0, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })
})

describe('resize', () => {
  it('leaves a block of that size as it is', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    const before = observeSpace(books)
    expect(books.space.resizeTo(0, books.space.next(0), 300)).toBe(true)
    expect(observeSpace(books)).toEqual(before)
  })

  it('shrinks by a granule, which the next block can have', () => {
    const books = makeBooks(PAGES)
    takeAll(books, [300, 300])
    expect(books.space.resizeTo(0, books.space.next(0), 299)).toBe(true)
    expect(blocksOf(books)).toEqual([
      [0, 299],
      [300, 600],
    ])
    expect(take(books, 1)).toBe(299)
    expectWholeSpaceFree(books)
  })

  it('shrinks, and frees the pages that it does not touch any more', () => {
    const books = makeBooks(PAGES)
    take(books, 10 * PG)
    expect(books.space.resizeTo(0, books.space.next(0), 300)).toBe(true)
    expect(books.states).toMatchObject({ usedPages: 2, dirtyPages: 8 })
    expect(blocksOf(books)).toEqual([[0, 300]])
    expectWholeSpaceFree(books)
  })

  it('shrinks beside a gap, and coalesces with it', () => {
    const books = makeBooks(PAGES)
    const [, gap] = takeAll(books, [300, 100 + PG, 300])
    books.space.give(gap, gap + 100 + PG)
    expect(books.space.resizeTo(0, books.space.next(0), 200)).toBe(true)
    blocksOf(books)
    expect(take(books, 200 + PG)).toBe(200)
    expectWholeSpaceFree(books)
  })

  it('grows over a part of a short gap, over all of it, and no further', () => {
    const books = makeBooks(PAGES)
    const [a, b] = [take(books, 50), take(books, 100), take(books, 5)]
    books.space.give(b, b + 100)
    for (const size of [100, 149, 150]) {
      expect(books.space.resizeTo(a, books.space.next(a), size)).toBe(true)
      expect(blocksOf(books)[0]).toEqual([0, size])
    }
    const before = observeSpace(books)
    expect(books.space.resizeTo(a, books.space.next(a), 151)).toBe(false)
    expect(books.space.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('grows over a part of a long gap, over all of it, and no further', () => {
    const books = makeBooks(PAGES)
    const [a, b] = takeAll(books, [300, 1000, 300])
    books.space.give(b, b + 1000)
    for (const size of [301, 700, 1299, 1300]) {
      expect(books.space.resizeTo(a, books.space.next(a), size)).toBe(true)
      expect(blocksOf(books)[0]).toEqual([0, size])
    }
    const before = observeSpace(books)
    expect(books.space.resizeTo(a, books.space.next(a), 1301)).toBe(false)
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('leaves what is too short for a frame to small blocks', () => {
    const books = makeBooks(PAGES)
    const [a, b] = takeAll(books, [300, 1000, 300])
    books.space.give(b, b + 1000)
    expect(books.space.resizeTo(a, books.space.next(a), 1200)).toBe(true)
    blocksOf(books)
    expect(take(books, 100)).toBe(1200)
    expectWholeSpaceFree(books)
  })

  it('grows over dirty and clean pages, and counts each', () => {
    const books = makeBooks(PAGES)
    books.space.give(take(books, GRANULES), GRANULES)
    books.space.markPurged(10, 10)
    take(books, 5 * PG)
    expect(books.space.resizeTo(0, books.space.next(0), 12 * PG)).toBe(true)
    expect(books.states).toMatchObject({ usedPages: 12, dirtyPages: 0, refaultedPages: 2 })
    expectWholeSpaceFree(books)
  })

  it('grows into the front, of which the rest is a gap then', () => {
    const books = makeBooks(PAGES)
    take(books, 10)
    expect(books.space.resizeTo(0, books.space.next(0), 300)).toBe(true)
    expect(books.space.hasFront).toBe(false)
    expect(blocksOf(books)).toEqual([[0, 300]])
    expect(take(books, 20)).toBe(300)
    expectWholeSpaceFree(books)
  })

  it('does not grow behind the space', () => {
    const books = makeBooks(PAGES)
    take(books, GRANULES - 300)
    const before = observeSpace(books)
    for (const size of [GRANULES + 1, 2 ** 31, 2 ** 32 + 10]) {
      expect(books.space.resizeTo(0, books.space.next(0), size)).toBe(false)
      expect(books.space.refusal).toBe(REFUSED_SPACE)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.resizeTo(0, books.space.next(0), GRANULES)).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('does not grow over the limit, and says so', () => {
    const books = makeBooks(PAGES)
    books.states.limitPages = 10
    take(books, 8 * PG)
    const before = observeSpace(books)
    expect(books.space.resizeTo(0, books.space.next(0), 10 * PG + 1)).toBe(false)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.resizeTo(0, books.space.next(0), 10 * PG)).toBe(true)
    expectWholeSpaceFree(books)
  })
})
