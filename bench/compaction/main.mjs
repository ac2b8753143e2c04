/**
 * What compaction does for a `Store`: how little it holds then, what it moves for that, and what that costs.
 *
 *   npm run bench:compaction [-- --only sparse,stays,recordings,break,cache,access] [-- --rounds N] [-- --mib N]
 *                            [-- --values N] [-- --trace NAME] [-- --json]
 *
 * - sparse      a store of --mib MiB (64) is filled, and a random record in 64, or in 2, is kept
 * - stays       the same where less comes free: pins, huge pages, long records
 * - recordings  those of bench/traces, where least lives behind the peak, and where most is wasted
 * - break       the same as sparse, over the program break: how far it comes down
 * - cache       a cache of --values values (500,000): in a store, in an arena, and in Buffers
 * - access      one use of a record, beside the same use of a Buffer of an arena
 *
 * Each figure has a process of its own, interleaved by --rounds rounds (3). Tables show medians, and for times the lowest and
 * the highest round too. Times are CPU time over that of something else in the same process, as machines and loads differ.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { answerHelp } from '../help.mjs'
import { PRINTERS } from './tables.mjs'

answerHelp(import.meta.url)

/** @import { Access } from './measures/access.mjs' */
/** @import { Break } from './measures/break.mjs' */
/** @import { Cache } from './measures/cache.mjs' */
/** @import { LowPoint } from './measures/recording.mjs' */
/** @import { Sparse } from './measures/sparse.mjs' */

/**
 * The rounds of one figure, by its name.
 * @template Said
 * @typedef {{ name: string, rounds: Said[] }} Row
 */

/**
 * All that was measured. What `--only` leaves out is not there.
 * @typedef {object} Results
 * @property {Row<Sparse>[]} [sparse]
 * @property {Row<Sparse>[]} [stays]
 * @property {Row<LowPoint[]>[]} [recordings]
 * @property {Row<Break>[]} [break]
 * @property {Row<Cache>[]} [cache]
 * @property {Row<Access[]>[]} [access]
 */

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
const TRACES = new URL('../traces/', import.meta.url)
const SUFFIX = '.trace.gz'
// V8's code may lie right above the break: 1 or 2 processes in 100 have none to move.
const IN_THE_WAY = 'EEXIST'
const MAX_TRIES = 5

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    mib: { type: 'string', default: '64' },
    values: { type: 'string', default: '500000' },
    trace: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const [rounds, mib, count] = [values.rounds, values.mib, values.values].map(text => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new Error(`'${text}' is no whole number of at least 1`)
  return number
})

/** @param {number} bytes */
const all = bytes => ({ least: bytes, most: bytes })
const TO_4_KIB = { least: 16, most: 4096 }
const TO_16_KIB = { least: 16, most: 16_384 }

/** Records by size, and how many of them are kept. */
const KINDS = [
  { name: '64 B, 1 in 64', sizes: all(64), keep: 64 },
  { name: '256 B, 1 in 64', sizes: all(256), keep: 64 },
  { name: '1,024 B, 1 in 64', sizes: all(1024), keep: 64 },
  { name: '16 B to 4 KiB, 1 in 64', sizes: TO_4_KIB, keep: 64 },
  { name: '16 B to 16 KiB, 1 in 64', sizes: TO_16_KIB, keep: 64 },
  { name: '64 B, 1 in 2', sizes: all(64), keep: 2 },
  { name: '256 B, 1 in 2', sizes: all(256), keep: 2 },
  { name: '16 B to 4 KiB, 1 in 2', sizes: TO_4_KIB, keep: 2 },
]

/**
 * Takes one measure in a process of its own.
 * @param {string} measure
 * @param {object} job
 * @param {number} tries that are left where the break cannot be had
 * @returns {any} what the measure returns
 */
function run(measure, job, tries = MAX_TRIES) {
  const args = ['--expose-gc', CHILD, measure, JSON.stringify(job)]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status === 0) return JSON.parse(stdout)
  if (stderr.includes(IN_THE_WAY) && tries > 1) return run(measure, job, tries - 1)
  throw new Error(`${measure} ${JSON.stringify(job)}: ${stderr}`)
}

