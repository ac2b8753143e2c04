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
   * When records move together. `'auto'`: by timer while at least a fifth of the used pages and 1 MiB is waste, before a
   * limit refuses, under memory pressure, and in `trim()`. `'manual'`: only in `compact()`. Default `'auto'`.
   */
  compact?: 'auto' | 'manual'
  /**
   * Look for views that are used too long, at the cost of time and memory: each view has an `ArrayBuffer` of its own,
   * which is detached at the end of the turn of the event loop and by every change of the store; and the timer moves every
   * record, whether that frees anything or not. Default false.
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
