/** What a survey counts, where the fingers meet, and which blocks are to move. */
import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import type { BlockHeap } from '../../src/heap/block-heap.js'
import { Books } from '../../src/heap/books.js'
import { plainStorage } from '../../src/heap/columns.js'
import { endOf } from '../../src/heap/granule-map.js'
import { MOST_MOVED_GRANULES, Survey } from '../../src/heap/survey.js'
import { fuzzSeed, Random } from '../fuzz/random.js'
import { CountedStorage, fill, makeHeap, PAGE, PG } from './books.js'
import { layOutSpace, type SpaceStretch, stretchesOf } from './gap-space.js'

const ALL = Number.MAX_SAFE_INTEGER
const GAIN = 1 / 3

/** A page of four blocks of `granules` with gaps of the same length between them. */
function page(granules: number): SpaceStretch[] {
  return Array.from({ length: 4 }, (): SpaceStretch[] => [
    ['live', granules],
    ['gap', PG / 4 - granules],
  ]).flat()
}
/** One block of `granules` at the start of a page. */
const one = (granules: number): SpaceStretch[] => [
  ['live', granules],
  ['gap', PG - granules],
]
const LIVE: SpaceStretch = ['live', PG]
const GAP: SpaceStretch = ['gap', PG]

/** The same space, with each gap as long as possible. */
function joined(stretches: SpaceStretch[]): SpaceStretch[] {
  const found: SpaceStretch[] = []
  for (const [kind, granules] of stretches) {
    const last = found.at(-1)
    if (kind === 'gap' && last?.[0] === 'gap') last[1] += granules
    else found.push([kind, granules])
  }
  return found
}

interface Found {
  books: Books
  survey: Survey
  /** Where each stretch starts. */
  starts: number[]
  /** The pages of the blocks that are to move, without repetition. */
  pages: number[]
}

interface How {
  gain?: number
  unitPages?: number
  pageBytes?: number
  keep?: (starts: number[]) => number[]
}

function surveyOf(stretches: SpaceStretch[], how: How = {}): Found {
  const { gain = GAIN, unitPages = 1, pageBytes = PAGE, keep = () => [] } = how
  const books = new Books(pageBytes, plainStorage)
  const starts = layOutSpace(books, joined(stretches))
  const survey = new Survey(books, unitPages)
  expect(survey.walk(ALL)).toBe(true)
  for (const block of keep(starts)) survey.keep(block, endOf(books, block))
  expect(survey.choose(gain, ALL)).toBe(true)
  survey.end()
  return { books, survey, starts, pages: sourcePages(books, survey) }
}

function sourcePages(books: Books, survey: Survey): number[] {
  const pages = stretchesOf(books)
    .filter(([kind, first, end]) => kind === 'live' && survey.isSource(first, end))
    .map(([, first]) => Math.floor(first / books.pageGranules))
  return [...new Set(pages)]
}

