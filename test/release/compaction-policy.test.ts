/** When compaction runs, under a simulated clock: each test runs a curve of memory over time, and checks when rounds began. */
import { describe, expect, it } from 'vitest'
import { CompactionPolicy, GAIN_AT_ONCE, GAIN_BY_TIMER } from '../../src/release/compaction-policy.js'
import { CompactionModel, MIB_PAGES, type ModelOptions } from '../support/compaction-model.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'

/** Timers of the event loop are as exact as this, and each may round up. */
const TIMER_MS = 1
/** Times are sums of fractions. */
const EPSILON_MS = 1e-6

/** Behind a peak: `usedMib` in use, of which so much lives. The last call is now. */
function peaked(d: number, usedMib: number, liveMib: number, options?: ModelOptions): CompactionModel {
  const model = new CompactionModel(d, options)
  model.alloc(usedMib * MIB_PAGES)
  model.free((usedMib - liveMib) * MIB_PAGES)
  return model
}

/** Checks that the promise is kept from the last call at `sinceMs` on. */
function expectKept(model: CompactionModel, sinceMs: number, promiseMs: number): void {
  const { usedPages, livePages, rounds } = model
  expect(usedPages).toBeLessThanOrEqual(1.2 * livePages + MIB_PAGES)
  for (const { beganMs } of rounds) expect(beganMs - sinceMs).toBeLessThanOrEqual(promiseMs)
}

describe('behind a peak, at rest', () => {
  it.each([10, 100, 1_000, 30_000, 600_000])(
    'begins within a promise of %i ms, and ends after the time of moving',
    d => {
      for (const [usedMib, liveMib] of [
        [64, 1],
        [128, 64],
        [400, 320],
        [3, 1],
      ]) {
        const model = peaked(d, usedMib, liveMib)
        const sinceMs = model.nowMs
        model.wait(0.9 * d + 4_000)
        expectKept(model, sinceMs, d)
        expect(model.rounds.length).toBe(1)
        const [round] = model.rounds
        // Slices of one millisecond, and pauses of one.
        expect(round.endedMs - round.beganMs).toBeLessThanOrEqual(2 * model.workMs + 3)
        expect(round.beganMs - sinceMs).toBeGreaterThanOrEqual(0.225 * d)
        expect(model.longestSliceMs).toBeLessThanOrEqual(1.05 + EPSILON_MS)
      }
    },
  )

  it('begins where more than 1.2 times the live bytes and 1 MiB are in use, and not below that', () => {
    for (const [usedMib, liveMib, count] of [
      [120, 99, 1],
      [120, 101, 0],
      [3, 1.9, 1],
      [3, 2.1, 0],
      [1, 0, 1],
      [0.99, 0, 0],
    ]) {
      const model = peaked(1_000, usedMib, liveMib)
      const sinceMs = model.nowMs
      model.wait(5_000)
      expect(model.rounds.length).toBe(count)
      expectKept(model, sinceMs, 1_000)
    }
  })

  it('leaves waste alone that is used again within 0.22 of the promise', () => {
    const model = new CompactionModel(1_000)
    model.alloc(64 * MIB_PAGES)
    for (let i = 0; i < 50; i++) {
      model.free(32 * MIB_PAGES)
      model.wait(220)
      model.alloc(32 * MIB_PAGES)
      model.wait(220)
    }
    expect(model.rounds).toEqual([])
  })

  it('keeps the promise whatever the phase of the looks', () => {
    for (let phase = 0; phase < 1; phase += 0.04) {
      const model = peaked(1_000, 64, 60)
      model.wait(1_000 * phase)
      model.free(40 * MIB_PAGES)
      const sinceMs = model.nowMs
      model.wait(3_000)
      expectKept(model, sinceMs, 1_000)
      expect(model.rounds.length).toBe(1)
    }
  })

  it('begins soon enough although timers are late', () => {
    const random = randomFrom(1)
    const model = peaked(1_000, 64, 4, { lateMs: () => random.below(30) })
    const sinceMs = model.nowMs
    model.wait(4_000)
    expectKept(model, sinceMs, 1_000)
  })

  it('has nothing due once the round was judged, twice the promise after it', () => {
    const model = peaked(1_000, 64, 4)
    model.wait(2_500)
    expect(model.hasTimer).toBe(true)
    model.wait(500)
    const { ticks } = model
    model.wait(1e9)
    expect(model.ticks).toBe(ticks)
    expect(model.hasTimer).toBe(false)
    expect(model.policy.delayMs()).toBe(-1)
  })

  it('has nothing due where nothing can come free, until something changes', () => {
    const model = new CompactionModel(1_000)
    model.alloc(64 * MIB_PAGES)
    model.stuckPages = 60 * MIB_PAGES
    model.free(60 * MIB_PAGES)
    model.wait(2_000)
    expect(model.rounds.length).toBe(1)
    expect(model.rounds[0].freedPages).toBe(0)
    expect(model.wastePages).toBe(60 * MIB_PAGES)
    model.wait(1e9)
    expect(model.rounds.length).toBe(1)
    expect(model.hasTimer).toBe(false)
    model.stuckPages = 0
    model.free(1)
    model.wait(2_000)
    expect(model.rounds.length).toBe(2)
    expect(model.usedPages).toBeLessThan(5 * MIB_PAGES)
  })
})

