/**
 * How long to wait after a round of compaction before the next one, by what the rounds were good for.
 *
 * A round was in vain if it freed less than a quarter of what its survey promised, or if more than a quarter
 * of the pages that it freed were in use again within twice the promise. Each round in vain doubles the wait,
 * up to 30 seconds. Each other round takes one doubling back. The wait counts from the end of a round, so
 * after a long rest there is none.
 *
 * Pages are counted, not tracked: pages in use beyond those at the end of the round are pages that it freed.
 *
 * Invariants, checked by `check()`:
 *  1. the wait lies between its least and the greater of that and 30 s
 *  2. a round is judged later only if it freed something
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

const MAX_MS = 30_000
const STRETCH = 2
/** A round is in vain below this share of the promised pages that it freed. */
const FEW_FREED = 1 / 4
/** A round is in vain above this share of the freed pages that are in use again. */
export const MANY_REUSED = 1 / 4
/** The least wait and the time until a round is judged, as shares of the promise. */
const LEAST_SHARE = 1 / 2
const JUDGE_SHARE = 2
/** A shorter promise counts as this here: else a load that refills every few milliseconds is not noticed. */
const MIN_PROMISE_MS = 10
/** Times are sums of fractions. This tolerance lets what is due at this very moment count as due. */
const EPSILON_MS = 1e-6

export class CompactionWait {
  readonly #leastMs: number
  readonly #judgeAfterMs: number
  #waitMs: number
  #endedMs = Number.NEGATIVE_INFINITY
  /** Pages that the last round freed, until it is judged; then 0. */
  #freedPages: PageCount = 0
  /** Pages that were in use when the last round ended. */
  #usedPages: PageCount = 0

  /** `askedMs` is the promise that was asked for, 0 to Infinity. */
  constructor(askedMs: number) {
    const promiseMs = max(askedMs, MIN_PROMISE_MS)
    this.#leastMs = promiseMs * LEAST_SHARE
    this.#judgeAfterMs = promiseMs * JUDGE_SHARE
    this.#waitMs = this.#leastMs
  }

  /** The wait in force, in milliseconds. */
  get waitMs(): number {
    return this.#waitMs
  }

  /** Returns the milliseconds that are left of the wait, or 0. */
  leftMs(nowMs: number): number {
    const leftMs = this.#endedMs + this.#waitMs - nowMs
    return leftMs > EPSILON_MS ? leftMs : 0
  }

  /** Whether the last round is still to be judged. */
  get isJudging(): boolean {
    return this.#freedPages > 0
  }

  /** Notes that `usedPages` are in use now, and judges the last round if that can be done. */
  observe(nowMs: number, usedPages: PageCount): void {
    if (!this.isJudging) return
    if (usedPages - this.#usedPages > MANY_REUSED * this.#freedPages) this.#judge(true)
    else if (nowMs - this.#endedMs >= this.#judgeAfterMs - EPSILON_MS) this.#judge(false)
  }

  /** Notes that a round begins. The one before it is judged by what is known of it. */
  began(): void {
    if (this.isJudging) this.#judge(false)
  }

  /**
   * Notes that a round has ended. Its survey promised `promisedPages`, it freed `freedPages`, and `usedPages`
   * are in use now.
   */
  ended(nowMs: number, promisedPages: PageCount, freedPages: PageCount, usedPages: PageCount): void {
    this.stopped(nowMs)
    if (freedPages === 0 || freedPages < FEW_FREED * promisedPages) {
      this.#judge(true)
      return
    }
    this.#freedPages = freedPages
    this.#usedPages = usedPages
  }

  /** Notes that a round has ended which says nothing about the next one. */
  stopped(nowMs: number): void {
    this.#endedMs = nowMs
    this.#freedPages = 0
  }

  #judge(isInVain: boolean): void {
    this.#freedPages = 0
    const waitMs = isInVain ? min(MAX_MS, this.#waitMs * STRETCH) : this.#waitMs / STRETCH
    this.#waitMs = max(this.#leastMs, waitMs)
  }

  check(): void {
    const longestMs = max(this.#leastMs, MAX_MS)
    invariant(this.#waitMs >= this.#leastMs && this.#waitMs <= longestMs, '1: a wait within bounds')
    invariant(this.#freedPages >= 0, '2: a round that freed something')
  }
}
