import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { dropFront, hasFront, resizeTo, take, takeAligned } from '../../src/heap/block-space.js'
import type { Books } from '../../src/heap/books.js'
import { give } from '../../src/heap/gaps.js'
import { endOf, isLive } from '../../src/heap/granule-map.js'
import { REFUSED_GROWTH, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { takeCommitted, takeLast } from '../../src/heap/long-blocks.js'
import { committedPages } from '../../src/heap/page-states.js'
import { markPurged } from '../../src/heap/space-pages.js'
import { expectWholeSpaceFree, makeBooks, mustTake, observeSpace, PG } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG
const PAGE_SIZES = [4096, 16384, 65536]

/** Blocks of those sizes, a frame or more each, and so one behind the other. */
function takeAll(books: Books, sizes: number[]): number[] {
  return sizes.map(size => mustTake(books, size))
}

describe('take', () => {
  it('packs blocks one behind the other, also in the middle of a page', () => {
    const books = makeBooks(PAGES)
    expect(takeAll(books, [300, 300, 256, 1000])).toEqual([0, 300, 600, 856])
    expect(books.usedPages).toBe(8)
    expectWholeSpaceFree(books)
  })

  it.each(PAGE_SIZES)('uses the pages of %i bytes that a block touches, shared ones once', pageBytes => {
    const books = makeBooks(PAGES, pageBytes)
    const { pageGranules } = books
    mustTake(books, pageGranules + 1)
    expect(books.usedPages).toBe(2)
    mustTake(books, pageGranules - 1)
    expect(books.usedPages).toBe(2)
    mustTake(books, pageGranules)
    expect(books.usedPages).toBe(3)
    expectWholeSpaceFree(books)
  })

  it.each(PAGE_SIZES)('takes all of a space in pages of %i bytes, and no granule more', pageBytes => {
    const books = makeBooks(PAGES, pageBytes)
    const granules = PAGES * books.pageGranules
    const before = observeSpace(books)
    expect(take(books, granules + 1)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expect(take(books, granules)).toBe(0)
    for (const size of [1, PG]) {
      expect(take(books, size)).toBe(NONE)
      expect(books.refusal).toBe(REFUSED_SPACE)
    }
    expectWholeSpaceFree(books)
  })

  it('takes a short gap before anything else', () => {
    const books = makeBooks(PAGES)
    const [a, b] = [mustTake(books, 10), mustTake(books, 10)]
    mustTake(books, 10)
    give(books, a, a + 10)
    expect([mustTake(books, 11), mustTake(books, 10), mustTake(books, 10)]).toEqual([30, a, 41])
    give(books, b, b + 10)
    expect(mustTake(books, 4)).toBe(b)
    expectWholeSpaceFree(books)
  })

  it('takes a gap without clean pages before others', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = takeAll(books, [600, 300, 600, 300])
    give(books, a, a + 600)
    give(books, b, b + 600)
    markPurged(books, 0, 2)
    expect(mustTake(books, 500)).toBe(b)
    expect(mustTake(books, 500)).toBe(a)
    expectWholeSpaceFree(books)
  })

  it('says that the limit is in the way, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.limitPages = 3
    mustTake(books, 300)
    const before = observeSpace(books)
    expect(take(books, 500)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(mustTake(books, 468)).toBe(300)
    expectWholeSpaceFree(books)
  })
})

describe('the growth that is allowed', () => {
  it('refuses clean pages once it is used up, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.growthPages = 0
    const before = observeSpace(books)
    const attempts = [
      () => take(books, 300),
      () => take(books, 10),
      () => takeAligned(books, 10, 15),
      () => takeAligned(books, 300, 15),
    ]
    for (const attempt of attempts) {
      expect(attempt()).toBe(NONE)
      expect(books.refusal).toBe(REFUSED_GROWTH)
    }
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('lets one block go beyond it', () => {
    const books = makeBooks(PAGES)
    books.growthPages = 1
    expect(mustTake(books, 600)).toBe(0)
    expect(books.growthPages).toBe(-2)
    expect(take(books, 300)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_GROWTH)
    expectWholeSpaceFree(books)
  })

  it('is not asked for gaps without clean pages', () => {
    const books = makeBooks(PAGES)
    give(books, mustTake(books, GRANULES), GRANULES)
    books.growthPages = 0
    expect([mustTake(books, 300), mustTake(books, 10), mustTake(books, 300)]).toEqual([0, 300, 6 * PG])
    expect(books.growthPages).toBe(0)
    expectWholeSpaceFree(books)
  })

  it('counts clean pages, not dirty ones', () => {
    const books = makeBooks(10)
    give(books, mustTake(books, 10 * PG), 10 * PG)
    markPurged(books, 5, 5)
    books.growthPages = 3
    mustTake(books, 7 * PG)
    expect(books.growthPages).toBe(1)
    expectWholeSpaceFree(books)
  })

  it('is used up by the front, which then goes on to its end', () => {
    const books = makeBooks(PAGES)
    books.growthPages = 1
    expect([mustTake(books, 250), mustTake(books, 250), mustTake(books, 250), mustTake(books, 250)]).toEqual([
      0, 250, 500, 750,
    ])
    expect(books.growthPages).toBe(-3)
    expect(take(books, 250)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_GROWTH)
    expect(hasFront(books)).toBe(false)
    expect(books.cutBlocks).toBe(4)
    expectWholeSpaceFree(books)
  })
})

describe('takeAligned', () => {
  it.each(PAGE_SIZES)('aligns every size to every power of two up to a page of %i bytes', pageBytes => {
    const books = makeBooks(2_000, pageBytes)
    const { granuleShift } = books
    for (let shift = 0; shift <= granuleShift; shift++) {
      for (const size of [1, 7, 31, 32, 33, 64, 255, 256, 257, 511, 1000, (1 << shift) + 1]) {
        // Several each, since the first block of a space is aligned to everything.
        for (let n = 0; n < 3; n++) {
          const block = takeAligned(books, size, (1 << shift) - 1)
          expect(block % (1 << shift)).toBe(0)
          expect(isLive(books, block)).toBe(true)
          expect(endOf(books, block)).toBe(block + size)
        }
      }
    }
    expectWholeSpaceFree(books)
  })

  it('cuts an aligned block out of a short gap, and leaves gaps on both sides', () => {
    const books = makeBooks(PAGES)
    const [, b] = [mustTake(books, 3), mustTake(books, 100), mustTake(books, 5)]
    give(books, b, b + 100)
    expect(takeAligned(books, 10, 15)).toBe(16)
    expect(endOf(books, 16)).toBe(26)
    expect([mustTake(books, 77), mustTake(books, 13)]).toEqual([26, 3])
    expectWholeSpaceFree(books)
  })

  it('leaves what lies before and behind an aligned block in a long gap', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    expect(takeAligned(books, 300, 255)).toBe(512)
    expect(books.usedPages).toBe(4)
    expect([mustTake(books, 212), mustTake(books, 300)]).toEqual([300, 812])
    expectWholeSpaceFree(books)
  })

  it('says that the limit is in the way, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.limitPages = 3
    mustTake(books, 300)
    const before = observeSpace(books)
    expect(takeAligned(books, 300, 255)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(takeAligned(books, 256, 255)).toBe(512)
    expectWholeSpaceFree(books)
  })
})

describe('takeLast', () => {
  it('looks at all gaps of a bin, where take looks at a few', () => {
    const books = makeBooks(PAGES)
    const sizes = [513, 513, 513, 513, 513, 540]
    const blocks = sizes.map(size => {
      const block = mustTake(books, size)
      mustTake(books, 300)
      return block
    })
    for (const [at, block] of blocks.entries()) give(books, block, block + sizes[at])
    expect(take(books, 520)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_SPACE)
    expect(takeLast(books, 541, 0)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_SPACE)
    expect(takeLast(books, 520, 0)).toBe(blocks[5])
    expectWholeSpaceFree(books)
  })

  it('takes an aligned block where there is no room to spare, as takeAligned does where it fits by luck', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    const lucky = takeAligned(books, 18 * PG, PG - 1)
    expect(lucky).toBe(512)
    give(books, lucky, lucky + 18 * PG)
    expect(takeLast(books, 18 * PG + 1, PG - 1)).toBe(NONE)
    expect(takeLast(books, 18 * PG, PG - 1)).toBe(512)
    expectWholeSpaceFree(books)
  })

  it('obeys the limit', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    books.limitPages = 19
    expect(takeLast(books, 18 * PG, PG - 1)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expectWholeSpaceFree(books)
  })
})

