/** Buffers that are collected unfreed: what is told of them, and what becomes of their blocks. Children with `--expose-gc`. */
import { describe, expect, it } from 'vitest'
import { type ArenaOptions, resolveOptions } from '../../src/arena/options.js'
import { Leaks } from '../../src/buffers/leaks.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { expectToPass } from '../support/leak-listener.js'
import { open, thrownBy } from '../support/world.js'

const KINDS: readonly (readonly [string, number, ArenaOptions])[] = [
  ['in a window', 64, {}],
  ['with a buffer of its own', 70_000, {}],
  ['with a kept buffer', 70_000, { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['with a small buffer of its own', 64, { detachFromBytes: 0 }],
  ['in debug mode', 5_000, { debug: true }],
]

// One of the kinds in a sample.
describe.concurrent.each(someOf(KINDS, 1))("a forgotten block %s, leaks: 'all'", (_, size, options) => {
  it('is told once, with its size and the place of its allocation, and is free again', () =>
    expectToPass(
      async ({ Arena, assert, collect, until, heard }, { options, size }) => {
        const arena = new Arena({ name: 'leaky', leaks: 'all', ...options })
        function careless() {
          arena.alloc(size).fill(1)
        }
        for (let i = 0; i < 200; i++) careless()
        assert.equal(arena.stats().liveBlocks, 200)
        await until(
          () => arena.stats().liveBlocks === 0 && arena.trim() >= 0 && arena.stats().usedBytes === 0,
        )
        await collect()
        arena.check()
        assert.equal(heard.length, 200)
        assert.deepEqual(
          { ...heard[0], stack: '' },
          { arena: 'leaky', kind: 'block', blocks: 1, bytes: size, stack: '' },
        )
        assert.match(heard[0].stack, /^ +at careless /)
        assert.ok(heard.every(({ stack }) => !stack.includes('/dist/')))
        arena.close()
      },
      { options, size },
    ))

  it('is told with the place of its last realloc, also if that moved it', () =>
    expectToPass(
      async ({ Arena, assert, until, heard }, { options, size }) => {
        const arena = new Arena({ name: 'leaky', leaks: 'all', ...options })
        function careless() {
          const first = arena.alloc(size)
          // In the way of the first, so that it must move.
          arena.alloc(size)
          arena.realloc(first, 500_000)
        }
        careless()
        await until(() => heard.length === 2)
        for (const { stack } of heard) assert.match(stack, /^ {4}at careless /)
        arena.close()
      },
      { options, size },
    ))

  it('is not reused while a view of it lives, and free when that is gone', () =>
    expectToPass(
      async ({ Arena, assert, until, heard }, { options, size }) => {
        const arena = new Arena({ leaks: 'all', ...options })
        let views: Buffer[] = []
        const part = (i: number) => arena.alloc(size).fill(i).subarray(8, 50)
        for (let i = 0; i < 100; i++) views.push(part(i))
        await until(() => heard.length === 100)
        arena.check()
        assert.equal(arena.stats().liveBlocks, 0)
        const blocks = Array.from({ length: 500 }, () => arena.allocUnsafe(size).fill(0x99))
        // Not loops: their variables would hold the last view.
        views.forEach((view, i) => {
          assert.equal(view.length, 42)
          assert.ok(view.every(byte => byte === i))
        })
        views.forEach((view, i) => {
          view.fill(i + 1)
        })
        assert.ok(blocks.every(block => block.every(byte => byte === 0x99)))
        for (const block of blocks.splice(0)) arena.free(block)
        arena.trim()
        views.forEach((view, i) => {
          assert.ok(
            view.every(byte => byte === i + 1),
            'not purged',
          )
        })
        arena.check()
        views = []
        await until(() => arena.trim() >= 0 && arena.stats().usedBytes === 0)
        arena.check()
        assert.equal(heard.length, 100)
        arena.close()
      },
      { options, size },
    ))

  it.each(['reset', 'close'] as const)('%s detaches its views', end =>
    expectToPass(
      async ({ Arena, assert, collect, until, heard }, { options, size, end }) => {
        const arena = new Arena({ leaks: 'all', ...options })
        const part = () => arena.alloc(size).subarray(8, 50)
        const view = part()
        await until(() => heard.length === 1)
        arena[end]()
        arena.check()
        assert.equal(view.length, 0)
        if (end === 'reset') for (let i = 0; i < 100; i++) arena.free(arena.alloc(size))
        await collect()
        arena.check()
        arena.close()
      },
      { options, size, end },
    ),
  )

  it('whose buffer somebody took stays out of use until that is gone', () =>
    expectToPass(
      async ({ Arena, assert, takeByStream, collect, until, heard }, { options, size }) => {
        const arena = new Arena({ leaks: 'all', ...options })
        let taken: Uint8Array | null = await (async () => takeByStream(arena.alloc(size).fill(5)))()
        await until(() => heard.length === 1)
        const blocks = Array.from({ length: 300 }, () => arena.allocUnsafe(size).fill(0x99))
        assert.ok(taken.every(byte => byte === 5))
        taken.fill(6)
        assert.ok(blocks.every(block => block.every(byte => byte === 0x99)))
        for (const block of blocks.splice(0)) arena.free(block)
        await collect()
        arena.trim()
        assert.ok(taken.every(byte => byte === 6))
        arena.check()
        taken = null
        await until(() => arena.trim() >= 0 && arena.stats().usedBytes === 0)
        arena.check()
        arena.close()
      },
      { options, size },
    ))

  it('taken after it was forgotten stays out of use until that is gone', () =>
    expectToPass(
      async ({ Arena, assert, takeByStream, collect, until, heard }, { options, size }) => {
        const arena = new Arena({ leaks: 'all', ...options })
        let view: Buffer | null = (() => arena.alloc(size).fill(5).subarray(0, 40))()
        await until(() => heard.length === 1)
        const taken = await takeByStream(view)
        view = null
        const blocks = Array.from({ length: 300 }, () => arena.allocUnsafe(size).fill(0x99))
        await collect()
        taken.fill(6)
        assert.ok(blocks.every(block => block.every(byte => byte === 0x99)))
        for (const block of blocks.splice(0)) arena.free(block)
        arena.trim()
        await collect()
        arena.check()
        assert.ok(taken.every(byte => byte === 6))
        arena.close()
        await collect()
        taken.fill(7)
        assert.ok(taken.every(byte => byte === 7))
      },
      { options, size },
    ))
})

describe.concurrent('no leak is told of', () => {
  it('blocks that free, realloc, reset or close ended', () =>
    expectToPass(async ({ Arena, assert, collect, heard }) => {
      const arena = new Arena({ leaks: 'all' })
      for (const size of [64, 5_000, 70_000]) {
        for (let i = 0; i < 100; i++) arena.free(arena.alloc(size))
        for (let i = 0; i < 100; i++) arena.free(arena.realloc(arena.alloc(size), size + 1))
        for (let i = 0; i < 100; i++) arena.free(arena.realloc(arena.alloc(size), 4 * size))
        for (let i = 0; i < 100; i++) arena.alloc(size)
        arena.reset()
        for (let i = 0; i < 100; i++) arena.alloc(size)
      }
      arena.close()
      await collect()
      assert.deepEqual(heard, [])
    }))

  it("with leaks: 'off'", () =>
    expectToPass(async ({ Arena, assert, collect, heard }) => {
      const arena = new Arena({ leaks: 'off' })
      for (let i = 0; i < 1_000; i++) arena.alloc(64)
      await collect()
      assert.deepEqual([heard.length, arena.stats().liveBlocks], [0, 1_000])
      arena.close()
    }))
})

it.concurrent('a block of an earlier epoch frees nothing of a later one', () =>
  expectToPass(async ({ Arena, assert, collect, heard }) => {
    const arena = new Arena({ leaks: 'all' })
    ;(() => {
      for (let i = 0; i < 100; i++) arena.alloc(64)
    })()
    arena.reset()
    const blocks = Array.from({ length: 100 }, () => arena.alloc(64).fill(3))
    await collect()
    arena.check()
    assert.deepEqual([heard.length, arena.stats().liveBlocks], [0, 100])
    assert.ok(blocks.every(block => block.every(byte => byte === 3)))
    arena.close()
  }))

it.concurrent('a leak made by realloc in place is found too', () =>
  expectToPass(async ({ Arena, assert, until, heard }) => {
    const arena = new Arena({ leaks: 'all' })
    ;(function grows() {
      arena.realloc(arena.alloc(100_000), 101_000)
    })()
    await until(() => heard.length === 1)
    assert.equal(heard[0].bytes, 101_000)
    assert.match(heard[0].stack, /at grows/)
    await until(() => arena.trim() >= 0 && arena.stats().usedBytes === 0)
    arena.close()
  }))

it.concurrent('a window gives up a few buffers at most, and all come back', () =>
  expectToPass(async ({ Arena, assert, until, heard }) => {
    const arena = new Arena({ leaks: 'all' })
    let kept: ArenaBuffer[] = []
    for (let round = 1; round <= 12; round++) {
      ;(() => {
        kept.push(arena.alloc(64))
        arena.alloc(64)
      })()
      await until(() => heard.length === round)
      arena.check()
    }
    // In a function: variables of the module would hold the last of them.
    ;(() => {
      assert.ok(new Set(kept.map(block => block.buffer)).size <= 5)
      for (const block of kept) arena.free(block)
      kept = []
    })()
    await until(() => arena.trim() >= 0 && arena.stats().usedBytes === 0)
    arena.check()
    arena.close()
  }))

it.concurrent('a formatter of stacks that throws, resets or closes harms nothing', () =>
  expectToPass(async ({ Arena, assert, codeOf, collect, heard }) => {
    const arena = new Arena({ leaks: 'all' })
    Error.prepareStackTrace = () => {
      throw new Error('not today')
    }
    arena.free(arena.alloc(64))
    Error.prepareStackTrace = () => {
      arena.reset()
      return 'x'
    }
    const spent = arena.allocUnsafe(64)
    arena.check()
    assert.equal(
      codeOf(() => arena.free(spent)),
      'ERR_ARENA_DOUBLE_FREE',
    )
    Error.prepareStackTrace = () => {
      arena.close()
      return 'x'
    }
    arena.allocUnsafe(64)
    Error.prepareStackTrace = undefined as never
    arena.check()
    await collect()
    assert.deepEqual(heard, [])
  }))

describe('sampling', () => {
  it('takes 1 in 128 on average, at gaps without a period', () => {
    const leaks = new Leaks('sampled', 'a', () => 0, {
      wrapIdOf: () => 1,
      forget: () => {},
      report: () => {},
    })
    let allocations = 0
    const counts = new Array<number>(128).fill(0)
    for (let i = 0; i < 100_000; i++) {
      allocations = leaks.nextAfter(allocations)
      counts[allocations % 128]++
    }
    // Nine standard deviations of the mean; and no place in a period of 128 is met half or twice as often as another.
    expect(Math.abs(allocations / 100_000 - 128)).toBeLessThan(2.1)
    expect(Math.max(...counts) / Math.min(...counts)).toBeLessThan(2)
  })

  it('stops for a while where it takes too much time', () => {
    let nowMs = 0
    const { arena } = open({ leaks: 'off' })
    const leaks = new Leaks('sampled', 'a', () => nowMs, {
      wrapIdOf: () => 1,
      forget: () => {},
      report: () => {},
    })
    const sampled = (count: number): number => {
      const before = leaks.size
      for (let i = 0; i < count; i++) leaks.sample(arena.allocUnsafe(16) as never, sampled)
      return leaks.size - before
    }
    expect(sampled(1_000)).toBe(256)
    expect(sampled(1_000)).toBe(0)
    nowMs = 100
    expect(sampled(1_000)).toBe(10)
    leaks.clear()
    expect(leaks.size).toBe(0)
  })
})

it.concurrent('the first leak of a process is warned of, in words that help', async () => {
  const { stderr } = await runFunction(
    async ({ Arena, turn, gc }) => {
      const arena = new Arena({ name: 'leaky', leaks: 'all' })
      function careless() {
        arena.alloc(1_000)
      }
      for (let i = 0; i < 10; i++) careless()
      process.on('warning', ({ code, message, detail }: Error & { code?: string; detail?: string }) =>
        console.error(JSON.stringify({ code, message, detail })),
      )
      while (arena.stats().liveBlocks > 0) {
        gc()
        await turn()
      }
      await turn()
    },
    undefined,
    { nodeArgs: ['--expose-gc'] },
  )
  const warnings = stderr.trim().split('\n')
  expect(warnings.length).toBe(1)
  expect(JSON.parse(warnings[0])).toEqual({
    code: 'OFFHEAP_LEAK',
    message: "arena 'leaky': a Buffer of 1000 bytes was garbage-collected without free()",
    detail: expect.stringMatching(/^Allocated\n {4}at careless .*offheap:leak.*leaks: 'off'/s),
  })
})

it('leaks must be one of three words', () => {
  expect(thrownBy(() => resolveOptions({ leaks: 'some' as 'all' }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
  expect(resolveOptions({}).leaks).toBe('sampled')
})
