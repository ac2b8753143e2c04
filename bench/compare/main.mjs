/**
 * What a process holds after a burst, with an arena and with what people use otherwise: `Buffer` over the C library's own malloc and
 * over preloaded ones, `reclaim`, `ArrayBuffer.prototype.transfer(0)`, and `@thi.ng/malloc`. Each in a process of its own. Takes two
 * minutes.
 *
 *   npm run bench:compare [-- --load NAME] [-- --json]
 *
 * The preloaded allocators are Debian's: apt-get install libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/**
 * @typedef {{ name: string, way: string, end?: 'reclaim', preload?: string, variables?: Record<string, string> }} Way
 * @typedef {{ live: number, atOnce: number, soon: number, late: number }} Bytes
 * @typedef {{ name: string, reason?: string } & Partial<Bytes>} Row
 */

const MIB = 2 ** 20
const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
const LOADS = ['drop-all', 'keep-1-in-64', 'small-keep-1-in-64', 'large-keep-1-in-8']
/** @param {string} name */
const libraryOf = name => `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/lib${name}`
const JEMALLOC = libraryOf('jemalloc.so.2')
/** A thread that gives back what was free for a second, also while the program is idle. */
const BACKGROUND = { MALLOC_CONF: 'background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0' }

/** @type {Way[]} */
const WAYS = [
  { name: 'Buffer', way: 'Buffer' },
  { name: 'Buffer, then reclaim()', way: 'Buffer', end: 'reclaim' },
  { name: 'Buffer, jemalloc', way: 'Buffer', preload: JEMALLOC },
  {
    name: 'Buffer, jemalloc with a background thread',
    way: 'Buffer',
    preload: JEMALLOC,
    variables: BACKGROUND,
  },
  { name: 'Buffer, mimalloc', way: 'Buffer', preload: libraryOf('mimalloc.so.2') },
  { name: 'Buffer, tcmalloc', way: 'Buffer', preload: libraryOf('tcmalloc_minimal.so.4') },
  { name: 'transfer(0)', way: 'transfer' },
  { name: '@thi.ng/malloc', way: 'thi.ng' },
  { name: 'Arena', way: 'Arena' },
  { name: 'Arena, then reclaim()', way: 'Arena', end: 'reclaim' },
  {
    name: 'Arena, jemalloc with a background thread',
    way: 'Arena',
    preload: JEMALLOC,
    variables: BACKGROUND,
  },
]

const { values } = parseArgs({
  options: { load: { type: 'string' }, json: { type: 'boolean' } },
})
if (values.load !== undefined && !LOADS.includes(values.load))
  throw new Error(`--load: one of ${LOADS.join(', ')}`)

const results = []
for (const load of values.load === undefined ? LOADS : [values.load]) {
  // All ways at once: they mostly sleep, and resident memory does not depend on what runs beside.
  const rows = await Promise.all(WAYS.map(each => measure(each, load)))
  results.push({ load, rows })
  if (!values.json) print(load, rows)
}
if (values.json) console.log(JSON.stringify({ node: process.version, results }))

/**
 * @param {Way} way
 * @param {string} load
 * @returns {Promise<Row>}
 */
async function measure({ name, way, end = undefined, preload, variables }, load) {
  if (preload !== undefined && !existsSync(preload)) return { name, reason: `${preload} is not installed` }
  if (way === 'transfer' && !('transfer' in ArrayBuffer.prototype)) return { name, reason: 'needs Node 22' }
  const env = { ...process.env, ...variables, ...(preload === undefined ? {} : { LD_PRELOAD: preload }) }
  const { stdout } = await promisify(execFile)(process.execPath, [CHILD, way, load, end ?? ''], { env })
  return { name, ...JSON.parse(stdout) }
}

/**
 * @param {string} load
 * @param {Row[]} rows
 */
function print(load, rows) {
  console.log(`\n${load}: growth over a warm process, MiB (Node ${process.version.slice(1)})\n`)
  console.log('| | live | at once | 1.5 s later | 12 s later |\n|---|---|---|---|---|')
  for (const { name, reason, live = 0, atOnce = 0, soon = 0, late = 0 } of rows) {
    const figures = [live, atOnce, soon, late].map(bytes => (bytes / MIB).toFixed(1))
    console.log(
      reason === undefined ? `| ${[name, ...figures].join(' | ')} |` : `| ${name} | ${reason} | | | |`,
    )
  }
}
