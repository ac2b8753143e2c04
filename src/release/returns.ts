/**
 * How far demand comes back after it fell. Demand is pages in use; a *return* is a rise after a fall, as far as the fall
 * went: where demand fell from 24 to 16 and rises to 30, eight pages came back. What only came down is none, and neither is
 * a first rise.
 *
 * Waves lie within waves, on top of memory that stays or drifts. So the peaks that no later one has reached are
 * kept, each with the lowest demand since. A rise ends those that it reaches: for each of them it is a return, from the
 * lowest point since, up to that peak. Of the first that it does not reach it is one as well, up to where it got.
 *
 * It knows counts and times only.
 *
 * Invariants, checked by `check()`:
 *  1. peaks are in descending order, and in order of time
 *  2. demand never stood above a peak since, and a return is no higher than where it got
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max, min } = Math

/** More would be noise: what falls out is the oldest. */
const MOST_PEAKS = 64
const MOST_RETURNS = 64

/** A high of demand that was not reached since, and the low after it. */
interface Peak {
  readonly pages: PageCount
  readonly atMs: number
  /** The lowest demand since this peak, up to the next one. */
  lowPages: PageCount
  /** Which low that is: rises from the same low are one return. */
  readonly low: number
}

interface Return {
  readonly low: number
  /** When demand stood that high the time before. */
  readonly sinceMs: number
  readonly heightPages: PageCount
  readonly topPages: PageCount
  /** Lows from which later returns went as high and as far: after two it says nothing more. */
  coveredBy: number
  coveredLow: number
}

export class Returns {
  /** Highest first. */
  #peaks: Peak[] = []
  /** Oldest first. */
  #returns: Return[] = []
  #lastLow = 0

  /** Demand rose to `peakUsedPages` since the last call, and is `usedPages` now. */
  observe(nowMs: number, usedPages: PageCount, peakUsedPages: PageCount): void {
    this.#rise(peakUsedPages)
    this.#peaks.push({ pages: peakUsedPages, atMs: nowMs, lowPages: usedPages, low: ++this.#lastLow })
    if (this.#peaks.length > MOST_PEAKS) this.#peaks.shift()
  }

  /** Forgets what happened before `sinceMs`. */
  forget(sinceMs: number): void {
    if (this.#peaks.length > 0 && this.#peaks[0].atMs < sinceMs) {
      this.#peaks = this.#peaks.filter(peak => peak.atMs >= sinceMs)
    }
    if (this.#returns.some(one => one.sinceMs < sinceMs)) {
      this.#returns = this.#returns.filter(one => one.sinceMs >= sinceMs)
    }
  }

  #rise(topPages: PageCount): void {
    let lowPages = Number.POSITIVE_INFINITY
    let low = 0
    let heightPages = 0
    while (this.#peaks.length > 0) {
      const peak = this.#peaks[this.#peaks.length - 1]
      if (peak.lowPages < lowPages) {
        lowPages = peak.lowPages
        low = peak.low
      }
      const reachedPages = min(peak.pages, topPages)
      if (reachedPages - lowPages > heightPages) {
        heightPages = reachedPages - lowPages
        this.#add(low, peak.atMs, heightPages, reachedPages)
      }
      if (peak.pages > topPages) return
      this.#peaks.pop()
    }
  }

  #add(low: number, sinceMs: number, heightPages: PageCount, topPages: PageCount): void {
    this.#returns = this.#returns.filter(one => {
      if (one.heightPages > heightPages || one.topPages > topPages || one.sinceMs > sinceMs) return true
      if (one.low === low) return false
      if (one.coveredLow !== low) one.coveredBy++
      one.coveredLow = low
      return one.coveredBy < 2
    })
    this.#returns.push({ low, sinceMs, heightPages, topPages, coveredBy: 0, coveredLow: 0 })
    if (this.#returns.length > MOST_RETURNS) this.#returns.shift()
  }

  /**
   * How many more pages than `usedPages` one return wanted, or two: of those that began and ended since `sinceMs`, the
   * one that wanted the most, or the second.
   */
  expected(sinceMs: number, usedPages: PageCount, returnCount: 1 | 2): PageCount {
    let most = 0
    let second = 0
    let mostLow = 0
    for (const { low, sinceMs: beganMs, heightPages, topPages } of this.#returns) {
      if (beganMs < sinceMs) continue
      const pages = min(heightPages, topPages - usedPages)
      if (pages >= most) {
        if (low !== mostLow) second = most
        most = pages
        mostLow = low
      } else if (low !== mostLow && pages >= second) second = pages
    }
    return returnCount === 1 ? most : second
  }

  /** How far the highest return went that began and ended since `sinceMs`. */
  highest(sinceMs: number): PageCount {
    let most = 0
    for (const one of this.#returns) if (one.sinceMs >= sinceMs) most = max(most, one.heightPages)
    return most
  }

  check(): void {
    for (let i = 0; i < this.#peaks.length; i++) {
      const { pages, atMs, lowPages } = this.#peaks[i]
      invariant(lowPages <= pages, '2: a low below its peak')
      if (i === 0) continue
      invariant(pages < this.#peaks[i - 1].pages && atMs >= this.#peaks[i - 1].atMs, '1: peaks in order')
    }
    for (const { heightPages, topPages } of this.#returns) {
      invariant(heightPages > 0 && heightPages <= topPages, '2: returns as high as demand was')
    }
  }
}
