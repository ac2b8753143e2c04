/**
 * How many pages an arena may hold, and what happens on the way there. Four limits meet in the one number that the heap
 * compares with whenever it commits pages, so that none of them costs a warm path anything:
 *
 * - `limitBytes`: never passed
 * - `softLimitBytes`: the arena trims; what does not fit then crosses it, and a notice goes out, once
 * - its share of the process: taken from the ledger in steps, as the arena grows; given back as it shrinks
 * - the *bound*: what the pages in use lately account for. Before it is passed, dirty pages go back, as many as have to;
 *   then it is raised. So it refuses nothing, and nobody is told
 *
 * Invariants, checked by `check()`:
 *  1. the heap's limit is the least of the four, the soft one only until it is crossed
 *  2. committed pages are never more than `limitBytes`, the share or the bound
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { Share } from './share.js'

const { floor, max, min } = Math

const NO_LIMIT: PageCount = Number.MAX_SAFE_INTEGER
/** A share grows by an eighth of what the arena has, and by so much at least. */
const LEAST_STEP_BYTES = 2 ** 20
const STEP_SHARE = 1 / 8
/** Where pages go back for the bound's sake, so many more of them go, so that it is not met again soon. */
const BOUND_STEP_SHARE = 1 / 32
const LEAST_BOUND_STEP_BYTES = 2 ** 20

/** What limits need of the arena and its surroundings. */
export interface LimitActions {
  /**
   * Gives every free page of this arena back, once nothing waits in quarantine. Returns how many pages and waiting blocks there
   * were: where there were none, trying again makes no sense.
   */
  purge(): number
  /** Most pages that may be committed, by what was in use lately, while `usedPages` are in use. */
  boundPages(usedPages: PageCount): PageCount
  /** Gives about so many free pages of this arena back, where there are so many. */
  purgeSome(pageCount: PageCount): void
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
  #boundPages: PageCount

  constructor(heap: BlockHeap, options: LimitOptions, share: Share, actions: LimitActions) {
    this.#heap = heap
    this.#share = share
    this.#actions = actions
    this.limitBytes = options.limitBytes
    this.#hardPages = min(Number.MAX_SAFE_INTEGER, floor(options.limitBytes / heap.pageBytes))
    this.#softPages = min(Number.MAX_SAFE_INTEGER, floor(options.softLimitBytes / heap.pageBytes))
    this.#boundPages = actions.boundPages(0)
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
   * giving back what the bound does not allow, a larger share, giving back what is free, passing the soft limit, others giving
   * back what they do not need. Returns whether trying again makes sense.
   */
  makeRoom(pageCount: PageCount): boolean {
    if (this.#heap.committedPages + pageCount > this.#boundPages) {
      this.#raiseBound(pageCount)
      if (this.#heap.committedPages + pageCount <= this.#heap.limitPages) return true
    }
    const wanted = this.#heap.committedPages + pageCount
    const boundPages = min(this.#hardPages, this.#isCrossed ? this.#hardPages : this.#softPages)
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

  /** Makes room below the bound for so many pages more, which will be in use. */
  #raiseBound(pageCount: PageCount): void {
    const heap = this.#heap
    const boundPages = this.#actions.boundPages(heap.usedPages + pageCount)
    const excess = heap.committedPages + pageCount - boundPages
    const stepPages = this.#atLeast(heap.committedPages * BOUND_STEP_SHARE, LEAST_BOUND_STEP_BYTES)
    if (excess > 0) this.#actions.purgeSome(excess + stepPages)
    // What the kernel did not take back stays, and refuses nobody anything.
    const isShort = heap.committedPages + pageCount > boundPages
    const newBound = isShort ? heap.committedPages + pageCount + stepPages : boundPages
    const softPages = this.#isCrossed ? NO_LIMIT : this.#softPages
    // As in `settle`.
    this.#boundPages = newBound
    heap.limitPages = min(this.#hardPages, softPages, this.#share.pages, newBound)
  }

  /**
   * Pages were given back, or time has gone by: the soft limit may be crossed again, a share that is much too large shrinks, and
   * the bound follows what is in use.
   */
  settle(): void {
    // What the heap counts means nothing where a change of it did not come to its end.
    this.#heap.mend()
    // Before the counts are read, since it may run anything.
    const mostPages = this.#actions.boundPages(this.#heap.usedPages)
    const { committedPages, usedPages } = this.#heap
    // What an interrupted call left in use, beyond what it had been granted, counts as well.
    if (committedPages > this.#share.pages) this.#share.take(committedPages - this.#share.pages)
    const stepPages = this.#stepPages
    // While nothing is dirty nobody calls this: a bound from then would be too high some day.
    const boundPages = committedPages === usedPages ? committedPages : max(committedPages, mostPages)
    const isLarge = this.#share.isCounted && this.#share.pages - committedPages > 2 * stepPages
    const sharePages = isLarge ? committedPages + stepPages : this.#share.pages
    // In one step, which nothing interrupts, and before the share shrinks: the heap never has a limit above the least.
    if (this.#isCrossed && committedPages <= this.#softPages) this.#isCrossed = false
    this.#boundPages = boundPages
    this.#heap.limitPages = min(
      this.#hardPages,
      this.#isCrossed ? NO_LIMIT : this.#softPages,
      sharePages,
      boundPages,
    )
    if (isLarge) this.#share.shrinkTo(sharePages)
  }

  /** Gives back all of the share that is not in use: others need it. */
  yieldShare(): void {
    this.#heap.mend()
    const { committedPages } = this.#heap
    this.#heap.limitPages = min(this.#heap.limitPages, committedPages)
    this.#share.shrinkTo(committedPages)
    this.#apply()
  }

  get #stepPages(): PageCount {
    return this.#atLeast(this.#heap.committedPages * STEP_SHARE, LEAST_STEP_BYTES)
  }

  #atLeast(pageCount: number, leastBytes: number): PageCount {
    return floor(max(pageCount, leastBytes / this.#heap.pageBytes))
  }

  /** Takes what so many pages more need. Returns false where the share is large enough already, or the process has no more. */
  growShare(pageCount: PageCount): boolean {
    const missing = this.#heap.committedPages + pageCount - this.#share.pages
    if (!this.#share.isCounted || missing <= 0) return false
    for (const more of [max(missing, this.#stepPages), missing]) {
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
    const softPages = this.#isCrossed ? NO_LIMIT : this.#softPages
    return min(this.#hardPages, softPages, this.#share.pages, this.#boundPages)
  }

  check(): void {
    const { committedPages, limitPages } = this.#heap
    invariant(limitPages === this.#leastPages, '1: the heap has the least limit')
    invariant(
      committedPages <= this.#hardPages &&
        committedPages <= this.#share.pages &&
        committedPages <= this.#boundPages,
      '2: within the limits',
    )
  }
}
