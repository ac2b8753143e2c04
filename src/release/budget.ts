/**
 * What purging may cost while others want the time: one percent of it. Time is saved up while nothing is purged, up to
 * what five seconds of traffic allow, and spent by what purging was measured to take, so an expensive purge is followed by a
 * pause. How many pages the saved time is worth is a running mean of the cost of each, because that depends on the
 * kernel and on how scattered the pages are: 0.24 µs in long runs, 2.2 µs one by one.
 *
 * Who may ignore the budget (an idle arena, a trim, a limit) is the policy's business.
 *
 * Invariant, checked by `check()`:
 *  1. no more is saved than five seconds' worth
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { floor, min } = Math

const SHARE = 0.01
const MOST_SAVED_MS = SHARE * 5_000
/** Before anything was measured: between pages in long runs and pages one by one. */
const FIRST_GUESS_MS = 0.001
/** A slice that seems to have taken longer did not purge all that time: another process had the CPU. */
const MOST_TAKEN_MS = 2
/** For the same reason no slice moves the mean further than that many times its value. */
const MOST_TIMES = 4
/** The weight of the pages purged in one slice, in the running mean. */
const WEIGHT = 0.125

export class Budget {
  #savedMs = MOST_SAVED_MS
  #atMs = 0
  #msPerPage = FIRST_GUESS_MS

  /** The mean cost of a page, as measured. */
  get msPerPage(): number {
    return this.#msPerPage
  }

  /** How many pages the time saved until now is worth. */
  affordablePages(nowMs: number): PageCount {
    this.#save(nowMs)
    return this.#savedMs <= 0 ? 0 : floor(this.#savedMs / this.#msPerPage)
  }

  /** Looking for `pageCount` pages and purging them took `tookMs`, whoever asked for it. */
  spend(nowMs: number, pageCount: PageCount, tookMs: number): void {
    this.#save(nowMs)
    const spentMs = min(tookMs, MOST_TAKEN_MS)
    this.#savedMs -= spentMs
    // A clock that stood still meanwhile has measured nothing.
    if (pageCount === 0 || spentMs === 0) return
    const cost = min(spentMs / pageCount, MOST_TIMES * this.#msPerPage)
    this.#msPerPage += WEIGHT * (cost - this.#msPerPage)
  }

  #save(nowMs: number): void {
    this.#savedMs = min(MOST_SAVED_MS, this.#savedMs + SHARE * (nowMs - this.#atMs))
    this.#atMs = nowMs
  }

  check(): void {
    invariant(this.#savedMs <= MOST_SAVED_MS, '1: a bounded saving')
  }
}
