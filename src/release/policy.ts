/**
 * When pages go back to the kernel, and how many: pure decisions over counts and an injected clock. `scavenger` carries
 * them out.
 *
 * Promise: a page that came free is back within `releaseAfterMs` (D), even if nobody ever calls again. Four rules share
 * the work, each in a file of its own:
 *
 * - `decay`: pages that nobody uses go in steps, none before 0.22 D, all by 0.9 D
 * - `demand`: a floor of warm memory under traffic that keeps coming back to it (`returns`), with room for what does not fit
 *   (`misfit`); gone before the promise ends
 * - `budget`: one percent of the time, while there is traffic
 * - `refaults`: purging in vain stretches D, up to 30 s
 *
 * And wholly free runs of a MiB and more do not wait at all, unless the floor wants them.
 *
 * Time alone bounds nothing while a program allocates and frees in one turn of the event loop. So there is a bound on what may
 * be committed too, see `boundPages`: what is free goes before more is committed than that, and whatever else would keep it, the
 * floor and the budget too, once the bound falls.
 *
 * Once traffic has stopped, floor and budget have ended by the time a page's last step comes: the promise comes first.
 *
 * Invariants, checked by `check()` together with those of the four rules:
 *  1. the budget ends a step before an interval does, the floor well before the longest decay: none delays its end
 *  2. of the dirty pages, no more are marked than there are
 */
import { invariant } from '../base/assert.js'
import { PAUSE_MS, SLICE_MS } from '../base/timer-queue.js'
import { MIB, type PageCount } from '../base/units.js'
import { Budget } from './budget.js'
import { Decay } from './decay.js'
import { Demand, type Hold } from './demand.js'
import { HighWater } from './high-water.js'
import { Refaults } from './refaults.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { floor, max, min } = Math

/** Where pages go back on the freeing call: after the kernel refused to take some. */
const RETRY_MS = 1_000
/** A system call cannot be cut short, so none is for more pages than half a slice is expected to take, within limits. */
const CALL_SHARE = 0.5
const MIN_CALL_PAGES = 256
/**
 * And for no more stretches than took half a slice. They cost a microsecond each where the kernel takes many at once, up to 150
 * where it does not and the machine is virtual: so the number is found out, from these few on.
 */
const FIRST_CALL_STRETCHES = 16
const MAX_CALL_STRETCHES = 512
const MAX_CALL_PAGES = 2_048
/** The share of an interval that the budget counts when traffic has stopped: a step less than all of it. */
const BUDGET_SHARE = 7 / 8
/**
 * How many intervals the demand floor stands after the last call, and when it is gone. Two are the longest that
 * decay takes: a wave may come back until there is just time to give all of it back.
 */
const FLOOR_FULL_SHARE = 1.3
const FLOOR_END_SHARE = 1.5
/** That time is as many times what the pages are expected to cost: slices of a turn pause, and others want the CPU. */
const COST_SHARE = 3
/** However much there is to give back, the floor stands for this share of an interval. */
const LEAST_FULL_SHARE = 0.4
/** What may be committed: so many times the most that was in use lately, and that much more. */
const BOUND_FACTOR = 1.25
const BOUND_SPARE_BYTES = 8 * MIB
/**
 * Lately is less than the promise: what was in use is heard of a step late, and what goes then goes another step later. Two steps
 * are 0.1125 of the promise; the rest is for timers that fire late.
 */
const LATELY_SHARE = 0.85
/** Of it, what may be kept for blocks that do not fit what is free, besides a quarter of what traffic has in use. */
const SPARE_BYTES = 7 * MIB
/** Wholly free runs of this length go back at once. */
export const AT_ONCE_BYTES = MIB

/** What an arena and its heap count. */
export interface Counts {
  /** Blocks allocated and freed, ever: traffic is what changes it. */
  readonly calls: number
  readonly usedPages: PageCount
  /** Most that were used at once since the last time. */
  readonly peakUsedPages: PageCount
  readonly dirtyPages: PageCount
  /** Dirty at the last mark, and not used since. */
  readonly agedPages: PageCount
  /** Purged pages that came into use again, ever. */
  readonly refaultedPages: PageCount
}

export class ReleasePolicy {
  /** Free pages go back on the call that frees them. */
  readonly isImmediate: boolean
  /** Free pages go back by timer. */
  readonly isTimed: boolean
  readonly atOncePages: PageCount
  readonly #sparePages: PageCount
  readonly #now: () => number
  readonly #spareOfBoundPages: PageCount
  readonly #highWater = new HighWater()
  readonly #decay = new Decay()
  readonly #demand = new Demand()
  readonly #budget = new Budget()
  readonly #refaults: Refaults
  #measuredFromMs = 0
  #lastCallMs = 0
  /** Most pages in use since the last `observe`, as far as `recordPeak` was told. */
  #toldPeakPages: PageCount = 0
  #calls = 0
  #usedPages: PageCount = 0
  #dirtyPages: PageCount = 0
  #agedPages: PageCount = 0
  #refaultedPages: PageCount = 0
  /** Free pages that traffic is likely to want again: as of the last `observe`. */
  warmPages: PageCount = 0

