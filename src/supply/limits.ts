/**
 * How many pages an arena may hold, and what it does before it is refused more. Four limits become one
 * number, `limitPages` of the heap. The heap compares with it whenever it commits pages, so the limits cost
 * nothing on a warm path.
 *
 * - `limitBytes`: never passed
 * - `softLimitBytes`: the arena trims first. If that is not enough, the limit is crossed, and a notice goes
 *   out, once
 * - the *share* of the process's limit: taken from the ledger in steps as the arena grows, given back as it
 *   shrinks
 * - the *bound*: what may be committed by what was in use lately. Before it is passed, as many dirty pages go
 *   back as necessary; then it is raised. So it refuses nothing, and no listener is told
 *
 * Invariants, checked by `check()`:
 *  1. the heap's limit is the least of the four; the soft limit counts only until it is crossed
 *  2. committed pages are never more than `limitBytes`, the share or the bound
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { Share } from './share.js'

const { floor, max, min } = Math

const NO_LIMIT: PageCount = Number.MAX_SAFE_INTEGER
/** A share grows by an eighth of what the arena has committed, and by this many bytes at least. */
const MIN_STEP_BYTES = 2 ** 20
const STEP_SHARE = 1 / 8
/**
 * If pages go back because of the bound, this share of the committed pages goes in addition, so that the
 * bound is not met again soon.
 */
const BOUND_STEP_SHARE = 1 / 32
const MIN_BOUND_STEP_BYTES = 2 ** 20

/** What limits need from the arena and its surroundings. */
interface LimitActions {
  /**
   * Gives back every free page of this arena, after ending the wait of all blocks in quarantine. Returns the
   * number of pages and of blocks that waited. If it is 0, trying again makes no sense.
   */
  purge(): number
  /**
   * Moves live memory together, so that pages come free, until `pageCount` more fit. Returns whether trying again makes
   * sense. Only a store can do that.
   */
  compact?(pageCount: PageCount): boolean
  /** Returns the most pages that may be committed while `usedPages` are in use, by what was in use lately. */
  boundPages(usedPages: PageCount): PageCount
  /** Gives back about `pageCount` free pages of this arena, or all if there are fewer. */
  purgeSome(pageCount: PageCount): void
  /**
   * Has every other arena of this thread give back what it can, and the part of its share that it does not
   * need.
   */
  purgeOthers(): void
  /** Is called when the arena needs more than its soft limit although it has given back what is free. */
  crossedSoftLimit(committedPages: PageCount): void
}

interface LimitOptions {
  readonly limitBytes: number
  readonly softLimitBytes: number
}

/** The limits of one arena. `makeRoom` is called when the heap refuses. */
export class Limits {
  readonly #heap: BlockHeap
  /** What the arena has taken of the process's limit. */
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

  /** The most pages that this arena may ever hold. */
  get hardPages(): PageCount {
    return this.#hardPages
  }

  /**
   * Whether `pageCount` more pages in use would pass `limitBytes`, whatever is given back. If not, the limit
   * of the process refuses.
   */
  isHard(pageCount: PageCount): boolean {
    return this.#heap.usedPages + pageCount > this.#hardPages
  }

