import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { plainStorage } from '../../src/heap/columns.js'
import { REFUSED_GROWTH, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/layout.js'
import { LongBlocks } from '../../src/heap/long-blocks.js'
import { fuzzSeed } from '../support/random.js'
import { PG } from './books.js'
import { checkSpace, gapsOf, layOutSpace, type SpaceStretch, stretchesOf } from './gap-space.js'

const RUNS = { numRuns: 30, seed: fuzzSeed() | 0 }
const PAGE_SIZES = [4096, 65536]
const MUCH = Number.MAX_SAFE_INTEGER

/** With what only its subclasses call. */
class Subject extends LongBlocks {
  declare cleanIsZero: boolean

  override findGap(size: number, mask: number): number {
    return super.findGap(size, mask)
  }

  override hasRoom(size: number): boolean {
    return super.hasRoom(size)
  }

  override takeWithRoom(size: number, mask: number): number {
    return super.takeWithRoom(size, mask)
  }

  override cut(gap: number, gapEnd: number, block: number, end: number): number {
    return super.cut(gap, gapEnd, block, end)
  }
}

/** Those stretches, and a live block behind them up to the end of a page. Clean pages may be taken without asking. */
function spaceOf(stretches: SpaceStretch[], pageBytes = 4096): { space: Subject; starts: number[] } {
  const space = new Subject(pageBytes, plainStorage)
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const { pageGranules } = space
  const starts = layOutSpace(space, [...stretches, ['live', pageGranules - (length % pageGranules)]])
  space.growthPages = MUCH
  return { space, starts }
}

/** Everything that a refused call must leave alone. */
function observe(space: Subject): unknown {
  checkSpace(space)
  const { usedPages, dirtyPages, heldBlocks, growthPages, zeroedBlock, refaultedPages } = space
  return [{ usedPages, dirtyPages, heldBlocks, growthPages, zeroedBlock, refaultedPages }, stretchesOf(space)]
}

function expectRefused(space: Subject, take: () => number, refusal: number): void {
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
    expect(space.findGap(2 * PG, 0)).toBe(starts[4])
    expect(space.findGap(2 * PG, PG - 1)).toBe(starts[4])
    space.takeLong(9 * PG)
    expect(space.findGap(2 * PG, 0)).toBe(starts[2])
  })

  it('finds a gap with clean pages only while such may be taken', () => {
    const { space, starts } = spaceOf([
      ['live', 10],
      ['clean', 3 * PG],
    ])
    space.growthPages = 1
    expect(space.findGap(2 * PG, 0)).toBe(starts[1])
    for (const growthPages of [0, -3]) {
      space.growthPages = growthPages
      for (const mask of [0, 15]) expectRefused(space, () => space.findGap(2 * PG, mask), REFUSED_GROWTH)
    }
  })

  it('says that there is no room, before it says anything of growth', () => {
    const { space } = spaceOf([['clean', 3 * PG]])
    space.growthPages = 0
    for (const mask of [0, 15]) expectRefused(space, () => space.findGap(3 * PG + 1, mask), REFUSED_SPACE)
  })

  it('finds a gap with room at a multiple, not one that is merely as long', () => {
    const { space, starts } = spaceOf([
      ['live', 1],
      ['gap', 300],
      ['live', 211],
      ['gap', 300],
    ])
    expect(starts[3] % 256).toBe(0)
    expect(space.findGap(290, 255)).toBe(starts[3])
    expect(space.findGap(290, 0)).toBe(starts[1])
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
      expect([space.hasRoom(4 * PG), space.hasRoom(4 * PG + 1)]).toEqual([true, false])
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
            const { committedPages, managedPages } = space
            expect(space.takeLong(size)).toBe(starts[1])
            expect([space.isLive(before), space.next(before)]).toEqual([true, before + size])
            expect(gapsOf(space)).toEqual(size < length ? [[before + size, before + length]] : [])
            checkSpace(space)
            if (kind === 'gap') expect(space.committedPages).toBe(committedPages)
            expect(space.committedPages).toBeLessThanOrEqual(managedPages)
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
    expect(space.takeLong(2 * PG + 1)).toBe(starts[1])
    expect(space).toMatchObject({ growthPages: 7, usedPages: 5, dirtyPages: 0, refaultedPages: 3 })
    expect(space.cleanOf(starts[1] + 2 * PG + 1)).toBe(3)
  })

  it('may pass what is left of growth by one block, and then is refused', () => {
    const { space, starts } = spaceOf([['clean', 6 * PG]])
    space.growthPages = 1
    expect(space.takeLong(3 * PG)).toBe(starts[0])
    expect(space.growthPages).toBe(-2)
    expectRefused(space, () => space.takeLong(PG), REFUSED_GROWTH)
  })

  it('takes dirty pages whatever is left of growth, and commits nothing', () => {
    const { space, starts } = spaceOf([['gap', 6 * PG]])
    space.growthPages = 0
    space.limitPages = space.committedPages
    expect(space.takeLong(6 * PG)).toBe(starts[0])
    expect([space.growthPages, space.zeroedBlock]).toEqual([0, NONE])
    checkSpace(space)
  })

  it('commits up to the limit and no page more', () => {
    const { space, starts } = spaceOf([['clean', 6 * PG]])
    space.limitPages = space.committedPages + 3
    expectRefused(space, () => space.takeLong(3 * PG + 1), REFUSED_LIMIT)
    expect(space.takeLong(3 * PG)).toBe(starts[0])
    checkSpace(space)
  })

  it('says where there is no room', () => {
    const { space } = spaceOf([['gap', 300]])
    expectRefused(space, () => space.takeLong(301), REFUSED_SPACE)
  })
})

