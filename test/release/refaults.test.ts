import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Refaults } from '../../src/release/refaults.js'
import { fuzzSeed } from '../support/random.js'

const RUNS = { numRuns: 100, seed: fuzzSeed() | 0 }
const ASKED_MS = 1_000
const WINDOW_MS = 2 * ASKED_MS

interface Round {
  readonly purged: number
  readonly refaulted: number
  /** From the purge to the look that finds the refaults. */
  readonly afterMs?: number
}

/** Rounds of purging by decay, each followed by refaults; returns the time of the last look. */
function play(refaults: Refaults, rounds: Round[], fromMs = 0): number {
  let nowMs = fromMs
  for (const { purged, refaulted, afterMs = 50 } of rounds) {
    nowMs += 50
    refaults.purged(nowMs, purged)
    nowMs += afterMs
    refaults.refaulted(nowMs, refaulted)
    refaults.check()
  }
  return nowMs
}

function promiseAfter(...rounds: Round[]): number {
  const refaults = new Refaults(ASKED_MS)
  play(refaults, rounds)
  return refaults.promiseMs
}

/** Two rounds in which all comes back: the promise is doubled. */
const IN_VAIN: Round[] = [
  { purged: 1_000, refaulted: 1_000 },
  { purged: 1_000, refaulted: 1_000 },
]

describe('the promise', () => {
  it('is what was asked for, and stays so while nothing comes back', () => {
    const refaults = new Refaults(ASKED_MS)
    expect(refaults.promiseMs).toBe(ASKED_MS)
    play(
      refaults,
      Array.from({ length: 50 }, () => ({ purged: 5_000, refaulted: 0 })),
    )
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })

  it('doubles where pages come back after two rounds of purging', () => {
    expect(promiseAfter(...IN_VAIN)).toBe(2 * ASKED_MS)
  })

  it('stays after a single round, however many come back, and however often they are looked at', () => {
    const refaults = new Refaults(ASKED_MS)
    refaults.purged(0, 10_000)
    for (let ms = 10; ms < 1_000; ms += 10) refaults.refaulted(ms, 100)
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })

  it('stays where fewer than 256 pages come back', () => {
    const round = (refaulted: number) => ({ purged: 200, refaulted })
    expect(promiseAfter(round(127), round(128))).toBe(ASKED_MS)
    expect(promiseAfter(round(128), round(128))).toBe(2 * ASKED_MS)
  })

  it('stays where no more than a quarter comes back', () => {
    const round = (refaulted: number) => ({ purged: 2_000, refaulted })
    expect(promiseAfter(round(500), round(500))).toBe(ASKED_MS)
    expect(promiseAfter(round(500), round(501))).toBe(2 * ASKED_MS)
  })

  it('counts no refault of a page that was not purged by it', () => {
    const round = { purged: 120, refaulted: 100_000 }
    expect(promiseAfter(round, round)).toBe(ASKED_MS)
    expect(promiseAfter({ purged: 0, refaulted: 5_000 }, { purged: 0, refaulted: 5_000 })).toBe(ASKED_MS)
  })

  it('counts each purged page once', () => {
    const refaults = new Refaults(ASKED_MS)
    play(refaults, [{ purged: 200, refaulted: 200 }])
    // Nothing is left of the first round; of the second one, 50.
    const nowMs = play(refaults, [{ purged: 50, refaulted: 200 }], 100)
    expect(refaults.promiseMs).toBe(ASKED_MS)
    play(refaults, [{ purged: 6, refaulted: 6 }], nowMs)
    expect(refaults.promiseMs).toBe(2 * ASKED_MS)
  })

  it('counts refaults within twice the promise after the purge, and no later ones', () => {
    const round = (afterMs: number) => ({ purged: 1_000, refaulted: 1_000, afterMs })
    const of = (afterMs: number) => {
      const refaults = new Refaults(ASKED_MS)
      // Much is purged before, so that nothing but the age of the last purge is at stake.
      play(refaults, [{ purged: 1_000, refaulted: 1_000 }])
      play(refaults, [round(afterMs)], 100)
      return refaults.promiseMs
    }
    expect(of(WINDOW_MS)).toBe(2 * ASKED_MS)
    expect(of(WINDOW_MS + 1)).toBe(ASKED_MS)
  })

  it('is no longer than 30 seconds, or than what was asked for', () => {
    for (const [askedMs, longestMs] of [
      [1, 30_000],
      [1_000, 30_000],
      [29_999, 30_000],
      [30_000, 30_000],
      [600_000, 600_000],
    ]) {
      const refaults = new Refaults(askedMs)
      let nowMs = 0
      for (let i = 0; i < 40; i++) {
        refaults.purged(nowMs, 1_000)
        // Time enough for nothing to be forgotten, too little for a window to end.
        nowMs += askedMs / 100
        refaults.refaulted(nowMs, 1_000)
        refaults.check()
      }
      expect(refaults.promiseMs).toBe(longestMs)
    }
  })

  it('needs two rounds again after it doubled', () => {
    const refaults = new Refaults(ASKED_MS)
    let nowMs = play(refaults, IN_VAIN)
    nowMs = play(refaults, [IN_VAIN[0]], nowMs)
    expect(refaults.promiseMs).toBe(2 * ASKED_MS)
    play(refaults, [IN_VAIN[0]], nowMs)
    expect(refaults.promiseMs).toBe(4 * ASKED_MS)
  })
})

