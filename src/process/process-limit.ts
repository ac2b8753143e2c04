/** The limit over all arenas of the process, as users set and read it. */

import { requireNumber } from '../base/arguments.js'
import { loadLedger } from '../memory/addon.js'
import { group } from './environment.js'

/**
 * Most bytes of pages that all arenas of this process may hold together, in all threads: used and dirty ones. At the limit
 * an arena first gives back what it has free, then has the other arenas of its thread do so, then throws
 * `ERR_ARENA_LIMIT`. `Infinity`, the default, for none. A limit below what is held makes the arenas of this thread give
 * back what is free now, and takes nothing from anyone's live blocks.
 *
 * Throws `ERR_INVALID_ARG_TYPE` or `ERR_OUT_OF_RANGE` (not a number from 0 to Infinity), and `ERR_ARENA_NOT_SUPPORTED` where
 * the addon cannot be loaded.
 *
 * ```ts
 * setProcessLimit(2 ** 30)
 * ```
 */
export function setProcessLimit(limitBytes: number): void {
  requireNumber('limitBytes', limitBytes, Number.POSITIVE_INFINITY)
  const ledger = loadLedger()
  ledger.limitBytes = limitBytes
  if (ledger.takenBytes > limitBytes) group.giveBack('limit')
}

/** The limit over all arenas and what they hold of it, in bytes; each arena counts up to an eighth more than it holds. */
export function processLimit(): { limitBytes: number; takenBytes: number } {
  const { limitBytes, takenBytes } = loadLedger()
  return { limitBytes, takenBytes }
}
