/**
 * A batch: stretches of free pages that go back together. They are collected, handed to the source in one
 * call, and marked as purged in the heap as far as the kernel took them. Pages that the kernel refuses stay
 * dirty, and nothing is lost.
 *
 * If only a few clean pages lie between two stretches, they are purged along: one stretch less is cheaper
 * than a few pages more. A page that holds a live byte is never purged.
 *
 * All arenas of the thread share the array in which stretches are collected. So a caller calls `start` first
 * and `flush` last, within one call of its own.
 */
import type { PageCount, PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import { MAX_CALL_STRETCHES } from './policy.js'

const { min } = Math
// Read once at load, so that a later replacement has no effect here.
const Overflow = RangeError

/** Up to this many clean pages between two stretches are purged along. */
const BRIDGED_PAGES = 8
/**
 * After this many refusals in a row the kernel is not asked any more, until `forgive`. Fewer refusals may
 * just be pages that are locked.
 */
const MAX_REFUSALS = 16
/**
 * A batch is full if it has room for fewer pages than this. A stretch is cut where the room ends, and each
 * further call costs as much as three pages.
 */
export const MIN_CALL_PAGES = 16

/** For each stretch: its first page, then its page count. */
const stretches = new Uint32Array(2 * MAX_CALL_STRETCHES)

export class Batch {
  readonly #heap: BlockHeap
  readonly #source: Pick<PageSource, 'purge'>
  #maxPages: PageCount = 0
  #maxStretches = 0
  /** The number of stretches collected, the dirty pages in them, and the page where the last one ends. */
  #count = 0
  #dirtyPages: PageCount = 0
  #end: PageNumber = 0
  #refusals = 0
  /** Calls that gave pages back, and the dirty pages that they gave back, ever. */
  purges = 0
  purgedPages: PageCount = 0
  /** The system error of the last refusal since the last `forgive`, else null. */
  failure: unknown = null

  constructor(heap: BlockHeap, source: Pick<PageSource, 'purge'>) {
    this.#heap = heap
    this.#source = source
  }

  /** Forgets all refusals, so that the kernel is asked again. */
  forgive(): void {
    this.failure = null
    this.#refusals = 0
  }

  /** Whether the kernel refused too often in a row. `flush` leaves its pages as they are then. */
  get hasGivenUp(): boolean {
    return this.#refusals >= MAX_REFUSALS
  }

  /** Begins an empty batch. It takes about `maxPages` pages and `maxStretches` stretches until it is full. */
  start(maxPages: PageCount, maxStretches: number): void {
    this.#maxPages = maxPages
    this.#maxStretches = min(MAX_CALL_STRETCHES, maxStretches)
    this.#count = 0
    this.#dirtyPages = 0
  }

  get stretchCount(): number {
    return this.#count
  }

  /** Dirty pages in the batch. */
  get dirtyPages(): PageCount {
    return this.#dirtyPages
  }

  /** How many more pages the batch has room for. */
  get roomPages(): PageCount {
    return this.#maxPages - this.#dirtyPages
  }

  /** Whether `flush` must be called before more is added. */
  get isFull(): boolean {
    return this.#count >= this.#maxStretches || this.roomPages < MIN_CALL_PAGES
  }

  /** Collects the dirty pages [firstPage, end). They must lie behind all that were added since `start`. */
  add(firstPage: PageNumber, end: PageNumber): void {
    this.#dirtyPages += end - firstPage
    const last = 2 * this.#count - 2
    const cleanPages = firstPage - this.#end
    if (last >= 0 && cleanPages <= BRIDGED_PAGES && this.#heap.arePurged(this.#end, firstPage)) {
      stretches[last + 1] = end - stretches[last]
    } else {
      stretches[last + 2] = firstPage
      stretches[last + 3] = end - firstPage
      this.#count++
    }
    this.#end = end
  }

  /** Gives back what is collected. Returns how many dirty pages the kernel took. */
  flush(): PageCount {
    const count = this.#count
    const before = this.purgedPages
    this.#count = 0
    this.#dirtyPages = 0
    for (let at = 0; at < count && !this.hasGivenUp; ) at = this.#purge(at, count)
    return this.purgedPages - before
  }

  /** Hands the stretches from `from` up to `end` over in one call. Returns the first one that is left. */
  #purge(from: number, end: number): number {
    let done: PageCount
    try {
      done = this.#source.purge(stretches, from, end)
    } catch (error) {
      // The stack is full. The kernel was not asked, or has done its work: that is no refusal.
      if (error instanceof Overflow) throw error
      this.failure = error
      this.#refusals++
      return from + 1
    }
    this.#refusals = 0
    this.purges++
    let at = from
    for (; at < end && done >= stretches[2 * at + 1]; at++) {
      this.#mark(at, stretches[2 * at + 1])
      done -= stretches[2 * at + 1]
    }
    if (at < end && done > 0) {
      this.#mark(at, done)
      stretches[2 * at] += done
      stretches[2 * at + 1] -= done
    }
    return at
  }

  #mark(at: number, pageCount: PageCount): void {
    this.purgedPages += this.#heap.markPurged(stretches[2 * at], pageCount)
  }
}
