import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { REFUSED_GROWTH, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { type Books, expectWholeSpaceFree, makeBooks, observeSpace, PG, take } from './books.js'

const PAGES = 20
const GRANULES = PAGES * PG
const PAGE_SIZES = [4096, 16384, 65536]

/** Blocks of those sizes, a frame or more each, and so one behind the other. */
function takeAll(books: Books, sizes: number[]): number[] {
  return sizes.map(size => take(books, size))
}

describe('take', () => {
  it('packs blocks one behind the other, also in the middle of a page', () => {
    const books = makeBooks(PAGES)
    expect(takeAll(books, [300, 300, 256, 1000])).toEqual([0, 300, 600, 856])
    expect(books.states.usedPages).toBe(8)
    expectWholeSpaceFree(books)
  })

  it.each(PAGE_SIZES)('uses the pages of %i bytes that a block touches, shared ones once', pageBytes => {
    const books = makeBooks(PAGES, pageBytes)
    const { pageGranules } = books.table
    take(books, pageGranules + 1)
    expect(books.states.usedPages).toBe(2)
    take(books, pageGranules - 1)
    expect(books.states.usedPages).toBe(2)
    take(books, pageGranules)
    expect(books.states.usedPages).toBe(3)
    expectWholeSpaceFree(books)
  })

  it.each(PAGE_SIZES)('takes all of a space in pages of %i bytes, and no granule more', pageBytes => {
    const books = makeBooks(PAGES, pageBytes)
    const granules = PAGES * books.table.pageGranules
    const before = observeSpace(books)
    expect(books.space.take(granules + 1)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_SPACE)
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.take(granules)).toBe(0)
    for (const size of [1, PG]) {
      expect(books.space.take(size)).toBe(NONE)
      expect(books.space.refusal).toBe(REFUSED_SPACE)
    }
    expectWholeSpaceFree(books)
  })

  it('takes a short gap before anything else', () => {
    const books = makeBooks(PAGES)
    const [a, b] = [take(books, 10), take(books, 10)]
    take(books, 10)
    books.space.give(a, a + 10)
    expect([take(books, 11), take(books, 10), take(books, 10)]).toEqual([30, a, 41])
    books.space.give(b, b + 10)
    expect(take(books, 4)).toBe(b)
    expectWholeSpaceFree(books)
  })

  it('takes a gap without clean pages before others', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = takeAll(books, [600, 300, 600, 300])
    books.space.give(a, a + 600)
    books.space.give(b, b + 600)
    books.space.markPurged(0, 2)
    expect(take(books, 500)).toBe(b)
    expect(take(books, 500)).toBe(a)
    expectWholeSpaceFree(books)
  })

  it('says that the limit is in the way, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.states.limitPages = 3
    take(books, 300)
    const before = observeSpace(books)
    expect(books.space.take(500)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(take(books, 468)).toBe(300)
    expectWholeSpaceFree(books)
  })
})

describe('the growth that is allowed', () => {
  it('refuses clean pages once it is used up, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.space.growthPages = 0
    const before = observeSpace(books)
    const attempts = [
      () => books.space.take(300),
      () => books.space.take(10),
      () => books.space.takeAligned(10, 15),
      () => books.space.takeAligned(300, 15),
    ]
    for (const attempt of attempts) {
      expect(attempt()).toBe(NONE)
      expect(books.space.refusal).toBe(REFUSED_GROWTH)
    }
    expect(observeSpace(books)).toEqual(before)
    expectWholeSpaceFree(books)
  })

  it('lets one block go beyond it', () => {
    const books = makeBooks(PAGES)
    books.space.growthPages = 1
    expect(take(books, 600)).toBe(0)
    expect(books.space.growthPages).toBe(-2)
    expect(books.space.take(300)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_GROWTH)
    expectWholeSpaceFree(books)
  })

  it('is not asked for gaps without clean pages', () => {
    const books = makeBooks(PAGES)
    books.space.give(take(books, GRANULES), GRANULES)
    books.space.growthPages = 0
    expect([take(books, 300), take(books, 10), take(books, 300)]).toEqual([0, 300, 6 * PG])
    expect(books.space.growthPages).toBe(0)
    expectWholeSpaceFree(books)
  })

  it('counts clean pages, not dirty ones', () => {
    const books = makeBooks(10)
    books.space.give(take(books, 10 * PG), 10 * PG)
    books.space.markPurged(5, 5)
    books.space.growthPages = 3
    take(books, 7 * PG)
    expect(books.space.growthPages).toBe(1)
    expectWholeSpaceFree(books)
  })

  it('is used up by the front, which then goes on to its end', () => {
    const books = makeBooks(PAGES)
    books.space.growthPages = 1
    expect([take(books, 250), take(books, 250), take(books, 250), take(books, 250)]).toEqual([
      0, 250, 500, 750,
    ])
    expect(books.space.growthPages).toBe(-3)
    expect(books.space.take(250)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_GROWTH)
    expect(books.space.hasFront).toBe(false)
    expect(books.space.heldBlocks).toBe(4)
    expectWholeSpaceFree(books)
  })
})

