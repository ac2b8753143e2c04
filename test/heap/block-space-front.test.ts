import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { dropFront, frontHoldsPages, hasFront, take } from '../../src/heap/block-space.js'
import { give } from '../../src/heap/gaps.js'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { committedPages } from '../../src/heap/page-states.js'
import { blocksOf, expectWholeSpaceFree, makeBooks, mustTake, observeSpace, PG } from './books.js'

const PAGES = 20

describe('the front', () => {
  it('is made by the first small block, and the next ones follow it', () => {
    const books = makeBooks(PAGES)
    expect(hasFront(books)).toBe(false)
    expect([mustTake(books, 10), mustTake(books, 20), mustTake(books, 255), mustTake(books, 1)]).toEqual([
      0, 10, 30, 285,
    ])
    expect(hasFront(books)).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('is 16 KiB of a longer gap, so that long blocks come behind it', () => {
    const books = makeBooks(PAGES)
    expect([mustTake(books, 10), mustTake(books, 300), mustTake(books, 10)]).toEqual([0, 1024, 10])
    expectWholeSpaceFree(books)
  })

  it('ends with a page, also where that is longer than it need be', () => {
    const books = makeBooks(8, 65536)
    expect([mustTake(books, 10), mustTake(books, 300)]).toEqual([0, 4096])
    expectWholeSpaceFree(books)
  })

  it('is all of a gap that would leave less than another front', () => {
    for (const [pages, block] of [
      [7, NONE],
      [8, 1024],
    ]) {
      const books = makeBooks(pages)
      mustTake(books, 1)
      expect(take(books, PG)).toBe(block)
      expectWholeSpaceFree(books)
    }
  })

  it('stays where a long block is refused, which finds room once it is dropped', () => {
    const books = makeBooks(7)
    mustTake(books, 1)
    const before = observeSpace(books)
    expect(take(books, PG)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expect(hasFront(books)).toBe(true)
    dropFront(books)
    expect(mustTake(books, PG)).toBe(1)
    expectWholeSpaceFree(books)
  })

  it('uses a page when a block reaches it', () => {
    const books = makeBooks(PAGES)
    const used = [200, 56, 1, 255, 255, 2].map(size => {
      mustTake(books, size)
      blocksOf(books)
      return books.usedPages
    })
    expect(used).toEqual([1, 1, 2, 2, 3, 4])
    expectWholeSpaceFree(books)
  })

  it('uses pages of 64 KiB when a block reaches them', () => {
    const books = makeBooks(PAGES, 65536)
    for (let n = 0; n < 16; n++) mustTake(books, 255)
    expect(books.usedPages).toBe(1)
    expect(mustTake(books, 16)).toBe(4080)
    expect(books.usedPages).toBe(1)
    expect(hasFront(books)).toBe(false)
    expectWholeSpaceFree(books)
  })

  it('is exhausted by a block that fits it exactly, and made anew by the next', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) mustTake(books, 255)
    expect(hasFront(books)).toBe(true)
    expect(mustTake(books, 4)).toBe(1020)
    expect(hasFront(books)).toBe(false)
    blocksOf(books)
    expect(mustTake(books, 7)).toBe(1024)
    expect(hasFront(books)).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('leaves a rest that is too short for a block to shorter ones', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) mustTake(books, 250)
    expect(mustTake(books, 300)).toBe(1024)
    expect(mustTake(books, 100)).toBe(1324)
    expect(mustTake(books, 24)).toBe(1000)
    expectWholeSpaceFree(books)
  })

  it('coalesces with the gap behind it where a block is too long for its rest', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) mustTake(books, 250)
    expect(mustTake(books, 100)).toBe(1000)
    expectWholeSpaceFree(books)
  })

  it('commits nothing where its pages are dirty', () => {
    const books = makeBooks(PAGES)
    give(books, mustTake(books, PAGES * PG), PAGES * PG)
    books.limitPages = PAGES
    for (let n = 0; n < 20; n++) mustTake(books, 250)
    expect(committedPages(books)).toBe(PAGES)
    expectWholeSpaceFree(books)
  })

  it('goes on within its page where the limit is reached', () => {
    const books = makeBooks(PAGES)
    books.limitPages = 1
    mustTake(books, 200)
    const before = observeSpace(books)
    for (const size of [57, 255]) {
      expect(take(books, size)).toBe(NONE)
      expect(books.refusal).toBe(REFUSED_LIMIT)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(mustTake(books, 56)).toBe(200)
    expect(take(books, 1)).toBe(NONE)
    expectWholeSpaceFree(books)
  })

  it('is not lost where the limit refuses its first block', () => {
    const books = makeBooks(PAGES)
    books.limitPages = 0
    expect(take(books, 1)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expect(blocksOf(books)).toEqual([])
    expectWholeSpaceFree(books)
  })
})

describe('dropFront', () => {
  it('makes what is left a gap again', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 10)
    dropFront(books)
    expect(hasFront(books)).toBe(false)
    expect(blocksOf(books)).toEqual([[0, 10]])
    expect(mustTake(books, 300)).toBe(10)
    expectWholeSpaceFree(books)
  })

  it('does nothing where there is none', () => {
    const books = makeBooks(PAGES)
    const before = observeSpace(books)
    dropFront(books)
    expect(observeSpace(books)).toEqual(before)
  })

  it('counts the clean pages of the front in the gap, and those of the gap behind', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    give(books, 0, 300)
    blocksOf(books)
    mustTake(books, 255)
    dropFront(books)
    blocksOf(books)
    expect(books).toMatchObject({ usedPages: 1, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })
})

