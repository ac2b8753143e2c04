/** What the group of a thread's arenas sees of an arena. */
import type { Gate } from '../base/gate.js'
import type { PageCount, PageNumber } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { OwnerId } from '../memory/kernel.js'
import type { PageSource } from '../memory/page-source.js'
import type { Pools } from '../pools/pools.js'
import type { Member } from '../process/arena-group.js'
import type { Releaser } from '../release/releaser.js'
import type { Limits } from '../supply/limits.js'
import type { ArenaStats } from './stats.js'

interface MemberParts {
  readonly gate: Gate
  readonly heap: BlockHeap
  readonly limits: Limits
  readonly releaser: Releaser
  readonly source: PageSource
  readonly pools: Pools
}

/** Moves the records of a store together, for the group. */
export interface MemberCompaction {
  /** Begins on a later turn of the event loop, because memory is short. */
  startSoon(): void
  /** Runs one slice of a millisecond. Returns whether nothing more is to be gained now. */
  slice(): boolean
}

const { ceil, max } = Math

/**
 * What the group of a thread's arenas sees of an arena. The group refers to it weakly, the arena strongly.
 */
export class ArenaMember implements Member {
  /**
   * Null once the arena is closed. V8 keeps a member until the end of the task, and must not keep all the
   * parts with it.
   */
  #parts: MemberParts | null

  /** From where the next slice of a reclaim goes on; 0 at the start. */
  #reclaimPage: PageNumber = 0
  /** All pages of this reclaim went back, and its last slices are under way. */
  #isEndingReclaim = false

  /** What moves the records of a store together. Undefined for arenas. */
  compaction: MemberCompaction | undefined
  /** The records were compacted in this reclaim. */
  #hasCompacted = false

  /** Returns the arena's statistics. Undefined until the arena is complete. */
  stats: (() => ArenaStats) | undefined

  constructor(parts: MemberParts) {
    this.#parts = parts
  }

  giveBack(reason: 'limit' | 'pressure'): number {
    if (this.#parts === null) return 0
    this.compaction?.startSoon()
    return this.#parts.releaser.giveBack(reason) * this.#parts.heap.pageBytes
  }

  reclaimSlice(turnStartMs: number): { releasedBytes: number; isDone: boolean } {
    if (this.#parts === null) return { releasedBytes: 0, isDone: true }
    const { releaser, heap } = this.#parts
    if (this.compaction !== undefined && !this.#hasCompacted) {
      const before = heap.committedPages
      this.#hasCompacted = this.compaction.slice()
      return { releasedBytes: max(0, before - heap.committedPages) * heap.pageBytes, isDone: false }
    }
    if (this.#isEndingReclaim) {
      const { isDone } = releaser.endTrimSlice()
      this.#isEndingReclaim = !isDone
      this.#hasCompacted = !isDone
      return { releasedBytes: 0, isDone }
    }
    const slice = releaser.trimSlice(this.#reclaimPage, turnStartMs, 'reclaim')
    if (slice === null) return { releasedBytes: 0, isDone: false }
    this.#reclaimPage = slice.nextPage
    this.#isEndingReclaim = slice.nextPage === 0
    return { releasedBytes: slice.pageCount * heap.pageBytes, isDone: false }
  }

  yieldShare(): void {
    if (this.#parts === null) return
    const { gate, limits } = this.#parts
    gate.attempt(() => limits.yieldShare())
  }

  get dirtyPages(): PageCount {
    if (this.#parts === null) return 0
    const { heap, pools } = this.#parts
    return heap.dirtyPages + ceil(pools.idleBytes / heap.pageBytes)
  }

  /** Whose its mappings are, in reports. Null where it has none, or is closed. */
  get owner(): OwnerId | null {
    return this.#parts?.source.owner ?? null
  }

  leave(): void {
    this.#parts = null
  }
}
