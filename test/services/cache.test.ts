import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createCache } from '../../examples/services/cache.mjs'
import { Lru } from '../../examples/services/lru.mjs'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { ARENAS, Running } from './running.js'

const KIB = 2 ** 10
const MIB = 2 ** 20
const CLIENTS = 12

/** The entry of a key: it begins with its name, and all of it follows from that. */
function makeEntry(key: number, version: number, sizeBytes: number): Buffer {
  const entry = Buffer.alloc(sizeBytes, version % 256)
  entry.writeUInt32LE(key)
  entry.writeUInt32LE(version, 4)
  return entry
}

/** Whether it is a whole entry of this key, of whatever version. */
function isEntryOf(key: number, bytes: Buffer): boolean {
  if (bytes.length < 8 || bytes.readUInt32LE() !== key) return false
  return bytes.equals(makeEntry(key, bytes.readUInt32LE(4), bytes.length))
}

let versions = 0

/** One request of a client, now and then one that breaks off. Throws if an answer is wrong. */
async function askAnything(running: Running, random: Random): Promise<'hit' | 'miss' | undefined> {
  const key = random.below(40)
  const path = `/${key}`
  if (random.oneIn(3)) {
    const body = makeEntry(key, versions++, 8 + random.size(300 * KIB))
    if (random.oneIn(8)) await running.hangUp(path, { method: 'PUT', body }, random.below(5))
    else expect((await running.ask(path, { method: 'PUT', body })).status).toBe(204)
    return undefined
  }
  if (random.oneIn(20)) {
    const { status } = await running.ask(path, { method: 'DELETE' })
    expect([204, 404]).toContain(status)
    return undefined
  }
  if (random.oneIn(8)) {
    await running.hangUp(path, {}, random.below(5))
    return undefined
  }
  const { status, body } = await running.ask(path, { isSlow: random.oneIn(4) })
  if (status === 404) return 'miss'
  expect({ status, isWhole: isEntryOf(key, body) }).toEqual({ status: 200, isWhole: true })
  return 'hit'
}

describe('the cache', () => {
  it.each(ARENAS)('answers with whole entries while others push them out: %j', async options => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const running = await Running.start(arena => createCache({ arena, budgetBytes: 2 * MIB }), options)
    const steps = stepsOf(60, 3)
    const counts = { hit: 0, miss: 0 }
    try {
      await Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          for (let step = 0; step < steps; step++) {
            const outcome = await askAnything(running, random)
            if (outcome !== undefined) counts[outcome]++
          }
        }),
      )
    } catch (error) {
      throw new Error(`with ${variablesOf(seed)}`, { cause: error })
    }
    expect(counts.hit).toBeGreaterThan(0)
    expect(counts.miss).toBeGreaterThan(0)
    await running.stop()
  })

  it('drops what was not used for the longest time, and keeps to its budget', async () => {
    const running = await Running.start(arena => createCache({ arena, budgetBytes: 3 * MIB }))
    const put = (key: number) => running.ask(`/${key}`, { method: 'PUT', body: makeEntry(key, 1, MIB) })
    const has = async (key: number) => (await running.ask(`/${key}`)).status === 200
    for (const key of [1, 2, 3]) await put(key)
    expect(await has(1)).toBe(true)
    await put(4)
    expect(running.arena.stats().liveBytes).toBe(3 * MIB)
    expect([await has(1), await has(2), await has(3), await has(4)]).toEqual([true, false, true, true])
    await running.stop()
  })

  it('gives back what nobody asked for any more', async () => {
    const running = await Running.start(arena => createCache({ arena, ttlMs: 40 }))
    await running.ask('/1', { method: 'PUT', body: makeEntry(1, 1, MIB) })
    while (running.arena.stats().liveBlocks > 0) await sleep(5)
    expect((await running.ask('/1')).status).toBe(404)
    await running.stop()
  })

  it('says what is wrong', async () => {
    const running = await Running.start(arena => createCache({ arena, maxBytes: 1000 }))
    const statusOf = async (...args: Parameters<Running['ask']>) => (await running.ask(...args)).status
    expect(await statusOf('/1', { method: 'PATCH', body: Buffer.from('1') })).toBe(405)
    expect(await statusOf('/1', { method: 'PUT', body: Buffer.alloc(1001) })).toBe(413)
    expect(await statusOf('/1', { method: 'DELETE' })).toBe(404)
    expect(await statusOf('/1', { method: 'PUT', body: Buffer.alloc(0) })).toBe(204)
    expect(await statusOf('/1')).toBe(200)
    await running.stop()
  })

  it('refuses bodies while the arena is full, and takes them after that', async () => {
    const running = await Running.start(arena => createCache({ arena, budgetBytes: 8 * MIB }), {
      limitBytes: 8 * MIB,
    })
    const others = Array.from({ length: 3 }, () => running.arena.allocUnsafe(2 * MIB))
    const body = makeEntry(1, 1, 4 * MIB)
    const { status, headers } = await running.ask('/1', { method: 'PUT', body })
    expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 503, retryAfter: '1' })
    for (const other of others) running.arena.free(other)
    expect((await running.ask('/1', { method: 'PUT', body })).status).toBe(204)
    expect((await running.ask('/1')).body.equals(body)).toBe(true)
    await running.stop()
  })
})

describe('Lru', () => {
  it('hands each value to drop once, and counts the bytes of the others', () => {
    const dropped: number[] = []
    const lru = new Lru(value => dropped.push(value[0]))
    for (const key of [1, 2, 3]) lru.put(`${key}`, Buffer.alloc(10, key))
    lru.put('2', Buffer.alloc(5, 4))
    expect({ dropped, bytes: lru.bytes }).toEqual({ dropped: [2], bytes: 25 })
    expect(lru.get('1')?.[0]).toBe(1)
    lru.evictTo(15)
    expect({ dropped, bytes: lru.bytes }).toEqual({ dropped: [2, 3], bytes: 15 })
    expect([lru.delete('3'), lru.delete('2')]).toEqual([false, true])
    lru.expire(Date.now() - 10_000)
    expect(lru.bytes).toBe(10)
    lru.expire(Infinity)
    expect({ dropped, bytes: lru.bytes }).toEqual({ dropped: [2, 3, 4, 1], bytes: 0 })
  })
})