/**
 * Takes a measure for each of `jobs`, all of them once in each round.
 * @param {string} measure
 * @param {(object & { name: string })[]} jobs
 * @param {number} roundCount
 * @returns {Row<any>[]}
 */
function interleaved(measure, jobs, roundCount) {
  /** @type {Row<any>[]} */
  const rows = jobs.map(({ name }) => ({ name, rounds: [] }))
  for (let round = 0; round < roundCount; round++) {
    for (const [index, { name, ...job }] of jobs.entries()) rows[index].rounds.push(run(measure, job))
  }
  return rows
}

/** @returns {Row<any>[]} */
function sparse() {
  const jobs = KINDS.map(kind => ({ ...kind, mib }))
  const atLimit = [KINDS[1], KINDS[7]].map(kind => ({
    ...kind,
    name: `${kind.name}, at its limit`,
    mib,
    isAtLimit: true,
  }))
  return interleaved('sparse', [...jobs, ...atLimit], rounds)
}

/** @returns {Row<any>[]} */
function stays() {
  const sparsest = { sizes: all(256), keep: 64, mib }
  const jobs = [
    { name: '256 B, 1 in 64', ...sparsest },
    { name: '256 B, 1 in 64, 1 % of these pinned', ...sparsest, pinnedShare: 0.01 },
    { name: '256 B, 1 in 64, 10 % of these pinned', ...sparsest, pinnedShare: 0.1 },
    { name: '256 B, 1 in 64, `hugePages`', ...sparsest, hugePages: true },
    { name: '4 to 64 KiB, 1 in 2', sizes: { least: 4096, most: 65_536 }, keep: 2, mib },
    { name: '65 to 256 KiB, 1 in 2', sizes: { least: 66_560, most: 262_144 }, keep: 2, mib },
  ]
  return interleaved('sparse', jobs, 1)
}

/** @returns {Row<any>[]} */
function recordings() {
  const names = readdirSync(TRACES)
    .filter(file => file.endsWith(SUFFIX))
    .map(file => basename(file, SUFFIX))
    .filter(name => values.trace === undefined || name === values.trace)
  if (names.length === 0) throw new Error(`no recording is called ${values.trace}`)
  const jobs = names.map(name => ({ name, path: fileURLToPath(new URL(name + SUFFIX, TRACES)) }))
  return interleaved('recording', jobs, 1)
}

/** @returns {Row<any>[]} */
function breaks() {
  const jobs = [KINDS[1], KINDS[3], KINDS[6], KINDS[7]].map(kind => ({ ...kind, mib }))
  return interleaved('break', jobs, 1)
}

/** @returns {Row<any>[]} */
function caches() {
  const jobs = [
    { name: 'Store', peer: 'store' },
    { name: 'Arena', peer: 'arena' },
    { name: 'Buffer.allocUnsafe', peer: 'buffers' },
    { name: 'Buffer.allocUnsafeSlow', peer: 'slow-buffers' },
  ]
  return interleaved(
    'cache',
    jobs.map(job => ({ ...job, count, operations: 4 * count })),
    rounds,
  )
}

/** @type {Record<keyof Results, () => Row<any>[]>} */
const MEASURES = {
  sparse,
  stays,
  recordings,
  break: breaks,
  cache: caches,
  access: () => [{ name: 'all', rounds: [run('access', { rounds: 2 * rounds + 1 })] }],
}

const names = /** @type {(keyof Results)[]} */ (values.only?.split(',') ?? Object.keys(MEASURES))
for (const name of names) {
  if (!(name in MEASURES)) throw new Error(`'${name}' is none of ${Object.keys(MEASURES).join(', ')}`)
}
const machine = () =>
  `Node ${process.version}, ${cpus().length} x ${cpus()[0].model.trim()}, load ${loadavg()[0].toFixed(2)}`
if (!values.json) console.log(machine())
/** @type {Record<string, Row<any>[]>} */
const results = {}
for (const name of names) {
  results[name] = MEASURES[name]()
  if (!values.json) console.log(`\n${PRINTERS[name](results[name], { rounds, mib, count })}`)
}
if (values.json) console.log(JSON.stringify({ machine: machine(), results }, null, 2))
