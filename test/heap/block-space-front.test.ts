import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { blocksOf, expectWholeSpaceFree, makeBooks, observeSpace, PG, take } from './books.js'

const PAGES = 20

describe('the front', () => {
  it('is made by the first small block, and the next ones follow it', () => {
    const books = makeBooks(PAGES)
    expect(books.space.hasFront).toBe(false)
    expect([take(books, 10), take(books, 20), take(books, 255), take(books, 1)]).toEqual([0, 10, 30, 285])
    expect(books.space.hasFront).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('is 16 KiB of a longer gap, so that long blocks come behind it', () => {
    const books = makeBooks(PAGES)
    expect([take(books, 10), take(books, 300), take(books, 10)]).toEqual([0, 1024, 10])
    expectWholeSpaceFree(books)
  })

  it('ends with a page, also where that is longer than it need be', () => {
    const books = makeBooks(8, 65536)
    expect([take(books, 10), take(books, 300)]).toEqual([0, 4096])
    expectWholeSpaceFree(books)
  })

  it('is all of a gap that would leave less than another front', () => {
    for (const [pages, block] of [
      [7, NONE],
      [8, 1024],
    ]) {
      const books = makeBooks(pages)
      take(books, 1)
      expect(books.space.take(PG)).toBe(block)
      expectWholeSpaceFree(books)
    }
  })

  it('stays where a long block is refused, which finds room once it is dropped', () => {
    const books = makeBooks(7)
    take(books, 1)
    const before = observeSpace(books)
    expect(books.space.take(PG)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.hasFront).toBe(true)
    books.space.dropFront()
    expect(take(books, PG)).toBe(1)
    expectWholeSpaceFree(books)
  })

  it('uses a page when a block reaches it', () => {
    const books = makeBooks(PAGES)
    const used = [200, 56, 1, 255, 255, 2].map(size => {
      take(books, size)
      blocksOf(books)
      return books.states.usedPages
    })
    expect(used).toEqual([1, 1, 2, 2, 3, 4])
    expectWholeSpaceFree(books)
  })

  it('uses pages of 64 KiB when a block reaches them', () => {
    const books = makeBooks(PAGES, 65536)
    for (let n = 0; n < 16; n++) take(books, 255)
    expect(books.states.usedPages).toBe(1)
    expect(take(books, 16)).toBe(4080)
    expect(books.states.usedPages).toBe(1)
    expect(books.space.hasFront).toBe(false)
    expectWholeSpaceFree(books)
  })

  it('is exhausted by a block that fits it exactly, and made anew by the next', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) take(books, 255)
    expect(books.space.hasFront).toBe(true)
    expect(take(books, 4)).toBe(1020)
    expect(books.space.hasFront).toBe(false)
    blocksOf(books)
    expect(take(books, 7)).toBe(1024)
    expect(books.space.hasFront).toBe(true)
    expectWholeSpaceFree(books)
  })

  it('leaves a rest that is too short for a block to shorter ones', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) take(books, 250)
    expect(take(books, 300)).toBe(1024)
    expect(take(books, 100)).toBe(1324)
    expect(take(books, 24)).toBe(1000)
    expectWholeSpaceFree(books)
  })

  it('coalesces with the gap behind it where a block is too long for its rest', () => {
    const books = makeBooks(PAGES)
    for (let n = 0; n < 4; n++) take(books, 250)
    expect(take(books, 100)).toBe(1000)
    expectWholeSpaceFree(books)
  })

  it('commits nothing where its pages are dirty', () => {
    const books = makeBooks(PAGES)
    books.space.give(take(books, PAGES * PG), PAGES * PG)
    books.states.limitPages = PAGES
    for (let n = 0; n < 20; n++) take(books, 250)
    expect(books.states.committedPages).toBe(PAGES)
    expectWholeSpaceFree(books)
  })

  it('goes on within its page where the limit is reached', () => {
    const books = makeBooks(PAGES)
    books.states.limitPages = 1
    take(books, 200)
    const before = observeSpace(books)
    for (const size of [57, 255]) {
      expect(books.space.take(size)).toBe(NONE)
      expect(books.space.refusal).toBe(REFUSED_LIMIT)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(take(books, 56)).toBe(200)
    expect(books.space.take(1)).toBe(NONE)
    expectWholeSpaceFree(books)
  })

  it('is not lost where the limit refuses its first block', () => {
    const books = makeBooks(PAGES)
    books.states.limitPages = 0
    expect(books.space.take(1)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expect(blocksOf(books)).toEqual([])
    expectWholeSpaceFree(books)
  })
})

