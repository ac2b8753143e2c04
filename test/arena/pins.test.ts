/** Pins on a real arena: what ends a block waits for the last unpin, and until then nothing happens to its memory. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { hasNoBreak } from '../support/break.js'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { isMarked, mark, thrownBy, turns, type World, worldWith } from '../support/world.js'

const MIB = 2 ** 20
const SIZES = [1, 64, 1_000, 20_000, 64 * 1024 - 1, 64 * 1024, 100_000, 3 * MIB]
const BUFFERS: [string, ArenaOptions][] = [
  ['by default', {}],
  ['with every block detached', { detachFromBytes: 0 }],
  ['with no block detached', { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['released at once', { releaseAfterMs: 0 }],
]

const held: Buffer[] = []
let world: World | undefined

function open(options: ArenaOptions = {}): World {
  world = worldWith({ name: 'subject', ...options })
  return world
}

/** A pin that the end of the test gives up, where the test did not. */
function pin(arena: Arena, buffer: Buffer): void {
  arena.pin(buffer)
  held.push(buffer)
}

afterEach(() => {
  const { arena } = world as World
  for (const buffer of held.splice(0)) thrownBy(() => arena.unpin(buffer))
  arena.check()
  arena.close()
})

/** Blocks of every kind, marked with their index. */
function blocksIn(arena: Arena): Buffer[] {
  return SIZES.map((size, index) => {
    const block = arena.allocUnsafe(size)
    mark(block, index)
    return block
  })
}

/** Uses all memory that is not held: what is marked must be elsewhere. */
function churn({ arena, deferral }: World): void {
  for (let round = 0; round < 3; round++) {
    const blocks = [...SIZES, ...SIZES].map(size => arena.allocUnsafe(size).fill(0x77))
    for (const block of blocks) arena.free(block)
    deferral.advance(3_000)
    arena.trim()
    arena.check()
  }
}

describe.each(BUFFERS)('%s', (_, options) => {
  it('free of a pinned block spends its owner and leaves all else until the last unpin', () => {
    const subject = open(options)
    const { arena } = subject
    const blocks = blocksIn(arena)
    const views = blocks.map(block => block.subarray(0))
    for (const block of blocks) {
      pin(arena, block)
      pin(arena, block)
    }
    const before = arena.stats()
    expect(before.pinnedBlocks).toBe(SIZES.length)
    for (const block of blocks) {
      arena.free(block)
      expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(thrownBy(() => arena.realloc(block, 5))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(thrownBy(() => arena.pin(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    }
    expect(arena.stats()).toEqual(before)
    churn(subject)
    for (const block of blocks) arena.unpin(block)
    churn(subject)
    blocks.forEach((block, index) => {
      expect([block.length, views[index].length]).toEqual([SIZES[index], SIZES[index]])
      expect(isMarked(block, index)).toBe(true)
      arena.unpin(block)
      expect(thrownBy(() => arena.unpin(block))?.code).toBe('ERR_ARENA_NOT_PINNED')
      arena.check()
    })
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pinnedBlocks: 0 })
    for (const [index, block] of blocks.entries()) {
      const isDetached = SIZES[index] >= (options.detachFromBytes ?? 64 * 1024)
      if (isDetached) expect(block.length).toBe(0)
    }
    arena.trim()
    expect(arena.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0 })
  })

  it('reset leaves pinned blocks and their views as they are until the last unpin', () => {
    const subject = open(options)
    const { arena } = subject
    const others = blocksIn(arena)
    const blocks = blocksIn(arena)
    for (const block of blocks) pin(arena, block)
    arena.free(blocks[2])
    arena.reset()
    arena.check()
    const liveBytes = SIZES.reduce((sum, size) => sum + size, 0)
    expect(arena.stats()).toMatchObject({ liveBlocks: SIZES.length, liveBytes, pinnedBlocks: SIZES.length })
    for (const other of others) {
      expect(thrownBy(() => arena.free(other))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      if (other.buffer.byteLength > 64 * 1024 + MIB) expect(other.length).toBe(0)
    }
    churn(subject)
    arena.reset()
    churn(subject)
    blocks.forEach((block, index) => {
      expect(block.length).toBe(SIZES[index])
      expect(isMarked(block, index)).toBe(true)
      expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    })
    for (const block of blocks) arena.unpin(block)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pinnedBlocks: 0 })
    churn(subject)
    expect(arena.stats().usedBytes).toBe(0)
  })

  it('a block that is only pinned for a while can be freed and resized as ever', () => {
    const { arena } = open(options)
    for (const block of blocksIn(arena)) {
      const { length } = block
      arena.pin(block)
      const error = thrownBy(() => arena.realloc(block, length + 1))
      expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_PINNED' })
      expect(error?.message).toContain("arena 'subject': realloc()")
      arena.unpin(block)
      arena.check()
      arena.free(arena.realloc(block, length + 1))
    }
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pinnedBlocks: 0 })
  })
})

