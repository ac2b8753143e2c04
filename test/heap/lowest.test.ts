/** Where a block of a compaction goes: the lowest place that has room, wholly below a granule, and within the page limit. */
import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { Books } from '../../src/heap/books.js'
import { plainStorage } from '../../src/heap/columns.js'
import { give } from '../../src/heap/gaps.js'
import { endOf, isLive } from '../../src/heap/granule-map.js'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { LongGaps, takeLowest } from '../../src/heap/lowest.js'
import { committedPages } from '../../src/heap/page-states.js'
import { addRange } from '../../src/heap/space-pages.js'
import { dirtyStretches, fill, makeHeap, PAGE, PG, purgeAll } from './books.js'
import { checkSpace, gapsOf, layOutSpace, type SpaceStretch } from './gap-space.js'

/** Above all granules of these spaces. */
const ANYWHERE = 2 ** 20

interface Space {
  books: Books
  gaps: LongGaps
  /** Where each stretch starts. */
  starts: number[]
  /** Takes a block, and proves that it is one and that the books are right. */
  take(size: number, below?: number): number
}

/** The long gaps of books, noted as a survey does. */
function noted(books: Books): LongGaps {
  const gaps = new LongGaps((books.reachedPages * books.pageGranules) / PG)
  for (const [first, end] of gapsOf(books)) if (end - first >= PG) gaps.note(first)
  return gaps
}

function space(stretches: SpaceStretch[], pageBytes = PAGE): Space {
  const books = new Books(pageBytes, plainStorage)
  const starts = layOutSpace(books, stretches)
  const gaps = noted(books)
  const take = (size: number, below = ANYWHERE) => {
    const block = takeLowest(books, gaps, size, below)
    checkSpace(books)
    if (block !== NONE) {
      expect([isLive(books, block), endOf(books, block)]).toEqual([true, block + size])
      expect(block + size).toBeLessThanOrEqual(below)
    }
    return block
  }
  return { books, gaps, starts, take }
}

/** One frame: live, but for a gap of `length` granules at its start. */
function frameWith(length: number): SpaceStretch[] {
  return [
    ['gap', length],
    ['live', PG - length],
  ]
}

const LIVE: SpaceStretch = ['live', PG]

describe('takeLowest, from short gaps', () => {
  it.each([1, 5, 15])('takes the lowest of those that have exactly %i granules', size => {
    const { starts, take } = space([LIVE, ...frameWith(size), LIVE, ...frameWith(size), LIVE, LIVE])
    expect([take(size), take(size), take(size)]).toEqual([starts[1], starts[4], NONE])
  })

  it('takes a lower gap of the bin of its own length before a longer one', () => {
    // Gaps of 20 to 23 granules share a bin.
    const { starts, take } = space([LIVE, ...frameWith(22), ...frameWith(40), LIVE, LIVE])
    expect([take(21), take(21), take(21)]).toEqual([starts[1], starts[3], NONE])
  })

  it('passes over a gap of the bin of its own length that is too short', () => {
    const { starts, take } = space([LIVE, ...frameWith(20), ...frameWith(22), ...frameWith(40), LIVE, LIVE])
    expect([take(21), take(20), take(21)]).toEqual([starts[3], starts[1], starts[5]])
  })

  it('takes a lower gap of a longer bin before one of its own', () => {
    const { starts, take } = space([LIVE, ...frameWith(40), ...frameWith(22), LIVE, LIVE])
    expect([take(21), take(21)]).toEqual([starts[1], starts[3]])
  })

  it('takes the gap that fits best within the lowest frame', () => {
    const two: SpaceStretch[] = [
      ['gap', 100],
      ['live', 50],
      ['gap', 6],
      ['live', 100],
    ]
    const { starts, take } = space([...two, LIVE, LIVE])
    expect([take(5), take(50)]).toEqual([starts[2], starts[0]])
  })

  it('takes what an earlier cut has left, in the next frame too', () => {
    const { starts, take } = space([['live', 200], ['gap', 200], ['live', 112], LIVE, LIVE])
    expect([take(60), take(60), take(60), take(60)]).toEqual([
      starts[1],
      starts[1] + 60,
      starts[1] + 120,
      NONE,
    ])
  })

  it('takes one before a long gap that lies lower, because its pages are used anyway', () => {
    const { starts, take } = space([['gap', PG], LIVE, ...frameWith(10), LIVE, LIVE])
    expect([take(10), take(10)]).toEqual([starts[2], starts[0]])
  })

  it('leaves out the last frame below the granule, since a gap may reach out of it', () => {
    const { starts, take } = space([LIVE, ...frameWith(30), ...frameWith(30), LIVE])
    expect(take(30, starts[1])).toBe(NONE)
    expect(take(30, 2 * PG)).toBe(NONE)
    expect(take(30, 3 * PG - 1)).toBe(NONE)
    expect(take(30, 3 * PG)).toBe(starts[1])
    expect(take(30, 3 * PG)).toBe(NONE)
    expect(take(30, 4 * PG)).toBe(starts[3])
  })

  it.each([0, 1, PG - 1, PG, PG + 1])('finds nothing below granule %i, and all of it later', below => {
    const { starts, take } = space([...frameWith(22), LIVE, LIVE])
    expect(take(21, below)).toBe(NONE)
    expect(take(21)).toBe(starts[0])
  })

  it('finds a gap although the tops of frames before it are too high', () => {
    const { books, starts, take } = space([
      ...frameWith(100),
      ...frameWith(100),
      ...frameWith(100),
      LIVE,
      LIVE,
    ])
    // The blocks between the first gaps end: both gaps become a part of one that is longer than a frame.
    give(books, starts[1], starts[2])
    checkSpace(books)
    expect(take(100)).toBe(starts[4])
  })
})

