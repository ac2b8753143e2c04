/**
 * What purging may cost while there is traffic: one percent of the time. Time is saved up while nothing is
 * purged, up to the share of five seconds. Purging spends the time that it was measured to take, so an
 * expensive purge is followed by a pause. The cost of a page is a running mean, because it depends on the
 * kernel and on how scattered the pages are. Compaction has an account of its own, which counts time only.
 *
 * The policy decides who may ignore the budget (an idle arena, a trim, a limit).
 *
 * Invariant, checked by `check()`:
 *  1. no more is saved than the share of five seconds
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { floor, max, min } = Math

const SHARE = 0.01
const MAX_SAVED_MS = SHARE * 5_000
/**
 * The cost of a page before anything was measured: between that of pages in long runs and that of single
 * pages.
 */
const FIRST_GUESS_MS = 0.001
/** The most time that one slice spends. If it seems to have taken longer, another process had the CPU. */
const MAX_TAKEN_MS = 2
/** For the same reason, one slice counts at most this many times the mean cost. */
const MAX_TIMES = 4
/** The weight of one slice in the running mean. */
const WEIGHT = 0.125

export class Budget {
  #savedMs = MAX_SAVED_MS
  #atMs = 0
  #msPerPage = FIRST_GUESS_MS

  /** The mean cost of a page in milliseconds, as measured. */
  get msPerPage(): number {
    return this.#msPerPage
  }

  /** Returns how many pages the time saved until now pays for. */
  affordablePages(nowMs: number): PageCount {
    this.#save(nowMs)
    return this.#savedMs <= 0 ? 0 : floor(this.#savedMs / this.#msPerPage)
  }

  /** Returns the milliseconds to wait until `wantedMs` are saved, or 0. No more than 50 ms are ever saved. */
  affordableInMs(nowMs: number, wantedMs: number): number {
    this.#save(nowMs)
    return max(0, (wantedMs - this.#savedMs) / SHARE)
  }

  /** Spends `tookMs`: finding `pageCount` pages and purging them took that long. */
  spend(nowMs: number, pageCount: PageCount, tookMs: number): void {
    this.#save(nowMs)
    const spentMs = min(tookMs, MAX_TAKEN_MS)
    this.#savedMs -= spentMs
    // If no time has passed, the clock stood still, and nothing was measured.
    if (pageCount === 0 || spentMs === 0) return
    const cost = min(spentMs / pageCount, MAX_TIMES * this.#msPerPage)
    this.#msPerPage += WEIGHT * (cost - this.#msPerPage)
  }

  #save(nowMs: number): void {
    this.#savedMs = min(MAX_SAVED_MS, this.#savedMs + SHARE * (nowMs - this.#atMs))
    this.#atMs = nowMs
  }

  check(): void {
    invariant(this.#savedMs <= MAX_SAVED_MS, '1: a bounded saving')
  }
}