describe('Survey', () => {
  it('lets the fingers meet where the room below is used up', () => {
    // Four blocks of 16 granules a page: 64 used, 192 free. The lowest page has room for three more.
    const { pages, survey } = surveyOf([...page(16), ...page(16), ...page(16), ...page(16)])
    expect([survey.meet, pages, survey.promisedPages]).toEqual([2 * PG, [2, 3], 2])
  })

  it('counts on all but three in a hundred of the free granules below', () => {
    // 200 granules are free below, so 194 count. The blocks above have 192, or 196.
    expect(surveyOf([...page(14), ...page(48)], { gain: 0.1 }).pages).toEqual([1])
    expect(surveyOf([...page(14), ...page(49)], { gain: 0.1 }).pages).toEqual([])
  })

  it.each([
    ['free pages', [GAP, GAP, ...page(16)], [2], 0],
    ['nothing', [], [], 0],
    ['one page', page(16), [], 0],
    ['full pages', [LIVE, LIVE, LIVE], [], 0],
    ['a free space', [GAP, GAP], [], 0],
    ['free pages above', [...page(16), GAP, GAP], [], 0],
  ] satisfies [string, SpaceStretch[], number[], number][])(
    'promises nothing of %s',
    (_, stretches, pages, promised) => {
      const found = surveyOf(stretches)
      expect([found.pages, found.survey.promisedPages]).toEqual([pages, promised])
    },
  )

  it('takes a page for sparse from exactly the gain on', () => {
    // 192 granules move, and 64 come free.
    expect(surveyOf([GAP, ...page(48)], { gain: 64 / 192 }).pages).toEqual([1])
    expect(surveyOf([GAP, ...page(48)], { gain: 64 / 192 + 0.001 }).pages).toEqual([])
  })

  it('counts a block that lies on two pages as moved for each of them', () => {
    // 56 granules of a block of 112 lie on each of two pages. So 56 move for 200 that are free: of both, all 112.
    const two: SpaceStretch[] = [
      ['gap', 200],
      ['live', 112],
      ['gap', 200],
    ]
    expect(surveyOf([GAP, ...two], { gain: 200 / 112 }).pages).toEqual([1])
    expect(surveyOf([GAP, ...two], { gain: 200 / 111 }).pages).toEqual([])
  })

  it('leaves a page that is kept, and the pages of a block that is kept', () => {
    const stretches = [GAP, GAP, ...page(16), ...page(16)]
    expect(surveyOf(stretches, { keep: starts => [starts[1]] }).pages).toEqual([3])
    const crossing: SpaceStretch[] = [GAP, GAP, ['gap', 200], ['live', 112], ['gap', 200], ...page(16)]
    expect(surveyOf(crossing, { keep: starts => [starts[1]] }).pages).toEqual([4])
  })

  it('leaves long blocks, and the pages that they touch', () => {
    const beside = (granules: number): SpaceStretch[] => [
      ['gap', MOST_MOVED_GRANULES],
      GAP,
      ['live', granules],
      ['gap', 200],
      ['live', 56 + MOST_MOVED_GRANULES - granules],
    ]
    expect(surveyOf(beside(MOST_MOVED_GRANULES + 16), { gain: 0.001 }).pages).toEqual([])
    // This one ends at the end of a page, and leaves another one to itself.
    expect(surveyOf(beside(MOST_MOVED_GRANULES), { gain: 0.001 }).pages).toEqual([33])
    const short = surveyOf(
      [
        ['gap', 2 * MOST_MOVED_GRANULES],
        ['live', MOST_MOVED_GRANULES - 56],
        ['gap', 56],
      ],
      {
        gain: 0.001,
      },
    )
    expect(short.pages).toEqual([32])
  })

  it.each([
    [65_504, true],
    [65_536, false],
  ])('moves a block of %i bytes, if it need not be whole pages: %s', (sizeBytes, isSource) => {
    const heap = makeHeap(64, { wholePagesFromBytes: 65_536 })
    const [low, block] = [heap.allocate(32 * PAGE), heap.allocate(sizeBytes)]
    heap.free(low)
    heap.flush()
    // Of a unit of 32 pages, half is free.
    const survey = new Survey(heap, 32)
    survey.walk(ALL)
    survey.choose(GAIN, ALL)
    expect([block, survey.isSource(block, heap.endOf(block))]).toEqual([32 * PG, isSource])
    survey.end()
  })

  it('counts room for large blocks apart: small gaps have none for them', () => {
    // 640 granules are free below, in gaps of 20.
    const small: SpaceStretch[] = Array.from({ length: 32 }, (): SpaceStretch[] => [
      ['live', 12],
      ['gap', 20],
    ]).flat()
    expect(surveyOf([...small, ...one(140)]).pages).toEqual([])
    expect(surveyOf([...small, ...one(120)]).pages).toEqual([3, 4])
  })

  it('promises what comes free less the pages that are filled for it', () => {
    // 12 pages of 64 granules each go into free pages: 768 granules fill three.
    const free: SpaceStretch[] = [GAP, GAP, GAP, GAP]
    const sparse = Array.from({ length: 12 }, () => page(16)).flat()
    const { survey, pages } = surveyOf([...free, ...sparse])
    expect(pages).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    expect(survey.promisedPages).toBe(9)
  })

  it('names as sources the blocks that touch a victim and lie above, and no other', () => {
    const { survey, starts } = surveyOf([GAP, ['live', 200], ['gap', 40], ['live', 32], ['gap', 240]], {
      gain: 2,
    })
    // The last page is a victim: 16 of its granules are used, by a block that begins on the page before.
    expect(survey.meet).toBeLessThanOrEqual(PG)
    expect(survey.isSource(starts[3], starts[3] + 32)).toBe(true)
    expect(survey.isSource(starts[1], starts[1] + 200)).toBe(false)
  })

  it('names no block as a source that begins below the page where the fingers meet', () => {
    const { survey, starts } = surveyOf(
      [
        ['gap', 240],
        ['live', 32],
        ['gap', 240],
      ],
      { gain: 2 },
    )
    expect(survey.meet).toBe(PG)
    expect(survey.isSource(starts[1], starts[1] + 32)).toBe(false)
  })

  it('leaves the page where the fingers meet if a block on it begins below', () => {
    // The block of 32 would hold the second page, so nothing comes free if the block of 10 moves.
    const { survey, starts } = surveyOf(
      [
        ['gap', 240],
        ['live', 32],
        ['gap', 100],
        ['live', 10],
        ['gap', 130],
      ],
      { gain: 2 },
    )
    expect([survey.meet, survey.promisedPages]).toEqual([PG, 0])
    expect(survey.isSource(starts[3], starts[3] + 10)).toBe(false)
  })

  it('names no block as a source that lies behind what was surveyed', () => {
    const heap = makeHeap(64)
    fill(heap, 500)
    const survey = new Survey(heap, 1)
    survey.walk(ALL)
    survey.choose(0.001, ALL)
    for (const [block, end] of [
      [63, 65],
      [60, 80],
      [64, 65],
      [95, 97],
      [90, 130],
    ]) {
      expect(survey.isSource(block * PG, end * PG)).toBe(false)
    }
    survey.end()
  })

  it('leads from victim to victim', () => {
    const { survey } = surveyOf([GAP, GAP, LIVE, ...page(16), LIVE, ...page(16), ...page(16), LIVE])
    expect(survey.victimsEnd).toBe(7 * PG)
    const from = [0, 3 * PG, 3 * PG + 1, 4 * PG - 1, 4 * PG, 6 * PG + 5, 7 * PG - 1, 7 * PG, 8 * PG, 100 * PG]
    const to = [
      3 * PG,
      3 * PG,
      3 * PG + 1,
      4 * PG - 1,
      5 * PG,
      6 * PG + 5,
      7 * PG - 1,
      7 * PG,
      7 * PG,
      7 * PG,
    ]
    expect(from.map(granule => survey.nextVictim(granule))).toEqual(to)
  })

  it('leads nowhere if there is no victim', () => {
    const { survey } = surveyOf([LIVE, LIVE])
    expect([0, PG, 100 * PG].map(granule => survey.nextVictim(granule))).toEqual([0, 0, 0])
  })

  it.each([16_384, 65_536])('counts in pages of %i bytes', pageBytes => {
    const ratio = pageBytes / PAGE
    const wide = (stretches: SpaceStretch[]) =>
      stretches.map(([kind, granules]): SpaceStretch => [kind, granules * ratio])
    const { pages, survey } = surveyOf(wide([GAP, GAP, ...page(7), ...page(7)]), { pageBytes })
    expect([pages, survey.meet, survey.promisedPages]).toEqual([[2, 3], PG * ratio, 1])
  })

  it('counts in units of many pages', () => {
    // Two pages a unit: a free one, a full one, and one with a block of 16 granules, which fills a free one.
    const stretches = [GAP, GAP, LIVE, LIVE, GAP, ...one(16)]
    const { pages, survey } = surveyOf(stretches, { unitPages: 2 })
    expect([pages, survey.meet, survey.promisedPages]).toEqual([[5], 2 * PG, 0])
  })
})

