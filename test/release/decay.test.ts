import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Decay, keptShare } from '../../src/release/decay.js'
import { fuzzSeed } from '../support/random.js'

const RUNS = { numRuns: 100, seed: fuzzSeed() | 0 }
/** An interval is 0.45 of the promise, and has eight steps. */
const PROMISE_MS = 1_000
const INTERVAL_MS = 450
const STEP_MS = INTERVAL_MS / 8

function decayOf(cohortPages: number, markedMs = 0, promiseMs = PROMISE_MS): Decay {
  const decay = new Decay()
  decay.mark(markedMs, cohortPages, promiseMs)
  decay.check()
  return decay
}

describe('keptShare', () => {
  it('is all of a cohort for four steps, then less by a quarter each, and nothing after eight', () => {
    const shares = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1_000].map(keptShare)
    expect(shares).toEqual([1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0])
  })
})

describe('keptPages', () => {
  it('is the whole cohort for half an interval, then less at each step', () => {
    const decay = decayOf(800)
    const kept = (steps: number) => decay.keptPages(steps * STEP_MS)
    expect([kept(0), kept(3), kept(4), kept(4.99)]).toEqual([800, 800, 800, 800])
    expect([kept(5), kept(5.99), kept(6), kept(7), kept(7.99)]).toEqual([600, 600, 400, 200, 200])
    expect([kept(8), kept(100)]).toEqual([0, 0])
  })

  it('keeps no page more than the share of a cohort that is no multiple of four', () => {
    const decay = decayOf(7)
    expect([5, 6, 7].map(steps => decay.keptPages(steps * STEP_MS))).toEqual([5, 3, 1])
  })

  it('counts from the last mark, and for the cohort of that', () => {
    const decay = decayOf(800)
    decay.mark(INTERVAL_MS, 100, PROMISE_MS)
    expect(decay.keptPages(INTERVAL_MS + 4 * STEP_MS)).toBe(100)
    expect(decay.keptPages(INTERVAL_MS + 6 * STEP_MS)).toBe(50)
  })

  it('knows a step that is due but for a rounding of the clock', () => {
    // Sums of fractions: by a plain quotient one of these comes a step late.
    for (const promiseMs of [7, 20, 333, 1_000, 12_345.678]) {
      const decay = decayOf(800, 0.1, promiseMs)
      let nowMs = 0.1
      const kept = Array.from({ length: 8 }, () => {
        nowMs += decay.stepMs
        return decay.keptPages(nowMs)
      })
      expect(kept).toEqual([800, 800, 800, 800, 600, 400, 200, 0])
      expect(decay.isMarkDue(nowMs)).toBe(true)
    }
  })

  it('never rises, is all before half an interval and nothing from its end on, whatever the promise', () => {
    const times = fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 2, maxLength: 30 })
    fc.assert(
      fc.property(
        fc.nat(2 ** 23),
        fc.integer({ min: 1, max: 10 ** 7 }),
        fc.nat(10 ** 9),
        times,
        (cohort, promiseMs, markedMs, intervals) => {
          const decay = decayOf(cohort, markedMs, promiseMs)
          let last = cohort
          for (const interval of intervals.toSorted((a, b) => a - b)) {
            const nowMs = markedMs + interval * decay.intervalMs
            const kept = decay.keptPages(nowMs)
            expect(kept).toBeLessThanOrEqual(last)
            if (interval < 0.6) expect(kept).toBe(cohort)
            // But for the rounding of the clock.
            if (interval > 1.001) expect(kept).toBe(0)
            if (Math.abs(interval - 1) > 0.001) expect(decay.isMarkDue(nowMs)).toBe(interval > 1)
            last = kept
          }
        },
      ),
      RUNS,
    )
  })
})

describe('a mark', () => {
  it('is due after eight steps, and not before', () => {
    const decay = decayOf(800, 50)
    expect(decay.intervalMs).toBeCloseTo(INTERVAL_MS)
    expect(decay.stepMs).toBeCloseTo(STEP_MS)
    expect([decay.isMarkDue(50), decay.isMarkDue(50 + INTERVAL_MS - 1)]).toEqual([false, false])
    expect([decay.isMarkDue(50 + INTERVAL_MS), decay.isMarkDue(1e9)]).toEqual([true, true])
  })

  it('takes another promise into force, for its own interval', () => {
    const decay = decayOf(800)
    decay.mark(INTERVAL_MS, 800, 2 * PROMISE_MS)
    expect(decay.intervalMs).toBeCloseTo(2 * INTERVAL_MS)
    expect(decay.isMarkDue(2 * INTERVAL_MS)).toBe(false)
    expect(decay.keptPages(INTERVAL_MS + 8 * STEP_MS)).toBe(800)
    expect(decay.isMarkDue(3 * INTERVAL_MS)).toBe(true)
  })

  it('leaves nothing of what came free right after the one before it when the promise ends', () => {
    // Marked an interval after it came free, gone another one later, each heard of a step late at most.
    const decay = decayOf(0)
    const freedMs = 0
    const markedMs = freedMs + decay.intervalMs
    decay.mark(markedMs, 500, PROMISE_MS)
    const goneMs = markedMs + decay.intervalMs + decay.stepMs
    expect(decay.keptPages(goneMs)).toBe(0)
    expect(goneMs).toBeLessThan(PROMISE_MS)
  })
})
