import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { Books } from '../../src/heap/books.js'
import { plainStorage } from '../../src/heap/columns.js'
import { give } from '../../src/heap/gaps.js'
import { endOf, isLive } from '../../src/heap/granule-map.js'
import { REFUSED_GROWTH, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import {
  cut,
  findGap,
  hasRoom,
  takeCommitted,
  takeLast,
  takeLong,
  takeWithRoom,
} from '../../src/heap/long-blocks.js'
import { changeLong, cleanOf } from '../../src/heap/long-gaps.js'
import { committedPages, setPurged } from '../../src/heap/page-states.js'
import { fuzzSeed } from '../support/random.js'
import { PG } from './books.js'
import { checkSpace, gapsOf, layOutSpace, type SpaceStretch, stretchesOf } from './gap-space.js'

const RUNS = { numRuns: 30, seed: fuzzSeed() | 0 }
const PAGE_SIZES = [4096, 65536]
const MUCH = Number.MAX_SAFE_INTEGER

/** Those stretches, and a live block behind them up to the end of a page. Clean pages may be taken without asking. */
function spaceOf(stretches: SpaceStretch[], pageBytes = 4096): { space: Books; starts: number[] } {
  const space = new Books(pageBytes, plainStorage)
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const { pageGranules } = space
  const starts = layOutSpace(space, [...stretches, ['live', pageGranules - (length % pageGranules)]])
  space.growthPages = MUCH
  return { space, starts }
}

/** Everything that a refused call must leave alone. */
function observe(space: Books): unknown {
  checkSpace(space)
  const { usedPages, dirtyPages, cutBlocks, growthPages, zeroedBlock, refaultedPages } = space
  return [{ usedPages, dirtyPages, cutBlocks, growthPages, zeroedBlock, refaultedPages }, stretchesOf(space)]
}

function expectRefused(space: Books, take: () => number, refusal: number): void {
  const before = observe(space)
  space.refusal = 0
  expect([take(), space.refusal]).toEqual([NONE, refusal])
  expect(observe(space)).toEqual(before)
}

describe('findGap', () => {
  it('prefers a gap without a clean page, even one that is much longer', () => {
    const { space, starts } = spaceOf([
      ['clean', 300],
      ['live', 5],
      ['clean', 2 * PG],
      ['live', 5],
      ['gap', 9 * PG],
    ])
    // Too short for a whole page where it lies: no page of it is clean.
    expect(findGap(space, 2 * PG, 0)).toBe(starts[4])
    expect(findGap(space, 2 * PG, PG - 1)).toBe(starts[4])
    takeLong(space, 9 * PG)
    expect(findGap(space, 2 * PG, 0)).toBe(starts[2])
  })

  it('finds a gap with clean pages only while such may be taken', () => {
    const { space, starts } = spaceOf([
      ['live', 10],
      ['clean', 3 * PG],
    ])
    space.growthPages = 1
    expect(findGap(space, 2 * PG, 0)).toBe(starts[1])
    for (const growthPages of [0, -3]) {
      space.growthPages = growthPages
      for (const mask of [0, 15]) expectRefused(space, () => findGap(space, 2 * PG, mask), REFUSED_GROWTH)
    }
  })

  it('says that there is no room, before it says anything of growth', () => {
    const { space } = spaceOf([['clean', 3 * PG]])
    space.growthPages = 0
    for (const mask of [0, 15]) expectRefused(space, () => findGap(space, 3 * PG + 1, mask), REFUSED_SPACE)
  })

  it('finds a gap with room at a multiple, not one that is merely as long', () => {
    const { space, starts } = spaceOf([
      ['live', 1],
      ['gap', 300],
      ['live', 211],
      ['gap', 300],
    ])
    expect(starts[3] % 256).toBe(0)
    expect(findGap(space, 290, 255)).toBe(starts[3])
    expect(findGap(space, 290, 0)).toBe(starts[1])
  })
})

describe('hasRoom', () => {
  it('knows gaps of either kind, and takes none', () => {
    for (const kind of ['gap', 'clean'] as const) {
      const { space } = spaceOf([
        ['live', 5],
        [kind, 4 * PG],
      ])
      space.growthPages = 0
      const before = observe(space)
      expect([hasRoom(space, 4 * PG), hasRoom(space, 4 * PG + 1)]).toEqual([true, false])
      expect(observe(space)).toEqual(before)
    }
  })
})

describe('takeLong', () => {
  it.each(PAGE_SIZES)('cuts any length from the start of a gap of pages of %i bytes', pageBytes => {
    for (const kind of ['gap', 'clean'] as const) {
      for (const before of [1, 200, 256, 300]) {
        for (const length of [256, 300, 511, 512, 6_000]) {
          for (const size of [256, 257, 300, 511, 512, 5_743, 5_744, 5_745, length]) {
            if (size > length) continue
            const { space, starts } = spaceOf(
              [
                ['live', before],
                [kind, length],
              ],
              pageBytes,
            )
            const committed = committedPages(space)
            const { managedPages } = space
            expect(takeLong(space, size)).toBe(starts[1])
            expect([isLive(space, before), endOf(space, before)]).toEqual([true, before + size])
            expect(gapsOf(space)).toEqual(size < length ? [[before + size, before + length]] : [])
            checkSpace(space)
            if (kind === 'gap') expect(committedPages(space)).toBe(committed)
            expect(committedPages(space)).toBeLessThanOrEqual(managedPages)
          }
        }
      }
    }
  })

  it('counts the clean pages that it takes, and leaves the others', () => {
    const { space, starts } = spaceOf([
      ['live', PG],
      ['clean', 6 * PG],
    ])
    space.growthPages = 10
    expect(takeLong(space, 2 * PG + 1)).toBe(starts[1])
    expect(space).toMatchObject({ growthPages: 7, usedPages: 5, dirtyPages: 0, refaultedPages: 3 })
    expect(cleanOf(space, starts[1] + 2 * PG + 1)).toBe(3)
  })

  it('may pass what is left of growth by one block, and then is refused', () => {
    const { space, starts } = spaceOf([['clean', 6 * PG]])
    space.growthPages = 1
    expect(takeLong(space, 3 * PG)).toBe(starts[0])
    expect(space.growthPages).toBe(-2)
    expectRefused(space, () => takeLong(space, PG), REFUSED_GROWTH)
  })

  it('takes dirty pages whatever is left of growth, and commits nothing', () => {
    const { space, starts } = spaceOf([['gap', 6 * PG]])
    space.growthPages = 0
    space.limitPages = committedPages(space)
    expect(takeLong(space, 6 * PG)).toBe(starts[0])
    expect([space.growthPages, space.zeroedBlock]).toEqual([0, NONE])
    checkSpace(space)
  })

  it('commits up to the limit and no page more', () => {
    const { space, starts } = spaceOf([['clean', 6 * PG]])
    space.limitPages = committedPages(space) + 3
    expectRefused(space, () => takeLong(space, 3 * PG + 1), REFUSED_LIMIT)
    expect(takeLong(space, 3 * PG)).toBe(starts[0])
    checkSpace(space)
  })

  it('says where there is no room', () => {
    const { space } = spaceOf([['gap', 300]])
    expectRefused(space, () => takeLong(space, 301), REFUSED_SPACE)
  })
})

describe('zeroedBlock', () => {
  it('is a block on clean pages that it has for itself', () => {
    const { space, starts } = spaceOf([
      ['live', PG],
      ['clean', 4 * PG],
    ])
    expect(takeLong(space, PG + 1)).toBe(starts[1])
    expect(space.zeroedBlock).toBe(starts[1])
    // Its first page is the last of the one before.
    const second = takeLong(space, PG)
    expect([second, space.zeroedBlock]).toEqual([starts[1] + PG + 1, starts[1]])
  })

  it('is none that shares a page, or has a dirty one', () => {
    const { space, starts } = spaceOf([
      ['live', 10],
      ['clean', 3 * PG],
    ])
    expect(takeLong(space, PG)).toBe(starts[1])
    expect(space.zeroedBlock).toBe(NONE)
    const other = spaceOf([
      ['live', PG],
      ['gap', 3 * PG],
    ])
    setPurged(other.space, 2, 2)
    changeLong(other.space, PG, 3 * PG, 0, PG, 3 * PG, 2)
    expect(takeLong(other.space, 2 * PG)).toBe(PG)
    expect(other.space.zeroedBlock).toBe(NONE)
    expect(takeLong(other.space, PG)).toBe(3 * PG)
    expect(other.space.zeroedBlock).toBe(3 * PG)
  })

  it('is none where clean pages do not read as zero', () => {
    const { space, starts } = spaceOf([['clean', 3 * PG]])
    space.cleanIsZero = false
    expect(takeLong(space, PG)).toBe(starts[0])
    expect(cut(space, PG, 3 * PG, 2 * PG, 3 * PG)).toBe(2 * PG)
    expect(space.zeroedBlock).toBe(NONE)
  })

  it('is one that was cut from the middle too, and none below a frame', () => {
    const { space } = spaceOf([['clean', 6 * PG]])
    expect(cut(space, 0, 6 * PG, 2 * PG, 3 * PG)).toBe(2 * PG)
    expect(space.zeroedBlock).toBe(2 * PG)
    expect(cut(space, 3 * PG, 6 * PG, 4 * PG, 4 * PG + 255)).toBe(4 * PG)
    expect(space.zeroedBlock).toBe(2 * PG)
  })
})

describe('cut', () => {
  it.each(PAGE_SIZES)('leaves gaps on both sides, of any lengths, in pages of %i bytes', pageBytes => {
    for (const kind of ['gap', 'clean'] as const) {
      for (const left of [0, 1, 255, 256, 700]) {
        for (const right of [0, 1, 255, 256, 700]) {
          for (const size of [10, 256, 1_000]) {
            const length = left + size + right
            if (length < PG) continue
            const stretches: SpaceStretch[] = [
              ['live', 40],
              [kind, length],
            ]
            const { space } = spaceOf(stretches, pageBytes)
            const block = 40 + left
            expect(cut(space, 40, 40 + length, block, block + size)).toBe(block)
            checkSpace(space)
            expect([isLive(space, block), endOf(space, block)]).toEqual([true, block + size])
            const gaps = [
              [40, block],
              [block + size, 40 + length],
            ]
            expect(gapsOf(space)).toEqual(gaps.filter(([first, end]) => first < end))
          }
        }
      }
    }
  })

  it('commits what it touches, and no more than the limit allows', () => {
    const { space } = spaceOf([['clean', 8 * PG]])
    space.growthPages = 100
    space.limitPages = committedPages(space) + 2
    expectRefused(space, () => cut(space, 0, 8 * PG, 3 * PG - 1, 5 * PG), REFUSED_LIMIT)
    const committed = committedPages(space)
    expect(cut(space, 0, 8 * PG, 3 * PG, 5 * PG)).toBe(3 * PG)
    expect([committedPages(space) - committed, space.growthPages]).toEqual([2, 98])
    expect([cleanOf(space, 0), cleanOf(space, 5 * PG)]).toEqual([3, 3])
  })
})

describe('takeLast', () => {
  const short: SpaceStretch[] = Array.from({ length: 5 }, (): SpaceStretch[] => [
    ['gap', 513],
    ['live', 7],
  ]).flat()

  it('looks at all gaps that may do, where takeLong looks at a few', () => {
    const { space, starts } = spaceOf([...short, ['gap', 540]])
    expectRefused(space, () => takeLong(space, 520), REFUSED_SPACE)
    expectRefused(space, () => takeLast(space, 541, 0), REFUSED_SPACE)
    expect(takeLast(space, 520, 0)).toBe(starts[10])
    checkSpace(space)
  })

  it('finds a place at a multiple where there is nothing to spare', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['gap', 212 + 3 * PG],
      ['live', 256],
    ])
    expectRefused(space, () => takeLast(space, 3 * PG + 1, 255), REFUSED_SPACE)
    expect(takeLast(space, 3 * PG, 255)).toBe(512)
    expect(gapsOf(space)).toEqual([[300, 512]])
    checkSpace(space)
  })

  it('does not ask whether clean pages may be taken, but keeps to the limit', () => {
    const { space } = spaceOf([['clean', 3 * PG]])
    space.growthPages = 0
    space.limitPages = committedPages(space) + 2
    expectRefused(space, () => takeLast(space, 3 * PG, 0), REFUSED_LIMIT)
    space.limitPages++
    expect(takeLast(space, 3 * PG, 0)).toBe(0)
    expect(space.growthPages).toBe(-3)
  })
})

