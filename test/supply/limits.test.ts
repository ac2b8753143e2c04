/** Soft, hard and process-wide limits, over the real kernel and the real ledger of this process. */
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { loadLedger } from '../../src/memory/addon.js'
import type { LimitMessage } from '../../src/notices/notices.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import { setProcessLimit } from '../../src/process/process-limit.js'
import { runFunction } from '../support/child.js'
import { stepsOf } from '../support/extent.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { rssBytes } from '../support/process.js'
import { isMarked, mark, open, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20

const arenas: Arena[] = []
afterEach(() => {
  for (const arena of arenas.splice(0)) arena.close()
  loadLedger().limitBytes = Number.POSITIVE_INFINITY
})

/** Arenas of one thread, sharing the process's ledger. */
function openGroup(...options: ArenaOptions[]): Arena[] {
  const group = new ArenaGroup()
  const opened = options.map(each => {
    const deferral = new ManualDeferral()
    const kernel = new FaultyKernel()
    return new Arena(each, { addon: kernel, deferral, now: deferral.now, ledger: loadLedger(), group })
  })
  arenas.push(...opened)
  return opened
}

function heldBytes(all: Arena[]): number {
  return all.reduce((bytes, arena) => bytes + arena.stats().committedBytes, 0)
}

describe('limitBytes', () => {
  it('never refuses what fits after purging', () => {
    const { arena } = open({ limitBytes: 8 * MIB, releaseAfterMs: Number.POSITIVE_INFINITY })
    for (let i = 0; i < 500; i++) {
      const size = 1 + ((i * 7_919_113) % (7 * MIB))
      const block = arena.allocUnsafe(size)
      mark(block, i + 1)
      expect(isMarked(block, i + 1)).toBe(true)
      arena.free(block)
      expect(arena.stats().committedBytes).toBeLessThanOrEqual(8 * MIB)
    }
    arena.check()
  })

  const tries = stepsOf(300_000, 6)
  it(`is hit ${tries} times without a trace`, () => {
    const { arena, kernel } = open({ limitBytes: 8 * MIB })
    kernel.isRecording = false
    const kept = Array.from({ length: 7 }, (_, i) => {
      const block = arena.allocUnsafe(MIB)
      mark(block, i + 1)
      return block
    })
    const hit = (count: number): void => {
      for (let i = 0; i < count; i++) {
        if (arena.tryAllocUnsafe(2 * MIB) !== undefined) throw new Error('over the limit')
      }
    }
    // V8's heap and what it compiles come to their size.
    hit(50_000)
    const before = arena.stats()
    const [rssBefore, callsBefore] = [rssBytes(), kernel.callCount]
    hit(tries)
    expect(arena.stats()).toEqual(before)
    expect(kernel.callCount).toBe(callsBefore)
    // Garbage that is yet to be collected comes and goes. What stays is there after more tries too.
    const grownBytes = [rssBytes() - rssBefore]
    for (let again = 0; again < 5 && grownBytes[again] >= 16 * MIB; again++) {
      const bytes = rssBytes()
      hit(50_000)
      grownBytes.push(rssBytes() - bytes)
    }
    expect(Math.min(...grownBytes)).toBeLessThan(16 * MIB)
    expect(thrownBy(() => arena.allocUnsafe(2 * MIB))?.message).toContain(`limitBytes is ${8 * MIB}`)
    for (const [i, block] of kept.entries()) {
      expect(isMarked(block, i + 1)).toBe(true)
      arena.free(block)
    }
    arena.check()
    arena.free(arena.allocUnsafe(8 * MIB))
  }, 180_000)
})

describe('softLimitBytes', () => {
  async function withListener(options: ArenaOptions) {
    const world = open({ name: 'soft', releaseAfterMs: Number.POSITIVE_INFINITY, ...options })
    const heard: LimitMessage[] = []
    const listener = (message: LimitMessage): void => void heard.push(message)
    world.arena.on('limit', listener)
    return { ...world, heard, listener }
  }

  it('is no limit while trimming keeps below it', async () => {
    const { arena, heard } = await withListener({ softLimitBytes: 4 * MIB })
    for (let i = 0; i < 20; i++) {
      arena.free(arena.allocUnsafe(1 + i * 150_000).fill(1))
      expect(arena.stats().committedBytes).toBeLessThanOrEqual(4 * MIB)
    }
    await turns(1)
    expect(heard).toEqual([])
    arena.check()
  })

  it('is told once each time it is crossed', async () => {
    const { arena, heard } = await withListener({ softLimitBytes: 4 * MIB })
    for (let crossing = 1; crossing <= 3; crossing++) {
      const blocks = Array.from({ length: 8 }, () => arena.allocUnsafe(MIB).fill(1))
      arena.check()
      await turns(1)
      expect(heard.length).toBe(crossing)
      for (const block of blocks) arena.free(block)
      arena.trim()
      arena.check()
    }
    expect(heard[0]).toMatchObject({ arena: 'soft', kind: 'soft', limitBytes: 4 * MIB })
    expect(heard[0].committedBytes).toBeGreaterThan(3 * MIB)
  })

  it('stands below a hard one', async () => {
    const { arena, heard } = await withListener({ softLimitBytes: 2 * MIB, limitBytes: 4 * MIB })
    const blocks = Array.from({ length: 4 }, () => arena.allocUnsafe(MIB))
    expect(thrownBy(() => arena.allocUnsafe(MIB))).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    await turns(1)
    expect(heard.length).toBe(1)
    for (const block of blocks) arena.free(block)
    arena.check()
  })

  it('may be told to a listener that frees, closes or throws', async () => {
    const { code, stdout, stderr } = await runFunction(async ({ Arena, assert, turn, codeOf }) => {
      const errors: string[] = []
      process.on('uncaughtException', error => errors.push(error.message))
      const arena = new Arena({ softLimitBytes: 2 ** 20 })
      let kept: Buffer[] = []
      arena.on('limit', () => {
        throw new Error('of a listener')
      })
      arena.on('limit', () => {
        for (const block of kept.splice(0)) arena.free(block)
      })
      for (let i = 0; i < 40; i++) kept.push(arena.allocUnsafe(100_000))
      arena.check()
      await turn()
      assert.deepEqual(errors, ['of a listener'])
      assert.equal(arena.stats().liveBlocks, 0)
      arena.check()
      arena.trim()
      arena.on('limit', () => arena.close())
      kept = Array.from({ length: 20 }, () => arena.allocUnsafe(100_000))
      await turn()
      assert.equal(
        codeOf(() => arena.alloc(1)),
        'ERR_ARENA_CLOSED',
      )
      console.log('survived')
    })
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'survived\n', stderr: '' })
  })

  it('is not told to a listener that was taken off', async () => {
    const { arena, heard, listener } = await withListener({ softLimitBytes: MIB })
    arena.off('limit', listener).off('limit', listener)
    arena.allocUnsafe(2 * MIB)
    await turns(1)
    expect(heard).toEqual([])
  })

  it('checks what is to listen to what', () => {
    const { arena } = open()
    const listen = arena.on.bind(arena) as (event: unknown, listener: unknown) => unknown
    expect(thrownBy(() => listen('limits', () => {}))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(thrownBy(() => listen('limit', {}))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })
})

describe('setProcessLimit', () => {
  it('holds over all arenas together', () => {
    const all = openGroup({ name: 'a' }, { name: 'b' }, { name: 'c' })
    setProcessLimit(32 * MIB)
    const blocks: [Arena, Buffer][] = []
    for (let i = 0; ; i++) {
      const arena = all[i % 3]
      const block = arena.tryAllocUnsafe(MIB)
      if (block === undefined) break
      blocks.push([arena, block])
    }
    expect(blocks.length).toBe(32)
    expect(heldBytes(all)).toBe(32 * MIB)
    const error = thrownBy(() => all[0].allocUnsafe(1))
    expect(error).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    expect(error?.message).toMatch(/arena 'a': 1 bytes .* setProcessLimit\(\) allows 33554432 bytes/)
    for (const [arena, block] of blocks) arena.free(block)
    for (const arena of all) arena.check()
    // Nothing has gone back yet; all of it makes room for one.
    expect(heldBytes(all)).toBe(32 * MIB)
    all[1].free(all[1].allocUnsafe(32 * MIB))
    for (const arena of all) arena.check()
  })

  it('counts what is closed no more', () => {
    const before = loadLedger().takenBytes
    const [one, other] = openGroup({}, {})
    one.allocUnsafe(10 * MIB)
    expect(loadLedger().takenBytes - before).toBeGreaterThanOrEqual(10 * MIB)
    one.close()
    other.close()
    expect(loadLedger().takenBytes).toBe(before)
  })

  it('below what is held has what is free given back, and lets live blocks be', () => {
    const [one] = openGroup({ releaseAfterMs: Number.POSITIVE_INFINITY })
    const kept = one.allocUnsafe(4 * MIB).fill(7)
    one.free(one.allocUnsafe(4 * MIB).fill(1))
    loadLedger().limitBytes = MIB
    expect(thrownBy(() => one.allocUnsafe(5 * MIB))).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    expect(one.stats()).toMatchObject({ dirtyBytes: 0, liveBytes: 4 * MIB })
    expect(kept.every(byte => byte === 7)).toBe(true)
    one.check()
  })

  it('counts the arenas of Workers, until they end', async () => {
    const { code, stdout, stderr } = await runFunction(
      async ({ Arena, assert, codeOf, startWorker, setProcessLimit, processLimit }) => {
        const before = processLimit().takenBytes
        setProcessLimit(64 * 2 ** 20)
        const { worker, message } = startWorker(({ Arena, post }) => {
          const arena = new Arena()
          const block = arena.allocUnsafe(40 * 2 ** 20)
          post('ready')
          setInterval(() => block.fill(1, 0, 1), 1000)
        })
        assert.equal(await message, 'ready')
        const arena = new Arena()
        assert.equal(
          codeOf(() => arena.allocUnsafe(32 * 2 ** 20)),
          'ERR_ARENA_LIMIT',
        )
        assert.equal(arena.allocUnsafe(20 * 2 ** 20).length, 20 * 2 ** 20)
        await worker.terminate()
        assert.equal(arena.allocUnsafe(32 * 2 ** 20).length, 32 * 2 ** 20)
        arena.close()
        assert.equal(processLimit().takenBytes, before)
        console.log('counted')
      },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'counted\n', stderr: '' })
  })

  it.each(['1', null, Number.NaN, -1, undefined])('refuses %o', value => {
    const error = thrownBy(() => setProcessLimit(value as number))
    expect(['ERR_INVALID_ARG_TYPE', 'ERR_OUT_OF_RANGE']).toContain(error?.code)
  })
})
