/** The limit over all arenas of the process, as users set and read it. */

import { requireNumber } from '../base/arguments.js'
import { availableLedger } from '../memory/addon.js'
import { group } from './environment.js'

/**
 * Sets the most bytes of pages, used and dirty ones, that all arenas of this process may hold together, in
 * all threads. `Infinity`, the default, means no limit.
 *
 * At the limit an arena first gives back what it has free, then has the other arenas of its thread do so,
 * then throws `ERR_ARENA_LIMIT`. A limit below what is held makes the arenas of this thread give back what is
 * free now; live blocks stay.
 *
 * Where the addon cannot be loaded, there are only arenas with `source: 'heap'`, and the limit is one over
 * those of this thread.
 *
 * Throws `ERR_INVALID_ARG_TYPE` or `ERR_OUT_OF_RANGE` unless `limitBytes` is a number from 0 to Infinity.
 *
 * ```ts
 * setProcessLimit(2 ** 30)
 * ```
 */
export function setProcessLimit(limitBytes: number): void {
  requireNumber('limitBytes', limitBytes, Number.POSITIVE_INFINITY)
  const ledger = availableLedger()
  ledger.limitBytes = limitBytes
  if (ledger.takenBytes > limitBytes) group.giveBack('limit')
}

/**
 * Returns the limit over all arenas of the process (`limitBytes`, `Infinity` for none) and what they have
 * taken of it (`takenBytes`), both in bytes. Each arena takes up to an eighth more than it holds.
 *
 * Where the addon cannot be loaded, both are of this thread only.
 *
 * ```ts
 * const { limitBytes, takenBytes } = processLimit()
 * ```
 */
export function processLimit(): {
  /** The limit over all arenas of the process, in bytes; `Infinity` if there is none. */
  limitBytes: number
  /** What the arenas have taken of it, in bytes: what they hold, and up to an eighth more each. */
  takenBytes: number
} {
  const { limitBytes, takenBytes } = availableLedger()
  return { limitBytes, takenBytes }
}
