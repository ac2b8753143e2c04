/**
 * Kernels that take pages back in another way than this one, or not at all. A library that is preloaded stands between the
 * addon and the kernel (`stranger/kernel.cc`); what is locked is so for real.
 */
import { describe, expect, it } from 'vitest'
import type { PurgeRefusedMessage } from '../../src/notices/notices.js'
import { runFunction, type Thrown, type Tools } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { NODES, type Outcome } from '../support/process.js'
import { strangeKernelPath } from '../support/stranger.js'

/** One block in twenty lives. */
const isKept = (_: unknown, index: number) => index % 20 === 0

interface Warning extends Error {
  readonly code?: string
}

function setUp({ Arena, sleep }: Tools, isKept: (block: unknown, index: number) => boolean) {
  return {
    isKept,
    makeHoles: () => {
      const arena = new Arena({ releaseAfterMs: 200, leaks: 'off' })
      const blocks = Array.from({ length: 20_000 }, () => arena.allocUnsafe(1024).fill(1))
      for (const [index, block] of blocks.entries()) if (!isKept(block, index)) arena.free(block)
      return { arena, kept: blocks.filter(isKept) }
    },
    /** However busy the machine is. */
    until: async (isSo: () => boolean) => {
      for (let i = 0; i < 600 && !isSo(); i++) await sleep(20)
    },
  }
}

function run<Args = unknown>(
  mode: string,
  body: (tools: Tools & ReturnType<typeof setUp>, args: Args) => unknown,
  args?: Args,
  node?: string,
): Promise<Outcome> {
  return runFunction(
    (tools, { setUp, isKept, body, args }) => body({ ...tools, ...setUp(tools, isKept) }, args as Args),
    { setUp, isKept, body, args },
    { node, variables: { LD_PRELOAD: strangeKernelPath(), OFFHEAP_TEST_KERNEL: mode } },
  )
}

describe.concurrent('scattered free pages', () => {
  // A sample of the kernels.
  it.each(someOf(['none', 'single', 'old', 'short', 'locked'], 2))(
    'go back, and live bytes stay, where the kernel is %s',
    async mode => {
      const outcome = await run(mode, async ({ assert, makeHoles, until }) => {
        const { arena, kept } = makeHoles()
        arena.trim()
        assert.equal(arena.stats().dirtyBytes, 0)
        assert.equal(arena.residentBytes(), arena.stats().usedBytes)
        for (const block of kept) assert.ok(block.every(byte => byte === 1))
        arena.check()
        const zeros = arena.alloc(2 ** 20)
        assert.ok(zeros.every(byte => byte === 0))
        for (const block of kept) arena.free(block)
        arena.free(zeros)
        await until(() => arena.stats().dirtyBytes === 0)
        assert.equal(arena.stats().dirtyBytes, 0)
        arena.close()
      })
      expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
    },
  )
})