describe('a promise of 0', () => {
  it('begins once the event loop had a turn', () => {
    const model = peaked(0, 64, 1)
    const sinceMs = model.nowMs
    model.wait(2_000)
    expectKept(model, sinceMs, TIMER_MS)
    expect(model.hasTimer).toBe(false)
  })

  it('takes a percent of the time while calls follow each other closely', () => {
    const model = new CompactionModel(0)
    model.alloc(400 * MIB_PAGES)
    model.free(300 * MIB_PAGES)
    model.wait(20_000, 1, () => {
      model.alloc(1)
      model.free(1)
    })
    expect(model.workMs).toBeLessThanOrEqual(50 + 200 + 2)
    expect(model.workMs).toBeGreaterThan(150)
  })
})

describe('a promise of Infinity', () => {
  it('never looks', () => {
    const model = peaked(Number.POSITIVE_INFINITY, 64, 1)
    expect(model.hasTimer).toBe(false)
    expect(model.policy.delayMs()).toBe(-1)
    expect(model.policy.isTickNeeded(model.counts)).toBe(false)
    model.policy.observe(model.counts)
    expect(model.policy.isStartDue).toBe(false)
    expect(model.policy.delayMs()).toBe(-1)
    model.check()
  })
})

describe('with traffic', () => {
  /** Records come and go every `everyMs`: as many as live, give or take. */
  function churn(model: CompactionModel, ms: number, everyMs: number, pages = 4): void {
    model.wait(ms, everyMs, () => {
      model.free(pages)
      model.alloc(pages)
    })
  }

  it('never begins at a waste of 10 percent', () => {
    const model = peaked(1_000, 100, 90)
    churn(model, 600_000, 7)
    model.wait(60_000)
    expect(model.rounds).toEqual([])
    expect(model.hasTimer).toBe(false)
  })

  it('begins at a fifth of waste, and at a sixth once it has stopped', () => {
    for (const [liveMib, begins] of [
      [79, true],
      [81, false],
    ] as const) {
      const model = peaked(1_000, 100, liveMib)
      churn(model, 10_000, 7)
      expect(model.rounds.length).toBe(begins ? 1 : 0)
      const sinceMs = model.nowMs
      model.wait(3_000)
      expect(model.rounds.length).toBe(1)
      expectKept(model, sinceMs, 1_000)
    }
  })

  it('takes one percent of the time, but for the 50 ms that were saved', () => {
    const model = peaked(1_000, 1_000, 500)
    churn(model, 60_000, 5)
    expect(model.rounds.length).toBe(1)
    expect(model.workMs).toBeLessThanOrEqual(50 + 600 + 2)
    expect(model.workMs).toBeGreaterThan(550)
    expect(model.policy.isCompacting).toBe(true)
  })

  it('takes what it needs once traffic has stopped', () => {
    const model = peaked(1_000, 1_000, 500)
    churn(model, 10_000, 5)
    expect(model.policy.isCompacting).toBe(true)
    const sinceMs = model.nowMs
    const beforeMs = model.workMs
    model.wait(6_000)
    expect(model.rounds.length).toBe(1)
    expectKept(model, sinceMs, 1_000)
    const tookMs = model.workMs - beforeMs
    expect(model.rounds[0].endedMs - sinceMs).toBeLessThanOrEqual(1_000 + 2 * tookMs + 3)
    // Work at rest is not charged: the account is full again when the next traffic comes.
    expect(tookMs).toBeGreaterThan(500)
    churn(model, 5_000, 5)
    model.free(300 * MIB_PAGES)
    const endMs = model.workMs
    churn(model, 2_000, 5)
    expect(model.workMs - endMs).toBeGreaterThan(50)
    expect(model.workMs - endMs).toBeLessThanOrEqual(50 + 20 + 2)
  })

  it('never begins while the pages in use grow', () => {
    const model = peaked(1_000, 64, 16)
    model.wait(20_000, 50, () => {
      model.usedPages = Math.ceil(1.006 * model.usedPages)
      model.calls++
    })
    expect(model.rounds).toEqual([])
    const sinceMs = model.nowMs
    model.wait(60_000)
    expectKept(model, sinceMs, 1_000)
    expect(model.rounds.length).toBe(1)
  })

  it('begins although they grow by less than a percent from look to look', () => {
    const model = peaked(1_000, 64, 16)
    model.wait(5_000, 50, () => {
      model.usedPages++
      model.calls++
    })
    expect(model.rounds.length).toBeGreaterThan(0)
  })

  it('leaves what the demand floor wants, and takes that once traffic has stopped', () => {
    const model = peaked(1_000, 100, 40)
    model.warmPages = 45 * MIB_PAGES
    churn(model, 20_000, 20)
    expect(model.rounds).toEqual([])
    const sinceMs = model.nowMs
    // The floor stays what it was: nobody looks at it while no page is dirty.
    model.wait(10_000)
    expectKept(model, sinceMs, 1_000)
    expect(model.rounds.length).toBe(1)
    expect(model.rounds[0].beganMs - sinceMs).toBeGreaterThan(600)
  })

  it('looks again as long as waste is more than a twentieth', () => {
    const model = peaked(1_000, 100, 50, { tightness: 1.08 })
    model.wait(3_000)
    const surveysMs = (100 + 54) * MIB_PAGES * 0.0005
    expect(model.workMs).toBeGreaterThan(46 * MIB_PAGES * 0.01 + surveysMs - 1)
  })

  it('ends a round once waste is below a twentieth', () => {
    const model = peaked(1_000, 100, 50, { tightness: 1.04 })
    model.wait(3_000)
    expect(model.rounds.length).toBe(1)
    expect(model.wastePages).toBeLessThan(0.05 * model.usedPages)
    // One survey and one pass; a second survey would have been 26 ms more of work for each 100 MiB.
    expect(model.workMs).toBeLessThan(48 * MIB_PAGES * 0.01 + 1.05 * 100 * MIB_PAGES * 0.0005 + 1)
  })
})

