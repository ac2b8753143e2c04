/**
 * The most pages that were in use at any moment of the last so many milliseconds. Whoever asks says how long that is, since the
 * promise may change.
 *
 * Peaks are recorded with the time at which they were looked at, and stand for all that happened since the look before. Those
 * of one look in sixteen of the span are taken together, so that there are few, and count as if they were as old as the first:
 * what is said to have been the most was in use within the span, never before it.
 *
 * Invariant, checked by `check()`:
 *  1. peaks are in order of time, each lower than the one before it: one that is followed by a higher says nothing
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

/** So many stretches of a span are told apart. */
const STRETCHES = 16

interface Peak {
  /** When the first look of its stretch was. */
  readonly fromMs: number
  pageCount: PageCount
}

export class HighWater {
  /** Latest last. */
  readonly #peaks: Peak[] = []

  /** So many pages were in use at once at some moment since the last call. `spanMs`: 0 to Infinity. */
  record(nowMs: number, pageCount: PageCount, spanMs: number): void {
    const peaks = this.#peaks
    let fromMs = nowMs
    for (let last = peaks.at(-1); last !== undefined; last = peaks.at(-1)) {
      const isSameStretch = nowMs - last.fromMs < spanMs / STRETCHES
      if (isSameStretch && last.pageCount >= pageCount) return
      if (isSameStretch) fromMs = last.fromMs
      if (last.pageCount > pageCount) break
      peaks.pop()
    }
    peaks.push({ fromMs, pageCount })
    this.#forget(nowMs - spanMs)
  }

  /** The most in the `spanMs` before now; 0 where nothing was recorded in that time. */
  most(nowMs: number, spanMs: number): PageCount {
    this.#forget(nowMs - spanMs)
    return this.#peaks[0]?.pageCount ?? 0
  }

  #forget(beforeMs: number): void {
    const peaks = this.#peaks
    while (peaks.length > 0 && peaks[0].fromMs < beforeMs) peaks.shift()
  }

  check(): void {
    for (let i = 1; i < this.#peaks.length; i++) {
      const isInOrder = this.#peaks[i].fromMs >= this.#peaks[i - 1].fromMs
      invariant(isInOrder && this.#peaks[i].pageCount < this.#peaks[i - 1].pageCount, '1: peaks in order')
    }
  }
}
