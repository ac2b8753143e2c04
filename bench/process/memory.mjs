/** What the kernel says of another process: of its memory, and of the time that it takes. */
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

/**
 * Resident bytes now, as the kernel counts them for each CPU: cheap to read, but some hundred KiB may be missing.
 * @param {number} pid
 */
export function countedBytes(pid) {
  return bytesOf(readFileSync(`/proc/${pid}/status`, 'latin1'), 'VmRSS')
}

/**
 * Processor time that a process has taken so far, in milliseconds. The kernel counts it in steps of ten.
 * @param {number} pid
 */
export function processorMs(pid) {
  // The name of the program comes second, and may have spaces in it. The fields after it have none.
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ')
  return 10 * (Number(fields[11]) + Number(fields[12]))
}
