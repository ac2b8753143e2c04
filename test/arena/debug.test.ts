/**
 * `debug: true` in a world that stands still. Code outside JavaScript is played by the kernel, which writes where a
 * block is or was; real such code is in debug-native.test.ts.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { ReadableStream } from 'node:stream/web'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { loadLedger } from '../../src/memory/addon.js'
import type { DamageMessage } from '../../src/notices/damage.js'
import { stepsOf } from '../support/extent.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { isZero, open, thrownBy, turns, type World } from '../support/world.js'

const MIB = 2 ** 20
const KIB = 1024

let freedWrites: DamageMessage[]
let overruns: DamageMessage[]
const onFreedWrite = (message: unknown): void => void freedWrites.push(message as DamageMessage)
const onOverrun = (message: unknown): void => void overruns.push(message as DamageMessage)

beforeEach(() => {
  freedWrites = []
  overruns = []
  subscribe('offheap:write-after-free', onFreedWrite)
  subscribe('offheap:overrun', onOverrun)
})

afterEach(() => {
  unsubscribe('offheap:write-after-free', onFreedWrite)
  unsubscribe('offheap:overrun', onOverrun)
})

/** Writes one byte, `offsetBytes` from a block's first, whatever becomes of its Buffer. */
function writerTo({ kernel }: World, buffer: Buffer): (offsetBytes: number) => void {
  const { mapping, offsetBytes: start } = kernel.placeOf(buffer)
  return offsetBytes => kernel.fill(mapping, start + offsetBytes, 1, 0x42)
}

function allocateHere(arena: Arena, size: number): Buffer {
  return arena.allocUnsafe(size)
}

function freeHere(arena: Arena, buffer: Buffer): void {
  arena.free(buffer)
}

/** Messages go out after the call. */
const told = (): Promise<void> => turns(1)

describe('a freed block', () => {
  it.each([1, 64, 1_000, 20_000, 64 * KIB, MIB])('of %i bytes leaves every view with length 0', size => {
    const { arena } = open({ debug: true, detachFromBytes: Number.POSITIVE_INFINITY })
    const block = arena.allocUnsafe(size)
    const view = block.subarray(0, 1)
    expect(block.buffer.byteLength).toBe(size)
    arena.free(block)
    expect([block.length, view.length, block.buffer.byteLength]).toEqual([0, 0, 0])
  })

  it('waits in quarantine, first in, first out, and counts as used meanwhile', () => {
    const world = open({ debug: true })
    const { arena, kernel } = world
    const blocks = Array.from({ length: 65 }, () => arena.allocUnsafe(100))
    const places = blocks.map(block => kernel.placeOf(block).offsetBytes)
    for (const block of blocks.slice(0, 64)) arena.free(block)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, quarantinedBlocks: 64, quarantinedBytes: 6_400 })
    expect(places).not.toContain(kernel.placeOf(arena.allocUnsafe(100)).offsetBytes)
    arena.free(blocks[64])
    expect(arena.stats().quarantinedBlocks).toBe(64)
    expect(kernel.placeOf(arena.allocUnsafe(100)).offsetBytes).toBe(places[0])
    arena.check()
  })

  it('of more bytes than may wait is free at once, and one of just as many waits', () => {
    const { arena } = open({ debug: true })
    arena.free(arena.allocUnsafe(MIB + 1))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 0, usedBytes: 0 })
    arena.free(arena.allocUnsafe(MIB))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 1, quarantinedBytes: MIB })
    arena.free(arena.allocUnsafe(1))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 1, quarantinedBytes: 1 })
  })

  it('waits as the options say', () => {
    const { arena } = open({ debug: { quarantineBlocks: 2, quarantineBytes: 1_000 } })
    for (const size of [1, 2, 3]) arena.free(arena.allocUnsafe(size))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 2, quarantinedBytes: 5 })
    arena.free(arena.allocUnsafe(998))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 1, quarantinedBytes: 998 })
  })
})

