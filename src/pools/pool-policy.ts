/**
 * When idle Buffers of a pool end, and how many: pure decisions over counts and an injected clock.
 *
 * Time is divided into periods. The *low* of a period is the fewest Buffers that were idle at once in it: traffic has done without
 * so many. At the end of a period these end, and what traffic has used stays for the next one. So a Buffer that nobody needs ends
 * within two periods after it came back, and its pages go back at once. Two periods are shorter than the promise of the arena (D),
 * so the promise holds for memory in pools, too.
 *
 * Invariant, checked by `check()`:
 *  1. two periods are over a tenth of D before the promise ends
 */
import { invariant } from '../base/assert.js'

const { max, min } = Math

/** A period, as a share of the promise. Two of them leave a tenth of D for timers that fire late. */
const PERIOD_SHARE = 0.45

export class PoolPolicy {
  readonly #now: () => number
  readonly #promiseMs: () => number
  #endMs = 0

  /**
   * `now` returns the milliseconds of a clock that never goes back. `promiseMs` returns D, which may change: over 0, or Infinity.
   */
  constructor(now: () => number, promiseMs: () => number) {
    this.#now = now
    this.#promiseMs = promiseMs
  }

  /** Whether Buffers end by time at all. */
  get isTimed(): boolean {
    return this.#promiseMs() < Number.POSITIVE_INFINITY
  }

  /** Begins a period. */
  start(): void {
    this.#endMs = this.#now() + this.#promiseMs() * PERIOD_SHARE
  }

  /** Milliseconds until the present period ends, or 0. */
  get delayMs(): number {
    return max(0, this.#endMs - this.#now())
  }

  /**
   * Returns how many of the idle Buffers are to end now. `lowCount` is the low of the present period so far. It is 0 before the
   * period is over.
   */
  surplus(idleCount: number, lowCount: number): number {
    return this.isOver ? min(idleCount, lowCount) : 0
  }

  /** Whether the present period is over. The caller then ends the surplus, and begins another one. */
  get isOver(): boolean {
    return this.isTimed && this.delayMs === 0
  }

  check(): void {
    invariant(2 * PERIOD_SHARE <= 0.9, '1: two periods end in time')
  }
}
