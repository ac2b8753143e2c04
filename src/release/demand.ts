/**
 * The demand floor: how much free memory recent traffic keeps coming back to, so that it is worth keeping warm.
 *
 * Demand (pages in use) goes up and down in waves. A wave counts when it has come down again by half of its height. What
 * was reached twice within about ten seconds, or three times within about a minute, will probably be reached again:
 * the floor is what is missing from the pages in use now to that. A single burst leaves no floor, however high.
 *
 * The floor is there for traffic. It stands for a while after the last call, then falls to nothing: how
 * long that takes is the caller's to say, since the promise decides it.
 *
 * It knows counts and times only; which pages are kept is not its business.
 *
 * Invariants, checked by `check()`:
 *  1. the heights that a bucket remembers, and the peaks, are in descending order
 *  2. the wave under way is not lower than where it began
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

/** The highest waves of each of the last `bucketCount` stretches of `bucketMs`. */
class Window {
  readonly #bucketMs: number
  readonly #bucketCount: number
  readonly #returns: number
  /** The `returns` greatest of each bucket, in descending order. */
  readonly #heights: Float64Array
  readonly #peaks: Float64Array
  /** The running number of the latest bucket. */
  #latest = 0

  /** `returns`: how many waves must have reached a level for it to count. */
  constructor(bucketMs: number, bucketCount: number, returns: number) {
    this.#bucketMs = bucketMs
    this.#bucketCount = bucketCount
    this.#returns = returns
    this.#heights = new Float64Array(bucketCount * returns)
    this.#peaks = new Float64Array(bucketCount * returns)
  }

  record(nowMs: number, height: PageCount, peak: PageCount): void {
    this.#moveTo(nowMs)
    const first = (this.#latest % this.#bucketCount) * this.#returns
    insert(this.#heights, first, first + this.#returns, height)
    insert(this.#peaks, first, first + this.#returns, peak)
  }

  /** How many more pages than `usedPages` are likely to be wanted. */
  expectedPages(nowMs: number, usedPages: PageCount): PageCount {
    this.#moveTo(nowMs)
    const height = nthGreatest(this.#heights, this.#returns)
    const peak = nthGreatest(this.#peaks, this.#returns)
    return Math.max(0, Math.min(height, peak - usedPages))
  }

  /** Forgets the buckets that time has left behind. */
  #moveTo(nowMs: number): void {
    const bucket = Math.floor(nowMs / this.#bucketMs)
    const passed = Math.min(bucket - this.#latest, this.#bucketCount)
    for (let i = 0; i < passed; i++) {
      const first = ((bucket - i) % this.#bucketCount) * this.#returns
      this.#heights.fill(0, first, first + this.#returns)
      this.#peaks.fill(0, first, first + this.#returns)
    }
    this.#latest = Math.max(bucket, this.#latest)
  }

  check(): void {
    for (const values of [this.#heights, this.#peaks]) {
      for (let i = 1; i < values.length; i++) {
        invariant(i % this.#returns === 0 || values[i] <= values[i - 1], '1: waves in order')
      }
    }
  }
}

/** Puts `value` where it belongs among `values[first..end)`, which are in descending order; the least falls out. */
function insert(values: Float64Array, first: number, end: number, value: number): void {
  let rest = value
  for (let i = first; i < end; i++) {
    if (values[i] >= rest) continue
    const less = values[i]
    values[i] = rest
    rest = less
  }
}

function nthGreatest(values: Float64Array, n: number): number {
  return Float64Array.from(values).sort()[values.length - n]
}

/** How much of the floor stands when nobody has called for `quietMs`: all for half of `holdMs`, none after it. */
export function standingShare(quietMs: number, holdMs: number): number {
  return Math.min(1, Math.max(0, 2 * (1 - quietMs / holdMs)))
}

export class Demand {
  readonly #windows = [new Window(1_000, 10, 2), new Window(5_000, 12, 3)]
  /** The wave under way: pages in use where it began, and at its highest. */
  #base: PageCount = 0
  #peak: PageCount = 0
  #usedPages: PageCount = 0
  #trafficMs = Number.NEGATIVE_INFINITY

  /**
   * What happened since the last call: `peakUsedPages` is the most that were in use meanwhile, `hasTraffic` whether
   * any block was allocated or freed.
   */
  observe(nowMs: number, usedPages: PageCount, peakUsedPages: PageCount, hasTraffic: boolean): void {
    if (hasTraffic) this.#trafficMs = nowMs
    this.#usedPages = usedPages
    this.#peak = Math.max(this.#peak, peakUsedPages)
    const height = this.#peak - this.#base
    if (height > 0 && usedPages <= this.#peak - height / 2) {
      for (const window of this.#windows) window.record(nowMs, height, this.#peak)
      this.#base = usedPages
      this.#peak = usedPages
    } else if (usedPages < this.#base) {
      this.#base = usedPages
    }
  }

  /** Since when no block has been allocated or freed, in ms. */
  quietMs(nowMs: number): number {
    return nowMs - this.#trafficMs
  }

  /** Free pages to keep warm now. `holdMs`: how long after the last traffic nothing of the floor is left. */
  floorPages(nowMs: number, holdMs: number): PageCount {
    const share = standingShare(this.quietMs(nowMs), holdMs)
    if (share === 0) return 0
    const expected = this.#windows.map(window => window.expectedPages(nowMs, this.#usedPages))
    return Math.floor(Math.max(...expected) * share)
  }

  check(): void {
    for (const window of this.#windows) window.check()
    invariant(this.#peak >= this.#base, '2: a wave stands above where it began')
  }
}