describe('pages that went at once', () => {
  it('do not stretch the promise when they come back', () => {
    const refaults = new Refaults(ASKED_MS)
    for (let ms = 0; ms < 5_000; ms += 100) {
      refaults.purgedEarly(ms, 1_000)
      refaults.refaulted(ms + 50, 1_000)
      refaults.check()
    }
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })

  it('are those that came back where they were the last to go', () => {
    const refaults = new Refaults(ASKED_MS)
    for (let ms = 0; ms < 1_500; ms += 100) {
      refaults.purged(ms, 1_000)
      refaults.purgedEarly(ms, 1_000)
      refaults.refaulted(ms + 50, 1_000)
    }
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })

  it('leave the rest to those that went before them', () => {
    const refaults = new Refaults(ASKED_MS)
    for (let ms = 0; ms < 200; ms += 100) {
      refaults.purged(ms, 1_000)
      refaults.purgedEarly(ms, 1_000)
      refaults.refaulted(ms + 50, 2_000)
    }
    expect(refaults.promiseMs).toBe(2 * ASKED_MS)
  })

  it('are nothing where there are none', () => {
    const refaults = new Refaults(ASKED_MS)
    refaults.purgedEarly(0, 0)
    refaults.purged(0, 0)
    refaults.check()
  })
})

describe('quiet windows', () => {
  function stretched(): { refaults: Refaults; nowMs: number } {
    const refaults = new Refaults(ASKED_MS)
    return { refaults, nowMs: play(refaults, IN_VAIN) }
  }

  it('shrink the promise, by half in four of them', () => {
    const { refaults, nowMs } = stretched()
    let ms = nowMs
    const promises = Array.from({ length: 5 }, () => {
      ms += 2 * refaults.promiseMs + 1e-6
      refaults.refaulted(ms, 0)
      refaults.check()
      return refaults.promiseMs
    })
    const expected = [2 ** 0.75, 2 ** 0.5, 2 ** 0.25, 1, 1].map(times => times * ASKED_MS)
    for (const [at, promise] of promises.entries()) expect(promise).toBeCloseTo(expected[at], 6)
  })

  it('end with the window, not before', () => {
    const { refaults, nowMs } = stretched()
    refaults.refaulted(nowMs + 4 * ASKED_MS - 1, 0)
    expect(refaults.promiseMs).toBe(2 * ASKED_MS)
    refaults.refaulted(nowMs + 4 * ASKED_MS, 0)
    expect(refaults.promiseMs).toBeLessThan(2 * ASKED_MS)
  })

  it('all count when nobody looked for long', () => {
    const { refaults, nowMs } = stretched()
    refaults.refaulted(nowMs + 1e9, 0)
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })

  it('are those with few refaults: a sixteenth, or fewer than are worth it', () => {
    const promiseAtEnd = (purged: number, refaulted: number) => {
      const { refaults, nowMs } = stretched()
      refaults.purged(nowMs + 1, purged)
      refaults.refaulted(nowMs + 2, refaulted)
      refaults.refaulted(nowMs + 4 * ASKED_MS, 0)
      return refaults.promiseMs
    }
    expect(promiseAtEnd(16_000, 1_000)).toBeLessThan(2 * ASKED_MS)
    expect(promiseAtEnd(16_000, 1_001)).toBe(2 * ASKED_MS)
    expect(promiseAtEnd(1_000, 255)).toBeLessThan(2 * ASKED_MS)
    expect(promiseAtEnd(1_000, 256)).toBe(2 * ASKED_MS)
  })

  it('end what was counted of rounds: one before it and one after it do not stretch', () => {
    const refaults = new Refaults(ASKED_MS)
    play(refaults, [{ purged: 300, refaulted: 300 }])
    // Halved at the end of the window, what came back is fewer than counts from the second on.
    refaults.refaulted(2 * WINDOW_MS, 0)
    play(refaults, [{ purged: 300, refaulted: 300 }], 2 * WINDOW_MS)
    expect(refaults.promiseMs).toBe(ASKED_MS)
  })
})

describe('whatever happens', () => {
  it('keeps the promise within its bounds, and stretches it for what decay purged alone', () => {
    const event = fc.record({
      kind: fc.constantFrom('purged', 'purgedEarly', 'refaulted'),
      pages: fc.oneof(fc.nat(300), fc.nat(10_000)),
      waitMs: fc.oneof(fc.nat(100), fc.nat(5_000)),
    })
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 80, size: 'max' }),
        fc.constantFrom(1, 1_000, 45_000),
        (events, askedMs) => {
          const refaults = new Refaults(askedMs)
          let nowMs = 0
          let decayed = 0
          for (const { kind, pages, waitMs } of events) {
            nowMs += waitMs
            if (kind === 'purged') decayed += pages
            refaults[kind as 'purged'](nowMs, pages)
            refaults.check()
            if (decayed < 256) expect(refaults.promiseMs).toBe(askedMs)
          }
        },
      ),
      RUNS,
    )
  })
})
