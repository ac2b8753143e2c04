import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Demand, type Hold, standingShare } from '../../src/release/demand.js'
import { fuzzSeed } from '../support/random.js'

const RUNS = { numRuns: 50, seed: fuzzSeed() | 0 }
const PROMISE_MS = 1_000
const HOLD: Hold = { fullMs: 500, endMs: 600 }

/** Demand over memory that is never purged, so that whatever was in use before is dirty now. */
class Course {
  readonly demand = new Demand()
  readonly promiseMs: number
  nowMs = 0
  usedPages = 0
  committedPages = 0

  constructor(promiseMs = PROMISE_MS) {
    this.promiseMs = promiseMs
  }

  /** Demand goes to `usedPages`, and is looked at `afterMs` later. `misfitPages`: so many clean pages more are taken. */
  to(usedPages: number, afterMs = 10, misfitPages = 0): this {
    const peakUsedPages = Math.max(this.usedPages, usedPages)
    this.nowMs += afterMs
    this.usedPages = usedPages
    this.committedPages = Math.max(this.committedPages, usedPages) + misfitPages
    this.look(peakUsedPages, true)
    return this
  }

  look(peakUsedPages: number, hasTraffic: boolean): void {
    const { usedPages, committedPages } = this
    const counts = { usedPages, peakUsedPages, dirtyPages: committedPages - usedPages }
    this.demand.observe(this.nowMs, counts, hasTraffic, this.promiseMs)
    this.demand.check()
  }

  /** `count` times up to so many pages and down again, one every `everyMs`. */
  waves(count: number, highPages: number, everyMs = 100, lowPages = 0): this {
    for (let i = 0; i < count; i++) this.to(highPages, everyMs - 10).to(lowPages, 10)
    return this
  }

  floor(sparePages = 0, afterMs = 0): number {
    return this.demand.floorPages(this.nowMs + afterMs, HOLD, sparePages)
  }
}

describe('standingShare', () => {
  it('is all of it up to the one moment, falls evenly, and is nothing from the other on', () => {
    const shares = [0, 499, 500, 525, 550, 575, 600, 601, 1e9].map(quietMs => standingShare(quietMs, HOLD))
    expect(shares).toEqual([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0])
  })
})

describe('the floor', () => {
  it('is none before there was any demand', () => {
    expect(new Demand().floorPages(0, HOLD, 1_000)).toBe(0)
  })

  it('is none after a single burst, however high and long', () => {
    const course = new Course().to(10_000)
    expect(course.floor()).toBe(0)
    course.to(10_000, 5_000).to(0)
    expect(course.floor()).toBe(0)
  })

  it('is none where demand only came down, or only goes up', () => {
    const down = new Course().to(1_000)
    for (let pages = 900; pages >= 0; pages -= 100) expect(down.to(pages).floor()).toBe(0)
    const up = new Course()
    for (let pages = 100; pages <= 1_000; pages += 100) expect(up.to(pages).floor()).toBe(0)
  })

  it('is what was reached twice within ten seconds', () => {
    const course = new Course().waves(1, 300)
    expect(course.floor()).toBe(0)
    expect(course.waves(1, 300).floor()).toBe(300)
  })

  it('is what is missing from the pages in use to that', () => {
    const course = new Course().waves(2, 300, 100, 50)
    expect(course.floor()).toBe(250)
    expect([course.to(200).floor(), course.to(300).floor()]).toEqual([100, 0])
    // Lower than the waves came down: they are no higher for that.
    expect(course.to(0).floor()).toBe(250)
  })

  it('is as high as demand came back, not as it stood before', () => {
    const course = new Course().to(1_000).to(100).to(300).to(100)
    expect(course.floor()).toBe(200)
  })

  it.each([
    [9_000, 300],
    [10_000, 300],
    [10_001, 0],
    [12_000, 0],
  ])('of waves %i ms apart is %i pages after two', (everyMs, expected) => {
    expect(new Course().waves(2, 300, everyMs).floor()).toBe(expected)
  })

  it.each([
    [20_000, 300],
    [30_000, 300],
    [30_001, 0],
  ])('of waves %i ms apart is %i pages after three', (everyMs, expected) => {
    const course = new Course().waves(2, 300, everyMs)
    expect(course.floor()).toBe(0)
    expect(course.waves(1, 300, everyMs).floor()).toBe(expected)
  })

  it('reaches back as many times as far as the promise is longer than ten seconds', () => {
    expect(new Course(20_000).waves(2, 300, 19_000).floor()).toBe(300)
    expect(new Course(20_000).waves(2, 300, 21_000).floor()).toBe(0)
    expect(new Course(20_000).waves(3, 300, 55_000).floor()).toBe(300)
    expect(new Course(9_000).waves(2, 300, 12_000).floor()).toBe(0)
  })

  it('is forgotten when what it came from is too long ago', () => {
    const course = new Course().waves(2, 300)
    course.to(0, 9_000)
    expect(course.floor()).toBe(300)
    course.to(0, 1_000)
    expect(course.floor()).toBe(0)
  })

  it('is no higher than demand has been, and whole pages, whatever demand does', () => {
    const step = fc.record({
      pages: fc.nat(1_000),
      afterMs: fc.integer({ min: 1, max: 20_000 }),
      misfitPages: fc.oneof(fc.constant(0), fc.nat(100)),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), steps => {
        const course = new Course()
        let highest = 0
        for (const { pages, afterMs, misfitPages } of steps) {
          course.to(pages, afterMs, misfitPages)
          highest = Math.max(highest, pages)
          const floor = course.floor(50)
          expect(Number.isInteger(floor)).toBe(true)
          expect(floor).toBeGreaterThanOrEqual(0)
          expect(floor).toBeLessThanOrEqual(highest - pages + highest / 4 + 50)
          expect(course.demand.calmPages(floor, 50, 0)).toBeGreaterThanOrEqual(floor)
        }
      }),
      RUNS,
    )
  })
})

