/**
 * When records are moved together so that pages come free: pure decisions over counts and an injected clock.
 * Whoever moves the records carries them out, in *rounds*. A round is a few *passes*. A pass is a survey, the
 * moves, and a purge of what came free. All of that is done in *slices*.
 *
 * The promise: once nobody calls any more, a round that is due begins within `releaseAfterMs` (D), and takes
 * two milliseconds for each that it works. After it, at most 1.2 times the live bytes plus 1 MiB are in use,
 * as far as records can be moved. D is longer after rounds in vain, see `compaction-wait`.
 *
 * *Waste* is what is in use beyond what lives. The rules:
 *
 * - A round begins when there has been waste for 0.225 D, and the pages in use do not grow. With traffic, it
 *   takes waste of a fifth of these pages, beyond what the demand floor wants. At rest a sixth is enough: that
 *   is where 1.2 times the live bytes are in use. Less than 1 MiB never is.
 * - It ends when waste is below a twentieth, after a pass that freed less than a fiftieth of the pages, or when
 *   more than a quarter of the pages that it freed are in use again.
 * - Then no other begins before the wait is over, nor before something has changed.
 * - It works a millisecond in one turn of the event loop, and one percent of the time while there is traffic.
 *
 * A tick of the caller is `observe`, then `begin` if `isStartDue`, then work if `isCompacting` and `mayWork`,
 * as long as `hasTime`, then `sliced`, and `surveyed` or `passed` at the end of a survey or of a pass. The next
 * tick is due after `delayMs`. Once that is `NONE`, the caller calls `watch` when something comes free.
 * `isTickNeeded` says whether a tick must be due.
 *
 * Invariants, checked by `check()` together with those of the round, of the wait and of the budget:
 *  1. the last look that can begin a round comes before the promise ends
 *  2. waste that ends a round is less than what begins one
 *  3. while a tick is needed for what was last observed, `delayMs` is one, and no longer than the promise in
 *     force
 */
import { invariant } from '../base/assert.js'
import { PAUSE_MS, SLICE_MS } from '../base/timer-queue.js'
import { GRANULE_BYTES, MIB, NONE, type PageCount } from '../base/units.js'
import { Budget } from './budget.js'
import { CompactionRound, NOISE_SHARE } from './compaction-round.js'
import { CompactionWait } from './compaction-wait.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { floor, max, min } = Math

/**
 * The pages that have to come free for each page of bytes that is moved. By timer, a page is sparse up to
 * 0.77 full. Where memory is wanted now (`trim`, a limit, pressure), up to 0.87 full: less is left,
 * and more is moved.
 */
export const GAIN_BY_TIMER = 0.3
export const GAIN_AT_ONCE = 0.15

/** The least waste that begins a round, as a share of what is in use, with traffic and at rest. */
const START_SHARE = 1 / 5
/** In use is 1.2 times what lives where waste is a sixth of it. */
const REST_START_SHARE = 1 / 6
/** Less waste than this is not worth a round, whatever its share. */
const START_BYTES = MIB
/** A round ends below this share of waste. */
const STOP_SHARE = 1 / 20
/** The times below are shares of the promise. From one look to the next: a quarter of an interval of `decay`. */
const LOOK_SHARE = 0.1125
/** How long waste is left alone. A free page is left alone for that long, too. */
const GRACE_SHARE = 2 * LOOK_SHARE
/** How long after the last call there is no traffic any more, and the budget does not count. */
const QUIET_SHARE = 2 * LOOK_SHARE
/** With a promise of 0, each gap between two calls would be a rest. */
const MIN_QUIET_MS = 2
/** How long after the last call the demand floor counts. It stands in full until 0.585 of the promise. */
const FLOOR_SHARE = 0.6
/**
 * By when after the last call a round can begin that is due. Traffic is noticed a look late, and the floor or
 * the grace may end just after a look. The rest is for timers that fire late. Looks that are nearer to the end
 * of a wait matter; those before it do not.
 */
