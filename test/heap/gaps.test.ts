import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Books } from '../../src/heap/books.js'
import { plainStorage } from '../../src/heap/columns.js'
import { cleanWithin, give, giveFree, givePart, pageCeil } from '../../src/heap/gaps.js'
import { markHeld, span } from '../../src/heap/granule-map.js'
import { COLD, WARM } from '../../src/heap/layout.js'
import { cleanOf, findLong } from '../../src/heap/long-gaps.js'
import { anyDirty, committedPages, release, setPurged } from '../../src/heap/page-states.js'
import { fuzzSeed } from '../support/random.js'
import { PG } from './books.js'
import { checkSpace, gapsOf, layOutSpace, type SpaceStretch, stretchesOf } from './gap-space.js'

const RUNS = { numRuns: 30, seed: fuzzSeed() | 0 }
const PAGE_SIZES = [4096, 65536]

interface Space {
  readonly gaps: Books
  readonly starts: number[]
  /** Gives the stretch of that number back, and proves the books. */
  give(at: number): void
}

/** Those stretches, and a live block behind them up to the end of a page. */
function spaceOf(stretches: SpaceStretch[], pageBytes = 4096): Space {
  const gaps = new Books(pageBytes, plainStorage)
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const { pageGranules } = gaps
  const rest = pageGranules - (length % pageGranules)
  const starts = layOutSpace(gaps, [...stretches, ['live', rest]])
  const giveBack = (at: number) => {
    give(gaps, starts[at], starts[at] + stretches[at][1])
    checkSpace(gaps)
  }
  return { gaps, starts, give: giveBack }
}

