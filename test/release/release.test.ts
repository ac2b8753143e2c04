/** When pages go back, by a clock that the test moves. */
import { createHook } from 'node:async_hooks'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { loadAddon } from '../../src/memory/addon.js'
import { ReleasePolicy } from '../../src/release/policy.js'
import { open } from '../support/world.js'

const PAGE = loadAddon().pageBytes
const MIB = 2 ** 20

describe('ReleasePolicy', () => {
  it('knows at once, and never', () => {
    const atOnce = new ReleasePolicy(0, () => 0, PAGE)
    const never = new ReleasePolicy(Number.POSITIVE_INFINITY, () => 0, PAGE)
    expect([atOnce.isImmediate, atOnce.isTimed]).toEqual([true, false])
    expect([never.isImmediate, never.isTimed]).toEqual([false, false])
  })

  it('starts no call in the second half of the millisecond of a turn, whoever began it', () => {
    let nowMs = 5
    const policy = new ReleasePolicy(1_000, () => nowMs, PAGE)
    expect(policy.hasTime(5)).toBe(true)
    nowMs += 0.49
    expect(policy.hasTime(5)).toBe(true)
    nowMs += 0.02
    expect(policy.hasTime(5)).toBe(false)
    expect(policy.hasTime(5.5)).toBe(true)
  })

  it('tries again after a second where pages should have gone back at once', () => {
    expect(new ReleasePolicy(0, () => 0, PAGE).delayMs(true, true)).toBe(1_000)
  })
})

describe.each([20, 1_000, 60_000])('releaseAfterMs: %i', releaseAfterMs => {
  it('gives a page back in that time after it came free, and not before half an interval', () => {
    // At any moment of the ticks that earlier blocks have set going.
    for (let phase = 0; phase < 1; phase += 0.1) {
      const { arena, deferral } = open({ releaseAfterMs })
      arena.free(arena.allocUnsafe(MIB / 2).fill(1))
      deferral.advance(releaseAfterMs * phase)
      const block = arena.allocUnsafe(200_000).fill(1)
      arena.free(block)
      const freedMs = deferral.nowMs
      while (arena.stats().dirtyBytes > 0) {
        expect(deferral.nextTimerInMs).toBeLessThan(Number.POSITIVE_INFINITY)
        deferral.runTimer()
      }
      const tookMs = deferral.nowMs - freedMs
      expect(tookMs).toBeLessThan(releaseAfterMs + 1e-6)
      expect(tookMs).toBeGreaterThan(releaseAfterMs * 0.22)
      expect(arena.residentBytes()).toBe(0)
    }
  })

  it('never purges what is reused within half an interval', () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs })
    arena.free(arena.allocUnsafe(100_000).fill(1))
    for (let i = 0; i < 50; i++) {
      deferral.advance(releaseAfterMs * 0.2)
      arena.free(arena.allocUnsafe(100_000).fill(1))
    }
    expect(arena.stats()).toMatchObject({ purges: 0, refaultedBytes: 0 })
    expect(kernel.counts.dontneed).toBe(0)
    deferral.advance(releaseAfterMs)
    expect(arena.stats().dirtyBytes).toBe(0)
  })

  it('has one timer at most, and none while there is nothing to give back', () => {
    const { arena, deferral } = open({ releaseAfterMs })
    expect(deferral.pendingTimers).toBe(0)
    const kept = arena.allocUnsafe(100)
    expect(deferral.pendingTimers).toBe(0)
    for (let i = 0; i < 100; i++) {
      arena.free(arena.allocUnsafe(1 + i * 999))
      expect(deferral.pendingTimers).toBe(1)
    }
    deferral.advance(10 * releaseAfterMs)
    expect(deferral.pendingTimers).toBe(0)
    arena.free(kept)
    expect(deferral.pendingTimers).toBe(1)
    deferral.advance(10 * releaseAfterMs)
    expect(deferral.pendingTimers).toBe(0)
    expect(arena.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0 })
  })
})