  /** Free pages of which none goes at once: those, and some of which it is not yet known whether traffic wants them. */
  calmPages: PageCount = 0

  /**
   * `releaseAfterMs`: 0 to Infinity. `now`: milliseconds of a clock that never goes back. `pageBytes`: 4 KiB to 64 KiB.
   */
  constructor(releaseAfterMs: number, now: () => number, pageBytes: number) {
    this.isImmediate = releaseAfterMs === 0
    this.isTimed = releaseAfterMs > 0 && releaseAfterMs < Number.POSITIVE_INFINITY
    this.atOncePages = AT_ONCE_BYTES / pageBytes
    this.#sparePages = SPARE_BYTES / pageBytes
    this.#now = now
    this.#spareOfBoundPages = BOUND_SPARE_BYTES / pageBytes
    this.#refaults = new Refaults(releaseAfterMs)
  }

  /** Most stretches for one call. */
  maxCallStretches = FIRST_CALL_STRETCHES

  /** Most pages for one call, by what a page was measured to cost. */
  get maxCallPages(): PageCount {
    const pageCount = floor((CALL_SHARE * SLICE_MS) / this.#budget.msPerPage)
    return min(MAX_CALL_PAGES, max(MIN_CALL_PAGES, pageCount))
  }

  /** The promise in force: `releaseAfterMs`, or more where purging proved to be in vain. */
  get promiseMs(): number {
    return this.#refaults.promiseMs
  }

  /** The first page came free after nothing was dirty: a new interval begins. */
  start(): void {
    this.#decay.mark(this.#now(), 0, this.promiseMs)
    this.isFlushDue = true
  }

  /**
   * Whether blocks that are kept for the next of their size are to be given up now: when pages are marked, since that costs the
   * time that keeping was to save; and a step after the start, so that the first wave is seen to fall before the next one.
   */
  isFlushDue = false

  /** What has happened since the last time. Before any quota is asked for. */
  observe(counts: Counts): void {
    const nowMs = this.#now()
    const hasTraffic = counts.calls !== this.#calls
    this.recordPeak(counts.peakUsedPages)
    const { usedPages, dirtyPages } = counts
    const seen = { usedPages, peakUsedPages: this.#toldPeakPages, dirtyPages }
    this.#demand.observe(nowMs, seen, hasTraffic, this.promiseMs)
    this.#toldPeakPages = 0
    this.#calls = counts.calls
    this.#usedPages = usedPages
    this.#refaults.refaulted(nowMs, counts.refaultedPages - this.#refaultedPages)
    this.#refaultedPages = counts.refaultedPages
    this.#remember(counts.dirtyPages, counts.agedPages)
    this.isMarked = false
    this.isFlushDue = false
    const mostPages = this.boundPages(usedPages) - usedPages
    this.warmPages = min(mostPages, this.#demand.floorPages(nowMs, this.#floorHold, this.#sparePages))
    const calmPages = this.#demand.calmPages(this.warmPages, this.#sparePages, this.atOncePages)
    this.calmPages = min(mostPages, calmPages)
  }

  /** So many pages were in use at once at some moment since the last call of this, or of `observe`. */
  recordPeak(pageCount: PageCount): void {
    this.#highWater.record(this.#now(), pageCount, this.#latelyMs)
    this.#toldPeakPages = max(this.#toldPeakPages, pageCount)
  }

  /**
   * Most pages that may be committed while `usedPages` are in use: 1.25 times the most that was in use within the promise, and
   * 8 MiB. After `recordPeak`.
   */
  boundPages(usedPages: PageCount): PageCount {
    const mostPages = max(usedPages, this.#highWater.most(this.#now(), this.#latelyMs))
    return floor(mostPages * BOUND_FACTOR) + this.#spareOfBoundPages
  }

  /** How many dirty pages are to go back now, marked or not, whatever that costs: what was in use once was so too long ago. */
  get excessPages(): PageCount {
    return max(0, this.#usedPages + this.#dirtyPages - this.boundPages(this.#usedPages))
  }

  get #latelyMs(): number {
    return this.promiseMs * LATELY_SHARE
  }

  /** How many pages of wholly free, long runs are to go back as soon as the budget allows, whenever they came free. */
  get atOncePagesWanted(): PageCount {
    const excess = this.#dirtyPages - this.calmPages
    return excess < this.atOncePages ? 0 : excess
  }

  /** How many of the marked pages are to go back now. */
  get agedQuota(): PageCount {
    const freshPages = this.#dirtyPages - this.#agedPages
    const keptPages = max(this.#decay.keptPages(this.#now()), this.warmPages - freshPages)
    return this.affordable(max(0, this.#agedPages - keptPages))
  }

  /** Long runs were purged since `startMeasure`: `pageCount` pages, of which `agedPages` had a mark. */
  purgedAtOnce(pageCount: PageCount, agedPages: PageCount): void {
    this.#spent(pageCount, agedPages)
    const nowMs = this.#now()
    // Those with a mark had their time, and a longer promise would have kept them.
    this.#refaults.purged(nowMs, agedPages)
    this.#refaults.purgedEarly(nowMs, pageCount - agedPages)
  }

  /** So many marked pages were purged since `startMeasure`. A longer promise would have kept them. */
  purgedAged(pageCount: PageCount): void {
    this.#spent(pageCount, pageCount)
    this.#refaults.purged(this.#now(), pageCount)
  }

  #spent(pageCount: PageCount, agedPages: PageCount): void {
    const nowMs = this.#now()
    this.#budget.spend(nowMs, pageCount, nowMs - this.#measuredFromMs)
    this.#demand.purged(pageCount)
    this.#remember(this.#dirtyPages - pageCount, this.#agedPages - agedPages)
  }

  /** Whether the last tick marked all dirty pages anew. */
  isMarked = false

  /** Whether all dirty pages are to be marked anew. */
  get isMarkDue(): boolean {
    return this.#decay.isMarkDue(this.#now())
  }

  /** All dirty pages were marked. */
  marked(): void {
    // Pages that had a mark already, and were kept for traffic or for the budget's sake, get no second grace.
    this.#decay.mark(this.#now(), this.#dirtyPages - this.#agedPages, this.promiseMs)
    this.isMarked = true
    this.#remember(this.#dirtyPages, this.#dirtyPages)
  }

  /** What purging costs is measured from here on. */
  startMeasure(): void {
    this.#measuredFromMs = this.#now()
    this.#lastCallMs = this.#measuredFromMs
  }

  /** One call has ended, for so many stretches: the next one is for more where that was quick, for fewer where it was slow. */
  called(stretchCount: number): void {
    const nowMs = this.#now()
    const tookMs = nowMs - this.#lastCallMs
    this.#lastCallMs = nowMs
    if (tookMs > CALL_SHARE * SLICE_MS) this.maxCallStretches = max(1, this.maxCallStretches >>> 1)
    else if (tookMs < (CALL_SHARE * SLICE_MS) / 2 && stretchCount >= this.maxCallStretches)
      this.maxCallStretches = min(MAX_CALL_STRETCHES, 2 * this.maxCallStretches)
  }

  /** Whether one more call is likely to end within the slice of this turn of the event loop, which began at `turnStartMs`. */
  hasTime(turnStartMs: number): boolean {
    return this.#now() - turnStartMs < (1 - CALL_SHARE) * SLICE_MS
  }

  /** How long to wait for the next tick, or for the next slice of an unfinished one. */
  delayMs(isFinished: boolean, hasDirty: boolean): number {
    if (!isFinished) return PAUSE_MS
    if (!this.isTimed) return RETRY_MS
    return hasDirty || this.isFlushDue ? this.#decay.stepMs : this.#decay.intervalMs
  }

  get #budgetMs(): number {
    return this.#decay.intervalMs * BUDGET_SHARE
  }

  get #floorHold(): Hold {
    const { intervalMs } = this.#decay
    const costMs = COST_SHARE * this.#dirtyPages * this.#budget.msPerPage
    const fullMs = max(LEAST_FULL_SHARE * intervalMs, FLOOR_FULL_SHARE * intervalMs - costMs)
    return { fullMs, endMs: fullMs + (FLOOR_END_SHARE - FLOOR_FULL_SHARE) * intervalMs }
  }

  /** How many of these pages may go now: under traffic, what the budget allows. */
  affordable(pageCount: PageCount): PageCount {
    const nowMs = this.#now()
    if (this.#demand.quietMs(nowMs) >= this.#budgetMs) return pageCount
    return min(pageCount, this.#budget.affordablePages(nowMs))
  }

  #remember(dirtyPages: PageCount, agedPages: PageCount): void {
    this.#dirtyPages = dirtyPages
    this.#agedPages = agedPages
  }

  check(): void {
    this.#decay.check()
    this.#highWater.check()
    this.#demand.check()
    this.#budget.check()
    if (this.isTimed) this.#refaults.check()
    const { intervalMs, stepMs } = this.#decay
    const stepsMs = stepMs * (1 - 1e-9)
    invariant(this.#budgetMs <= intervalMs - stepsMs, '1: the budget ends in time')
    invariant(this.#floorHold.endMs <= 2 * (intervalMs - stepsMs), '1: the floor ends in time')
    invariant(this.#agedPages >= 0 && this.#agedPages <= this.#dirtyPages, '2: marked pages are dirty')
  }
}
