/**
 * Services with Buffers and with an arena: the four of `examples/services`, and the same four with Buffers, plain and with other allocators.
 * Each runs in a process of its own and is asked by autocannon in another, in three waves, with two seconds of rest after each. Each variant
 * has a new server in each round, and the variants are interleaved. The default takes 45 minutes.
 *
 *   npm run bench:service [-- --only buffers,arena,cache] [-- --rounds N] [-- --seconds N] [-- --waves N] [-- --json FILE] [-- --plot FILE]
 *
 *   --only NAMES    these variants and services. A wrong name lists them all
 *   --rounds N      measure everything N times (default 5)
 *   --seconds N     how long each wave takes (default 3)
 *   --waves N       how many waves there are (default 3)
 *   --json FILE     also write all figures as JSON; "-" writes them to stdout and the tables to stderr
 *   --plot FILE     also draw memory over time, in the first round, as SVG
 *   --node PATH     the Node that runs the server; the load runs on the Node of this command
 *
 * Growth is the growth of resident memory (`Rss` in `/proc/PID/smaps_rollup`) since the server listened, before its first request. The
 * command fails where a bar does not hold.
 *
 * The preloaded allocators are Debian's: apt-get install libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { describeMachine, isLoadHigh } from '../heap/machine.mjs'
import { answerHelp } from '../help.mjs'
import { measureService } from './measure.mjs'
import { readOptions } from './options.mjs'
import { plotServices, renderService } from './report.mjs'
import { barsOf } from './summary.mjs'

answerHelp(import.meta.url)

const options = readOptions(process.argv.slice(2))
const { rounds, seconds, waves } = options
const say = options.json === '-' ? console.error : console.log

const machine = describeMachine()
const server = execFileSync(options.node, ['-v'], { encoding: 'utf8' }).trim()
say(
  `Node ${server}, ${machine.cpuCount} x ${machine.cpu}, Linux ${machine.kernel}, ${machine.libc}; rounds ${rounds}, ${waves} waves of ${seconds} s`,
)
if (isLoadHigh(machine)) say(`The load is ${machine.loadAverage[0].toFixed(2)}: times are doubtful.`)

const parts = []
for (const service of options.services) {
  const rows = await measureService(service, options)
  const bars = barsOf(rows)
  say(`\n${renderService(service.name, rows, bars)}`)
  parts.push({ service: service.name, rows, bars })
}

if (options.plot !== undefined) writeFileSync(options.plot, await plotServices(parts))
if (options.json !== undefined) {
  const text = JSON.stringify({ machine, server, rounds, seconds, waves, parts }, null, 2)
  if (options.json === '-') console.log(text)
  else writeFileSync(options.json, `${text}\n`)
}
if (parts.some(({ bars }) => bars.some(({ holds }) => !holds))) process.exitCode = 1
