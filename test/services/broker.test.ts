import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createBroker } from '../../examples/services/broker.mjs'
import { countFrames, Topic } from '../../examples/services/topic.mjs'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { ARENAS, Running } from './running.js'

const KIB = 2 ** 10
const MIB = 2 ** 20
const PUBLISHERS = 4
const SUBSCRIBERS = 6

function batchOf(...frames: string[]): Buffer {
  return Buffer.concat(
    frames.map(text => {
      const frame = Buffer.alloc(4 + Buffer.byteLength(text))
      frame.writeUInt32BE(frame.length - 4)
      frame.write(text, 4)
      return frame
    }),
  )
}

function framesOf(batch: Buffer): string[] {
  const frames: string[] = []
  for (let at = 0; at < batch.length; ) {
    const end = at + 4 + batch.readUInt32BE(at)
    frames.push(batch.toString('latin1', at + 4, end))
    at = end
  }
  return frames
}

/** A frame says who published it, and how many it had published before; what follows is as long as chance has it. */
const makeFrame = (publisher: number, number: number, random: Random): string =>
  `${publisher}:${number}:${'x'.repeat(random.size(500))}`

/** Publishes so many batches, and now and then a part of one, which nobody is to see. */
async function publish(
  running: Running,
  publisher: number,
  batches: number,
  random: Random,
): Promise<number> {
  let published = 0
  for (let batch = 0; batch < batches; batch++) {
    const frames = Array.from({ length: 1 + random.below(60) }, (_, i) =>
      makeFrame(publisher, published + i, random),
    )
    const body = batchOf(...frames)
    if (random.oneIn(6)) await running.hangUp('/t', { method: 'POST', body }, random.below(5))
    const { status } = await running.ask('/t', { method: 'POST', body })
    expect(status).toBe(201)
    published += frames.length
  }
  return published
}

/** Reads until a frame says that it is the last. Returns all frames. */
async function subscribe(running: Running, random: Random): Promise<string[]> {
  const frames: string[] = []
  for (;;) {
    if (random.oneIn(6)) await running.hangUp(`/t?after=${frames.length}`, {}, random.below(5))
    const isSlow = random.oneIn(4)
    const { status, headers, body } = await running.ask(`/t?after=${frames.length}`, { isSlow })
    expect(status).toBe(200)
    const got = framesOf(body)
    const first = Number(headers['x-first'])
    expect(Number(headers['x-next'])).toBe(first + got.length - 1)
    // Batches are sent whole: some of the first one may have been here before.
    expect(first).toBeLessThanOrEqual(frames.length + 1)
    frames.push(...got.slice(frames.length + 1 - first))
    if (frames.at(-1) === 'last') return frames
  }
}

/** What each publisher published, in the order of its own frames. */
function requireAll(frames: string[], published: number[]): void {
  const seen = published.map(() => 0)
  for (const frame of frames.slice(0, -1)) {
    const [publisher, number, filling] = frame.split(':')
    expect({ frame, number: Number(number) }).toEqual({ frame, number: seen[Number(publisher)] })
    expect(filling).toMatch(/^x*$/)
    seen[Number(publisher)]++
  }
  expect(seen).toEqual(published)
}

