/**
 * The most pages that were in use at any moment of the last `spanMs` milliseconds. The caller says how long
 * the span is, since the promise may change.
 *
 * Each peak is recorded with the time of the call, and stands for all that happened since the call before. A
 * span is divided into sixteen stretches. The peaks of one stretch become one peak, so that there are few. It
 * counts as old as the first of them: a peak that is returned was in use within the span, never before it.
 *
 * Invariant, checked by `check()`:
 *  1. peaks are in order of time, each lower than the one before it: a peak that is followed by a higher one
 *     is not needed
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

/** The stretches of a span. Peaks of one stretch become one. */
const STRETCHES = 16

interface Peak {
  /** The time of the first call in its stretch. */
  readonly fromMs: number
  pageCount: PageCount
}

export class HighWater {
  /** The latest last. */
  readonly #peaks: Peak[] = []

  /**
   * Records that `pageCount` pages were in use at once at some moment since the last call. `spanMs` is 0 to
   * Infinity.
   */
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

  /** Returns the most pages in the `spanMs` before now; 0 if nothing was recorded in that time. */
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
