/** Where and when a run took place: without it no figure can be compared with another. */
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'

// Runnable processes for each CPU, on average over a minute. Above it, somebody else was at work on these CPUs.
const HIGH_LOAD = 0.3

/**
 * What a run says of its machine. Bytes are of memory; `loadAverage` counts runnable processes, over 1, 5 and 15 minutes.
 * @typedef {ReturnType<typeof describeMachine>} Machine
 */

/** The machine, as `/proc` and Node give it. */
export function describeMachine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpuCount: availableParallelism(),
    memoryBytes: totalmem(),
    arch: arch(),
    kernel: release(),
    libc: glibcVersion() ?? 'not glibc',
    node: process.version,
    v8: process.versions.v8,
    transparentHugePages: hugePages(),
    date: new Date().toISOString(),
    loadAverage: loadavg(),
  }
}

/**
 * The version of glibc that this process runs on; `undefined` on another C library.
 * @returns {string | undefined}
 */
export function glibcVersion() {
  // What Node also writes to a file as JSON. Its types say no more than `object`.
  const report = /** @type {{ header: { glibcVersionRuntime?: string } } | undefined} */ (
    process.report?.getReport()
  )
  return report?.header.glibcVersionRuntime
}

/**
 * Whether the load was high enough before the run began to make its figures doubtful.
 * @param {Machine} machine
 */
export function isLoadHigh(machine) {
  return machine.loadAverage[0] > HIGH_LOAD * machine.cpuCount
}

function hugePages() {
  try {
    const text = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1')
    return /\[(\w+)\]/.exec(text)?.[1] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}
