/** What is told on the channels of node:diagnostics_channel. */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'
import type { GrowMessage, LimitMessage, PurgeMessage } from '../../src/notices/notices.js'
import { open, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

function hear<T>(name: string): T[] {
  const heard: T[] = []
  const listener = (message: unknown): void => void heard.push(message as T)
  subscribe(name, listener)
  ends.push(() => unsubscribe(name, listener))
  return heard
}

describe('offheap:purge', () => {
  it('says who gave back how much, in how many calls, and why', async () => {
    const heard = hear<PurgeMessage>('offheap:purge')
    const { arena, deferral } = open({ name: 'told', limitBytes: 5 * MIB })
    arena.free(arena.allocUnsafe(MIB))
    arena.trim()
    arena.free(arena.allocUnsafe(100_000))
    deferral.advance(1_000)
    const [, middle] = [MIB, 2 * MIB, MIB].map(size => arena.allocUnsafe(size))
    arena.free(middle)
    arena.allocUnsafe(2.5 * MIB)
    await turns(1)
    expect(heard[0]).toEqual({ arena: 'told', bytes: MIB, calls: 1, reason: 'trim' })
    expect([...new Set(heard.map(message => message.reason))]).toEqual(['trim', 'timer', 'limit'])
    const { purgedBytes, purges } = arena.stats()
    expect(heard.reduce((bytes, message) => bytes + message.bytes, 0)).toBe(purgedBytes)
    expect(heard.reduce((calls, message) => calls + message.calls, 0)).toBe(purges)
  })

  it('is told after the call, so that a subscriber may do anything', async () => {
    const { arena } = open({ releaseAfterMs: 0 })
    const blocks = Array.from({ length: 5 }, () => arena.allocUnsafe(100_000))
    const listener = (): void => {
      if (blocks.length > 0) arena.free(blocks.pop() as Buffer)
    }
    subscribe('offheap:purge', listener)
    ends.push(() => unsubscribe('offheap:purge', listener))
    arena.free(arena.allocUnsafe(10))
    await turns(1)
    expect(arena.stats().liveBlocks).toBe(0)
    arena.check()
  })
})

describe('offheap:grow', () => {
  it('says what was mapped', async () => {
    const heard = hear<GrowMessage>('offheap:grow')
    const { arena } = open({ name: 'grows' })
    arena.allocUnsafe(1)
    arena.allocUnsafe(10 * MIB)
    await turns(1)
    expect(heard.map(message => message.arena)).toEqual(['grows', 'grows'])
    expect(heard[1].mappedBytes).toBe(arena.stats().mappedBytes)
    expect(heard[0].bytes + heard[1].bytes).toBe(arena.stats().mappedBytes)
  })
})

describe('offheap:limit', () => {
  it('tells of soft limits crossed and of refusals', async () => {
    const heard = hear<LimitMessage>('offheap:limit')
    const { arena } = open({ name: 'limited', softLimitBytes: MIB, limitBytes: 2 * MIB })
    arena.allocUnsafe(1.5 * MIB)
    expect(thrownBy(() => arena.allocUnsafe(MIB))).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    await turns(1)
    expect(heard).toEqual([
      { arena: 'limited', kind: 'soft', limitBytes: MIB, committedBytes: 0 },
      { arena: 'limited', kind: 'arena', limitBytes: 2 * MIB, committedBytes: 1.5 * MIB },
    ])
  })
})

describe('without a subscriber', () => {
  it('nothing is told', async () => {
    for (const name of ['purge', 'grow', 'limit', 'pressure']) {
      expect(channel(`offheap:${name}`).hasSubscribers).toBe(false)
    }
    const { arena } = open({ limitBytes: MIB })
    arena.free(arena.allocUnsafe(MIB))
    const heard = hear('offheap:purge')
    arena.tryAllocUnsafe(2 * MIB)
    await turns(1)
    expect(heard).toEqual([])
  })
})