const LATEST_SHARE = LOOK_SHARE + max(FLOOR_SHARE, GRACE_SHARE, QUIET_SHARE) + LOOK_SHARE
/** A pause is as long as the slice before it, in whole milliseconds, as timers are, but no longer than this. */
const MAX_PAUSE_MS = 2 * PAUSE_MS
/** Times are sums of fractions. This tolerance lets what is due at this very moment count as due. */
const EPSILON_MS = 1e-6

/** The counts of a heap that the policy reads. All of them are at hand in O(1). */
export interface CompactionCounts {
  /**
   * What may have changed what a round can free: records allocated, freed and resized, and pins that ended,
   * ever. Moves do not count. There was traffic if it has changed.
   */
  readonly calls: number
  readonly usedPages: PageCount
  /** Granules of live blocks. */
  readonly liveGranules: number
  /** The demand floor: `ReleasePolicy.warmPages`. */
  readonly warmPages: PageCount
}

export class CompactionPolicy {
  /** Whether rounds begin by timer: `releaseAfterMs` is not Infinity. */
  readonly isTimed: boolean
  readonly #askedMs: number
  readonly #lookMs: number
  readonly #graceMs: number
  readonly #quietAfterMs: number
  readonly #now: () => number
  readonly #granulesPerPage: number
  readonly #budget = new Budget()
  readonly #wait: CompactionWait
  #counts: CompactionCounts = { calls: 0, usedPages: 0, liveGranules: 0, warmPages: 0 }
  /** Whether something came free since the last look, and none was due. */
  #isWatching = false
  /** When a look first saw what the last calls did. */
  #trafficMs = Number.NEGATIVE_INFINITY
  /** Whether more pages were in use at the last look than at the one before it. */
  #hasGrown = false
  /** Since when there has been waste enough at each look; Infinity if there was not at the last one. */
  #wastefulMs = Number.POSITIVE_INFINITY
  /** `calls` when the last pass began. A survey would find the same now if that has not changed. */
  #surveyedCalls = NONE
  /** Whether a round is under way. */
  isCompacting = false
  /** The round under way, or the last one. */
  readonly #round = new CompactionRound()
  /** How long to pause after the last slice. */
  #pauseMs = PAUSE_MS

  /**
   * `releaseAfterMs` is 0 to Infinity. `now` returns the milliseconds of a clock that never goes back.
   * `pageBytes` is 4 KiB to 64 KiB.
   */
  constructor(releaseAfterMs: number, now: () => number, pageBytes: number) {
    this.isTimed = releaseAfterMs < Number.POSITIVE_INFINITY
    this.#askedMs = releaseAfterMs
    this.#lookMs = max(PAUSE_MS, releaseAfterMs * LOOK_SHARE)
    this.#graceMs = releaseAfterMs * GRACE_SHARE
    this.#quietAfterMs = max(MIN_QUIET_MS, releaseAfterMs * QUIET_SHARE)
    this.#now = now
    this.#granulesPerPage = pageBytes / GRANULE_BYTES
    this.#wait = new CompactionWait(releaseAfterMs)
  }

