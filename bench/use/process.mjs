/** What the kernel says of this process: for the cases. */
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'

/** Resident bytes, exactly. */
export function residentBytes() {
  return 1024 * Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1])
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
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await turn()
  }
}
