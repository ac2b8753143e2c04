/**
 * Finds stretches of dirty pages in the heap, and has them go back in batches. It carries out what the policy allows, for a
 * millisecond in one turn of the event loop at most.
 *
 * Longest first: a page costs nine times less in a long stretch, so a tick sweeps over the long ones, then over shorter
 * ones, then over all.
 *
 * A purge that the kernel refuses leaves its pages dirty: nothing is lost, and a later tick or `trim` tries again.
 */
import { NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { Batch, LEAST_CALL_PAGES } from './batch.js'
import type { ReleasePolicy } from './policy.js'

const { ceil, max, min } = Math

/** The stretches that each sweep over the marked pages takes: of at least so many pages. */
const SWEEPS: readonly PageCount[] = [256, 16, 1]
/** Stretches that are too short for a sweep cost time too: the clock is read after so many. */
const LOOKS = 64

export class Scavenger {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #policy: ReleasePolicy
  /** Which sweep over the marked pages is under way, and where it goes on: a tick of many slices starts no sweep twice. */
  #sweep = 0
  #cursor: PageNumber = 0
  /** Long runs may have come free: search for them, and where that goes on. */
  #seeksLong = false
  #longCursor: PageNumber = 0
  /** The same of the search for what is beyond the bound. */
  #excessCursor: PageNumber = 0
  /** The last call of a slice ended inside a stretch that was long enough: the rest of it is, too. */
  #isInside = false
  /** Dirty pages that cannot go back because a live block is in their unit, when that was last looked at. */
  stuckPages: PageCount = 0
  readonly #batch: Batch

  constructor(heap: BlockHeap, source: PageSource, policy: ReleasePolicy) {
    this.#batch = new Batch(heap, source)
    this.#heap = heap
    this.#source = source
    this.#policy = policy
  }

  /** Calls that gave pages back, and the dirty pages they gave back, ever. */
  get purges(): number {
    return this.#batch.purges
  }

  get purgedPages(): PageCount {
    return this.#batch.purgedPages
  }

  /** What the kernel said when it last refused, since the last tick or call that purges began; null where it did not. */
  get failure(): unknown {
    return this.#batch.failure
  }

  /**
   * One slice of a tick: what the policy wants back, while this turn of the event loop, whose work began at
   * `turnStartMs`, has time for it. `calls`: blocks allocated and freed, ever. `seeksLong`: long runs have
   * come free. Returns whether the tick is finished.
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
   * The same where only whole units go back: those that no live block touches, long runs at once, others at the mark.
   * Returns whether the tick is finished.
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
    // Kept warm for traffic, or with a live neighbour in its unit: looked at again when something comes free.
    if (this.#heap.dirtyPages > policy.warmPages) this.stuckPages = this.#dirtyInUsedUnits()
    return true
  }

  /** Purges units that no live block touches, while `hasTime()`. Returns whether all that are to go are gone. */
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

  /** First pages of the units that no live block touches. */
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

  /** Whether a page of the range came free since the last mark. */
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

  /** Wholly free, long runs. Returns whether all that are to go are gone. */
  #purgeLong(turnStartMs: number): boolean {
    if (!this.#seeksLong) return true
    const policy = this.#policy
    const wanted = policy.atOncePagesWanted
    const quota = policy.affordable(wanted)
    // What the budget does not allow now is looked for again later.
    this.#seeksLong = wanted > 0
    if (quota === 0) return true
    const before = this.purgedPages
    const agedBefore = this.#heap.agedPages
    policy.startMeasure()
    // Blocks come from low pages first: those are the ones to keep for the next.
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

  /** Marked pages whose time has come. Returns whether all that are to go are gone. */
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

  /** What is beyond the bound. Returns whether all of it is gone. */
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
   * Purges stretches of at least `leastPages` from `from` on, about `quota` pages of them; passes over the first
   * `keptPages` of them. Returns where to go on when time is up, or 0 where there is nothing left to do.
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
        const wanted = max(left - batch.dirtyPages, LEAST_CALL_PAGES)
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
   * Purges `pageCount` dirty pages now, or all that there are, the longest stretches first, whenever they came free. Returns how
   * many; `failure` says whether some were refused. What is kept for the next block of its size is not given up. Where
   * only whole units go back, all of those do.
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
   * A part of what `purgeAll` does: as much as this turn of the event loop has time for, whose work began at `turnStartMs`.
   * `from`: 0 to begin with, then what the last part returned. Returns 0 when all is done.
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
    // A tick may be under way, and goes on where it was.
    const wasInside = this.#isInside
    this.#policy.startMeasure()
    const next = this.#sweepOver(from, Number.MAX_SAFE_INTEGER, 1, false, turnStartMs)
    this.#isInside = wasInside
    return next
  }

  /** Segments in which nothing lives, all purged now: those whose pages the kernel does not take are not among them. */
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
    return this.#source.segments.filter(segment => !segment.hasMovedBuffer && this.#heap.isRangeFree(segment))
  }

  /** Purges dirty stretches of at least `leastPages` in [from, to), about `quota` pages of them, however long it takes. */
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
        end = min(end, page + max(left - batch.dirtyPages, LEAST_CALL_PAGES))
        batch.add(page, end)
        if (batch.dirtyPages >= left) break
        if (batch.isFull) left -= batch.flush()
      }
      page = heap.nextDirty(end, false)
    }
    batch.flush()
  }

  /**
   * Segments that hold nothing and could be unmapped: wholly free and purged, but for one spare, the smallest, so that
   * an arena that goes to and fro around empty does not map and unmap.
   */
  surplusSegments(): Segment[] {
    const free = this.#freeSegments().filter(
      segment => !this.#heap.anyDirty(segment.firstPage, segment.pageCount),
    )
    free.sort((a, b) => a.pageCount - b.pageCount)
    return free.slice(1)
  }
}
