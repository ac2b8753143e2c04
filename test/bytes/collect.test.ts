/** `collect`: whole bodies of each kind of source, and what is left of the failed ones, which is nothing. */
import { Duplex, PassThrough, Readable, Transform } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { CollectOptions } from '../../src/bytes/options.js'
import type { ByteStream } from '../../src/bytes/sources.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { open, thrownBy, turns } from '../support/world.js'
import { liveBlocksOf, PLACES, rejectionOf } from './places.js'
import { FEEDS, randomChunks, SOURCE_FAULT } from './streams.js'

const MIB = 2 ** 20

describe.each(PLACES)('collect, %s', (_, place) => {
  it.each(FEEDS)('reads all bytes of %s', async (_, feed) => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const { arena, by } = place()
    for (let i = 0; i < stepsOf(150, 10); i++) {
      const chunks = randomChunks(random, random.oneIn(8) ? 2 * MIB : 100_000)
      const whole = Buffer.concat(chunks)
      const options: CollectOptions = {
        maxBytes: whole.length + random.pick([0, 1, 1_000, Number.POSITIVE_INFINITY]),
      }
      if (random.oneIn(2))
        options.sizeHint = random.pick([0, Number.NaN, whole.length, random.size(4 * MIB), 2 ** 40])
      const { source, givenUp, requireReleased } = feed(chunks, 'end', random.oneIn(4))
      const body = await by.collect(source, options)
      expect(body.equals(whole), variablesOf(seed)).toBe(true)
      await turns(1)
      requireReleased()
      expect(givenUp().isGivenUp).toBe(false)
      expect(liveBlocksOf(arena)).toBe(1)
      expect(arena.stats().liveBytes).toBe(whole.length)
      arena.free(body)
    }
  })

  it('takes chunks of each kind', async () => {
    const { by } = place()
    const memory = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8).buffer
    const shared = new Uint8Array(new SharedArrayBuffer(2)).fill(9)
    const chunks = [
      memory,
      new Uint8Array(memory, 1, 2),
      new Uint16Array(memory, 2, 1),
      new DataView(memory, 6),
      new Uint8Array(0),
      new ArrayBuffer(0),
      shared,
      shared.buffer,
    ]
    for (const [, feed] of FEEDS) {
      const body = await by.collect(feed(chunks, 'end').source, { maxBytes: 100 })
      expect([...body]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 3, 4, 7, 8, 9, 9, 9, 9])
    }
  })

  it.each(FEEDS)('leaves nothing behind of %s that is too long', async (_, feed) => {
    const { arena, by } = place()
    for (const sizes of [[101], [100, 1], [1, 100_000], [50, 50, 1, 50]]) {
      const { source, givenUp, requireReleased } = feed(
        sizes.map(size => Buffer.alloc(size)),
        'hang',
      )
      const error = await rejectionOf(by.collect(source, { maxBytes: 100 }))
      expect(error?.code).toBe('ERR_ARENA_TOO_LARGE')
      expect(error?.message).toMatch(/collect\(\): the input has more than 100 bytes/)
      expect(givenUp()).toEqual({ isGivenUp: true, reason: givenUp().reason && error })
      expect(liveBlocksOf(arena)).toBe(0)
      await turns()
      requireReleased()
    }
  })

  it.each(FEEDS)('leaves nothing behind of %s that fails, closes or is aborted', async (_, feed) => {
    const { arena, by } = place()
    for (const chunks of [[], [Buffer.alloc(10)], [Buffer.alloc(100_000), Buffer.alloc(100_000)]]) {
      const failed = feed(chunks, 'fail')
      expect(await rejectionOf(by.collect(failed.source, { maxBytes: MIB }))).toBe(SOURCE_FAULT)
      const closed = await rejectionOf(by.collect(feed(chunks, 'close').source, { maxBytes: MIB }))
      expect(['ERR_STREAM_PREMATURE_CLOSE', undefined]).toContain(closed?.code)
      const { signal, abort } = aborter()
      const hanging = feed(chunks, 'hang')
      const collecting = by.collect(hanging.source, { maxBytes: MIB, signal })
      setTimeout(abort, 2)
      const error = await rejectionOf(collecting)
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: 'enough' })
      expect(hanging.givenUp().isGivenUp).toBe(true)
      expect(liveBlocksOf(arena)).toBe(0)
      await turns()
      failed.requireReleased()
      hanging.requireReleased()
    }
  })

  it.each(FEEDS)(
    'does not begin to read %s if the signal is aborted, or there are no blocks',
    async (_, feed) => {
      const { arena, by } = place()
      const aborted = feed([Buffer.alloc(10)], 'end')
      const { signal, abort } = aborter()
      abort()
      expect((await rejectionOf(by.collect(aborted.source, { maxBytes: 10, signal })))?.code).toBe(
        'ABORT_ERR',
      )
      expect(aborted.givenUp().isGivenUp).toBe(true)
      arena.close()
      const closed = feed([Buffer.alloc(10)], 'end')
      expect((await rejectionOf(by.collect(closed.source, { maxBytes: 10 })))?.code).toBe('ERR_ARENA_CLOSED')
      expect(closed.givenUp().isGivenUp).toBe(true)
      await turns()
      aborted.requireReleased()
      closed.requireReleased()
    },
  )

  it.each<[string, (arena: Arena) => unknown, string]>([
    ['reset', arena => arena.reset(), 'ERR_ARENA_DOUBLE_FREE'],
    ['closed', arena => arena.close(), 'ERR_ARENA_CLOSED'],
    ['closed when idle', arena => arena.closeWhenIdle(), 'ERR_ARENA_CLOSED'],
  ])('rejects if the arena is %s meanwhile, and harms no other block', async (_, end, code) => {
    for (const [, feed] of FEEDS) {
      for (const size of [1_000, 100_000]) {
        const { arena, by } = place()
        const { source, givenUp } = feed(
          [1, 2, 3].map(() => Buffer.alloc(size, 7)),
          'end',
          true,
        )
        let count = 0
        const counted = countedBy(source, () => {
          if (++count === 2) end(arena)
        })
        const error = await rejectionOf(by.collect(counted, { maxBytes: MIB, sizeHint: 4 * size }))
        expect(error?.code).toBe(code)
        expect(givenUp().isGivenUp).toBe(true)
        expect(liveBlocksOf(arena)).toBe(0)
      }
    }
  })
})

