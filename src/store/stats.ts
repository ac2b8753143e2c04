/** What a store holds and has done, as users see it. */
import type { ArenaStats } from '../arena/stats.js'

/**
 * The result of `store.stats()`: the statistics of an arena, in which a record is a block, and those of compaction.
 * Numbers are bytes, unless a field says otherwise. They are of this moment and do not change later.
 */
export interface StoreStats extends ArenaStats {
  /** Live records, a count. */
  records: number
  /** Records that are pinned or lent, a count. They do not move. */
  pinnedRecords: number
  /**
   * About how many bytes of pages a compaction would free: what the last one found when it began, less what it freed. 0
   * before the first one.
   */
  sparseBytes: number
  /** Records that the last compaction could not move, because there was no better place for them, a count. */
  stuckRecords: number
  /** Records moved since the store was made, a count. */
  movedRecords: number
  /** Bytes of records moved since the store was made, in whole granules of 16 bytes. */
  movedBytes: number
  /** Bytes of pages that compactions have freed since the store was made. */
  compactedBytes: number
  /** Milliseconds of this thread that compactions have taken since the store was made. */
  compactMs: number
  /**
   * The longest slice of a compaction in milliseconds, that is for how long the event loop waited for one. Slices by timer
   * aim at 1; those in `trim`, in `compact` and at a limit may be longer.
   */
  longestSliceMs: number
}

/** The result of one call of `store.compact()`. */
export interface CompactReport {
  /** Records moved in this call, a count. */
  movedRecords: number
  /** Bytes of these records, in whole granules of 16 bytes. */
  movedBytes: number
  /** Bytes of pages that this call freed. They have gone back to the kernel, or go within `releaseAfterMs`. */
  freedBytes: number
  /** Whether the compaction is complete: nothing more is to be gained now. If false, call again. */
  isDone: boolean
}
