/**
 * When pages go back to the kernel, and how many: pure decisions over counts and an injected clock.
 * `scavenger` carries them out.
 *
 * The promise: a page that came free is back within `releaseAfterMs` (D), even if nobody ever calls again.
 * Four rules share the work, each in a file of its own:
 *
 * - `decay`: pages that nobody uses go in steps, none before 0.22 D, all by 0.9 D
 * - `demand`: a floor of warm memory while traffic keeps coming back to it (`returns`), with room for blocks
 *   that do not fit (`misfit`). It is gone before the promise ends
 * - `budget`: purging takes one percent of the time at most, while there is traffic
 * - `refaults`: many purges in vain stretch D, up to 30 s
 *
 * Runs of a MiB and more that are wholly free do not wait at all, unless the floor wants them.
 *
 * Timers do nothing while a program allocates and frees within one turn of the event loop. So there is also a
 * *bound* on committed memory, see `boundPages`. Before more is committed than the bound allows, free pages
 * go back. And when the bound falls, free pages above it go back, even if the floor or the budget would keep
 * them.
 *
 * Once traffic has stopped, floor and budget end before the last step of a page comes, so that the promise is
 * kept.
 *
 * Invariants, checked by `check()` together with those of the four rules:
 *  1. the budget ends at least a step before an interval does, and the floor at least two steps before the
 *     longest decay (two intervals), so neither delays the end of the promise
 *  2. no more pages are marked than are dirty
 */
import { invariant } from '../base/assert.js'
import { PAUSE_MS, SLICE_MS } from '../base/timer-queue.js'
import { MIB, type PageCount } from '../base/units.js'
import { Budget } from './budget.js'
import { Decay } from './decay.js'
import { Demand, type Hold } from './demand.js'
import { HighWater } from './high-water.js'
import { Refaults } from './refaults.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { floor, max, min } = Math

/** With `releaseAfterMs: 0`: how long to wait before the kernel is asked again for pages that it refused. */
const RETRY_MS = 1_000
/**
 * A system call cannot be interrupted. So one call is for no more pages than are expected to take this share
 * of a slice, within `MIN_CALL_PAGES` and `MAX_CALL_PAGES`.
 */
const CALL_SHARE = 0.5
const MIN_CALL_PAGES = 256
/**
 * One call is also for no more stretches than take that share of a slice. The cost of a stretch depends on
 * the kernel and on the machine, so the number begins here and is adapted to the time that calls take.
 */
const FIRST_CALL_STRETCHES = 16
/** As many as one system call takes: `kMostRanges` in native/purging.cc. */
export const MAX_CALL_STRETCHES = 512
const MAX_CALL_PAGES = 2_048
/** How long after the last call the budget counts, as a share of an interval: all of it but one step. */
const BUDGET_SHARE = 7 / 8
/**
 * How long after the last call the demand floor stands in full, and when it is gone, in intervals. Decay
 * takes two intervals at most: a wave may come back until there is just time left to give everything back.
 */
const FLOOR_FULL_SHARE = 1.3
const FLOOR_END_SHARE = 1.5
/**
 * The floor ends earlier by this many times the time that purging all dirty pages is expected to take. More
 * than once, because slices pause between turns, and other processes want the CPU.
 */
const COST_SHARE = 3
/** The floor stands in full for this share of an interval at least, however much there is to give back. */
const MIN_FULL_SHARE = 0.4
/** The bound on committed pages: this factor times the most that was in use lately, plus the spare bytes. */
const BOUND_FACTOR = 1.25
const BOUND_SPARE_BYTES = 8 * MIB
/**
 * What counts as *lately*, as a share of the promise. The policy learns a step late what was in use, and
 * pages go another step later. Two steps are 0.1125 of the promise; the rest is for timers that fire late.
 */
const LATELY_SHARE = 0.85
/**
 * The part of those spare bytes that may be kept warm for blocks that do not fit, besides a quarter of
 * expected demand.
 */
const SPARE_BYTES = BOUND_SPARE_BYTES - MIB
/** Wholly free runs of this length go back at once. */
export const AT_ONCE_BYTES = MIB

/** The counts of an arena and its heap that the policy reads. */
export interface Counts {
  /** Blocks allocated and freed, ever. There was traffic if it has changed. */
  readonly calls: number
  readonly usedPages: PageCount
  /** Most pages that were in use at once since the last `observe`. */
  readonly peakUsedPages: PageCount
  readonly dirtyPages: PageCount
  /** Pages that were dirty at the last mark and have not been used since. */
  readonly agedPages: PageCount
  /** Purged pages that came into use again, ever. */
  readonly refaultedPages: PageCount
}

export class ReleasePolicy {
  /** Whether free pages go back in the call that frees them: `releaseAfterMs` is 0. */
  readonly isImmediate: boolean
  /** Whether free pages go back by timer: `releaseAfterMs` is neither 0 nor Infinity. */
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
  /** The floor at the last `observe`: free pages that traffic is likely to want again. */
  warmPages: PageCount = 0

  /**
   * Free pages of which none goes at once: the warm ones, and others while it is not known yet whether
   * traffic wants them.
   */
  calmPages: PageCount = 0

