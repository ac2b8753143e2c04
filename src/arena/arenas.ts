/** All arenas of this thread and their sums, as users ask for them. */

import { loadLedger } from '../memory/addon.js'
import { group } from '../process/environment.js'
import { ArenaMember } from './member.js'
import type { ArenaStats } from './stats.js'

/** The sums that `totals()` returns. Numbers are bytes, unless a field says otherwise. */
export interface ArenaTotals {
  /**
   * Open arenas of this thread, a count. The fields from here to `metadataBytes` are sums over these arenas.
   */
  arenas: number
  /** Blocks that were handed out and have not ended, a count. */
  liveBlocks: number
  /** The bytes that were asked for by the live blocks. */
  liveBytes: number
  /** Pages that hold live blocks. */
  usedBytes: number
  /** Free pages that may still be resident. */
  dirtyBytes: number
  /** Free pages that were given back, or never touched. */
  cleanBytes: number
  /** `usedBytes + dirtyBytes + cleanBytes`. */
  mappedBytes: number
  /**
   * `usedBytes + dirtyBytes`. The kernel holds at most this much resident, unless freed memory was written to
   * or `hugePages` is set.
   */
  committedBytes: number
  /** Memory that the arenas' books take, outside of the pages. */
  metadataBytes: number
  /**
   * What all arenas of the process, those of Workers included, have taken of `processLimitBytes`: what they
   * hold, and up to an eighth more each.
   */
  processTakenBytes: number
  /** The limit that `setProcessLimit` set; `Infinity` if there is none. */
  processLimitBytes: number
}

/**
 * Returns the statistics of each open arena of this thread, in the order in which the arenas were made.
 * Arenas of Workers are not among them. An arena that was closed or collected is not listed, and this list
 * keeps none from the collector. Makes no system call.
 *
 * ```ts
 * for (const { name, committedBytes } of arenas()) gauge.set({ arena: name }, committedBytes)
 * ```
 */
export function arenas(): ArenaStats[] {
  const list: ArenaStats[] = []
  for (const member of group.list()) {
    if (member instanceof ArenaMember && member.stats !== undefined) list.push(member.stats())
  }
  return list
}

/**
 * Returns the sums over the open arenas of this thread, and what all arenas of the process have taken of the
 * process's limit. Makes no system call.
 *
 * Throws `ERR_ARENA_NOT_SUPPORTED` if the addon cannot be loaded.
 *
 * ```ts
 * const { committedBytes, processTakenBytes } = totals()
 * ```
 */
export function totals(): ArenaTotals {
  const { takenBytes, limitBytes } = loadLedger()
  const sums: ArenaTotals = {
    arenas: 0,
    liveBlocks: 0,
    liveBytes: 0,
    usedBytes: 0,
    dirtyBytes: 0,
    cleanBytes: 0,
    mappedBytes: 0,
    committedBytes: 0,
    metadataBytes: 0,
    processTakenBytes: takenBytes,
    processLimitBytes: limitBytes,
  }
  for (const stats of arenas()) {
    sums.arenas++
    sums.liveBlocks += stats.liveBlocks
    sums.liveBytes += stats.liveBytes
    sums.usedBytes += stats.usedBytes
    sums.dirtyBytes += stats.dirtyBytes
    sums.cleanBytes += stats.cleanBytes
    sums.mappedBytes += stats.mappedBytes
    sums.committedBytes += stats.committedBytes
    sums.metadataBytes += stats.metadataBytes
  }
  return sums
}
