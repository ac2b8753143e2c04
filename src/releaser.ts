/**
 * Carries out the release policy over an arena's parts: runs the scavenger by timer, then drops the buffers that nothing
 * uses and the segments that hold nothing. One timer at most is due, none while there is nothing to give back, and none
 * keeps the process alive.
 *
 * Invariant, checked by `check()`:
 *  1. while pages are dirty, buffers idle, or an end waits to be lowered, a tick is due, unless nothing is released by timer
 */
import { invariant } from './base/assert.js'
import type { Deferral } from './base/deferral.js'
import type { PageCount } from './base/units.js'
import type { BlockBuffers } from './buffers/block-buffers.js'
import type { BlockHeap } from './heap/block-heap.js'
import type { PageSource } from './memory/page-source.js'
import type { Segment } from './memory/segment.js'
import { EndLowering } from './release/end-lowering.js'
import type { ReleasePolicy } from './release/policy.js'
import type { Scavenger } from './release/scavenger.js'

export class Releaser {
  readonly #policy: ReleasePolicy
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #scavenger: Scavenger
  readonly #buffers: BlockBuffers
  readonly #deferral: Deferral
  readonly #endLowering: EndLowering
  #isStopped = false
  #isArmed = false
  /**
   * Nothing is to be done when something comes free: a tick is due already, or nothing is released but by `trim`. Read on
   * every `free`.
   */
  isSettled: boolean

  constructor(
    policy: ReleasePolicy,
    heap: BlockHeap,
    source: PageSource,
    scavenger: Scavenger,
    buffers: BlockBuffers,
    deferral: Deferral,
  ) {
    this.#policy = policy
    this.#heap = heap
    this.#source = source
    this.#scavenger = scavenger
    this.#buffers = buffers
    this.#deferral = deferral
    this.#endLowering = new EndLowering(heap, source.end)
    this.isSettled = !policy.isTimed && !policy.isImmediate
  }

  /** After something came free, where `isSettled` is false. */
  afterFree(): void {
    if (this.#policy.isImmediate) this.releaseAll(false)
    this.#arm(true)
  }

  /**
   * Gives everything back that is free. Returns the pages; the scavenger's `failure` says whether some were refused.
   * `isQuiet` is false on a freeing call.
   */
  releaseAll(isQuiet = true): PageCount {
    this.#buffers.recoverSetAside()
    const pageCount = this.#scavenger.purgeAll()
    const failure = this.#lowerEnd(isQuiet)
    if (failure !== null) this.#scavenger.failure = failure
    this.#dropUnused()
    // An end that the kernel did not let go down is tried again.
    if (!this.isSettled) this.#arm(true)
    return pageCount
  }

  /** Gives up the pages at a movable end; says what the kernel said, where it refused. */
  #lowerEnd(isQuiet: boolean): unknown {
    if (this.#source.end === null) return null
    this.#buffers.noticeTaken()
    return this.#endLowering.lower(isQuiet)
  }

  /** Every block is gone: gives up every segment, and never runs again. */
  close(): void {
    this.#isStopped = true
    this.isSettled = true
    // Where the kernel refuses, the unmapping that follows gives these pages back.
    this.#scavenger.purgeAll()
    this.#buffers.abandonSetAside()
    this.#heap.releaseEmptySlabs()
    for (const segment of [...this.#source.segments]) {
      this.#heap.markPurged(segment.firstPage, segment.pageCount)
      this.#remove(segment)
    }
    this.#source.close()
    this.#heap.shrinkBooks()
  }

  #tick(): void {
    this.#isArmed = false
    if (this.#isStopped) return
    this.isSettled = false
    if (this.#policy.isImmediate) {
      this.releaseAll()
      this.#arm(true)
      return
    }
    const isFinished = this.#scavenger.purgeAged()
    if (isFinished) {
      this.#buffers.recoverSetAside()
      // Where the kernel refuses, `isDue` says so, and a later tick tries again: there is no caller to tell.
      this.#lowerEnd(true)
      this.#dropUnused()
    }
    this.#arm(isFinished)
  }

  #arm(isFinished: boolean): void {
    if (this.#isArmed || !this.#hasWork) return
    this.#isArmed = true
    // With `releaseAfterMs: 0` a tick is for what could not go back at once; all else still does.
    this.isSettled = !this.#policy.isImmediate
    this.#deferral.after(this.#policy.delayMs(isFinished), () => this.#tick())
  }

  get #hasWork(): boolean {
    return this.#heap.dirtyPages > 0 || this.#buffers.hasIdle || this.#endLowering.isDue
  }

  /** Buffers that nothing uses, and segments beyond the spare one. */
  #dropUnused(): void {
    this.#buffers.dropIdle()
    for (const segment of this.#scavenger.surplusSegments()) this.#remove(segment)
    this.#heap.shrinkBooks()
  }

  #remove(segment: Segment): void {
    this.#buffers.removeSegment(segment)
    this.#heap.removeRange(segment.firstPage, segment.pageCount)
    this.#source.retire(segment)
  }

  check(): void {
    invariant(this.isSettled || this.#isArmed || !this.#hasWork, '1: what is dirty or idle has a timer')
  }
}