describe('rounds in vain', () => {
  /** A load that falls to a quarter for `lowMs`, and has its whole memory again at once. */
  function sawTooth(model: CompactionModel, count: number, lowMs: number): void {
    for (let i = 0; i < count; i++) {
      model.free(48 * MIB_PAGES)
      model.wait(lowMs, 10, () => {
        model.free(1)
        model.alloc(1)
      })
      model.alloc(48 * MIB_PAGES)
      model.wait(lowMs, 10, () => {
        model.free(1)
        model.alloc(1)
      })
    }
  }

  function loaded(d: number): CompactionModel {
    const model = new CompactionModel(d)
    model.alloc(64 * MIB_PAGES)
    return model
  }

  it.each([100, 1_000])(
    'double the wait up to 30 s under a load that refills at once, and good ones bring it back (D = %i ms)',
    d => {
      const model = loaded(d)
      const { policy, rounds } = model
      const promises: number[] = []
      for (let ms = 0; ms < 200_000; ms += 2 * d) {
        sawTooth(model, 1, d)
        if (policy.promiseMs !== promises.at(-1)) promises.push(policy.promiseMs)
      }
      // Each is twice the one before it, but the first and the last.
      expect(promises[0]).toBe(d)
      for (const [i, promiseMs] of promises.slice(1, -1).entries()) expect(promiseMs).toBe(2 ** (i + 1) * d)
      expect(promises.at(-1)).toBe(30_000)
      for (const [i, { beganMs }] of rounds.slice(-2).entries()) {
        expect(beganMs - rounds[rounds.length - 3 + i].endedMs).toBeGreaterThanOrEqual(30_000 - EPSILON_MS)
      }
      // The load is gone: what it left is compacted within the promise in force.
      model.free(48 * MIB_PAGES)
      const sinceMs = model.nowMs
      model.wait(60_000)
      expect(model.usedPages).toBeLessThan(17 * MIB_PAGES)
      expect(rounds[rounds.length - 1].beganMs - sinceMs).toBeLessThanOrEqual(30_000)
      expect(policy.promiseMs).toBe(15_000)
      // Peaks that are followed by a rest.
      for (let i = 0; i < 12; i++) {
        model.alloc(48 * MIB_PAGES)
        model.wait(d)
        model.free(48 * MIB_PAGES)
        model.wait(30_000)
      }
      expect(policy.promiseMs).toBe(d)
    },
  )

  it('keep the wait short where memory is wanted again much later', () => {
    const model = loaded(1_000)
    for (let i = 0; i < 20; i++) {
      model.free(48 * MIB_PAGES)
      model.wait(5_000)
      model.alloc(48 * MIB_PAGES)
      model.wait(5_000)
    }
    expect(model.rounds.length).toBe(20)
    expect(model.policy.promiseMs).toBe(1_000)
  })

  it('are those that free less than a quarter of what the survey promised', () => {
    /** 32 MiB are promised each time, of which so many come free. */
    const promiseAfter = (freedMib: number): number => {
      const model = loaded(1_000)
      model.livePages = 32 * MIB_PAGES - 252
      model.hiddenPages = MIB_PAGES * (32 - freedMib)
      model.stuckPages = model.hiddenPages
      for (let i = 0; i < 8; i++) {
        model.usedPages = 64 * MIB_PAGES
        model.free(0)
        model.wait(40_000)
      }
      expect(model.rounds.length).toBe(8)
      return model.policy.promiseMs
    }
    expect(promiseAfter(0)).toBe(30_000)
    expect(promiseAfter(7)).toBe(30_000)
    expect(promiseAfter(9)).toBe(1_000)
  })

  it('are those whose survey promises nothing worth it', () => {
    const model = loaded(1_000)
    model.stuckPages = 47.5 * MIB_PAGES
    model.free(48 * MIB_PAGES)
    for (const promiseMs of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      model.wait(40_000)
      expect(model.policy.promiseMs).toBe(promiseMs)
      model.free(0)
    }
    expect(model.usedPages).toBe(64 * MIB_PAGES)
    // Nothing begins before the wait is over, and nobody looks for that every 100 ms.
    model.wait(5_000)
    model.free(0)
    const { ticks } = model
    model.wait(20_000)
    expect(model.hasTimer).toBe(true)
    expect(model.ticks - ticks).toBeLessThanOrEqual(2)
  })

  it('are judged by what happens within twice the promise, however long the wait', () => {
    const model = loaded(1_000)
    model.stuckPages = 47.5 * MIB_PAGES
    model.free(48 * MIB_PAGES)
    for (let i = 0; i < 4; i++) {
      model.wait(40_000)
      model.free(0)
    }
    expect(model.policy.promiseMs).toBe(8_000)
    model.stuckPages = 0
    model.wait(5_000)
    expect(model.usedPages).toBeLessThan(17 * MIB_PAGES)
    model.alloc(48 * MIB_PAGES)
    model.wait(40_000)
    expect(model.policy.promiseMs).toBe(4_000)
  })

  it('are judged when the next one begins', () => {
    const model = loaded(1_000)
    model.free(32 * MIB_PAGES)
    model.wait(360)
    model.policy.failed()
    // A second of wait, then as much as before, then half a second.
    for (const waitMs of [1_000, 1_000, 500]) {
      const { nowMs, rounds } = model
      const { length } = rounds
      while (rounds.length === length) model.wait(1)
      expect(rounds[length].beganMs - nowMs).toBeGreaterThanOrEqual(waitMs - 1)
      expect(rounds[length].beganMs - nowMs).toBeLessThanOrEqual(waitMs + 2)
      while (model.policy.isCompacting) model.wait(1)
      model.free(Math.floor(model.livePages / 2))
    }
  })
})

