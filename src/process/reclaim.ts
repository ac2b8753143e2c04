/** Giving back what the process holds in vain, as users ask for it. */
import { invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import type { Collection } from './collect-garbage.js'
import { reclaimer } from './environment.js'
import type { ReclaimReport } from './reclaimer.js'

export type { ReclaimReport } from './reclaimer.js'

/** Options of `reclaim`. */
export interface ReclaimOptions {
  /**
   * Whether V8 collects garbage of this thread first. It holds the event loop up meanwhile. `'minor'`: objects that
   * were made lately, mostly about a millisecond. `'major'`: all of the heap, and V8 gives back what it holds free:
   * tens of milliseconds and more, by the size of what is alive. Works without `--expose-gc`. Default: `'none'`.
   */
  collectGarbage?: 'none' | 'minor' | 'major'
}

const KNOWN_OPTIONS = keysOf<ReclaimOptions>({ collectGarbage: true })
const COLLECTIONS: readonly unknown[] = ['none', 'minor', 'major']

/** Returns the collection that a user asked for. Throws `ERR_INVALID_ARG_VALUE` if there is no such one. */
export function requireCollection(collection: 'none' | Collection = 'none'): 'none' | Collection {
  if (COLLECTIONS.includes(collection)) return collection
  throw invalidArgValue('options.collectGarbage', "must be 'none', 'minor' or 'major'", collection)
}

/**
 * Gives back to the operating system what this process holds in vain: free pages of all arenas of this thread, free
 * memory of malloc, and, with `collectGarbage`, the garbage of V8. Asks the other threads of the process that have
 * loaded this package to do the same, and does not wait for them. Resolves to a report of what went back.
 *
 * The event loop goes on meanwhile. Work on it comes in slices of 0.3 ms, all else runs on a thread of libuv's pool. Call it
 * when the process has become idle, or have `reclaimWhenIdle` do that: memory that is used again costs a page fault
 * for each 4 KiB.
 *
 * malloc is glibc's, jemalloc, mimalloc or tcmalloc, also where it was preloaded. Another one is left alone, and so is
 * malloc where the addon cannot be loaded; the report then says `'none'`. docs/process.md says what each of them does.
 *
 * Calls made while a run is under way share one run that follows it.
 *
 * Rejects with `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` for bad options.
 *
 * ```ts
 * const { residentBytes, malloc } = await reclaim()
 * log.info(`Rss ${residentBytes.before} -> ${residentBytes.after}, ${malloc.name} gave ${malloc.releasedBytes}`)
 * ```
 */
export async function reclaim(options: ReclaimOptions = {}): Promise<ReclaimReport> {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  return reclaimer.reclaim(requireCollection(options.collectGarbage))
}
