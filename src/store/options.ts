/** The options of a store. They are checked once, here, and are complete afterwards. */
import { type ArenaOptions, type ResolvedOptions, resolveOptions } from '../arena/options.js'
import { invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'

/** The options of `new Store()`. All are optional. An option that does not exist is refused. */
export interface StoreOptions
  extends Pick<
    ArenaOptions,
    'name' | 'source' | 'limitBytes' | 'softLimitBytes' | 'releaseAfterMs' | 'hugePages' | 'nativeBinding'
  > {
  /**
   * When records move together.
   * - `'auto'`, the default: by a timer that keeps no process alive, while at least a fifth of the used pages (at rest a
   *   sixth) and 1 MiB is waste; before a limit refuses; under memory pressure; in `reclaim()`; in `trim()`
   * - `'manual'`: only in `compact()`
   *
   * With `releaseAfterMs: Infinity` no timer moves records.
   */
  compact?: 'auto' | 'manual'
  /**
   * Finds views that are used too long, at the cost of time and memory. Each view has an `ArrayBuffer` of its own. It is
   * detached when the present call of script ends, before anything that was awaited goes on, and by every change of the
   * store. So a stale view always has length 0. Besides, every record moves after each change. Default false.
   */
  debug?: boolean
}

export interface ResolvedStoreOptions {
  readonly arena: ResolvedOptions
  readonly isManual: boolean
  readonly isDebug: boolean
}

const KNOWN_OPTIONS = keysOf<StoreOptions>({
  name: true,
  source: true,
  limitBytes: true,
  softLimitBytes: true,
  releaseAfterMs: true,
  hugePages: true,
  nativeBinding: true,
  compact: true,
  debug: true,
})

let storeCount = 0

/** Checks the options and fills in the defaults. Throws as `resolveOptions` of an arena does. */
export function resolveStoreOptions(options: StoreOptions): ResolvedStoreOptions {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { name = `store-${++storeCount}`, compact = 'auto', debug = false, ...others } = options
  if (compact !== 'auto' && compact !== 'manual') {
    throw invalidArgValue('options.compact', "must be 'auto' or 'manual'", compact)
  }
  // Its blocks have no Buffers that could be forgotten.
  const arena = resolveOptions({ ...others, name, debug, leaks: 'off' })
  return { arena: { ...arena, debug: null }, isManual: compact === 'manual', isDebug: debug }
}
