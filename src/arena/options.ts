/** The options of an arena. They are checked once, here, and are complete afterwards. */
import { isAbsolute } from 'node:path'
import { requireBoolean, requireNumber } from '../base/arguments.js'
import { ArenaError, invalidArgType, invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import type { LeakMode } from '../buffers/leaks.js'
import { WINDOW_OVERLAP_BYTES } from '../buffers/windows.js'
import type { SourceName } from '../memory/page-source.js'

export type { SourceName } from '../memory/page-source.js'

/**
 * How many freed blocks wait in *quarantine*. A freed block waits there before its memory is used again, so
 * that late writes to it are found. It leaves when newer blocks need its place under either of these bounds,
 * after `releaseAfterMs` at the latest, and earlier if the arena reaches a limit.
 */
export interface DebugOptions {
  /** Most blocks that wait at once. Default 64. */
  quarantineBlocks?: number
  /** Most bytes that wait at once. A longer block does not wait at all. Default 1 MiB. */
  quarantineBytes?: number
}

/** The options of `new Arena()`. All are optional. An option that does not exist is refused. */
export interface ArenaOptions {
  /** The arena's name in errors and statistics: 1 to 128 characters. Default `'arena-N'`. */
  name?: string
  /**
   * Where pages come from: from mappings of the arena's own (`'mmap'`), or from the program break (`'sbrk'`),
   * which one arena of a process can have at a time. Few programs want the program break;
   * docs/program-break.md says why. Both need Linux.
   *
   * `'heap'`: the memory is that of ordinary `ArrayBuffer`s, on every platform and without the addon, so that
   * a program can be developed anywhere. It goes back to V8's allocator, not to the operating system.
   * `align` counts from the start of the `ArrayBuffer`; `hugePages` and `prefault` have no effect on memory;
   * docs/platforms.md says what else differs. Default `'mmap'`.
   */
  source?: SourceName
  /**
   * Most bytes of pages that this arena may hold, used and dirty ones together. At the limit the arena first
   * gives back all it can, then throws `ERR_ARENA_LIMIT`. Rounded down to whole pages. Default: none.
   */
  limitBytes?: number
  /**
   * Bytes of pages at which the arena gives back all it can. If it still needs more after that, it goes on,
   * and listeners of `'limit'` are called, once for each crossing. Default: none.
   */
  softLimitBytes?: number
  /**
   * Milliseconds within which a free page is back with the kernel, even if nobody calls the arena again. `0`:
   * pages go back in the call that frees them. `Infinity`: pages go back only by `trim()`, at limits, under
   * memory pressure (noticed for certain only while `onPressure` has a listener), and when the arena
   * grows beyond 1.25 times the most that was in use and 8 MiB. Default 1000.
   */
  releaseAfterMs?: number
  /**
   * Blocks of at least this many bytes have an `ArrayBuffer` of their own, and `free` detaches it: any later
   * use is an error or has length 0. `0`: every block. `Infinity`: none. Default 64 KiB.
   */
  detachFromBytes?: number
  /**
   * Look for misuse of memory, at the cost of time and memory:
   * - every block has an `ArrayBuffer` of its own, which `free` detaches, whatever `detachFromBytes` says
   * - what code outside JavaScript writes to freed memory, or around a block, is reported
   * - errors about a Buffer say where it was allocated and freed
   * - a block of a page or more ends at a guard page, on which any access is a fault
   *
   * `DebugOptions` says how much freed memory waits to be looked at. Default false.
   */
  debug?: boolean | DebugOptions
  /**
   * Ask the kernel for transparent huge pages (2 MiB), and give back whole ones only. The first touch of
   * memory then costs a tenth, and a live block keeps the 2 MiB around it resident. Not with
   * `source: 'sbrk'`. Default false.
   */
  hugePages?: boolean
  /**
   * Make the pages of each segment resident when it is mapped, as far as the limits allow, so that using them
   * causes no page fault. `releaseAfterMs` is `Infinity` then, and may be nothing else. Pages go back only by
   * `trim()`, at limits, and when a longer segment is mapped in place of a free one. Needs Linux 5.14. Not
   * with `source: 'sbrk'`. Default false.
   */
  prefault?: boolean
  /**
   * Which Buffers are watched for being garbage-collected without `free`: 1 in 128 (`'sampled'`, 100 a second
   * at most if that goes on for long), all (`'all'`), or none (`'off'`). A forgotten Buffer is reported on
   * the diagnostics channel `offheap:leak` with the stack of its allocation. The first one in a thread is
   * also reported by a process warning (`OFFHEAP_LEAK`). Its memory is free again when no view of it is left.
   * `'all'` costs some microseconds for each block. Default `'sampled'`.
   */
  leaks?: LeakMode
  /**
   * Hold each Buffer until its block ends, so that `ownerOf` finds it from any view, for code that is left
   * with a `subarray`. Costs a map entry for each block. No forgotten block can be found then, so `leaks` is
   * `'off'` and may be nothing else. Default false.
   */
  trackOwners?: boolean
  /**
   * For keys and tokens. The bytes of a block are set to zero before its memory can be used again, and core
   * files leave the arena's pages out (`MADV_DONTDUMP`). It does not reach copies elsewhere: those that
   * `toString`, `Buffer.concat` or the kernel made, and swap. Default false.
   */
  wipeOnFree?: boolean
  /**
   * The absolute path of the addon's binary, a name that ends with `.node`. For programs that were bundled into
   * one file and have it elsewhere. The first arena of a thread loads it, so call no other function of offheap
   * before; a later arena must name the same path, or none. The environment variable
   * `OFFHEAP_NATIVE_BINDING` does the same for all threads. Without effect with `source: 'heap'`.
   * Default: a binary that was built from source on this machine, or the published one.
   */
  nativeBinding?: string
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
> & { readonly debug: Required<DebugOptions> | null; readonly nativeBinding: string | undefined }

const DEFAULT_RELEASE_AFTER_MS = 1_000
/** The longest block that a window serves. Longer ones have an `ArrayBuffer` of their own anyway. */
const DEFAULT_DETACH_FROM_BYTES = WINDOW_OVERLAP_BYTES
const DEFAULT_QUARANTINE_BLOCKS = 64
const DEFAULT_QUARANTINE_BYTES = 2 ** 20
/** The longest delay of a Node timer. */
const MAX_RELEASE_AFTER_MS = 2 ** 31 - 1
const MAX_NAME_LENGTH = 128

// It lists every key, so that the compiler notices one that is missing here.
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
  nativeBinding: true,
})
const KNOWN_DEBUG_OPTIONS = keysOf<DebugOptions>({ quarantineBlocks: true, quarantineBytes: true })