describe('give', () => {
  it.each([1, 31, 32, 33, 255, 256, 257, 511, 512, 513, 5_000])(
    'makes a block of %i granules between two others a gap',
    size => {
      for (const before of [1, 31, 32, 224, 255, 256, 300]) {
        const { gaps, give } = spaceOf([
          ['live', before],
          ['live', size],
          ['live', 300],
        ])
        give(1)
        expect(gapsOf(gaps)).toEqual([[before, before + size]])
        expect(gaps.cutBlocks).toBe(3)
      }
    },
  )

  it('makes a held block a gap as well as a live one', () => {
    const { gaps, give } = spaceOf([
      ['live', 10],
      ['held', 300],
      ['live', 5],
    ])
    give(1)
    expect(gapsOf(gaps)).toEqual([[10, 310]])
  })

  it('makes the first of all a gap that coalesces with nothing before it', () => {
    const { gaps, give } = spaceOf([
      ['live', 300],
      ['gap', 40],
    ])
    give(0)
    expect(gapsOf(gaps)).toEqual([[0, 340]])
  })

  it.each(PAGE_SIZES)('coalesces with the gaps on both sides, of any lengths, in pages of %i bytes', page => {
    const lengths = [0, 1, 255, 256, 700]
    for (const left of lengths) {
      for (const right of lengths) {
        for (const size of [1, 256, 1_000]) {
          const { gaps, give } = spaceOf(
            [
              ['live', 50],
              ...(left > 0 ? ([['gap', left]] as SpaceStretch[]) : []),
              ['live', size],
              ...(right > 0 ? ([['clean', right]] as SpaceStretch[]) : []),
            ],
            page,
          )
          give(left > 0 ? 2 : 1)
          expect(gapsOf(gaps)).toEqual([[50, 50 + left + size + right]])
        }
      }
    }
  })

  it('does not coalesce with what is held back', () => {
    const { gaps, give } = spaceOf([
      ['held', 300],
      ['live', 300],
      ['held', 300],
    ])
    give(1)
    expect(gapsOf(gaps)).toEqual([[300, 600]])
  })

  it('frees exactly the pages that lie wholly in the gap now, and did not before', () => {
    const { gaps, give } = spaceOf([
      ['live', 100],
      ['live', 2 * PG],
      ['live', PG - 100],
      ['live', PG],
    ])
    give(2)
    // The page that it shares with its neighbour before it is used still.
    expect(gaps).toMatchObject({ usedPages: 5, dirtyPages: 0 })
    give(1)
    expect(gaps).toMatchObject({ usedPages: 3, dirtyPages: 2 })
    expect([anyDirty(gaps, 0, 1), anyDirty(gaps, 1, 2), anyDirty(gaps, 3, 1)]).toEqual([false, true, false])
    give(0)
    expect(gaps).toMatchObject({ usedPages: 2, dirtyPages: 3 })
  })

  it('frees a page with the last of the short blocks on it', () => {
    const { gaps, give } = spaceOf(
      Array.from({ length: 64 }, (): SpaceStretch => ['live', 64]),
      65536,
    )
    for (let at = 63; at > 0; at--) give(at)
    expect(gaps.dirtyPages).toBe(0)
    give(0)
    expect(gaps.dirtyPages).toBe(1)
    expect(gapsOf(gaps)).toEqual([[0, 4096]])
  })

  it('keeps clean pages of its neighbours clean, and counts those of both', () => {
    const { gaps, starts, give } = spaceOf([
      ['live', PG],
      ['clean', 3 * PG],
      ['live', 2 * PG],
      ['clean', 5 * PG],
    ])
    expect([cleanOf(gaps, starts[1]), cleanOf(gaps, starts[3])]).toEqual([3, 5])
    give(2)
    expect(cleanOf(gaps, starts[1])).toBe(8)
    expect(gaps).toMatchObject({ usedPages: 2, dirtyPages: 2, refaultedPages: 0 })
    expect([findLong(gaps, WARM, 1), findLong(gaps, COLD, 10 * PG)]).toEqual([-1, PG])
  })

  it('files a gap without a clean page as warm', () => {
    const { gaps, give } = spaceOf([
      ['live', PG],
      ['gap', PG],
      ['live', PG],
    ])
    give(2)
    expect([findLong(gaps, WARM, 2 * PG), findLong(gaps, COLD, 1)]).toEqual([PG, -1])
  })

  it.each(PAGE_SIZES)(
    'keeps the books right whatever the blocks and their order, in pages of %i bytes',
    page => {
      const stretch = fc.oneof(
        fc.tuple(fc.constantFrom<'live' | 'held'>('live', 'held'), fc.integer({ min: 1, max: 40 })),
        fc.tuple(fc.constantFrom<'live' | 'held'>('live', 'held'), fc.integer({ min: 200, max: 900 })),
        fc.tuple(fc.constantFrom<'gap' | 'clean'>('gap', 'clean'), fc.integer({ min: 1, max: 900 })),
      )
      const spaces = fc.array(stretch, { minLength: 1, maxLength: 16, size: 'max' })
      fc.assert(
        fc.property(spaces, fc.array(fc.nat(100), { minLength: 16, maxLength: 16 }), (drawn, picks) => {
          // No two gaps lie side by side.
          const stretches = drawn.filter(
            ([kind], at) =>
              at === 0 || 'gap clean'.includes(kind) === false || 'live held'.includes(drawn[at - 1][0]),
          )
          const { gaps, starts } = spaceOf(stretches, page)
          const blocks = stretches.flatMap(([kind, size], at) =>
            kind === 'live' || kind === 'held' ? [[starts[at], starts[at] + size]] : [],
          )
          // What is no block is a gap: the model is the blocks that are left, and the one at the end.
          for (const pick of picks.slice(0, blocks.length)) {
            const [[first, end]] = blocks.splice(pick % blocks.length, 1)
            const before = gaps.dirtyPages + gaps.usedPages
            give(gaps, first, end)
            checkSpace(gaps)
            expect(gaps.dirtyPages + gaps.usedPages).toBe(before)
            const left = stretchesOf(gaps).filter(([kind]) => kind !== 'gap')
            expect(left.slice(0, -1).map(([, from, to]) => [from, to])).toEqual(
              blocks.toSorted(([a], [b]) => a - b),
            )
          }
        }),
        RUNS,
      )
    },
  )
})