describe('takeCommitted', () => {
  it('takes the low end of a gap as far as its page is used', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 300)
    books.limitPages = 2
    const before = observeSpace(books)
    for (const [size, mask] of [
      [213, 0],
      [209, 15],
      [1, 255],
    ]) {
      expect(takeCommitted(books, size, mask)).toBe(NONE)
      expect(books.refusal).toBe(REFUSED_LIMIT)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(takeCommitted(books, 200, 15)).toBe(304)
    expectWholeSpaceFree(books)
  })

  it('takes the high end of a gap as far as its page is used', () => {
    const books = makeBooks(PAGES)
    const [a] = takeAll(books, [4764, 356])
    give(books, a, 4764)
    markPurged(books, 0, 18)
    books.limitPages = 2
    expect(takeCommitted(books, 157, 0)).toBe(NONE)
    expect(takeCommitted(books, 100, 15)).toBe(4656)
    expect(endOf(books, 4656)).toBe(4756)
    expect(takeCommitted(books, 48, 0)).toBe(4608)
    expect(committedPages(books)).toBe(2)
    expectWholeSpaceFree(books)
  })

  it('takes dirty pages', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = takeAll(books, [1024, 300, 1024, 300])
    give(books, a, a + 1024)
    give(books, b, b + 1024)
    markPurged(books, 0, 4)
    books.limitPages = committedPages(books)
    expect(takeCommitted(books, 1024, 0)).toBe(b)
    expect(takeCommitted(books, 1024, 0)).toBe(NONE)
    expect(books.refusal).toBe(REFUSED_LIMIT)
    expectWholeSpaceFree(books)
  })
})

