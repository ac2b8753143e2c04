/** All arenas of this thread and their sums, as users ask for them. */

import { availableLedger } from '../memory/addon.js'
import { group } from '../process/environment.js'
import { ArenaMember } from './member.js'
import type { ArenaStats } from './stats.js'

/** The statistics that `totals` adds up. */
const SUMMED = [
  'liveBlocks',
  'liveBytes',
  'usedBytes',
  'dirtyBytes',
  'cleanBytes',
  'mappedBytes',
  'committedBytes',
  'metadataBytes',
  'idleBlocks',
  'idleBytes',
  'acquiredBlocks',
  'acquiredBytes',
] as const

/**
 * The result of `totals()`. The fields that `ArenaStats` has too are sums over the open arenas and stores of this
 * thread.
 * Numbers are bytes, unless a field says otherwise.
 */
export interface ArenaTotals extends Pick<ArenaStats, (typeof SUMMED)[number]> {
  /** Open arenas and stores of this thread, a count. */
  arenas: number
  /**
   * What all arenas of the process, those of Workers included, have taken of `processLimitBytes`: what they
   * hold, and up to an eighth more each.
   */
  processTakenBytes: number
  /** The limit that `setProcessLimit` set; `Infinity` if there is none. */
  processLimitBytes: number
}

/**
 * Returns the statistics of each open arena and store of this thread, in the order in which they were made. Those of
 * a store are `StoreStats`.
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
 * Returns the sums over the open arenas and stores of this thread, and what all arenas of the process have taken of the
 * process's limit. Makes no system call.
 *
 * Where the addon cannot be loaded, `processTakenBytes` and `processLimitBytes` are of this thread only.
 *
 * ```ts
 * const { committedBytes, processTakenBytes } = totals()
 * ```
 */
export function totals(): ArenaTotals {
  const { takenBytes, limitBytes } = availableLedger()
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
    idleBlocks: 0,
    idleBytes: 0,
    acquiredBlocks: 0,
    acquiredBytes: 0,
    processTakenBytes: takenBytes,
    processLimitBytes: limitBytes,
  }
  for (const stats of arenas()) {
    sums.arenas++
    for (const name of SUMMED) sums[name] += stats[name]
  }
  return sums
}
