/** What the kernel says of another process's memory. */
import { readFileSync } from 'node:fs'

/**
 * A number of KiB in a text of `/proc`, as bytes.
 * @param {string} text lines of `Name:   123 kB`
 * @param {string} name
 */
export function bytesOf(text, name) {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
  if (line === null) throw new Error(`no line '${name}: … kB' in ${JSON.stringify(text.slice(0, 200))}`)
  return 1024 * Number(line[1])
}

/**
 * Resident bytes now, summed up from the page tables.
 * @param {number | 'self'} pid
 */
export function residentBytes(pid) {
  return bytesOf(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'), 'Rss')
}

/**
 * The most resident bytes so far. The kernel counts them for each CPU, so some hundred KiB may be missing.
 * @param {number} pid
 */
export function peakBytes(pid) {
  return bytesOf(readFileSync(`/proc/${pid}/status`, 'latin1'), 'VmHWM')
}
