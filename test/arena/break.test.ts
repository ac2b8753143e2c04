/** An arena over the program break of this process, looked at from outside: the break, mincore and contents. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { baseOf, hasNoBreak } from '../support/break.js'
import type { FaultyKernel } from '../support/faulty-kernel.js'
import { loadStranger } from '../support/stranger.js'
import { isMarked, isZero, mark, thrownBy, turns, type World, worldWith } from '../support/world.js'

const KIB = 2 ** 10
const MIB = 2 ** 20

const stranger = loadStranger()
/** Where the arena's pages begin: malloc moves the break while nobody has it. */
let base = 0
let world: World | undefined

function open(options: ArenaOptions = {}): World {
  world = worldWith({ source: 'sbrk', ...options })
  const [mapping] = [...world.kernel.mappings].find(([, lengthBytes]) => lengthBytes === 0) as [
    number,
    number,
  ]
  base = baseOf(mapping, stranger.breakAt)
  return world
}

afterEach(async () => {
  if (world === undefined) return
  const { arena, kernel, deferral } = world
  world = undefined
  kernel.allow()
  arena.close()
  arena.check()
  expect(heldBytes()).toBe(0)
  for (let i = 0; i < 4; i++) {
    await turns()
    deferral.runTurn()
    deferral.advance(1_000)
  }
  expect(kernel.mappings.size).toBe(0)
})

/** How far the break is above where the pages begin. While none is held it is below, and malloc may lower it further. */
function heldBytes(): number {
  return Math.max(0, stranger.breakAt() - base)
}

function breakMoves(kernel: FaultyKernel): number {
  return kernel.counts.sbrk
}

function expectSound(arena: Arena): void {
  arena.check()
  expect(heldBytes()).toBe(arena.stats().mappedBytes)
}

describe.skipIf(hasNoBreak)('stats', () => {
  it('name the source, and say whether the break is ours', () => {
    const { arena } = open()
    expect(arena.stats()).toMatchObject({ source: 'sbrk', breakOwned: true, segments: 0, mappedBytes: 0 })
    arena.allocUnsafe(10)
    expect(arena.stats()).toMatchObject({ source: 'sbrk', breakOwned: true, segments: 1 })
    expect(arena.stats().mappedBytes).toBe(heldBytes())
  })
})

describe.skipIf(hasNoBreak)('one arena in a process', () => {
  it('keeps the others out, whoever they are, until it is closed', () => {
    const { arena } = open({ name: 'first' })
    const error = thrownBy(() => worldWith({ name: 'second', source: 'sbrk' }))
    expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_BREAK_IN_USE' })
    expect(error?.message).toContain("arena 'second': the program break belongs to arena 'first'")
    const block = arena.alloc(2 * MIB)
    arena.close()
    const second = worldWith({ name: 'second', source: 'sbrk' })
    const other = second.arena.alloc(3 * MIB)
    expect(isZero(other)).toBe(true)
    expect(block.length).toBe(0)
    second.arena.close()
    expect(heldBytes()).toBe(0)
  })

  it('leaves mappings to any number of arenas', () => {
    open()
    const other = worldWith({ source: 'mmap' })
    expect(other.arena.alloc(MIB).length).toBe(MIB)
    other.arena.close()
  })
})

