/**
 * How many of the pages that came free may stay warm, as time passes: all of them for a while, then fewer in
 * steps, and none at the end of the promise.
 *
 * Free pages are told apart by a mark. At each mark every dirty page gets it, and a page loses it when it is
 * used. The pages that got their mark at one time are a *cohort*. A cohort has half an interval of grace,
 * then shrinks in equal steps, and is gone at the next mark. A page that came free right after a mark is
 * marked an interval later, and is gone after another interval. So a page goes after half an interval at the
 * earliest, and after two intervals at the latest. Two intervals are 0.9 of the promise.
 *
 * Invariants, checked by `check()`:
 *  1. the share that may stay never rises within an interval; it is 1 at the mark and 0 at the next mark
 *  2. two intervals and a step of delay stay within the promise
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { floor, max } = Math

/**
 * The length of an interval as a share of the promise. Two intervals make 0.9; the rest is for timers that
 * fire late and for ticks of many slices.
 */
const INTERVAL_SHARE = 0.45
const STEPS = 8
/** The steps of grace, in which a cohort is left alone. Pages that are used again within them never fault. */
const GRACE_STEPS = 4
/** Times are sums of fractions. This tolerance lets a step that is due at this very moment count as due. */
const EPSILON_STEPS = 1e-6

/** Returns the share of a cohort that may stay warm after `step` steps, 0 to `STEPS` and beyond. */
export function keptShare(step: number): number {
  if (step <= GRACE_STEPS) return 1
  return max(0, (STEPS - step) / (STEPS - GRACE_STEPS))
}

export class Decay {
  #markedMs = 0
  #cohortPages: PageCount = 0
  #intervalMs = 0

  /** Milliseconds from one mark to the next. */
  get intervalMs(): number {
    return this.#intervalMs
  }

  get stepMs(): number {
    return this.#intervalMs / STEPS
  }

  /**
   * Notes a mark. The cohort is the `cohortPages` dirty pages that had no mark before. `promiseMs` counts
   * until the next mark.
   */
  mark(nowMs: number, cohortPages: PageCount, promiseMs: number): void {
    this.#markedMs = nowMs
    this.#cohortPages = cohortPages
    this.#intervalMs = promiseMs * INTERVAL_SHARE
  }

  isMarkDue(nowMs: number): boolean {
    return this.#stepAt(nowMs) >= STEPS
  }

  /** Returns how many marked pages may stay. */
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