describe('takeCommitted', () => {
  it('takes from the low end what the used page there has room for, at a multiple', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['clean', 6 * PG],
    ])
    space.limitPages = committedPages(space)
    expectRefused(space, () => takeCommitted(space, 213, 0), REFUSED_LIMIT)
    expectRefused(space, () => takeCommitted(space, 209, 15), REFUSED_LIMIT)
    expect(takeCommitted(space, 208, 15)).toBe(304)
    checkSpace(space)
  })

  it('takes from the high end where the low one would commit too much', () => {
    const { space } = spaceOf([
      ['live', PG],
      ['clean', 3 * PG + 100],
      ['live', 10],
    ])
    const end = 4 * PG + 100
    space.limitPages = committedPages(space)
    expectRefused(space, () => takeCommitted(space, 101, 0), REFUSED_LIMIT)
    expect(takeCommitted(space, 90, 15)).toBe(end - 100)
    expect(gapsOf(space)[0]).toEqual([PG, end - 100])
    checkSpace(space)
  })

  it('prefers the low end, and commits as much as the limit allows', () => {
    const { space } = spaceOf([['clean', 5 * PG]])
    space.limitPages = committedPages(space) + 2
    expect(takeCommitted(space, 2 * PG, 0)).toBe(0)
    expectRefused(space, () => takeCommitted(space, 1, 0), REFUSED_LIMIT)
  })

  it('finds the one gap of many whose pages are dirty', () => {
    const { space, starts } = spaceOf([
      ['clean', 4 * PG],
      ['live', 9],
      ['gap', 4 * PG],
      ['live', 9],
      ['clean', 4 * PG],
    ])
    space.limitPages = committedPages(space)
    expect(takeCommitted(space, 3 * PG, 0)).toBe(starts[2])
    checkSpace(space)
  })

  it('passes over gaps at whose ends it would commit a page that it reaches into', () => {
    const { space } = spaceOf([
      ['clean', 3 * PG],
      ['live', PG],
      ['gap', 8 * PG],
    ])
    setPurged(space, 8, 4)
    changeLong(space, 4 * PG, 8 * PG, 0, 4 * PG, 8 * PG, 4)
    checkSpace(space)
    space.limitPages = committedPages(space)
    expect(takeCommitted(space, 100, 0)).toBe(4 * PG)
    checkSpace(space)
  })

  it('passes over gaps that are too short for where a block must lie', () => {
    const { space } = spaceOf([
      ['live', 100],
      ['gap', 400],
    ])
    space.limitPages = committedPages(space)
    expectRefused(space, () => takeCommitted(space, 300, 255), REFUSED_LIMIT)
    expectRefused(space, () => takeCommitted(space, 401, 0), REFUSED_LIMIT)
    expect(takeCommitted(space, 200, 255)).toBe(256)
  })
})