describe('a round', () => {
  it('ends where traffic takes what it frees', () => {
    const model = new CompactionModel(1_000)
    model.alloc(400 * MIB_PAGES)
    model.free(300 * MIB_PAGES)
    // 20 pages a millisecond of work come free, one millisecond in a hundred; as many are used again.
    model.wait(60_000, 10, () => {
      model.calls++
      if (model.policy.isCompacting) model.usedPages = Math.min(400 * MIB_PAGES, model.usedPages + 200)
    })
    expect(model.rounds.length).toBeGreaterThan(0)
    for (const { endedMs } of model.rounds.slice(0, -1)) expect(endedMs).toBeGreaterThan(0)
    expect(model.policy.promiseMs).toBeGreaterThan(1_000)
  })

  it('that fails doubles the wait, after which another one begins', () => {
    const model = peaked(1_000, 64, 4)
    const { policy } = model
    model.wait(360)
    expect(policy.isCompacting).toBe(true)
    policy.failed()
    expect(policy.isCompacting).toBe(false)
    expect(policy.isTickNeeded(model.counts)).toBe(true)
    model.check()
    const failedMs = model.nowMs
    model.wait(3_000)
    expect(model.rounds.length).toBe(2)
    expect(model.rounds[1].beganMs - failedMs).toBeGreaterThanOrEqual(1_000 - EPSILON_MS)
    expect(model.rounds[1].beganMs - failedMs).toBeLessThanOrEqual(1_000 + TIMER_MS)
    expect(model.usedPages).toBeLessThan(5 * MIB_PAGES)
    expect(policy.promiseMs).toBe(1_000)
  })

  it('is not needed where all was compacted at once', () => {
    const model = peaked(1_000, 64, 4)
    model.wait(360)
    model.free(1)
    model.usedPages = 40 * MIB_PAGES
    model.policy.compacted(model.counts)
    expect(model.policy.delayMs()).toBe(-1)
    expect(model.policy.isCompacting).toBe(false)
    expect(model.policy.isTickNeeded(model.counts)).toBe(false)
    model.wait(1e6)
    expect(model.rounds.length).toBe(1)
    expect(model.hasTimer).toBe(false)
    model.free(1)
    expect(model.policy.isTickNeeded(model.counts)).toBe(true)
  })
})