describe('givePart and giveFree', () => {
  /** A part of a live block becomes a block of its own, as resizing does, and is given. */
  function giveTail(gaps: Books, first: number, at: number, end: number): void {
    markHeld(gaps, at)
    span(gaps, first, at)
    span(gaps, at, end)
    givePart(gaps, at, end)
    checkSpace(gaps)
  }

  it.each(PAGE_SIZES)(
    'of used pages frees those that nothing touches any more, in pages of %i bytes',
    page => {
      for (const left of [1, 255, 256, 300, 511, 512, 700]) {
        for (const right of [0, 1, 200, 256, 900]) {
          const stretches: SpaceStretch[] = [['live', 1_024]]
          if (right > 0) stretches.push(['clean', right])
          const { gaps } = spaceOf(stretches, page)
          const { usedPages, dirtyPages } = gaps
          giveTail(gaps, 0, left, 1_024)
          expect(gapsOf(gaps)).toEqual([[left, 1_024 + right]])
          expect(gaps.usedPages + gaps.dirtyPages).toBe(usedPages + dirtyPages)
        }
      }
    },
  )

  /** What a front leaves: its whole pages are free, and the parts of pages at its ends used. */
  function withFront(before: SpaceStretch[], size: number, behind: SpaceStretch[], page: number) {
    const { gaps, starts } = spaceOf([...before, ['held', size], ...behind], page)
    const first = starts[before.length]
    const end = first + size
    const firstPage = Math.ceil(first / gaps.pageGranules)
    const pageCount = Math.floor(end / gaps.pageGranules) - firstPage
    // As if they had been free all along.
    if (pageCount > 0) release(gaps, firstPage, pageCount)
    return { gaps, first, end, firstPage, pageCount }
  }

  it.each(PAGE_SIZES)(
    'of free pages frees none but those it shared at its ends, in pages of %i bytes',
    page => {
      const befores: SpaceStretch[][] = [
        [['live', 300]],
        [['live', 256]],
        [
          ['live', 40],
          ['gap', 260],
        ],
      ]
      const behinds: SpaceStretch[][] = [[], [['gap', 60]], [['clean', 700]], [['gap', 4_000]]]
      for (const before of befores) {
        for (const behind of behinds) {
          for (const size of [10, 256, 1_024, 1_300, 9_000]) {
            for (const clean of [0, 1]) {
              const { gaps, first, end, firstPage, pageCount } = withFront(before, size, behind, page)
              const isPurged = clean === 1 && pageCount > 0
              if (isPurged) setPurged(gaps, firstPage, 1)
              gaps.cutBlocks--
              const committed = committedPages(gaps)
              giveFree(gaps, first, end, isPurged ? 1 : 0)
              checkSpace(gaps)
              expect(committedPages(gaps)).toBe(committed)
              const [gap] = gapsOf(gaps)
              expect(gap).toEqual([
                before.length > 1 ? 40 : first,
                end + (behind.length > 0 ? behind[0][1] : 0),
              ])
            }
          }
        }
      }
    },
  )
})

describe('pages of granules', () => {
  it.each(PAGE_SIZES)('pageCeil goes to the next start of a page of %i bytes, or stays there', page => {
    const { gaps } = spaceOf([], page)
    const { pageGranules } = gaps
    for (const at of [0, 3, 70]) {
      expect(pageCeil(gaps, at * pageGranules)).toBe(at * pageGranules)
      expect(pageCeil(gaps, at * pageGranules + 1)).toBe((at + 1) * pageGranules)
      expect(pageCeil(gaps, (at + 1) * pageGranules - 1)).toBe((at + 1) * pageGranules)
    }
    expect(pageCeil(gaps, 2 ** 31 - pageGranules)).toBe(2 ** 31 - pageGranules)
  })

  it('cleanWithin counts clean pages that lie wholly in a stretch', () => {
    const { gaps, starts } = spaceOf([
      ['live', 2 * PG],
      ['gap', 3 * PG],
      ['live', PG],
      ['clean', 3 * PG],
    ])
    expect(cleanWithin(gaps, starts[1], starts[2])).toBe(0)
    const [, , , first] = starts
    const within = (from: number, to: number) => cleanWithin(gaps, first + from, first + to)
    expect([within(0, 3 * PG), within(1, 3 * PG), within(1, 3 * PG - 1)]).toEqual([3, 2, 1])
    expect([within(0, PG), within(0, PG - 1), within(PG - 1, PG + 1), within(5, 9)]).toEqual([1, 0, 0, 0])
  })
})
