/**
 * What a program meets that uses arenas as people do: bodies that grow, waves, scattered holes, many arenas. Each figure
 * comes from processes of its own, the arena and its peers interleaved by rounds; shown are the median, the lowest and the
 * highest round. A figure with a bound is held against it, and the command fails where the arena's median does not hold.
 *
 *   npm run bench:use [-- --only growth,waves] [-- --rounds N] [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, isLoadHigh } from '../heap/machine.mjs'
import { spread } from '../heap/statistics.mjs'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/** @import { Spread } from '../heap/statistics.mjs' */

/**
 * Takes one figure. Runs in a process of its own.
 * @typedef {() => number | Promise<number>} Measure
 */

/**
 * One figure of a case.
 * @typedef {object} Row
 * @property {string} unit
 * @property {number | undefined} [most] the bound of the arena's figure
 * @property {{ arena: Measure } & Record<string, Measure>} measures by peer
 */

/**
 * What a module in `cases/` exports. `rows` are by name.
 * @typedef {{ title: string, rows: Record<string, Row> }} Case
 */

/**
 * What was measured of a row. `holds`: whether the arena's median keeps to the bound.
 * @typedef {{ name: string, unit: string, most: number | undefined, holds: boolean, peers: Record<string, Spread> }} Result
 */

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
const CASES = new URL('cases/', import.meta.url)
/** No figure takes longer. */
const MOST_MS = 180_000

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
})

function namesOfCases() {
  const names = readdirSync(CASES)
    .filter(file => file.endsWith('.mjs'))
    .map(file => file.slice(0, -'.mjs'.length))
    .sort()
  const wanted = options.only?.split(',') ?? names
  for (const name of wanted) {
    if (!names.includes(name)) throw new Error(`no case '${name}': there are ${names.join(', ')}`)
  }
  return wanted
}

/**
 * One figure of one peer, measured in a new process.
 * @param {string} caseName
 * @param {string} rowName
 * @param {string} peer
 * @returns {number}
 */
function measure(caseName, rowName, peer) {
  const args = ['--expose-gc', '--no-warnings', CHILD, caseName, rowName, peer]
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: MOST_MS,
  })
  if (status !== 0) throw new Error(`${caseName}, '${rowName}', ${peer}: exit ${signal ?? status}\n${stderr}`)
  return JSON.parse(stdout)
}

/**
 * @param {string} name
 * @param {number} rounds
 */
async function measureCase(name, rounds) {
  /** @type {Case} */
  const { title, rows } = await import(new URL(`${name}.mjs`, CASES).href)
  /** @type {Result[]} */
  const results = []
  for (const [rowName, { unit, most, measures }] of Object.entries(rows)) {
    /** @type {Record<string, number[]>} */
    const values = Object.fromEntries(Object.keys(measures).map(peer => [peer, []]))
    for (let round = 0; round < rounds; round++) {
      for (const peer of Object.keys(measures)) values[peer].push(measure(name, rowName, peer))
    }
    const peers = Object.fromEntries(Object.entries(values).map(([peer, list]) => [peer, spread(list)]))
    const holds = most === undefined || peers.arena.median <= most
    results.push({ name: rowName, unit, most, holds, peers })
  }
  return { name, title, results }
}

/** @param {Spread} figure */
function show({ median, min, max }) {
  const digits = Math.abs(max) < 10 ? 2 : Math.abs(max) < 100 ? 1 : 0
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`
}

/** @param {{ title: string, results: Result[] }} measured */
function print({ title, results }) {
  console.log(`\n${title}`)
  for (const { name, unit, most, holds, peers } of results) {
    const figures = Object.entries(peers).map(([peer, figure]) => `${peer} ${show(figure)}`)
    const bound = most === undefined ? '' : `, at most ${most}: ${holds ? 'holds' : 'DOES NOT HOLD'}`
    console.log(`  ${name}, ${unit}: ${figures.join(', ')}${bound}`)
  }
}

const machine = describeMachine()
if (!options.json) {
  console.log(`Node ${machine.node}, ${machine.cpuCount} x ${machine.cpu}, kernel ${machine.kernel}`)
  if (isLoadHigh(machine))
    console.log(`The load is ${machine.loadAverage[0].toFixed(2)}: times are doubtful.`)
}
const cases = []
for (const name of namesOfCases()) {
  const done = await measureCase(name, Number(options.rounds))
  cases.push(done)
  if (!options.json) print(done)
}
if (options.json) console.log(JSON.stringify({ machine, cases }, null, 2))
if (cases.some(({ results }) => results.some(({ holds }) => !holds))) process.exitCode = 1