describe('zeroedBlock', () => {
  it('is a block on clean pages that it has for itself', () => {
    const { space, starts } = spaceOf([
      ['live', PG],
      ['clean', 4 * PG],
    ])
    expect(space.takeLong(PG + 1)).toBe(starts[1])
    expect(space.zeroedBlock).toBe(starts[1])
    // Its first page is the last of the one before.
    const second = space.takeLong(PG)
    expect([second, space.zeroedBlock]).toEqual([starts[1] + PG + 1, starts[1]])
  })

  it('is none that shares a page, or has a dirty one', () => {
    const { space, starts } = spaceOf([
      ['live', 10],
      ['clean', 3 * PG],
    ])
    expect(space.takeLong(PG)).toBe(starts[1])
    expect(space.zeroedBlock).toBe(NONE)
    const other = spaceOf([
      ['live', PG],
      ['gap', 3 * PG],
    ])
    other.space.markPurged(2, 2)
    other.space.changeLong(PG, 3 * PG, 0, PG, 3 * PG, 2)
    expect(other.space.takeLong(2 * PG)).toBe(PG)
    expect(other.space.zeroedBlock).toBe(NONE)
    expect(other.space.takeLong(PG)).toBe(3 * PG)
    expect(other.space.zeroedBlock).toBe(3 * PG)
  })

  it('is none where clean pages do not read as zero', () => {
    const { space, starts } = spaceOf([['clean', 3 * PG]])
    space.cleanIsZero = false
    expect(space.takeLong(PG)).toBe(starts[0])
    expect(space.cut(PG, 3 * PG, 2 * PG, 3 * PG)).toBe(2 * PG)
    expect(space.zeroedBlock).toBe(NONE)
  })

  it('is one that was cut from the middle too, and none below a frame', () => {
    const { space } = spaceOf([['clean', 6 * PG]])
    expect(space.cut(0, 6 * PG, 2 * PG, 3 * PG)).toBe(2 * PG)
    expect(space.zeroedBlock).toBe(2 * PG)
    expect(space.cut(3 * PG, 6 * PG, 4 * PG, 4 * PG + 255)).toBe(4 * PG)
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
            expect(space.cut(40, 40 + length, block, block + size)).toBe(block)
            checkSpace(space)
            expect([space.isLive(block), space.next(block)]).toEqual([true, block + size])
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
    space.limitPages = space.committedPages + 2
    expectRefused(space, () => space.cut(0, 8 * PG, 3 * PG - 1, 5 * PG), REFUSED_LIMIT)
    const { committedPages } = space
    expect(space.cut(0, 8 * PG, 3 * PG, 5 * PG)).toBe(3 * PG)
    expect([space.committedPages - committedPages, space.growthPages]).toEqual([2, 98])
    expect([space.cleanOf(0), space.cleanOf(5 * PG)]).toEqual([3, 3])
  })
})

