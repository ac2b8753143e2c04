/**
 * What V8 gives back, and what that takes: objects are made that survive for a while, dropped, and collected in each way. Each figure
 * comes from a process of its own; shown are the medians of the rounds. `Rss` is of /proc/self/smaps_rollup. `slower` is the time of
 * 1,000 requests to a server in the same process after the collection, over that of the 1,000 before.
 *
 *   npm run bench:collect [-- --node /path/to/node] [-- --rounds N]
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { quantile } from '../heap/statistics.mjs'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/** @typedef {{ before: number, after: number, ms: number, slower: number }} Figures sizes in MiB */

const CHILD = fileURLToPath(new URL('collect-child.mjs', import.meta.url))
const SIZES_MIB = [20, 200, 1_000]
const WAYS = ['gc()', 'minor', 'major']

/** @type {{ values: { node: string, rounds: string } }} */
const { values } = parseArgs({
  options: { node: { type: 'string', default: process.execPath }, rounds: { type: 'string', default: '3' } },
})

/**
 * @param {number} mib
 * @param {string} way
 * @returns {Figures}
 */
function measure(mib, way) {
  const args = ['--no-warnings', '--max-old-space-size=4000', CHILD, String(mib), way]
  const { status, stdout, stderr } = spawnSync(values.node, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${way} of ${mib} MiB: ${stderr}`)
  return JSON.parse(stdout)
}

console.log(spawnSync(values.node, ['-v'], { encoding: 'utf8' }).stdout.trim())
console.log('garbage  way     Rss before  after      ms slower')
for (const mib of SIZES_MIB) {
  for (const way of WAYS) {
    const rounds = Array.from({ length: Number(values.rounds) }, () => measure(mib, way))
    /** @param {keyof Figures} name */
    const median = name =>
      quantile(
        rounds.map(each => each[name]),
        0.5,
      )
    const figures = [
      median('before').toFixed(0).padStart(10),
      median('after').toFixed(0).padStart(6),
      median('ms').toFixed(1).padStart(7),
      median('slower').toFixed(2).padStart(6),
    ]
    console.log(String(mib).padStart(7), '', way.padEnd(7), ...figures)
  }
}