describe('releaseAfterMs: 0', () => {
  it('gives pages back on the call that frees them', () => {
    const { arena, deferral } = open({ releaseAfterMs: 0 })
    const blocks = [64, 1_000, 20_000, 100_000, MIB].map(size => arena.allocUnsafe(size).fill(1))
    for (const block of blocks) {
      arena.free(block)
      expect(arena.stats().dirtyBytes).toBe(0)
      expect(arena.residentBytes()).toBe(arena.stats().usedBytes)
    }
    expect(arena.residentBytes()).toBe(0)
    expect(deferral.pendingTimers).toBe(0)
  })

  it('does so on reset and where realloc shrinks', () => {
    const { arena } = open({ releaseAfterMs: 0 })
    const block = arena.realloc(arena.allocUnsafe(MIB).fill(1), 100_000)
    expect(arena.stats()).toMatchObject({ dirtyBytes: 0, liveBytes: block.length })
    arena.reset()
    expect(arena.residentBytes()).toBe(0)
  })

  it('does so again after the kernel refused once', () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs: 0 })
    const [first, second] = [100_000, 100_000].map(size => arena.allocUnsafe(size).fill(1))
    kernel.failNth('dontneed', 1)
    arena.free(first)
    expect(arena.stats().dirtyBytes).toBeGreaterThan(0)
    arena.free(second)
    expect(arena.stats().dirtyBytes).toBe(0)
    deferral.advance(5_000)
    expect(deferral.pendingTimers).toBe(0)
  })
})

describe('releaseAfterMs: 0, while a block waits for the finalizer of its buffer', () => {
  function withWaitingBlock() {
    const world = open({ releaseAfterMs: 0 })
    const block = world.arena.allocUnsafe(100_000)
    world.kernel.refuse('detach')
    world.arena.free(block)
    world.kernel.allow()
    world.arena.check()
    return { ...world, block }
  }

  it('still gives pages back on the call that frees them', () => {
    const { arena, block } = withWaitingBlock()
    const other = arena.allocUnsafe(200_000).fill(1)
    arena.free(other)
    expect(arena.stats().dirtyBytes).toBe(0)
    expect(block.length).toBe(100_000)
  })

  it('looks after it now and then, not at every millisecond', () => {
    const { kernel, deferral, block } = withWaitingBlock()
    const before = kernel.counts.isWrapped
    deferral.advance(1_000)
    expect(kernel.counts.isWrapped - before).toBeGreaterThan(0)
    expect(kernel.counts.isWrapped - before).toBeLessThanOrEqual(100)
    expect(block.length).toBe(100_000)
  })
})

describe('releaseAfterMs: Infinity', () => {
  it('gives pages back by trim only', () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    arena.free(arena.allocUnsafe(MIB).fill(1))
    arena.reset()
    deferral.advance(2 ** 31)
    expect(deferral.pendingTimers).toBe(0)
    expect(kernel.counts.dontneed).toBe(0)
    expect(arena.residentBytes()).toBe(MIB)
    expect(arena.trim()).toBe(MIB)
    expect(arena.residentBytes()).toBe(0)
  })
})