describe('Survey, over ranges with holes', () => {
  /** A heap of ranges, each as first page and number of pages. */
  function rangesOf(...ranges: [number, number][]): BlockHeap {
    const heap = makeHeap(ranges[0][1])
    for (const [firstPage, pageCount] of ranges.slice(1)) heap.addRange(firstPage, pageCount)
    return heap
  }

  function surveyed(heap: BlockHeap, unitPages: number): Survey {
    heap.flush()
    const survey = new Survey(heap, unitPages)
    survey.walk(ALL)
    survey.choose(GAIN, ALL)
    survey.end()
    return survey
  }

  it('counts no room in a hole', () => {
    const heap = rangesOf([0, 2], [100, 2])
    const blocks = fill(heap, 512).sort((one, other) => one - other)
    const sources = (survey: Survey) =>
      blocks.filter(block => heap.isLive(block) && survey.isSource(block, block + 32))
    // One block is left on each page of the upper range, none of the lower ones is free.
    for (const block of blocks.slice(16)) if (block % PG !== 0) heap.free(block)
    const survey = surveyed(heap, 1)
    expect(sources(survey)).toEqual([101 * PG])
    expect(survey.meet).toBe(101 * PG)
  })

  it('counts a unit that is partly a hole as free only where it is managed', () => {
    // The full range is half a unit. If its hole counted as free, the unit would be sparse.
    const heap = rangesOf([0, 8], [20, 4])
    const blocks = fill(heap, 512).sort((one, other) => one - other)
    for (const block of blocks.slice(0, 48)) heap.free(block)
    const survey = surveyed(heap, 8)
    expect(blocks.slice(64).filter(block => survey.isSource(block, block + 32))).toEqual([])
    expect(survey.promisedPages).toBe(0)
  })
})

