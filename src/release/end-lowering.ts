/**
 * Lowers the movable end of a source (the program break) to the page above the highest one in use. It finds
 * the free, clean pages there in the heap, has the source give them up, and tells the heap. Free pages
 * further down are left to the scavenger, which purges them where they are: moving a break cannot give those
 * back.
 *
 * If the kernel refuses to lower the end, that costs addresses only, because the pages were purged before.
 */
import { MIB, type PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { MovableEnd } from '../memory/page-source.js'

const { min } = Math

/** How far one slice moves the end, in small steps. It takes about a millisecond. */
const SLICE_BYTES = 8 * MIB

export class EndLowering {
  readonly #heap: BlockHeap
  readonly #end: MovableEnd | null
  /** Whether the last `lowerSlice` stopped before the end was as low as it can be. */
  hasMore = false

  /** `end` is null if there is nothing to lower. */
  constructor(heap: BlockHeap, end: MovableEnd | null) {
    this.#heap = heap
    this.#end = end
  }

  /** Whether pages wait for the next moment of quiet. */
  get isDue(): boolean {
    return this.hasMore || this.#end?.isWaiting === true
  }

  /**
   * Lowers the end as far as possible. `isQuiet` says that this is a moment of quiet (a tick, or `trim`), not
   * a call of `free`. Returns the system error if the kernel refused, else null.
   */
  lower(isQuiet: boolean): unknown {
    return this.#lower(isQuiet, Number.POSITIVE_INFINITY)
  }

  /**
   * Lowers the end at a moment of quiet, for about a millisecond. `hasMore` says whether there is more to do.
   * Returns the system error if the kernel refused, else null.
   */
  lowerSlice(): unknown {
    return this.#lower(true, SLICE_BYTES / this.#heap.pageBytes)
  }

  #lower(isQuiet: boolean, mostPages: PageCount): unknown {
    const end = this.#end
    if (end === null) return null
    if (isQuiet) end.noteQuiet()
    this.#heap.flush()
    const { segment } = end
    const wanted = end.surplus(this.#heap.cleanTailPages(segment))
    const surplus = min(wanted, mostPages)
    this.hasMore = surplus < wanted
    // The heap gives the pages up first. So it never has pages that the segment has not, wherever this is
    // interrupted.
    this.#heap.removeTail(segment, surplus)
    const least = segment.pageCount - surplus
    let failure: unknown = null
    try {
      end.lower(surplus)
    } catch (error) {
      failure = error
      this.hasMore = false
    }
    const kept = segment.pageCount - least
    if (kept > 0) this.#heap.addRange(segment.firstPage + least, kept)
    return failure
  }
}