  /** The promise in force, in milliseconds: `releaseAfterMs`, or more after rounds in vain. */
  get promiseMs(): number {
    return max(this.#askedMs, this.#wait.waitMs)
  }

  /**
   * Notes that something came free while no tick was due and `usedPages` were in use. A look is due after
   * `delayMs`, which is valid until the next `observe`.
   */
  watch(usedPages: PageCount): void {
    this.#counts = { ...this.#counts, usedPages }
    this.#isWatching = this.isTimed
  }

  /**
   * Notes what is so now. To be called first in each tick, that is, in each look and in each slice. It ends a
   * round in vain: then `isCompacting` is false.
   */
  observe(counts: CompactionCounts): void {
    const nowMs = this.#now()
    const { usedPages, calls } = counts
    if (calls !== this.#counts.calls) this.#trafficMs = nowMs
    this.#hasGrown = usedPages > (1 + NOISE_SHARE) * this.#counts.usedPages
    this.#counts = counts
    this.#isWatching = false
    if (!this.#isWasteful(counts)) this.#wastefulMs = Number.POSITIVE_INFINITY
    else if (this.#wastefulMs > nowMs) this.#wastefulMs = nowMs
    this.#wait.observe(nowMs, usedPages)
    const fewPages = START_BYTES / GRANULE_BYTES / this.#granulesPerPage
    if (this.isCompacting && this.#round.isInVain(usedPages, fewPages)) this.#end(0)
  }

  /** Whether a round is to begin, by what was last observed. */
  get isStartDue(): boolean {
    if (!this.isTimed || this.isCompacting || this.#hasGrown || !this.#isNew(this.#counts)) return false
    const nowMs = this.#now()
    if (nowMs - this.#wastefulMs < this.#graceMs - EPSILON_MS || this.#wait.leftMs(nowMs) > 0) return false
    return this.#hasStartWaste(nowMs) && this.#workableInMs(nowMs) === 0
  }

  /** Whether there is more waste than begins a round, warm pages left out. */
  #hasStartWaste(nowMs: number): boolean {
    const { usedPages } = this.#counts
    const share = this.#hasTraffic(nowMs) ? START_SHARE : REST_START_SHARE
    return this.#wasteGranules(nowMs) >= this.#startGranules(usedPages, share)
  }

  #startGranules(usedPages: PageCount, share: number): number {
    return max(START_BYTES / GRANULE_BYTES, share * usedPages * this.#granulesPerPage)
  }

  /** The waste that was last observed. As long as the demand floor counts, warm pages are none. */
  #wasteGranules(nowMs: number): number {
    const { usedPages, liveGranules, warmPages } = this.#counts
    const floorPages = this.#quietMs(nowMs) < this.#askedMs * FLOOR_SHARE - EPSILON_MS ? warmPages : 0
    return (usedPages - floorPages) * this.#granulesPerPage - liveGranules
  }

  /** Whether there is waste enough for a round at rest, where nothing is kept warm. */
  #isWasteful({ usedPages, liveGranules }: CompactionCounts): boolean {
    const wasteGranules = usedPages * this.#granulesPerPage - liveGranules
    return wasteGranules >= this.#startGranules(usedPages, REST_START_SHARE)
  }

  /** Whether a round might find something that the last pass did not. */
  #isNew({ calls }: CompactionCounts): boolean {
    return calls !== this.#surveyedCalls
  }

  #quietMs(nowMs: number): number {
    return nowMs - this.#trafficMs
  }

  #hasTraffic(nowMs: number): boolean {
    return this.#quietMs(nowMs) < this.#quietAfterMs - EPSILON_MS
  }

  /**
   * Returns whether a tick must be due while these are the counts: a round is under way, or there is waste
   * that the last one has not seen. False where time alone begins no round.
   */
  isTickNeeded(counts: CompactionCounts): boolean {
    return this.isTimed && (this.isCompacting || (this.#isNew(counts) && this.#isWasteful(counts)))
  }

  /** Returns the milliseconds to wait for the next look or slice, or `NONE` if there is nothing to look at. */
  delayMs(): number {
    const nowMs = this.#now()
    if (this.isCompacting) return max(this.#pauseMs, this.#workableInMs(nowMs))
    // While a round is to be judged, not only once: what comes free meanwhile is looked at in time.
    if (!this.#isWatching && !this.#wait.isJudging && !this.isTickNeeded(this.#counts)) return NONE
    const leftMs = this.#wait.leftMs(nowMs)
    if (leftMs === 0) return this.#lookMs
    const farMs = this.#wait.isJudging ? 0 : leftMs - this.#askedMs * LATEST_SHARE
    return max(PAUSE_MS, min(leftMs, max(this.#lookMs, farMs)))
  }

  /** Returns the milliseconds until a slice may begin, or 0: while there is traffic, the budget pays for it. */
  #workableInMs(nowMs: number): number {
    if (!this.#hasTraffic(nowMs)) return 0
    const trafficMs = this.#quietAfterMs - this.#quietMs(nowMs)
    return min(trafficMs, this.#budget.affordableInMs(nowMs, SLICE_MS))
  }

  /** Begins a round, with the survey of its first pass. To be called when `isStartDue`. */
  begin(): void {
    this.#wait.began()
    this.isCompacting = true
    this.#round.begin(this.#counts.usedPages)
    this.#surveyedCalls = this.#counts.calls
  }

  /**
   * Returns whether a slice may begin in this turn of the event loop, whose work began at `turnStartMs`. If
   * not, the next chance is after `delayMs`.
   */
  mayWork(turnStartMs: number): boolean {
    return this.hasTime(turnStartMs) && this.#workableInMs(this.#now()) === 0
  }

  /** Returns whether a slice that has begun may go on. It is O(1), but it reads the clock. */
  hasTime(turnStartMs: number): boolean {
    return this.#now() - turnStartMs < SLICE_MS
  }

  /** Notes that a slice has ended, which took `tookMs`, with the counts after it. */
  sliced(tookMs: number, counts: CompactionCounts): void {
    const nowMs = this.#now()
    // Nobody else runs in a slice. So what is no longer in use after it, it has freed.
    this.#round.freed(this.#counts.usedPages - counts.usedPages)
    this.#counts = counts
    this.#pauseMs = max(PAUSE_MS, min(floor(tookMs), MAX_PAUSE_MS))
    if (this.#hasTraffic(nowMs)) this.#budget.spend(nowMs, 0, tookMs)
  }

  /**
   * Notes that the survey of a pass is complete, by which `promisedPages` will come free. To be called after
   * `sliced`. Returns whether to move anything. If not, the round has ended.
   */
  surveyed(promisedPages: PageCount): boolean {
    const isWorthIt = this.#round.surveyed(promisedPages)
    if (!isWorthIt) this.#end(this.#round.gainedPages)
    return isWorthIt
  }

  /**
   * Notes that a pass is complete: survey, moves and purge. To be called after `sliced`. Returns whether to
   * begin another pass. If not, the round has ended.
   */
  passed(): boolean {
    const { usedPages, calls } = this.#counts
    const isWasteful = this.#wasteGranules(this.#now()) >= STOP_SHARE * usedPages * this.#granulesPerPage
    if (!this.#round.passed(usedPages) || !isWasteful) {
      this.#end(this.#round.gainedPages)
      return false
    }
    this.#round.beginPass(usedPages)
    this.#surveyedCalls = calls
    return true
  }

  #end(gainedPages: PageCount): void {
    this.isCompacting = false
    this.#wait.ended(this.#now(), this.#round.promisedPages, gainedPages, this.#counts.usedPages)
  }

  /** Ends a round that could not be carried on. It was in vain, and another one may begin after the wait. */
  failed(): void {
    this.#surveyedCalls = NONE
    this.#end(0)
  }

  /**
   * Notes that all was compacted at once, for another reason than time. That ends a round under way. `counts`
   * are those after it.
   */
  compacted(counts: CompactionCounts): void {
    this.observe(counts)
    this.isCompacting = false
    this.#surveyedCalls = counts.calls
    this.#wait.stopped(this.#now())
  }

  check(): void {
    invariant(LATEST_SHARE < 1, '1: a start within the promise')
    invariant(STOP_SHARE < REST_START_SHARE && REST_START_SHARE <= START_SHARE, '2: shares in order')
    const delayMs = this.delayMs()
    invariant(delayMs > 0 || delayMs === NONE, '3: a delay, or none')
    if (this.isTickNeeded(this.#counts)) {
      const longestMs = max(this.promiseMs, this.#lookMs, MAX_PAUSE_MS) + EPSILON_MS
      invariant(delayMs !== NONE && delayMs <= longestMs, '3: waste is looked at within the promise')
    }
    this.#round.check()
    this.#wait.check()
    this.#budget.check()
  }
}