describe('Survey, in slices', () => {
  it('finds the same in slices of one as at once', () => {
    const books = new Books(PAGE, plainStorage)
    layOutSpace(
      books,
      joined([GAP, ...page(16), LIVE, ...page(48), ...page(2), LIVE, ...page(16), ...one(100)]),
    )
    const whole = new Survey(books, 1)
    whole.walk(ALL)
    whole.choose(GAIN, ALL)
    const sliced = new Survey(books, 1)
    let slices = 1
    while (!sliced.walk(1)) slices++
    expect(slices).toBe(stretchesOf(books).length)
    while (!sliced.choose(GAIN, 1)) slices++
    const found = (survey: Survey) => [
      survey.meet,
      survey.victimsEnd,
      survey.promisedPages,
      sourcePages(books, survey),
    ]
    expect(found(sliced)).toEqual(found(whole))
    expect(sourcePages(books, whole).length).toBeGreaterThan(0)
  })

  it('comes to an end, and names live blocks only, while the heap changes in between', () => {
    const seed = fuzzSeed
    const random = new Random(seed)
    for (let round = 0; round < 20; round++) {
      const heap = makeHeap(32)
      const blocks = fill(heap, 200).filter(block => random.chance(0.4) || !heap.free(block))
      let pages = 32
      const change = () => {
        const choice = random.below(5)
        if (choice < 2) {
          const block = heap.allocate(random.between(1, 3 * PAGE))
          if (block !== NONE) blocks.push(block)
        } else if (choice < 4 && blocks.length > 0) {
          heap.giveUp(blocks.splice(random.below(blocks.length), 1)[0])
        } else if (pages < 64) {
          // Some join the range before, some leave a hole.
          heap.addRange(pages + random.below(2), 2)
          pages += 3
        }
      }
      const survey = new Survey(heap, 1)
      let slices = 0
      while (!survey.walk(1)) {
        change()
        expect(slices++, `slices with seed ${seed}`).toBeLessThan(5000)
      }
      while (!survey.choose(GAIN, 1)) {
        change()
        expect(slices++, `slices with seed ${seed}`).toBeLessThan(5000)
      }
      survey.end()
      for (const block of blocks.slice()) {
        const end = heap.endOf(block)
        if (!survey.isSource(block, end)) continue
        const target = heap.takeLowest(survey.gaps, end - block, survey.meet)
        if (target === NONE) continue
        expect(target + end - block, `target with seed ${seed}`).toBeLessThanOrEqual(survey.meet)
        expect(block, `source with seed ${seed}`).toBeGreaterThanOrEqual(survey.meet)
        heap.giveUp(block)
      }
      heap.check()
    }
  })
})

describe('the units of sources', () => {
  const isIn = ({ sourceUnits, unitShift }: Survey, block: number) => {
    const unit = block >>> unitShift
    return ((sourceUnits[unit >>> 5] >>> (unit & 31)) & 1) === 1
  }

  it.each([1, 4])(
    'have every block that is to move, also one that starts pages before its victim (%i)',
    pages => {
      const seed = fuzzSeed
      const random = new Random(seed)
      let sources = 0
      let others = 0
      for (let round = 0; round < 50; round++) {
        const heap = makeHeap(128)
        const sizes = [16, 200, 5 * PAGE, 3 * PAGE + 16]
        const blocks: number[] = []
        for (;;) {
          const block = heap.allocate(sizes[random.below(sizes.length)])
          if (block === NONE) break
          blocks.push(block)
        }
        const left = blocks.filter(block => random.chance(0.1) || !heap.free(block))
        heap.flush()
        const survey = new Survey(heap, pages)
        survey.walk(ALL)
        survey.choose(GAIN, ALL)
        survey.end()
        for (const block of left) {
          const isSource = survey.isSource(block, heap.endOf(block))
          if (isSource) {
            sources++
            expect(isIn(survey, block), `block ${block} with seed ${seed}`).toBe(true)
          } else if (!isIn(survey, block)) others++
        }
      }
      expect(sources, `sources with seed ${seed}`).toBeGreaterThan(0)
      expect(others, `blocks that stay with seed ${seed}`).toBeGreaterThan(0)
    },
  )
})

describe('the memory of a survey', () => {
  it('comes from the storage of the books, and goes back', () => {
    const storage = new CountedStorage()
    const heap = makeHeap(100, { storage })
    const before = storage.buffers.size
    const survey = new Survey(heap, 1)
    expect(storage.buffers.size).toBe(before + 1)
    survey.walk(ALL)
    survey.choose(GAIN, ALL)
    survey.end()
    expect(storage.buffers.size).toBe(before)
  })

  it('is refused without harm', () => {
    const storage = new CountedStorage()
    const heap = makeHeap(100, { storage })
    fill(heap, 1000)
    storage.failAt = storage.requests
    expect(() => new Survey(heap, 1)).toThrow('no memory')
    heap.check()
  })
})
