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
  liveBlocks: number
  liveBytes: number
  usedBytes: number
  dirtyBytes: number
  cleanBytes: number
  mappedBytes: number
  committedBytes: number
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
