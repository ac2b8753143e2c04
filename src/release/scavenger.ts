/**
 * Gives pages back: finds stretches of dirty pages in the heap, has the source purge them, and tells the heap. Longer
 * stretches make fewer calls, so one stretch runs over free runs and the idle pages of slabs alike.
 *
 * A purge that the kernel refuses leaves its pages dirty: nothing is lost, and the next tick or `trim` tries again.
 */
import { NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import type { Segment } from '../memory/segment.js'
import type { ReleasePolicy } from './policy.js'

export class Scavenger {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #policy: ReleasePolicy
  /** Where the next slice of an unfinished tick goes on. */
  #cursor: PageNumber = 0
  /** Successful purge calls, and the pages they gave back, ever. */
  purges = 0
  purgedPages: PageCount = 0
  /** What the kernel said when it last refused, since the last `purgeAll` or tick began. */
  failure: unknown = null

  constructor(heap: BlockHeap, source: PageSource, policy: ReleasePolicy) {
    this.#heap = heap
    this.#source = source
    this.#policy = policy
  }

  /** One slice of a tick: purges aged pages while there is time. Returns whether the tick is finished. */
  purgeAged(): boolean {
    if (this.#cursor === 0) {
      this.failure = null
      this.#heap.flush()
    }
    this.#policy.startSlice()
    let page = this.#heap.nextDirty(this.#cursor, true)
    while (page !== NONE) {
      const end = this.#heap.dirtyEnd(page, this.#policy.maxCallPages, true)
      this.#purge(page, end)
      page = this.#heap.nextDirty(end, true)
      if (page !== NONE && !this.#policy.hasTime()) {
        this.#cursor = page
        return false
      }
    }
    this.#cursor = 0
    this.#heap.ageDirtyPages()
    return true
  }

  /** Purges every dirty page now. Returns how many; `failure` says whether some are left. */
  purgeAll(): PageCount {
    const before = this.purgedPages
    this.failure = null
    this.#heap.flush()
    let page = this.#heap.nextDirty(0, false)
    while (page !== NONE) {
      const end = this.#heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)
      this.#purge(page, end)
      page = this.#heap.nextDirty(end, false)
    }
    this.#cursor = 0
    return this.purgedPages - before
  }

  /**
   * Segments that hold nothing and could be unmapped: wholly free and purged, but for one spare, the smallest, so that
   * an arena that goes to and fro around empty does not map and unmap.
   */
  surplusSegments(): Segment[] {
    const free = this.#source.segments.filter(
      segment =>
        !segment.hasMovedBuffer &&
        this.#heap.isRangeFree(segment) &&
        !this.#heap.anyDirty(segment.firstPage, segment.pageCount),
    )
    free.sort((a, b) => a.pageCount - b.pageCount)
    return free.slice(1)
  }

  #purge(firstPage: PageNumber, end: PageNumber): void {
    try {
      this.#source.purge(firstPage, end - firstPage)
    } catch (error) {
      this.failure = error
      return
    }
    this.#heap.markPurged(firstPage, end - firstPage)
    this.purges++
    this.purgedPages += end - firstPage
  }
}