describe('takeLowest, from long gaps', () => {
  it.each([10, PG, PG + 8])('takes the lowest with room for %i granules, piece by piece', size => {
    const { starts, take } = space([LIVE, ['gap', 2 * PG], LIVE, ['gap', 3 * PG], LIVE])
    const pieces = (granules: number) => Math.floor(granules / size)
    const expected = [
      ...Array.from({ length: pieces(2 * PG) }, (_, n) => starts[1] + n * size),
      ...Array.from({ length: pieces(3 * PG) }, (_, n) => starts[3] + n * size),
    ]
    expect(expected.map(() => take(size))).toEqual(expected)
    expect(take(size)).toBe(NONE)
  })

  it('passes over gaps that are too short, and finds them for a shorter block later', () => {
    const { starts, take } = space([['gap', PG], LIVE, ['gap', 2 * PG], LIVE])
    expect([take(2 * PG), take(PG), take(PG)]).toEqual([starts[2], starts[0], NONE])
  })

  it('takes a clean gap as well as a dirty one, and changes neither growth nor what is known to be zero', () => {
    const { books, starts, take } = space([LIVE, ['clean', 2 * PG], ['live', PG], ['gap', 2 * PG], LIVE])
    books.growthPages = 0
    expect([take(2 * PG), books.growthPages, books.zeroedBlock]).toEqual([starts[1], 0, NONE])
    expect([take(2 * PG), books.growthPages, books.zeroedBlock]).toEqual([starts[3], 0, NONE])
  })

  it.each([
    [2 * PG, 3 * PG - 1, NONE],
    [2 * PG, 3 * PG, PG],
    [2 * PG, 3 * PG + 1, PG],
    [2 * PG - 10, 3 * PG - 10, PG],
    [2 * PG - 10, 3 * PG - 11, NONE],
    [PG, PG, NONE],
    [PG, 0, NONE],
  ])('takes %i granules wholly below granule %i, or nothing', (size, below, block) => {
    const { books, take } = space([LIVE, ['gap', 2 * PG], LIVE, LIVE])
    expect(take(size, below)).toBe(block)
    if (block === NONE) expect(books.refusal).toBe(REFUSED_SPACE)
  })

  it('passes over a gap that was noted and is gone, or has become short', () => {
    const { books, gaps, starts, take } = space([
      ['gap', PG],
      LIVE,
      ['gap', 2 * PG],
      LIVE,
      ['gap', 2 * PG],
      LIVE,
    ])
    const other = noted(books)
    expect(takeLowest(books, other, PG, ANYWHERE)).toBe(starts[0])
    expect(takeLowest(books, other, PG + PG / 2, ANYWHERE)).toBe(starts[2])
    expect(gaps).not.toBe(other)
    expect(take(PG)).toBe(starts[4])
  })

  it.each([16_384, 65_536])('takes the lowest place in pages of %i bytes', pageBytes => {
    const granules = pageBytes / 16
    const { starts, take } = space(
      [
        ['live', granules + 10],
        ['gap', 2 * granules],
        ['live', granules - 20],
        ['gap', 10],
        ['live', 2 * granules],
      ],
      pageBytes,
    )
    expect([take(10), take(granules), take(granules), take(1)]).toEqual([
      starts[3],
      starts[1],
      starts[1] + granules,
      NONE,
    ])
  })

  it('goes from range to range, and never over what lies between', () => {
    const books = new Books(PAGE, plainStorage)
    books.growthPages = Number.MAX_SAFE_INTEGER
    for (const firstPage of [3, 8, 20]) addRange(books, firstPage, 2)
    const gaps = new LongGaps(22)
    for (const firstPage of [3, 8, 20]) gaps.note(firstPage * PG)
    const take = () => takeLowest(books, gaps, PG + 128, ANYWHERE)
    expect([take(), take(), take(), take()]).toEqual([3 * PG, 8 * PG, 20 * PG, NONE])
  })
})