describe('a write after free', () => {
  it('is told when the block leaves the quarantine, with where it was allocated and freed', async () => {
    const world = open({ debug: true, name: 'subject' })
    const { arena } = world
    const block = allocateHere(arena, 1_000)
    const write = writerTo(world, block)
    freeHere(arena, block)
    write(17)
    write(500)
    for (let i = 0; i < 64; i++) {
      await told()
      expect(freedWrites).toEqual([])
      arena.free(arena.allocUnsafe(10))
    }
    await told()
    expect(freedWrites).toEqual([
      {
        arena: 'subject',
        sizeBytes: 1_000,
        offsetBytes: 17,
        allocatedAt: expect.stringMatching(/^ {4}at allocateHere .*debug\.test\.ts/),
        freedAt: expect.stringMatching(/^ {4}at freeHere .*debug\.test\.ts/),
      },
    ])
    expect(overruns).toEqual([])
  })

  it.each<[string, (world: World) => unknown]>([
    ['trim', ({ arena }) => arena.trim()],
    ['reset', ({ arena }) => arena.reset()],
    ['close', ({ arena }) => arena.close()],
    ['check', ({ arena }) => arena.check()],
    ['the release timer', ({ deferral }) => deferral.advance(1_000)],
  ])('is found by %s, which does not throw, and told once', async (_, find) => {
    const world = open({ debug: true })
    for (const size of [10, 5_000, 100_000]) {
      const block = world.arena.allocUnsafe(size)
      const write = writerTo(world, block)
      world.arena.free(block)
      write(size - 1)
    }
    find(world)
    expect(freedWrites).toEqual([])
    await told()
    expect(freedWrites.map(({ offsetBytes }) => offsetBytes)).toEqual([9, 4_999, 99_999])
    world.arena.close()
    await told()
    expect(freedWrites.length).toBe(3)
  })

  it('before the block, or behind its bytes, is told too', async () => {
    const world = open({ debug: true })
    const block = world.arena.allocUnsafe(5_000)
    const write = writerTo(world, block)
    world.arena.free(block)
    write(-1)
    world.arena.trim()
    await told()
    expect(freedWrites).toMatchObject([{ sizeBytes: 5_000, offsetBytes: -1 }])
  })

  it('is found in the last blocks that reset ended', async () => {
    const world = open({ debug: true })
    const writes = Array.from({ length: 100 }, () => writerTo(world, world.arena.allocUnsafe(100)))
    world.arena.reset()
    expect(world.arena.stats()).toMatchObject({ liveBlocks: 0, quarantinedBlocks: 64 })
    writes[99](3)
    world.arena.check()
    await told()
    expect(freedWrites).toMatchObject([{ offsetBytes: 3, freedAt: expect.stringContaining('debug.test.ts') }])
  })

  it('leaves the memory as if nobody had written', () => {
    const world = open({ debug: true })
    const block = world.arena.alloc(100_000)
    const write = writerTo(world, block)
    world.arena.free(block)
    write(10)
    expect(isZero(world.arena.alloc(100_000))).toBe(true)
    world.arena.trim()
    expect(isZero(world.arena.alloc(100_000))).toBe(true)
  })
})

