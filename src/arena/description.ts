/** Which facts of an arena a log shows. */
import type { Facts } from '../base/description.js'
import type { ArenaStats } from './stats.js'

/** Returns the facts of an arena for a log: the usual numbers, and others only if they are unusual. */
export function factsOf(stats: ArenaStats, isClosed: boolean): Facts {
  const { liveBlocks, liveBytes, usedBytes, dirtyBytes, committedBytes, mappedBytes } = stats
  const facts: Facts = { liveBlocks, liveBytes, usedBytes, dirtyBytes, committedBytes, mappedBytes }
  for (const limit of ['limitBytes', 'softLimitBytes'] as const) {
    if (stats[limit] !== Number.POSITIVE_INFINITY) facts[limit] = stats[limit]
  }
  for (const count of ['pinnedBlocks', 'quarantinedBlocks'] as const) {
    if (stats[count] > 0) facts[count] = stats[count]
  }
  if (stats.source !== 'mmap') facts.source = stats.source
  if (isClosed) facts.isClosed = true
  return facts
}