describe('frontHoldsPages', () => {
  it('is false without a front, and beside blocks or the ends of the range', () => {
    const books = makeBooks(PAGES)
    expect(frontHoldsPages(books)).toBe(false)
    mustTake(books, 255)
    expect(frontHoldsPages(books)).toBe(false)
    mustTake(books, 1)
    expect(frontHoldsPages(books)).toBe(false)
    give(books, 255, 256)
    // The front begins with a page: no page is shared with the gap before it.
    expect(frontHoldsPages(books)).toBe(false)
    expectWholeSpaceFree(books)
  })

  it('is true where it shares its first page with a gap, which comes free when it is dropped', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 100)
    give(books, 0, 100)
    expect(frontHoldsPages(books)).toBe(true)
    expect(blocksOf(books)).toEqual([])
    expect(books).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    dropFront(books)
    expect(blocksOf(books)).toEqual([])
    expect(books).toMatchObject({ usedPages: 0, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })

  it('is true where it shares its last page with a gap, which comes free when it is dropped', () => {
    const books = makeBooks(7)
    const [a, b] = [mustTake(books, 1500), mustTake(books, 292)]
    give(books, a, a + 1500)
    mustTake(books, 10)
    expect(frontHoldsPages(books)).toBe(false)
    give(books, b, b + 292)
    expect(frontHoldsPages(books)).toBe(true)
    blocksOf(books)
    expect(books).toMatchObject({ usedPages: 2, dirtyPages: 5 })
    dropFront(books)
    blocksOf(books)
    expect(books).toMatchObject({ usedPages: 1, dirtyPages: 6 })
    expectWholeSpaceFree(books)
  })

  it('is true of a page that lies between two gaps and the front in it', () => {
    const books = makeBooks(1)
    const [a, b, c] = [mustTake(books, 100), mustTake(books, 100), mustTake(books, 56)]
    give(books, b, b + 100)
    give(books, a, a + 100)
    give(books, c, c + 56)
    expect(hasFront(books)).toBe(false)
    expect(mustTake(books, 40)).toBe(0)
    expect(hasFront(books)).toBe(true)
    give(books, 0, 40)
    expect(frontHoldsPages(books)).toBe(true)
    expect(blocksOf(books)).toEqual([])
    expect(books.usedPages).toBe(1)
    expectWholeSpaceFree(books)
  })
})