describe('after the last traffic', () => {
  it('the floor stands, then falls, then is nothing', () => {
    const course = new Course().waves(2, 300)
    const floors = [0, 500, 550, 575, 600, 1e6].map(afterMs => course.floor(0, afterMs))
    expect(floors).toEqual([300, 300, 150, 75, 0, 0])
  })

  it('a look at it is no traffic', () => {
    const course = new Course().waves(2, 300)
    course.nowMs += 450
    course.look(0, false)
    expect(course.demand.quietMs(course.nowMs)).toBe(450)
    expect([course.floor(), course.floor(0, 100)]).toEqual([300, 150])
  })

  it('is since when nobody has called, and for ever where nobody did', () => {
    expect(new Demand().quietMs(5)).toBe(Number.POSITIVE_INFINITY)
    const course = new Course().to(10)
    expect(course.demand.quietMs(course.nowMs + 70)).toBe(70)
    expect(course.to(10, 30).demand.quietMs(course.nowMs)).toBe(0)
  })
})

describe('what does not fit', () => {
  /** Waves of which the last one took 40 clean pages beside dirty ones. */
  function misfitting(highPages = 300): Course {
    return new Course().waves(2, highPages).to(highPages, 90, 40).to(0)
  }

  it('comes on top, four times, within a quarter of what is expected to be in use and what is to spare', () => {
    const course = misfitting()
    // 160 of 40, but for what faded in 10 ms.
    expect(course.floor(1_000)).toBe(300 + 159)
    expect(course.floor(10)).toBe(300 + 75 + 10)
    expect(course.floor(0)).toBe(300 + 75)
  })

  it('counts what is in use already to what is expected to be', () => {
    const course = new Course().waves(2, 500, 100, 200).to(500, 90, 200).to(200)
    expect(course.floor()).toBe(300 + (200 + 300) / 4)
  })

  it('comes on top as often as the waves are high at most', () => {
    expect(misfitting(12).floor(1_000)).toBe(12 + 4 * 12)
  })

  it('is none where there are no waves', () => {
    const course = new Course().to(300, 10, 40).to(0)
    expect(course.floor(1_000)).toBe(0)
  })

  it('is not what was purged and had to come again', () => {
    const course = new Course().waves(2, 300)
    course.demand.purged(300)
    course.to(300).to(0)
    expect(course.floor(1_000)).toBe(300)
  })

  it('is told from what was purged by how much more is committed than demand needed', () => {
    const course = new Course().waves(2, 300)
    course.demand.purged(300)
    // 300 are committed as before, but for 100 in use: 200 were taken beside what would have done.
    course.to(100).to(0)
    expect(course.floor(1_000)).toBeGreaterThan(300 + 700)
  })
})

describe('calmPages', () => {
  it('are the floor where that is lower than what goes at once', () => {
    const { demand } = new Course().waves(2, 300)
    expect(demand.calmPages(255, 1_000, 256)).toBe(255)
  })

  it('are what traffic of that height may hold, from there on', () => {
    const { demand } = new Course().waves(2, 300)
    expect(demand.calmPages(256, 0, 256)).toBe(300 + 75)
    expect(demand.calmPages(256, 100, 256)).toBe(300 + 75 + 100)
  })

  it('are no fewer than the floor', () => {
    const { demand } = new Course().waves(2, 300)
    expect(demand.calmPages(5_000, 0, 256)).toBe(5_000)
  })
})
