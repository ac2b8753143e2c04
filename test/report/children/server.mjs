/** A server under load: reports of itself in the midst of requests. Prints them as `growth.mjs` does. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { Worker } from 'node:worker_threads'
import { memoryReport } from '#compiled/index.js'

const REQUESTS = 1500
const LOOKS = 20
const body = Buffer.alloc(100_000, 1)

function rss() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

const server = http.createServer((request, response) => {
  const hash = createHash('sha256')
  request.on('data', chunk => hash.update(chunk))
  request.on('end', () => response.end(hash.digest('hex')))
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address()
const agent = new http.Agent({ keepAlive: true, maxSockets: 32 })
const workers = [1, 2].map(
  () =>
    new Worker(
      'const held = []; setInterval(() => { held[held.length % 64] = Buffer.alloc(50_000, 1); held.push({}) }, 1)',
      { eval: true },
    ),
)
await Promise.all(workers.map(worker => new Promise(resolve => worker.once('online', resolve))))

function request() {
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', method: 'POST', agent }
    const sent = http.request(options, response => response.resume().on('end', resolve))
    sent.on('error', reject).end(body)
  })
}

const looks = []
let done = 0
let inFlight = 0
async function client() {
  while (done < REQUESTS) {
    done++
    inFlight++
    await request()
    inFlight--
    if (looks.length < LOOKS && done > (looks.length + 1) * (REQUESTS / (LOOKS + 2))) {
      const before = rss()
      const report = memoryReport()
      looks.push({ step: `${inFlight} in flight`, report, rss: [before, rss()] })
    }
  }
}
memoryReport()
await Promise.all(Array.from({ length: 32 }, client))
console.log(JSON.stringify(looks))
process.exit()
