/** All arenas of this thread, and what they come to, as users ask for it. */

import { loadLedger } from '../memory/addon.js'
import { group } from '../process/environment.js'
import { ArenaMember } from './member.js'
import type { ArenaStats } from './stats.js'

/** Bytes, unless named otherwise. */
export interface ArenaTotals {
  /** Open arenas of this thread, a count. What follows, up to `metadataBytes`, is the sum over them. */
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
   * What all arenas of the process, those of Workers too, have taken of `processLimitBytes`: what they hold, and up to an
   * eighth more each.
   */
  processTakenBytes: number
  /** What `setProcessLimit` said; `Infinity` where there is no limit. */
  processLimitBytes: number
}

/**
 * The statistics of each open arena of this thread, in the order in which they were made. Those of Workers are not among them. An
 * arena that is closed, or that was collected, is no longer listed; none is kept from the collector. Makes no system call.
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
 * The sums over the arenas of this thread, and what all those of the process have taken. Makes no system call.
 *
 * Throws `ERR_ARENA_NOT_SUPPORTED` where the addon cannot be loaded.
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