describe('an overrun into the slack', () => {
  it.each([
    [1, 1],
    [64, 64],
    [64, 79],
    [1_000, 1_000],
    [4_095, 4_100],
    [4_097, 4_097],
    [5_000, -1],
    [100_001, 100_001],
    [100_001, -100],
  ])('of a block of %i bytes, at %i, is told when it is freed', async (size, offsetBytes) => {
    const world = open({ debug: true, name: 'subject' })
    const block = allocateHere(world.arena, size)
    writerTo(world, block)(offsetBytes)
    expect(thrownBy(() => freeHere(world.arena, block))).toBeUndefined()
    await told()
    expect(overruns).toEqual([
      {
        arena: 'subject',
        sizeBytes: size,
        offsetBytes,
        allocatedAt: expect.stringMatching(/^ {4}at allocateHere .*debug\.test\.ts/),
        freedAt: expect.stringMatching(/^ {4}at freeHere .*debug\.test\.ts/),
      },
    ])
    world.arena.trim()
    await told()
    expect([overruns.length, freedWrites.length]).toEqual([1, 0])
  })

  it.each(['reset', 'close', 'check'] as const)('is found by %s', async method => {
    const world = open({ debug: true })
    const block = world.arena.allocUnsafe(100)
    writerTo(world, block)(100)
    world.arena[method]()
    await told()
    expect(overruns).toMatchObject([{ sizeBytes: 100, offsetBytes: 100 }])
    world.arena.close()
    await told()
    expect(overruns.length).toBe(1)
  })

  it('is found by realloc, which moves, also where it shrinks', async () => {
    const world = open({ debug: true })
    const block = world.arena.alloc(100).fill(5)
    writerTo(world, block)(100)
    const moved = world.arena.realloc(block, 50)
    expect([block.length, moved.length, moved.every(byte => byte === 5)]).toEqual([0, 50, true])
    await told()
    expect(overruns).toMatchObject([{ sizeBytes: 100, offsetBytes: 100 }])
  })

  it.each([
    ['huge pages', { hugePages: true }],
    ['a kernel that refuses guards', {}],
  ])('reaches the page behind a long block too, with %s', async (_, options) => {
    const world = open({ debug: true, ...options })
    world.kernel.refuse('guard')
    const block = world.arena.allocUnsafe(64 * KIB)
    writerTo(world, block)(64 * KIB + 4_000)
    world.arena.free(block)
    await told()
    expect(overruns).toMatchObject([{ offsetBytes: 64 * KIB + 4_000 }])
  })
})

describe('alloc', () => {
  it.each([16, 64, 1_024, 4_096])('keeps to its alignment, %i', align => {
    const { arena, kernel } = open({ debug: true })
    for (const size of [1, 100, 4_096, 5_000, 70_000]) {
      const block = arena.alloc(size, { align })
      expect(kernel.placeOf(block).offsetBytes % align).toBe(0)
      expect([block.length, isZero(block)]).toEqual([size, true])
      block.fill(1)
      arena.free(block)
      if (size > 4_096) arena.trim()
    }
    arena.check()
  })
})

describe('errors about a Buffer', () => {
  it.each(['free', 'realloc'] as const)('of %s say where it was allocated and first freed', method => {
    const { arena } = open({ debug: true })
    const block = allocateHere(arena, 100)
    freeHere(arena, block)
    arena.trim()
    const error = thrownBy(() => arena[method](block, 5)) as Error
    expect(error).toMatchObject({ code: 'ERR_ARENA_DOUBLE_FREE', message: expect.stringContaining('cause') })
    const freed = error.cause as Error
    const allocated = freed.cause as Error
    expect(freed.stack).toMatch(/^Error: It was first freed here\n {4}at freeHere .*debug\.test\.ts/)
    expect(allocated.stack).toMatch(
      /^Error: 100 bytes were allocated here\n {4}at allocateHere .*debug\.test\.ts/,
    )
  })

  it('say so after reset too', () => {
    const { arena } = open({ debug: true })
    const block = allocateHere(arena, 100)
    arena.reset()
    const error = thrownBy(() => arena.free(block)) as Error
    expect((error.cause as Error).stack).toMatch(/^Error: It was first freed here\n {4}at .*debug\.test\.ts/)
  })

  it('are as ever without debug', () => {
    const { arena } = open()
    const block = arena.allocUnsafe(100)
    arena.free(block)
    const error = thrownBy(() => arena.free(block)) as Error
    expect([error.cause, error.message.includes('cause')]).toEqual([undefined, false])
  })
})

