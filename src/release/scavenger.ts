/**
 * Finds stretches of dirty pages in the heap and gives them back in batches. It carries out what the policy
 * allows, and takes a millisecond at most in one turn of the event loop.
 *
 * The longest stretches go first, because a page costs much less in a long stretch. So a tick sweeps over the
 * long ones, then over shorter ones, then over all.
 *
 * If the kernel refuses a purge, the pages stay dirty. Nothing is lost, and a later tick or `trim` tries
 * again.
 */
import { NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { Batch, MIN_CALL_PAGES } from './batch.js'
import type { ReleasePolicy } from './policy.js'

const { ceil, max, min } = Math

/** The sweeps over the marked pages. Each takes the stretches of at least this many pages. */
const SWEEPS: readonly PageCount[] = [256, 16, 1]
/** The clock is read after this many stretches: those that are too short for a sweep take time, too. */
const LOOKS = 64

/** What the scavenger needs from the page source. */
type PurgeableSource = Pick<PageSource, 'segments' | 'unitPages' | 'purge'>

export class Scavenger {
  readonly #heap: BlockHeap
  readonly #source: PurgeableSource
  readonly #policy: ReleasePolicy
  /**
   * The sweep over the marked pages that is under way, and the page where it goes on. So a tick of many
   * slices starts no sweep twice.
   */
  #sweep = 0
  #cursor: PageNumber = 0
  /** Whether to search for long runs, which may have come free, and the page where that search goes on. */
  #seeksLong = false
  #longCursor: PageNumber = 0
  /** The page where the search for pages above the bound goes on. */
  #excessCursor: PageNumber = 0
  /**
   * Whether the last slice ended inside a stretch that was long enough for its sweep. The rest of that
   * stretch is then taken, too.
   */
  #isInside = false
  /** Dirty pages that cannot go back because a live block lies in their unit, as of the last look. */
  stuckPages: PageCount = 0
  readonly #batch: Batch

  constructor(heap: BlockHeap, source: PurgeableSource, policy: ReleasePolicy) {
    this.#batch = new Batch(heap, source)
    this.#heap = heap
    this.#source = source
    this.#policy = policy
  }

  /** Calls that gave pages back, and the dirty pages that they gave back, ever. */
  get purges(): number {
    return this.#batch.purges
  }

  get purgedPages(): PageCount {
    return this.#batch.purgedPages
  }

  /**
   * The system error of the last refusal since the last tick or purging call began; null if nothing was
   * refused.
   */
  get failure(): unknown {
    return this.#batch.failure
  }

  /**
   * Runs one slice of a tick: gives back what the policy wants back, while this turn of the event loop has
   * time for it. `turnStartMs` is when the work of this turn began. `calls` is the number of blocks allocated
   * and freed, ever. `seeksLong` says that long runs have come free. Returns whether the tick is finished.
   */
  tick(turnStartMs: number, calls: number, seeksLong: boolean): boolean {
    const heap = this.#heap
    const policy = this.#policy
    if (this.#sweep === 0 && this.#cursor === 0) {
      this.#batch.forgive()
      if (seeksLong || policy.isFlushDue || policy.isMarkDue) heap.flush()
    }
    policy.observe({
      calls,
      usedPages: heap.usedPages,
      peakUsedPages: heap.takePeakUsed(),
      dirtyPages: heap.dirtyPages,
      agedPages: heap.agedPages,
      refaultedPages: heap.refaultedPages,
    })
    this.#seeksLong ||= seeksLong
    if (this.#source.unitPages > 1) return this.#tickUnits(turnStartMs)
    if (!this.#purgeLong(turnStartMs) || !this.#purgeAged(turnStartMs) || !this.#purgeExcess(turnStartMs))
      return false
    if (policy.isMarkDue) {
      heap.ageDirtyPages()
      policy.marked()
    }
    return true
  }

  /**
   * Runs one slice of a tick for a source that gives back whole units only: units that no live block touches.
   * Long runs go at once, others at the mark. Returns whether the tick is finished.
   */
  #tickUnits(turnStartMs: number): boolean {
    const policy = this.#policy
    const isMarkDue = policy.isMarkDue
    if (!this.#seeksLong && !isMarkDue) return true
    const isAtOnce = this.#seeksLong && policy.atOncePagesWanted > 0
    if ((isMarkDue || isAtOnce) && !this.#purgeUnits(!isAtOnce, () => policy.hasTime(turnStartMs)))
      return false
    this.#seeksLong = false
    if (!isMarkDue) return true
    this.#heap.ageDirtyPages()
    policy.marked()
    // What is left is kept warm for traffic, or has a live block in its unit. It is looked at again when
    // something comes free.
    if (this.#heap.dirtyPages > policy.warmPages) this.stuckPages = this.#dirtyInUsedUnits()
    return true
  }

  /**
   * Purges units that no live block touches, while `hasTime()` is true. Returns whether all that are to go
   * are gone.
   */
  #purgeUnits(isAgedOnly: boolean, hasTime: () => boolean): boolean {
    const { unitPages } = this.#source
    const heap = this.#heap
    const batch = this.#batch
    for (const unit of this.#unusedUnits()) {
      if (!heap.anyDirty(unit, unitPages) || (isAgedOnly && this.#hasYoung(unit, unit + unitPages))) continue
      if (batch.hasGivenUp || (isAgedOnly && heap.dirtyPages <= this.#policy.warmPages)) return true
      batch.start(unitPages, 1)
      batch.add(unit, unit + unitPages)
      batch.flush()
      if (!hasTime()) return false
    }
    return true
  }

  /** Returns the first pages of the units that no live block touches. */
  #unusedUnits(): PageNumber[] {
    const { unitPages } = this.#source
    const unused = this.#heap.listUnused()
    const units: PageNumber[] = []
    for (let i = 0; i < unused.length; i += 2) {
      const first = ceil(unused[i] / unitPages) * unitPages
      for (let unit = first; unit + unitPages <= unused[i + 1]; unit += unitPages) units.push(unit)
    }
    return units
  }

  /** Returns whether a page of [firstPage, end) came free since the last mark. */
  #hasYoung(firstPage: PageNumber, end: PageNumber): boolean {
    const heap = this.#heap
    for (let page = heap.nextDirty(firstPage, false); page !== NONE && page < end; ) {
      const dirtyEnd = heap.dirtyEnd(page, end - page, false)
      if (heap.nextDirty(page, true) !== page || heap.dirtyEnd(page, end - page, true) < dirtyEnd) return true
      page = heap.nextDirty(dirtyEnd, false)
    }
    return false
  }

  #dirtyInUsedUnits(): PageCount {
    const heap = this.#heap
    let inUnused = 0
    for (const unit of this.#unusedUnits()) {
      const end = unit + this.#source.unitPages
      for (let page = heap.nextDirty(unit, false); page !== NONE && page < end; ) {
        const dirtyEnd = heap.dirtyEnd(page, end - page, false)
        inUnused += dirtyEnd - page
        page = heap.nextDirty(dirtyEnd, false)
      }
    }
    return heap.dirtyPages - inUnused
  }

  /** Gives back long runs that are wholly free. Returns whether all that are to go are gone. */
  #purgeLong(turnStartMs: number): boolean {
    if (!this.#seeksLong) return true
    const policy = this.#policy
    const wanted = policy.atOncePagesWanted
    const quota = policy.affordable(wanted)
    // If the budget does not allow all of it now, the search is repeated later.
    this.#seeksLong = wanted > 0
    if (quota === 0) return true
    const before = this.purgedPages
    const agedBefore = this.#heap.agedPages
    policy.startMeasure()
    // The heap takes low pages first, so the low ones are kept for the next blocks.
    const keptPages = this.#longCursor === 0 ? this.#heap.dirtyPages - wanted : 0
    this.#longCursor = this.#sweepOver(
      this.#longCursor,
      quota,
      policy.atOncePages,
      false,
      turnStartMs,
      keptPages,
    )
    const purged = this.purgedPages - before
    policy.purgedAtOnce(purged, agedBefore - this.#heap.agedPages)
    if (this.#longCursor !== 0) return false
    this.#seeksLong = quota < wanted && purged >= quota
    return true
  }

  /** Gives back marked pages whose time has come. Returns whether all that are to go are gone. */
  #purgeAged(turnStartMs: number): boolean {
    const quota = this.#policy.agedQuota
    const batch = this.#batch
    const before = batch.purgedPages
    if (quota > 0) {
      this.#policy.startMeasure()
      this.#sweepThrough(quota, turnStartMs)
      this.#policy.purgedAged(batch.purgedPages - before)
      const isShort = batch.purgedPages - before < quota
      if (this.#sweep < SWEEPS.length && isShort && !batch.hasGivenUp) return false
    }
    this.#sweep = 0
    this.#cursor = 0
    return true
  }

  /** Gives back what is above the bound. Returns whether all of it is gone. */
  #purgeExcess(turnStartMs: number): boolean {
    const quota = this.#policy.excessPages
    if (quota === 0) {
      this.#excessCursor = 0
      return true
    }
    const before = this.purgedPages
    const agedBefore = this.#heap.agedPages
    this.#policy.startMeasure()
    this.#excessCursor = this.#sweepOver(this.#excessCursor, quota, 1, false, turnStartMs)
    this.#policy.purgedAtOnce(this.purgedPages - before, agedBefore - this.#heap.agedPages)
    return this.#excessCursor === 0
  }

  #sweepThrough(quota: PageCount, turnStartMs: number): void {
    const goal = this.purgedPages + quota
    while (this.#sweep < SWEEPS.length && this.purgedPages < goal && !this.#batch.hasGivenUp) {
      const left = goal - this.purgedPages
      this.#cursor = this.#sweepOver(this.#cursor, left, SWEEPS[this.#sweep], true, turnStartMs)
      if (this.#cursor !== 0) return
      if (this.purgedPages < goal) this.#sweep++
    }
  }

  /**
   * Purges about `quota` pages in stretches of at least `leastPages`, beginning at page `from`. Passes over
   * the first `keptPages` pages of such stretches. Returns the page where to go on when time is up, or 0 if
   * there is nothing left to do.
   */
  #sweepOver(
    from: PageNumber,
    quota: PageCount,
    leastPages: PageCount,
    isAgedOnly: boolean,
    turnStartMs: number,
    keptPages: PageCount = 0,
  ): PageNumber {
    const heap = this.#heap
    const batch = this.#batch
    const { maxCallPages } = this.#policy
    const lookPages = max(maxCallPages, leastPages)
    let isInside = from !== 0 && this.#isInside
    let left = quota
    let kept = keptPages
    let looks = 0
    batch.start(maxCallPages, this.#policy.maxCallStretches)
    let page = heap.nextDirty(from, isAgedOnly)
    while (page !== NONE) {
      let end = heap.dirtyEnd(page, lookPages, isAgedOnly)
      let isTimeToLook = ++looks % LOOKS === 0
      const isLong = isInside || end - page >= leastPages
      if (isLong && kept >= end - page) {
        kept -= end - page
      } else if (isLong) {
        page += kept
        kept = 0
        const wanted = max(left - batch.dirtyPages, MIN_CALL_PAGES)
        end = min(end, page + min(batch.roomPages, wanted))
        batch.add(page, end)
        if (batch.isFull || batch.dirtyPages >= left) {
          const { stretchCount } = batch
          left -= batch.flush()
          this.#policy.called(stretchCount)
          batch.start(maxCallPages, this.#policy.maxCallStretches)
          if (left <= 0 || batch.hasGivenUp) return 0
          isTimeToLook = true
        }
      }
      page = heap.nextDirty(end, isAgedOnly)
      isInside = isLong && page === end
      if (isTimeToLook && page !== NONE && !this.#policy.hasTime(turnStartMs)) {
        batch.flush()
        this.#isInside = isInside
        return page
      }
    }
    batch.flush()
    return 0
  }

  /** Purges every dirty page now. Returns how many; `failure` says whether some are left. */
  purgeAll(): PageCount {
    const before = this.purgedPages
    this.#batch.forgive()
    this.#heap.flush()
    if (this.#source.unitPages > 1) {
      this.#purgeUnits(false, () => true)
      this.stuckPages = this.#dirtyInUsedUnits()
      return this.purgedPages - before
    }
    this.#purgeFrom(0, 1, Number.MAX_SAFE_INTEGER)
    this.#sweep = 0
    this.#cursor = 0
    this.#longCursor = 0
    this.#excessCursor = 0
    return this.purgedPages - before
  }

  /**
   * Purges about `pageCount` dirty pages now, or all if there are fewer, the longest stretches first,
   * whenever they came free. Blocks that are kept on the stacks of their sizes stay there. A source that
   * gives back whole units only gives back all that it can. Returns how many pages went back; `failure` says
   * whether some were refused.
   */
  purgeSome(pageCount: PageCount): PageCount {
    const before = this.purgedPages
    this.#batch.forgive()
    if (this.#source.unitPages > 1) return this.purgeAll()
    for (const leastPages of SWEEPS) {
      const left = pageCount - (this.purgedPages - before)
      if (left <= 0 || this.#batch.hasGivenUp) break
      this.#purgeFrom(0, leastPages, left)
    }
    return this.purgedPages - before
  }

  /**
   * Does a part of `purgeAll`: as much as there is time for in this turn of the event loop, whose work began
   * at `turnStartMs`. `from` is 0 at first, then what the last part returned. Returns 0 when all is done.
   */
  purgeSlice(from: PageNumber, turnStartMs: number): PageNumber {
    if (from === 0) {
      this.#batch.forgive()
      this.#heap.flush()
    }
    if (this.#source.unitPages > 1) {
      if (!this.#purgeUnits(false, () => this.#policy.hasTime(turnStartMs))) return 1
      this.stuckPages = this.#dirtyInUsedUnits()
      return 0
    }
    // A tick may be under way. It must go on where it was.
    const wasInside = this.#isInside
    this.#policy.startMeasure()
    const next = this.#sweepOver(from, Number.MAX_SAFE_INTEGER, 1, false, turnStartMs)
    this.#isInside = wasInside
    return next
  }

  /**
   * Purges the segments in which no block lives, and returns those that are wholly purged. A segment with
   * pages that the kernel refused is not among them.
   */
  purgeFreeSegments(): Segment[] {
    const heap = this.#heap
    heap.flush()
    this.#batch.forgive()
    return this.#freeSegments().filter(segment => {
      const { firstPage, pageCount } = segment
      this.#purgeFrom(firstPage, 1, Number.MAX_SAFE_INTEGER, endOf(segment))
      return !heap.anyDirty(firstPage, pageCount)
    })
  }

  #freeSegments(): Segment[] {
    return this.#source.segments.filter(segment => !segment.isKeptForGood && this.#heap.isRangeFree(segment))
  }

  /**
   * Purges about `quota` dirty pages in [from, to), in stretches of at least `leastPages`, however long that
   * takes.
   */
  #purgeFrom(
    from: PageNumber,
    leastPages: PageCount,
    quota: PageCount,
    to: PageNumber = Number.MAX_SAFE_INTEGER,
  ): void {
    const heap = this.#heap
    const batch = this.#batch
    let left = quota
    batch.start(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
    for (let page = heap.nextDirty(from, false); page !== NONE && page < to && !batch.hasGivenUp; ) {
      let end = heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)
      if (end - page >= leastPages) {
        end = min(end, page + max(left - batch.dirtyPages, MIN_CALL_PAGES))
        batch.add(page, end)
        if (batch.dirtyPages >= left) break
        if (batch.isFull) left -= batch.flush()
      }
      page = heap.nextDirty(end, false)
    }
    batch.flush()
  }

  /**
   * Returns the segments that can be unmapped: wholly free, and purged. The smallest is left out as a spare,
   * so that an arena that is now empty, now not, does not map and unmap each time.
   */
  surplusSegments(): Segment[] {
    const free = this.#freeSegments().filter(
      segment => !this.#heap.anyDirty(segment.firstPage, segment.pageCount),
    )
    free.sort((a, b) => a.pageCount - b.pageCount)
    return free.slice(1)
  }
}
