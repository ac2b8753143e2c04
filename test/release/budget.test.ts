import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Budget } from '../../src/release/budget.js'
import { fuzzSeed } from '../support/random.js'

const RUNS = { numRuns: 50, seed: fuzzSeed() | 0 }
/** What five seconds of traffic allow. */
const MAX_SAVED_MS = 50
const FIRST_GUESS_MS = 0.001

/** Spends all that is saved, at the cost of a page that is expected anyway. */
function exhausted(atMs = 0): Budget {
  const budget = new Budget()
  for (let left = MAX_SAVED_MS; left > 0; left -= 2) budget.spend(atMs, 2 / FIRST_GUESS_MS, 2)
  budget.check()
  return budget
}

describe('affordablePages', () => {
  it('begins with five seconds of saving, by a guess of what a page costs', () => {
    expect(new Budget().affordablePages(0)).toBe(MAX_SAVED_MS / FIRST_GUESS_MS)
  })

  it('grows by one percent of the time that passes', () => {
    const budget = exhausted()
    expect(budget.affordablePages(0)).toBe(0)
    expect(budget.affordablePages(100)).toBe(1_000)
    expect(budget.affordablePages(250)).toBe(2_500)
    expect(budget.affordablePages(250)).toBe(2_500)
  })

  it('is never more than five seconds are worth, however long nothing is purged', () => {
    const budget = exhausted()
    expect(budget.affordablePages(4_900)).toBe(49_000)
    expect(budget.affordablePages(5_000)).toBe(50_000)
    expect(budget.affordablePages(1e9)).toBe(50_000)
    budget.check()
  })

  it('counts whole pages, and none while more was spent than saved', () => {
    const budget = exhausted(10)
    budget.spend(10, 1_000, 1)
    expect(budget.affordablePages(10)).toBe(0)
    expect(budget.affordablePages(109.99)).toBe(0)
    expect(budget.affordablePages(110.14)).toBe(1)
  })

  it('follows what a page is measured to cost', () => {
    const [cheap, dear] = [new Budget(), new Budget()]
    for (let i = 0; i < 20; i++) {
      cheap.spend(0, 4_000, 1)
      dear.spend(0, 100, 1)
    }
    expect(cheap.affordablePages(0)).toBeGreaterThan(30_000)
    expect(dear.affordablePages(0)).toBeLessThan(30_000)
  })
})

describe('affordableInMs', () => {
  it('is none while so much is saved', () => {
    const budget = new Budget()
    expect(budget.affordableInMs(0, MAX_SAVED_MS)).toBe(0)
    budget.spend(0, 0, 2)
    expect(budget.affordableInMs(0, MAX_SAVED_MS - 2)).toBe(0)
  })

  it('is a hundred times what is missing', () => {
    const budget = exhausted()
    expect(budget.affordableInMs(0, 1)).toBeCloseTo(100, 9)
    expect(budget.affordableInMs(30, 1)).toBeCloseTo(70, 9)
    budget.spend(30, 0, 2)
    expect(budget.affordableInMs(30, 1)).toBeCloseTo(270, 9)
    expect(budget.affordableInMs(300.001, 1)).toBe(0)
    budget.check()
  })
})

describe('spend', () => {
  it('takes off what purging took', () => {
    const budget = new Budget()
    budget.spend(0, 1_500, 1.5)
    expect(budget.affordablePages(0)).toBe(48_500)
  })

  it('takes off the time of a slice in which no page went, and measures nothing', () => {
    const budget = new Budget()
    budget.spend(0, 0, 1.5)
    expect(budget.msPerPage).toBe(FIRST_GUESS_MS)
    expect(budget.affordablePages(0)).toBe(48_500)
  })

  it('saves first, so that what was saved until then is not beyond the bound', () => {
    const budget = new Budget()
    budget.spend(1e6, 2_000, 2)
    expect(budget.affordablePages(1e6)).toBe(48_000)
    budget.check()
  })

  it('takes no slice for longer than two milliseconds: another process had the CPU', () => {
    const budget = new Budget()
    budget.spend(0, 2_000, 1_000)
    expect(budget.msPerPage).toBeCloseTo(FIRST_GUESS_MS, 12)
    expect(budget.affordablePages(0)).toBe(48_000)
  })
})

describe('msPerPage', () => {
  it('moves an eighth of the way to what a slice measured', () => {
    const budget = new Budget()
    budget.spend(0, 1_000, 0.2)
    expect(budget.msPerPage).toBeCloseTo(0.001 + (0.0002 - 0.001) / 8, 12)
    const before = budget.msPerPage
    budget.spend(0, 1_000, 2)
    expect(budget.msPerPage).toBeCloseTo(before + (0.002 - before) / 8, 12)
  })

  it('takes no slice for more than four times as dear as the mean', () => {
    const budget = new Budget()
    budget.spend(0, 1, 1)
    expect(budget.msPerPage).toBeCloseTo(0.001 + (0.004 - 0.001) / 8, 12)
  })

  it('stays as it is where the clock stood still', () => {
    const budget = new Budget()
    budget.spend(0, 100, 0)
    expect(budget.msPerPage).toBe(FIRST_GUESS_MS)
    expect(budget.affordablePages(0)).toBe(50_000)
  })

  it('comes to what every slice measures, from either side', () => {
    for (const cost of [0.00024, 0.0022, 0.02]) {
      const budget = new Budget()
      for (let i = 0; i < 200; i++) budget.spend(i, 1 / cost, 1)
      expect(budget.msPerPage / cost).toBeCloseTo(1, 5)
    }
  })
})

describe('whoever purges what is affordable', () => {
  it('takes one percent of the time, but for what was saved before and the last slice', () => {
    const slices = fc.array(
      fc.record({
        waitMs: fc.integer({ min: 0, max: 400 }),
        /** Of what the mean says: pages lie together, or apart. */
        times: fc.double({ min: 0.05, max: 20, noNaN: true }),
      }),
      { minLength: 1, maxLength: 200, size: 'max' },
    )
    fc.assert(
      fc.property(slices, run => {
        const budget = new Budget()
        let nowMs = 0
        let spentMs = 0
        for (const { waitMs, times } of run) {
          nowMs += waitMs
          const pages = Math.min(1_000, budget.affordablePages(nowMs))
          if (pages === 0) continue
          const tookMs = Math.min(2, pages * budget.msPerPage * times)
          nowMs += tookMs
          spentMs += tookMs
          budget.spend(nowMs, pages, tookMs)
          budget.check()
          expect(budget.msPerPage).toBeGreaterThan(0)
          expect(spentMs).toBeLessThanOrEqual(MAX_SAVED_MS + nowMs / 100 + 2)
        }
      }),
      RUNS,
    )
  })
})
