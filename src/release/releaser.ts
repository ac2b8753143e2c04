/**
 * Carries out the release policy over the parts of an arena: runs the scavenger by timer, then drops the
 * buffers that no block uses and the segments that hold nothing. At most one timer is due, and none while
 * there is nothing to give back. No timer keeps the process alive. When long runs come free, the timer is
 * brought forward.
 *
 * Invariant, checked by `check()`:
 *  1. while pages are dirty, blocks are kept, buffers are idle or an end waits to be lowered, a tick is due,
 *     unless `isSettled` says that none is needed
 */
import { invariant } from '../base/assert.js'
import type { Deferral, Timer } from '../base/deferral.js'
import type { Gate } from '../base/gate.js'
import { PAUSE_MS } from '../base/timer-queue.js'
import { NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import type { Segment } from '../memory/segment.js'
import type { Notices, PurgeReason } from '../notices/notices.js'
import { EndLowering } from './end-lowering.js'
import type { ReleasePolicy } from './policy.js'
import { Refusals } from './refusals.js'
import type { Scavenger } from './scavenger.js'

const { max } = Math

/** What the releaser needs from the buffers over the memory. */
export interface ReleasableBuffers {
  /** Whether there are buffers that no live block needs. */
  readonly hasIdle: boolean
  /** Is called when memory that a forgotten block waited for was collected. */
  onCollected: (() => void) | null
  /** Detaches the buffers that no live block needs and whose pages went back. */
  dropIdle(): void
  /** Detaches the buffers over a segment that is about to go. */
  removeSegment(segment: Segment): void
  /** Frees the blocks that were set aside and that no `ArrayBuffer` reaches any more. */
  recoverSetAside(): void
  /** Forgets the blocks that were set aside: their memory goes with the arena. */
  abandonSetAside(): void
  /** Looks for buffers that other code took away, so that no end of a segment moves under them. */
  noticeTaken(): void
  /** Counts again after an interrupted change. */
  recount(): void
}

/** The Buffers that are idle in pools. Whoever wants memory back gets theirs, too. */
export interface IdlePools {
  /** Ends all of them, within a change. Returns how many there were. */
  endIdle(): number
  /**
   * Ends those that are idle in the first slice, while `hasTime()` is true, within a change. Returns whether all of them have
   * ended.
   */
  endIdleSlice(hasTime: () => boolean, isFirst: boolean): boolean
}

/** The parts of an arena that the releaser works with. */
export interface ReleaserParts {
  readonly gate: Pick<Gate, 'isTaken' | 'wasInterrupted' | 'attempt'>
  readonly heap: BlockHeap
  readonly source: Pick<PageSource, 'segments' | 'end' | 'unreserve' | 'retire' | 'close'>
  readonly scavenger: Scavenger
  readonly buffers: ReleasableBuffers
  /** Ends the wait of all blocks in quarantine. Null without `debug`. */
  readonly debug: { emptyQuarantine(): void } | null
  readonly pools: IdlePools
  /** `adapt`: adapts what the arena may hold, after pages went back. */
  readonly limits: { adapt(): void }
  readonly notices: Pick<Notices, 'purged' | 'purgeRefused'>
  readonly deferral: Deferral
  /** Is called when a tick is armed, that is, when something can be given back. */
  readonly onArmed?: (() => void) | undefined
}

/**
 * The result of one slice of a trim. `nextPage` is where the next slice begins, or 0 after the last one. It is NONE while Buffers
 * that are idle in pools end, before any page.
 */
export interface TrimSlice {
  readonly nextPage: PageNumber
  readonly pageCount: PageCount
  /** The system error if the kernel refused something, else null. */
  readonly failure: unknown
}

const NOTHING_YET: TrimSlice = { nextPage: NONE, pageCount: 0, failure: null }

export class Releaser {
  /**
   * Made at first use: V8 keeps the target of a new WeakRef until the end of the task, so a loop that makes
   * arenas would keep all of them.
   */
  #weakSelf: WeakRef<Releaser> | undefined
  readonly #policy: ReleasePolicy
  readonly #gate: ReleaserParts['gate']
  readonly #heap: BlockHeap
  readonly #source: ReleaserParts['source']
  readonly #scavenger: Scavenger
  readonly #buffers: ReleasableBuffers
  readonly #debug: { emptyQuarantine(): void } | null
  readonly #pools: IdlePools
  readonly #deferral: Deferral
  readonly #limits: { adapt(): void }
  readonly #notices: Pick<Notices, 'purged' | 'purgeRefused'>
  readonly #onArmed: (() => void) | undefined
  /**
   * Returns the number of blocks that the arena has allocated and freed, ever. The arena sets it, because it
   * is made after its parts.
   */
  calls: () => number = () => 0
  readonly #endLowering: EndLowering
  readonly #refusals = new Refusals()
  /** Whether the notice that the kernel refuses was given, and the kernel has taken nothing since. */
  #hasToldRefusal = false
  /** Dirty pages that were left when the kernel last refused; 0 if it has taken something since. */
  #refusedPages: PageCount = 0
  /** Pages that went back in the slices of the tick under way. */
  #tickPages: PageCount = 0
  #isStopped = false
  /** The system error if the kernel refused something in the last `releaseAll`, else null. */
  failure: unknown = null
  /** The tick that is due, or null. */
  #timer: Timer | null = null
  /** Whether something came free in the middle of a change, and is to go back at once after it. */
  #isOwed = false
  /** Whether the tick is due at once, because long runs may have come free. */
  #isUrgent = false
  /**
   * Whether nothing is to be done when something comes free: a tick is due already, or nothing is given back
   * by timer or by `free`. Every `free` reads it.
   */
  isSettled: boolean

  constructor(policy: ReleasePolicy, parts: ReleaserParts) {
    this.#policy = policy
    this.#gate = parts.gate
    this.#heap = parts.heap
    this.#source = parts.source
    this.#scavenger = parts.scavenger
    this.#buffers = parts.buffers
    this.#debug = parts.debug
    this.#pools = parts.pools
    this.#limits = parts.limits
    this.#notices = parts.notices
    this.#deferral = parts.deferral
    this.#onArmed = parts.onArmed
    this.#endLowering = new EndLowering(parts.heap, parts.source.end)
    this.isSettled = !policy.isTimed && !policy.isImmediate
  }

  /** Notes that something came free, or may have. */
  noteFree(): void {
    if (!this.isSettled) this.afterFree()
  }

  /** Does what is due after something came free. */
  private afterFree(): void {
    this.#scavenger.stuckPages = 0
    if (this.#policy.isImmediate) {
      this.#isOwed = this.#gate.isTaken
      // The change that has the gate calls `afterFree` once the gate is open.
      if (this.#isOwed) return
      this.giveBack('free')
    }
    // Most frees leave other blocks on the page, so that there is nothing to do. They return before the clock
    // is read.
    if (this.#refusedPages > 0) this.#wake()
    if (this.#timer !== null || !this.#hasWork) return
    this.#policy.start()
    this.#arm(true)
  }

  /** Notes that an allocation has ended, in which something may have come free. */
  noteAllocation(): void {
    if (!this.isSettled && (this.#isOwed || !this.#policy.isImmediate)) this.afterFree()
  }

  /**
   * To be called after a run of `AT_ONCE_BYTES` or more may have come free. The run goes back once the event
   * loop had a turn, unless traffic is likely to want it again.
   */
  afterLargeFree(): void {
    if (this.#isUrgent || !this.#policy.isTimed || this.#refusals.isLasting) return
    const { atOncePages, calmPages } = this.#policy
    if (this.#heap.dirtyPages - calmPages < atOncePages) return
    const earlier = this.#timer
    // The next tick is armed before the earlier one is cancelled: wherever this is interrupted, a tick is
    // due.
    this.#armIn(PAUSE_MS)
    this.#isUrgent = true
    this.isSettled = true
    earlier?.cancel()
  }

  /** Notes that a block was forgotten. When the memory under it is collected, the block is looked after. */
  noteForgotten(): void {
    this.#buffers.onCollected ??= recoveryBy(this.#self)
    this.noteFree()
  }

  get #self(): WeakRef<Releaser> {
    this.#weakSelf ??= new WeakRef(this)
    return this.#weakSelf
  }

  /**
   * Frees blocks that were set aside, after memory was collected. Their finalizers have run within two turns
   * of the event loop.
   */
  recoverSoon(): void {
    const self = this.#self
    const deferral = this.#deferral
    deferral.nextTurn(() => deferral.nextTurn(() => self.deref()?.recover()))
  }

  /** Frees the blocks that were set aside and need not wait any more. */
  recover(): void {
    if (this.#isStopped) return
    const isDone = this.#attempt(() => this.#buffers.recoverSetAside())
    if (isDone) this.noteFree()
  }

  /**
   * Calls `releaseAll` as a change of its own. Gives nothing back in the middle of another change. Returns
   * the number of pages.
   */
  giveBack(reason: PurgeReason): PageCount {
    let pageCount: PageCount = 0
    this.#attempt(() => {
      pageCount = this.releaseAll(reason)
    })
    return pageCount
  }

  /**
   * Gives back everything that is free. Returns the number of pages; `failure` says whether some were
   * refused.
   */
  releaseAll(reason: PurgeReason): PageCount {
    if (reason !== 'free' && reason !== 'timer') {
      this.#debug?.emptyQuarantine()
      this.#pools.endIdle()
    }
    this.#buffers.recoverSetAside()
    const pageCount = this.purgeAll(reason)
    const failure = this.#lowerEnd(reason !== 'free' && reason !== 'limit')
    this.failure = failure ?? this.#scavenger.failure
    this.#dropUnused()
    // If the kernel refused to lower an end, a tick tries again.
    if (!this.isSettled) this.#arm(true)
    return pageCount
  }

  /**
   * Gives every dirty page back, and leaves buffers and segments as they are, because an allocation is under
   * way. Returns the number of pages.
   */
  purgeAll(reason: PurgeReason): PageCount {
    const callsBefore = this.#scavenger.purges
    const pageCount = this.#scavenger.purgeAll()
    this.#tell(pageCount, callsBefore, reason)
    return pageCount
  }

  /**
   * Gives about `pageCount` dirty pages back, because the arena needs more memory than the bound allows
   * (`'growth'`), or because they have waited in a pool (`'timer'`). Returns the number of pages.
   */
  purgeSome(pageCount: PageCount, reason: PurgeReason = 'growth'): PageCount {
    const callsBefore = this.#scavenger.purges
    const purgedPages = this.#scavenger.purgeSome(pageCount)
    this.#tell(purgedPages, callsBefore, reason)
    return purgedPages
  }

  /**
   * Gives up every segment in which no block lives, before a new one is mapped: none of them has enough room.
   */
  giveUpFreeSegments(): void {
    if (this.#source.end !== null) return
    const { purges, purgedPages } = this.#scavenger
    for (const segment of this.#scavenger.purgeFreeSegments()) this.#remove(segment)
    this.#tell(this.#scavenger.purgedPages - purgedPages, purges, 'growth')
  }

  /**
   * Runs one slice of `trimAsync` or of `reclaim`; see `Scavenger.purgeSlice`. Returns null in the middle of a
   * change: the caller tries again.
   */
  trimSlice(from: PageNumber, turnStartMs: number, reason: 'trim' | 'reclaim' = 'trim'): TrimSlice | null {
    // The arena was closed meanwhile, which gave everything back.
    if (this.#isStopped) return { nextPage: 0, pageCount: 0, failure: null }
    let slice: TrimSlice | null = null
    this.#attempt(() => {
      slice = this.#trimSlice(from, turnStartMs, reason)
    })
    return slice
  }

  #trimSlice(from: PageNumber, turnStartMs: number, reason: PurgeReason): TrimSlice {
    if (from <= 0) {
      const hasTime = () => this.#policy.hasTime(turnStartMs)
      if (!this.#pools.endIdleSlice(hasTime, from === 0)) return NOTHING_YET
      this.#debug?.emptyQuarantine()
      this.#buffers.recoverSetAside()
    }
    const { purges, purgedPages } = this.#scavenger
    const nextPage = this.#scavenger.purgeSlice(max(0, from), turnStartMs)
    const pageCount = this.#scavenger.purgedPages - purgedPages
    this.#tell(pageCount, purges, reason)
    return { nextPage, pageCount, failure: this.#scavenger.failure }
  }

  /**
   * Gives back dirty pages from the page `from` on, in one slice, after a compaction. It runs within a change. Returns the
   * page where the next slice goes on, or 0 after the last one.
   */
  compactedSlice(from: PageNumber, turnStartMs: number): PageNumber {
    return this.#trimSlice(from, turnStartMs, 'compact').nextPage
  }

  /**
   * Runs one of the last slices of `trimAsync`: lowers the end, then drops what is unused. `isDone` says
   * whether it was the last one.
   */
  endTrimSlice(): { isDone: boolean; failure: unknown } {
    if (this.#isStopped) return { isDone: true, failure: null }
    let slice = { isDone: false, failure: null as unknown }
    this.#attempt(() => {
      slice = this.#endTrimSlice()
    })
    return slice
  }

  #endTrimSlice(): { isDone: boolean; failure: unknown } {
    const failure = this.#lowerEndSlice()
    if (this.#endLowering.hasMore) return { isDone: false, failure }
    this.#dropUnused()
    if (!this.isSettled) this.#arm(true)
    return { isDone: true, failure }
  }

  #tell(pageCount: PageCount, callsBefore: number, reason: PurgeReason): void {
    if (pageCount === 0) return
    this.#refusals.worked()
    this.#hasToldRefusal = false
    this.#limits.adapt()
    this.#notices.purged(pageCount * this.#heap.pageBytes, this.#scavenger.purges - callsBefore, reason)
  }

  /**
   * Gives up the pages at an end that can move. Returns the system error if the kernel refused, else null.
   */
  #lowerEnd(isQuiet: boolean): unknown {
    if (this.#source.end === null) return null
    this.#buffers.noticeTaken()
    return this.#endLowering.lower(isQuiet)
  }

  /**
   * Lowers the end by one slice. Returns the system error if the kernel refused, else null.
   * `EndLowering.isDue` stays true then, and a later tick tries again.
   */
  #lowerEndSlice(): unknown {
    if (this.#source.end === null) return null
    this.#buffers.noticeTaken()
    return this.#endLowering.lowerSlice()
  }

  /** Notes that a tick has ended, in which `purgedPages` pages went back. */
  #noteRefusal(purgedPages: PageCount): void {
    const { failure } = this.#scavenger
    if (purgedPages > 0) this.#refusedPages = 0
    if (failure === null || purgedPages > 0) return
    this.#refusals.refused()
    this.#refusedPages = this.#heap.dirtyPages
    if (!this.#refusals.isLasting || this.#hasToldRefusal) return
    this.#hasToldRefusal = true
    this.#notices.purgeRefused(failure, this.#heap.dirtyPages * this.#heap.pageBytes)
  }

  /** If more pages came free than the kernel refused, the kernel is asked again after the usual time. */
  #wake(): void {
    if (this.#heap.dirtyPages <= this.#refusedPages) return
    this.#refusedPages = 0
    this.#timer?.cancel()
    this.#timer = null
    this.#policy.start()
    this.isSettled = !this.#policy.isImmediate
    this.#armIn(this.#policy.delayMs(true, true))
  }

  /** Gives up every segment, after every block has ended, and stops for ever. */
  close(): void {
    this.#isStopped = true
    this.isSettled = true
    this.#timer?.cancel()
    this.#timer = null
    this.#debug?.emptyQuarantine()
    // If the kernel refuses, the unmapping that follows gives these pages back.
    this.#scavenger.purgeAll()
    this.#buffers.abandonSetAside()
    this.#heap.flush()
    for (const segment of [...this.#source.segments]) {
      this.#heap.markPurged(segment.firstPage, segment.pageCount)
      this.#remove(segment)
    }
    this.#source.close()
    this.#heap.dropBooks()
  }

  /** Finishes what an interrupted change left undone. It runs before anything else in the next change. */
  mend(): void {
    const { wasInterrupted } = this.#gate
    this.#heap.mend()
    if (wasInterrupted) {
      this.#buffers.recount()
      this.dropUnmanaged()
    }
    this.#gate.wasInterrupted = false
    if (this.#isStopped) return
    if (this.#heap.wasRebuilt) this.#recountRebuilt()
    // Runs after the heap was mended, because it reads the counts of the heap.
    else if (wasInterrupted) this.#limits.adapt()
  }

  /** Whether a change was interrupted and not mended yet. */
  get isUnfinished(): boolean {
    return this.#heap.wasRebuilt || this.#gate.wasInterrupted
  }

  /** Runs a change of its own. Returns false, and does nothing, in the middle of another change. */
  #attempt(change: () => void): boolean {
    return this.#gate.attempt(() => {
      if (this.isUnfinished) this.mend()
      change()
    })
  }

  /**
   * Gives up pages that the source has and the heap does not: an interrupted call reserved them and did not
   * add them, or removed them from the heap and did not retire them.
   */
  dropUnmanaged(): void {
    const { ranges } = this.#heap
    for (const segment of [...this.#source.segments]) {
      const { firstPage, pageCount } = segment
      const range = ranges.find(known => known.firstPage === firstPage)
      if (range === undefined) this.#source.retire(segment)
      else if (range.pageCount < pageCount) {
        const extra = pageCount - range.pageCount
        this.#source.unreserve({ firstPage: firstPage + range.pageCount, pageCount: extra })
      }
    }
  }

  /**
   * The heap has made its books anew. It counts all free pages as dirty, which may be more than the limits
   * allow, so they go back.
   */
  #recountRebuilt(): void {
    this.purgeAll('limit')
    this.#limits.adapt()
    this.#arm(true)
    // Last: if this is interrupted, it is done again.
    this.#heap.wasRebuilt = false
  }

  /** Arms a tick if one must be due. An interrupted call may have ended before it did so. */
  rearm(): void {
    if (!this.isSettled && !this.#isStopped) this.#arm(true)
  }

  /** Does what is due by timer. */
  tick(turnStartMs: number): void {
    // If timers that are not ours run this in the middle of a change, it waits for a pause.
    if (!this.#attempt(() => this.#tick(turnStartMs))) this.#armIn(PAUSE_MS)
  }

  #tick(turnStartMs: number): void {
    const seeksLong = this.#isUrgent
    this.#timer = null
    this.#isUrgent = false
    if (this.#isStopped) return
    this.isSettled = false
    if (this.#policy.isImmediate) {
      this.#noteRefusal(this.releaseAll('timer'))
      this.#arm(true)
      return
    }
    const { purges, purgedPages } = this.#scavenger
    const isFinished = this.#scavenger.tick(turnStartMs, this.calls(), seeksLong)
    const pageCount = this.#scavenger.purgedPages - purgedPages
    this.#tell(pageCount, purges, 'timer')
    this.#tickPages += pageCount
    if (isFinished) {
      this.#noteRefusal(this.#tickPages)
      this.#tickPages = 0
    }
    // The most that was in use may be too long ago by now, so the bound may have fallen.
    this.#limits.adapt()
    if (isFinished && (this.#policy.isMarked || this.#heap.dirtyPages === 0)) {
      this.#buffers.recoverSetAside()
      this.#lowerEndSlice()
      if (!this.#endLowering.hasMore) this.#dropUnused()
    }
    this.#arm(isFinished && !this.#endLowering.hasMore)
  }

  #arm(isFinished: boolean): void {
    if (this.#timer !== null || !this.#hasWork) return
    this.#onArmed?.()
    this.#armIn(this.#refusals.delayMs(this.#policy.delayMs(isFinished, this.#heap.dirtyPages > 0)))
    // With `releaseAfterMs: 0` a tick serves only pages that could not go back at once. All others still do.
    this.isSettled = !this.#policy.isImmediate && this.#refusedPages === 0
  }

  #armIn(delayMs: number): void {
    // A weak reference: an arena that nobody refers to is collected although a tick is due. Then it is
    // ended (see `arena/unclosed`).
    const self = this.#self
    this.#timer = this.#deferral.after(delayMs, turnStartMs => self.deref()?.tick(turnStartMs))
  }

  get #hasWork(): boolean {
    const { dirtyPages, holdsPages } = this.#heap
    const { stuckPages } = this.#scavenger
    return dirtyPages > stuckPages || holdsPages || this.#buffers.hasIdle || this.#endLowering.isDue
  }

  /** Drops the buffers that no block uses, and the free segments beyond the spare one. */
  #dropUnused(): void {
    this.#buffers.dropIdle()
    for (const segment of this.#scavenger.surplusSegments()) this.#remove(segment)
    // Not while traffic keeps pages warm: the books would soon need the room again for the blocks to come.
    if (this.#heap.dirtyPages <= this.#scavenger.stuckPages) this.#heap.shrinkBooks()
  }

  #remove(segment: Segment): void {
    this.#buffers.removeSegment(segment)
    this.#heap.removeRange(segment.firstPage, segment.pageCount)
    this.#source.retire(segment)
  }

  check(): void {
    invariant(
      this.isSettled || this.#timer !== null || !this.#hasWork,
      '1: what is dirty or idle has a timer',
    )
    this.#refusals.check()
  }
}

// Outside of the class: the function outlives the arena, and a closure made in a method would hold the arena.
function recoveryBy(releaser: WeakRef<Releaser>): () => void {
  return () => releaser.deref()?.recoverSoon()
}