describe('pin', () => {
  it('refuses what free refuses, by the same codes', () => {
    const { arena } = open()
    const other = worldWith({ name: 'other' })
    const foreign = other.arena.allocUnsafe(64)
    const block = arena.allocUnsafe(64)
    const large = arena.allocUnsafe(100_000)
    const spent = arena.allocUnsafe(64)
    arena.free(spent)
    const before = arena.stats()
    const misuses: [unknown, string][] = [
      [foreign, 'ERR_ARENA_FOREIGN_BUFFER'],
      [Buffer.alloc(8), 'ERR_ARENA_FOREIGN_BUFFER'],
      [block.subarray(0), 'ERR_ARENA_NOT_OWNER'],
      [large.subarray(0), 'ERR_ARENA_NOT_OWNER'],
      [{}, 'ERR_INVALID_ARG_TYPE'],
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [5, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [buffer, code] of misuses) {
      for (const method of ['pin', 'unpin'] as const) {
        const error = thrownBy(() => arena[method](buffer as Buffer))
        expect(error?.code).toBe(code)
        expect(error?.message).toContain("arena 'subject'")
      }
      expect(thrownBy(() => arena.lend(buffer as Buffer, () => 1))?.code).toBe(code)
    }
    expect(thrownBy(() => arena.pin(spent))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    expect(thrownBy(() => arena.unpin(spent))?.code).toBe('ERR_ARENA_NOT_PINNED')
    expect(thrownBy(() => arena.unpin(block))?.message).toContain("arena 'subject': unpin()")
    expect(arena.stats()).toEqual(before)
    other.arena.close()
  })

  it('counts empty blocks like others', () => {
    const { arena } = open()
    const blocks = [arena.alloc(0), arena.alloc(0), arena.alloc(0)]
    for (const block of blocks) pin(arena, block)
    arena.free(blocks[0])
    expect(thrownBy(() => arena.free(blocks[0]))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    arena.check()
    expect(arena.stats()).toMatchObject({ liveBlocks: 3, pinnedBlocks: 3 })
    expect(thrownBy(() => arena.realloc(blocks[1], 5))?.code).toBe('ERR_ARENA_PINNED')
    arena.reset()
    arena.check()
    expect(arena.stats()).toMatchObject({ liveBlocks: 3, liveBytes: 0, pinnedBlocks: 3 })
    for (const block of blocks) arena.unpin(block)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  })

  it('refuses a block whose ArrayBuffer is gone, which can still be freed', async () => {
    const { arena } = open()
    for (const size of [64, 100_000]) {
      const block = arena.allocUnsafe(size)
      await takeAway(block)
      const before = arena.stats()
      expect(thrownBy(() => arena.pin(block))?.code).toBe('ERR_ARENA_DETACHED')
      expect(thrownBy(() => arena.lend(block, () => 1))?.code).toBe('ERR_ARENA_DETACHED')
      expect(arena.stats()).toEqual(before)
      arena.free(block)
      arena.check()
    }
  })

  // One of the sizes in a sample.
  it.each(someOf([64, 100_000], 1))(
    'survives that somebody takes the ArrayBuffer of %i bytes away',
    async size => {
      const subject = open()
      const { arena, kernel } = subject
      kernel.isRecording = false
      for (const end of ['free', 'reset'] as const) {
        const block = arena.allocUnsafe(size)
        pin(arena, block)
        const taken = await takeAway(block)
        arena.check()
        if (end === 'free') arena.free(block)
        else arena.reset()
        arena.check()
        taken.fill(0x44)
        churn(subject)
        arena.unpin(block)
        arena.check()
        churn(subject)
        expect(taken.every(byte => byte === 0x44)).toBe(true)
      }
    },
  )
})

it.each([64, 100_000])('a pinned block of %i bytes outlives the one who took its ArrayBuffer', async size => {
  const { code, stderr } = await runFunction(
    async ({ Arena, assert, gc, turn }, { size }) => {
      const collect = async () => {
        for (let i = 0; i < 4; i++) {
          gc()
          await turn()
        }
      }
      const arena = new Arena()
      const [block, _kept] = [arena.allocUnsafe(size), arena.allocUnsafe(64)]
      arena.pin(block)
      let stream: ReadableStream | null = new ReadableStream({
        type: 'bytes',
        start: controller => controller.enqueue(block),
      })
      let taken: unknown = await stream.getReader().read()
      for (const end of [() => arena.trim(), () => arena.free(block), () => arena.reset()]) {
        end()
        arena.check()
      }
      assert.ok(taken)
      stream = null
      taken = null
      await collect()
      arena.trim()
      arena.check()
      const blocks = Array.from({ length: 100 }, () => arena.allocUnsafe(1_000).fill(5))
      arena.check()
      arena.unpin(block)
      arena.check()
      assert.ok(blocks.every(other => other.every(byte => byte === 5)))
      arena.reset()
      arena.trim()
      arena.check()
      assert.equal(arena.stats().usedBytes, 0)
      arena.close()
    },
    { size },
    { nodeArgs: ['--expose-gc'] },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
})

/** What a byte stream does to a view: its whole `ArrayBuffer` moves into another one. */
async function takeAway(view: Uint8Array): Promise<Uint8Array> {
  const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(view) })
  return (await stream.getReader().read()).value as Uint8Array
}

describe('lend', () => {
  it('pins while the function runs, and returns what it returns', () => {
    const { arena } = open()
    const block = arena.allocUnsafe(100_000)
    const result = arena.lend(block, buffer => {
      expect(buffer).toBe(block)
      arena.free(buffer)
      expect([arena.stats().pinnedBlocks, buffer.length]).toEqual([1, 100_000])
      expect(thrownBy(() => arena.unpin(buffer))?.code).toBe('ERR_ARENA_NOT_PINNED')
      return 5
    })
    expect([result, block.length, arena.stats().pinnedBlocks]).toEqual([5, 0, 0])
  })

  it('unpins when the function throws', () => {
    const { arena } = open()
    const block = arena.allocUnsafe(64)
    const fault = new Error('mine')
    const error = thrownBy(() =>
      arena.lend(block, () => {
        throw fault
      }),
    )
    expect([error, arena.stats().pinnedBlocks]).toEqual([fault, 0])
    arena.free(block)
  })

  it('unpins when the promise is settled, before anybody learns of it', async () => {
    const { arena } = open()
    const block = arena.allocUnsafe(100_000)
    let finish: (value: number) => void = () => {}
    const lent = arena.lend(block, () => new Promise<number>(resolve => (finish = resolve)))
    arena.free(block)
    await turns()
    expect([arena.stats().pinnedBlocks, block.length]).toEqual([1, 100_000])
    finish(7)
    const seen = lent.then(value => [value, arena.stats().pinnedBlocks, block.length])
    expect(await seen).toEqual([7, 0, 0])
  })

  it('unpins when the promise is rejected, and rejects alike', async () => {
    const { arena } = open()
    const block = arena.allocUnsafe(64)
    const fault = new Error('mine')
    await expect(arena.lend(block, () => Promise.reject(fault))).rejects.toBe(fault)
    expect(arena.stats().pinnedBlocks).toBe(0)
  })

  it('waits for anything with a then', async () => {
    const { arena } = open()
    const block = arena.allocUnsafe(64)
    let settle: (value: number) => void = () => {}
    const thenable = Object.defineProperty({}, 'then', {
      value: (use: typeof settle) => {
        settle = use
      },
    }) as PromiseLike<number>
    const lent = arena.lend(block, () => thenable)
    await turns(1)
    expect(arena.stats().pinnedBlocks).toBe(1)
    settle(5)
    expect(await lent).toBe(5)
    expect(arena.stats().pinnedBlocks).toBe(0)
    const fault = new Error('mine')
    const evil = Object.defineProperty({}, 'then', {
      get() {
        throw fault
      },
    })
    expect(thrownBy(() => arena.lend(block, () => evil))).toBe(fault)
    expect(arena.stats().pinnedBlocks).toBe(0)
  })

  it('of one block several times, and pins besides, ends with the last of them', async () => {
    const { arena } = open()
    const block = arena.allocUnsafe(100_000)
    const finish: (() => void)[] = []
    const lend = () => arena.lend(block, () => new Promise<void>(resolve => finish.push(resolve)))
    const lent = [lend(), lend()]
    pin(arena, block)
    arena.free(block)
    finish[1]()
    await lent[1]
    arena.unpin(block)
    expect(thrownBy(() => arena.unpin(block))?.message).toContain('lend() ends its own pin')
    expect([block.length, arena.stats().pinnedBlocks]).toEqual([100_000, 1])
    finish[0]()
    await lent[0]
    expect([block.length, arena.stats().pinnedBlocks]).toEqual([0, 0])
  })

  it('wants a function', () => {
    const { arena } = open()
    const block = arena.allocUnsafe(64)
    const error = thrownBy(() => arena.lend(block, 5 as never))
    expect([error?.code, arena.stats().pinnedBlocks]).toEqual(['ERR_INVALID_ARG_TYPE', 0])
  })
})

describe('close', () => {
  it.each([0, 64, 100_000])('of an arena with a pinned block of %i bytes does nothing', size => {
    const { arena } = open()
    const blocks = [arena.alloc(size), arena.alloc(size)]
    for (const block of blocks) pin(arena, block)
    arena.free(blocks[0])
    const before = arena.stats()
    for (const call of [() => arena.close(), () => arena[Symbol.dispose]()]) {
      const error = thrownBy(call)
      expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_PINNED' })
      expect(error?.message).toContain("arena 'subject': close(): the arena has 2 pinned blocks")
    }
    expect(arena.stats()).toEqual(before)
    arena.unpin(blocks[0])
    expect(thrownBy(() => arena.close())?.message).toContain('the arena has 1 pinned block.')
    arena.alloc(64)
    arena.unpin(blocks[1])
    arena.close()
    expect(thrownBy(() => arena.unpin(blocks[1]))?.code).toBe('ERR_ARENA_CLOSED')
  })
})

describe('closeWhenIdle', () => {
  it('closes now where nothing is pinned', async () => {
    const { arena } = open()
    const block = arena.alloc(100_000)
    const closed = arena.closeWhenIdle()
    expect(block.length).toBe(0)
    expect(thrownBy(() => arena.trim())?.code).toBe('ERR_ARENA_CLOSED')
    await closed
    expect(arena.closeWhenIdle()).toBe(closed)
    expect(arena[Symbol.asyncDispose]()).toBe(closed)
  })

  it('is fine after close', async () => {
    const { arena } = open()
    arena.close()
    await arena.closeWhenIdle()
  })

  it('waits for the last unpin, gives out nothing meanwhile, and lets the rest go on', async () => {
    const { arena } = open()
    const [first, second, third, empty] = [64, 100_000, 64, 0].map(size => arena.alloc(size))
    pin(arena, first)
    pin(arena, second)
    arena.free(first)
    let isClosed = false
    const closed = arena.closeWhenIdle()
    expect(arena.closeWhenIdle()).toBe(closed)
    void closed.then(() => {
      isClosed = true
    })
    const refused: (() => unknown)[] = [
      () => arena.alloc(64),
      () => arena.allocUnsafe(64),
      () => arena.allocUnsafe(0),
      () => arena.tryAlloc(64),
      () => arena.tryAllocUnsafe(1, { align: 64 }),
      () => arena.realloc(third, 10),
      () => arena.realloc(empty, 0),
    ]
    const before = arena.stats()
    for (const call of refused) {
      const error = thrownBy(call)
      expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_CLOSED' })
      expect(error?.message).toContain('It waits for 2 pinned blocks')
    }
    expect(arena.stats()).toEqual(before)
    expect(thrownBy(() => arena.close())?.code).toBe('ERR_ARENA_PINNED')
    arena.unpin(first)
    pin(arena, third)
    arena.free(third)
    arena.free(empty)
    arena.trim()
    arena.reset()
    arena.check()
    arena.unpin(second)
    await turns()
    expect(isClosed).toBe(false)
    arena.unpin(third)
    expect(thrownBy(() => arena.trim())?.code).toBe('ERR_ARENA_CLOSED')
    arena.check()
    await closed
    expect(second.length).toBe(0)
  })

  it('closes at the end of the last lend', async () => {
    const { arena, kernel, deferral } = open()
    const block = arena.alloc(100_000)
    let finish = (): void => {}
    const lent = arena.lend(block, () => new Promise<void>(resolve => (finish = resolve)))
    const closed = arena.closeWhenIdle()
    await turns()
    expect(block.length).toBe(100_000)
    finish()
    await Promise.all([lent, closed])
    expect(block.length).toBe(0)
    await turns()
    deferral.runTurn()
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
  })
})

describe('purging', () => {
  it.each<[string, ArenaOptions]>([
    ['an arena', {}],
    ['an arena of huge pages', { hugePages: true }],
  ])('of %s leaves the pages of pinned blocks resident', (_, options) => {
    const subject = open(options)
    const { arena, kernel } = subject
    const blocks = Array.from({ length: 60 }, (_, i) => arena.allocUnsafe(5_000 + 3_000 * i).fill(i + 1))
    for (const [i, block] of blocks.entries()) {
      if (i % 3 === 0) arena.pin(block)
    }
    for (const block of blocks) arena.free(block)
    arena.trim()
    arena.reset()
    churn(subject)
    for (const [i, block] of blocks.entries()) {
      if (i % 3 !== 0) continue
      expect(kernel.isResident(block)).toBe(true)
      expect(block.every(byte => byte === i + 1)).toBe(true)
      arena.unpin(block)
    }
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  })
})

describe.skipIf(hasNoBreak)('over the program break', () => {
  it('the break stays above a pinned block, and goes down at the last unpin', () => {
    const { arena, deferral } = open({ source: 'sbrk' })
    arena.alloc(2 * MIB).fill(1)
    const block = arena.alloc(100_000).fill(5)
    pin(arena, block)
    arena.free(block)
    for (const end of [() => arena.trim(), () => arena.reset(), () => arena.trim()]) {
      end()
      deferral.advance(3_000)
      arena.check()
      expect(arena.stats().mappedBytes).toBeGreaterThan(2 * MIB)
      expect(block.every(byte => byte === 5)).toBe(true)
    }
    arena.unpin(block)
    arena.trim()
    expect(arena.stats().mappedBytes).toBeLessThan(2 * MIB)
  })
})