describe('takeAligned', () => {
  it.each(PAGE_SIZES)('aligns every size to every power of two up to a page of %i bytes', pageBytes => {
    const books = makeBooks(2_000, pageBytes)
    const { granuleShift } = books.table
    for (let shift = 0; shift <= granuleShift; shift++) {
      for (const size of [1, 7, 31, 32, 33, 64, 255, 256, 257, 511, 1000, (1 << shift) + 1]) {
        // Several each, since the first block of a space is aligned to everything.
        for (let n = 0; n < 3; n++) {
          const block = books.space.takeAligned(size, (1 << shift) - 1)
          expect(block % (1 << shift)).toBe(0)
          expect(books.map.isLive(block)).toBe(true)
          expect(books.map.next(block)).toBe(block + size)
        }
      }
    }
    expectWholeSpaceFree(books)
  })

  it('cuts an aligned block out of a short gap, and leaves gaps on both sides', () => {
    const books = makeBooks(PAGES)
    const [, b] = [take(books, 3), take(books, 100), take(books, 5)]
    books.space.give(b, b + 100)
    expect(books.space.takeAligned(10, 15)).toBe(16)
    expect(books.map.next(16)).toBe(26)
    expect([take(books, 77), take(books, 13)]).toEqual([26, 3])
    expectWholeSpaceFree(books)
  })

  it('leaves what lies before and behind an aligned block in a long gap', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    expect(books.space.takeAligned(300, 255)).toBe(512)
    expect(books.states.usedPages).toBe(4)
    expect([take(books, 212), take(books, 300)]).toEqual([300, 812])
    expectWholeSpaceFree(books)
  })

  it('says that the limit is in the way, and changes nothing', () => {
    const books = makeBooks(PAGES)
    books.states.limitPages = 3
    take(books, 300)
    const before = observeSpace(books)
    expect(books.space.takeAligned(300, 255)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.takeAligned(256, 255)).toBe(512)
    expectWholeSpaceFree(books)
  })
})

describe('takeLast', () => {
  it('looks at all gaps of a bin, where take looks at a few', () => {
    const books = makeBooks(PAGES)
    const sizes = [513, 513, 513, 513, 513, 540]
    const blocks = sizes.map(size => {
      const block = take(books, size)
      take(books, 300)
      return block
    })
    for (const [at, block] of blocks.entries()) books.space.give(block, block + sizes[at])
    expect(books.space.take(520)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_SPACE)
    expect(books.space.takeLast(541, 0)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_SPACE)
    expect(books.space.takeLast(520, 0)).toBe(blocks[5])
    expectWholeSpaceFree(books)
  })

  it('takes an aligned block where there is no room to spare, as takeAligned does where it fits by luck', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    const lucky = books.space.takeAligned(18 * PG, PG - 1)
    expect(lucky).toBe(512)
    books.space.give(lucky, lucky + 18 * PG)
    expect(books.space.takeLast(18 * PG + 1, PG - 1)).toBe(NONE)
    expect(books.space.takeLast(18 * PG, PG - 1)).toBe(512)
    expectWholeSpaceFree(books)
  })

  it('obeys the limit', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    books.states.limitPages = 19
    expect(books.space.takeLast(18 * PG, PG - 1)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expectWholeSpaceFree(books)
  })
})

