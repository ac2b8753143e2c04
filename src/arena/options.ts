/** The options of an arena: checked here once, complete ever after. */
import { requireBoolean, requireNumber } from '../base/arguments.js'
import { ArenaError, invalidArgType, invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import type { LeakMode } from '../buffers/leaks.js'

/**
 * Freed blocks wait in quarantine before their memory is used again, so that late writes to them are found: the last few
 * of them, until the first of these bounds, for `releaseAfterMs` at most, and until a limit is reached.
 */
export interface DebugOptions {
  /** Most blocks that wait. Default 64. */
  quarantineBlocks?: number
  /** Most bytes of them; a longer block does not wait at all. Default 1 MiB. */
  quarantineBytes?: number
}

export interface ArenaOptions {
  /** Appears in errors and statistics. Default `'arena-N'`. */
  name?: string
  /**
   * Where pages come from: mappings of their own, or the program break, which one arena in a process can have at a time
   * (docs/program-break.md says why nearly nobody wants that). Default `'mmap'`.
   */
  source?: 'mmap' | 'sbrk'
  /**
   * Most bytes of pages this arena may hold: used and dirty ones. At the limit it first gives back all it can, then
   * throws `ERR_ARENA_LIMIT`. Rounded down to whole pages. Default: none.
   */
  limitBytes?: number
  /**
   * At this many bytes of pages the arena gives back all it can; if it still needs more, it goes on, and listeners of
   * `'limit'` are told, once each time it is crossed. Default: none.
   */
  softLimitBytes?: number
  /**
   * Within this many milliseconds after a page comes free it is back with the kernel, even if nobody calls again. `0`:
   * on the freeing call. `Infinity`: only by `trim()`, limits, and growth beyond 1.25 times what
   * was in use. Default 1000.
   */
  releaseAfterMs?: number
  /**
   * Blocks of at least this many bytes have an `ArrayBuffer` of their own, detached by `free`: any later use is an error
   * or has length 0. `0`: every block. `Infinity`: none. Default 64 KiB.
   */
  detachFromBytes?: number
  /**
   * Look for misuse, at the cost of time and memory: every block has an `ArrayBuffer` of its own, detached by `free`, whatever
   * `detachFromBytes` says; what code outside JavaScript writes to freed memory, or around a block, is reported; errors
   * about a Buffer say where it was allocated and freed; behind a block of a page or more lies a page on which any access is a
   * fault. `DebugOptions` says how much freed memory waits to be looked at. Default false.
   */
  debug?: boolean | DebugOptions
  /**
   * Ask for transparent huge pages (2 MiB), and give back whole ones only: first touch costs a tenth, and a live block keeps
   * the 2 MiB around it resident. Not with `source: 'sbrk'`. Default false.
   */
  hugePages?: boolean
  /**
   * Make the pages of each segment resident when it is mapped, as far as `limitBytes` allows, so that using them faults no
   * more. `releaseAfterMs` is then `Infinity`, and may be nothing else: only `trim()`, limits, and a longer segment that is
   * mapped in place of a free one give pages back. Needs
   * Linux 5.14. Not with `source: 'sbrk'`. Default false.
   */
  prefault?: boolean
  /**
   * Which Buffers are watched for being garbage-collected without `free`: 1 in 128 (100 a second at
   * most, if that goes on for long), all, or none. What is found is told on the diagnostics channel `offheap:leak` with the
   * stack of its allocation, the first time in a thread also by a process warning (`OFFHEAP_LEAK`), and its memory is
   * free again when no view of it is left. `'all'` costs some microseconds for each block. Default `'sampled'`.
   */
  leaks?: LeakMode
  /**
   * Hold each Buffer until its block ends, so that `ownerOf` finds it from any view: for who is left with a `subarray`. A map
   * entry for each block, and no block is found forgotten, so `leaks` is `'off'` and may be nothing else. Default false.
   */
  trackOwners?: boolean
  /**
   * For keys and tokens: a block's bytes are zeros before its memory can be used again, and core files leave the arena's pages out
   * (`MADV_DONTDUMP`). Copies elsewhere are not found: those that `toString`, `Buffer.concat` or the kernel made, nor swap.
   * Default false.
   */
  wipeOnFree?: boolean
}

export type ResolvedOptions = Required<
  Pick<
    ArenaOptions,
    | 'name'
    | 'source'
    | 'limitBytes'
    | 'softLimitBytes'
    | 'releaseAfterMs'
    | 'detachFromBytes'
    | 'hugePages'
    | 'prefault'
    | 'leaks'
    | 'trackOwners'
    | 'wipeOnFree'
  >
> & { readonly debug: Required<DebugOptions> | null }

const DEFAULT_RELEASE_AFTER_MS = 1_000
const DEFAULT_DETACH_FROM_BYTES = 64 * 1024
const DEFAULT_QUARANTINE_BLOCKS = 64
const DEFAULT_QUARANTINE_BYTES = 2 ** 20
/** The longest delay of a Node timer. */
const MAX_RELEASE_AFTER_MS = 2 ** 31 - 1
const MAX_NAME_LENGTH = 128

// Of every key, so that the compiler notices one that is missing here.
const KNOWN_OPTIONS = keysOf<ArenaOptions>({
  name: true,
  source: true,
  limitBytes: true,
  softLimitBytes: true,
  releaseAfterMs: true,
  detachFromBytes: true,
  debug: true,
  hugePages: true,
  prefault: true,
  leaks: true,
  trackOwners: true,
  wipeOnFree: true,
})
const KNOWN_DEBUG_OPTIONS = keysOf<DebugOptions>({ quarantineBlocks: true, quarantineBytes: true })

let arenaCount = 0

/** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_VALUE`, or `ERR_ARENA_NOT_SUPPORTED`. */
export function resolveOptions(options: ArenaOptions): ResolvedOptions {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const {
    name = `arena-${++arenaCount}`,
    source = 'mmap',
    limitBytes = Number.POSITIVE_INFINITY,
    softLimitBytes = Number.POSITIVE_INFINITY,
    prefault = false,
    releaseAfterMs = prefault === true ? Number.POSITIVE_INFINITY : DEFAULT_RELEASE_AFTER_MS,
    detachFromBytes = DEFAULT_DETACH_FROM_BYTES,
    debug = false,
    hugePages = false,
    trackOwners = false,
    wipeOnFree = false,
    leaks = trackOwners === true ? 'off' : 'sampled',
  } = options
  if (typeof name !== 'string') throw invalidArgType('options.name', 'of type string', name)
  if (name.length === 0 || name.length > MAX_NAME_LENGTH) {
    throw invalidArgValue('options.name', `must have 1 to ${MAX_NAME_LENGTH} characters`, name)
  }
  if (source !== 'mmap' && source !== 'sbrk') {
    throw invalidArgValue('options.source', "must be 'mmap' or 'sbrk'", source)
  }
  if (leaks !== 'off' && leaks !== 'sampled' && leaks !== 'all') {
    throw invalidArgValue('options.leaks', "must be 'off', 'sampled' or 'all'", leaks)
  }
  requireNumber('options.limitBytes', limitBytes, Number.POSITIVE_INFINITY)
  requireNumber('options.softLimitBytes', softLimitBytes, Number.POSITIVE_INFINITY)
  requireNumber('options.releaseAfterMs', releaseAfterMs, MAX_RELEASE_AFTER_MS)
  requireNumber('options.detachFromBytes', detachFromBytes, Number.POSITIVE_INFINITY)
  requireBoolean('options.hugePages', hugePages)
  requireBoolean('options.prefault', prefault)
  requireBoolean('options.trackOwners', trackOwners)
  requireBoolean('options.wipeOnFree', wipeOnFree)
  if (source === 'sbrk' && hugePages) {
    throw notSupported(name, "hugePages: true with source: 'sbrk'", "leave it out, or use source: 'mmap'")
  }
  if (source === 'sbrk' && prefault) {
    throw notSupported(name, "prefault: true with source: 'sbrk'", "leave it out, or use source: 'mmap'")
  }
  if (prefault && releaseAfterMs !== Number.POSITIVE_INFINITY) {
    const reason = 'must be Infinity, or left out, with prefault: true, whose pages stay'
    throw invalidArgValue('options.releaseAfterMs', reason, releaseAfterMs)
  }
  if (trackOwners && leaks !== 'off') {
    const reason = "must be 'off', or left out, with trackOwners: true, which holds every Buffer"
    throw invalidArgValue('options.leaks', reason, leaks)
  }
  return {
    name,
    source,
    limitBytes,
    softLimitBytes,
    releaseAfterMs,
    detachFromBytes,
    debug: resolveDebug(debug),
    hugePages,
    prefault,
    leaks,
    trackOwners,
    wipeOnFree,
  }
}

function resolveDebug(debug: boolean | DebugOptions): Required<DebugOptions> | null {
  if (typeof debug !== 'boolean' && (typeof debug !== 'object' || debug === null)) {
    throw invalidArgType('options.debug', 'of type boolean or an object', debug)
  }
  if (debug === false) return null
  if (debug !== true) requireKnownKeys('options.debug', debug, KNOWN_DEBUG_OPTIONS)
  const { quarantineBlocks = DEFAULT_QUARANTINE_BLOCKS, quarantineBytes = DEFAULT_QUARANTINE_BYTES } =
    debug === true ? {} : debug
  requireNumber('options.debug.quarantineBlocks', quarantineBlocks, Number.POSITIVE_INFINITY)
  requireNumber('options.debug.quarantineBytes', quarantineBytes, Number.POSITIVE_INFINITY)
  return { quarantineBlocks, quarantineBytes }
}

function notSupported(arenaName: string, what: string, instead: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `arena '${arenaName}': ${what} is not supported by this version; ${instead}`,
  )
}