describe.skipIf(hasNoBreak)('freeing from the top down', () => {
  it('lowers the break as it goes, with releaseAfterMs: 0', () => {
    const { arena } = open({ releaseAfterMs: 0 })
    const blocks = Array.from({ length: 64 }, (_, i) => arena.allocUnsafe(100 * KIB).fill(i + 1))
    for (let count = 63; count > 0; count--) {
      arena.free(blocks[count])
      expect(heldBytes()).toBe(count * 100 * KIB)
      expect(arena.residentBytes()).toBe(count * 100 * KIB)
    }
    expectSound(arena)
  })

  it('lowers it by timer otherwise, to where it was found in the end', () => {
    const { arena, deferral } = open()
    const blocks = Array.from({ length: 64 }, (_, i) => arena.allocUnsafe(100 * KIB).fill(i + 1))
    for (const count of [48, 20, 3, 0]) {
      while (blocks.length > count) arena.free(blocks.pop() as Buffer)
      deferral.advance(1_000)
      expect(heldBytes()).toBe(count * 100 * KIB)
      expect(arena.residentBytes()).toBe(count * 100 * KIB)
      expectSound(arena)
    }
    expect(deferral.pendingTimers).toBe(0)
  })

  it('takes several turns over a long way down', () => {
    const { arena, deferral } = open()
    const blocks = Array.from({ length: 8 }, () => arena.allocUnsafe(4 * MIB).fill(1))
    for (const block of blocks) arena.free(block)
    let deepest = 0
    for (let before = heldBytes(); before > 0; before = heldBytes()) {
      expect(deferral.pendingTimers).toBe(1)
      deferral.runTimer()
      deepest = Math.max(deepest, before - heldBytes())
    }
    expect(deepest).toBe(8 * MIB)
    expect(deferral.nowMs).toBeLessThan(1_000)
    expect(deferral.pendingTimers).toBe(0)
    expectSound(arena)
  })

  it('merges what is free below the top with it, and finds the next highest block', () => {
    const { arena } = open()
    const [low, middle, high] = [1, 2, 3].map(i => arena.allocUnsafe(300 * KIB).fill(i))
    arena.free(middle)
    arena.trim()
    expect(heldBytes()).toBe(900 * KIB)
    arena.free(high)
    arena.trim()
    expect(heldBytes()).toBe(300 * KIB)
    expect(low.every(byte => byte === 1)).toBe(true)
    expectSound(arena)
  })

  it('comes down to small blocks page by page', () => {
    const { arena, kernel } = open()
    const blocks = Array.from({ length: 4_000 }, () => arena.allocUnsafe(KIB).fill(1))
    while (blocks.length > 1_500) arena.free(blocks.pop() as Buffer)
    arena.trim()
    expect(heldBytes()).toBe(1_500 * KIB)
    expect(arena.residentBytes()).toBe(arena.stats().usedBytes)
    expect(heldBytes() % kernel.pageBytes).toBe(0)
    expectSound(arena)
  })
})

describe.skipIf(hasNoBreak)('a single byte at the top', () => {
  it('holds the break up, while the pages below go back', () => {
    const { arena, kernel } = open()
    const blocks = Array.from({ length: 32 }, () => arena.allocUnsafe(256 * KIB).fill(1))
    const top = arena.allocUnsafe(1).fill(7)
    const resident = arena.residentBytes()
    for (const block of blocks) arena.free(block)
    arena.trim()
    expect(heldBytes()).toBe(8 * MIB + kernel.pageBytes)
    expect(resident).toBeGreaterThan(8 * MIB)
    expect(arena.residentBytes()).toBe(kernel.pageBytes)
    expect(top[0]).toBe(7)
    arena.free(top)
    arena.trim()
    expect(heldBytes()).toBe(0)
    expectSound(arena)
  })
})

describe.skipIf(hasNoBreak)('a block that comes and goes at the top', () => {
  it('makes no system call within the release time', () => {
    const { arena, kernel } = open()
    arena.allocUnsafe(100 * KIB)
    const first = arena.allocUnsafe(3 * MIB).fill(1)
    arena.free(first)
    const before = { ...kernel.counts }
    for (let i = 0; i < 1_000; i++) arena.free(arena.allocUnsafe(3 * MIB))
    const { sbrk, openFence, closeFence, dontneed } = before
    expect(kernel.counts).toMatchObject({ sbrk, openFence, closeFence, dontneed })
    expectSound(arena)
  })

  it('does not move the break with releaseAfterMs: 0 either, until it is quiet', () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs: 0 })
    arena.allocUnsafe(100 * KIB)
    for (let i = 0; i < 3; i++) arena.free(arena.allocUnsafe(3 * MIB))
    const before = breakMoves(kernel)
    for (let i = 0; i < 1_000; i++) arena.free(arena.allocUnsafe(3 * MIB).fill(1))
    expect(breakMoves(kernel)).toBe(before)
    expect(arena.residentBytes()).toBe(0)
    expect(heldBytes()).toBeGreaterThan(3 * MIB)
    deferral.advance(5_000)
    expect(heldBytes()).toBe(100 * KIB)
    expect(deferral.pendingTimers).toBe(0)
    expectSound(arena)
  })
})

