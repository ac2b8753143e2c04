/**
 * Lowers the movable end of a source (the program break) to the page above the highest one in use: finds the free, clean
 * pages there in the heap, has the source give them up, and tells the heap. Pages that are free further down are the
 * scavenger's: it purges them where they are, which a break alone could never give back.
 *
 * An end that the kernel does not let go down costs addresses only, as its pages were purged before.
 */
import { MIB, type PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { MovableEnd } from '../memory/page-source.js'

const { min } = Math

/** The end moves in small steps: this far in about a millisecond. */
const SLICE_BYTES = 8 * MIB

export class EndLowering {
  readonly #heap: BlockHeap
  readonly #end: MovableEnd | null
  /** The last call of `lowerSlice` stopped before the end was as low as it goes. */
  hasMore = false

  /** `end`: null where there is nothing to lower. */
  constructor(heap: BlockHeap, end: MovableEnd | null) {
    this.#heap = heap
    this.#end = end
  }

  /** Pages wait for the next moment of quiet. */
  get isDue(): boolean {
    return this.hasMore || this.#end?.isWaiting === true
  }

  /**
   * Lowers the end as far as it goes. `isQuiet`: at a moment of quiet (a tick, or `trim`), not on a freeing call. Returns
   * what the kernel said where it refused, or null.
   */
  lower(isQuiet: boolean): unknown {
    return this.#lower(isQuiet, Number.POSITIVE_INFINITY)
  }

  /** The same at a moment of quiet, for about a millisecond; `hasMore` says whether there is more to do. */
  lowerSlice(): unknown {
    return this.#lower(true, SLICE_BYTES / this.#heap.pageBytes)
  }

  #lower(isQuiet: boolean, mostPages: PageCount): unknown {
    const end = this.#end
    if (end === null) return null
    if (isQuiet) end.settle()
    this.#heap.flush()
    const { segment } = end
    const wanted = end.surplus(this.#heap.cleanTailPages(segment))
    const surplus = min(wanted, mostPages)
    this.hasMore = surplus < wanted
    // First: the heap never has pages that the segment has not, whatever interrupts this.
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
