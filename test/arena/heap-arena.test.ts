/** Arenas with `source: 'heap'`: what only they do, and that they need no addon. What they share with others: over-heap.test.ts. */
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { type Assert, bareProgramOf, runFunction, type Thrown, type Tools } from '../support/child.js'
import { expectToPass } from '../support/leak-listener.js'
import { DIST, NODES, runNode } from '../support/process.js'
import { isFilled, isZero, open, thrownBy } from '../support/world.js'

const MIB = 2 ** 20

describe.concurrent.each(NODES)('on Node $version, without the addon', ({ path }) => {
  it('does all that an arena does', async () => {
    const outcome = await runFunction(
      async ({ Arena, arenas, assert, codeOf, onPressure, processLimit, setProcessLimit, sleep, totals }) => {
        // Nothing loads the addon, not even what asks for it.
        assert.equal(
          codeOf(() => new Arena()),
          'ERR_ARENA_NOT_SUPPORTED',
        )
        onPressure(() => {})()
        const arena = new Arena({ source: 'heap', name: 'here', releaseAfterMs: 20, limitBytes: 2 ** 24 })
        const blocks = [1, 100, 5_000, 70_000, 3_000_000].map((size, i) => arena.alloc(size).fill(i + 1))
        blocks[3] = arena.realloc(blocks[3], 200_000)
        assert.ok(blocks[3].subarray(0, 70_000).every(byte => byte === 4))
        await arena.lend(blocks[2], async bytes => assert.ok(bytes.every(byte => byte === 3)))
        const scope = arena.scope()
        scope.alloc(10_000)
        scope.end()
        const stats = arena.stats()
        assert.equal(stats.usedBytes + stats.dirtyBytes + stats.cleanBytes, stats.mappedBytes)
        assert.equal(
          codeOf(() => arena.alloc(2 ** 24)),
          'ERR_ARENA_LIMIT',
        )
        assert.equal(totals().usedBytes, stats.usedBytes)
        assert.ok(totals().processTakenBytes >= stats.committedBytes)
        assert.deepEqual(
          arenas().map(({ name, source }) => [name, source]),
          [['here', 'heap']],
        )
        setProcessLimit(2 ** 22)
        assert.equal(processLimit().limitBytes, 2 ** 22)
        assert.equal(
          codeOf(() => new Arena({ source: 'heap' }).alloc(2 ** 21)),
          'ERR_ARENA_LIMIT',
        )
        for (const block of blocks) arena.free(block)
        assert.equal(
          codeOf(() => arena.free(blocks[0])),
          'ERR_ARENA_DOUBLE_FREE',
        )
        for (let i = 0; i < 500 && arena.residentBytes() > 0; i++) await sleep(10)
        assert.equal(arena.residentBytes(), 0)
        arena.check()
        arena.close()
        assert.equal(totals().processTakenBytes, 0)
      },
      undefined,
      { nodeArgs: ['--no-addons'], node: path },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

describe.concurrent('where the addon is loaded later', () => {
  it('counts what such arenas hold into the limit of the process', async () => {
    await expectToPass(({ Arena, assert, codeOf, processLimit }) => {
      const sharedObjects = () =>
        (process.report.getReport() as unknown as { sharedObjects: string[] }).sharedObjects
      const first = new Arena({ source: 'heap' })
      first.alloc(2 ** 21)
      assert.ok(!sharedObjects().some(path => path.includes('offheap.node')))
      const second = new Arena()
      second.alloc(2 ** 21)
      assert.ok(sharedObjects().some(path => path.includes('offheap.node')))
      const { takenBytes } = processLimit()
      assert.ok(takenBytes >= 2 ** 22)
      first.close()
      assert.ok(processLimit().takenBytes <= takenBytes - 2 ** 21)
      second.close()
      assert.equal(processLimit().takenBytes, 0)
      assert.equal(
        codeOf(() => new Arena({ source: 'heap' }).alloc(10).length),
        10,
      )
    })
  })
})

interface Elsewhere {
  readonly platform: string
  readonly address: string
}

/** What a program finds on another system. */
async function useElsewhere(load: Tools['load'], { platform, address }: Elsewhere): Promise<void> {
  const assert: Assert = process.getBuiltinModule('node:assert/strict')
  const thrownBy = (call: () => unknown): Thrown => {
    try {
      call()
    } catch (error) {
      return error as Thrown
    }
    throw new Error('nothing was thrown')
  }
  Object.defineProperty(process, 'platform', { value: platform })
  Object.defineProperty(process, 'arch', { value: 'arm64' })
  const library = (await load(address)) as typeof import('../../src/index.js')
  const { Arena, arenas, onPressure, pressureSource, processLimit, setProcessLimit, totals } = library
  for (const options of [undefined, { source: 'mmap' }, { source: 'sbrk' }] as const) {
    const { code, name, message } = thrownBy(() => new Arena(options))
    assert.equal(code, 'ERR_ARENA_UNSUPPORTED_PLATFORM')
    assert.equal(name, 'ArenaError')
    assert.match(message, new RegExp(`${platform}-arm64.*linux-x64 or linux-arm64.*source: 'heap'`))
  }
  assert.equal(pressureSource(), 'none')
  onPressure(() => {})()
  assert.deepEqual(arenas(), [])
  assert.equal(totals().arenas, 0)
  assert.deepEqual(processLimit(), { limitBytes: Number.POSITIVE_INFINITY, takenBytes: 0 })
  setProcessLimit(2 ** 21)
  const options = { debug: true, hugePages: true, prefault: true, wipeOnFree: true } as const
  const arena = new Arena({ source: 'heap', ...options })
  const block = arena.alloc(100_000).fill(1)
  assert.ok(totals().usedBytes > 100_000)
  assert.ok(processLimit().takenBytes > 100_000)
  assert.equal(thrownBy(() => arena.alloc(2 ** 21)).code, 'ERR_ARENA_LIMIT')
  arena.free(block)
  arena.check()
  arena.close()
}

describe.concurrent.each(['darwin', 'win32', 'freebsd'])('on %s', platform => {
  it('says what to do, and works with source: heap', async () => {
    const text = bareProgramOf(useElsewhere, { platform, address: new URL('index.js', DIST).href })
    const outcome = await runNode(['--input-type=module', '-e', text])
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

/** What a program finds whose timers were faked before it loaded the library. */
async function useFakeTimers(load: Tools['load'], { address }: { address: string }): Promise<void> {
  const assert: Assert = process.getBuiltinModule('node:assert/strict')
  const require = process.getBuiltinModule('node:module').createRequire(`${process.cwd()}/`)
  const clock = require('@sinonjs/fake-timers').install()
  process.getBuiltinModule('node:module').syncBuiltinESMExports()
  const { Arena } = (await load(address)) as typeof import('../../src/index.js')
  const arena = new Arena({ source: 'heap', releaseAfterMs: 50 })
  const fill = () => arena.free(arena.alloc(100_000).fill(1))
  fill()
  assert.ok(arena.stats().dirtyBytes > 0)
  arena.trim()
  assert.equal(arena.stats().dirtyBytes, 0)
  fill()
  // The library has a real clock, and the only timers there are.
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (let i = 0; i < 200 && arena.stats().dirtyBytes > 0; i++) {
    Atomics.wait(pause, 0, 0, 20)
    clock.tick(50)
  }
  assert.equal(arena.stats().dirtyBytes, 0)
  clock.uninstall()
  fill()
  arena.check()
  arena.close()
}

describe.concurrent('with timers that were faked before', () => {
  it('gives pages back as the fake clock moves, and by trim', async () => {
    const text = bareProgramOf(useFakeTimers, { address: new URL('index.js', DIST).href })
    const outcome = await runNode(['--input-type=module', '-e', text])
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

describe("source: 'heap'", () => {
  it('is named in statistics, in JSON and in a log', () => {
    const { arena } = open({ source: 'heap' })
    expect(arena.stats()).toMatchObject({ source: 'heap', breakOwned: null })
    expect(JSON.parse(JSON.stringify(arena)).source).toBe('heap')
    expect(inspect(arena)).toContain("source: 'heap'")
  })

  it('takes every option that others take', () => {
    const options = { hugePages: true, prefault: true, wipeOnFree: true, trackOwners: true } as const
    const { arena } = open({ source: 'heap', ...options, debug: true })
    const block = arena.alloc(MIB)
    expect(arena.ownerOf(block.subarray(10, 20))).toBe(block)
    arena.free(block)
    arena.check()
  })

  it('is the only other that there is', () => {
    const error = thrownBy(() => new Arena({ source: 'ram' as 'heap' }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(error?.message).toContain("'mmap', 'sbrk' or 'heap'")
  })

  it('holds what its ArrayBuffers have, and nothing once all is free and given back', () => {
    const { arena, deferral } = open({ source: 'heap' })
    const [small, large] = [arena.alloc(100), arena.alloc(3 * MIB)]
    expect(arena.residentBytes()).toBeGreaterThanOrEqual(3 * MIB + 100)
    arena.free(large)
    expect(arena.residentBytes()).toBeGreaterThanOrEqual(3 * MIB)
    arena.trim()
    expect(arena.residentBytes()).toBeLessThan(MIB + 128 * 1024)
    arena.free(small)
    arena.trim()
    deferral.runTurn()
    expect(arena.residentBytes()).toBe(0)
  })

  it('gives aligned offsets', () => {
    const { arena } = open({ source: 'heap' })
    for (let align = 1; align <= 4096; align *= 2) {
      for (const size of [10, 3_000, 100_000]) {
        const { byteOffset } = arena.alloc(size, { align })
        expect(byteOffset % Math.max(16, align)).toBe(0)
      }
    }
  })

  it('fills blocks with zeros also where somebody wrote to a freed one', () => {
    const { arena } = open({ source: 'heap', detachFromBytes: Number.POSITIVE_INFINITY })
    for (const size of [5_000, 40_000, 300_000]) {
      const held = arena.alloc(16)
      const stale = arena.alloc(size)
      arena.free(stale)
      arena.trim()
      // A buffer that no window has went with its pages.
      if (stale.length > 0) stale.fill(9)
      for (let i = 0; i < 8; i++) expect(isZero(arena.alloc(size)), `${size} bytes`).toBe(true)
      arena.free(held)
    }
  })

  it('keeps the contents of a block that is resized in place', () => {
    const { arena } = open({ source: 'heap' })
    for (const detached of [70_000, 2 * MIB]) {
      let block = arena.allocUnsafe(detached).fill(3)
      for (const size of [detached + 4_096, detached - 4_096, detached * 2, detached]) {
        const kept = Math.min(size, block.length)
        block = arena.realloc(block, size)
        expect(isFilled(block.subarray(0, kept), 3)).toBe(true)
        block.fill(3)
      }
    }
    arena.check()
  })
})

describe.concurrent('a block in a window that gave its buffer up', () => {
  it('keeps its contents through realloc, free and wiping', async () => {
    await expectToPass(async ({ Arena, assert, collect, until, heard }) => {
      const arena = new Arena({ source: 'heap', leaks: 'all', wipeOnFree: true })
      const live = Array.from({ length: 30 }, (_, i) => arena.alloc(600).fill(i + 1))
      // Views keep the buffer of the window after their owners are gone.
      const views = (() => [1, 2, 3].map(() => arena.alloc(700).fill(0x99).subarray(5, 500)))()
      await until(() => heard.length === 3)
      await collect()
      // In a function of its own, which leaves no reference to a view behind.
      ;(() => {
        const later = Array.from({ length: 30 }, (_, i) => arena.alloc(600).fill(0x60 + i))
        assert.notEqual(later[0].buffer, live[0].buffer, 'the window is wrapped anew')
        for (let i = 0; i < 30; i++) {
          live[i] = arena.realloc(live[i], i % 2 === 0 ? 400 : 1_500)
          assert.ok(live[i].subarray(0, 400).every(byte => byte === i + 1))
          if (i % 3 === 0) arena.free(live[i])
        }
        assert.ok(views.every(view => view.every(byte => byte === 0x99)))
        for (let i = 0; i < 30; i++) assert.ok(later[i].every(byte => byte === 0x60 + i))
        arena.check()
        for (let i = 0; i < 30; i++) if (i % 3 !== 0) arena.free(live[i])
        for (const block of later) arena.free(block)
        // They are views of the buffer that was given up, too.
        live.length = 0
        views.length = 0
      })()
      await until(() => {
        arena.trim()
        return arena.stats().usedBytes === 0
      })
      arena.check()
      arena.close()
    })
  })
})

describe.concurrent('with debug', () => {
  it('tells of native code that writes to a block after its end', async () => {
    await expectToPass(async ({ Arena, assert, until, sleep }) => {
      const { channel } = process.getBuiltinModule('node:diagnostics_channel')
      const fs = process.getBuiltinModule('node:fs')
      const { execFileSync } = process.getBuiltinModule('node:child_process')
      const folder = fs.mkdtempSync('/tmp/offheap-heap-')
      execFileSync('mkfifo', [`${folder}/pipe`])
      const file = fs.openSync(`${folder}/pipe`, 'r+')
      const told: { bytes: number }[] = []
      channel('offheap:write-after-free').subscribe(message => told.push(message as { bytes: number }))
      const arena = new Arena({ source: 'heap', debug: true })
      const block = arena.alloc(5_000)
      let isRead = false
      fs.read(file, block, 0, 100, null, () => {
        isRead = true
      })
      // The read waits in another thread, for what is written below.
      await sleep(50)
      arena.free(block)
      fs.writeSync(file, Buffer.alloc(100, 7))
      await until(() => isRead)
      arena.trim()
      await until(() => told.length > 0)
      assert.equal(told.length, 1)
      arena.check()
      arena.close()
      fs.rmSync(folder, { recursive: true })
    })
  })
})

describe.concurrent('in Workers', () => {
  it('each thread has arenas of its own', async () => {
    await expectToPass(async ({ assert, startWorker }) => {
      const runs = [1, 2, 3].map(() =>
        startWorker(({ Arena, post }) => {
          const arena = new Arena({ source: 'heap' })
          for (let i = 0; i < 500; i++) {
            const block = arena.allocUnsafe(1 + ((i * 977) % 90_000)).fill(i)
            if (i % 3 > 0) arena.free(block)
          }
          arena.check()
          post(arena.stats().liveBlocks)
        }),
      )
      for (const { message, exit } of runs) {
        assert.equal(await message, 167)
        await exit
      }
    })
  })
})

describe.concurrent('arenas that are dropped without close()', () => {
  it('leave no ArrayBuffer behind, and nothing of the limit', async () => {
    await expectToPass(async ({ Arena, assert, until, processLimit }) => {
      const before = process.memoryUsage().arrayBuffers
      ;(() => {
        for (let i = 0; i < 50; i++) {
          const arena = new Arena({ source: 'heap', leaks: 'off' })
          for (const size of [64, 5_000, 70_000, 1_000_000]) arena.alloc(size)
          arena.free(arena.allocUnsafe(2_000_000))
        }
      })()
      assert.ok(process.memoryUsage().arrayBuffers > before + 50_000_000)
      await until(() => processLimit().takenBytes === 0)
      await until(() => process.memoryUsage().arrayBuffers < before + 1_000_000)
    })
  })
})
