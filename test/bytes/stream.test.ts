/** `arena.stream`: what it takes over, what arrives at real receivers, and when blocks end. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { PassThrough, type Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { someOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { thrownBy, turns } from '../support/world.js'
import { digestOf, OTHERS, openSocket, openStalled, SINKS } from './receivers.js'

const MIB = 2 ** 20
const SIZES = [0, 5, 3_000, 20_000, 70_000, 300_000, 100, 2.5 * MIB, 7]
const LIMIT_MS = 120_000

const KINDS: [string, ArenaOptions][] = [
  ['by default', {}],
  ['with debug', { debug: true, leaks: 'all' }],
  ['with every block detached', { detachFromBytes: 0 }],
  ['with no block detached', { detachFromBytes: Number.POSITIVE_INFINITY, releaseAfterMs: 0 }],
  ['without the addon', { source: 'heap' }],
  ['wiped', { wipeOnFree: true, trackOwners: true }],
]

let arena: Arena
let stopsChurning = (): void => {}

function open(options: ArenaOptions = {}): Arena {
  arena = new Arena({ name: 'subject', ...options })
  return arena
}

afterEach(async () => {
  stopsChurning()
  await arena.closeWhenIdle()
  arena.check()
})

/** Uses memory that came free at once, all the time. */
function churn(random: Random): void {
  let isOver = false
  stopsChurning = () => {
    isOver = true
  }
  const again = (): void => {
    if (isOver) return
    const blocks = Array.from({ length: 6 }, () => arena.allocUnsafe(1 + random.size(3 * MIB)).fill(0x77))
    for (const block of blocks) arena.free(block)
    if (random.oneIn(10)) arena.trim()
    setImmediate(again)
  }
  again()
}

/** Blocks of all kinds with random bytes, and a copy of these bytes. */
function blocksFrom(random: Random): { blocks: Buffer[]; bytes: Buffer } {
  const blocks = SIZES.map(sizeBytes => {
    const block = arena.allocUnsafe(sizeBytes)
    for (let i = 0; i < sizeBytes; i += 1 + (i >> 4)) block[i] = random.below(256)
    return block
  })
  return { blocks, bytes: Buffer.concat(blocks) }
}

/** Reads a stream to its end and drops the bytes. */
async function drain(stream: Readable): Promise<void> {
  stream.resume()
  await once(stream, 'close')
}