  /**
   * Makes room for `pageCount` more pages, which the heap cannot commit below its limit. It tries the
   * steps in order, the cheapest first, and stops at the first that helps. Returns whether trying again
   * makes sense; if not, the pages are refused.
   */
  makeRoom(pageCount: PageCount): boolean {
    if (this.makeRoomUnseen(pageCount)) return true
    // A store moves records together before it bothers anybody.
    if (this.#actions.compact?.(pageCount) === true) return true
    // Listeners are told once nothing free is left, because then only they can make room.
    if (this.#crossSoftLimit(pageCount)) return true
    // Other arenas lose pages that they would use again. So they are asked only for what `limitBytes` allows.
    if (this.#takeFromOthers(pageCount)) return true
    // Nothing is left to try: refused.
    return false
  }

  /** The first steps of `makeRoom`: no listener is told, and no other arena loses pages. */
  makeRoomUnseen(pageCount: PageCount): boolean {
    // The bound comes first, because it refuses nothing: it only says that dirty pages are no longer wanted.
    // That may be all that was in the way.
    if (this.#raiseBound(pageCount)) return true
    // A larger share costs nothing while the process has some left. A purge would cost page faults later.
    // Last it gives back its own free pages.
    return this.#growWithinLimits(pageCount) || this.#actions.purge() > 0
  }

  /**
   * Raises the bound for `pageCount` more pages, if they would pass it. Returns whether they have room now.
   */
  #raiseBound(pageCount: PageCount): boolean {
    if (this.#heap.committedPages + pageCount <= this.#boundPages) return false
    this.#moveBound(pageCount)
    return this.#heap.committedPages + pageCount <= this.#heap.limitPages
  }

  /** Takes a larger share, if `pageCount` more pages are within the arena's own limits. */
  #growWithinLimits(pageCount: PageCount): boolean {
    const wanted = this.#heap.committedPages + pageCount
    return wanted <= min(this.#hardPages, this.#openSoftPages) && this.growShare(pageCount)
  }

  /** Crosses the soft limit, if it alone is in the way, and has listeners told. */
  #crossSoftLimit(pageCount: PageCount): boolean {
    const wanted = this.#heap.committedPages + pageCount
    if (wanted <= this.#openSoftPages || wanted > this.#hardPages) return false
    this.#isCrossed = true
    this.#apply()
    this.#actions.crossedSoftLimit(this.#heap.committedPages)
    return true
  }

  /** Has other arenas give back what they do not need, if only the share is in the way, and takes of it. */
  #takeFromOthers(pageCount: PageCount): boolean {
    const wanted = this.#heap.committedPages + pageCount
    if (wanted > this.#hardPages || wanted <= this.#share.pages) return false
    this.#actions.purgeOthers()
    return this.growShare(pageCount)
  }

  /**
   * Gives back what the bound does not allow beside `pageCount` more pages in use, and moves the bound there.
   */
  #moveBound(pageCount: PageCount): void {
    const heap = this.#heap
    const boundPages = this.#actions.boundPages(heap.usedPages + pageCount)
    const excess = heap.committedPages + pageCount - boundPages
    const stepPages = this.#atLeast(heap.committedPages * BOUND_STEP_SHARE, MIN_BOUND_STEP_BYTES)
    if (excess > 0) this.#actions.purgeSome(excess + stepPages)
    // Pages that the kernel did not take back stay. The bound is raised by them, since it must refuse
    // nothing.
    const isShort = heap.committedPages + pageCount > boundPages
    const newBound = isShort ? heap.committedPages + pageCount + stepPages : boundPages
    const softPages = this.#openSoftPages
    // Set in one step, as in `adapt`.
    this.#boundPages = newBound
    heap.limitPages = min(this.#hardPages, softPages, this.#share.pages, newBound)
  }

  /**
   * Adapts the limits after pages were given back, or after some time: the soft limit may be crossed again, a
   * share that is much too large shrinks, and the bound follows what is in use.
   */
  adapt(): void {
    // After an interrupted change the counts of the heap mean nothing until it is mended.
    this.#heap.mend()
    // Called before the counts are read, because it may run any script.
    const mostPages = this.#actions.boundPages(this.#heap.usedPages)
    const { committedPages, usedPages } = this.#heap
    // Pages that an interrupted call left in use, beyond what the share had granted, count as well.
    if (committedPages > this.#share.pages) this.#share.take(committedPages - this.#share.pages)
    const stepPages = this.#stepPages
    // If nothing is dirty, the bound is what is committed. No timer calls this while nothing is dirty, so a
    // higher bound would stay, and would be too high later.
    const boundPages = committedPages === usedPages ? committedPages : max(committedPages, mostPages)
    const isLarge = this.#share.isCounted && this.#share.pages - committedPages > 2 * stepPages
    const sharePages = isLarge ? committedPages + stepPages : this.#share.pages
    // Set in one step that nothing interrupts, and before the share shrinks: the heap never has a limit above
    // the least of the four.
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

  /** Gives back the part of the share that is not in use, because other arenas need it. */
  yieldShare(): void {
    this.#heap.mend()
    const { committedPages } = this.#heap
    this.#heap.limitPages = min(this.#heap.limitPages, committedPages)
    this.#share.shrinkTo(committedPages)
    this.#apply()
  }

  get #stepPages(): PageCount {
    return this.#atLeast(this.#heap.committedPages * STEP_SHARE, MIN_STEP_BYTES)
  }

  #atLeast(pageCount: number, leastBytes: number): PageCount {
    return floor(max(pageCount, leastBytes / this.#heap.pageBytes))
  }

  /**
   * Takes as much share as `pageCount` more pages need. Returns false if the share is large enough already,
   * or if the process has no more.
   */
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
    return min(this.#hardPages, this.#openSoftPages, this.#share.pages, this.#boundPages)
  }

  /** The soft limit, as long as it was not crossed. */
  get #openSoftPages(): PageCount {
    return this.#isCrossed ? NO_LIMIT : this.#softPages
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