describe('a tick', () => {
  it('stops after a millisecond, goes on after the event loop had its turn, and ends', () => {
    const { arena, kernel, deferral } = open()
    const blocks = Array.from({ length: 200 }, () => arena.allocUnsafe(5 * PAGE).fill(1))
    for (let i = 0; i < blocks.length; i += 2) arena.free(blocks[i])
    deferral.advance(500)
    // Takes its time, and fails nothing.
    kernel.fails = kind => {
      if (kind === 'dontneed') deferral.nowMs += 0.1
      return false
    }
    const perTurn: number[] = []
    while (arena.stats().dirtyBytes > 0) {
      const before = kernel.counts.dontneed
      deferral.runTimer()
      perTurn.push(kernel.counts.dontneed - before)
    }
    expect(perTurn.length).toBeGreaterThan(10)
    // How many is found out: the first one is for sixteen.
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(16)
    expect(Math.max(...perTurn.slice(5))).toBeLessThanOrEqual(10)
    expect(perTurn.reduce((a, b) => a + b)).toBe(100)
    arena.check()
  })

  it('takes neighbouring stretches in few calls, whatever the sizes of the blocks were', () => {
    const { arena, kernel, deferral } = open()
    // Sizes that fill their pages, so that no page between them stays untouched.
    const sizes = [5 * PAGE, PAGE, 25 * PAGE, 4 * PAGE, 7 * PAGE, 1024, 1024, 1024, 1024]
    for (const block of sizes.map(size => arena.allocUnsafe(size).fill(1))) arena.free(block)
    expect(arena.stats().dirtyBytes).toBe(43 * PAGE)
    deferral.advance(1_000)
    expect(arena.stats().dirtyBytes).toBe(0)
    // The decay goes in steps; no call is for less than 16 pages but the last.
    expect(kernel.counts.dontneed).toBe(3)
    arena.free(arena.allocUnsafe(100_000))
    arena.trim()
    expect(arena.stats().purges).toBe(kernel.counts.dontneed)
  })

  it('makes no call longer than half a millisecond is expected to take', () => {
    const { arena, kernel, deferral } = open()
    arena.free(arena.allocUnsafe(30 * MIB).fill(1))
    deferral.advance(1_000)
    expect(arena.stats().dirtyBytes).toBe(0)
    const lengths = kernel.calls.filter(call => call.kind === 'dontneed').map(call => call.args[2] as number)
    // Nothing was measured under a clock that stands still: the first guess is a microsecond a page.
    expect(Math.max(...lengths)).toBe(500 * PAGE)
    expect(lengths.length).toBeLessThan((30 * MIB) / (500 * PAGE) + 4)
  })

  it('tries again what the kernel refused, and gives the rest back in time', () => {
    const { arena, kernel, deferral } = open()
    const blocks = Array.from({ length: 10 }, () => arena.allocUnsafe(5 * PAGE).fill(1))
    for (let i = 0; i < 10; i += 2) arena.free(blocks[i])
    kernel.refuse('dontneed')
    deferral.advance(1_000)
    expect(arena.stats()).toMatchObject({ dirtyBytes: 25 * PAGE, purges: 0 })
    kernel.allow()
    kernel.failNth('dontneed', 2)
    deferral.advance(1_000)
    expect(arena.stats().dirtyBytes).toBe(0)
    expect(deferral.pendingTimers).toBe(0)
    arena.check()
  })

  it('of many slices is not held up by one refused call', () => {
    const { arena, kernel, deferral } = open()
    const blocks = Array.from({ length: 200 }, () => arena.allocUnsafe(5 * PAGE).fill(1))
    for (let i = 0; i < blocks.length; i += 2) arena.free(blocks[i])
    deferral.readCostMs = 0.1
    const first = kernel.calls.length
    // Always the same stretch: the kernel refuses it, and takes all others.
    kernel.fails = kind => kind === 'dontneed' && kernel.calls.at(-1)?.args[1] === 0
    deferral.advance(1_000)
    expect(kernel.failures).toBeGreaterThan(0)
    expect(kernel.calls.length - first).toBeGreaterThan(99)
    expect(arena.stats().dirtyBytes).toBe(5 * PAGE)
  })
})

describe('a thousand arenas', () => {
  it('share one timer of the event loop', async () => {
    const made = new Set<number>()
    const hook = createHook({
      init: (id, type) => {
        if (type === 'Timeout') made.add(id)
      },
    })
    const arenas = Array.from({ length: 1_000 }, () => new Arena({ releaseAfterMs: 300 }))
    try {
      hook.enable()
      for (const arena of arenas) arena.free(arena.allocUnsafe(10_000).fill(1))
      hook.disable()
      // A tick that is due before the timer takes its place, and so does one that is added when the timer is a second late.
      expect(made.size).toBeLessThan(20)
      // A generous promise: it is the number of timers that is looked at.
      for (let i = 0; i < 100 && arenas.some(arena => arena.stats().dirtyBytes > 0); i++) {
        await new Promise(resolve => setTimeout(resolve, 100))
      }
      expect(arenas.every(arena => arena.stats().dirtyBytes === 0)).toBe(true)
    } finally {
      hook.disable()
      for (const arena of arenas) arena.close()
    }
  })
})
