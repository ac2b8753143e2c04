/**
 * The demand floor: how much free memory is kept warm, because recent traffic keeps coming back to it.
 *
 * Demand is the number of pages in use. It goes up and down, and `returns` counts how far it comes back after
 * it fell. Demand that was reached twice within ten seconds, or three times within a minute, will probably be
 * reached again. (These times are D and six times D if those are longer; D is the promise in force.) The
 * floor is the pages that are missing from the pages in use now to that demand. A single burst leaves no
 * floor, however high it is, and neither does demand that only fell. Room for blocks that do not fit
 * (`misfit`) is added.
 *
 * The floor serves traffic. It stands for a while after the last call, then falls to nothing. The caller says
 * how long that takes, because that depends on the promise.
 *
 * This file knows counts and times only. Which pages are kept is decided elsewhere.
 *
 * Invariant, checked by `check()` together with those of `returns` and `misfit`:
 *  1. pages in use and expected pages together are at most the highest demand that there was
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'
import { Misfit } from './misfit.js'
import { Returns } from './returns.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { floor, max, min } = Math

/**
 * Demand counts that was reached twice (one return) within `SHORT_MS`, or three times (two returns) within
 * `LONG_MS`.
 */
const SHORT_MS = 10_000
const LONG_MS = 60_000

/**
 * The share of expected demand that may be kept warm for blocks that do not fit, besides the spare pages.
 */
const MISFIT_SHARE = 1 / 4
/**
 * Pages to keep warm for each page of misfit. If blocks are uneven, the misfit so far is only a part of what
 * it will be; this factor covers the worst case.
 */
const MISFIT_TIMES = 4

/** The counts of a heap that describe demand. */
export interface DemandCounts {
  readonly usedPages: PageCount
  /** Most pages that were in use at once since the last `observe`. */
  readonly peakUsedPages: PageCount
  readonly dirtyPages: PageCount
}

/**
 * How long the floor lasts. It stands in full until `fullMs` after the last traffic, then falls, and is
 * nothing after `endMs`.
 */
export interface Hold {
  readonly fullMs: number
  readonly endMs: number
}

/** Returns the share of the floor, 0 to 1, that stands after `quietMs` without traffic. */
export function standingShare(quietMs: number, { fullMs, endMs }: Hold): number {
  if (quietMs <= fullMs) return 1
  return max(0, (endMs - quietMs) / (endMs - fullMs))
}

export class Demand {
  readonly #returns = new Returns()
  #usedPages: PageCount = 0
  #highestPages: PageCount = 0
  #trafficMs = Number.NEGATIVE_INFINITY
  #expectedPages: PageCount = 0
  /** The height of the highest return within the short time. More misfit than that does not count. */
  #highestReturn: PageCount = 0
  readonly #misfit = new Misfit()

  /**
   * Notes the counts and the traffic since the last call. `peakUsedPages` is the most that were in use at
   * once meanwhile. `hasTraffic` says whether any block was allocated or freed. `promiseMs` is the promise in
   * force.
   */
  observe(nowMs: number, counts: DemandCounts, hasTraffic: boolean, promiseMs: number): void {
    const { usedPages, peakUsedPages, dirtyPages } = counts
    if (hasTraffic) this.#trafficMs = nowMs
    this.#usedPages = usedPages
    this.#highestPages = max(this.#highestPages, peakUsedPages)
    const scale = max(1, promiseMs / SHORT_MS)
    this.#returns.forget(nowMs - scale * LONG_MS)
    this.#returns.observe(nowMs, usedPages, peakUsedPages)
    const short = this.#returns.expected(nowMs - scale * SHORT_MS, usedPages, 1)
    const long = this.#returns.expected(nowMs - scale * LONG_MS, usedPages, 2)
    this.#expectedPages = max(short, long)
    this.#highestReturn = this.#returns.highest(nowMs - scale * SHORT_MS)
    this.#misfit.observe(nowMs, peakUsedPages, usedPages + dirtyPages)
  }

  /** Notes that `pageCount` dirty pages went back. */
  purged(pageCount: PageCount): void {
    this.#misfit.purged(pageCount)
  }

  /** Returns the milliseconds since a block was last allocated or freed. */
  quietMs(nowMs: number): number {
    return nowMs - this.#trafficMs
  }

  /**
   * Returns how many free pages to keep warm now, by what was last observed. For blocks that do not fit, it
   * counts `sparePages` and a quarter of expected demand at most.
   */
  floorPages(nowMs: number, hold: Hold, sparePages: PageCount): PageCount {
    const likelyPages = MISFIT_TIMES * min(this.#misfit.pages, this.#highestReturn)
    const misfit = min(likelyPages, this.#mostMisfit(sparePages))
    return floor((this.#expectedPages + misfit) * standingShare(this.quietMs(nowMs), hold))
  }

  /**
   * Returns how many free pages need not go at once, while `floorPages` are kept warm. If the floor is at
   * least `leastPages`, that is the most that traffic of such a height may hold. Otherwise it is the floor.
   */
  calmPages(floorPages: PageCount, sparePages: PageCount, leastPages: PageCount): PageCount {
    if (floorPages < leastPages) return floorPages
    return max(floorPages, floor(this.#expectedPages + this.#mostMisfit(sparePages)))
  }

  #mostMisfit(sparePages: PageCount): PageCount {
    return (this.#usedPages + this.#expectedPages) * MISFIT_SHARE + sparePages
  }

  check(): void {
    this.#returns.check()
    this.#misfit.check()
    invariant(
      this.#usedPages + this.#expectedPages <= this.#highestPages,
      '1: a floor below the highest demand',
    )
  }
}
