import { describe, expect, it } from 'vitest'
import { HighWater } from '../../src/release/high-water.js'
import { randomFrom } from '../support/random.js'

describe('the most within a span', () => {
  it('is a peak until the span has passed, then the next lower one', () => {
    const water = new HighWater()
    water.record(0, 100, 1_000)
    water.record(500, 60, 1_000)
    expect(water.most(1_000, 1_000)).toBe(100)
    expect(water.most(1_001, 1_000)).toBe(60)
    expect(water.most(1_501, 1_000)).toBe(0)
  })

  it('is never one from before the span, and misses none but what is older than 7/8 of it', () => {
    const random = randomFrom(7)
    const water = new HighWater()
    const recorded: { ms: number; pages: number }[] = []
    let ms = 0
    for (let i = 0; i < 5_000; i++) {
      ms += random.below(30)
      const pages = random.below(1_000)
      water.record(ms, pages, 1_000)
      recorded.push({ ms, pages })
      const mostSince = (since: number) =>
        Math.max(...recorded.filter(peak => peak.ms >= since).map(peak => peak.pages))
      while (recorded[0].ms < ms - 1_000) recorded.shift()
      const most = water.most(ms, 1_000)
      expect(most).toBeLessThanOrEqual(mostSince(ms - 1_000))
      expect(most).toBeGreaterThanOrEqual(mostSince(ms - 1_000 * (7 / 8)))
      water.check()
    }
  })

  it('is the most ever where the span has no end, and what was recorded now where it is nothing', () => {
    const water = new HighWater()
    for (const [ms, pages] of [
      [0, 5],
      [10, 9],
      [99, 2],
    ])
      water.record(ms, pages, Number.POSITIVE_INFINITY)
    expect(water.most(1e9, Number.POSITIVE_INFINITY)).toBe(9)
    const brief = new HighWater()
    brief.record(5, 7, 0)
    expect([brief.most(5, 0), brief.most(6, 0)]).toEqual([7, 0])
  })
})
