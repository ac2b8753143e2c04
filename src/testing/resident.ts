/** `assertResidentBelow` and `rssBytes`: what the kernel says that the process, or some arenas, hold. */
import { AssertionError } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { requireNumber } from '../base/arguments.js'
import { ArenaError, invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { MIB } from '../base/units.js'
import { type Arena, arenas, type Store } from '../index.js'
import { collectGarbage } from './garbage.js'
import { lookUntil, requireWithin } from './waiting.js'

/** The options of `assertResidentBelow`. */
export interface ResidentOptions {
  /**
   * Asks for the resident bytes of these arenas and stores together. Default: those of the whole process, `rssBytes()`.
   */
  arenas?: readonly (Arena | Store)[]
  /**
   * Milliseconds to wait for the bytes to fall. `0`: it looks once. Default 3000, which is less than the time
   * that test runners give a test.
   */
  withinMs?: number
}

const KNOWN_OPTIONS = keysOf<ResidentOptions>({ arenas: true, withinMs: true })
const DEFAULT_WITHIN_MS = 3_000
const ROLLUP = '/proc/self/smaps_rollup'

/**
 * Returns the resident bytes of this process, all threads included: `Rss` of `/proc/self/smaps_rollup`. The
 * kernel sums it from the page tables when it is read. `process.memoryUsage.rss()` reads counters that may lag
 * by megabytes. One call takes from a fraction of a millisecond to some milliseconds, more with more memory.
 *
 * Throws `ERR_ARENA_NOT_SUPPORTED` if the kernel does not tell, as on systems other than Linux; `cause` is the
 * system error.
 *
 * ```ts
 * const before = rssBytes()
 * await runLoad()
 * console.log(`${(rssBytes() - before) / 2 ** 20} MiB more than before`)
 * ```
 */
export function rssBytes(): number {
  let text: string
  try {
    text = readFileSync(ROLLUP, 'latin1')
  } catch (cause) {
    throw notSupported(`${ROLLUP} cannot be read`, cause)
  }
  const kilobytes = /^Rss:\s+(\d+) kB$/m.exec(text)?.[1]
  if (kilobytes === undefined) throw notSupported(`${ROLLUP} has no Rss`, undefined)
  return Number(kilobytes) * 1024
}

function notSupported(why: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `rssBytes(): ${why}. Measure on Linux 4.14 or later, with /proc mounted`,
    { cause },
  )
}

/**
 * Asserts that fewer than `boundBytes` are resident: of the whole process, or of some arenas. Waits up to
 * `withinMs` for the bytes to fall, so that free pages have time to go back to the kernel. Works the same in
 * vitest, Jest and node:test.
 *
 * For the whole process it first collects garbage once, since memory of V8's counts too. Compare with what the
 * process held before: `rssBytes() + 16 * 2 ** 20`, after a warm-up. A bound for a process needs some MiB of
 * air, because V8 and the C library keep memory of their own.
 *
 * Resolves to the bytes that were resident at the last look.
 *
 * Rejects with
 * - an `AssertionError` of `node:assert` if the bytes did not fall in time. It lists what the open arenas of
 *   this thread hold
 * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad arguments
 * - `ERR_ARENA_CLOSED` if one of `arenas` is closed
 * - `ERR_ARENA_NOT_SUPPORTED` where `rssBytes` throws it
 *
 * ```ts
 * await assertResidentBelow(before + 16 * 2 ** 20)
 * await assertResidentBelow(4 * 2 ** 20, { arenas: [uploads] })
 * ```
 */
export async function assertResidentBelow(
  boundBytes: number,
  options: ResidentOptions = {},
): Promise<number> {
  requireNumber('boundBytes', boundBytes, Number.POSITIVE_INFINITY)
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { arenas: chosen, withinMs = DEFAULT_WITHIN_MS } = options
  requireWithin(withinMs)
  requireArenas(chosen)
  if (chosen === undefined) await collectGarbage()
  const residentBytes = await lookUntil(
    () => (chosen === undefined ? rssBytes() : residentBytesOf(chosen)),
    bytes => bytes < boundBytes,
    withinMs,
  )
  if (residentBytes < boundBytes) return residentBytes
  throw new AssertionError({
    message: messageOf(residentBytes, boundBytes, chosen, withinMs),
    actual: residentBytes,
    expected: boundBytes,
    operator: 'assertResidentBelow',
    stackStartFn: assertResidentBelow,
  })
}

function requireArenas(chosen: ResidentOptions['arenas']): void {
  if (chosen === undefined) return
  const isGood = Array.isArray(chosen) && chosen.length > 0
  if (isGood && chosen.every(arena => typeof arena?.residentBytes === 'function')) return
  throw invalidArgValue('options.arenas', 'must be an array of at least one arena', chosen)
}

function residentBytesOf(chosen: readonly (Arena | Store)[]): number {
  return [...new Set(chosen)].reduce((bytes, arena) => bytes + arena.residentBytes(), 0)
}

function messageOf(
  residentBytes: number,
  boundBytes: number,
  chosen: ResidentOptions['arenas'],
  withinMs: number,
): string {
  const who =
    chosen === undefined ? 'The process holds' : `${chosen.map(({ name }) => `'${name}'`).join(', ')} hold`
  const lines = arenas().map(
    ({ name, liveBytes, committedBytes }) =>
      `  arena '${name}': ${mebibytes(liveBytes)} in live blocks, ${mebibytes(committedBytes)} of pages used or dirty`,
  )
  return [
    `${who} ${mebibytes(residentBytes)} resident after ${withinMs} ms, not less than ${mebibytes(boundBytes)}.`,
    'Open arenas of this thread:',
    ...(lines.length === 0 ? ['  none'] : lines),
  ].join('\n')
}

function mebibytes(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}
