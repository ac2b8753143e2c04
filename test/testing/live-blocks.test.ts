import { AssertionError } from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Arena, type ArenaOptions, Store } from '../../src/index.js'
import { assertNoLiveBlocks } from '../../src/testing/index.js'
import { expectedOf } from './expected.js'

const open: Arena[] = []

function arenaOf(name: string, options: ArenaOptions = {}): Arena {
  const arena = new Arena({ name, ...options })
  open.push(arena)
  return arena
}

afterEach(() => {
  for (const arena of open.splice(0)) arena.close()
})

describe('assertNoLiveBlocks', () => {
  it('passes where nothing is live, also where no arena is open', async () => {
    await assertNoLiveBlocks()
    const arena = arenaOf('clean')
    arena.free(arena.alloc(100))
    await assertNoLiveBlocks()
    await assertNoLiveBlocks({ arenas: [arena, 'clean'], withinMs: 0 })
  })

  it('names each arena with live blocks, and no other', async () => {
    const uploads = arenaOf('uploads')
    arenaOf('idle')
    const cache = arenaOf('cache')
    const held = [uploads.alloc(1000), uploads.alloc(24), cache.alloc(0)]
    uploads.pin(held[0])
    const { message, actual, expected } = await expectedOf(
      assertNoLiveBlocks({ withinMs: 0 }),
      AssertionError,
    )
    expect(message).toContain("  arena 'uploads': 2 blocks of 1024 bytes, 1 of them pinned or on loan\n")
    expect(message).toContain("  arena 'cache': 1 block of 0 bytes\n")
    expect(message).not.toContain('idle')
    expect(message).toContain("new Arena({ leaks: 'all' })")
    expect(actual).toEqual([
      { arena: 'uploads', liveBlocks: 2, liveBytes: 1024 },
      { arena: 'cache', liveBlocks: 1, liveBytes: 0 },
    ])
    expect(expected).toEqual([])
    uploads.unpin(held[0])
    expect(held.map(({ length }) => length)).toEqual([1000, 24, 0])
  })

  it('finds records of a store that were not freed', async () => {
    using store = new Store({ name: 'sessions' })
    const ref = store.put(Buffer.from('abc'))
    for (const arenas of [undefined, [store], ['sessions']]) {
      const options = arenas === undefined ? { withinMs: 0 } : { withinMs: 0, arenas }
      const { actual, message } = await expectedOf(assertNoLiveBlocks(options), AssertionError)
      expect(actual).toEqual([{ arena: 'sessions', liveBlocks: 1, liveBytes: 3 }])
      expect(message).toContain("  store 'sessions': 1 record of 3 bytes\n")
    }
    store.free(ref)
    await assertNoLiveBlocks({ arenas: [store], withinMs: 0 })
  })

  it('looks only at the arenas that were asked for, each once', async () => {
    const one = arenaOf('one')
    const two = arenaOf('two')
    const held = one.alloc(10)
    await assertNoLiveBlocks({ arenas: [two], withinMs: 0 })
    await assertNoLiveBlocks({ arenas: ['two'], withinMs: 0 })
    const { actual } = await expectedOf(
      assertNoLiveBlocks({ arenas: ['one', one, two, one], withinMs: 0 }),
      AssertionError,
    )
    expect(actual).toEqual([{ arena: 'one', liveBlocks: 1, liveBytes: 10 }])
    one.free(held)
  })

  it('waits for a block that ends a moment later', async () => {
    const arena = arenaOf('later')
    const block = arena.alloc(10)
    setTimeout(() => arena.free(block), 50)
    // No test waits that long: it ends when the block does.
    await assertNoLiveBlocks({ withinMs: 2 ** 31 - 1 })
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('waits by timers that a test cannot hold', async () => {
    const arena = arenaOf('faked')
    const block = arena.alloc(10)
    vi.useFakeTimers()
    try {
      await expectedOf(assertNoLiveBlocks({ withinMs: 50 }), AssertionError)
    } finally {
      vi.useRealTimers()
    }
    arena.free(block)
  })

  it('says where forgotten Buffers were allocated', async () => {
    const arena = arenaOf('forgetful', { leaks: 'all' })
    const other = arenaOf('other', { leaks: 'all' })
    function forget(): void {
      for (let i = 0; i < 3; i++) arena.alloc(100_000)
      other.alloc(8)
    }
    forget()
    // The targets of new weak references live until the end of the task.
    await sleep(1)
    const { message } = await expectedOf(assertNoLiveBlocks({ arenas: [arena], withinMs: 0 }), AssertionError)
    // The frame of `alloc` itself is left out only where the package is built.
    expect(message).toMatch(
      /^ {2}3 Buffers of 300000 bytes of arena 'forgetful', allocated\n(?: {4}at Arena.*\n)? {4}at forget /m,
    )
    expect(message).not.toContain("'other'")
    expect(channel('offheap:leak').hasSubscribers).toBe(false)
    // They were forgotten, so they ended when they were found.
    await assertNoLiveBlocks()
  })

  it.each([
    [{ arenas: ['none of that name'] }, 'ERR_INVALID_ARG_VALUE', 'open: here'],
    [{ arenas: [] }, 'ERR_INVALID_ARG_VALUE', 'at least one'],
    [{ arenas: 'here' }, 'ERR_INVALID_ARG_VALUE', 'an array'],
    [{ arenas: [1] }, 'ERR_INVALID_ARG_VALUE', 'arenas or names'],
    [{ withinMs: '1' }, 'ERR_INVALID_ARG_TYPE', 'options.withinMs'],
    [{ withinMs: -1 }, 'ERR_OUT_OF_RANGE', 'options.withinMs'],
    [{ within: 1 }, 'ERR_INVALID_ARG_VALUE', "did you mean 'withinMs'?"],
    [1, 'ERR_INVALID_ARG_TYPE', 'options'],
  ])('refuses %o', async (options, code, part) => {
    arenaOf('here')
    const promise = assertNoLiveBlocks(options as Parameters<typeof assertNoLiveBlocks>[0])
    await expect(promise).rejects.toMatchObject({ code, message: expect.stringContaining(part) })
  })

  it('refuses a closed arena, in which nothing can be live', async () => {
    const arena = new Arena({ name: 'gone' })
    arena.close()
    await expect(assertNoLiveBlocks({ arenas: [arena] })).rejects.toMatchObject({
      code: 'ERR_ARENA_CLOSED',
      message: expect.stringContaining("arena 'gone'"),
    })
  })
})