describe('zeroedBlock', () => {
  it('is a block on whole pages that were clean', () => {
    const books = makeBooks(PAGES)
    expect(books.zeroedBlock).toBe(NONE)
    mustTake(books, 300)
    expect(books.zeroedBlock).toBe(0)
    expect(takeAligned(books, 256, 255)).toBe(512)
    expect(books.zeroedBlock).toBe(512)
  })

  it('is no block that begins or ends on the page of another', () => {
    const books = makeBooks(PAGES)
    const [, middle] = takeAll(books, [300, 5 * PG, GRANULES - 300 - 5 * PG])
    give(books, middle, middle + 5 * PG)
    markPurged(books, 2, 4)
    books.zeroedBlock = NONE
    for (const size of [5 * PG, 5 * PG - 300]) {
      expect(mustTake(books, size)).toBe(middle)
      expect(books.zeroedBlock).toBe(NONE)
      give(books, middle, middle + size)
      markPurged(books, 2, 4)
    }
    expectWholeSpaceFree(books)
  })

  it('is no block with a dirty page, but one on purged pages', () => {
    const books = makeBooks(10)
    give(books, mustTake(books, 10 * PG), 10 * PG)
    markPurged(books, 5, 5)
    books.zeroedBlock = NONE
    expect(mustTake(books, 6 * PG)).toBe(0)
    expect(books.zeroedBlock).toBe(NONE)
    expect(mustTake(books, 4 * PG)).toBe(6 * PG)
    expect(books.zeroedBlock).toBe(6 * PG)
    expectWholeSpaceFree(books)
  })

  it('is no block below a frame, and not what another has grown over', () => {
    const books = makeBooks(PAGES)
    mustTake(books, 255)
    dropFront(books)
    const block = mustTake(books, 257)
    books.zeroedBlock = NONE
    expect(resizeTo(books, block, endOf(books, block), 5 * PG + 1)).toBe(true)
    expect(books.zeroedBlock).toBe(NONE)
    expectWholeSpaceFree(books)
  })
})
