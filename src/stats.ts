/** What an arena says of itself. */

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
  /** Blocks handed out and not freed, a count. */
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
  /** The promise in force, in milliseconds: as asked for, or longer where pages were purged in vain. */
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
  /** Blocks that somebody outside JavaScript uses, a count. */
  pinnedBlocks: number
  /** The books, in typed arrays outside the pages. */
  metadataBytes: number
}