describe('takeWithRoom', () => {
  it('takes from the start of a range, and leaves at least as much behind', () => {
    const { space } = spaceOf([['clean', 9 * PG]])
    expect(takeWithRoom(space, 4 * PG, PG - 1)).toBe(0)
    expect(gapsOf(space)).toEqual([[4 * PG, 9 * PG]])
    checkSpace(space)
  })

  it('takes the middle of a gap behind a block, which may grow too', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['gap', 212 + 9 * PG],
    ])
    // Aligned, it has 9 pages, of which three and two are left.
    expect(takeWithRoom(space, 4 * PG, PG - 1)).toBe(4 * PG)
    expect(gapsOf(space)).toEqual([
      [300, 4 * PG],
      [8 * PG, 11 * PG],
    ])
    checkSpace(space)
  })

  it('takes from no gap that is shorter than twice the block', () => {
    const { space } = spaceOf([
      ['live', PG],
      ['gap', 8 * PG - 1],
    ])
    expectRefused(space, () => takeWithRoom(space, 4 * PG, PG - 1), REFUSED_SPACE)
    expect(takeWithRoom(space, 3 * PG, PG - 1)).not.toBe(NONE)
    checkSpace(space)
  })

  it('prefers a gap without clean pages, and keeps to the limit', () => {
    const { space, starts } = spaceOf([
      ['clean', 4 * PG],
      ['live', PG],
      ['gap', 8 * PG],
    ])
    expect(takeWithRoom(space, 2 * PG, PG - 1)).toBe(starts[2] + 3 * PG)
    const other = spaceOf([['clean', 4 * PG]]).space
    other.limitPages = committedPages(other) + 1
    expectRefused(other, () => takeWithRoom(other, 2 * PG, PG - 1), REFUSED_LIMIT)
  })
})

