/** What the kernel says of this process: for the cases. */
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'

/** Resident bytes, exactly. */
export function residentBytes() {
  return 1024 * kibIn('/proc/self/smaps_rollup', /^Rss:\s+(\d+) kB$/m)
}

/**
 * A number of KiB that the kernel gives in a file.
 * @param {string} path
 * @param {RegExp} pattern of the line, with the number in parentheses
 */
export function kibIn(path, pattern) {
  const line = pattern.exec(readFileSync(path, 'latin1'))
  if (line === null) throw new Error(`no line ${pattern} in ${path}`)
  return Number(line[1])
}

/** Pages that were faulted in, ever, without reading a file. */
export function minorFaults() {
  return process.resourceUsage().minorPageFault
}

/** User and system time of this process so far, in milliseconds. */
export function cpuMs() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Collects garbage, and lets the finalizers of ArrayBuffers run. Needs `--expose-gc`. */
export async function collectGarbage() {
  const { gc } = globalThis
  if (gc === undefined) throw new Error('run it with --expose-gc')
  for (let i = 0; i < 3; i++) {
    gc()
    await turn()
  }
}
