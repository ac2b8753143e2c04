/** The statistics of an arena. */
import type { BlockHeap } from '../heap/block-heap.js'
import type { PageSource, SourceName } from '../memory/page-source.js'
import type { PoolSums } from '../pools/pools.js'
import type { Scavenger } from '../release/scavenger.js'

/**
 * The statistics of an arena, as `arena.stats()` returns them. Numbers are bytes, unless a field says
 * otherwise. The sums hold at every moment.
 *
 * ```ts
 * const { usedBytes, dirtyBytes, cleanBytes, mappedBytes } = arena.stats()
 * usedBytes + dirtyBytes + cleanBytes === mappedBytes // true
 * ```
 */
export interface ArenaStats {
  /** The arena's name. */
  name: string
  /** Where its pages come from: the option `source`. */
  source: SourceName
  /**
   * Whether the program break can still be moved. False once other code was seen to have moved it. Null if
   * `source` is not `'sbrk'`.
   */
  breakOwned: boolean | null
  /** Segments that the arena has, a count. */
  segments: number
  /**
   * Blocks that were handed out and have not ended, a count. A block that was freed while pinned counts until
   * its last `unpin`. A block that waits in a pool counts, too: see `idleBlocks`.
   */
  liveBlocks: number
  /** The bytes that were asked for by the live blocks. */
  liveBytes: number
  /** Pages that hold live blocks. */
  usedBytes: number
  /** Free pages that may still be resident. */
  dirtyBytes: number
  /** Free pages that were given back, or never touched. They read as zero. */
  cleanBytes: number
  /** `usedBytes + dirtyBytes + cleanBytes`. */
  mappedBytes: number
  /**
   * `usedBytes + dirtyBytes`. The kernel holds at most this much resident, unless freed memory was written to
   * or `hugePages` is set.
   */
  committedBytes: number
  /** The most that `committedBytes` ever was. */
  peakCommittedBytes: number
  /** The option `limitBytes`; `Infinity` if there is no limit. */
  limitBytes: number
  /** The option `softLimitBytes`; `Infinity` if there is no limit. */
  softLimitBytes: number
  /**
   * The promise in force, in milliseconds: free pages are back with the kernel within this time. It is the
   * option `releaseAfterMs`, or longer while pages turn out to be purged in vain.
   */
  releaseAfterMs: number
  /** Blocks handed out since the arena was made, a count. */
  allocations: number
  /** Blocks freed since the arena was made, a count: `allocations - frees === liveBlocks`. */
  frees: number
  /**
   * Calls that gave pages back since the arena was made, a count. One call gives back many stretches of
   * pages.
   */
  purges: number
  /** Bytes of pages that were given back since the arena was made. */
  purgedBytes: number
  /** Pages that were used again after they had been given back, since the arena was made. */
  refaultedBytes: number
  /** Pools that have Buffers, a count. */
  pools: number
  /** Live blocks that wait in pools to be handed out, a count. They are among `liveBlocks`. */
  idleBlocks: number
  /** The bytes that were asked for by the blocks that wait in pools. They are among `liveBytes`. */
  idleBytes: number
  /** Live blocks that pools have handed out, a count. They are among `liveBlocks`. */
  acquiredBlocks: number
  /** The bytes that were asked for by the blocks that pools have handed out. They are among `liveBytes`. */
  acquiredBytes: number
  /** Blocks in use outside JavaScript, a count: pinned or on loan. */
  pinnedBlocks: number
  /** Freed blocks that wait in quarantine before their memory is used again, a count. 0 without `debug`. */
  quarantinedBlocks: number
  /** The bytes that were asked for by the blocks in quarantine. Their pages count as used. */
  quarantinedBytes: number
  /**
   * Memory that the arena's books take. They lie in typed arrays outside the pages; what was written to
   * counts.
   */
  metadataBytes: number
}

/** The numbers that come from the arena itself and from its options. */
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

/** The statistics of an arena with these parts. `pools` are sums over its pools. */
export function statsOf(
  counted: Counted,
  pools: PoolSums,
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
    pools: pools.pools,
    idleBlocks: pools.idleBlocks,
    idleBytes: pools.idleBytes,
    acquiredBlocks: pools.acquiredBlocks,
    acquiredBytes: pools.acquiredBytes,
    pinnedBlocks: counted.pinnedBlocks,
    quarantinedBlocks: counted.quarantinedBlocks,
    quarantinedBytes: counted.quarantinedBytes,
    metadataBytes: heap.metadataBytes,
  }
}
