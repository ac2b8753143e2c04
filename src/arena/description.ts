/**
 * How arenas and scopes look in a log: one line of plain facts for `util.inspect` and `console.log`. For
 * `JSON.stringify` see their `toJSON`. It runs no script but what the caller passes in.
 */
import type { InspectOptionsStylized, inspect } from 'node:util'
import type { ArenaStats } from './stats.js'

type Facts = Record<string, unknown>

/**
 * Returns the text for `[util.inspect.custom]`: `label { fact: value, … }`, or `[label]` if that is nested
 * too deep.
 */
export function describe(
  label: string,
  facts: Facts,
  depth: number,
  options: InspectOptionsStylized,
  show: typeof inspect,
): string {
  if (depth < 0) return options.stylize(`[${label}]`, 'special')
  return `${label} ${show(facts, { ...options, depth, breakLength: Number.POSITIVE_INFINITY })}`
}

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
