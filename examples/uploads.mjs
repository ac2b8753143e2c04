/**
 * A server that receives uploads into blocks and forwards them to another server. Then it is put under load: forty uploads, slow
 * receivers, and clients that hang up in the middle, and a receiver that hangs up. Every upload that is answered with 201 has arrived whole, and no block
 * is left.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request as requestTo } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'

const MIB = 2 ** 20
const MOST_BYTES = 8 * MIB
const arena = new Arena({ name: 'uploads', limitBytes: 64 * MIB })

// #region put
/** Sends `bytes` by PUT. Resolves to the status of the answer, once nobody reads `bytes` any more. */
function put(url, bytes) {
  return new Promise((resolve, reject) => {
    let failure = new Error('the connection ended without an answer')
    let status
    const request = requestTo(url, { method: 'PUT', headers: { 'content-length': bytes.length } })
    request.on('response', response => {
      status = response.statusCode
      response.resume()
    })
    request.on('error', error => {
      failure = error
    })
    // 'close' is the last event: either all is sent and answered, or the connection is gone.
    request.on('close', () => (status === undefined ? reject(failure) : resolve(status)))
    request.end(bytes)
  })
}
// #endregion

// #region server
const server = createServer(async (request, response) => {
  const scope = arena.scope()
  try {
    const body = await scope.collect(request, {
      maxBytes: MOST_BYTES,
      sizeHint: Number(request.headers['content-length']),
    })
    const status = await arena.lend(body, bytes => put(storageUrl, bytes))
    response.writeHead(status === 201 ? 201 : 502).end()
  } catch (error) {
    // 413: too long. 503: the arena is full, the client may try again. Whatever happened, the scope ends below.
    const status = { ERR_ARENA_TOO_LARGE: 413, ERR_ARENA_LIMIT: 503 }[error.code] ?? 502
    // The rest of the body is not read, so the connection cannot be used again.
    response.writeHead(status, { connection: 'close' }).end()
  } finally {
    scope.end()
  }
})
// #endregion

// ---- the other server, and the load ----------------------------------------------------------------------

const stored = new Set()
const storage = createServer(async (request, response) => {
  const hash = createHash('sha256')
  let length = 0
  for await (const chunk of request) {
    hash.update(chunk)
    length += chunk.length
    if (length % 7 === 0) await sleep(5)
    // It takes no more than 3 MiB.
    if (length > 3 * MIB) return request.destroy()
  }
  stored.add(hash.digest('hex'))
  response.writeHead(201).end()
})

async function listen(server) {
  server.listen(0)
  await once(server, 'listening')
  return `http://localhost:${server.address().port}/`
}

const storageUrl = await listen(storage)
const url = await listen(server)

/** Uploads some MiB at random. Returns whether the answer was 201 and the bytes arrived whole. */
async function upload(sizeBytes) {
  const bytes = randomBytes(sizeBytes)
  const { status } = await fetch(url, { method: 'POST', body: bytes })
  return status === 201 && stored.has(createHash('sha256').update(bytes).digest('hex'))
}

/** Hangs up in the middle of an upload. */
async function hangUp() {
  const request = requestTo(url, { method: 'POST', headers: { 'content-length': 4 * MIB } })
  request.on('error', () => {})
  request.write(randomBytes(MIB))
  await sleep(20)
  request.destroy()
}

/** Uploads more than the other server takes. Returns whether the answer says so. */
async function uploadTooMuch() {
  const { status } = await fetch(url, { method: 'POST', body: randomBytes(4 * MIB) })
  return status === 502
}

let whole = 0
let refused = 0
for (let round = 0; round < 10; round++) {
  const uploads = [1, 2, 3, 4].map(i => upload((i * MIB) / 2 + round))
  const [isRefused, ...results] = await Promise.all([uploadTooMuch(), ...uploads, hangUp()])
  if (isRefused) refused++
  whole += results.filter(result => result === true).length
}
console.log(`${whole} of 40 uploads arrived whole, ${refused} of 10 were too long for the other server`)

await assertNoLiveBlocks({ withinMs: 30_000 })
const { allocations, peakCommittedBytes } = arena.stats()
console.log(
  `${allocations} blocks allocated, none is live; most held: ${Math.round(peakCommittedBytes / MIB)} MiB`,
)

for (const each of [server, storage]) {
  each.close()
  each.closeAllConnections()
}
await arena.closeWhenIdle()
if (whole !== 40 || refused !== 10) process.exitCode = 1
