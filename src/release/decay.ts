/**
 * How much of the memory that came free may still be warm, as time passes: all of it for a while, then less in steps, and
 * nothing at the end of the promise.
 *
 * Free pages are told apart by a mark. At each mark every dirty page gets it; it loses it when it is used. The pages marked
 * then are a *cohort*: after half an interval of grace it shrinks in equal steps, and is gone at the next mark. A page
 * that came free right after a mark gets it an interval later and is gone after another one, so two intervals are the
 * longest it takes, and half a one the shortest. Two intervals make 0.9 of the promise.
 *
 * Invariants, checked by `check()`:
 *  1. the share that may stay never rises within an interval, is all of it at the mark and nothing at the next
 *  2. two intervals and a step of delay stay within the promise
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { floor, max } = Math

/** Two intervals make 0.9 of the promise; the rest is for timers that fire late and ticks of many slices. */
const INTERVAL_SHARE = 0.45
const STEPS = 8
/** Steps in which a cohort is left alone: what is used again within them never faults. */
const GRACE_STEPS = 4
/** Times are sums of fractions: a step that is due to the nanosecond is due. */
const EPSILON_STEPS = 1e-6

/** The share of a cohort that may be warm after that many steps, 0 to `STEPS` and beyond. */
export function keptShare(step: number): number {
  if (step <= GRACE_STEPS) return 1
  return max(0, (STEPS - step) / (STEPS - GRACE_STEPS))
}

export class Decay {
  #markedMs = 0
  #cohortPages: PageCount = 0
  #intervalMs = 0

  /** From one mark to the next. */
  get intervalMs(): number {
    return this.#intervalMs
  }

  get stepMs(): number {
    return this.#intervalMs / STEPS
  }

  /** A mark: the dirty pages that had none are the cohort from now on. `promiseMs` holds until the next mark. */
  mark(nowMs: number, cohortPages: PageCount, promiseMs: number): void {
    this.#markedMs = nowMs
    this.#cohortPages = cohortPages
    this.#intervalMs = promiseMs * INTERVAL_SHARE
  }

  isMarkDue(nowMs: number): boolean {
    return this.#stepAt(nowMs) >= STEPS
  }

  /** How many marked pages may stay. */
  keptPages(nowMs: number): PageCount {
    return floor(this.#cohortPages * keptShare(this.#stepAt(nowMs)))
  }

  #stepAt(nowMs: number): number {
    return floor((nowMs - this.#markedMs) / this.stepMs + EPSILON_STEPS)
  }

  check(): void {
    invariant(keptShare(0) === 1 && keptShare(STEPS) === 0, '1: from all to nothing')
    for (let step = 0; step < STEPS; step++) {
      invariant(keptShare(step + 1) <= keptShare(step), '1: the share never rises')
    }
    invariant((2 + 1 / STEPS) * INTERVAL_SHARE < 1, '2: within the promise')
  }
}
