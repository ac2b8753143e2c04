/**
 * An `ArrayBuffer` of ours that other code takes away: `ReadableStream`s of bytes do on every line of Node,
 * `ArrayBuffer.prototype.transfer` where it exists. Whoever took it may use the memory for as long as it likes.
 */
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { someOf } from '../support/extent.js'
import { NODES } from '../support/process.js'
import { expectToSurvive, type MisuseTools, TAKERS, type Taker } from './processes.js'

if (!('transfer' in ArrayBuffer.prototype)) {
  console.log(
    `ArrayBuffer.prototype.transfer: not on Node ${process.version}, only streams take buffers here`,
  )
}

it('counts the ways to take a buffer', () => {
  expect(TAKERS.length).toBe('transfer' in ArrayBuffer.prototype ? 3 : 2)
})

const OWN_BUFFERS: readonly (readonly [string, number, ArenaOptions])[] = [
  ['a buffer of its own', 70_000, {}],
  ['a kept buffer of its own', 70_000, { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['every block with its own', 20_000, { detachFromBytes: 0 }],
]

// One of the ways, and one of the buffers, in a sample.
describe.concurrent.each(someOf(TAKERS, 1))('%s', taker => {
  describe.each(someOf(OWN_BUFFERS, 1))('of %s', (_, size, options) => {
    it('free works, and the range is reused only after the finalizer ran', async () => {
      await expectToSurvive(
        async (tools, { size, taker }) => {
          const { assert, codeOf, arena, assertIntact, collect } = tools
          const take = tools[taker]
          const block = arena.allocUnsafe(size).fill(0x33)
          let taken: Uint8Array | null = await take(block)
          taken.fill(0x44)
          assert.equal(block.length, 0)
          assertIntact()
          const used = arena.stats().usedBytes
          arena.free(block)
          assert.equal(
            codeOf(() => arena.free(block)),
            'ERR_ARENA_DOUBLE_FREE',
          )
          assert.equal(arena.stats().usedBytes, used, 'set aside, not free')
          // Whatever is allocated and written now is not where the taken bytes are.
          for (let i = 0; i < 50; i++) arena.allocUnsafe(size).fill(0x77)
          arena.trim()
          assert.ok(taken.every(byte => byte === 0x44))
          assertIntact()
          await collect()
          arena.trim()
          assert.ok(
            taken.every(byte => byte === 0x44),
            'while it lives, the memory is its own',
          )
          const waiting = arena.stats().usedBytes
          taken = null
          await collect()
          arena.trim()
          assert.ok(arena.stats().usedBytes < waiting, 'free after the finalizer')
          assertIntact()
          arena.close()
          await collect()
        },
        { size, taker },
        options,
      )
    })

    it('trim gives its pages back when the finalizer ran', async () => {
      await expectToSurvive(
        async (tools, { size, taker }) => {
          const { assert, arena, assertIntact, collect } = tools
          const take = tools[taker]
          arena.trim()
          const { usedBytes } = arena.stats()
          let block: Buffer | null = arena.allocUnsafe(size).fill(1)
          await take(block)
          arena.free(block)
          block = null
          await collect()
          arena.trim()
          assert.deepEqual([arena.stats().usedBytes, arena.stats().dirtyBytes], [usedBytes, 0])
          assertIntact()
        },
        { size, taker },
        { ...options, releaseAfterMs: Number.POSITIVE_INFINITY },
      )
    })

    it('realloc says so, and the block can still be freed', async () => {
      await expectToSurvive(
        async (tools, { size, taker }) => {
          const { assert, codeOf, arena, assertIntact } = tools
          const take = tools[taker]
          const block = arena.allocUnsafe(size)
          await take(block)
          const before = arena.stats()
          for (const other of [0, 10, size, size + 1, 1_000_000])
            assert.equal(
              codeOf(() => arena.realloc(block, other)),
              'ERR_ARENA_DETACHED',
            )
          assert.deepEqual(arena.stats(), before)
          assertIntact()
          arena.free(block)
          assertIntact()
          arena.close()
        },
        { size, taker },
        options,
      )
    })

    it('reset and close leave the taken bytes alone', async () => {
      for (const end of ['reset', 'close'] as const) {
        await expectToSurvive(
          async (tools, { size, taker, end }) => {
            const { assert, arena, collect } = tools
            const take = tools[taker]
            const block = arena.allocUnsafe(size)
            const taken = await take(block)
            taken.fill(0x44)
            arena[end]()
            arena.check()
            if (end === 'reset') {
              for (let i = 0; i < 50; i++) arena.allocUnsafe(size).fill(0x77)
              arena.trim()
            }
            await collect()
            assert.ok(taken.every(byte => byte === 0x44))
            taken.fill(0x45)
            arena.check()
            arena.close()
            await collect()
            assert.ok(taken.every(byte => byte === 0x45))
          },
          { size, taker, end },
          options,
        )
      }
    })
  })

  describe('of a window', () => {
    // A block per kind of size within the first window, then one is taken: with it goes the whole window.
    const takeFirst = async ({ assert, arena, ...takers }: MisuseTools, taker: Taker) => {
      const first = arena.allocUnsafe(64).fill(0x31)
      const second = arena.allocUnsafe(1_000).fill(0x32)
      const taken = await takers[taker](first)
      assert.equal(second.length, 0)
      // Without what reaches into the next window.
      const memory = new Uint8Array(taken.buffer, 0, Math.min(2 ** 20, taken.buffer.byteLength))
      return { first, second, taken, memory }
    }

    it('free works, and nothing is placed in the window until its finalizer ran', async () => {
      await expectToSurvive(
        async (tools, { takeFirst, taker }) => {
          const { assert, arena, live, collect } = tools
          let parts: Awaited<ReturnType<typeof takeFirst>> | null = await takeFirst(tools, taker)
          const { first, second } = parts
          arena.free(first)
          arena.check()
          parts.memory.fill(0x44)
          // Only what has a buffer of its own is still alive.
          const blocks: Buffer[] = []
          for (let i = 0; i < 40; i++) blocks.push(arena.allocUnsafe(64 << (i % 8)).fill(0x77))
          arena.check()
          assert.ok(blocks.every(block => block.length > 0 && block.every(byte => byte === 0x77)))
          parts.memory.fill(0x45)
          assert.ok(
            blocks.every(block => block.every(byte => byte === 0x77)),
            'nothing new in the window',
          )
          arena.free(second)
          for (const block of live.slice(0, 4)) arena.free(block)
          arena.check()
          parts = null
          await collect()
          arena.trim()
          arena.check()
          for (const block of blocks) arena.free(block)
          arena.reset()
          arena.trim()
          assert.equal(arena.stats().usedBytes, 0, 'everything is free again')
          const again = arena.allocUnsafe(64)
          again.fill(1)
          arena.check()
          arena.close()
          await collect()
        },
        { takeFirst, taker },
      )
    })

    it('no large block is placed where the taken bytes are', async () => {
      await expectToSurvive(
        async (tools, { takeFirst, taker }) => {
          const { assert, arena, live } = tools
          const { first, second, taken } = await takeFirst(tools, taker)
          for (const block of [first, second, ...live]) arena.free(block)
          arena.trim()
          const blocks: Buffer[] = []
          for (let i = 0; i < 12; i++) blocks.push(arena.allocUnsafe(128 * 1024).fill(0x77))
          taken.fill(0x45)
          assert.ok(blocks.every(block => block.every(byte => byte === 0x77)))
          arena.close()
        },
        { takeFirst, taker },
      )
    })

    it('no block that starts in the window before it reaches over the taken bytes', async () => {
      await expectToSurvive(
        async (tools, { taker }) => {
          const { assert, arena } = tools
          const take = tools[taker]
          arena.reset()
          const blocks: Buffer[] = []
          while (blocks.length < 1_500) blocks.push(arena.allocUnsafe(1_024))
          const second = blocks.find(
            block => block.buffer !== blocks[0].buffer && block.byteOffset < 1_024,
          ) as Buffer
          const taken = await take(second)
          for (const block of blocks) arena.free(block)
          const again: Buffer[] = []
          for (let i = 0; i < 200; i++) again.push(arena.allocUnsafe(5_000).fill(0x77))
          taken.fill(0x45)
          assert.ok(again.every(block => block.every(byte => byte === 0x77)))
          arena.close()
        },
        { taker },
      )
    })

    it('no block of the next window is placed where the taken one reaches into it', async () => {
      await expectToSurvive(
        async (tools, { takeFirst, taker }) => {
          const { assert, arena, live } = tools
          const { first, second, taken } = await takeFirst(tools, taker)
          const whole = new Uint8Array(taken.buffer)
          for (const block of [first, second, ...live]) arena.free(block)
          const blocks: Buffer[] = []
          for (let i = 0; i < 100; i++) blocks.push(arena.allocUnsafe(1_000).fill(0x77))
          whole.fill(0x45)
          assert.ok(blocks.every(block => block.every(byte => byte === 0x77)))
          arena.close()
        },
        { takeFirst, taker },
      )
    })

    it('realloc of its blocks says so, and they can be freed', async () => {
      await expectToSurvive(
        async (tools, { takeFirst, taker }) => {
          const { assert, codeOf, arena } = tools
          const { first, second } = await takeFirst(tools, taker)
          const before = arena.stats()
          for (const block of [first, second]) {
            for (const size of [0, 10, 64, 1_000, 100_000])
              assert.equal(
                codeOf(() => arena.realloc(block, size)),
                'ERR_ARENA_DETACHED',
              )
          }
          assert.deepEqual(arena.stats(), before)
          arena.free(first)
          arena.free(second)
          assert.equal(
            codeOf(() => arena.free(first)),
            'ERR_ARENA_DOUBLE_FREE',
          )
          arena.check()
          arena.close()
        },
        { takeFirst, taker },
      )
    })

    it('a small block asked for while nothing else is free has its timer, and the books hold', async () => {
      await expectToSurvive(
        async (tools, { taker }) => {
          const { assert, sleep, arena } = tools
          const take = tools[taker]
          arena.reset()
          arena.trim()
          await sleep(60)
          const first = arena.allocUnsafe(64)
          const taken = await take(first)
          const next = arena.allocUnsafe(64).fill(2)
          arena.check()
          assert.ok(next.length === 64)
          assert.ok(taken.length > 0)
          arena.close()
        },
        { taker },
        { releaseAfterMs: 20 },
      )
    })

    it('reset and close work, and leave the mapping to whoever took it', async () => {
      for (const end of ['reset', 'close'] as const) {
        await expectToSurvive(
          async (tools, { takeFirst, taker, end }) => {
            const { assert, arena, collect } = tools
            const { memory } = await takeFirst(tools, taker)
            arena[end]()
            arena.check()
            await collect()
            memory.fill(0x46)
            assert.ok(memory.every(byte => byte === 0x46))
            if (end === 'reset') {
              const blocks: Buffer[] = []
              for (let i = 0; i < 40; i++) blocks.push(arena.allocUnsafe(64 << (i % 8)).fill(0x77))
              memory.fill(0x47)
              assert.ok(blocks.every(block => block.every(byte => byte === 0x77)))
            }
            arena.check()
            arena.close()
            await collect()
            memory.fill(0x48)
          },
          { takeFirst, taker, end },
        )
      }
    })
  })
})

describe.concurrent.each(NODES)('on $version, a block beside a window that was taken away', ({ path }) => {
  // Its own buffer, an earlier one of the same window, was given up for the sake of a forgotten neighbour.
  it.each(['takeByStream', 'takeByByob'] as const)('by %s can be resized: it moves', async taker => {
    await expectToSurvive(
      async (tools, { taker }) => {
        const { assert, arena, collect } = tools
        // Its own buffer, an earlier one of the same window, was given up for the sake of a forgotten neighbour.
        const block = arena.allocUnsafe(1_000).fill(0x51)
        const forgetOne = () => {
          arena.allocUnsafe(1_000)
        }
        forgetOne()
        await collect()
        const neighbour = arena.allocUnsafe(1_000)
        assert.notEqual(neighbour.buffer, block.buffer, 'the window has another buffer')
        const taken = await tools[taker](neighbour)
        assert.deepEqual([block.length, neighbour.length], [1_000, 0])
        let resized = block
        for (const size of [1_008, 990, 1_500, 16, 1_000]) {
          const { length } = resized
          resized = arena.realloc(resized, size)
          taken.fill(0x44)
          assert.ok(resized.subarray(0, Math.min(length, size)).every(byte => byte === 0x51))
          resized.fill(0x51)
          assert.ok(taken.every(byte => byte === 0x44))
        }
        arena.check()
        arena.free(resized)
        arena.free(neighbour)
        arena.check()
        arena.close()
        await collect()
      },
      { taker },
      { leaks: 'all' },
      path,
    )
  })
})

it.concurrent.each([64, 70_000])(
  'a block of %i bytes whose buffer went to another thread does not bring the process down',
  async size => {
    await expectToSurvive(
      async ({ codeOf, arena, collect }, { size }) => {
        const block = arena.allocUnsafe(size).fill(5)
        const { port1 } = new MessageChannel()
        // Copied on Node 20, refused on later lines.
        codeOf(() => port1.postMessage(block, [block.buffer]))
        port1.close()
        codeOf(() => structuredClone(block, { transfer: [block.buffer] }))
        arena.free(block)
        arena.check()
        arena.close()
        await collect()
      },
      { size },
    )
  },
)

it.concurrent.each([64, 70_000])('a block of %i bytes marked as untransferable can be freed', async size => {
  await expectToSurvive(
    async ({ turn, arena }, { size }) => {
      const { markAsUntransferable } = process.getBuiltinModule('node:worker_threads')
      const block = arena.allocUnsafe(size).fill(5)
      markAsUntransferable(block.buffer)
      arena.free(block)
      arena.check()
      arena.allocUnsafe(size).fill(6)
      arena.reset()
      arena.check()
      arena.close()
      arena.check()
      await turn()
      console.log('survived')
      process.exit()
    },
    { size },
  )
})
