/**
 * Whether pages are purged too early, and what to do then. A page that is used again within twice the promise after it
 * was purged was purged in vain, and cost a fault. Many such refaults, of more than one round of purging, double the promise, up to
 * 30 seconds; few let it shrink back to what was asked for.
 *
 * Long runs that went at once are the demand floor's business: had they been wanted repeatedly, it would have kept them.
 *
 * Pages are counted, not tracked: of the refaults that come within two promises of a purge, as many count as it
 * purged. Which page was faulted in does not matter: had those been kept, they would have been taken instead.
 *
 * Invariants, checked by `check()`:
 *  1. the promise lies between the one asked for and the greater of that and 30 s
 *  2. purges are remembered in order of time, each with pages that may still count
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max, min } = Math

const LONGEST_MS = 30_000
const STRETCH = 2
/** Half of a stretch is gone after four quiet windows. */
const SHRINK = 2 ** -0.25
/** Refaults among the pages purged: above the first they are many, below the second they are few. */
const MANY = 1 / 4
const FEW = 1 / 16
/**
 * Fewer refaults than this are not worth a longer promise: they cost half a millisecond. A single round of them is chance, however
 * many.
 */
const LEAST_PAGES = 256
const LEAST_ROUNDS = 2

interface Purge {
  readonly atMs: number
  /** Pages of it whose refault would still count. */
  pageCount: PageCount
  /** A longer promise would have kept them. */
  readonly isByDecay: boolean
}

export class Refaults {
  readonly #askedMs: number
  #promiseMs: number
  #windowStartMs = 0
  /** Latest last. */
  #purges: Purge[] = []
  /** Of late: both are halved at the end of each window of two promises. */
  #purgedPages = 0
  #refaultedPages = 0
  /** Times that purging was followed by refaults, since the promise last changed or a window without any. */
  #rounds = 0
  #hasPurged = false

  constructor(askedMs: number) {
    this.#askedMs = askedMs
    this.#promiseMs = askedMs
  }

  /** The promise in force. */
  get promiseMs(): number {
    return this.#promiseMs
  }

  purged(nowMs: number, pageCount: PageCount): void {
    if (pageCount === 0) return
    this.#purges.push({ atMs: nowMs, pageCount, isByDecay: true })
    this.#purgedPages += pageCount
    this.#hasPurged = true
  }

  /**
   * So many pages went back without waiting. A longer promise would not have kept them, so their refaults must not be taken
   * for those of others.
   */
  purgedEarly(nowMs: number, pageCount: PageCount): void {
    if (pageCount > 0) this.#purges.push({ atMs: nowMs, pageCount, isByDecay: false })
  }

  /** So many purged pages came into use again since the last call. */
  refaulted(nowMs: number, pageCount: PageCount): void {
    const sinceMs = nowMs - 2 * this.#promiseMs
    this.#purges = this.#purges.filter(purge => purge.atMs >= sinceMs)
    const countedPages = this.#count(pageCount)
    this.#refaultedPages += countedPages
    if (countedPages > 0 && this.#hasPurged) {
      this.#rounds++
      this.#hasPurged = false
    }
    const areMany = this.#refaultedPages >= LEAST_PAGES && this.#refaultedPages > MANY * this.#purgedPages
    if (areMany && this.#rounds >= LEAST_ROUNDS) this.#stretch(nowMs)
    else this.#endWindows(nowMs)
  }

  /** Sets refaults against the pages of the latest purges; returns how many there are of pages purged by decay. */
  #count(pageCount: PageCount): PageCount {
    let left = pageCount
    let counting = 0
    while (left > 0 && this.#purges.length > 0) {
      const purge = this.#purges[this.#purges.length - 1]
      const counted = min(left, purge.pageCount)
      left -= counted
      if (purge.isByDecay) counting += counted
      purge.pageCount -= counted
      if (purge.pageCount === 0) this.#purges.pop()
    }
    return counting
  }

  #stretch(nowMs: number): void {
    this.#promiseMs = max(this.#askedMs, min(LONGEST_MS, this.#promiseMs * STRETCH))
    this.#startAnew(nowMs)
  }

  /** What happened before the promise changed says nothing about the new one. */
  #startAnew(nowMs: number): void {
    this.#windowStartMs = nowMs
    this.#purges = []
    this.#purgedPages = 0
    this.#refaultedPages = 0
    this.#rounds = 0
  }

  #endWindows(nowMs: number): void {
    while (nowMs - this.#windowStartMs >= 2 * this.#promiseMs) {
      this.#windowStartMs += 2 * this.#promiseMs
      // Counts that are halved again and again come below chance: no gap, however long, takes many rounds.
      if (this.#refaultedPages <= FEW * this.#purgedPages || this.#refaultedPages < LEAST_PAGES) {
        if (this.#promiseMs === this.#askedMs) this.#windowStartMs = nowMs
        this.#promiseMs = max(this.#askedMs, this.#promiseMs * SHRINK)
        this.#rounds = 0
      }
      this.#purgedPages /= 2
      this.#refaultedPages /= 2
    }
  }

  check(): void {
    const longestMs = max(this.#askedMs, LONGEST_MS)
    invariant(this.#promiseMs >= this.#askedMs && this.#promiseMs <= longestMs, '1: a promise within bounds')
    for (let i = 0; i < this.#purges.length; i++) {
      invariant(this.#purges[i].pageCount > 0, '2: purges that may still count')
      invariant(i === 0 || this.#purges[i].atMs >= this.#purges[i - 1].atMs, '2: purges in order')
    }
  }
}