describe('takeLowest, at the page limit', () => {
  /** A clean gap that begins and ends in the middle of used pages, and no page more may be committed. */
  function atLimit(stretches: SpaceStretch[]): Space {
    const made = space(stretches)
    made.books.limitPages = committedPages(made.books)
    return made
  }
  const ENDS: SpaceStretch[] = [
    ['live', 100],
    ['clean', 2 * PG + 56],
    ['live', 100],
    ['live', 2 * PG],
  ]

  it('takes the lower end of a gap if the page there is used anyway', () => {
    const { take } = atLimit(ENDS)
    expect(take(150)).toBe(100)
  })

  it('takes the upper end if only the page there is used anyway', () => {
    const { take } = atLimit([['live', 200], ['clean', 3 * PG - 200 - 100], ['live', 100], LIVE, LIVE])
    expect(take(150)).toBe(3 * PG - 100 - 150)
    expect(take(50)).toBe(200)
  })

  it('goes on to a gap of dirty pages', () => {
    const { books, take } = atLimit([LIVE, ['clean', 2 * PG], LIVE, ['gap', 2 * PG], LIVE])
    const before = committedPages(books)
    expect([take(2 * PG), committedPages(books)]).toEqual([4 * PG, before])
  })

  it('refuses, says so and changes nothing, if each place would commit a page', () => {
    const { books, take } = atLimit(ENDS)
    const before = gapsOf(books)
    expect([take(2 * PG), books.refusal]).toEqual([NONE, REFUSED_LIMIT])
    expect(gapsOf(books)).toEqual(before)
  })

  it('never takes the lower end of a gap where the block would reach beyond the granule', () => {
    const { books, take } = atLimit([LIVE, ['clean', 3 * PG], LIVE, ['gap', 3 * PG], LIVE])
    expect([take(2 * PG, 6 * PG), books.refusal]).toEqual([NONE, REFUSED_LIMIT])
    expect([take(2 * PG, 7 * PG - 1), books.refusal]).toEqual([NONE, REFUSED_LIMIT])
  })

  it('takes exactly what reaches up to the granule', () => {
    const { take } = atLimit([LIVE, ['clean', 3 * PG], LIVE, ['gap', 3 * PG], LIVE])
    expect(take(2 * PG, 7 * PG)).toBe(5 * PG)
  })

  it('never takes the upper end of a gap that ends beyond the granule', () => {
    const stretches: SpaceStretch[] = [['live', 200], ['clean', 3 * PG - 300], ['live', 100], LIVE, LIVE]
    expect(atLimit(stretches).take(150, 2 * PG)).toBe(NONE)
    expect(atLimit(stretches).take(150, 3 * PG)).toBe(3 * PG - 250)
  })

  it('looks from the lowest gap again after pages went back', () => {
    const { books, gaps, starts, take } = atLimit([LIVE, ['clean', 2 * PG], LIVE, LIVE])
    expect(take(PG)).toBe(NONE)
    books.limitPages++
    gaps.forgetLimit()
    expect(take(PG)).toBe(starts[1])
    expect(committedPages(books)).toBe(books.limitPages)
  })
})

describe('BlockHeap', () => {
  it('takes the lowest place, and gives up a block past the stacks', () => {
    const heap = makeHeap(8)
    const blocks = fill(heap, PAGE / 2)
    const gaps = new LongGaps(8)
    heap.free(blocks[1])
    heap.flush()
    const block = heap.takeLowest(gaps, PG / 2, ANYWHERE)
    expect([block, heap.endOf(block)]).toEqual([blocks[1], blocks[1] + PG / 2])
    for (const last of blocks.slice(-2)) heap.giveUp(last)
    expect([dirtyStretches(heap), heap.hasKept]).toEqual([[[7, 8]], false])
    heap.check()
  })

  it('gives up no block that is not live', () => {
    const heap = makeHeap(2)
    const block = heap.allocate(100)
    heap.giveUp(block)
    expect(() => heap.giveUp(block)).toThrow('a block that moved was live')
    heap.check()
  })

  it('forgets that a block reads as zero once it was given up', () => {
    const heap = makeHeap(4)
    const block = heap.allocate(2 * PAGE)
    expect(heap.zeroedBlock).toBe(block)
    heap.giveUp(block)
    expect(heap.zeroedBlock).toBe(NONE)
  })

  it('knows the block in which a granule lies', () => {
    const heap = makeHeap(4)
    const [first, second] = [heap.allocate(3 * PAGE), heap.allocate(100)]
    expect([0, 700, second, second + 6].map(at => heap.blockAt(at))).toEqual([first, first, second, second])
    heap.giveUp(first)
    expect(heap.blockAt(700)).toBe(NONE)
  })

  it('takes nothing above the limit after the books were rebuilt', () => {
    const heap = makeHeap(4)
    const block = heap.allocate(3 * PAGE)
    heap.giveUp(block)
    purgeAll(heap)
    heap.limitPages = 0
    const gaps = new LongGaps(4)
    gaps.note(0)
    expect([heap.takeLowest(gaps, PG, ANYWHERE), heap.refusal]).toEqual([NONE, REFUSED_LIMIT])
    heap.limitPages = 1
    gaps.forgetLimit()
    expect(heap.takeLowest(gaps, PG, ANYWHERE)).toBe(0)
    heap.check()
  })
})