let arenaCount = 0

/**
 * Checks the options and fills in the defaults. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`,
 * `ERR_INVALID_ARG_VALUE` or `ERR_ARENA_NOT_SUPPORTED`.
 */
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
    nativeBinding,
  } = options
  if (typeof name !== 'string') throw invalidArgType('options.name', 'of type string', name)
  if (name.length === 0 || name.length > MAX_NAME_LENGTH) {
    throw invalidArgValue('options.name', `must have 1 to ${MAX_NAME_LENGTH} characters`, name)
  }
  if (source !== 'mmap' && source !== 'sbrk' && source !== 'heap') {
    throw invalidArgValue('options.source', "must be 'mmap', 'sbrk' or 'heap'", source)
  }
  if (leaks !== 'off' && leaks !== 'sampled' && leaks !== 'all') {
    throw invalidArgValue('options.leaks', "must be 'off', 'sampled' or 'all'", leaks)
  }
  if (nativeBinding !== undefined) {
    if (typeof nativeBinding !== 'string') {
      throw invalidArgType('options.nativeBinding', 'of type string', nativeBinding)
    }
    if (!isAbsolute(nativeBinding)) {
      throw invalidArgValue('options.nativeBinding', 'must be an absolute path', nativeBinding)
    }
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
    throw notSupported(name, "hugePages: true with source: 'sbrk'", "Leave it out, or use source: 'mmap'")
  }
  if (source === 'sbrk' && prefault) {
    throw notSupported(name, "prefault: true with source: 'sbrk'", "Leave it out, or use source: 'mmap'")
  }
  if (prefault && releaseAfterMs !== Number.POSITIVE_INFINITY) {
    const reason = 'must be Infinity or left out, because pages stay resident with prefault: true'
    throw invalidArgValue('options.releaseAfterMs', reason, releaseAfterMs)
  }
  if (trackOwners && leaks !== 'off') {
    const reason = "must be 'off' or left out, because the arena holds every Buffer with trackOwners: true"
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
    nativeBinding,
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
    `arena '${arenaName}': this version does not support ${what}. ${instead}`,
  )
}
