/** Where the addon can work, and what is said elsewhere. */
import { ArenaError } from '../base/errors.js'

/** What a program can do without the addon. */
const WITHOUT_ADDON =
  "Use source: 'heap', which works everywhere and keeps the interface of Arena, or offheap/heap, the bookkeeping alone"

/**
 * Makes the error for a system, or a runtime, on which the addon cannot work. `what` says what it is, as in
 * `darwin-arm64`.
 */
export function unsupportedPlatform(what: string, cause?: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_UNSUPPORTED_PLATFORM',
    `Cannot use off-heap memory on ${what}. It needs Linux (linux-x64 or linux-arm64) and a plain Node.js. ${WITHOUT_ADDON}`,
    cause === undefined ? undefined : { cause },
  )
}

/**
 * Makes the error for a Linux on a CPU for which no binary is published. `advice` says how to build one, and
 * ends with a dot.
 */
export function noBinaryFor(platform: string, advice: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_UNSUPPORTED_PLATFORM',
    `There is no binary for ${platform}, only for linux-x64 and linux-arm64. ${advice} ${WITHOUT_ADDON}`,
  )
}

/** Throws `ERR_ARENA_UNSUPPORTED_PLATFORM` unless the addon can be loaded on this system and runtime. */
export function requirePlatform(): void {
  const { platform, arch, versions } = process
  if (platform !== 'linux') throw unsupportedPlatform(`${platform}-${arch}`)
  // Deno (2.9) has no handles of libuv. A binary that is linked lazily would end the process at its first call.
  if (versions.deno !== undefined) throw unsupportedPlatform(`Deno ${versions.deno}`)
}
