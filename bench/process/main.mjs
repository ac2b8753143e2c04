/**
 * What a whole service holds, and whether it gives that back when it is idle: a plain `node:http` server in a process of its own takes uploads
 * from autocannon in another, over 32 connections, and is then idle for two seconds. Each variant has a new server in each round, and the
 * variants are interleaved. The default takes about an hour.
 *
 *   npm run bench:process [-- --only buffers,buffers+idle,64k] [-- --rounds N] [-- --seconds N] [-- --json FILE] [-- --node PATH]
 *   npm run bench:process -- --delay [--only mixed] [--rounds N] [--json FILE] [--node PATH]
 *
 *   --only NAMES    these variants and bodies; with --delay, these cases. A wrong name lists them all
 *   --rounds N      measure everything N times (default 5)
 *   --seconds N     how long each load takes (default 10)
 *   --json FILE     also write all figures as JSON; "-" writes them to stdout and the tables to stderr
 *   --node PATH     the Node that runs the server; the load runs on the Node of this command
 *   --given MODULE  take reclaim() and reclaimWhenIdle() from this module and not from offheap, to compare with something else
 *   --delay         how long reclaim() keeps the event loop waiting, with 500 MiB of free blocks between others in malloc
 *
 * Growth is the growth of resident memory (`Rss` in `/proc/PID/smaps_rollup`) since the server listened, before its first request. The
 * command fails where a bar does not hold.
 *
 * The preloaded allocators are Debian's: apt-get install libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4
 */
import { execFile, execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describeMachine, isLoadHigh } from '../heap/machine.mjs'
import { answerHelp } from '../help.mjs'
import { hasFunction } from './given.mjs'
import { measure } from './measure.mjs'
import { readOptions } from './options.mjs'
import { renderBody, renderDelay } from './report.mjs'
import { barsOf, delayBarsOf } from './summary.mjs'
import { rowsFor } from './variants.mjs'

/** @import { DelayCase } from './delay-cases.mjs' */
/** @import { DelayFigures } from './delay.mjs' */
/** @import { Bar, Row } from './summary.mjs' */
/** @import { Body } from './variants.mjs' */

answerHelp(import.meta.url)

const DELAY = fileURLToPath(new URL('delay.mjs', import.meta.url))
const DELAY_LATE_MS = 120_000

const options = readOptions(process.argv.slice(2))
const say = options.json === '-' ? console.error : console.log

/** @param {Body} body */
async function measureBody(body) {
  /** @type {Row[]} */
  const rows = await rowsFor(options.variants, options.isChosen, options.given)
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, variant] of options.variants.entries()) {
      const { reason, measurements } = rows[index]
      if (reason === undefined) measurements.push(await measure(variant, body, options))
    }
  }
  const bars = barsOf(body.name, rows)
  say(`\n${renderBody(body.name, rows, bars)}`)
  return { body: body.name, rows, bars }
}

/**
 * @param {DelayCase} wanted
 * @returns {Promise<DelayFigures>}
 */
async function measureDelay(wanted) {
  const { given, node } = options
  const args = ['--expose-gc', DELAY, JSON.stringify(wanted)]
  if (given !== undefined) args.push(JSON.stringify(given))
  const { stdout } = await promisify(execFile)(node, args, { timeout: DELAY_LATE_MS })
  return JSON.parse(stdout)
}

async function measureDelays() {
  if (!(await hasFunction('reclaim', options.given)))
    throw new Error(`--delay: ${options.given ?? 'offheap'} has no reclaim()`)
  /** @type {{ name: string, rounds: DelayFigures[] }[]} */
  const cases = options.delayCases.map(({ name }) => ({ name, rounds: [] }))
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, wanted] of options.delayCases.entries())
      cases[index].rounds.push(await measureDelay(wanted))
  }
  const bars = cases.flatMap(({ name, rounds }) => delayBarsOf(name, rounds))
  say(`\n${renderDelay(cases, bars)}`)
  return { cases, bars }
}

const machine = describeMachine()
const server = execFileSync(options.node, ['-v'], { encoding: 'utf8' }).trim()
const { rounds, seconds, given } = options
const how = options.isDelay ? '' : `, ${seconds} s of load`
say(
  `Node ${server}, ${machine.cpuCount} x ${machine.cpu}, Linux ${machine.kernel}, ${machine.libc}; rounds ${rounds}${how}`,
)
if (given !== undefined) say(`reclaim() and reclaimWhenIdle() are those of ${given}`)
if (isLoadHigh(machine)) say(`The load is ${machine.loadAverage[0].toFixed(2)}: times are doubtful.`)

/** @type {{ bars: Bar[] }[]} */
const parts = []
if (options.isDelay) parts.push(await measureDelays())
else for (const body of options.bodies) parts.push(await measureBody(body))

if (options.json !== undefined) {
  const text = JSON.stringify({ machine, server, rounds, seconds, parts }, null, 2)
  if (options.json === '-') console.log(text)
  else writeFileSync(options.json, `${text}\n`)
}
if (parts.some(({ bars }) => bars.some(({ holds }) => !holds))) process.exitCode = 1
