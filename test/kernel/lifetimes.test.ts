/** What becomes of views, clones and mappings when blocks and arenas end. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { realWorldWith, thrownBy } from '../support/world.js'

const MIB = 2 ** 20
const WINDOW_BYTES = MIB + 64 * 1024

const opened: Arena[] = []
afterEach(() => {
  for (const arena of opened.splice(0)) arena.close()
})

function open(detachFromBytes?: number) {
  const world = realWorldWith(detachFromBytes === undefined ? {} : { detachFromBytes })
  opened.push(world.arena)
  return world
}

describe('free', () => {
  it.each([
    [64 * 1024, undefined],
    [64 * 1024 + 1, undefined],
    [5 * MIB, undefined],
    [1, 0],
    [64, 0],
    [20_000, 0],
    [MIB, MIB],
    [1_000, 1_000],
  ])('leaves every view of %i bytes (detachFromBytes %s) with length 0', (size, detachFromBytes) => {
    const { arena } = open(detachFromBytes)
    const block = arena.allocUnsafe(size)
    expect(block.buffer.byteLength).toBe(size)
    const { buffer } = block
    const part = block.subarray(0, 1)
    const words = new Uint32Array(buffer, 0, size >>> 2)
    const data = new DataView(buffer)
    arena.free(block)
    for (const view of [block, part, words]) {
      expect([view.length, view.byteLength, view.byteOffset, view[0]]).toEqual([0, 0, 0, undefined])
    }
    expect(buffer.byteLength).toBe(0)
    expect(thrownBy(() => data.byteLength)).toBeInstanceOf(TypeError)
    block[0] = 5
    expect(block[0]).toBeUndefined()
  })

  it('leaves the views of a smaller block alone, and of its neighbours', () => {
    const { arena } = open()
    const block = arena.allocUnsafe(64 * 1024 - 1)
    const neighbour = arena.allocUnsafe(64)
    arena.free(block)
    expect([block.length, neighbour.length]).toEqual([64 * 1024 - 1, 64])
  })
})

describe('structuredClone', () => {
  // A sample of the sizes.
  it.each(someOf([1, 100, 1_000, 20_000, 60_000], 3))(
    'of a view of %i bytes copies one window at most',
    size => {
      const { arena } = open()
      // Three windows full.
      const count = Math.ceil((3 * MIB) / Math.max(16, size))
      const blocks = Array.from({ length: count }, () => arena.allocUnsafe(size))
      for (const block of [blocks[0], blocks[blocks.length >> 1], blocks[blocks.length - 1]]) {
        block.fill(3)
        const clone = structuredClone(block)
        expect(clone.buffer.byteLength).toBeLessThanOrEqual(WINDOW_BYTES)
        expect([clone.length, clone.every(byte => byte === 3)]).toEqual([size, true])
      }
    },
  )

  it.each([64 * 1024, 2 * MIB])('of a block of %i bytes copies the block', size => {
    const { arena } = open()
    expect(structuredClone(arena.allocUnsafe(size)).buffer.byteLength).toBe(size)
  })

  it('of a long block without detaching copies no more than its pages', () => {
    const { arena } = open(Number.POSITIVE_INFINITY)
    expect(structuredClone(arena.allocUnsafe(100_000)).buffer.byteLength).toBe(102_400)
  })
})

describe('close', () => {
  it('leaves nothing mapped, some turns later', async () => {
    const { arena, kernel } = open()
    for (const size of [64, 1_000, 20_000, 64 * 1024, MIB, 40 * MIB]) arena.alloc(size).fill(1)
    arena.free(arena.alloc(100_000))
    expect(kernel.mappings.size).toBeGreaterThan(1)
    arena.close()
    expect(kernel.mappings.size).toBeGreaterThan(1)
    await vi.waitFor(() => expect(kernel.mappings.size).toBe(0))
  })

  it('leaves as many kernel mappings in a process as there were', async () => {
    // V8's own heap grows by tens of mappings in some rounds. A hundred arenas left behind make hundreds in each.
    const { code, stdout, stderr } = await runFunction(
      async ({ Arena, gc, turn }) => {
        const { readFileSync } = process.getBuiltinModule('node:fs')
        const count = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length
        const round = async () => {
          const arenas = Array.from({ length: 100 }, () => new Arena())
          for (const arena of arenas)
            for (const size of [64, 20_000, 100_000, 5_000_000]) arena.alloc(size)[0] = 1
          for (const arena of arenas) arena.close()
          await turn()
          gc()
        }
        const counts = [count()]
        for (let i = 0; i < 8; i++) {
          await round()
          counts.push(count())
        }
        console.log(JSON.stringify(counts))
      },
      undefined,
      { nodeArgs: ['--expose-gc'] },
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const counts = JSON.parse(stdout) as number[]
    const grown = counts.slice(1).map((count, i) => count - counts[i])
    expect(Math.min(...grown), `mappings after each round: ${counts}`).toBeLessThan(20)
    expect(counts[8] - counts[0]).toBeLessThan(400)
  })

  it('unmaps nothing on the stack of the caller, and twice does nothing', () => {
    const { arena, kernel } = open()
    arena.allocUnsafe(MIB)
    arena.close()
    arena.close()
    arena[Symbol.dispose]()
    expect(kernel.counts.unmap).toBe(0)
    expect(arena.stats().mappedBytes).toBe(0)
  })

  it('gives the pages back before the mapping goes', () => {
    const { arena, kernel } = open()
    arena.allocUnsafe(MIB).fill(1)
    arena.allocUnsafe(100).fill(1)
    arena.close()
    expect(kernel.segments.size).toBeGreaterThan(0)
    for (const mapping of kernel.segments.keys()) {
      expect(kernel.residentPages(mapping).every(is => is === 0)).toBe(true)
    }
  })
})
