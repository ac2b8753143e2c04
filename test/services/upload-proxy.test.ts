import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { createUploadProxy } from '../../examples/services/upload-proxy.mjs'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { ARENAS, listen, Running } from './running.js'

const MIB = 2 ** 20
const CLIENTS = 8

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The server behind the proxy. It keeps the hash of what arrived whole, and fails as its path says. */
class Storage {
  readonly stored = new Set<string>()
  readonly server: Server = createServer(async (request, response) => {
    if (request.url?.startsWith('/hangs-up') === true) return request.destroy()
    if (request.url?.startsWith('/refuses') === true) return response.writeHead(507).end()
    const bytes = gunzipSync(await bytesOf(request))
    if (request.url?.startsWith('/slow') === true) await sleep(20)
    if (hashOf(bytes) === request.headers['x-sha256']) this.stored.add(hashOf(bytes))
    return response.writeHead(201).end()
  })

  stop(): void {
    this.server.close()
    this.server.closeAllConnections()
  }
}

/** Half of it can be compressed. */
function makeBody(sizeBytes: number): Buffer {
  return Buffer.concat([randomBytes(sizeBytes >>> 1), Buffer.alloc(sizeBytes - (sizeBytes >>> 1))])
}

/** One upload, now and then one that breaks off or cannot be stored. Throws if the answer is wrong. */
async function uploadAnything(running: Running, storage: Storage, random: Random): Promise<void> {
  const body = makeBody(random.size(2 * MIB))
  if (random.oneIn(6)) return running.hangUp('/a', { method: 'PUT', body }, random.below(20))
  const where = random.pick(['/fast', '/fast', '/slow', '/refuses', '/hangs-up'])
  const { status, body: answer } = await running.ask(where, { method: 'PUT', body })
  if (where === '/refuses' || where === '/hangs-up') {
    expect(status).toBe(502)
    return
  }
  expect(status).toBe(201)
  const { sha256, bytes, packedBytes } = JSON.parse(answer.toString())
  expect({ sha256, bytes }).toEqual({ sha256: hashOf(body), bytes: body.length })
  expect(packedBytes).toBeLessThan(body.length + 100)
  expect(storage.stored).toContain(sha256)
}

/** A proxy before `storage`. */
async function startProxy(storage: Storage, options = {}): Promise<Running> {
  const upstream = await listen(storage.server)
  return Running.start(arena => createUploadProxy({ arena, upstream }), options)
}

describe('the upload proxy', () => {
  it.each(ARENAS)('stores each upload whole, or says that it did not: %j', async options => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const storage = new Storage()
    const running = await startProxy(storage, options)
    const steps = stepsOf(36, 3)
    try {
      await Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          for (let step = 0; step < steps; step++) await uploadAnything(running, storage, random)
        }),
      )
    } catch (error) {
      throw new Error(`with ${variablesOf(seed)}`, { cause: error })
    }
    await running.stop()
    storage.stop()
  })

  it('sends an upload again if the other server had closed the connection', async () => {
    const storage = new Storage()
    // Each connection is good for one request, but does not say so.
    storage.server.on('request', (request, response) => {
      response.on('finish', () => setImmediate(() => request.socket.destroy()))
    })
    const running = await startProxy(storage)
    for (let upload = 0; upload < 10; upload++) {
      const body = makeBody(1000 + upload)
      expect((await running.ask('/a', { method: 'PUT', body })).status).toBe(201)
      expect(storage.stored).toContain(hashOf(body))
    }
    await running.stop()
    storage.stop()
  })

  it('takes a body whose length is not known', async () => {
    const storage = new Storage()
    const running = await startProxy(storage)
    const body = makeBody(300_000)
    const { status } = await running.ask('/a', {
      method: 'PUT',
      body,
      headers: { 'transfer-encoding': 'chunked' },
    })
    expect(status).toBe(201)
    expect(storage.stored).toContain(hashOf(body))
    await running.stop()
    storage.stop()
  })

  it('refuses what is too long, and what there is no memory for', async () => {
    const storage = new Storage()
    const running = await startProxy(storage, { limitBytes: 4 * MIB })
    const statusFor = async (sizeBytes: number) =>
      (await running.ask('/a', { method: 'PUT', body: Buffer.alloc(sizeBytes) })).status
    expect(await statusFor(16 * MIB + 1)).toBe(413)
    expect(await statusFor(8 * MIB)).toBe(503)
    expect(await statusFor(MIB)).toBe(201)
    await running.stop()
    storage.stop()
  })

  it('says that the other server is not there', async () => {
    const storage = new Storage()
    const running = await startProxy(storage)
    storage.stop()
    expect((await running.ask('/a', { method: 'PUT', body: Buffer.alloc(10) })).status).toBe(502)
    await running.stop()
  })
})