describe('a pinned block', () => {
  it('goes into quarantine at the last unpin, and is looked at then', async () => {
    const world = open({ debug: true })
    const { arena } = world
    const block = allocateHere(arena, 1_000)
    const write = writerTo(world, block)
    arena.pin(block)
    freeHere(arena, block)
    expect(block.length).toBe(1_000)
    // Whoever pinned it may still write.
    write(5)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, quarantinedBlocks: 0 })
    arena.unpin(block)
    expect(block.length).toBe(0)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, quarantinedBlocks: 1 })
    arena.check()
    await told()
    expect([freedWrites, overruns]).toEqual([[], []])
    write(5)
    arena.trim()
    await told()
    expect(freedWrites).toMatchObject([{ freedAt: expect.stringMatching(/^ {4}at freeHere /) }])
  })

  it('is told by a second free where it was freed, before the last unpin', () => {
    const { arena } = open({ debug: true })
    const block = allocateHere(arena, 5_000)
    arena.pin(block)
    freeHere(arena, block)
    const error = thrownBy(() => arena.free(block)) as Error
    expect(error).toMatchObject({ code: 'ERR_ARENA_DOUBLE_FREE' })
    expect((error.cause as Error).stack).toMatch(/^Error: It was first freed here\n {4}at freeHere /)
    arena.unpin(block)
    arena.check()
  })

  it('outlives reset, and its slack is looked at afterwards', async () => {
    const world = open({ debug: true })
    const { arena } = world
    const pinned = arena.allocUnsafe(5_000).fill(3)
    const write = writerTo(world, pinned)
    arena.pin(pinned)
    arena.allocUnsafe(100)
    arena.reset()
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, quarantinedBlocks: 1 })
    expect(pinned.every(byte => byte === 3)).toBe(true)
    write(-8)
    arena.unpin(pinned)
    await told()
    expect(overruns).toMatchObject([{ sizeBytes: 5_000, offsetBytes: -8 }])
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, quarantinedBlocks: 2 })
    arena.check()
  })
})

describe('the end of a scope', () => {
  it('puts its blocks into quarantine', async () => {
    const world = open({ debug: true })
    const scope = world.arena.scope()
    const write = writerTo(world, scope.allocUnsafe(100))
    scope[Symbol.dispose]()
    expect(world.arena.stats().quarantinedBlocks).toBe(1)
    write(1)
    world.arena.check()
    await told()
    expect(freedWrites.length).toBe(1)
  })
})

describe('the idle promise', () => {
  it('holds: what was freed is back within releaseAfterMs, quarantine and all', () => {
    const { arena, deferral } = open({ debug: true, releaseAfterMs: 1_000 })
    for (const size of [100, 5_000, 100_000, 500_000]) arena.free(arena.allocUnsafe(size).fill(1))
    expect(arena.stats().quarantinedBlocks).toBe(4)
    deferral.advance(400)
    expect(arena.stats().quarantinedBlocks).toBe(4)
    deferral.advance(600)
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 0, usedBytes: 0, dirtyBytes: 0 })
    expect(arena.residentBytes()).toBe(0)
    arena.check()
    // Nothing runs in an arena that has nothing to give back.
    deferral.advance(10_000)
    expect(deferral.pendingTimers).toBe(0)
  })

  it('holds for blocks that are freed at any time', () => {
    const { arena, deferral } = open({ debug: true, releaseAfterMs: 1_000 })
    for (let ms = 0; ms < 5_000; ms += 90) {
      arena.free(arena.allocUnsafe(10_000).fill(1))
      deferral.advance(90)
      arena.check()
      // No more than what was freed within the last second.
      expect(arena.stats().quarantinedBlocks).toBeLessThanOrEqual(12)
    }
    deferral.advance(1_000)
    expect(arena.stats().committedBytes).toBe(0)
  })

  it('holds on the freeing call with releaseAfterMs: 0, where nothing waits', () => {
    const { arena } = open({ debug: true, releaseAfterMs: 0 })
    arena.free(arena.allocUnsafe(100_000).fill(1))
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 0, committedBytes: 0 })
  })

  it('is up to trim with releaseAfterMs: Infinity', () => {
    const { arena, deferral } = open({ debug: true, releaseAfterMs: Number.POSITIVE_INFINITY })
    arena.free(arena.allocUnsafe(100_000).fill(1))
    deferral.advance(1e6)
    expect(arena.stats().quarantinedBlocks).toBe(1)
    expect(arena.trim()).toBeGreaterThanOrEqual(100_000)
    expect(arena.stats()).toMatchObject({ quarantinedBlocks: 0, committedBytes: 0 })
  })
})

