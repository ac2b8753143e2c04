/**
 * What a round of compaction is good for while it runs: the account of one round at a time.
 *
 * A slice *frees* pages. A pass *gains* those that it freed, as far as fewer pages are in use after it than
 * before: if others took the pages at once, nothing was gained.
 *
 * Invariant, checked by `check()`:
 *  1. a round has gained no more pages than were in use when it began
 */
import { invariant } from '../base/assert.js'
import { NONE, type PageCount } from '../base/units.js'
import { MANY_REUSED } from './compaction-wait.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

/** A pass that gains a smaller share of the pages in use, or promises less, is the last one. */
const STOP_SHARE = 1 / 50
/** Pages in use vary by this share of them without any meaning. */
export const NOISE_SHARE = 1 / 100

export class CompactionRound {
  /** What the first survey of the round promised; `NONE` before it. */
  promisedPages: PageCount = NONE
  /** Pages that all passes so far have gained. */
  gainedPages: PageCount = 0
  /** Pages in use when the round began, and those that its slices have freed. */
  #usedPages: PageCount = 0
  #freedPages: PageCount = 0
  /** The same of the pass under way. */
  #passUsedPages: PageCount = 0
  #passFreedPages: PageCount = 0

  /** Begins another round, while `usedPages` are in use. */
  begin(usedPages: PageCount): void {
    this.promisedPages = NONE
    this.gainedPages = 0
    this.#usedPages = usedPages
    this.#freedPages = 0
    this.beginPass(usedPages)
  }

  /** Begins a pass. */
  beginPass(usedPages: PageCount): void {
    this.#passUsedPages = usedPages
    this.#passFreedPages = 0
  }

  /** Notes that a slice has freed `pageCount` pages. It is below 0 if more were in use after the slice. */
  freed(pageCount: PageCount): void {
    this.#freedPages += pageCount
    this.#passFreedPages += pageCount
  }

  /** Notes what the survey of the pass promises. Returns whether the pass is worth it. */
  surveyed(promisedPages: PageCount): boolean {
    if (this.promisedPages === NONE) this.promisedPages = promisedPages
    return this.#isWorthIt(promisedPages)
  }

  /** Notes that the pass has ended. Returns whether another one may be worth it. */
  passed(usedPages: PageCount): boolean {
    const gainedPages = max(0, min(this.#passFreedPages, this.#passUsedPages - usedPages))
    this.gainedPages += gainedPages
    return this.#isWorthIt(gainedPages)
  }

  #isWorthIt(pageCount: PageCount): boolean {
    return pageCount > 0 && pageCount >= STOP_SHARE * this.#passUsedPages
  }

  /**
   * Returns whether too many pages are in use again, of those that the round has freed. Up to `fewPages` do
   * not count.
   */
  isInVain(usedPages: PageCount, fewPages: PageCount): boolean {
    const reusedPages = usedPages - (this.#usedPages - this.#freedPages)
    return reusedPages > max(fewPages, NOISE_SHARE * this.#usedPages, MANY_REUSED * this.#freedPages)
  }

  check(): void {
    invariant(this.gainedPages <= this.#usedPages, '1: no more gained than was in use')
  }
}
