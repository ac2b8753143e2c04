/**
 * What a block costs against a Buffer: `allocUnsafe` and `free` at once, beside `Buffer.allocUnsafe` with the garbage
 * collection that follows from it. Each case in a process of its own, arena and Buffer interleaved, medians over rounds.
 *
 *   npm run bench:arena [-- --rounds N] [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const KIB = 1024
const CASES = [
  { name: '64 B', sizeBytes: 64 },
  { name: '1 KiB', sizeBytes: KIB },
  { name: '4 KiB', sizeBytes: 4 * KIB },
  { name: '32 KiB', sizeBytes: 32 * KIB },
  { name: '64 KiB, detached', sizeBytes: 64 * KIB },
  { name: '64 KiB, detachFromBytes: Infinity', sizeBytes: 64 * KIB, keepsBuffers: true },
  { name: '1 MiB, detachFromBytes: Infinity', sizeBytes: 1024 * KIB, keepsBuffers: true },
  { name: '64 KiB, zero-filled, detached', sizeBytes: 64 * KIB, isZeroFilled: true },
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
  const show = ({ median, low, high }) => `${median.toFixed(0)} (${low.toFixed(0)}–${high.toFixed(0)})`
  const rows = [['ns for one block, median (lowest–highest round)', 'Buffer', 'Arena', 'Buffer / Arena']]
  for (const { name, buffer, arena } of results) {
    rows.push([name, show(buffer), show(arena), (buffer.median / arena.median).toFixed(1)])
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => row[column].length)))
  const line = row =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log(`${machine}\n\n${rows.map(line).join('\n')}`)
}
