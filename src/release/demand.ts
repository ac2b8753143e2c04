/**
 * The demand floor: how much free memory recent traffic keeps coming back to, so that it is worth keeping warm.
 *
 * Demand (pages in use) goes up and down. How far it comes back after it fell is what `returns` counts. What
 * was reached twice within ten seconds, or three times within a minute (or within D and six times D, where those are longer), will
 * probably be reached again: the floor is what is missing from the pages in use now to that. A single burst leaves no
 * floor, however high, and neither does what only came down.
 *
 * The floor is there for traffic. It stands for a while after the last call, then falls to nothing: how
 * long that takes is the caller's to say, since the promise decides it.
 *
 * It knows counts and times only; which pages are kept is not its business.
 *
 * Invariant, checked by `check()` together with those of `returns`:
 *  1. the floor is no higher than demand has been
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'
import { type Expectation, Returns } from './returns.js'

/** Reached twice, which is one return, within `SHORT_MS`; or three times within `LONG_MS`. */
const SHORT_MS = 10_000
const LONG_MS = 60_000

/** After the last traffic the floor stands for `fullMs`, then falls, and nothing of it is left after `endMs`. */
export interface Hold {
  readonly fullMs: number
  readonly endMs: number
}

/** How much of the floor stands when nobody has called for `quietMs`. */
export function standingShare(quietMs: number, { fullMs, endMs }: Hold): number {
  if (quietMs <= fullMs) return 1
  return Math.max(0, (endMs - quietMs) / (endMs - fullMs))
}

export class Demand {
  readonly #returns = new Returns()
  #usedPages: PageCount = 0
  #highestPages: PageCount = 0
  #trafficMs = Number.NEGATIVE_INFINITY
  #expected: Expectation = { pages: 0, atMs: 0 }

  /**
   * What happened since the last call: `peakUsedPages` is the most that were in use meanwhile, `hasTraffic` whether
   * any block was allocated or freed. `promiseMs`: the promise in force.
   */
  observe(
    nowMs: number,
    usedPages: PageCount,
    peakUsedPages: PageCount,
    hasTraffic: boolean,
    promiseMs: number,
  ): void {
    if (hasTraffic) this.#trafficMs = nowMs
    this.#usedPages = usedPages
    this.#highestPages = Math.max(this.#highestPages, peakUsedPages)
    const scale = Math.max(1, promiseMs / SHORT_MS)
    this.#returns.forget(nowMs - scale * LONG_MS)
    this.#returns.observe(nowMs, usedPages, peakUsedPages)
    const short = this.#returns.expected(nowMs - scale * SHORT_MS, usedPages, 1)
    const long = this.#returns.expected(nowMs - scale * LONG_MS, usedPages, 2)
    this.#expected = long.pages > short.pages ? long : short
  }

  /** Since when no block has been allocated or freed, in ms. */
  quietMs(nowMs: number): number {
    return nowMs - this.#trafficMs
  }

  /** Free pages to keep warm now, by what was last observed. */
  floorPages(nowMs: number, hold: Hold): PageCount {
    return Math.floor(this.#expected.pages * standingShare(this.quietMs(nowMs), hold))
  }

  check(): void {
    this.#returns.check()
    invariant(
      this.#usedPages + this.#expected.pages <= this.#highestPages,
      '1: a floor below the highest demand',
    )
  }
}
