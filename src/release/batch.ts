/**
 * Stretches of free pages that go back together: collected, handed to the source in one call, and told to the heap as far
 * as the kernel took them. What it refuses stays dirty, and nothing is lost.
 *
 * A short stretch of clean pages between two is purged along: one stretch less is cheaper than the few pages that were
 * looked at in vain. Never a page that holds a live byte.
 *
 * The array that stretches are collected in serves all arenas of the thread, one after the other: whoever collects calls
 * `start` first and `flush` last, in one go.
 */
import type { PageCount, PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'

const { min } = Math

/** What one system call takes. */
const MOST_STRETCHES = 512
/** So many clean pages between two stretches are purged along. */
const BRIDGED_PAGES = 8
/** After so many refusals in a row the kernel is asked no more, for now. Fewer are pages that somebody locked. */
const MOST_REFUSALS = 16
/** A batch is full before there is room for less than this: a stretch is cut at its end, and a call costs as much as three pages. */
export const LEAST_CALL_PAGES = 16

/** First page and page count, in turn. */
const stretches = new Uint32Array(2 * MOST_STRETCHES)

export class Batch {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  #maxPages: PageCount = 0
  #maxStretches = 0
  /** Stretches collected, the dirty pages in them, and where the last one ends. */
  #count = 0
  #dirtyPages: PageCount = 0
  #end: PageNumber = 0
  #refusals = 0
  /** Calls that gave something back, and the dirty pages, ever. */
  purges = 0
  purgedPages: PageCount = 0
  /** What the kernel said when it last refused, since the last `forgive`. */
  failure: unknown = null

  constructor(heap: BlockHeap, source: PageSource) {
    this.#heap = heap
    this.#source = source
  }

  /** The kernel is asked again, whatever it said. */
  forgive(): void {
    this.failure = null
    this.#refusals = 0
  }

  /** The kernel refused too often in a row: what is collected from now on stays as it is. */
  get hasGivenUp(): boolean {
    return this.#refusals >= MOST_REFUSALS
  }

  /** Nothing is collected yet. What `flush` hands over in one call is bounded by so many pages and stretches. */
  start(maxPages: PageCount, maxStretches: number): void {
    this.#maxPages = maxPages
    this.#maxStretches = min(MOST_STRETCHES, maxStretches)
    this.#count = 0
    this.#dirtyPages = 0
  }

  get stretchCount(): number {
    return this.#count
  }

  /** Dirty pages that are collected and still there. */
  get dirtyPages(): PageCount {
    return this.#dirtyPages
  }

  /** How many more pages there is room for. */
  get roomPages(): PageCount {
    return this.#maxPages - this.#dirtyPages
  }

  /** `flush` before more is added. */
  get isFull(): boolean {
    return this.#count >= this.#maxStretches || this.roomPages < LEAST_CALL_PAGES
  }

  /** Collects [firstPage, end): dirty pages behind all that were added since `start`. */
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

  /** Hands over the stretches from `from` up to `end`. Returns the first one that is left. */
  #purge(from: number, end: number): number {
    let done: PageCount
    try {
      done = this.#source.purge(stretches, from, end)
    } catch (error) {
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
