/**
 * Streams that fail at random: the program destroys them or their destination, or the peer hangs up, at any moment. What
 * arrived is a prefix of what was sent, and no block is left.
 */
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer as createHttpServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, pipeline, type Readable, type Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { mark, turns } from '../support/world.js'

const MIB = 2 ** 20
const STEPS = stepsOf(300, 6)
const LIMIT_MS = 300_000

/** Where a stream goes. */
interface Route {
  readonly sink: Writable
  /** What is behind the sink, if anything is. It ends with the test. */
  readonly behind?: Writable
  /** What has arrived; to be called when all is over. */
  arrived(): Promise<Buffer>
  hangUp(): void
}

let server: Server
let httpServer: ReturnType<typeof createHttpServer>
let folder: string
let files = 0

const portOf = (of: Server | typeof httpServer): number => (of.address() as AddressInfo).port

beforeAll(async () => {
  server = createServer({ pauseOnConnect: true }).listen(0)
  httpServer = createHttpServer().listen(0)
  await Promise.all([once(server, 'listening'), once(httpServer, 'listening')])
  folder = await mkdtemp(join(tmpdir(), 'offheap-failures-'))
})

afterAll(async () => {
  server.close()
  httpServer.close()
  httpServer.closeAllConnections()
  await rm(folder, { recursive: true })
})

const closeOf = (stream: Readable | Writable): Promise<void> =>
  new Promise(resolve => stream.once('close', resolve))

/** Gathers what comes, and settles when no more can come. */
function gather(source: Readable): () => Promise<Buffer> {
  const chunks: Buffer[] = []
  source.on('data', chunk => chunks.push(chunk))
  source.on('error', () => {})
  source.resume()
  const over = closeOf(source)
  return async () => {
    await over
    return Buffer.concat(chunks)
  }
}

async function socketRoute(): Promise<Route> {
  const sink = connect(portOf(server))
  sink.on('error', () => {})
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(sink, 'connect')])) as [[Socket], []]
  return { sink, arrived: gather(peer), hangUp: () => peer.destroy() }
}

async function responseRoute(): Promise<Route> {
  const request = get({ port: portOf(httpServer), agent: false })
  request.on('error', () => {})
  const [, sink] = (await once(httpServer, 'request')) as [IncomingMessage, ServerResponse]
  sink.flushHeaders()
  const [message] = (await once(request, 'response')) as [IncomingMessage]
  return { sink, arrived: gather(message), hangUp: () => request.destroy() }
}

async function fileRoute(): Promise<Route> {
  const path = join(folder, `${files++}`)
  const sink = createWriteStream(path)
  await once(sink, 'open')
  const closed = closeOf(sink)
  const arrived = async (): Promise<Buffer> => {
    await closed
    return readFile(path)
  }
  return { sink, arrived, hangUp: () => sink.destroy(new Error('the disk is gone')) }
}

async function throughRoute(): Promise<Route> {
  const route = await socketRoute()
  const sink = new PassThrough({ highWaterMark: MIB })
  pipeline(sink, route.sink, () => {})
  return { ...route, sink, behind: route.sink }
}

const ROUTES = { socketRoute, responseRoute, fileRoute, throughRoute }

class Session {
  readonly #arena: Arena
  readonly #random: Random
  readonly counts = new Map<string, number>()

  constructor(arena: Arena, random: Random) {
    this.#arena = arena
    this.#random = random
  }

  async step(): Promise<void> {
    const random = this.#random
    const name = random.pick(Object.keys(ROUTES)) as keyof typeof ROUTES
    const route = await ROUTES[name]()
    const blocks = Array.from({ length: 1 + random.below(6) }, (_, i) => {
      const block = this.#arena.allocUnsafe(random.size(random.oneIn(3) ? 4 * MIB : MIB))
      mark(block, random.below(2 ** 30) + i)
      return block
    })
    const expected = Buffer.concat(blocks)
    const stream = this.#arena.stream(blocks)
    stream.on('error', () => {})
    route.sink.on('error', () => {})
    if (random.oneIn(2)) pipeline(stream, route.sink, () => {})
    else stream.pipe(route.sink)
    const closed = closeOf(stream)
    const isWhole = await this.#disturb(name, stream, route)
    await closed
    if (!isWhole) {
      route.sink.destroy()
      route.behind?.destroy()
    }
    const arrived = await route.arrived()
    expect(expected.subarray(0, arrived.length).equals(arrived), `${name}: a prefix`).toBe(true)
    if (isWhole) expect(arrived.length).toBe(expected.length)
    for (let i = 0; this.#arena.stats().liveBlocks > 0 && i < 1_000; i++) await turns(1)
    this.#arena.check()
    expect(this.#arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  }

  /** Does something to a stream that is under way. Returns whether all must arrive. */
  async #disturb(name: string, stream: Readable, { sink, hangUp }: Route): Promise<boolean> {
    const random = this.#random
    const what = random.pick(['nothing', 'destroy', 'fail', 'close the sink', 'hang up', 'listen', 'pause'])
    this.#did(`${name}: ${what}`)
    const wait = random.below(12)
    for (let i = 0; i < wait; i++) {
      await turns(1)
      // Memory that came free is used again at once.
      const other = this.#arena.allocUnsafe(1 + random.size(2 * MIB)).fill(0x77)
      this.#arena.free(other)
    }
    if (what === 'destroy') stream.destroy()
    else if (what === 'fail') stream.destroy(new Error('mine'))
    else if (what === 'close the sink') sink.destroy()
    else if (what === 'hang up') hangUp()
    else if (what === 'listen') stream.on('data', () => {})
    else if (what === 'pause') stream.pause()
    if (what === 'pause') setImmediate(() => stream.resume())
    return what === 'nothing' || what === 'listen' || what === 'pause'
  }

  #did(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }
}

const KINDS: [string, ArenaOptions][] = [
  ['by default', {}],
  ['with debug', { debug: true, leaks: 'all' }],
  ['with every block detached', { detachFromBytes: 0, releaseAfterMs: 0 }],
]

describe.each(KINDS)('streams of an arena %s', { timeout: LIMIT_MS }, (_, options) => {
  it(`leave nothing behind after ${STEPS} failures`, async () => {
    const seed = fuzzSeed()
    const arena = new Arena({ name: 'failing', ...options })
    const session = new Session(arena, randomFrom(seed))
    for (let step = 0; step < STEPS; step++) {
      try {
        await session.step()
      } catch (error) {
        throw new Error(`${variablesOf(seed)}: step ${step}: ${(error as Error).message}`, { cause: error })
      }
    }
    arena.close()
  })
})
