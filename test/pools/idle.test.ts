/** When idle Buffers end: by time, and whenever somebody wants memory back. */
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { open, thrownBy } from '../support/world.js'

const MIB = 2 ** 20

/** Acquires so many Buffers, and releases them. */
function cycle(pool: { acquire(): Buffer; release(buffer: Buffer): void }, count: number): void {
  const buffers = Array.from({ length: count }, () => pool.acquire())
  for (const buffer of buffers) pool.release(buffer)
}

describe.each([64, 1_000, 4_096, 70_000])('idle Buffers of %i bytes', sizeBytes => {
  it('end by time, and their pages are back within the promise', () => {
    const { arena, deferral } = open({ releaseAfterMs: 1_000 })
    const pool = arena.pool(sizeBytes)
    cycle(pool, 500)
    expect(arena.stats()).toMatchObject({ idleBlocks: 500, liveBlocks: 500, dirtyBytes: 0 })
    deferral.advance(400)
    expect(arena.stats().idleBlocks).toBe(500)
    deferral.advance(590)
    expect(arena.stats()).toMatchObject({
      idleBlocks: 0,
      liveBlocks: 0,
      usedBytes: 0,
      dirtyBytes: 0,
      pools: 0,
    })
    arena.check()
    deferral.advance(10_000)
    expect(deferral.pendingTimers).toBe(0)
    const buffer = pool.acquire()
    expect(buffer.length).toBe(sizeBytes)
    pool.release(buffer)
    expect(pool.acquire()).toBe(buffer)
  })

  it('stay as long as traffic needs them', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(sizeBytes)
    cycle(pool, 100)
    for (let i = 0; i < 50; i++) {
      deferral.advance(100)
      cycle(pool, 30)
      arena.check()
    }
    expect(pool.stats()).toMatchObject({ made: 100, idleBuffers: 30, handedOut: 1_600 })
  })

  it('end in trim, and their memory serves other blocks at a limit', () => {
    const { arena } = open({ limitBytes: 4 * MIB })
    const pool = arena.pool(sizeBytes)
    cycle(pool, 40)
    expect(arena.trim()).toBeGreaterThan(0)
    expect(arena.stats()).toMatchObject({ idleBlocks: 0, committedBytes: 0 })
    const count = Math.floor((3.5 * MIB) / Math.max(64, sizeBytes))
    cycle(pool, count)
    const block = arena.allocUnsafe(3 * MIB)
    expect([block.length, pool.stats().idleBuffers]).toEqual([3 * MIB, 0])
    arena.check()
  })

  it('of one pool make room for another one', () => {
    const { arena } = open({ limitBytes: 2 * MIB })
    const pool = arena.pool(sizeBytes)
    cycle(pool, Math.floor((1.9 * MIB) / Math.max(64, sizeBytes)))
    const other = arena.pool(300_000)
    cycle(other, 5)
    expect([pool.stats().idleBuffers, other.stats().idleBuffers]).toEqual([0, 5])
    arena.check()
  })
})

describe('idle Buffers', () => {
  it('end in slices, however many there are', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(70_000)
    cycle(pool, 300)
    let most = 0
    for (let before = arena.stats().idleBlocks; arena.stats().idleBlocks > 0; ) {
      deferral.runTimer()
      const { idleBlocks } = arena.stats()
      most = Math.max(most, before - idleBlocks)
      before = idleBlocks
      arena.check()
    }
    expect(most).toBeLessThan(20)
    expect(pool.stats()).toMatchObject({ made: 300, acquiredBuffers: 0 })
  })

  it('that traffic wants while they wait for their end are made anew', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(70_000)
    cycle(pool, 300)
    while (arena.stats().idleBlocks === 300) deferral.runTimer()
    cycle(pool, 10)
    arena.check()
    deferral.advance(100)
    expect(arena.stats().idleBlocks).toBe(10)
  })

  it('end when the process wants memory back, also those of other arenas', () => {
    const group = new ArenaGroup()
    const deferral = new ManualDeferral()
    const [one, other] = ['one', 'other'].map(
      name => new Arena({ name }, { addon: new FaultyKernel(), deferral, now: deferral.now, group }),
    )
    const pool = one.pool(10_000)
    cycle(pool, 50)
    expect(group.hasDirty).toBe(true)
    expect(group.giveBack('pressure')).toBeGreaterThan(400_000)
    expect([one.stats().idleBlocks, group.hasDirty]).toEqual([0, false])
    one.check()
    one.close()
    other.close()
  })

  it('end in trimAsync, those that come back meanwhile stay', async () => {
    const { arena, deferral } = open()
    const pool = arena.pool(70_000)
    cycle(pool, 300)
    const trimmed = arena.trimAsync()
    deferral.readCostMs = 0.1
    let isDone = false
    void trimmed.then(() => {
      isDone = true
    })
    let turns = 0
    for (; !isDone && turns < 10_000; turns++) {
      deferral.runTurn()
      await Promise.resolve()
      if (turns === 5) cycle(pool, 3)
    }
    expect(await trimmed).toBeGreaterThan(20 * MIB)
    expect([turns > 5, turns < 10_000, arena.stats().idleBlocks]).toEqual([true, true, 3])
    arena.check()
  })

  it('do not end by time with releaseAfterMs: Infinity, and do in trim', () => {
    const { arena, deferral } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    const pool = arena.pool(1_000)
    cycle(pool, 50)
    deferral.advance(100_000)
    expect(pool.stats().idleBuffers).toBe(50)
    arena.trim()
    expect([pool.stats().idleBuffers, arena.stats().committedBytes]).toEqual([0, 0])
    arena.check()
  })

  it('end although the kernel refuses, and their pages go later', () => {
    const { arena, kernel, deferral } = open()
    const pool = arena.pool(70_000)
    cycle(pool, 20)
    kernel.fails = kind => kind === 'dontneed'
    deferral.advance(1_000)
    expect(pool.stats().idleBuffers).toBe(0)
    expect(arena.stats().dirtyBytes).toBeGreaterThan(0)
    kernel.fails = () => false
    deferral.advance(100_000)
    expect(arena.stats().dirtyBytes).toBe(0)
    arena.check()
  })

  it('need no timer while there are none', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(64)
    const buffer = pool.acquire()
    expect(deferral.pendingTimers).toBe(0)
    pool.release(buffer)
    expect(deferral.pendingTimers).toBe(1)
    pool.acquire()
    deferral.advance(500)
    expect(deferral.pendingTimers).toBe(0)
    pool.release(buffer)
    arena.close()
    deferral.advance(10_000)
    expect(deferral.pendingTimers).toBe(0)
  })
})

describe('handedOut', () => {
  it('counts on each path', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(64)
    for (let i = 0; i < 1_000; i++) cycle(pool, 3)
    deferral.advance(450)
    for (let i = 0; i < 1_000; i++) cycle(pool, 4)
    expect(pool.stats()).toMatchObject({ handedOut: 7_000, made: 4 })
    expect(thrownBy(() => arena.check())).toBeUndefined()
  })
})