describe('slices', () => {
  /** A policy with a clock that is set by hand, with a round under way. */
  function begun() {
    const clock = { ms: 10_000 }
    const policy = new CompactionPolicy(1_000, () => clock.ms, 4096)
    const counts = { calls: 1, usedPages: 10_000, liveGranules: 1_000 * 256, warmPages: 0 }
    const observe = (calls: number) => policy.observe({ ...counts, calls })
    observe(1)
    clock.ms += 300
    observe(1)
    expect(policy.isStartDue).toBe(true)
    policy.begin()
    return { clock, policy, counts, observe }
  }

  it('begin and go on while the turn of the event loop has time', () => {
    const { clock, policy } = begun()
    const turnStartMs = clock.ms
    expect(policy.mayWork(turnStartMs)).toBe(true)
    clock.ms += 0.99
    expect(policy.mayWork(turnStartMs)).toBe(true)
    expect(policy.hasTime(turnStartMs)).toBe(true)
    clock.ms += 0.01
    expect(policy.mayWork(turnStartMs)).toBe(false)
    expect(policy.hasTime(turnStartMs)).toBe(false)
  })

  it('are followed by a pause as long as they were, of one or two milliseconds', () => {
    const { policy, counts } = begun()
    for (const [tookMs, pauseMs] of [
      [0.1, 1],
      [1.06, 1],
      [2.3, 2],
      [50, 2],
    ]) {
      policy.sliced(tookMs, counts)
      expect(policy.delayMs()).toBe(pauseMs)
    }
  })

  it('wait for the budget while there is traffic, and so does a start', () => {
    const { clock, policy, counts, observe } = begun()
    for (let i = 0; i < 40; i++) {
      observe(i + 2)
      policy.sliced(2, counts)
    }
    expect(policy.mayWork(clock.ms)).toBe(false)
    // The budget would take longer than traffic lasts if there are no more calls.
    expect(policy.delayMs()).toBeCloseTo(225, 9)
    policy.failed()
    const starts: number[] = []
    for (let ms = 0; ms < 5_000; ms += 100) {
      clock.ms += 100
      observe(100 + ms)
      if (policy.isStartDue) starts.push(ms + 100)
    }
    // 30 ms are owed, and one is needed.
    expect(starts[0]).toBe(3_100)
  })

  it('see in each pass what happened before it', () => {
    const { clock, policy, counts } = begun()
    const later = { ...counts, calls: 2 }
    policy.sliced(1, counts)
    expect(policy.surveyed(5_000)).toBe(true)
    policy.observe(later)
    policy.sliced(1, { ...later, usedPages: 6_000 })
    expect(policy.passed()).toBe(true)
    policy.sliced(1, { ...later, usedPages: 6_000 })
    expect(policy.surveyed(10)).toBe(false)
    expect(policy.isCompacting).toBe(false)
    expect(policy.isTickNeeded({ ...later, usedPages: 6_000 })).toBe(false)
    expect(policy.isTickNeeded({ ...later, usedPages: 6_000, calls: 3 })).toBe(true)
    clock.ms += 1
    policy.check()
  })
})

