import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { possibleHere } from '../support/libc.js'
import { open, turns } from '../support/world.js'

const PAGE = 4096

/** Every second one of these blocks is freed. */
function scatter(arena: Arena, count = 1_000): Buffer[] {
  const blocks = Array.from({ length: count }, () => arena.allocUnsafe(3 * PAGE).fill(1))
  for (let i = 0; i < count; i += 2) arena.free(blocks[i])
  return blocks.filter((_, index) => index % 2 === 1)
}

async function finish(deferral: { runTurn(): void; pendingTurns: number }): Promise<number> {
  let slices = 0
  do {
    await turns(1)
    if (deferral.pendingTurns > 0) slices++
    deferral.runTurn()
    await turns(1)
  } while (deferral.pendingTurns > 0)
  return slices
}

describe('trimAsync', () => {
  it('does what trim does, in slices', async () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    const kept = scatter(arena)
    const { dirtyBytes } = arena.stats()
    kernel.fails = kind => {
      if (kind === 'dontneed') deferral.nowMs += 0.05
      return false
    }
    const trimmed = arena.trimAsync()
    expect(await finish(deferral)).toBeGreaterThan(20)
    expect(await trimmed).toBe(dirtyBytes)
    expect(arena.stats().dirtyBytes).toBe(0)
    expect(arena.residentBytes()).toBe(arena.stats().usedBytes)
    expect(kept.every(block => block.every(byte => byte === 1))).toBe(true)
    arena.check()
  })

  it('gives back what each caller saw free, one call after the other', async () => {
    const { arena, deferral } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    const kept = scatter(arena)
    const first = arena.trimAsync()
    for (const block of kept) arena.free(block)
    const second = arena.trimAsync()
    const third = arena.trimAsync()
    await finish(deferral)
    expect((await first) + (await second)).toBeGreaterThanOrEqual(3_000 * PAGE)
    expect(await third).toBe(0)
    expect(arena.stats().dirtyBytes).toBe(0)
  })

  it('says what the kernel refused, once all else is done', async () => {
    const { arena, kernel, deferral } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    scatter(arena)
    kernel.failNth('dontneed', 100)
    const trimmed = arena.trimAsync().catch(error => error)
    await finish(deferral)
    expect(await trimmed).toMatchObject({ code: 'ERR_ARENA_PURGE_FAILED', cause: { code: 'EAGAIN' } })
    expect(arena.stats().dirtyBytes).toBe(3 * PAGE)
    arena.check()
  })

  it('is overtaken by close', async () => {
    const { arena, deferral } = open()
    scatter(arena)
    const trimmed = arena.trimAsync()
    arena.close()
    await finish(deferral)
    expect(await trimmed).toBe(0)
    await expect(arena.trimAsync()).rejects.toMatchObject({ code: 'ERR_ARENA_CLOSED' })
  })

  // A sample of the options.
  it.each(
    someOf(possibleHere<ArenaOptions>([{}, { source: 'sbrk' }, { hugePages: true }, { debug: true }]), 2),
  )('with %j leaves nothing behind, and the process does not end before', async options => {
    const { code, stdout, stderr } = await runFunction(
      async ({ Arena, assert }, { options }) => {
        const arena = new Arena(options)
        const blocks = Array.from({ length: 20_000 }, () => arena.allocUnsafe(1000).fill(1))
        for (const block of blocks) arena.free(block)
        await arena.trimAsync()
        assert.equal(arena.stats().dirtyBytes, 0)
        assert.equal(arena.residentBytes(), 0)
        arena.check()
        console.log('done')
      },
      { options },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'done\n', stderr: '' })
  })
})