/** Waits for what comes; a test that waits in vain ends by its own limit. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turns(1)
}

const codeOf = (call: () => unknown): string | undefined => thrownBy(call)?.code

describe.each(KINDS)('a stream of an arena %s', { timeout: LIMIT_MS }, (_, options) => {
  it.each(someOf(Object.entries({ ...SINKS, ...OTHERS }), 4))('arrives whole: %s', async (_, receive) => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    open(options)
    const { blocks, bytes } = blocksFrom(random)
    churn(random)
    const stream = arena.stream(blocks)
    const closed = once(stream, 'close')
    const arrived = await receive(stream, bytes.length)
    expect(arrived.equals(bytes), `bytes (${variablesOf(seed)})`).toBe(true)
    await closed
    stopsChurning()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  })

  it('is hashed as the blocks are', async () => {
    const random = randomFrom(fuzzSeed())
    open(options)
    const { blocks, bytes } = blocksFrom(random)
    churn(random)
    expect(await digestOf(arena.stream(blocks))).toBe(createHash('sha256').update(bytes).digest('hex'))
  })
})

describe('a pipe to a socket', () => {
  /** What is written to sockets while `run` takes. */
  async function writtenDuring(run: () => Promise<unknown>): Promise<[ArrayBufferLike, number][]> {
    const written: [ArrayBufferLike, number][] = []
    const { _write } = Socket.prototype
    Socket.prototype._write = function (chunk, ...rest) {
      written.push([chunk.buffer, chunk.length])
      return _write.call(this, chunk, ...rest)
    }
    try {
      await run()
    } finally {
      Socket.prototype._write = _write
    }
    return written
  }

  it('writes views of the blocks, and copies of short ones', async () => {
    open({ detachFromBytes: 0 })
    const sizes = [100, 200, 100_000, 3 * MIB, 300]
    const blocks = sizes.map((size, index) => arena.alloc(size).fill(index + 1))
    const memories = blocks.map(({ buffer }) => buffer)
    const { socket, arrived, close } = await openSocket()
    const written = await writtenDuring(async () => {
      await pipeline(arena.stream(blocks), socket)
      close()
    })
    const places = written.map(([memory, length]) => [memories.indexOf(memory as ArrayBuffer), length])
    const first = 65_536 - 300
    expect(places).toEqual([
      [-1, 65_536],
      [2, 100_000 - first],
      [3, MIB],
      [3, MIB],
      [3, MIB],
      [-1, 300],
    ])
    const expected = Buffer.concat(sizes.map((size, index) => Buffer.alloc(size, index + 1)))
    expect((await arrived).equals(expected)).toBe(true)
  })

  it('ends each block when its last byte was written', async () => {
    open()
    const { socket, peer, close } = await openStalled()
    const stream = arena.stream([arena.alloc(MIB), arena.alloc(30 * MIB), arena.alloc(MIB)])
    stream.pipe(socket)
    await until(() => arena.stats().liveBlocks === 2)
    await turns(20)
    expect(arena.stats().liveBlocks).toBe(2)
    const closed = once(stream, 'close').then(() => arena.stats().liveBlocks)
    peer.resume()
    expect(await closed).toBe(0)
    close()
  })

  const ASKING: [string, (stream: Readable) => unknown][] = [
    ['a listener for data', stream => stream.on('data', () => {})],
    [
      'a listener for readable',
      stream => stream.once('readable', () => stream.on('data', () => {}).resume()),
    ],
    ['another pipe', stream => stream.pipe(new Writable({ write: (_, __, done) => done() }))],
    ['a pause', stream => stream.pause() && setImmediate(() => stream.resume())],
    ['an unpipe', stream => stream.unpipe() && setImmediate(() => stream.pipe(target))],
  ]
  let target: Socket

  it.each(ASKING)('goes on with copies after %s', async (_, ask) => {
    const random = randomFrom(fuzzSeed())
    open({ detachFromBytes: 0 })
    const { socket, arrived, close } = await openSocket()
    target = socket
    const { blocks, bytes } = blocksFrom(random)
    churn(random)
    const stream = arena.stream(blocks).pause().resume()
    stream.destroy()
    const again = blocksFrom(random)
    const second = arena.stream(again.blocks)
    second.pipe(socket)
    await turns(2)
    ask(second)
    const received = await arrived
    expect([received.length, received.equals(again.bytes)]).toEqual([bytes.length, true])
    stopsChurning()
    expect(arena.stats().liveBlocks).toBe(0)
    close()
  })

  it('keeps to what pipe of Node does', async () => {
    open()
    const { socket, arrived, close } = await openSocket()
    const events: string[] = []
    for (const name of ['pipe', 'unpipe', 'finish']) socket.on(name, () => events.push(name))
    const stream = arena.stream(arena.alloc(MIB))
    expect(stream.pipe(socket, { end: false })).toBe(socket)
    expect(events).toEqual(['pipe'])
    await once(stream, 'close')
    expect(events).toEqual(['pipe', 'unpipe'])
    expect(socket.writableEnded).toBe(false)
    const listeners = socket.listenerCount('close')
    for (let i = 0; i < 20; i++) {
      const next = arena.stream(arena.alloc(100_000))
      next.pipe(socket, { end: false })
      await once(next, 'close')
    }
    expect(socket.listenerCount('close')).toBe(listeners)
    arena.stream(arena.alloc(MIB)).pipe(socket)
    expect(await arrived).toHaveLength(2 * MIB + 20 * 100_000)
    expect(events.at(-1)).toBe('finish')
    close()
  })
})