describe.concurrent('a kernel that accepts the call and does nothing', () => {
  it('is found out, and alloc writes the zeros that it promises', async () => {
    const outcome = await run('idle', ({ Arena, assert }) => {
      for (const source of ['mmap', 'sbrk'] as const) {
        const arena = new Arena({ source })
        arena.free(arena.allocUnsafe(8 * 2 ** 20).fill(7))
        arena.trim()
        for (const size of [2 ** 16, 2 ** 20, 4 * 2 ** 20])
          assert.ok(
            arena.alloc(size).every(byte => byte === 0),
            source + size,
          )
        arena.check()
        arena.close()
      }
    })
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

describe.concurrent('a process that locks all its memory', () => {
  it.each(NODES)(
    'gives back what is free, and holds no page that nobody touched ($version)',
    async ({ path }) => {
      const outcome = await run(
        'all',
        async ({ Arena, assert, until, isKept }) => {
          const warnings: unknown[] = []
          process.on('warning', ({ code }: Warning) => warnings.push(code))
          for (const source of ['mmap', 'sbrk'] as const) {
            // Blocks that stay are forgotten in each round, and ended by reset: that is no leak here.
            const arena = new Arena({ source, releaseAfterMs: 100, leaks: 'off' })
            for (let round = 0; round < 3; round++) {
              const blocks = Array.from({ length: 4_000 }, () => arena.allocUnsafe(1024).fill(1))
              const long = arena.allocUnsafe(8 * 2 ** 20)
              assert.ok(arena.residentBytes() <= arena.stats().committedBytes, source)
              arena.free(long)
              for (const [index, block] of blocks.entries()) if (!isKept(block, index)) arena.free(block)
              await until(() => arena.stats().dirtyBytes === 0)
              assert.equal(arena.stats().dirtyBytes, 0)
              assert.equal(arena.residentBytes(), arena.stats().usedBytes, source)
              assert.ok(arena.alloc(2 ** 20).every(byte => byte === 0))
              arena.reset()
              arena.check()
            }
            arena.close()
          }
          assert.deepEqual(warnings, [])
        },
        undefined,
        path,
      )
      expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
    },
  )
})

describe.concurrent('a kernel that is short of memory now and then', () => {
  it('has all back in time, and nobody is warned', async () => {
    const outcome = await run('again', async ({ assert, codeOf, makeHoles, until }) => {
      const warnings: unknown[] = []
      process.on('warning', ({ code }: Warning) => warnings.push(code))
      const { arena, kept } = makeHoles()
      await until(() => arena.stats().dirtyBytes === 0)
      assert.equal(arena.stats().dirtyBytes, 0)
      assert.equal(arena.residentBytes(), arena.stats().usedBytes)
      for (const block of kept) assert.ok(block.every(byte => byte === 1))
      for (let round = 0; round < 5; round++) {
        arena.free(arena.allocUnsafe(2 ** 20).fill(1))
        for (let i = 0; i < 3; i++) {
          const failed = codeOf(() => arena.trim())
          if (typeof failed === 'string') assert.equal(failed, 'ERR_ARENA_PURGE_FAILED')
        }
        assert.equal(arena.stats().dirtyBytes, 0)
      }
      arena.check()
      assert.deepEqual(warnings, [])
    })
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

const REFUSING = [
  { mode: 'refuse', code: 'EPERM', advice: /seccomp/, path: process.execPath, version: process.version },
  { mode: 'bound', code: 'EINVAL', advice: /locked/, path: process.execPath, version: process.version },
  ...NODES.map(node => ({ mode: 'filter', code: 'EPERM', advice: /seccomp/, ...node })),
]

// One of them in a sample.
describe.concurrent.each(someOf(REFUSING, 1))(
  'a kernel that refuses for good ($mode, $version)',
  ({ mode, code, advice, path }) => {
    it('is asked ever more rarely, and what it costs, and why, is told once', async () => {
      const outcome = await run(
        mode,
        async ({ Arena, assert, sleep, codeOf, thrownBy, makeHoles, until }, { code, advice }) => {
          const { subscribe } = process.getBuiltinModule('node:diagnostics_channel')
          const heard: PurgeRefusedMessage[] = []
          subscribe('offheap:purge-refused', message => heard.push(message as PurgeRefusedMessage))
          const warnings: Warning[] = []
          process.on('warning', warning => warnings.push(warning))
          const { arena, kept } = makeHoles()
          new Arena({ releaseAfterMs: 100, leaks: 'off' }).allocUnsafe(100)
          await until(() => warnings.length > 0)
          await sleep(1_000)
          const before = process.cpuUsage()
          const { dirtyBytes } = arena.stats()
          await sleep(1_500)
          const { user, system } = process.cpuUsage(before)
          assert.equal(arena.stats().dirtyBytes, dirtyBytes)
          assert.equal(heard.length, 1)
          assert.equal(heard[0].arena, arena.name)
          assert.equal((heard[0].error as Thrown).code, code)
          assert.equal(heard[0].bytes, dirtyBytes)
          assert.match(heard[0].advice, new RegExp(advice))
          assert.deepEqual(
            warnings.map(({ code }) => code),
            ['OFFHEAP_PURGE_REFUSED'],
          )
          assert.equal(
            codeOf(() => arena.trim()),
            'ERR_ARENA_PURGE_FAILED',
          )
          assert.equal(thrownBy(() => arena.trim()).cause.code, code)
          await assert.rejects(arena.trimAsync(), { code: 'ERR_ARENA_PURGE_FAILED' })
          for (let i = 0; i < 20; i++) arena.free(arena.alloc(2 ** 20 * i))
          for (let i = 0; i < 20; i++) assert.ok(arena.alloc(2 ** 20).every(byte => byte === 0))
          for (const block of kept) assert.ok(block.every(byte => byte === 1))
          arena.check()
          console.log((user + system) / 1_500_000 < 0.03)
          arena.close()
        },
        { code, advice: advice.source },
        path,
      )
      expect(outcome).toEqual({ code: 0, signal: null, stdout: 'true\n', stderr: '' })
    })
  },
)