  /**
   * `releaseAfterMs` is 0 to Infinity. `now` returns the milliseconds of a clock that never goes back.
   * `pageBytes` is 4 KiB to 64 KiB.
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

  /** Most stretches for one call. `called` adapts it. */
  maxCallStretches = FIRST_CALL_STRETCHES

  /** Most pages for one call, by the measured cost of a page. */
  get maxCallPages(): PageCount {
    const pageCount = floor((CALL_SHARE * SLICE_MS) / this.#budget.msPerPage)
    return min(MAX_CALL_PAGES, max(MIN_CALL_PAGES, pageCount))
  }

  /** The promise in force, in milliseconds: `releaseAfterMs`, or more if pages were purged in vain. */
  get promiseMs(): number {
    return this.#refaults.promiseMs
  }

  /** Notes that the first page came free after nothing was dirty: a new interval begins. */
  start(): void {
    this.#decay.mark(this.#now(), 0, this.promiseMs)
    this.isFlushDue = true
  }

  /**
   * Whether the blocks that are kept on the stacks of their sizes are to be given up now. That costs the time
   * that keeping them saves, so it is done when pages are marked, and also a step after the start, so that
   * the first wave is seen to fall before the next one.
   */
  isFlushDue = false

  /** Notes what happened since the last call. Must be called before any quota is read. */
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

  /**
   * Notes that `pageCount` pages were in use at once at some moment since the last call of this, or of
   * `observe`.
   */
  recordPeak(pageCount: PageCount): void {
    this.#highWater.record(this.#now(), pageCount, this.#latelyMs)
    this.#toldPeakPages = max(this.#toldPeakPages, pageCount)
  }

  /**
   * Returns the bound: the most pages that may be committed while `usedPages` are in use. It is 1.25 times
   * the most that was in use lately (see `LATELY_SHARE`), plus 8 MiB. `recordPeak` must be called before.
   */
  boundPages(usedPages: PageCount): PageCount {
    const mostPages = max(usedPages, this.#highWater.most(this.#now(), this.#latelyMs))
    return floor(mostPages * BOUND_FACTOR) + this.#spareOfBoundPages
  }

  /** How many dirty pages are above the bound. They go back now, marked or not, whatever that costs. */
  get excessPages(): PageCount {
    return max(0, this.#usedPages + this.#dirtyPages - this.boundPages(this.#usedPages))
  }

  get #latelyMs(): number {
    return this.promiseMs * LATELY_SHARE
  }

  /** How many pages of long runs that are wholly free are to go back at once, as far as the budget allows. */
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

  /**
   * Notes that `pageCount` pages were purged without waiting since `startMeasure`; `agedPages` of them had a
   * mark.
   */
  purgedAtOnce(pageCount: PageCount, agedPages: PageCount): void {
    this.#spent(pageCount, agedPages)
    const nowMs = this.#now()
    // Pages with a mark had waited, so a longer promise would have kept them.
    this.#refaults.purged(nowMs, agedPages)
    this.#refaults.purgedEarly(nowMs, pageCount - agedPages)
  }

  /**
   * Notes that `pageCount` marked pages were purged since `startMeasure`. A longer promise would have kept
   * them.
   */
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

  /** Whether all dirty pages were marked anew since the last `observe`. */
  isMarked = false

  /** Whether all dirty pages are to be marked anew now. */
  get isMarkDue(): boolean {
    return this.#decay.isMarkDue(this.#now())
  }

  /** Notes that all dirty pages were marked. */
  marked(): void {
    // Pages that had a mark already, and were kept for traffic or because of the budget, get no second grace.
    this.#decay.mark(this.#now(), this.#dirtyPages - this.#agedPages, this.promiseMs)
    this.isMarked = true
    this.#remember(this.#dirtyPages, this.#dirtyPages)
  }

  /** Starts to measure what purging costs. */
  startMeasure(): void {
    this.#measuredFromMs = this.#now()
    this.#lastCallMs = this.#measuredFromMs
  }

  /**
   * Notes that one call has ended, which was for `stretchCount` stretches. If it was quick, the next one is
   * for more; if it was slow, for fewer.
   */
  called(stretchCount: number): void {
    const nowMs = this.#now()
    const tookMs = nowMs - this.#lastCallMs
    this.#lastCallMs = nowMs
    if (tookMs > CALL_SHARE * SLICE_MS) this.maxCallStretches = max(1, this.maxCallStretches >>> 1)
    else if (tookMs < (CALL_SHARE * SLICE_MS) / 2 && stretchCount >= this.maxCallStretches)
      this.maxCallStretches = min(MAX_CALL_STRETCHES, 2 * this.maxCallStretches)
  }

  /**
   * Returns whether one more call is likely to end within the slice of this turn of the event loop, which
   * began at `turnStartMs`.
   */
  hasTime(turnStartMs: number): boolean {
    return this.#now() - turnStartMs < (1 - CALL_SHARE) * SLICE_MS
  }

  /**
   * Returns the milliseconds to wait for the next tick, or for the next slice of a tick that is not finished.
   */
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
    const fullMs = max(MIN_FULL_SHARE * intervalMs, FLOOR_FULL_SHARE * intervalMs - costMs)
    return { fullMs, endMs: fullMs + (FLOOR_END_SHARE - FLOOR_FULL_SHARE) * intervalMs }
  }

  /** Returns how many of `pageCount` pages may go now. Under traffic, that is what the budget allows. */
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
