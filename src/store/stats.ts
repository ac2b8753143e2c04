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
  /** About how much a compaction would free, as the last one has found before it began, less what came free since. */
  sparseBytes: number
  /** Records that found no lower place in the last compaction, a count. */
  stuckRecords: number
  /** Records moved since the store was made, a count. */
  movedRecords: number
  /** Bytes of records moved since the store was made, in whole granules of 16 bytes. */
  movedBytes: number
  /** Bytes of pages that compactions have freed since the store was made. */
  compactedBytes: number
  /** Milliseconds that compactions have taken since the store was made. */
  compactMs: number
  /** The longest time for which a compaction held up the event loop, in milliseconds. */
  longestSliceMs: number
}

/** The result of one call of `store.compact()`. */
export interface CompactReport {
  /** Records moved in this call, a count. */
  movedRecords: number
  /** Bytes of these records, in whole granules of 16 bytes. */
  movedBytes: number
  /** Bytes of pages that this call freed; they have gone back, or go within `releaseAfterMs`. */
  freedBytes: number
  /** Whether nothing more is to be gained. If false, call again. */
  isDone: boolean
}