describe('stream', () => {
  it('takes one Buffer, or any iterable of them', async () => {
    open()
    for (const list of [(b: Buffer[]) => new Set(b), (b: Buffer[]) => b.values(), (b: Buffer[]) => b]) {
      const stream = arena.stream(list([arena.alloc(3).fill('a'), arena.alloc(2).fill('b')]))
      expect(Buffer.concat((await stream.toArray()) as Buffer[]).toString()).toBe('aaabb')
    }
    const stream = arena.stream(arena.alloc(2).fill('c'))
    expect(String(await stream.toArray())).toBe('cc')
    expect(await arena.stream([]).toArray()).toEqual([])
    expect(await arena.stream(arena.alloc(0)).toArray()).toEqual([])
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('spends the owners at once, and leaves their memory', async () => {
    open({ debug: true })
    const scope = arena.scope()
    const [block, other] = [scope.alloc(64).fill(5), arena.alloc(100_000).fill(6)]
    arena.pin(other)
    const stream = arena.stream([block, other])
    scope.end()
    for (const buffer of [block, other]) {
      expect(codeOf(() => arena.free(buffer))).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(codeOf(() => arena.stream(buffer))).toBe('ERR_ARENA_DOUBLE_FREE')
    }
    expect(codeOf(() => arena.unpin(block))).toBe('ERR_ARENA_NOT_PINNED')
    expect(codeOf(() => arena.close())).toBe('ERR_ARENA_PINNED')
    arena.reset()
    expect(arena.stats()).toMatchObject({ liveBlocks: 2, pinnedBlocks: 2 })
    const [bytes] = (await stream.toArray()) as Buffer[]
    expect(bytes.equals(Buffer.concat([Buffer.alloc(64, 5), Buffer.alloc(65_472, 6)]))).toBe(true)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, pinnedBlocks: 1 })
    arena.unpin(other)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  })

  it('takes nothing over where one of the Buffers is refused', () => {
    open()
    const other = new Arena()
    const good = [arena.alloc(64), arena.alloc(100_000), arena.alloc(0)]
    const spent = arena.alloc(64)
    arena.free(spent)
    const before = arena.stats()
    const refused: [unknown, string][] = [
      [[...good, spent], 'ERR_ARENA_DOUBLE_FREE'],
      [[...good, good[1]], 'ERR_INVALID_ARG_VALUE'],
      [[...good, good[1].subarray(1)], 'ERR_ARENA_NOT_OWNER'],
      [[...good, Buffer.alloc(4)], 'ERR_ARENA_FOREIGN_BUFFER'],
      [[...good, other.alloc(4)], 'ERR_ARENA_FOREIGN_BUFFER'],
      [[...good, undefined], 'ERR_INVALID_ARG_TYPE'],
      ['text', 'ERR_INVALID_ARG_TYPE'],
      [5, 'ERR_INVALID_ARG_TYPE'],
      [null, 'ERR_INVALID_ARG_TYPE'],
      [{}, 'ERR_INVALID_ARG_TYPE'],
      [good[1].buffer, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [buffers, code] of refused) expect(codeOf(() => arena.stream(buffers as Buffer))).toBe(code)
    function* ending() {
      yield* good
      arena.free(good[0])
    }
    expect(arena.stats()).toEqual(before)
    expect(codeOf(() => arena.stream(ending()))).toBe('ERR_ARENA_DOUBLE_FREE')
    expect(arena.stats()).toMatchObject({ liveBlocks: 2, pinnedBlocks: 0 })
    other.close()
  })

  it('refuses after close, and works until then', async () => {
    const arena = open()
    const stream = arena.stream(arena.alloc(100_000))
    const block = arena.alloc(64)
    const closed = arena.closeWhenIdle()
    const second = arena.stream(block)
    await drain(stream)
    await drain(second)
    await closed
    expect(codeOf(() => arena.stream([]))).toBe('ERR_ARENA_CLOSED')
    expect(codeOf(() => arena.stream(block))).toBe('ERR_ARENA_CLOSED')
  })

  it('ends its blocks where it is destroyed, or a reader stops', async () => {
    open()
    const error = new Error('mine')
    const stream = arena.stream([arena.alloc(100_000), arena.alloc(64)])
    stream.destroy(error)
    expect(arena.stats().liveBlocks).toBe(0)
    expect(await once(stream, 'error')).toEqual([error])
    for await (const chunk of arena.stream([arena.alloc(100_000), arena.alloc(64)])) {
      expect(chunk).toHaveLength(65_536)
      break
    }
    await turns()
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('ends its blocks where the destination closes', async () => {
    open()
    const { socket, close } = await openSocket()
    const sinks = [socket, new PassThrough(), new Writable({ write: () => {} })]
    for (const sink of sinks) {
      sink.on('error', () => {})
      const stream = arena.stream([arena.alloc(20 * MIB), arena.alloc(64)])
      stream.pipe(sink)
      await turns(4)
      expect(arena.stats().liveBlocks).toBe(2)
      const closed = once(stream, 'close')
      sink.destroy()
      await closed
      await turns(4)
      expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
    }
    // One that is closed already.
    const stream = arena.stream(arena.alloc(100_000))
    stream.pipe(socket)
    await once(stream, 'close')
    expect(arena.stats().liveBlocks).toBe(0)
    close()
  })

  it('fails where other code took the memory of a block', async () => {
    open({ detachFromBytes: 0 })
    const block = arena.alloc(100_000)
    const stream = arena.stream([arena.alloc(10), block])
    const taken = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(block) })
    await taken.getReader().read()
    await expect(stream.toArray()).rejects.toMatchObject({ code: 'ERR_ARENA_DETACHED' })
    expect(arena.stats().pinnedBlocks).toBe(0)
  })
})
