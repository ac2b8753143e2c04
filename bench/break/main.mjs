/**
 * The two classic models side by side: what the program break alone, the break together with `madvise`, and mappings
 * can give back on the same recordings, as the kernel says. Each run in a process of its own.
 *
 *   npm run bench:break [-- --trace NAME] [-- --points N] [-- --json]
 *
 * At even points of a recording all that is free is given back. Then a break that can only go down still holds everything below
 * the highest live block (`break alone`: how high the break is); with `madvise` below it the arena holds what is resident
 * (`break + madvise`, mincore), and over mappings likewise (`mappings`).
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/** @import { Sample } from './child.mjs' */

const TRACES = new URL('../traces/', import.meta.url)
const SUFFIX = '.trace.gz'
const MIB = 2 ** 20

const { values } = parseArgs({
  options: {
    trace: { type: 'string' },
    points: { type: 'string', default: '200' },
    json: { type: 'boolean', default: false },
  },
})

// V8's code may lie right above the break: 1 or 2 processes in 100 have none to move.
const IN_THE_WAY = 'EEXIST'

/**
 * @param {string} name of a recording
 * @param {'mmap' | 'sbrk'} source where pages come from
 * @returns {{ samples: Sample[], freed: Sample }} `freed`: once every block was freed
 */
function run(name, source) {
  const child = fileURLToPath(new URL('child.mjs', import.meta.url))
  const path = fileURLToPath(new URL(name + SUFFIX, TRACES))
  const job = JSON.stringify({ path, source, points: Number(values.points) })
  const { status, stdout, stderr } = spawnSync(process.execPath, [child, job], { encoding: 'utf8' })
  if (status !== 0 && stderr.includes(IN_THE_WAY)) return run(name, source)
  if (status !== 0) throw new Error(`${name} on ${source}: ${stderr}`)
  return JSON.parse(stdout)
}

/** @param {number[]} numbers */
const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length

/**
 * Means over the points, in bytes, and what the break alone gives back of what is free.
 * @param {string} name of a recording
 */
function measure(name) {
  const [sbrk, mmap] = [run(name, 'sbrk'), run(name, 'mmap')]
  if (sbrk.samples.some(sample => sample.breakOwned !== true)) throw new Error(`${name}: the break was lost`)
  // A process that gives nothing back holds the most it ever held.
  let most = 0
  let freeBytes = 0
  let loweredBytes = 0
  for (const { mappedBytes, usedBytes, committedBytes } of sbrk.samples) {
    most = Math.max(most, committedBytes)
    freeBytes += most - usedBytes
    loweredBytes += Math.max(0, most - mappedBytes)
  }
  return {
    name,
    points: sbrk.samples.length,
    liveBytes: mean(sbrk.samples.map(sample => sample.liveBytes)),
    breakAloneBytes: mean(sbrk.samples.map(sample => sample.mappedBytes)),
    breakBytes: mean(sbrk.samples.map(sample => sample.residentBytes)),
    mappingsBytes: mean(mmap.samples.map(sample => sample.residentBytes)),
    loweredShare: freeBytes === 0 ? 1 : loweredBytes / freeBytes,
    freed: { break: sbrk.freed.mappedBytes, mappings: mmap.freed.residentBytes },
  }
}

const names = readdirSync(TRACES)
  .filter(file => file.endsWith(SUFFIX))
  .map(file => basename(file, SUFFIX))
  .filter(name => values.trace === undefined || name === values.trace)
if (names.length === 0) throw new Error(`no recording is called ${values.trace}`)

const machine = `Node ${process.version}, ${cpus()[0].model.trim()}, load ${loadavg()[0].toFixed(2)}`
const results = names.map(measure)
if (values.json) {
  console.log(JSON.stringify({ machine, results }, null, 2))
} else {
  /** @param {number} bytes */
  const mib = bytes => (bytes / MIB).toFixed(1)
  console.log(`${machine}; MiB held once all that can go back has, mean over ${values.points} points\n`)
  console.log(
    '| recording | live | break alone | break + madvise | mappings | of what is free, the break alone gives back |',
  )
  console.log('|---|---|---|---|---|---|')
  for (const { name, liveBytes, breakAloneBytes, breakBytes, mappingsBytes, loweredShare } of results) {
    const figures = [liveBytes, breakAloneBytes, breakBytes, mappingsBytes].map(mib).join(' | ')
    console.log(`| ${name} | ${figures} | ${(loweredShare * 100).toFixed(0)} % |`)
  }
}