describe('any blocks', () => {
  type Step =
    | { take: 'long' | 'last' | 'committed' | 'room'; size: number; align: number }
    | { give: number }
    | { purge: number }

  const size = fc.integer({ min: PG, max: 6 * PG })
  const align = fc.constantFrom(1, 16, 256)
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ take: fc.constant('long' as const), size, align: fc.constant(1) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        take: fc.constantFrom('last' as const, 'committed' as const, 'room' as const),
        size,
        align,
      }),
    },
    { weight: 7, arbitrary: fc.record({ give: fc.nat(100) }) },
    { weight: 1, arbitrary: fc.record({ purge: fc.nat(100) }) },
  )

  it.each(PAGE_SIZES)('lie apart, at multiples, within the limit, in pages of %i bytes', pageBytes => {
    const property = (steps: Step[], limitShare: number) => {
      const { space } = spaceOf([['clean', 40 * PG]], pageBytes)
      space.limitPages = committedPages(space) + Math.ceil(space.managedPages * limitShare)
      const blocks: number[][] = []
      for (const one of steps) {
        if ('give' in one) {
          const [gone] = blocks.splice(one.give % Math.max(1, blocks.length), 1)
          if (gone !== undefined) give(space, gone[0], gone[1])
        } else if ('purge' in one) {
          purgeOne(space, one.purge)
        } else {
          const taken = takeBy(space, one)
          if (taken === NONE) {
            expect([REFUSED_SPACE, REFUSED_LIMIT]).toContain(space.refusal)
          } else {
            expect(taken % one.align).toBe(0)
            blocks.push([taken, taken + one.size])
          }
        }
        checkSpace(space)
        const live = stretchesOf(space).filter(([kind]) => kind === 'live')
        expect(live.slice(0, -1).map(([, first, end]) => [first, end])).toEqual(
          blocks.toSorted(([a], [b]) => a - b),
        )
      }
    }
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30, size: 'max' }), fc.constantFrom(0.3, 0.7, 1), property),
      RUNS,
    )
  })

  function takeBy(
    space: Books,
    { take, size: granules, align: multiple }: Extract<Step, { take: string }>,
  ): number {
    const mask = multiple - 1
    if (take === 'long') return takeLong(space, granules)
    if (take === 'last') return takeLast(space, granules, mask)
    if (take === 'committed') return takeCommitted(space, granules, mask)
    return takeWithRoom(space, granules, mask)
  }

  /** Purges the whole pages of one long gap. */
  function purgeOne(space: Books, pick: number): void {
    const long = gapsOf(space).filter(([first, end]) => end - first >= PG)
    if (long.length === 0) return
    const [first, end] = long[pick % long.length]
    const firstPage = Math.ceil(first / space.pageGranules)
    const pageCount = Math.floor(end / space.pageGranules) - firstPage
    if (pageCount <= 0) return
    const clean = cleanOf(space, first)
    setPurged(space, firstPage, pageCount)
    changeLong(space, first, end - first, clean, first, end - first, pageCount)
  }
})
