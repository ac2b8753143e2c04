/** A benchmark that runs a child process for each size and prints its figures as a table. */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'

/**
 * Runs `child` for each of `cases` with `--rounds` rounds, and prints what it said: as JSON where asked, else a row each, as
 * `rowOf` makes it, under `head`.
 */
export function runSizes({ child, cases, head, rowOf }) {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } },
  })
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
  const line = row =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log(`${machine}\n\n${rows.map(line).join('\n')}`)
}

/** A median between the lowest and the highest, in units of `unit` nanoseconds. */
export function show({ median, low, high }, unit, digits) {
  const format = ns => (ns / unit).toFixed(digits)
  return `${format(median)} (${format(low)}–${format(high)})`
}
