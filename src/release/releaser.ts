/**
 * Carries out the release policy over an arena's parts: runs the scavenger by timer, then drops the buffers that nothing
 * uses and the segments that hold nothing. One timer at most is due, none while there is nothing to give back, and none
 * keeps the process alive. Long runs that come free bring it forward.
 *
 * Invariant, checked by `check()`:
 *  1. while pages are dirty, buffers idle, or an end waits to be lowered, a tick is due, unless nothing is released by timer
 */
import { invariant } from '../base/assert.js'
import type { Deferral, Timer } from '../base/deferral.js'
import type { Gate } from '../base/gate.js'
import { PAUSE_MS } from '../base/timer-queue.js'
import type { PageCount, PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import type { Segment } from '../memory/segment.js'
import type { Notices, PurgeReason } from '../notices/notices.js'
import { EndLowering } from './end-lowering.js'
import type { ReleasePolicy } from './policy.js'
import { Refusals } from './refusals.js'
import type { Scavenger } from './scavenger.js'

/** What releasing memory asks of the buffers over it. */
export interface ReleasableBuffers {
  /** Whether there are buffers that no live block needs. */
  readonly hasIdle: boolean
  /** Is called when memory that a forgotten block waited for was collected. */
  onCollected: (() => void) | null
  /** Detaches buffers that no live block needs and whose pages went back. */
  dropIdle(): void
  /** Detaches the buffers over a segment that is about to go. */
  removeSegment(segment: Segment): void
  /** Lets go of what waits in the quarantine of `debug`. Returns how many blocks that were. */
  emptyQuarantine(): number
  /** Frees what was set aside and is seen by nobody any more. */
  recoverSetAside(): void
  /** Gives up what was set aside: its memory goes with the arena. */
  abandonSetAside(): void
  /** Looks for buffers that somebody took away, so that no end moves under them. */
  noticeTaken(): void
  /** Counts anew, after a change that did not come to its end. */
  recount(): void
}

/** The parts of an arena that releasing memory touches. */
export interface ReleaserParts {
  readonly gate: Gate
  readonly heap: BlockHeap
  readonly source: PageSource
  readonly scavenger: Scavenger
  readonly buffers: ReleasableBuffers
  /** `settle`: pages went back, and what the arena may hold follows. */
  readonly limits: { settle(): void }
  readonly notices: Pick<Notices, 'purged' | 'purgeRefused'>
  readonly deferral: Deferral
  /** A tick was armed: something can be given back. */
  readonly onArmed?: (() => void) | undefined
}

/** What one part of a trim did, and where the next one begins; at 0 where there is none. */
export interface TrimSlice {
  readonly nextPage: PageNumber
  readonly pageCount: PageCount
  /** What the kernel said where it refused something, or null. */
  readonly failure: unknown
}

export class Releaser {
  /** Made at first use: V8 keeps what a new one refers to until the end of the task, in a loop of new arenas all of them. */
  #weakSelf: WeakRef<Releaser> | undefined
  readonly #policy: ReleasePolicy
  readonly #gate: Gate
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #scavenger: Scavenger
  readonly #buffers: ReleasableBuffers
  readonly #deferral: Deferral
  readonly #limits: { settle(): void }
  readonly #notices: Pick<Notices, 'purged' | 'purgeRefused'>
  readonly #onArmed: (() => void) | undefined
  /** Blocks that the arena has allocated and freed, ever. The arena sets it: it does not exist before its parts. */
  calls: () => number = () => 0
  readonly #endLowering: EndLowering
  readonly #refusals = new Refusals()
  /** It was told that the kernel refuses, and it has not taken anything since. */
  #hasToldRefusal = false
  /** Pages that the kernel did not take when it was last asked. */
  #refusedPages: PageCount = 0
  /** Pages that went back in the slices of the tick under way. */
  #tickPages: PageCount = 0
  #isStopped = false
  /** What the kernel said where it refused something in the last `releaseAll`, or null. */
  failure: unknown = null
  /** The tick that is due. */
  #timer: Timer | null = null
  /** Something came free in the middle of a change, and goes back at once after it. */
  #isOwed = false
  /** It is due at once: long runs may have come free. */
  #isUrgent = false
  /**
   * Nothing is to be done when something comes free: a tick is due already, or nothing is released but by `trim`. Read on
   * every `free`.
   */
  isSettled: boolean

  constructor(policy: ReleasePolicy, parts: ReleaserParts) {
    this.#policy = policy
    this.#gate = parts.gate
    this.#heap = parts.heap
    this.#source = parts.source
    this.#scavenger = parts.scavenger
    this.#buffers = parts.buffers
    this.#limits = parts.limits
    this.#notices = parts.notices
    this.#deferral = parts.deferral
    this.#onArmed = parts.onArmed
    this.#endLowering = new EndLowering(parts.heap, parts.source.end)
    this.isSettled = !policy.isTimed && !policy.isImmediate
  }

  /** Something came free, or may have. */
  noteFree(): void {
    if (!this.isSettled) this.afterFree()
  }

  /** After something came free, where `isSettled` is false. */
  afterFree(): void {
    this.#scavenger.stuckPages = 0
    if (this.#policy.isImmediate) {
      this.#isOwed = this.#gate.isTaken
      // Whoever has the gate sees to it once it is open.
      if (this.#isOwed) return
      this.giveBack('free')
    }
    // Most blocks that come free leave others on their page, and nothing to do: no clock is read for those.
    if (this.#refusedPages > 0) this.#wake()
    if (this.#timer !== null || !this.#hasWork) return
    this.#policy.start()
    this.#arm(true)
  }

  /** After an allocation, in which something may have come free, where `isSettled` is false. */
  afterAllocation(): void {
    if (this.#isOwed || !this.#policy.isImmediate) this.afterFree()
  }

  /**
   * After a run of `AT_ONCE_BYTES` or more may have come free: it goes back when the event loop had its turn, unless
   * traffic is likely to want it again.
   */
  afterLargeFree(): void {
    if (this.#isUrgent || !this.#policy.isTimed || this.#refusals.isLasting) return
    const { atOncePages, calmPages } = this.#policy
    if (this.#heap.dirtyPages - calmPages < atOncePages) return
    const earlier = this.#timer
    // The next tick first: whatever interrupts this, one is due.
    this.#armIn(PAUSE_MS)
    this.#isUrgent = true
    this.isSettled = true
    earlier?.cancel()
  }

  /** A block was forgotten: when the memory under it is collected, it is to be looked after. */
  noteForgotten(): void {
    this.#buffers.onCollected ??= recoveryBy(this.#self)
    this.noteFree()
  }

  get #self(): WeakRef<Releaser> {
    this.#weakSelf ??= new WeakRef(this)
    return this.#weakSelf
  }

  /** Memory that nobody sees any more was collected: what waits for its finalizer is free within two turns. */
  recoverSoon(): void {
    const self = this.#self
    const deferral = this.#deferral
    deferral.nextTurn(() => deferral.nextTurn(() => self.deref()?.recover()))
  }

  /** Frees what waited and need not wait any more. */
  recover(): void {
    if (this.#isStopped) return
    const isDone = this.#attempt(() => this.#buffers.recoverSetAside())
    if (isDone) this.noteFree()
  }

  /** `releaseAll` as a change of its own. Nothing is given back in the middle of another. */
  giveBack(reason: PurgeReason): PageCount {
    let pageCount: PageCount = 0
    this.#attempt(() => {
      pageCount = this.releaseAll(reason)
    })
    return pageCount
  }

  /** Gives everything back that is free. Returns the pages; `failure` says whether some were refused. */
  releaseAll(reason: PurgeReason): PageCount {
    if (reason !== 'free' && reason !== 'timer') this.#buffers.emptyQuarantine()
    this.#buffers.recoverSetAside()
    const pageCount = this.purgeAll(reason)
    const failure = this.#lowerEnd(reason !== 'free' && reason !== 'limit')
    this.failure = failure ?? this.#scavenger.failure
    this.#dropUnused()
    // An end that the kernel did not let go down is tried again.
    if (!this.isSettled) this.#arm(true)
    return pageCount
  }

  /** Gives every dirty page back, and leaves buffers and segments as they are: an allocation is under way. */
  purgeAll(reason: PurgeReason): PageCount {
    const callsBefore = this.#scavenger.purges
    const pageCount = this.#scavenger.purgeAll()
    this.#tell(pageCount, callsBefore, reason)
    return pageCount
  }

  /** Gives about so many dirty pages back: more memory is needed than the bound allows. */
  purgeSome(pageCount: PageCount): PageCount {
    const callsBefore = this.#scavenger.purges
    const purgedPages = this.#scavenger.purgeSome(pageCount)
    this.#tell(purgedPages, callsBefore, 'growth')
    return purgedPages
  }

  /** Gives up every segment in which nothing lives: none has room for what is about to be mapped. */
  giveUpFreeSegments(): void {
    if (this.#source.end !== null) return
    const { purges, purgedPages } = this.#scavenger
    for (const segment of this.#scavenger.purgeFreeSegments()) this.#remove(segment)
    this.#tell(this.#scavenger.purgedPages - purgedPages, purges, 'growth')
  }

  /** What a part of `trim` is to `trimAsync`: see `Scavenger.purgeSlice`. Null in the middle of a change: try again. */
  trimSlice(from: PageNumber, turnStartMs: number): TrimSlice | null {
    // Closed meanwhile: that gave everything back.
    if (this.#isStopped) return { nextPage: 0, pageCount: 0, failure: null }
    let slice: TrimSlice | null = null
    this.#attempt(() => {
      slice = this.#trimSlice(from, turnStartMs)
    })
    return slice
  }

  #trimSlice(from: PageNumber, turnStartMs: number): TrimSlice {
    if (from === 0) {
      this.#buffers.emptyQuarantine()
      this.#buffers.recoverSetAside()
    }
    const { purges, purgedPages } = this.#scavenger
    const nextPage = this.#scavenger.purgeSlice(from, turnStartMs)
    const pageCount = this.#scavenger.purgedPages - purgedPages
    this.#tell(pageCount, purges, 'trim')
    return { nextPage, pageCount, failure: this.#scavenger.failure }
  }

  /** Then, in parts too: the end goes down, and what is unused is dropped. */
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
    this.#limits.settle()
    this.#notices.purged(pageCount * this.#heap.pageBytes, this.#scavenger.purges - callsBefore, reason)
  }

  /** Gives up the pages at a movable end; says what the kernel said, where it refused. */
  #lowerEnd(isQuiet: boolean): unknown {
    if (this.#source.end === null) return null
    this.#buffers.noticeTaken()
    return this.#endLowering.lower(isQuiet)
  }

  /** Where the kernel refuses, `isDue` says so too, and a later tick tries again. */
  #lowerEndSlice(): unknown {
    if (this.#source.end === null) return null
    this.#buffers.noticeTaken()
    return this.#endLowering.lowerSlice()
  }

  /** A tick has ended, in which that many pages went back. */
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

  /** More came free than what the kernel refused: it is asked for that in time. */
  #wake(): void {
    if (this.#heap.dirtyPages <= this.#refusedPages) return
    this.#refusedPages = 0
    this.#timer?.cancel()
    this.#timer = null
    this.#policy.start()
    this.isSettled = !this.#policy.isImmediate
    this.#armIn(this.#policy.delayMs(true, true))
  }

  /** Every block is gone: gives up every segment, and never runs again. */
  close(): void {
    this.#isStopped = true
    this.isSettled = true
    this.#timer?.cancel()
    this.#timer = null
    this.#buffers.emptyQuarantine()
    // Where the kernel refuses, the unmapping that follows gives these pages back.
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

  /** Makes good what a change left behind that did not come to its end: before anything else in the next one. */
  mend(): void {
    const { wasInterrupted } = this.#gate
    this.#heap.mend()
    if (wasInterrupted) {
      this.#buffers.recount()
      this.dropUnmanaged()
    }
    this.#gate.wasInterrupted = false
    if (this.#isStopped) return
    if (this.#heap.wasRebuilt) this.#settleRebuilt()
    // After the heap: what it says is held is right now.
    else if (wasInterrupted) this.#limits.settle()
  }

  /** Whether there is something to make good. */
  get isUnfinished(): boolean {
    return this.#heap.wasRebuilt || this.#gate.wasInterrupted
  }

  /** A change of its own. Returns false, and does nothing, in the middle of another. */
  #attempt(change: () => void): boolean {
    return this.#gate.attempt(() => {
      if (this.isUnfinished) this.mend()
      change()
    })
  }

  /** Gives up what was reserved for the heap, or removed from it, by a call that was interrupted in between. */
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

  /** The heap made its books anew, and takes all that is free for dirty, beyond all limits: that goes back. */
  #settleRebuilt(): void {
    this.purgeAll('limit')
    this.#limits.settle()
    this.#arm(true)
    // Last: where this is interrupted, it is done again.
    this.#heap.wasRebuilt = false
  }

  /** Sees to it that a tick is due where one must be: a call may have been interrupted before it said so. */
  rearm(): void {
    if (!this.isSettled && !this.#isStopped) this.#arm(true)
  }

  /** What is due by timer. */
  tick(turnStartMs: number): void {
    // Else somebody else's timers run it in the middle of a change.
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
    // What was in use once was so too long ago, perhaps.
    this.#limits.settle()
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
    // With `releaseAfterMs: 0` a tick is for what could not go back at once; all else still does.
    this.isSettled = !this.#policy.isImmediate && this.#refusedPages === 0
  }

  #armIn(delayMs: number): void {
    // Weakly: an arena that nobody refers to is collected although a tick is due, and settled then (see `arena/unclosed`).
    const self = this.#self
    this.#timer = this.#deferral.after(delayMs, turnStartMs => self.deref()?.tick(turnStartMs))
  }

  get #hasWork(): boolean {
    const { dirtyPages, holdsPages } = this.#heap
    const { stuckPages } = this.#scavenger
    return dirtyPages > stuckPages || holdsPages || this.#buffers.hasIdle || this.#endLowering.isDue
  }

  /** Buffers that nothing uses, and segments beyond the spare one. */
  #dropUnused(): void {
    this.#buffers.dropIdle()
    for (const segment of this.#scavenger.surplusSegments()) this.#remove(segment)
    // Not while traffic keeps pages warm: it would have to be granted room for the blocks that it frees anew.
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

// Outside of the class: it outlives the arena, and what a method's closures share would hold that.
function recoveryBy(releaser: WeakRef<Releaser>): () => void {
  return () => releaser.deref()?.recoverSoon()
}
