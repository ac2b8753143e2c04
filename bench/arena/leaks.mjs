/**
 * What noticing leaks costs: a pair of `allocUnsafe` and `free` with `leaks: 'sampled'` and `'all'` against `'off'`. The three
 * are interleaved in each of several processes; the ratio is taken round by round.
 *
 *   npm run bench:leaks [-- --processes N] [-- --rounds N] [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/** @import { LeakMode } from 'offheap' */
/** @import { Figure } from '../sizes.mjs' */

const KIB = 1024
const CASES = [
  { name: '64 B', sizeBytes: 64 },
  { name: '64 KiB', sizeBytes: 64 * KIB },
]
/** @type {LeakMode[]} */
const MODES = ['off', 'sampled', 'all']

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '9' },
    json: { type: 'boolean', default: false },
  },
})

/**
 * The times of every round of one process, in nanoseconds for a pair.
 * @param {number} sizeBytes
 * @returns {Record<LeakMode, number[]>}
 */
function runOnce(sizeBytes) {
  const child = fileURLToPath(new URL('leaks-child.mjs', import.meta.url))
  const args = [child, JSON.stringify({ sizeBytes, rounds: Number(values.rounds) })]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/**
 * The median and the quartiles.
 * @param {number[]} figures
 * @returns {Figure}
 */
function summary(figures) {
  const sorted = [...figures].sort((a, b) => a - b)
  /** @param {number} share from 0 to 1 */
  const at = share => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/** @param {{ name: string, sizeBytes: number }} benchCase */
function measure({ name, sizeBytes }) {
  const runs = Array.from({ length: Number(values.processes) }, () => runOnce(sizeBytes))
  const modes = MODES.map(mode => ({
    mode,
    ns: summary(runs.flatMap(times => times[mode])),
    ratio: summary(runs.flatMap(times => times[mode].map((ns, round) => ns / times.off[round]))),
  }))
  return { name, modes }
}

const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0].model.trim()}, load ${loadavg()[0].toFixed(2)}`
const results = CASES.map(measure)
if (values.json) {
  console.log(JSON.stringify({ machine, results }, null, 2))
} else {
  /**
   * @param {Figure} figure
   * @param {number} digits after the point
   */
  const show = ({ median, low, high }, digits) =>
    `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
  console.log(`${machine}\n\nallocUnsafe and free, median (quartiles)`)
  for (const { name, modes } of results) {
    for (const { mode, ns, ratio } of modes) {
      const figures = `${show(ns, 1).padStart(24)} ns  ${show(ratio, 3).padStart(22)} of 'off'`
      console.log(`${name.padEnd(8)} ${mode.padEnd(8)} ${figures}`)
    }
  }
}
