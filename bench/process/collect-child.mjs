/** One figure of collect.mjs: `collect-child.mjs MIB WAY`. Prints JSON. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { findGc } from '#compiled/base/gc.js'
import { collectGarbage } from '#compiled/process/collect-garbage.js'

/** @import { AddressInfo } from 'node:net' */

const MIB = 2 ** 20
const REQUESTS = 1_000
const [mib, way] = process.argv.slice(2)

function rssMib() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))?.[1]) / 1_024
}

const server = http.createServer((request, response) => {
  request.on('data', () => {}).on('end', () => response.end(JSON.stringify({ path: request.url })))
})
await once(server.listen(0), 'listening')
const { port } = /** @type {AddressInfo} */ (server.address())
const agent = new http.Agent({ keepAlive: true })

/** @returns {Promise<void>} */
const post = () =>
  new Promise((resolve, reject) => {
    const request = http.request({ port, agent, method: 'POST' }, response => {
      response.on('end', resolve).resume()
    })
    request.on('error', reject).end('x')
  })

async function requestsMs() {
  const startMs = performance.now()
  for (let i = 0; i < REQUESTS; i++) await post()
  return performance.now() - startMs
}

/** Returns live objects of that many MiB, most of which have survived collections. */
function fill() {
  const held = []
  const startBytes = process.memoryUsage().heapUsed
  while (process.memoryUsage().heapUsed - startBytes < Number(mib) * MIB)
    held.push(Array.from({ length: 4_000 }, (_, i) => ({ i, other: i, none: null })))
  return held
}

for (let i = 0; i < 3; i++) await requestsMs()
const baseMs = await requestsMs()
/** @type {unknown[] | undefined} */
let held = fill()
await sleep(50)
const before = rssMib()
if (held.length > 0) held = undefined
const startMs = performance.now()
if (way === 'gc()') findGc()?.()
else await collectGarbage(way === 'minor' ? 'minor' : 'major', () => performance.now())
const ms = performance.now() - startMs
await sleep(300)
const after = rssMib()
console.log(JSON.stringify({ before, after, ms, slower: (await requestsMs()) / baseMs }))
agent.destroy()
server.close()
