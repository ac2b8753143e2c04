/** Script that runs in the middle of a call, because something of the runtime was replaced, and calls the arena. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { fuzzSeed } from '../fuzz/random.js'
import { someOf } from '../support/extent.js'
import { DIST, NODES, runNode } from '../support/process.js'
import { expectToSurvive } from './processes.js'

const PATCHER = fileURLToPath(new URL('patcher.mjs', import.meta.url))
const OPTIONS = [
  '{}',
  '{"debug":true}',
  '{"releaseAfterMs":0}',
  '{"detachFromBytes":0,"leaks":"all"}',
  '{"source":"heap"}',
]

describe.concurrent.each(NODES)(
  'on Node $version, each function and accessor of the runtime replaced',
  ({ path }) => {
    // One of the options in a sample.
    it.each(someOf(OPTIONS, 1))('harms no arena with %s', async options => {
      const args = [PATCHER, new URL('index.js', DIST).href, String(fuzzSeed >>> 0), options]
      const { code, signal, stdout, stderr } = await runNode(args, '', path)
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' })
      expect(stdout).toMatch(/^replaced all, called /)
    })
  },
)

describe.concurrent('an accessor in the place of a property of the Buffer', () => {
  it.each([64, 20_000, 70_000])('is not read by free, realloc, pin or lend of %i bytes', async size => {
    await expectToSurvive(
      ({ assert, arena, assertIntact }, { size }) => {
        const calls = {
          free: (block: Buffer) => arena.free(block),
          realloc: (block: Buffer) => arena.realloc(block, size * 3),
          pin: (block: Buffer) => arena.pin(block),
          lend: (block: Buffer) => arena.lend(block, () => {}),
        }
        for (const [method, call] of Object.entries(calls)) {
          for (const name of ['length', 'byteLength', 'buffer', 'byteOffset', 'constructor']) {
            const block = arena.allocUnsafe(size)
            let reads = 0
            Object.defineProperty(block, name, {
              get() {
                reads++
                arena.free(block)
                arena.allocUnsafe(size).fill(9)
                return 1
              },
            })
            call(block)
            assert.equal(reads, 0, `${method} reads ${name}`)
            assertIntact()
          }
        }
      },
      { size },
    )
  })

  it('is not believed where the memory was taken away', async () => {
    await expectToSurvive(async ({ assert, takeByStream, arena, live }) => {
      const block = arena.allocUnsafe(64)
      const taken = await takeByStream(block)
      Object.defineProperty(block, 'length', { value: 64 })
      const windowBytes = Math.min(2 ** 20, taken.buffer.byteLength)
      Object.defineProperty(taken.buffer, 'byteLength', { value: 0 })
      arena.free(block)
      for (const other of live) arena.free(other)
      arena.trim()
      const memory = new Uint8Array(taken.buffer, 0, windowBytes).fill(0x44)
      const blocks: Buffer[] = []
      for (let i = 0; i < 60; i++) blocks.push(arena.allocUnsafe(64 << (i % 12)).fill(0x77))
      memory.fill(0x45)
      assert.ok(blocks.every(other => other.every(byte => byte === 0x77)))
      arena.check()
    })
  })
})

describe.concurrent('a formatter of stacks that ends the very block', () => {
  it('is met before anything changes, with debug', async () => {
    await expectToSurvive(
      ({ assert, codeOf, arena, assertIntact }) => {
        for (const method of ['free', 'realloc'] as const) {
          const block = arena.allocUnsafe(5_000)
          let isOn = true
          Error.prepareStackTrace = (error, sites) => {
            if (isOn) {
              isOn = false
              arena.free(block)
              arena.allocUnsafe(5_000).fill(7)
              arena.trim()
            }
            return error.name + sites.map(site => `\n    at ${site}`).join('')
          }
          const code = codeOf(() => arena[method](block, 9_000))
          Error.prepareStackTrace = undefined as never
          assert.equal(code, 'ERR_ARENA_DOUBLE_FREE')
          assertIntact()
        }
        Error.prepareStackTrace = error => {
          Error.prepareStackTrace = undefined as never
          arena.reset()
          return error.name
        }
        const block = arena.allocUnsafe(5_000).fill(1)
        arena.check()
        arena.free(block)
        arena.check()
      },
      undefined,
      { debug: true },
    )
  })
})

describe.concurrent('a formatter of stacks that closes the arena', () => {
  it('is told of a closed arena by every call, and no invariant breaks, with debug', async () => {
    await expectToSurvive(({ Arena, assert, codeOf, arena, assertIntact }) => {
      type Call = (inner: InstanceType<typeof Arena>, block: ArenaBuffer) => unknown
      const calls: Record<string, Call> = {
        alloc: inner => inner.alloc(5_000),
        allocUnsafe: inner => inner.allocUnsafe(70_000),
        'realloc, short': (inner, block) => inner.realloc(block, 100),
        'realloc, long': (inner, block) => inner.realloc(block, 70_000),
        'realloc, aligned': (inner, block) => inner.realloc(block, 6_000, { align: 4096 }),
        relocate: (inner, block) => inner.relocate(block),
        from: inner => inner.from('text'),
        concat: (inner, block) => inner.concat([block, block]),
        acquire: inner => inner.pool(100).acquire(),
        stream: (inner, block) => inner.stream(block),
        scope: inner => inner.scope().alloc(100),
      }
      for (const [name, call] of Object.entries(calls)) {
        const inner = new Arena({ name: 'inner', debug: true })
        const block = inner.allocUnsafe(5_000).fill(7)
        Error.prepareStackTrace = error => {
          Error.prepareStackTrace = undefined as never
          inner.close()
          return error.name
        }
        const code = codeOf(() => call(inner, block))
        Error.prepareStackTrace = undefined as never
        assert.equal(code, 'ERR_ARENA_CLOSED', name)
        inner.check()
        assert.equal(inner.stats().committedBytes, 0, name)
      }
      arena.check()
      assertIntact()
    })
  })
})

describe.concurrent('zero bytes', () => {
  it.each<ArenaOptions>([{}, { debug: true }, { leaks: 'all' }])(
    'outlive whoever takes an empty ArrayBuffer away, with %o',
    async options => {
      await expectToSurvive(
        ({ Arena, assert, arena, assertIntact }) => {
          const other = new Arena({ name: 'other' })
          const { transfer } = ArrayBuffer.prototype as { transfer?: () => ArrayBuffer }
          const take = [
            (empty: ArenaBuffer) => structuredClone(empty, { transfer: [empty.buffer] }),
            (empty: ArenaBuffer) => new MessageChannel().port1.postMessage(empty, [empty.buffer]),
            (empty: ArenaBuffer) => transfer?.call(empty.buffer),
          ]
          for (const away of take) {
            const kept = arena.alloc(0)
            const empty = arena.alloc(0)
            try {
              away(empty)
            } catch {}
            const scope = arena.scope()
            for (const fresh of [
              arena.alloc(0),
              arena.allocUnsafe(0),
              other.alloc(0),
              scope.alloc(0),
              arena.tryAlloc(0) as Buffer,
            ]) {
              assert.equal(fresh.length, 0)
              new Uint8Array(fresh.buffer)
            }
            scope.end()
            new Uint8Array(kept.buffer)
            arena.pin(empty)
            arena.unpin(empty)
            assert.equal(
              arena.lend(empty, buffer => buffer.length),
              0,
            )
            const grown = arena.realloc(empty, 100).fill(1)
            const shrunk = arena.realloc(grown, 0)
            try {
              away(shrunk)
            } catch {}
            arena.free(arena.realloc(shrunk, 0))
            arena.free(kept)
            assertIntact()
          }
          const { liveBlocks } = arena.stats()
          arena.free(arena.alloc(0))
          assert.equal(arena.stats().liveBlocks, liveBlocks)
          arena.close()
          other.close()
        },
        undefined,
        options,
      )
    },
  )
})
