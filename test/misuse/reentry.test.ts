/** Script that ends blocks while Node's own C++ holds a pointer into them. */
import { describe, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { someOf } from '../support/extent.js'
import { expectToSurvive } from './processes.js'

/** What runs in the middle of a call. */
const END: Record<string, (arena: Arena, block: ArenaBuffer) => void> = {
  'frees the block': (arena, block) => arena.free(block),
  'resets the arena': arena => arena.reset(),
  'closes the arena': arena => arena.close(),
  'moves the block': (arena, block) => arena.realloc(block, 10),
  'frees and trims': (arena, block) => {
    arena.free(block)
    arena.trim()
  },
}

interface Ending {
  /** Given to a call as a number: the block ends when the call asks for its value. */
  number(value: number): number
  end(): void
  endOnce(): void
}

const CALLS: ((block: ArenaBuffer, ending: Ending) => unknown)[] = [
  (block, { number }) => block.fill(number(7)),
  (block, { number }) => block.fill(1, number(1)),
  (block, { number }) => block.fill('ab', 0, number(50)),
  (block, { number }) => block.write('some text', number(0)),
  (block, { number }) => block.writeUInt32LE(number(7), 0),
  (block, { number }) => block.copy(Buffer.alloc(50), 0, number(0)),
  (block, { number }) => Buffer.alloc(50, 3).copy(block, 0, number(0)),
  (block, { number }) => block.toString('latin1', 0, number(50)),
  (block, { number }) => Uint8Array.prototype.fill.call(block, number(7)),
  (block, { number }) => block.set([1, number(2), 3]),
  (block, { endOnce }) =>
    block.sort(() => {
      endOnce()
      return 0
    }),
  (block, { endOnce }) =>
    block.map(byte => {
      endOnce()
      return byte
    }),
  (block, { number }) => block.indexOf(1, number(0)),
  (block, { number }) => block.subarray(number(1), 5),
  (block, { end }) => {
    const list = {
      length: 2,
      get 0() {
        end()
        return 1
      },
      1: block,
    }
    return Buffer.from(list as unknown as number[])
  },
]

// One of the sizes in a sample.
describe.concurrent.each(someOf([64, 20_000, 300_000], 1))(
  'a block of %i bytes survives script that',
  size => {
    it.each(Object.entries(END))('%s within a call of its Buffer', async (_, end) => {
      await expectToSurvive(
        async ({ Arena, arena, assert, assertIntact, codeOf, turn, turns }, { size, endBlock, calls }) => {
          for (const call of calls) {
            const inner = new Arena({ name: 'inner' })
            const neighbour = inner.allocUnsafe(size).fill(0x55)
            const block = inner.allocUnsafe(size).fill(0x66)
            let isEnded = false
            const end = () => endBlock(inner, block)
            const endOnce = () => {
              if (isEnded) return
              isEnded = true
              end()
            }
            const number = (value: number) => {
              const late = {
                valueOf() {
                  end()
                  return value
                },
              }
              return late as unknown as number
            }
            codeOf(() => call(block, { number, end, endOnce }))
            inner.check()
            if (neighbour.length > 0)
              assert.ok(
                neighbour.every(byte => byte === 0x55),
                String(call),
              )
            await turn()
            codeOf(() => block.fill(1))
            inner.check()
            inner.close()
            await turn()
          }
          // What must hold afterwards: whether the other blocks live depends on what was ended.
          arena.check()
          if (arena.stats().liveBlocks > 0) assertIntact()
          await turns(2)
          arena.check()
        },
        { size, endBlock: end, calls: CALLS },
      )
    })
  },
)

describe.concurrent('a use after free', () => {
  // A sample of the sizes.
  it.each(someOf([64, 20_000, 70_000, 300_000], 2))(
    'of %i bytes never faults, and never reaches the books',
    async size => {
      await expectToSurvive(
        async ({ assert, turn, codeOf, arena, assertIntact }, { size }) => {
          const stale = arena.allocUnsafe(size).fill(1)
          const view = stale.subarray(1)
          const data = new DataView(stale.buffer, stale.byteOffset, size)
          arena.free(stale)
          arena.trim()
          await turn()
          for (const use of [
            () => stale.fill(9),
            () => view.fill(9),
            () => stale.toString(),
            () => {
              stale[0] = 1
            },
            () => Buffer.concat([stale]),
            () => Buffer.compare(stale, view),
            () => data.setUint8(0, 9),
            () => stale.swap16(),
          ])
            codeOf(use)
          assertIntact()
          arena.reset()
          arena.trim()
          await turn()
          for (const use of [() => stale.fill(9), () => view.fill(9), () => data.setUint8(0, 9)]) codeOf(use)
          arena.check()
          arena.close()
          await turn()
          assert.equal(stale.length, 0)
          assert.equal(view.length, 0)
          assert.throws(() => data.byteLength, TypeError)
        },
        { size },
      )
    },
  )

  it('of a closed arena never faults, on any turn', async () => {
    await expectToSurvive(async ({ assert, turn, codeOf, arena, live }) => {
      const views = live.flatMap(block => [block, block.subarray(1), new Uint8Array(block.buffer)])
      arena.close()
      for (let i = 0; i < 5; i++) {
        for (const view of views) {
          assert.equal(view.length, 0)
          codeOf(() => view.fill(1))
          view[0] = 1
        }
        await turn()
      }
    })
  })
})
