/**
 * A server that sends a file through blocks of 256 KiB, to slow clients and to clients that hang up. Each block is free when
 * the kernel has its bytes.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { createServer, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'

const arena = new Arena({ name: 'downloads', limitBytes: 32 * 2 ** 20 })

// #region write
/** Writes `bytes`. Resolves when `writable` needs them no longer: the kernel has them, or the connection is gone. */
function write(writable, bytes) {
  return new Promise((resolve, reject) => {
    const onClose = () => reject(new Error('the connection closed'))
    writable.once('close', onClose)
    writable.write(bytes, error => {
      writable.off('close', onClose)
      if (error) reject(error)
      else resolve()
    })
  })
}
// #endregion

// #region send
/** Sends a file through one block. Waiting for each write also keeps a slow client from filling the memory. */
async function sendFile(path, response) {
  const file = await open(path)
  const block = arena.allocUnsafe(256 * 1024)
  try {
    for (;;) {
      const { bytesRead } = await arena.lend(block, bytes => file.read(bytes, 0, bytes.length))
      if (bytesRead === 0) break
      await arena.lend(block, bytes => write(response, bytes.subarray(0, bytesRead)))
    }
    response.end()
  } finally {
    arena.free(block)
    await file.close()
  }
}
// #endregion

const folder = await mkdtemp(join(tmpdir(), 'offheap-downloads-'))
const path = join(folder, 'file')
const content = randomBytes(16_000_000)
await writeFile(path, content)
const sha256 = createHash('sha256').update(content).digest('hex')

let cut = 0
const server = createServer((_, response) => {
  sendFile(path, response).catch(() => {
    // A client hung up. Its block is freed already.
    cut++
    response.destroy()
  })
})
server.listen(0)
await once(server, 'listening')
const url = `http://localhost:${server.address().port}/`

/** Reads slowly. Returns whether the file arrived whole. */
async function download() {
  const [response] = await once(get(url), 'response')
  const hash = createHash('sha256')
  for await (const chunk of response) {
    hash.update(chunk)
    if (chunk[0] < 8) await sleep(10)
  }
  return hash.digest('hex') === sha256
}

async function hangUp() {
  const [response] = await once(get(url), 'response')
  response.once('data', () => response.destroy())
  response.on('error', () => {})
  await once(response, 'close')
}

const results = await Promise.all([
  ...Array.from({ length: 8 }, download),
  ...Array.from({ length: 8 }, hangUp),
])
const whole = results.filter(result => result === true).length
await assertNoLiveBlocks({ withinMs: 30_000 })
console.log(
  `${whole} of 8 downloads arrived whole, ${cut} of 8 others were cut off by their clients; no block is live`,
)

server.close()
server.closeAllConnections()
await arena.closeWhenIdle()
await rm(folder, { recursive: true })
if (whole !== 8 || cut !== 8) process.exitCode = 1
