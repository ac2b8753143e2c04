/** The policy alone, over curves of activity under a simulated clock. Each test says when it reclaims. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MIB } from '../../src/base/units.js'
import {
  type Decision,
  IdlePolicy,
  type IdleSettings,
  PRESSURE_INTERVAL_MS,
  WAKE_ACTIVE_MS,
} from '../../src/process/idle-policy.js'
import { fuzzSeed } from '../support/random.js'

const DEFAULTS: IdleSettings = { afterMs: 1_000, minIntervalMs: 10_000 }
/** What a reclaim leaves. */
const BASE_BYTES = 50 * MIB

/** A process in steps of a millisecond. It carries the decisions out as `IdleReclaimer` does. */
class Process {
  nowMs = 0
  activeMs = 0
  residentBytes = BASE_BYTES
  heldBytes = 20 * MIB
  readonly reclaimedAtMs: number[] = []
  looks = 0
  wakes = 0
  /** What a reclaim takes, and how long it keeps the loop waiting. */
  costMs = 5
  pauseMs = 2
  readonly policy: IdlePolicy
  #lookAtMs = Number.POSITIVE_INFINITY
  #wakeAtActiveMs = WAKE_ACTIVE_MS
  #endsAtMs = Number.POSITIVE_INFINITY

  constructor(settings: Partial<IdleSettings> = {}) {
    this.policy = new IdlePolicy({ ...DEFAULTS, ...settings })
  }

  get hasTimer(): boolean {
    return this.#lookAtMs < Number.POSITIVE_INFINITY
  }

  /** `ms` milliseconds in which the loop is active for `share` of the time, and memory grows by `growBytes` in all. */
  run(ms: number, share = 0, growBytes = 0): void {
    for (let i = 0; i < ms; i++) {
      this.nowMs++
      this.activeMs += share
      this.residentBytes += growBytes / ms
      this.#turn()
    }
  }

  /** The clock moves, and nothing else happened. */
  jump(ms: number): void {
    this.nowMs += ms
    this.#turn()
  }

  press(): boolean {
    if (!this.policy.allowsUnderPressure(this.nowMs)) return false
    this.#begin()
    return true
  }

  #turn(): void {
    const { policy } = this
    if (this.nowMs >= this.#endsAtMs) {
      this.residentBytes = BASE_BYTES
      this.#endsAtMs = Number.POSITIVE_INFINITY
      policy.end(this.memory(), this.pauseMs)
      this.#do({ kind: 'sleep' })
    }
    if (policy.state === 'asleep' && this.activeMs >= this.#wakeAtActiveMs) {
      this.wakes++
      this.#do(policy.wake(this.nowMs, this.activeMs))
    }
    if (this.nowMs >= this.#lookAtMs) {
      this.looks++
      this.#do(policy.look(this.nowMs, this.activeMs, () => this.memory()))
    }
    policy.check(this.nowMs)
  }

  memory(): { residentBytes: number; heldBytes: number } {
    return { residentBytes: this.residentBytes, heldBytes: this.heldBytes }
  }

  #do(decision: Decision): void {
    this.#lookAtMs = decision.kind === 'look' ? this.nowMs + decision.afterMs : Number.POSITIVE_INFINITY
    if (decision.kind === 'sleep') this.#wakeAtActiveMs = this.activeMs + WAKE_ACTIVE_MS
    if (decision.kind === 'reclaim') this.#begin()
  }

  #begin(): void {
    // One at a time.
    expect(this.#endsAtMs).toBe(Number.POSITIVE_INFINITY)
    this.#lookAtMs = Number.POSITIVE_INFINITY
    this.policy.begin(this.nowMs)
    this.reclaimedAtMs.push(this.nowMs)
    this.#endsAtMs = this.nowMs + this.costMs
  }
}