describe.skipIf(hasNoBreak)('windows and views', () => {
  it('live on while the break goes up and down over them', () => {
    const { arena, deferral } = open({ detachFromBytes: Number.POSITIVE_INFINITY })
    const kept = Array.from({ length: 20 }, (_, i) => {
      const block = arena.allocUnsafe(40_000)
      mark(block, i)
      return block
    })
    for (let round = 0; round < 20; round++) {
      const more = Array.from({ length: 200 }, (_, i) => {
        const block = arena.allocUnsafe(1_000 + ((i * 7919 + round * 104_729) % 60_000))
        mark(block, 1_000 + i)
        return block
      })
      for (const [i, block] of more.entries()) expect(isMarked(block, 1_000 + i)).toBe(true)
      for (const block of more) arena.free(block)
      if (round % 2 === 0) arena.trim()
      else deferral.advance(1_000)
      for (const [i, block] of kept.entries()) expect(isMarked(block, i)).toBe(true)
      expect(heldBytes()).toBeLessThan(MIB)
      expectSound(arena)
    }
  })

  it('of freed blocks read as zero above the break, and can be written without harm', () => {
    const { arena } = open({ releaseAfterMs: 0, detachFromBytes: Number.POSITIVE_INFINITY })
    const low = arena.allocUnsafe(20_000).fill(1)
    const high = Array.from({ length: 8 }, () => arena.allocUnsafe(40_000).fill(2))
    // Another view of the same memory, which the arena does not know of.
    const stale = high.map(block => new Uint8Array(block.buffer, block.byteOffset, block.length))
    for (const block of high) arena.free(block)
    expect(heldBytes()).toBeLessThanOrEqual(20_480)
    for (const view of stale.filter(view => view.length > 0)) {
      // The first may share its first page with the block below.
      expect(isZero(view.subarray(4_096))).toBe(true)
      view.fill(9, 4_096)
    }
    const again = arena.alloc(300_000)
    expect(isZero(again)).toBe(true)
    expect(low.every(byte => byte === 1)).toBe(true)
    expectSound(arena)
  })
})

describe.skipIf(hasNoBreak)('the limit, reset and close', () => {
  it('count pages, not how high the break is', () => {
    const { arena } = open({ limitBytes: MIB })
    const block = arena.allocUnsafe(MIB)
    expect(thrownBy(() => arena.allocUnsafe(1))).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    arena.free(block)
    arena.allocUnsafe(MIB)
    expectSound(arena)
  })

  it('reset brings the break down once pages are due', () => {
    const { arena, deferral } = open()
    for (let i = 0; i < 100; i++) arena.allocUnsafe(50_000).fill(1)
    arena.reset()
    deferral.advance(1_000)
    expect(heldBytes()).toBe(0)
    expectSound(arena)
  })

  it('close brings it down at once, live blocks or not', () => {
    const { arena } = open()
    for (let i = 0; i < 100; i++) arena.allocUnsafe(50_000).fill(1)
    expect(heldBytes()).toBeGreaterThan(4 * MIB)
    arena.close()
    expect(heldBytes()).toBe(0)
    expect(arena.stats()).toMatchObject({ source: 'sbrk', mappedBytes: 0, segments: 0 })
  })

  it('trim says so where the kernel does not let the break go down', () => {
    const { arena, kernel } = open()
    arena.free(arena.allocUnsafe(MIB))
    kernel.refuse('sbrk')
    expect(thrownBy(() => arena.trim())).toMatchObject({
      code: 'ERR_ARENA_PURGE_FAILED',
      cause: { syscall: 'sbrk' },
    })
    expect(arena.residentBytes()).toBe(0)
    arena.check()
    kernel.allow()
    arena.trim()
    expect(heldBytes()).toBe(0)
  })
})
