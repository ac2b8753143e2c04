/**
 * Finds out whether pages are purged too early, and stretches the promise then.
 *
 * A page that is used again within twice the promise after its purge was purged in vain, and cost a fault. If
 * there are many such refaults, after more than one round of purging, the promise doubles, up to 30 seconds.
 * If there are few, it shrinks back to the promise that was asked for.
 *
 * Refaults of long runs that went at once do not count. A longer promise would not have kept those; the
 * demand floor does, if traffic wants them repeatedly.
 *
 * Pages are counted, not tracked: of the refaults within two promises after a purge, as many count as the
 * purge had pages. Which page faults does not matter: if the purged pages had been kept, they would have been
 * taken instead.
 *
 * Invariants, checked by `check()`:
 *  1. the promise lies between the one asked for and the greater of that and 30 s
 *  2. purges are remembered in order of time, each with at least one page whose refault may still count
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

const MAX_MS = 30_000
const STRETCH = 2
/** The factor of one quiet window. Four quiet windows undo one stretch. */
const SHRINK = 2 ** -0.25
/** Refaults as a share of the pages purged. Above `MANY` the promise stretches, up to `FEW` it shrinks. */
const MANY = 1 / 4
const FEW = 1 / 16
/**
 * Fewer refaults than `MIN_PAGES` are not worth a longer promise: they cost about half a millisecond in
 * all. And a single round of refaults, however many, may be chance: `MIN_ROUNDS` are needed.
 */
const MIN_PAGES = 256
const MIN_ROUNDS = 2

interface Purge {
  readonly atMs: number
  /** Pages of this purge whose refault would still count. */
  pageCount: PageCount
  /** Whether these pages waited for their time to pass, so that a longer promise would have kept them. */
  readonly isByDecay: boolean
}

export class Refaults {
  readonly #askedMs: number
  #promiseMs: number
  #windowStartMs = 0
  /** Purges within the last two promises, the latest last. */
  #purges: Purge[] = []
  /**
   * Pages purged by decay, and those of them that faulted. Both are halved at the end of each window of two
   * promises.
   */
  #purgedPages = 0
  #refaultedPages = 0
  /**
   * Rounds: how many times a purge was followed by refaults since the promise last changed, or since a window
   * with few of them.
   */
  #rounds = 0
  #hasPurged = false

  constructor(askedMs: number) {
    this.#askedMs = askedMs
    this.#promiseMs = askedMs
  }

  /** The promise in force, in milliseconds. */
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
   * Notes that `pageCount` pages went back without waiting. A longer promise would not have kept them. They
   * are remembered so that their refaults are not counted as refaults of other pages.
   */
  purgedEarly(nowMs: number, pageCount: PageCount): void {
    if (pageCount > 0) this.#purges.push({ atMs: nowMs, pageCount, isByDecay: false })
  }

  /** Notes that `pageCount` purged pages came into use again since the last call, and adapts the promise. */
  refaulted(nowMs: number, pageCount: PageCount): void {
    const sinceMs = nowMs - 2 * this.#promiseMs
    this.#purges = this.#purges.filter(purge => purge.atMs >= sinceMs)
    const countedPages = this.#count(pageCount)
    this.#refaultedPages += countedPages
    if (countedPages > 0 && this.#hasPurged) {
      this.#rounds++
      this.#hasPurged = false
    }
    const areMany = this.#refaultedPages >= MIN_PAGES && this.#refaultedPages > MANY * this.#purgedPages
    if (areMany && this.#rounds >= MIN_ROUNDS) this.#stretch(nowMs)
    else this.#endWindows(nowMs)
  }

  /**
   * Sets `pageCount` refaults off against the pages of the latest purges. Returns how many of them are pages
   * purged by decay.
   */
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
    this.#promiseMs = max(this.#askedMs, min(MAX_MS, this.#promiseMs * STRETCH))
    this.#startAnew(nowMs)
  }

  /** Forgets the counts. What happened before the promise changed says nothing about the new promise. */
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
      // The counts are halved in each window, so even after a long gap this loop is short: the promise soon
      // is at its least, and then the window begins now.
      if (this.#refaultedPages <= FEW * this.#purgedPages || this.#refaultedPages < MIN_PAGES) {
        if (this.#promiseMs === this.#askedMs) this.#windowStartMs = nowMs
        this.#promiseMs = max(this.#askedMs, this.#promiseMs * SHRINK)
        this.#rounds = 0
      }
      this.#purgedPages /= 2
      this.#refaultedPages /= 2
    }
  }

  check(): void {
    const longestMs = max(this.#askedMs, MAX_MS)
    invariant(this.#promiseMs >= this.#askedMs && this.#promiseMs <= longestMs, '1: a promise within bounds')
    for (let i = 0; i < this.#purges.length; i++) {
      invariant(this.#purges[i].pageCount > 0, '2: purges that may still count')
      invariant(i === 0 || this.#purges[i].atMs >= this.#purges[i - 1].atMs, '2: purges in order')
    }
  }
}
