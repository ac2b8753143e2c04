/**
 * The demand floor: how much free memory recent traffic keeps coming back to, so that it is worth keeping warm.
 *
 * Demand (pages in use) goes up and down. How far it comes back after it fell is what `returns` counts. What
 * was reached twice within ten seconds, or three times within a minute (or within D and six times D, where those are longer), will
 * probably be reached again: the floor is what is missing from the pages in use now to that. A single burst leaves no
 * floor, however high, and neither does what only came down. Some times what `misfit` says comes on top, and some times what the
 * waves are high at most.
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
import { Misfit } from './misfit.js'
import { Returns } from './returns.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { floor, max, min } = Math

/** Reached twice, which is one return, within `SHORT_MS`; or three times within `LONG_MS`. */
const SHORT_MS = 10_000
const LONG_MS = 60_000

/** Committed memory stays within a quarter more than what traffic had in use, and a little. */
const MISFIT_SHARE = 1 / 4
/** Where blocks are uneven, what was missing once is little of what will be: the worst that happens is so many times as much. */
const MISFIT_TIMES = 4

/** What demand is known by. */
export interface DemandCounts {
  readonly usedPages: PageCount
  /** Most that were used at once since the last time. */
  readonly peakUsedPages: PageCount
  readonly dirtyPages: PageCount
}

/** After the last traffic the floor stands for `fullMs`, then falls, and nothing of it is left after `endMs`. */
export interface Hold {
  readonly fullMs: number
  readonly endMs: number
}

/** How much of the floor stands when nobody has called for `quietMs`. */
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
  /** What does not fit is worth so many times as much at most. */
  #highestReturn: PageCount = 0
  readonly #misfit = new Misfit()

  /**
   * What happened since the last call: `peakUsedPages` is the most that were in use meanwhile, `hasTraffic` whether
   * any block was allocated or freed. `promiseMs`: the promise in force.
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

  /** So many dirty pages went back. */
  purged(pageCount: PageCount): void {
    this.#misfit.purged(pageCount)
  }

  /** Since when no block has been allocated or freed, in ms. */
  quietMs(nowMs: number): number {
    return nowMs - this.#trafficMs
  }

  /**
   * Free pages to keep warm now, by what was last observed. `sparePages`: for what does not fit, besides a quarter of
   * what is expected to be in use.
   */
  floorPages(nowMs: number, hold: Hold, sparePages: PageCount): PageCount {
    const likelyPages = MISFIT_TIMES * min(this.#misfit.pages, this.#highestReturn)
    const misfit = min(likelyPages, this.#mostMisfit(sparePages))
    return floor((this.#expectedPages + misfit) * standingShare(this.quietMs(nowMs), hold))
  }

  /**
   * Free pages that are no reason for haste, where `floorPages` are kept warm: what traffic of that height may hold, unless it is
   * lower than `leastPages`.
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