describe('takeLast', () => {
  const short: SpaceStretch[] = Array.from({ length: 5 }, (): SpaceStretch[] => [
    ['gap', 513],
    ['live', 7],
  ]).flat()

  it('looks at all gaps that may do, where takeLong looks at a few', () => {
    const { space, starts } = spaceOf([...short, ['gap', 540]])
    expectRefused(space, () => space.takeLong(520), REFUSED_SPACE)
    expectRefused(space, () => space.takeLast(541, 0), REFUSED_SPACE)
    expect(space.takeLast(520, 0)).toBe(starts[10])
    checkSpace(space)
  })

  it('finds a place at a multiple where there is nothing to spare', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['gap', 212 + 3 * PG],
      ['live', 256],
    ])
    expectRefused(space, () => space.takeLast(3 * PG + 1, 255), REFUSED_SPACE)
    expect(space.takeLast(3 * PG, 255)).toBe(512)
    expect(gapsOf(space)).toEqual([[300, 512]])
    checkSpace(space)
  })

  it('does not ask whether clean pages may be taken, but keeps to the limit', () => {
    const { space } = spaceOf([['clean', 3 * PG]])
    space.growthPages = 0
    space.limitPages = space.committedPages + 2
    expectRefused(space, () => space.takeLast(3 * PG, 0), REFUSED_LIMIT)
    space.limitPages++
    expect(space.takeLast(3 * PG, 0)).toBe(0)
    expect(space.growthPages).toBe(-3)
  })
})

describe('takeCommitted', () => {
  it('takes from the low end what the used page there has room for, at a multiple', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['clean', 6 * PG],
    ])
    space.limitPages = space.committedPages
    expectRefused(space, () => space.takeCommitted(213, 0), REFUSED_LIMIT)
    expectRefused(space, () => space.takeCommitted(209, 15), REFUSED_LIMIT)
    expect(space.takeCommitted(208, 15)).toBe(304)
    checkSpace(space)
  })

  it('takes from the high end where the low one would commit too much', () => {
    const { space } = spaceOf([
      ['live', PG],
      ['clean', 3 * PG + 100],
      ['live', 10],
    ])
    const end = 4 * PG + 100
    space.limitPages = space.committedPages
    expectRefused(space, () => space.takeCommitted(101, 0), REFUSED_LIMIT)
    expect(space.takeCommitted(90, 15)).toBe(end - 100)
    expect(gapsOf(space)[0]).toEqual([PG, end - 100])
    checkSpace(space)
  })

  it('prefers the low end, and commits as much as the limit allows', () => {
    const { space } = spaceOf([['clean', 5 * PG]])
    space.limitPages = space.committedPages + 2
    expect(space.takeCommitted(2 * PG, 0)).toBe(0)
    expectRefused(space, () => space.takeCommitted(1, 0), REFUSED_LIMIT)
  })

  it('finds the one gap of many whose pages are dirty', () => {
    const { space, starts } = spaceOf([
      ['clean', 4 * PG],
      ['live', 9],
      ['gap', 4 * PG],
      ['live', 9],
      ['clean', 4 * PG],
    ])
    space.limitPages = space.committedPages
    expect(space.takeCommitted(3 * PG, 0)).toBe(starts[2])
    checkSpace(space)
  })

  it('passes over gaps at whose ends it would commit a page that it reaches into', () => {
    const { space } = spaceOf([
      ['clean', 3 * PG],
      ['live', PG],
      ['gap', 8 * PG],
    ])
    space.markPurged(8, 4)
    space.changeLong(4 * PG, 8 * PG, 0, 4 * PG, 8 * PG, 4)
    checkSpace(space)
    space.limitPages = space.committedPages
    expect(space.takeCommitted(100, 0)).toBe(4 * PG)
    checkSpace(space)
  })

  it('passes over gaps that are too short for where a block must lie', () => {
    const { space } = spaceOf([
      ['live', 100],
      ['gap', 400],
    ])
    space.limitPages = space.committedPages
    expectRefused(space, () => space.takeCommitted(300, 255), REFUSED_LIMIT)
    expectRefused(space, () => space.takeCommitted(401, 0), REFUSED_LIMIT)
    expect(space.takeCommitted(200, 255)).toBe(256)
  })
})