describe('IdlePolicy', () => {
  it('reclaims once after a busy time, when the loop has been idle for afterMs, and then has no timer', () => {
    const idle = new Process()
    idle.run(5_000, 0.5, 40 * MIB)
    idle.run(900)
    expect(idle.reclaimedAtMs).toEqual([])
    idle.run(3_600_000)
    expect(idle.reclaimedAtMs.length).toBe(1)
    // A look is late by one step at most.
    expect(idle.reclaimedAtMs[0] - 5_000).toBeGreaterThanOrEqual(1_000)
    expect(idle.reclaimedAtMs[0] - 5_000).toBeLessThanOrEqual(1_501)
    expect([idle.policy.state, idle.hasTimer]).toEqual(['asleep', false])
  })

  it('does nothing in a process that was never busy', () => {
    const idle = new Process()
    idle.run(60_000, 0.0001)
    expect([idle.reclaimedAtMs, idle.looks, idle.hasTimer]).toEqual([[], 0, false])
  })

  it('does not reclaim under steady traffic, however long', () => {
    const idle = new Process()
    idle.run(600_000, 0.05, 10 * MIB)
    expect(idle.reclaimedAtMs).toEqual([])
    // Four looks a second.
    expect(idle.looks).toBeLessThanOrEqual(2_400)
  })

  it('does not reclaim in gaps shorter than afterMs', () => {
    const idle = new Process()
    for (let i = 0; i < 100; i++) {
      idle.run(300, 0.8, 5 * MIB)
      idle.run(700)
    }
    expect(idle.reclaimedAtMs).toEqual([])
  })

  it('reclaims once in a quiet night, and once in each', () => {
    const idle = new Process()
    for (let day = 1; day <= 3; day++) {
      idle.run(60_000, 0.3, 60 * MIB)
      idle.run(300_000)
      expect(idle.reclaimedAtMs.length).toBe(day)
    }
  })

  it('takes one short request a second for idle', () => {
    const idle = new Process()
    idle.run(5_000, 0.5, 40 * MIB)
    for (let i = 0; i < 120; i++) {
      idle.run(2, 1)
      idle.run(998)
    }
    expect(idle.reclaimedAtMs.length).toBe(1)
    // It wakes after ten of them, sees that no memory was taken, and sleeps again.
    expect(idle.wakes).toBeGreaterThan(5)
    expect(idle.wakes).toBeLessThan(15)
  })

  it('reclaims after each run of a job that takes memory once a minute', () => {
    const idle = new Process()
    for (let i = 0; i < 5; i++) {
      idle.run(400, 1, 30 * MIB)
      idle.run(59_600)
    }
    expect(idle.reclaimedAtMs.length).toBe(5)
  })

  it('reclaims after heavy work in one turn, not in the middle of it', () => {
    const idle = new Process()
    idle.run(100, 1)
    // No turn of the loop for 10 s.
    idle.activeMs += 10_000
    idle.residentBytes += 100 * MIB
    idle.jump(10_000)
    expect(idle.reclaimedAtMs).toEqual([])
    idle.run(3_000)
    expect(idle.reclaimedAtMs.length).toBe(1)
  })

  it('does not reclaim again before something was allocated', () => {
    const idle = new Process()
    idle.run(5_000, 0.5, 40 * MIB)
    idle.run(20_000)
    idle.run(5_000, 0.5, MIB)
    idle.run(600_000)
    expect(idle.reclaimedAtMs.length).toBe(1)
    idle.run(5_000, 0.5, 8 * MIB)
    idle.run(20_000)
    expect(idle.reclaimedAtMs.length).toBe(2)
  })

  it('reclaims what came free without having been touched again', () => {
    const idle = new Process()
    idle.heldBytes += 500 * MIB
    idle.run(5_000, 0.5, 500 * MIB)
    idle.run(20_000)
    idle.heldBytes -= 500 * MIB
    idle.run(40, 1)
    idle.run(20_000)
    expect(idle.reclaimedAtMs.length).toBe(2)
  })

  it('waits for minIntervalMs, and for a hundred times the longest pause', () => {
    for (const [pauseMs, intervalMs] of [
      [2, 10_000],
      [300, 30_000],
    ]) {
      const idle = new Process()
      idle.pauseMs = pauseMs
      for (let i = 0; i < 60; i++) {
        idle.run(500, 0.5, 20 * MIB)
        idle.run(2_500)
      }
      const gaps = idle.reclaimedAtMs.slice(1).map((ms, i) => ms - idle.reclaimedAtMs[i])
      expect(gaps.length).toBeGreaterThan(3)
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(intervalMs)
      expect(Math.max(...gaps)).toBeLessThanOrEqual(intervalMs + 6_000)
    }
  })

  it('gives back in the end what had to wait for the interval, without further traffic', () => {
    const idle = new Process()
    idle.run(2_000, 0.5, 20 * MIB)
    idle.run(2_000)
    idle.run(1_000, 0.5, 20 * MIB)
    idle.run(60_000)
    const [first, second, third] = idle.reclaimedAtMs
    expect(third).toBeUndefined()
    expect(second - first).toBeGreaterThanOrEqual(10_000)
    expect(second - first).toBeLessThanOrEqual(10_600)
  })

  it('with minIntervalMs: Infinity reclaims once, and has no timer then', () => {
    const idle = new Process({ minIntervalMs: Number.POSITIVE_INFINITY })
    for (let i = 0; i < 5; i++) {
      idle.run(5_000, 0.5, 40 * MIB)
      idle.run(60_000)
    }
    expect([idle.reclaimedAtMs.length, idle.hasTimer]).toEqual([1, false])
  })

  it('takes a suspended machine for late, not for idle', () => {
    const idle = new Process()
    idle.run(5_000, 0.5, 40 * MIB)
    idle.jump(8 * 3_600_000)
    expect(idle.reclaimedAtMs).toEqual([])
    idle.run(2_000)
    expect(idle.reclaimedAtMs.length).toBe(1)
  })

  it('is not put off by a clock that goes back', () => {
    const idle = new Process()
    idle.run(50_000, 0.5, 40 * MIB)
    idle.run(5_000)
    idle.run(50_000, 0.5, 40 * MIB)
    idle.nowMs -= 90_000
    // The timer that was set for a time in the future still comes: it was set by length.
    idle.policy.look(idle.nowMs, idle.activeMs, () => idle.memory())
    idle.policy.check(idle.nowMs)
    expect(idle.policy.allowsUnderPressure(idle.nowMs)).toBe(false)
    idle.run(120_000)
    expect(idle.reclaimedAtMs.length).toBe(2)
  })

  it('reclaims at once under pressure, busy or asleep, but not within five seconds of the last', () => {
    const idle = new Process()
    expect(idle.press()).toBe(true)
    expect(idle.press()).toBe(false)
    idle.run(PRESSURE_INTERVAL_MS - 1, 1)
    expect(idle.press()).toBe(false)
    idle.run(1, 1)
    expect(idle.press()).toBe(true)
    idle.run(10, 1)
    expect(idle.policy.state).toBe('asleep')
  })

  it('keeps its promises on any curve', () => {
    const stretch = fc.record({
      ms: fc.integer({ min: 1, max: 4_000 }),
      share: fc.constantFrom(0, 0, 0.001, 0.019, 0.03, 0.5, 1),
      grow: fc.integer({ min: 0, max: 20 }),
      presses: fc.boolean(),
    })
    const settings = fc.record({
      afterMs: fc.constantFrom(0, 10, 100, 1_000),
      minIntervalMs: fc.constantFrom(0, 500, 10_000),
    })
    fc.assert(
      fc.property(settings, fc.array(stretch, { maxLength: 30 }), (given, stretches) => {
        const idle = new Process(given)
        const pressedAtMs: number[] = []
        for (const { ms, share, grow, presses } of stretches) {
          idle.run(ms, share, grow * MIB)
          if (presses && idle.press()) pressedAtMs.push(idle.nowMs)
        }
        const busyBefore = idle.reclaimedAtMs.length
        idle.run(given.minIntervalMs + 3 * given.afterMs + 1_000)
        // One more at most, and then nothing for ever.
        expect(idle.reclaimedAtMs.length - busyBefore).toBeLessThanOrEqual(1)
        expect([idle.policy.state, idle.hasTimer]).toEqual(['asleep', false])
        const { looks } = idle
        idle.run(20_000)
        expect(idle.looks).toBe(looks)
        for (const [i, ms] of idle.reclaimedAtMs.entries()) {
          const before = idle.reclaimedAtMs[i - 1] ?? Number.NEGATIVE_INFINITY
          const least = pressedAtMs.includes(ms) ? PRESSURE_INTERVAL_MS : given.minIntervalMs
          expect(ms - before).toBeGreaterThanOrEqual(least)
        }
      }),
      { seed: fuzzSeed(), numRuns: 100 },
    )
  })
})
