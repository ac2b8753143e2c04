/** A benchmark that runs a child process for each size and prints its figures as a table. */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'

/**
 * Nanoseconds for one block: the median of the rounds, the lowest round and the highest.
 * @typedef {{ median: number, low: number, high: number }} Figure
 */

/**
 * Runs `child` for each of `cases` with `--rounds` rounds, and prints what it said: as JSON where asked, else a row each, as
 * `rowOf` makes it, under `head`.
 * @template Said what `child` prints of one case
 * @param {object} bench
 * @param {string} bench.child the path of the program that measures one case. Its argument is the case, with `rounds`, as JSON
 * @param {(object & { name: string })[]} bench.cases
 * @param {string[]} bench.head the titles of the columns
 * @param {(result: { name: string } & Said) => string[]} bench.rowOf the cells of a row
 * @returns {void}
 */
export function runSizes({ child, cases, head, rowOf }) {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } },
  })
  /** @type {({ name: string } & Said)[]} */
  const results = cases.map(benchCase => {
    const args = [child, JSON.stringify({ ...benchCase, rounds: Number(values.rounds) })]
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`${benchCase.name}: ${stderr}`)
    return { name: benchCase.name, ...JSON.parse(stdout) }
  })
  const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0].model.trim()}, load ${loadavg()[0].toFixed(2)}`
  if (values.json) {
    console.log(JSON.stringify({ machine, results }, null, 2))
    return
  }
  const rows = [head, ...results.map(rowOf)]
  const widths = head.map((_, column) => Math.max(...rows.map(row => row[column].length)))
  /** @param {string[]} row */
  const line = row =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log(`${machine}\n\n${rows.map(line).join('\n')}`)
}

/**
 * A median between the lowest and the highest, in units of `unit` nanoseconds.
 * @param {Figure} figure
 * @param {number} unit
 * @param {number} digits after the point
 */
export function show({ median, low, high }, unit, digits) {
  /** @param {number} ns */
  const format = ns => (ns / unit).toFixed(digits)
  return `${format(median)} (${format(low)}–${format(high)})`
}