describe('takeWithRoom', () => {
  it('takes from the start of a range, and leaves at least as much behind', () => {
    const { space } = spaceOf([['clean', 9 * PG]])
    expect(space.takeWithRoom(4 * PG, PG - 1)).toBe(0)
    expect(gapsOf(space)).toEqual([[4 * PG, 9 * PG]])
    checkSpace(space)
  })

  it('takes the middle of a gap behind a block, which may grow too', () => {
    const { space } = spaceOf([
      ['live', 300],
      ['gap', 212 + 9 * PG],
    ])
    // Aligned, it has 9 pages, of which three and two are left.
    expect(space.takeWithRoom(4 * PG, PG - 1)).toBe(4 * PG)
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
    expectRefused(space, () => space.takeWithRoom(4 * PG, PG - 1), REFUSED_SPACE)
    expect(space.takeWithRoom(3 * PG, PG - 1)).not.toBe(NONE)
    checkSpace(space)
  })

  it('prefers a gap without clean pages, and keeps to the limit', () => {
    const { space, starts } = spaceOf([
      ['clean', 4 * PG],
      ['live', PG],
      ['gap', 8 * PG],
    ])
    expect(space.takeWithRoom(2 * PG, PG - 1)).toBe(starts[2] + 3 * PG)
    const other = spaceOf([['clean', 4 * PG]]).space
    other.limitPages = other.committedPages + 1
    expectRefused(other, () => other.takeWithRoom(2 * PG, PG - 1), REFUSED_LIMIT)
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
      space.limitPages = space.committedPages + Math.ceil(space.managedPages * limitShare)
      const blocks: number[][] = []
      for (const one of steps) {
        if ('give' in one) {
          const [gone] = blocks.splice(one.give % Math.max(1, blocks.length), 1)
          if (gone !== undefined) space.give(gone[0], gone[1])
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
    space: Subject,
    { take, size: granules, align: multiple }: Extract<Step, { take: string }>,
  ): number {
    const mask = multiple - 1
    if (take === 'long') return space.takeLong(granules)
    if (take === 'last') return space.takeLast(granules, mask)
    if (take === 'committed') return space.takeCommitted(granules, mask)
    return space.takeWithRoom(granules, mask)
  }

  /** Purges the whole pages of one long gap. */
  function purgeOne(space: Subject, pick: number): void {
    const long = gapsOf(space).filter(([first, end]) => end - first >= PG)
    if (long.length === 0) return
    const [first, end] = long[pick % long.length]
    const firstPage = Math.ceil(first / space.pageGranules)
    const pageCount = Math.floor(end / space.pageGranules) - firstPage
    if (pageCount <= 0) return
    const clean = space.cleanOf(first)
    space.markPurged(firstPage, pageCount)
    space.changeLong(first, end - first, clean, first, end - first, pageCount)
  }
})
