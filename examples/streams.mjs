/**
 * Blocks that are sent: as answers of an HTTP server, as bodies of uploads, into files, and compressed. Each block ends when its bytes
 * are sent. Clients that read slowly and clients that hang up come in between.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGzip, gunzipSync } from 'node:zlib'
import { Arena } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'
import { request as requestBy } from 'undici'

const MIB = 2 ** 20
const arena = new Arena({ name: 'streams', limitBytes: 256 * MIB })
const shaOf = bytes => createHash('sha256').update(bytes).digest('hex')

/** What was made, by its digest. */
const made = new Set()

/** Makes an answer of some MiB in a block. */
function makeReport() {
  const block = randomFillSync(arena.allocUnsafe(1 + Math.floor(4 * MIB * Math.random())))
  made.add(shaOf(block))
  return block
}

// #region answer
/** Sends a report. Whether the client reads it all or hangs up: the block ends, and `pipeline` says what happened. */
async function sendReport(response) {
  const report = makeReport()
  response.writeHead(200, { 'content-length': report.length })
  await pipeline(arena.stream(report), response)
}
// #endregion

// #region gzip
/** Compresses a report on the way. `createGzip` gets copies of 64 KiB, so the block may end before the client has its bytes. */
async function sendPacked(response) {
  response.writeHead(200, { 'content-encoding': 'gzip' })
  await pipeline(arena.stream(makeReport()), createGzip({ level: 1 }), response)
}
// #endregion

// #region file
/** Writes several blocks into one file, one behind the other. */
const save = (blocks, path) => pipeline(arena.stream(blocks), createWriteStream(path))
// #endregion

// #region upload
/** Uploads a block by undici. The length is told, since a stream has none. */
async function upload(url, block) {
  const headers = { 'content-length': String(block.length) }
  const { statusCode, body } = await requestBy(url, { method: 'PUT', headers, body: arena.stream(block) })
  await body.dump()
  return statusCode
}

/** The same by the `fetch` of Node, in chunks. */
async function uploadByFetch(url, block) {
  const { status } = await fetch(url, { method: 'PUT', body: arena.stream(block), duplex: 'half' })
  return status
}
// #endregion

let cut = 0
async function answer(request, response) {
  if (request.method === 'PUT') {
    const chunks = await request.toArray()
    response.writeHead(made.has(shaOf(Buffer.concat(chunks))) ? 201 : 400).end()
  } else if (request.url === '/packed') await sendPacked(response)
  else await sendReport(response)
}

const server = createServer((request, response) => answer(request, response).catch(() => cut++))
server.listen(0)
await once(server, 'listening')
const url = `http://localhost:${server.address().port}/`

/** Reads slowly. Returns whether the report arrived whole. */
async function download(path, unpack) {
  const [response] = await once(get(`${url}${path}`), 'response')
  const chunks = []
  for await (const chunk of response) {
    chunks.push(chunk)
    if (chunks.length % 16 === 0) await sleep(2)
  }
  return made.has(shaOf(unpack(Buffer.concat(chunks))))
}

async function hangUp(path) {
  const [response] = await once(get(`${url}${path}`), 'response')
  response.once('data', () => response.destroy())
  response.on('error', () => {})
  await once(response, 'close')
}

const folder = await mkdtemp(join(tmpdir(), 'offheap-streams-'))
async function saveAndCompare(name) {
  const blocks = [makeReport(), makeReport(), makeReport()]
  const sha256 = shaOf(Buffer.concat(blocks))
  const path = join(folder, name)
  await save(blocks, path)
  return shaOf(await readFile(path)) === sha256
}

let right = 0
for (let round = 0; round < 5; round++) {
  const results = await Promise.all([
    download('report', bytes => bytes),
    download('packed', gunzipSync),
    saveAndCompare(`${round}`),
    upload(url, makeReport()).then(status => status === 201),
    uploadByFetch(url, makeReport()).then(status => status === 201),
    hangUp('report'),
    hangUp('packed'),
  ])
  right += results.filter(result => result === true).length
}
await assertNoLiveBlocks({ withinMs: 30_000 })
console.log(`${right} of 25 transfers arrived whole, and clients hung up in 10 others; no block is live`)

server.close()
server.closeAllConnections()
await arena.closeWhenIdle()
await rm(folder, { recursive: true })
// A short report may be sent whole before its client hangs up.
if (right !== 25 || cut > 10) process.exitCode = 1
