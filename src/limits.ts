/**
 * How many pages an arena may hold, and what happens on the way there. Three limits meet in the one number that the heap
 * compares with whenever it commits pages, so that none of them costs a warm path anything:
 *
 * - `limitBytes`: never passed
 * - `softLimitBytes`: the arena trims; what does not fit then crosses it, and a notice goes out, once
 * - its share of the process: taken from the ledger in steps, as the arena grows; given back as it shrinks
 *
 * Invariants, checked by `check()`:
 *  1. the heap's limit is the least of the three, the soft one only until it is crossed
 *  2. committed pages are never more than `limitBytes` or the share
 */
import { invariant } from './base/assert.js'
import type { PageCount } from './base/units.js'
import type { BlockHeap } from './heap/block-heap.js'
import type { Share } from './share.js'

/** A share grows by an eighth of what the arena has, and by so much at least. */
const LEAST_STEP_BYTES = 2 ** 20
const STEP_SHARE = 1 / 8

/** What limits need of the arena and its surroundings. */
export interface LimitActions {
  /**
   * Gives every free page of this arena back, once nothing waits in quarantine. Returns how many pages and waiting blocks there
   * were: where there were none, trying again makes no sense.
   */
  purge(): number
  /** Has every other arena of this thread give back what it can, and what it took from the ledger and does not need. */
  purgeOthers(): void
  /** The arena holds more than its soft limit although it has given back what is free. */
  crossedSoftLimit(committedPages: PageCount): void
}

export interface LimitOptions {
  readonly limitBytes: number
  readonly softLimitBytes: number
}

export class Limits {
  readonly #heap: BlockHeap
  /** What is taken from the process's limit. */
  readonly #share: Share
  readonly #actions: LimitActions
  readonly limitBytes: number
  readonly #hardPages: PageCount
  readonly #softPages: PageCount
  #isCrossed = false

  constructor(heap: BlockHeap, options: LimitOptions, share: Share, actions: LimitActions) {
    this.#heap = heap
    this.#share = share
    this.#actions = actions
    this.limitBytes = options.limitBytes
    this.#hardPages = Math.min(Number.MAX_SAFE_INTEGER, Math.floor(options.limitBytes / heap.pageBytes))
    this.#softPages = Math.min(Number.MAX_SAFE_INTEGER, Math.floor(options.softLimitBytes / heap.pageBytes))
    this.#apply()
  }

  /** Most pages that this arena may ever hold. */
  get hardPages(): PageCount {
    return this.#hardPages
  }

  /** Whether so many pages more would pass `limitBytes`, and not the process's limit, whatever is given back. */
  isHard(pageCount: PageCount): boolean {
    return this.#heap.usedPages + pageCount > this.#hardPages
  }

  /**
   * The heap would pass its limit by committing `pageCount` pages more. Makes room in the gentlest way that is left:
   * a larger share, giving back what is free, passing the soft limit, others giving back what they do not need. Returns
   * whether trying again makes sense.
   */
  makeRoom(pageCount: PageCount): boolean {
    const wanted = this.#heap.committedPages + pageCount
    const boundPages = Math.min(this.#hardPages, this.#isCrossed ? this.#hardPages : this.#softPages)
    if (wanted <= boundPages && this.growShare(pageCount)) return true
    if (this.#actions.purge() > 0) return true
    if (!this.#isCrossed && wanted > this.#softPages && wanted <= this.#hardPages) {
      this.#isCrossed = true
      this.#apply()
      this.#actions.crossedSoftLimit(this.#heap.committedPages)
      return true
    }
    if (wanted > this.#hardPages || wanted <= this.#share.pages) return false
    this.#actions.purgeOthers()
    return this.growShare(pageCount)
  }

  /** Pages were given back: the soft limit may be crossed again, and a share that is much too large shrinks. */
  settle(): void {
    const { committedPages } = this.#heap
    if (this.#isCrossed && committedPages <= this.#softPages) this.#isCrossed = false
    if (this.#share.isCounted && this.#share.pages - committedPages > 2 * this.#stepPages) {
      this.#share.shrinkTo(committedPages + this.#stepPages)
    }
    this.#apply()
  }

  /** Gives back all of the share that is not in use: others need it. */
  yieldShare(): void {
    this.#share.shrinkTo(this.#heap.committedPages)
    this.#apply()
  }

  get #stepPages(): PageCount {
    const { committedPages, pageBytes } = this.#heap
    return Math.floor(Math.max(committedPages * STEP_SHARE, LEAST_STEP_BYTES / pageBytes))
  }

  /** Takes what so many pages more need. Returns false where the share is large enough already, or the process has no more. */
  growShare(pageCount: PageCount): boolean {
    const missing = this.#heap.committedPages + pageCount - this.#share.pages
    if (!this.#share.isCounted || missing <= 0) return false
    for (const more of [Math.max(missing, this.#stepPages), missing]) {
      if (!this.#share.take(more)) continue
      this.#apply()
      return true
    }
    return false
  }

  #apply(): void {
    this.#heap.limitPages = this.#leastPages
  }

  get #leastPages(): PageCount {
    const softPages = this.#isCrossed ? Number.MAX_SAFE_INTEGER : this.#softPages
    return Math.min(this.#hardPages, softPages, this.#share.pages)
  }

  check(): void {
    const { committedPages, limitPages } = this.#heap
    invariant(limitPages === this.#leastPages, '1: the heap has the least limit')
    invariant(
      committedPages <= this.#hardPages && committedPages <= this.#share.pages,
      '2: within the limits',
    )
  }
}