describe('dropFront', () => {
  it('makes what is left a gap again', () => {
    const books = makeBooks(PAGES)
    take(books, 10)
    books.space.dropFront()
    expect(books.space.hasFront).toBe(false)
    expect(blocksOf(books)).toEqual([[0, 10]])
    expect(take(books, 300)).toBe(10)
    expectWholeSpaceFree(books)
  })

  it('does nothing where there is none', () => {
    const books = makeBooks(PAGES)
    const before = observeSpace(books)
    books.space.dropFront()
    expect(observeSpace(books)).toEqual(before)
  })

  it('counts the clean pages of the front in the gap, and those of the gap behind', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    books.space.give(0, 300)
    blocksOf(books)
    take(books, 255)
    books.space.dropFront()
    blocksOf(books)
    expect(books.states).toMatchObject({ usedPages: 1, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })
})

describe('frontHoldsPages', () => {
  it('is false without a front, and beside blocks or the ends of the range', () => {
    const books = makeBooks(PAGES)
    expect(books.space.frontHoldsPages).toBe(false)
    take(books, 255)
    expect(books.space.frontHoldsPages).toBe(false)
    take(books, 1)
    expect(books.space.frontHoldsPages).toBe(false)
    books.space.give(255, 256)
    // The front begins with a page: no page is shared with the gap before it.
    expect(books.space.frontHoldsPages).toBe(false)
    expectWholeSpaceFree(books)
  })

  it('is true where it shares its first page with a gap, which comes free when it is dropped', () => {
    const books = makeBooks(PAGES)
    take(books, 100)
    books.space.give(0, 100)
    expect(books.space.frontHoldsPages).toBe(true)
    expect(blocksOf(books)).toEqual([])
    expect(books.states).toMatchObject({ usedPages: 1, dirtyPages: 0 })
    books.space.dropFront()
    expect(blocksOf(books)).toEqual([])
    expect(books.states).toMatchObject({ usedPages: 0, dirtyPages: 1 })
    expectWholeSpaceFree(books)
  })

  it('is true where it shares its last page with a gap, which comes free when it is dropped', () => {
    const books = makeBooks(7)
    const [a, b] = [take(books, 1500), take(books, 292)]
    books.space.give(a, a + 1500)
    take(books, 10)
    expect(books.space.frontHoldsPages).toBe(false)
    books.space.give(b, b + 292)
    expect(books.space.frontHoldsPages).toBe(true)
    blocksOf(books)
    expect(books.states).toMatchObject({ usedPages: 2, dirtyPages: 5 })
    books.space.dropFront()
    blocksOf(books)
    expect(books.states).toMatchObject({ usedPages: 1, dirtyPages: 6 })
    expectWholeSpaceFree(books)
  })

  it('is true of a page that lies between two gaps and the front in it', () => {
    const books = makeBooks(1)
    const [a, b, c] = [take(books, 100), take(books, 100), take(books, 56)]
    books.space.give(b, b + 100)
    books.space.give(a, a + 100)
    books.space.give(c, c + 56)
    expect(books.space.hasFront).toBe(false)
    expect(take(books, 40)).toBe(0)
    expect(books.space.hasFront).toBe(true)
    books.space.give(0, 40)
    expect(books.space.frontHoldsPages).toBe(true)
    expect(blocksOf(books)).toEqual([])
    expect(books.states.usedPages).toBe(1)
    expectWholeSpaceFree(books)
  })
})