describe('takeCommitted', () => {
  it('takes the low end of a gap as far as its page is used', () => {
    const books = makeBooks(PAGES)
    take(books, 300)
    books.states.limitPages = 2
    const before = observeSpace(books)
    for (const [size, mask] of [
      [213, 0],
      [209, 15],
      [1, 255],
    ]) {
      expect(books.space.takeCommitted(size, mask)).toBe(NONE)
      expect(books.space.refusal).toBe(REFUSED_LIMIT)
    }
    expect(observeSpace(books)).toEqual(before)
    expect(books.space.takeCommitted(200, 15)).toBe(304)
    expectWholeSpaceFree(books)
  })

  it('takes the high end of a gap as far as its page is used', () => {
    const books = makeBooks(PAGES)
    const [a] = takeAll(books, [4764, 356])
    books.space.give(a, 4764)
    books.space.markPurged(0, 18)
    books.states.limitPages = 2
    expect(books.space.takeCommitted(157, 0)).toBe(NONE)
    expect(books.space.takeCommitted(100, 15)).toBe(4656)
    expect(books.map.next(4656)).toBe(4756)
    expect(books.space.takeCommitted(48, 0)).toBe(4608)
    expect(books.states.committedPages).toBe(2)
    expectWholeSpaceFree(books)
  })

  it('takes dirty pages', () => {
    const books = makeBooks(PAGES)
    const [a, , b] = takeAll(books, [1024, 300, 1024, 300])
    books.space.give(a, a + 1024)
    books.space.give(b, b + 1024)
    books.space.markPurged(0, 4)
    books.states.limitPages = books.states.committedPages
    expect(books.space.takeCommitted(1024, 0)).toBe(b)
    expect(books.space.takeCommitted(1024, 0)).toBe(NONE)
    expect(books.space.refusal).toBe(REFUSED_LIMIT)
    expectWholeSpaceFree(books)
  })
})

describe('zeroedBlock', () => {
  it('is a block on whole pages that were clean', () => {
    const books = makeBooks(PAGES)
    expect(books.space.zeroedBlock).toBe(NONE)
    take(books, 300)
    expect(books.space.zeroedBlock).toBe(0)
    expect(books.space.takeAligned(256, 255)).toBe(512)
    expect(books.space.zeroedBlock).toBe(512)
  })

  it('is no block that begins or ends on the page of another', () => {
    const books = makeBooks(PAGES)
    const [, middle] = takeAll(books, [300, 5 * PG, GRANULES - 300 - 5 * PG])
    books.space.give(middle, middle + 5 * PG)
    books.space.markPurged(2, 4)
    books.space.zeroedBlock = NONE
    for (const size of [5 * PG, 5 * PG - 300]) {
      expect(take(books, size)).toBe(middle)
      expect(books.space.zeroedBlock).toBe(NONE)
      books.space.give(middle, middle + size)
      books.space.markPurged(2, 4)
    }
    expectWholeSpaceFree(books)
  })

  it('is no block with a dirty page, but one on purged pages', () => {
    const books = makeBooks(10)
    books.space.give(take(books, 10 * PG), 10 * PG)
    books.space.markPurged(5, 5)
    books.space.zeroedBlock = NONE
    expect(take(books, 6 * PG)).toBe(0)
    expect(books.space.zeroedBlock).toBe(NONE)
    expect(take(books, 4 * PG)).toBe(6 * PG)
    expect(books.space.zeroedBlock).toBe(6 * PG)
    expectWholeSpaceFree(books)
  })

  it('is no block below a frame, and not what another has grown over', () => {
    const books = makeBooks(PAGES)
    take(books, 255)
    books.space.dropFront()
    const block = take(books, 257)
    books.space.zeroedBlock = NONE
    expect(books.space.resizeTo(block, books.space.next(block), 5 * PG + 1)).toBe(true)
    expect(books.space.zeroedBlock).toBe(NONE)
    expectWholeSpaceFree(books)
  })
})
