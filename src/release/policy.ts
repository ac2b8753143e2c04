/**
 * When pages go back to the kernel: pure decisions over an injected clock. `scavenger` carries them out.
 *
 * Promise: a page that came free is back within `releaseAfterMs`, even if nobody ever calls again. Dirty pages are
 * marked at every tick and purged at the next one if they were not used in between, so a page goes back between one and
 * two intervals after it came free; the interval is short enough that two of them, with a late timer, stay within the
 * promise. Memory that is reused within an interval is never purged.
 *
 * A tick works for at most `SLICE_MS` and continues after the event loop had its turn.
 */

/** Longest stretch of work in one turn of the event loop. */
const SLICE_MS = 1
/** Pause between two slices of one tick. */
const PAUSE_MS = 1
/** Two intervals make 0.9 of the promise; the rest is for timers that fire late and ticks of many slices. */
const INTERVAL_SHARE = 0.45
/** Where pages go back on the freeing call: after the kernel refused to take some. */
const RETRY_MS = 1_000
/** One `madvise` call takes 0.24 µs a page: 2,048 pages stay well below a slice. */
const MAX_CALL_PAGES = 2_048

export class ReleasePolicy {
  /** Free pages go back on the call that frees them. */
  readonly isImmediate: boolean
  /** Free pages go back by timer. */
  readonly isTimed: boolean
  readonly maxCallPages = MAX_CALL_PAGES
  readonly #intervalMs: number
  readonly #now: () => number
  #sliceStartMs = 0

  /** `releaseAfterMs`: 0 to Infinity. `now`: milliseconds of a clock that never goes back. */
  constructor(releaseAfterMs: number, now: () => number) {
    this.isImmediate = releaseAfterMs === 0
    this.isTimed = releaseAfterMs > 0 && releaseAfterMs < Number.POSITIVE_INFINITY
    this.#intervalMs = releaseAfterMs * INTERVAL_SHARE
    this.#now = now
  }

  startSlice(): void {
    this.#sliceStartMs = this.#now()
  }

  /** Whether this slice may go on. */
  hasTime(): boolean {
    return this.#now() - this.#sliceStartMs < SLICE_MS
  }

  /** How long to wait for the next tick, or for the next slice of an unfinished one. */
  delayMs(isFinished: boolean): number {
    if (!isFinished) return PAUSE_MS
    return this.isTimed ? this.#intervalMs : RETRY_MS
  }
}
