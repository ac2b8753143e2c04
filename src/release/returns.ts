/**
 * How far demand comes back after it fell. Demand is the number of pages in use. A *return* is a rise after a
 * fall, as far as the fall went: if demand fell from 24 to 16 and rises to 30, eight pages came back. A fall
 * alone is no return, and neither is a first rise.
 *
 * Waves lie within waves, on top of memory that stays or drifts. So each peak that no later one has reached
 * is kept, with the lowest demand since. When demand rises, it reaches some of these peaks. Each of them
 * gives a return, from the lowest point since that peak up to the peak, and is dropped. The first peak that
 * is not reached gives a return up to where demand got, and stays.
 *
 * This file knows counts and times only.
 *
 * Invariants, checked by `check()`:
 *  1. peaks are in descending order of height, and in order of time
 *  2. the low of a peak is not above the peak, and the height of a return is above 0 and not above its top
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

/** Most peaks and returns that are remembered; the oldest is dropped first. More would be noise. */
const MAX_PEAKS = 64
const MAX_RETURNS = 64

/** A peak of demand that was not reached since. */
interface Peak {
  readonly pages: PageCount
  readonly atMs: number
  /** The lowest demand since this peak, up to the next one. */
  lowPages: PageCount
  /** The number of that low. Rises from one low count as one return. */
  readonly low: number
}

interface Return {
  readonly low: number
  /** When demand stood that high the time before. */
  readonly sinceMs: number
  readonly heightPages: PageCount
  readonly topPages: PageCount
  /**
   * How many later lows had returns as high and as far as this one, and the last such low. After two of them
   * this return is dropped, as it says nothing more.
   */
  coveredBy: number
  coveredLow: number
}

export class Returns {
  /** Highest first, which is also the oldest first. */
  #peaks: Peak[] = []
  /** Oldest first. */
  #returns: Return[] = []
  #lastLow = 0

  /** Notes that demand rose to `peakUsedPages` since the last call, and is `usedPages` now. */
  observe(nowMs: number, usedPages: PageCount, peakUsedPages: PageCount): void {
    this.#rise(peakUsedPages)
    this.#peaks.push({ pages: peakUsedPages, atMs: nowMs, lowPages: usedPages, low: ++this.#lastLow })
    if (this.#peaks.length > MAX_PEAKS) this.#peaks.shift()
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
    if (this.#returns.length > MAX_RETURNS) this.#returns.shift()
  }

  /**
   * Returns how many pages more than `usedPages` the greatest return since `sinceMs` would need
   * (`returnCount` 1), or the second greatest (`returnCount` 2). A return counts if it began and ended since
   * `sinceMs`.
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

  /** Returns the height, in pages, of the highest return that began and ended since `sinceMs`. */
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
