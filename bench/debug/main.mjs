/**
 * What `debug: true` costs: `allocUnsafe` and `free` at once, on an arena with it and one without, which are interleaved in
 * one process for each size; medians over rounds.
 *
 *   npm run bench:debug [-- --rounds N] [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const KIB = 1024
const CASES = [
  { name: '64 B', sizeBytes: 64 },
  { name: '1 KiB', sizeBytes: KIB },
  { name: '64 KiB', sizeBytes: 64 * KIB },
  { name: '1 MiB', sizeBytes: 1024 * KIB },
]

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } },
})

function measure(benchCase) {
  const child = fileURLToPath(new URL('child.mjs', import.meta.url))
  const args = [child, JSON.stringify({ ...benchCase, rounds: Number(values.rounds) })]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${benchCase.name}: ${stderr}`)
  return { name: benchCase.name, ...JSON.parse(stdout) }
}

const machine = `Node ${process.version}, ${cpus().length} x ${cpus()[0].model.trim()}, load ${loadavg()[0].toFixed(2)}`
const results = CASES.map(measure)
if (values.json) {
  console.log(JSON.stringify({ machine, results }, null, 2))
} else {
  const show = ({ median, low, high }) =>
    `${(median / 1000).toFixed(2)} (${(low / 1000).toFixed(2)}–${(high / 1000).toFixed(2)})`
  const rows = [['µs for one block, median (lowest–highest round)', 'plain', 'debug', 'debug / plain']]
  for (const { name, plain, debug } of results) {
    rows.push([name, show(plain), show(debug), (debug.median / plain.median).toFixed(1)])
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => row[column].length)))
  const line = row =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log(`${machine}\n\n${rows.map(line).join('\n')}`)
}
