/**
 * `node --expose-gc child.mjs CASE`: one case of `npm run bench:report` in a process of its own. Prints a report of itself and what one costs, as JSON.
 */
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Arena, memoryReport } from 'offheap'

const MIB = 2 ** 20
const CALLS = 20
/** @type {unknown[]} */
const held = []

async function serve() {
  const server = http.createServer((request, response) => {
    /** @type {Buffer[]} */
    const chunks = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => response.end(String(Buffer.concat(chunks).length)))
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  // The clients are a process of their own.
  const text = `
    const agent = new http.Agent({ keepAlive: true, maxSockets: 32 })
    const body = Buffer.alloc(65536, 1)
    let left = 5000
    const send = () => {
      if (left-- <= 0) return
      http.request({ port: ${port}, method: 'POST', agent }, r => r.resume().on('end', send)).end(body)
    }
    for (let i = 0; i < 32; i++) send()`
  const { spawn } = await import('node:child_process')
  const client = spawn(process.execPath, ['-e', `const http = require('node:http'); ${text}`], {
    stdio: 'inherit',
  })
  setTimeout(() => client.kill(), 60_000).unref()
  await new Promise(resolve => client.on('close', resolve))
  server.close()
  await sleep(2000)
}

/** @type {Record<string, () => unknown>} */
const CASES = {
  fresh: () => {},
  'one Worker more': async () => {
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true })
    await new Promise(resolve => worker.once('online', resolve))
    await sleep(500)
  },
  '240 MiB of Buffers, 1 in 64 kept': async () => {
    /** @type {(Buffer | null)[]} */
    const buffers = Array.from({ length: 3840 }, () => Buffer.allocUnsafeSlow(65536).fill(1))
    for (let i = 0; i < buffers.length; i++) if (i % 64 !== 0) buffers[i] = null
    held.push(buffers)
    await collect()
  },
  'the same in an arena': async () => {
    const arena = new Arena({ name: 'bench' })
    const blocks = Array.from({ length: 3840 }, () => arena.alloc(65536).fill(1))
    for (const [i, block] of blocks.entries()) if (i % 64 !== 0) arena.free(block)
    held.push(
      arena,
      blocks.filter((_, i) => i % 64 === 0),
    )
    await collect()
    await sleep(1500)
  },
  '5,000 uploads of 64 KiB, idle for 2 s': serve,
  '500 MiB of Buffers of 2 KiB, every other one kept': async () => {
    /** @type {(Buffer | null)[]} */
    const buffers = Array.from({ length: 256_000 }, () => Buffer.allocUnsafeSlow(2048).fill(1))
    for (let i = 0; i < buffers.length; i += 2) buffers[i] = null
    held.push(buffers)
    await collect()
  },
  '1 GiB in Buffers of 64 KiB': () => {
    for (let i = 0; i < 16384; i++) held.push(Buffer.allocUnsafeSlow(65536).fill(1))
  },
  '1 GiB in an arena': () => {
    const arena = new Arena({ name: 'bench' })
    for (let i = 0; i < 1024; i++) held.push(arena.alloc(MIB).fill(1))
  },
  '2,000 arenas': () => {
    for (let i = 0; i < 2000; i++) {
      const arena = new Arena()
      held.push(arena, arena.alloc(100_000).fill(1))
    }
  },
}

async function collect() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(50)
  }
}

const look = CASES[process.argv[2]]
await look()
let report = memoryReport()
const before = process.cpuUsage()
for (let i = 0; i < CALLS; i++) report = memoryReport()
const { user, system } = process.cpuUsage(before)
const mappings = readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1
report.arenas.list.length = 0
console.log(
  JSON.stringify({ report, cpuMs: (user + system) / 1000 / CALLS, mappings, heldCount: held.length }),
)
process.exit()