describe('any load', () => {
  const seed = fuzzSeed()

  /** A load of phases: growth, falls, churn and rests, over promises of all lengths. Throws where a rule is broken. */
  function play(run: number): void {
    const random = randomFrom(seed + run)
    const d = random.pick([0, 1, 10, 100, 1_000, 5_000, 30_000, 120_000])
    const late = random.pick([0, 1, 20])
    const model = new CompactionModel(d, {
      tightness: 1 + random.below(15) / 100,
      lateMs: () => random.below(late + 1) * Math.min(1, d / 1_000),
    })
    const traffic = (): void => {
      const pages = random.below(random.pick([4, 400]))
      if (random.oneIn(2)) model.alloc(pages)
      else {
        const freed = Math.min(pages, model.livePages)
        model.free(
          freed,
          Math.min(random.below(freed + 1), Math.max(0, model.usedPages - Math.ceil(model.livePages))),
        )
      }
    }
    for (let phase = 0; phase < 30; phase++) {
      if (random.oneIn(3)) model.alloc(random.below(100 * MIB_PAGES))
      if (random.oneIn(3)) model.free(random.below(Math.floor(model.livePages) + 1))
      model.stuckPages = random.oneIn(4) ? random.below(16 * MIB_PAGES) : 0
      model.hiddenPages = random.oneIn(2) ? model.stuckPages : 0
      model.warmPages = random.oneIn(2) ? random.below(model.usedPages + 1) : 0
      if (random.oneIn(20)) model.policy.compacted(model.counts)
      if (random.oneIn(20) && model.policy.isCompacting) model.policy.failed()
      const ms = random.below(random.pick([20, 2_000, 20_000]))
      if (random.oneIn(3)) model.wait(ms)
      else model.wait(ms, Math.max(1, ms / 200), traffic)
    }
    // Then the calls stop.
    model.stuckPages = 0
    model.free(0)
    const sinceMs = model.nowMs
    const { isCompacting } = model.policy
    model.longestPromiseMs = 0
    const beforeMs = model.workMs
    model.wait(4 * Math.max(d, 60_000) + 4 * d)
    expect(model.hasTimer).toBe(false)
    expect(model.usedPages).toBeLessThanOrEqual(1.2 * model.livePages + MIB_PAGES)
    const last = model.rounds.at(-1)
    if (last === undefined || last.beganMs <= sinceMs || isCompacting) return
    const movingMs = 2 * (model.workMs - beforeMs) + 3
    const lateMs = late * Math.min(1, d / 1_000) * (movingMs + 8) + 8 * TIMER_MS
    const promiseMs = model.longestPromiseMs
    expect(last.endedMs - sinceMs).toBeLessThanOrEqual(promiseMs + movingMs + lateMs)
  }

  it(`keeps the promise, and every rule (${variablesOf(seed)})`, () => {
    for (let run = 0; run < stepsOf(300); run++) {
      try {
        play(run)
      } catch (error) {
        throw new Error(`run ${run} of ${variablesOf(seed)}`, { cause: error })
      }
    }
  })
})

describe('GAIN', () => {
  it('is 0.3 by timer, and less where memory is wanted now', () => {
    expect(GAIN_BY_TIMER).toBe(0.3)
    expect(GAIN_AT_ONCE).toBe(0.15)
  })
})
