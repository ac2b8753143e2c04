import { describe, expect, it } from 'vitest'
import { dropFront, hasFront, resizeTo } from '../../src/heap/block-space.js'
import type { Books } from '../../src/heap/books.js'
import { give } from '../../src/heap/gaps.js'
import { endOf } from '../../src/heap/granule-map.js'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { markPurged } from '../../src/heap/space-pages.js'
import { blocksOf, expectWholeSpaceFree, makeBooks, mustTake, observeSpace, PG } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG

function takeAll(books: Books, sizes: number[]): number[] {
  return sizes.map(size => mustTake(books, size))
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
          mustTake(books, GRANULES)
          const starts = [5, 5 + first, 5 + first + second]
          const ends = [starts[1], starts[2], starts[2] + 300]
          resizeTo(books, 0, endOf(books, 0), 5)
          const covered = mustTake(books, GRANULES - 5)
          expect(covered).toBe(5)
          for (const [at, start] of starts.entries()) {
            resizeTo(books, start, endOf(books, start), ends[at] - start)
            expect(mustTake(books, GRANULES - ends[at])).toBe(ends[at])
          }
          expect(blocksOf(books).length).toBe(5)
          for (const at of order) {
            give(books, starts[at], ends[at])
            blocksOf(books)
          }
          expect(endOf(books, 5)).toBe(ends[2])
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
        give(books, block, block + 300)
        blocksOf(books)
      }
      expect(books).toMatchObject({ usedPages: 0, dirtyPages: PAGES })
      expectWholeSpaceFree(books)
    }
  })

  it('frees the pages that no other block touches', () => {
    const books = makeBooks(PAGES)
    takeAll(books, [300, 300, 300])
    give(books, 300, 600)
    expect(books).toMatchObject({ usedPages: 4, dirtyPages: 0 })
    give(books, 0, 300)
    expect(books).toMatchObject({ usedPages: 2, dirtyPages: 2 })
    give(books, 600, 900)
    expect(books).toMatchObject({ usedPages: 0, dirtyPages: 4 })
    expectWholeSpaceFree(books)
  })

  it('frees a page of 64 KiB with the last of the blocks on it', () => {
    const books = makeBooks(PAGES, 65536)
    const blocks = Array.from({ length: 64 }, () => mustTake(books, 64))
    dropFront(books)
    for (const block of blocks.slice(1)) give(books, block, block + 64)
    expect(books).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    give(books, 0, 64)
    expect(books).toMatchObject({ usedPages: 0, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })
})

describe('resize', () => {
  it('leaves a block of that size as it is', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    const before = observeSpace(books)
    expect(resizeTo(books, 0, endOf(books, 0), 300)).toBe(true)
    expect(observeSpace(books)).toEqual(before)
  })

  it('shrinks by a granule, which the next block can have', () => {
    const books = makeBooks(PAGES)
    takeAll(books, [300, 300])
    expect(resizeTo(books, 0, endOf(books, 0), 299)).toBe(true)
    expect(blocksOf(books)).toEqual([
      [0, 299],
      [300, 600],
    ])
    expect(mustTake(books, 1)).toBe(299)
    expectWholeSpaceFree(books)
  })

  it('shrinks, and frees the pages that it does not touch any more', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 10 * PG)
    expect(resizeTo(books, 0, endOf(books, 0), 300)).toBe(true)
    expect(books).toMatchObject({ usedPages: 2, dirtyPages: 8 })
    expect(blocksOf(books)).toEqual([[0, 300]])
    expectWholeSpaceFree(books)
  })

  it('shrinks beside a gap, and coalesces with it', () => {
    const books = makeBooks(PAGES)
    const [, gap] = takeAll(books, [300, 100 + PG, 300])
    give(books, gap, gap + 100 + PG)
    expect(resizeTo(books, 0, endOf(books, 0), 200)).toBe(true)
    blocksOf(books)
    expect(mustTake(books, 200 + PG)).toBe(200)
    expectWholeSpaceFree(books)
  })

  it('grows over a part of a short gap, over all of it, and no further', () => {
    const books = makeBooks(PAGES)
    const [a, b] = [mustTake(books, 50), mustTake(books, 100), mustTake(books, 5)]
    give(books, b, b + 100)
    for (const size of [100, 149, 150]) {
      expect(resizeTo(books, a, endOf(books, a), size)).toBe(true)
      expect(blocksOf(books)[0]).toEqual([0, size])
    }
    const before = observeSpace(books)
    expect(resizeTo(books, a, endOf(books, a), 151)).toBe(false)
    expect(books.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('grows over a part of a long gap, over all of it, and no further', () => {
    const books = makeBooks(PAGES)
    const [a, b] = takeAll(books, [300, 1000, 300])
    give(books, b, b + 1000)
    for (const size of [301, 700, 1299, 1300]) {
      expect(resizeTo(books, a, endOf(books, a), size)).toBe(true)
      expect(blocksOf(books)[0]).toEqual([0, size])
    }
    const before = observeSpace(books)
    expect(resizeTo(books, a, endOf(books, a), 1301)).toBe(false)
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('leaves what is too short for a frame to small blocks', () => {
    const books = makeBooks(PAGES)
    const [a, b] = takeAll(books, [300, 1000, 300])
    give(books, b, b + 1000)
    expect(resizeTo(books, a, endOf(books, a), 1200)).toBe(true)
    blocksOf(books)
    expect(mustTake(books, 100)).toBe(1200)
    expectWholeSpaceFree(books)
  })

  it('grows over dirty and clean pages, and counts each', () => {
    const books = makeBooks(PAGES)
    give(books, mustTake(books, GRANULES), GRANULES)
    markPurged(books, 10, 10)
    mustTake(books, 5 * PG)
    expect(resizeTo(books, 0, endOf(books, 0), 12 * PG)).toBe(true)
    expect(books).toMatchObject({ usedPages: 12, dirtyPages: 0, refaultedPages: 2 })
    expectWholeSpaceFree(books)
  })

  it('grows into the front, of which the rest is a gap then', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 10)
    expect(resizeTo(books, 0, endOf(books, 0), 300)).toBe(true)
    expect(hasFront(books)).toBe(false)
    expect(blocksOf(books)).toEqual([[0, 300]])
    expect(mustTake(books, 20)).toBe(300)
    expectWholeSpaceFree(books)
  })

  it('does not grow behind the space', () => {
    const books = makeBooks(PAGES)
    mustTake(books, GRANULES - 300)
    const before = observeSpace(books)
    for (const size of [GRANULES + 1, 2 ** 31, 2 ** 32 + 10]) {
      expect(resizeTo(books, 0, endOf(books, 0), size)).toBe(false)
      expect(books.refusal).toBe(REFUSED_SPACE)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(resizeTo(books, 0, endOf(books, 0), GRANULES)).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('does not grow over the limit, and says so', () => {
    const books = makeBooks(PAGES)
    books.limitPages = 10
    mustTake(books, 8 * PG)
    const before = observeSpace(books)
    expect(resizeTo(books, 0, endOf(books, 0), 10 * PG + 1)).toBe(false)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(resizeTo(books, 0, endOf(books, 0), 10 * PG)).toBe(true)
    expectWholeSpaceFree(books)
  })
})