describe('at a limit', () => {
  it.each([100, 5_000, 50_000])('blocks of %i bytes leave the quarantine before one is refused', size => {
    const { arena } = open({
      debug: { quarantineBlocks: 1e6, quarantineBytes: 64 * MIB },
      limitBytes: 256 * KIB,
    })
    for (let i = 0; i < stepsOf(5_000); i++) arena.free(arena.allocUnsafe(size))
    expect(arena.stats().quarantinedBlocks).toBeGreaterThan(1)
    const live: Buffer[] = []
    for (let block = arena.tryAlloc(size); block !== undefined; block = arena.tryAlloc(size)) live.push(block)
    expect(arena.stats().quarantinedBlocks).toBe(0)
    const held = size + (size < 4_096 ? 48 : 8_192)
    expect(live.length).toBeGreaterThan((256 * KIB) / held - 2)
    arena.check()
  })

  it('of the process, too', () => {
    const kernel = new FaultyKernel()
    const deferral = new ManualDeferral()
    const ledger = loadLedger()
    ledger.limitBytes = 2 * MIB
    const arena = new Arena(
      { debug: { quarantineBlocks: 1e6, quarantineBytes: 64 * MIB } },
      { addon: kernel, deferral, now: deferral.now, ledger },
    )
    try {
      for (let i = 0; i < 1_000; i++) arena.free(arena.allocUnsafe(20_000))
      arena.check()
    } finally {
      arena.close()
      ledger.limitBytes = Number.POSITIVE_INFINITY
    }
  })
})

describe('the books', () => {
  it('are as before after an ArrayBuffer that the runtime refuses', () => {
    const { arena, kernel } = open({ debug: true })
    const kept = arena.allocUnsafe(10_000)
    const before = arena.stats()
    kernel.refuse('wrap')
    for (const size of [64, 20_000, 100_000]) {
      expect(thrownBy(() => arena.alloc(size))?.code).toBe('ERR_ARENA_OUT_OF_MEMORY')
    }
    kernel.allow()
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, usedBytes: before.usedBytes, quarantinedBlocks: 0 })
    arena.free(kept)
    arena.check()
  })

  it.each(['unguard', 'protect'] as const)('wait for a guard that %s does not lift', kind => {
    const { arena, kernel, deferral } = open({ debug: true })
    kernel.hasNoGuards = kind === 'protect'
    arena.free(arena.allocUnsafe(100_000).fill(1))
    kernel.refuse(kind)
    arena.trim()
    expect(arena.stats().usedBytes).toBeGreaterThan(100_000)
    arena.check()
    deferral.advance(3_000)
    arena.check()
    kernel.allow()
    deferral.advance(3_000)
    expect(arena.stats().committedBytes).toBe(0)
    arena.check()
  })

  it('lift every guard before the memory is used again', () => {
    const { arena } = open({ debug: true })
    for (let round = 0; round < 3; round++) {
      for (const size of [4_096, 5_000, 65_536, 200_000]) arena.free(arena.allocUnsafe(size).fill(1))
      arena.trim()
      // Over all places at which there were guards.
      const block = arena.alloc(400_000)
      expect(isZero(block)).toBe(true)
      arena.free(block.fill(3))
      arena.trim()
    }
    expect(arena.stats().committedBytes).toBe(0)
  })

  it('have everything given back at close, guards and all', async () => {
    const { arena, kernel, deferral } = open({ debug: true })
    for (const size of [10, 5_000, 100_000, 3 * MIB]) arena.free(arena.allocUnsafe(size))
    for (const size of [10, 5_000, 100_000, 3 * MIB]) arena.allocUnsafe(size)
    arena.close()
    arena.check()
    await turns()
    for (let i = 0; i < 4; i++) deferral.runTurn()
    deferral.advance(60_000)
    expect([kernel.mappings.size, deferral.pendingTimers]).toEqual([0, 0])
  })

  it('set aside a block that somebody took, and never call what they write damage', async () => {
    const { arena, deferral } = open({ debug: true })
    const block = arena.allocUnsafe(5_000)
    // Byte streams move the whole ArrayBuffer on every line of Node.
    const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(block) })
    const { value } = await stream.getReader().read()
    arena.free(block)
    value?.fill(9)
    deferral.advance(3_000)
    arena.check()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, quarantinedBlocks: 0, usedBytes: 12_288 })
    expect(value?.every((byte: number) => byte === 9)).toBe(true)
    await told()
    expect([freedWrites, overruns]).toEqual([[], []])
  })
})