function aborter(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController()
  return { signal: controller.signal, abort: () => controller.abort('enough') }
}

/** The same source, as an iterable that tells before it hands on each chunk. */
function countedBy(source: ByteStream, tell: () => void): AsyncIterable<Uint8Array> {
  return (async function* () {
    for await (const chunk of source as AsyncIterable<Uint8Array>) {
      tell()
      yield chunk
    }
  })()
}

describe('collect', () => {
  it('rejects if its scope ends meanwhile, and frees the block at once', async () => {
    const { arena } = open()
    for (const [, feed] of FEEDS) {
      const scope = arena.scope()
      const { source, givenUp } = feed(
        [1, 2, 3].map(() => Buffer.alloc(100_000)),
        'end',
        true,
      )
      let count = 0
      const counted = countedBy(source, () => {
        if (++count < 3) return
        scope.end()
        expect(arena.stats().liveBlocks).toBe(0)
      })
      expect((await rejectionOf(scope.collect(counted, { maxBytes: MIB })))?.code).toBe(
        'ERR_ARENA_SCOPE_ENDED',
      )
      expect(givenUp().isGivenUp).toBe(true)
      expect(liveBlocksOf(arena)).toBe(0)
    }
  })

  it('leaves the block to the scope, which frees or keeps it', async () => {
    const { arena } = open()
    const scope = arena.scope()
    const chunks = [Buffer.alloc(1_000), Buffer.alloc(90_000), Buffer.alloc(70_000)]
    const [one, other] = [
      await scope.collect(Readable.from(chunks), { maxBytes: MIB }),
      await scope.collect(Readable.from(chunks), { maxBytes: MIB }),
    ]
    expect(scope.toJSON()).toMatchObject({ liveBlocks: 2 })
    scope.keep(other)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(1)
    expect(thrownBy(() => arena.free(one))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    arena.free(other)
  })

  it('refuses bad arguments, and leaves the source as it was', async () => {
    const { arena } = open()
    const source = Readable.from([Buffer.from('ab')])
    const faults: [unknown, unknown, string][] = [
      [source, undefined, 'ERR_INVALID_ARG_TYPE'],
      [source, {}, 'ERR_INVALID_ARG_TYPE'],
      [source, 5, 'ERR_INVALID_ARG_TYPE'],
      [source, { maxBytes: '5' }, 'ERR_INVALID_ARG_TYPE'],
      [source, { maxBytes: -1 }, 'ERR_OUT_OF_RANGE'],
      [source, { maxBytes: Number.NaN }, 'ERR_OUT_OF_RANGE'],
      [source, { maxBytes: 5, sizeHint: -1 }, 'ERR_OUT_OF_RANGE'],
      [source, { maxBytes: 5, sizeHint: null }, 'ERR_INVALID_ARG_TYPE'],
      [source, { maxBytes: 5, signal: null }, 'ERR_INVALID_ARG_TYPE'],
      [source, { maxBytes: 5, signal: {} }, 'ERR_INVALID_ARG_TYPE'],
      [source, { maxBytes: 5, limit: 7 }, 'ERR_INVALID_ARG_VALUE'],
      [undefined, { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      [null, { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      ['text', { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      [Buffer.from('bytes'), { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      [[Buffer.from('bytes')], { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      [{}, { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
      [new Response('bytes'), { maxBytes: 5 }, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [index, [from, options, code]] of faults.entries()) {
      for (const call of [arena.collect, arena.tryCollect, arena.scope().collect]) {
        const by = call === arena.scope().collect ? arena.scope() : arena
        const error = await rejectionOf(call.call(by, from as Readable, options as CollectOptions))
        expect(error?.code, `fault ${index}`).toBe(code)
      }
    }
    expect((await rejectionOf(arena.collect(source, {} as CollectOptions)))?.message).toMatch(
      /options\.maxBytes/,
    )
    expect((await arena.collect(source, { maxBytes: 2 })).toString()).toBe('ab')
  })

  it('leaves a locked stream to whoever has locked it', async () => {
    const { arena } = open()
    const stream = new Blob(['abc']).stream()
    const reader = stream.getReader()
    const error = await rejectionOf(arena.collect(stream, { maxBytes: 9 }))
    expect(error).toBeInstanceOf(TypeError)
    expect((await reader.read()).done).toBe(false)
  })

  it('refuses chunks that are not bytes', async () => {
    const { arena } = open()
    for (const chunk of ['text', 5, {}, null, [1, 2]]) {
      for (const [, feed] of FEEDS.slice(chunk === null ? 1 : 0)) {
        const { source, givenUp } = feed([Buffer.alloc(10), chunk, {}], 'end')
        const error = await rejectionOf(arena.collect(source, { maxBytes: 100 }))
        expect(error?.code).toBe('ERR_INVALID_ARG_TYPE')
        expect(givenUp().isGivenUp).toBe(true)
      }
    }
    const decoded = Readable.from([Buffer.from('abc')], { objectMode: false }).setEncoding('hex')
    const error = await rejectionOf(arena.collect(decoded, { maxBytes: 100 }))
    expect(error?.message).toMatch(/bytes, not text: read the stream without an encoding/)
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('reads streams that have ended, are paused, flow already, or are of another kind', async () => {
    const { arena } = open()
    const text = async (source: ByteStream) => (await arena.collect(source, { maxBytes: 100 })).toString()
    const make = () => Readable.from([Buffer.from('ab'), Buffer.from('c')])
    const ended = make()
    expect([await text(ended), await text(ended)]).toEqual(['abc', ''])
    expect(await text(make().pause())).toBe('abc')
    const watched = make()
    watched.on('readable', () => {})
    expect(await text(watched)).toBe('abc')
    const old = make()
    expect(await text(new Readable({ read() {} }).wrap(old))).toBe('abc')
    expect(await text(make().pipe(new PassThrough()))).toBe('abc')
    const upper = new Transform({ transform: (chunk, _, done) => done(null, String(chunk).toUpperCase()) })
    expect(await text(make().pipe(upper))).toBe('ABC')
    // Its writable side stays open.
    const duplex = new Duplex({ read() {}, write: (_, __, done) => done() })
    duplex.push('abc')
    duplex.push(null)
    expect(await text(duplex)).toBe('abc')
    duplex.destroy()
    expect(await text(new Blob(['abc']).stream())).toBe('abc')
    expect(await text(new Response('abc').body as ByteStream)).toBe('abc')
    expect(await text((async function* () {})())).toBe('')
  })

  it('rejects with the fault of a stream that was destroyed before', async () => {
    const { arena } = open()
    const destroyed = Readable.from([])
    destroyed.destroy()
    expect((await rejectionOf(arena.collect(destroyed, { maxBytes: 1 })))?.code).toBe(
      'ERR_STREAM_PREMATURE_CLOSE',
    )
    const failed = Readable.from([])
    failed.on('error', () => {})
    failed.destroy(SOURCE_FAULT)
    await turns()
    expect(await rejectionOf(arena.collect(failed, { maxBytes: 1 }))).toBe(SOURCE_FAULT)
  })

  it('lets no error of a source end the process', async () => {
    const { arena } = open()
    // Its error is emitted in a later tick, when nobody waits for it any more.
    for (const isFirst of [true, false]) {
      const { signal, abort } = aborter()
      const failing = new Readable({ read() {} })
      const collecting = arena.collect(failing, { maxBytes: 10, signal })
      if (isFirst) failing.destroy(SOURCE_FAULT)
      abort()
      if (!isFirst) failing.destroy(SOURCE_FAULT)
      expect((await rejectionOf(collecting))?.code).toBe('ABORT_ERR')
      await turns()
      expect([failing.closed, failing.listenerCount('error')]).toEqual([true, 0])
    }
    const badlyClosed = new Readable({ read() {}, destroy: (_, done) => done(SOURCE_FAULT) })
    badlyClosed.push('abc')
    badlyClosed.push(null)
    expect((await arena.collect(badlyClosed, { maxBytes: 10 })).toString()).toBe('abc')
    await turns()
    expect([badlyClosed.closed, badlyClosed.listenerCount('error')]).toEqual([true, 0])
  })

  it('goes on rejecting where a source cannot be ended either', async () => {
    const { arena } = open()
    const fail = (): never => {
      throw new Error('of the end')
    }
    const readable = new Readable({ read() {} })
    readable.push(Buffer.alloc(10))
    readable.destroy = fail
    const iterable = {
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false, value: Buffer.alloc(10) }),
        return: fail,
      }),
    }
    const web = {
      getReader: () => ({
        read: async () => ({ done: false, value: Buffer.alloc(10) }),
        cancel: fail,
        releaseLock: fail,
      }),
    }
    for (const source of [readable, iterable, web] as ByteStream[])
      expect((await rejectionOf(arena.collect(source, { maxBytes: 5 })))?.code).toBe('ERR_ARENA_TOO_LARGE')
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('takes no memory before bytes come, and then not all that a hint says', async () => {
    const { arena } = open()
    const source = new PassThrough()
    const collecting = arena.collect(source, { maxBytes: Number.POSITIVE_INFINITY, sizeHint: 2 ** 30 })
    await turns()
    expect(arena.stats().liveBytes).toBe(0)
    for (const sent of [100, 10_000, 100_000]) {
      source.write(Buffer.alloc(sent))
      await turns()
      expect(arena.stats().liveBytes).toBeLessThanOrEqual(Math.max(64 * 1024, 17 * (sent + 10_100)))
    }
    source.end()
    expect((await collecting).length).toBe(110_100)
  })

  it('resolves to undefined, and ends the source, if memory is refused to tryCollect', async () => {
    const { arena } = open({ limitBytes: MIB })
    for (const [, feed] of FEEDS) {
      for (const sizes of [[2 * MIB], [1, 2 * MIB], [300_000, 300_000, 300_000, 300_000]]) {
        const chunks = sizes.map(size => Buffer.alloc(size))
        const refused = feed(chunks, 'end')
        expect(await arena.tryCollect(refused.source, { maxBytes: 10 * MIB })).toBeUndefined()
        expect(refused.givenUp().isGivenUp).toBe(true)
        const error = await rejectionOf(arena.collect(feed(chunks, 'end').source, { maxBytes: 10 * MIB }))
        expect(error?.code).toBe('ERR_ARENA_LIMIT')
      }
      expect(await arena.tryCollect(feed([Buffer.alloc(5)], 'end').source, { maxBytes: 5 })).toHaveLength(5)
      arena.reset()
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('uses nearly all of a limit: a body need not fit twice', async () => {
    const { arena } = open({ limitBytes: 4 * MIB })
    const chunks = Array.from({ length: 54 }, () => Buffer.alloc(64 * 1024, 7))
    const body = await arena.collect(Readable.from(chunks), { maxBytes: 10 * MIB })
    expect(body.length).toBe(54 * 64 * 1024)
    arena.free(body)
  })

  it('names its caller where a body is forgotten', async () => {
    const { arena } = open({ debug: true })
    async function readsTheBody() {
      const chunks = [Buffer.alloc(100), Buffer.alloc(100), Buffer.alloc(1)]
      const body = await arena.collect(Readable.from(chunks), { maxBytes: 1_000 })
      return body
    }
    const body = await readsTheBody()
    arena.free(body)
    const freed = thrownBy(() => arena.free(body))?.cause as Error
    const { stack } = freed.cause as Error
    expect(stack).toContain('readsTheBody')
  })
})
