import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CompactionWait } from '../../src/release/compaction-wait.js'
import { fuzzSeed } from '../support/random.js'

const RUNS = { numRuns: 100, seed: fuzzSeed() | 0 }
const ASKED_MS = 1_000
const LEAST_MS = ASKED_MS / 2
const USED = 10_000

/** A round that ended at `atMs`, and freed 1,000 pages of `promised`. */
function afterRound(atMs: number, promised = 1_000, freed = 1_000): CompactionWait {
  const wait = new CompactionWait(ASKED_MS)
  wait.ended(atMs, promised, freed, USED)
  wait.check()
  return wait
}

describe('the wait', () => {
  it('is none before the first round, then half the promise', () => {
    const wait = new CompactionWait(ASKED_MS)
    expect(wait.leftMs(0)).toBe(0)
    expect(wait.waitMs).toBe(LEAST_MS)
    wait.ended(100, 1_000, 1_000, USED)
    expect(wait.leftMs(100)).toBe(LEAST_MS)
    expect(wait.leftMs(350)).toBe(LEAST_MS - 250)
    expect(wait.leftMs(100 + LEAST_MS)).toBe(0)
    expect(wait.leftMs(1e9)).toBe(0)
  })

  it('doubles at once where a round freed less than a quarter of what was promised, or nothing', () => {
    for (const [promised, freed, isInVain] of [
      [1_000, 249, true],
      [1_000, 250, false],
      [0, 0, true],
      [-1, 0, true],
    ] as const) {
      const wait = afterRound(0, promised, freed)
      expect(wait.waitMs).toBe(isInVain ? 2 * LEAST_MS : LEAST_MS)
      expect(wait.isJudging).toBe(!isInVain)
    }
  })

  it('doubles as soon as more than a quarter of the freed pages is in use again', () => {
    const wait = afterRound(0)
    wait.observe(10, USED + 250)
    expect(wait.isJudging).toBe(true)
    wait.observe(20, USED + 251)
    expect(wait.waitMs).toBe(2 * LEAST_MS)
    expect(wait.isJudging).toBe(false)
    wait.observe(30, USED + 5_000)
    expect(wait.waitMs).toBe(2 * LEAST_MS)
  })

  it('does not where that is later than twice the promise', () => {
    const wait = afterRound(0)
    wait.observe(2 * ASKED_MS, USED + 250)
    expect(wait.isJudging).toBe(false)
    wait.observe(2 * ASKED_MS + 1, USED + 1_000)
    expect(wait.waitMs).toBe(LEAST_MS)
  })

  it('halves with each good round, down to half the promise', () => {
    const wait = new CompactionWait(ASKED_MS)
    for (let i = 0; i < 3; i++) wait.ended(0, 1_000, 0, USED)
    const waits: number[] = []
    for (let i = 0; i < 4; i++) {
      wait.ended(0, 1_000, 1_000, USED)
      expect(wait.isJudging).toBe(true)
      wait.observe(2 * ASKED_MS, USED)
      wait.check()
      waits.push(wait.waitMs)
    }
    expect(waits).toEqual([2_000, 1_000, 500, 500])
  })

  it('judges a round when the next one begins', () => {
    const wait = new CompactionWait(ASKED_MS)
    wait.ended(0, 1_000, 0, USED)
    wait.ended(1_000, 1_000, 1_000, USED)
    wait.began()
    expect(wait.isJudging).toBe(false)
    expect(wait.waitMs).toBe(LEAST_MS)
    wait.began()
    expect(wait.waitMs).toBe(LEAST_MS)
  })

  it('begins anew, and judges nothing, after a round that says nothing', () => {
    const wait = afterRound(0)
    wait.stopped(400)
    expect(wait.isJudging).toBe(false)
    expect(wait.waitMs).toBe(LEAST_MS)
    expect(wait.leftMs(400)).toBe(LEAST_MS)
  })

  it('is no longer than 30 seconds, or than half the promise', () => {
    for (const [askedMs, leastMs, longestMs] of [
      [0, 5, 30_000],
      [1, 5, 30_000],
      [10, 5, 30_000],
      [59_999, 29_999.5, 30_000],
      [600_000, 300_000, 300_000],
    ]) {
      const wait = new CompactionWait(askedMs)
      expect(wait.waitMs).toBe(leastMs)
      for (let i = 0; i < 20; i++) {
        wait.ended(i, 1_000, 0, USED)
        wait.check()
      }
      expect(wait.waitMs).toBe(longestMs)
    }
  })

  it('stays within its bounds, whatever happens', () => {
    const event = fc.record({
      kind: fc.constantFrom('ended', 'observe', 'began', 'stopped'),
      pages: fc.nat(5_000),
      waitMs: fc.nat(3_000),
    })
    const askedMs = fc.constantFrom(0, 100, ASKED_MS, 45_000, 600_000)
    fc.assert(
      fc.property(fc.array(event, { maxLength: 100, size: 'max' }), askedMs, (events, asked) => {
        const wait = new CompactionWait(asked)
        let nowMs = 0
        for (const { kind, pages, waitMs } of events) {
          nowMs += waitMs
          if (kind === 'ended') wait.ended(nowMs, 2_500, pages, pages)
          else if (kind === 'observe') wait.observe(nowMs, pages)
          else if (kind === 'began') wait.began()
          else wait.stopped(nowMs)
          wait.check()
          expect(wait.leftMs(nowMs)).toBeLessThanOrEqual(wait.waitMs)
        }
      }),
      RUNS,
    )
  })
})
