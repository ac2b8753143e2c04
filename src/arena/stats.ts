/** What an arena says of itself. */
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource } from '../memory/page-source.js'
import type { Scavenger } from '../release/scavenger.js'

/** Bytes, unless named otherwise. All sums hold at every moment. */
export interface ArenaStats {
  name: string
  source: 'mmap' | 'sbrk'
  /**
   * Whether the program break can still be moved: false from the moment at which somebody else was seen to have moved it.
   * Null with another source.
   */
  breakOwned: boolean | null
  /** Mappings held, a count. */
  segments: number
  /** Blocks handed out and not freed, a count. One that was freed while pinned counts until its last `unpin`. */
  liveBlocks: number
  /** What was asked for by those blocks. */
  liveBytes: number
  /** Pages that hold live blocks. */
  usedBytes: number
  /** Free pages that may still be resident. */
  dirtyBytes: number
  /** Free pages given back, or never touched. */
  cleanBytes: number
  /** `usedBytes + dirtyBytes + cleanBytes`. */
  mappedBytes: number
  /** `usedBytes + dirtyBytes`: never less than what the kernel holds resident. */
  committedBytes: number
  peakCommittedBytes: number
  /** `Infinity` where there is none. */
  limitBytes: number
  /** `Infinity` where there is none. */
  softLimitBytes: number
  /** The promise in force, in milliseconds: as asked for, or longer where pages were purged in vain or are kept for traffic. */
  releaseAfterMs: number
  /** Blocks handed out, ever, a count. */
  allocations: number
  /** Blocks freed, ever, a count: `allocations - frees === liveBlocks`. */
  frees: number
  /** Calls that gave pages back, ever, a count. */
  purges: number
  purgedBytes: number
  /** Pages that were used again after they had been given back, ever. */
  refaultedBytes: number
  /** Blocks that somebody outside JavaScript uses, a count: pinned, or on loan. */
  pinnedBlocks: number
  /** Blocks that were freed and wait before their memory is used again, a count: none but with `debug`. */
  quarantinedBlocks: number
  /** What was asked for by those blocks. Their pages count as used. */
  quarantinedBytes: number
  /** The books, in typed arrays outside the pages: what of them was written to, and takes memory. */
  metadataBytes: number
}

/** What the arena itself counts, and its options say. */
type Counted = Pick<
  ArenaStats,
  | 'name'
  | 'liveBytes'
  | 'limitBytes'
  | 'softLimitBytes'
  | 'releaseAfterMs'
  | 'allocations'
  | 'frees'
  | 'pinnedBlocks'
  | 'quarantinedBlocks'
  | 'quarantinedBytes'
>

export function statsOf(
  counted: Counted,
  heap: BlockHeap,
  source: PageSource,
  scavenger: Scavenger,
): ArenaStats {
  heap.flush()
  const { pageBytes } = heap
  const mappedBytes = heap.managedPages * pageBytes
  const usedBytes = heap.usedPages * pageBytes
  const dirtyBytes = heap.dirtyPages * pageBytes
  return {
    name: counted.name,
    source: source.name,
    breakOwned: source.end?.isOwned ?? null,
    segments: source.segments.length,
    liveBlocks: counted.allocations - counted.frees,
    liveBytes: counted.liveBytes,
    usedBytes,
    dirtyBytes,
    cleanBytes: mappedBytes - usedBytes - dirtyBytes,
    mappedBytes,
    committedBytes: usedBytes + dirtyBytes,
    peakCommittedBytes: heap.peakCommittedPages * pageBytes,
    limitBytes: counted.limitBytes,
    softLimitBytes: counted.softLimitBytes,
    releaseAfterMs: counted.releaseAfterMs,
    allocations: counted.allocations,
    frees: counted.frees,
    purges: scavenger.purges,
    purgedBytes: scavenger.purgedPages * pageBytes,
    refaultedBytes: heap.refaultedPages * pageBytes,
    pinnedBlocks: counted.pinnedBlocks,
    quarantinedBlocks: counted.quarantinedBlocks,
    quarantinedBytes: counted.quarantinedBytes,
    metadataBytes: heap.metadataBytes,
  }
}