describe('the broker', () => {
  it.each(ARENAS)('gives each subscriber each frame once, in order: %j', async options => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const running = await Running.start(arena => createBroker({ arena, waitMs: 50 }), options)
    const batches = stepsOf(40, 3)
    try {
      const subscribers = Array.from({ length: SUBSCRIBERS }, () => subscribe(running, random))
      const publishers = Array.from({ length: PUBLISHERS }, (_, i) => publish(running, i, batches, random))
      const published = await Promise.all(publishers)
      await running.ask('/t', { method: 'POST', body: batchOf('last') })
      for (const frames of await Promise.all(subscribers)) requireAll(frames, published)
    } catch (error) {
      throw new Error(`with ${variablesOf(seed)}`, { cause: error })
    }
    await running.stop()
  })

  it('wakes a subscriber that waits, and lets it go after a while', async () => {
    const running = await Running.start(arena => createBroker({ arena, waitMs: 100 }))
    const empty = await running.ask('/t?after=0')
    expect({ first: empty.headers['x-first'], next: empty.headers['x-next'] }).toEqual({
      first: '1',
      next: '0',
    })
    const waiting = [1, 2, 3].map(() => running.ask('/t?after=0'))
    await sleep(20)
    await running.ask('/t', { method: 'POST', body: batchOf('a', 'b') })
    for (const { body } of await Promise.all(waiting)) expect(framesOf(body)).toEqual(['a', 'b'])
    await running.stop()
  })

  it('drops what is old, and what is too much, while it is being sent', async () => {
    const running = await Running.start(
      arena => createBroker({ arena, retainBytes: 300 * KIB, waitMs: 10 }),
      {
        debug: true,
      },
    )
    const body = batchOf('y'.repeat(200 * KIB))
    await running.ask('/t', { method: 'POST', body })
    const slow = running.ask('/t', { isSlow: true })
    for (let batch = 0; batch < 10; batch++) await running.ask('/t', { method: 'POST', body })
    expect((await slow).body.equals(body)).toBe(true)
    expect(running.arena.stats().liveBytes).toBeLessThan(600 * KIB)
    // The first ones are gone: it reads on from the oldest that is left.
    expect((await running.ask('/t')).headers['x-first']).toBe('11')
    await running.stop()
    const short = await Running.start(arena => createBroker({ arena, retainMs: 40 }))
    await short.ask('/t', { method: 'POST', body })
    while (short.arena.stats().liveBlocks > 0) await sleep(5)
    await short.stop()
  })

  it('says what is wrong, and refuses batches while the arena is full', async () => {
    const running = await Running.start(arena => createBroker({ arena }), { limitBytes: MIB })
    const post = async (body: Uint8Array) => (await running.ask('/t', { method: 'POST', body })).status
    expect(await post(Buffer.from([0, 0, 0]))).toBe(400)
    expect(await post(Buffer.from([0, 0, 0, 2, 1]))).toBe(400)
    expect(await post(Buffer.alloc(0))).toBe(400)
    expect(await post(Buffer.alloc(300 * KIB))).toBe(413)
    expect((await running.ask('/t?after=x')).status).toBe(400)
    expect((await running.ask('/t', { method: 'PUT' })).status).toBe(405)
    const other = running.arena.allocUnsafe(900 * KIB)
    expect(await post(batchOf('z'.repeat(200 * KIB)))).toBe(503)
    running.arena.free(other)
    expect(await post(batchOf('z'.repeat(200 * KIB)))).toBe(201)
    await running.stop()
  })
})

describe('Topic', () => {
  it('reads whole batches from a frame on, up to so many bytes', () => {
    const dropped: number[] = []
    const topic = new Topic(bytes => dropped.push(bytes[0]))
    for (const key of [1, 2, 3]) topic.append(Buffer.alloc(10, key), 5)
    const keysAfter = (after: number, maxBytes: number) =>
      topic.read(after, maxBytes).map(({ bytes }) => bytes[0])
    expect([keysAfter(0, 100), keysAfter(4, 100), keysAfter(5, 100), keysAfter(15, 100)]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [2, 3],
      [],
    ])
    expect([keysAfter(0, 20), keysAfter(0, 0)]).toEqual([[1, 2], [1]])
    topic.retain(0, 25)
    expect({ dropped, bytes: topic.bytes, left: keysAfter(0, 100) }).toEqual({
      dropped: [1],
      bytes: 20,
      left: [2, 3],
    })
    topic.retain(Infinity, 100)
    expect({ dropped, bytes: topic.bytes }).toEqual({ dropped: [1, 2, 3], bytes: 0 })
  })

  it('counts frames, and knows what is none', () => {
    expect([batchOf(), batchOf(''), batchOf('a', 'bc')].map(countFrames)).toEqual([0, 1, 2])
    expect(countFrames(batchOf('abc').subarray(0, 6))).toBe(-1)
  })
})
