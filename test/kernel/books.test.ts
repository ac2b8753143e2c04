/** What the books cost by the kernel's count, and what the statistics say of it. */
import { describe, expect, it } from 'vitest'
import type { Heap } from '../../src/heap/index.js'
import { runFunction, type Tools } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { DIST } from '../support/process.js'

const MIB = 2 ** 20

interface Growth {
  grownBytes: number
  metadataBytes: number
}

interface Booked {
  stats(): { metadataBytes: number }
  check(): void
}

interface BooksTools extends Tools {
  readonly MIB: number
  /** Keeps the Buffers of blocks. */
  readonly kept: unknown[]
  readonly newHeap: () => Heap
}

/** Runs `make`, which returns what has `stats()`, in a process of its own; says how that grew. */
async function growthOf(make: (tools: BooksTools) => Booked): Promise<Growth> {
  const { code, stdout, stderr } = await runFunction(
    async (tools, { heapPath, make }) => {
      const { Arena, gc, load, sleep } = tools
      const { readFileSync } = process.getBuiltinModule('node:fs')
      const { Heap } = (await load(heapPath)) as typeof import('../../src/heap/index.js')
      const residentBytes = () =>
        1024 * Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))?.[1])
      const settle = async () => {
        for (let i = 0; i < 3; i++) {
          gc()
          await sleep(200)
        }
      }
      new Arena().alloc(100)
      await settle()
      const before = residentBytes()
      const kept: unknown[] = []
      const MIB = 2 ** 20
      const made = make({ ...tools, MIB, kept, newHeap: () => new Heap({ capacityBytes: 32 * 1024 * MIB }) })
      await settle()
      const grownBytes = residentBytes() - before
      const { metadataBytes } = made.stats()
      made.check()
      console.log(JSON.stringify({ grownBytes, metadataBytes, keptBlocks: kept.length }))
      process.exit()
    },
    { heapPath: new URL('heap/index.js', DIST).href, make },
    { nodeArgs: ['--expose-gc'] },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

// Of each kind a sample of the blocks.
describe.concurrent('the books of long blocks that nobody writes to', () => {
  const inArenas: [string, (tools: BooksTools) => Booked][] = [
    [
      '64 of 64 MiB in an arena',
      ({ Arena, MIB, kept }) => {
        const arena = new Arena()
        for (let i = 0; i < 64; i++) kept.push(arena.allocUnsafe(64 * MIB))
        return arena
      },
    ],
    [
      '24 of 1 GiB in an arena',
      ({ Arena, MIB, kept }) => {
        const arena = new Arena()
        for (let i = 0; i < 24; i++) kept.push(arena.allocUnsafe(1024 * MIB))
        return arena
      },
    ],
  ]
  it.each(someOf(inArenas, 1))('cost next to nothing: %s', async (_, make) => {
    const { grownBytes, metadataBytes } = await growthOf(make)
    expect(grownBytes).toBeLessThan(24 * MIB)
    expect(metadataBytes).toBeLessThan(4 * MIB)
  })

  it('cost next to nothing in a Heap of 32 GiB that is full', async () => {
    const { grownBytes, metadataBytes } = await growthOf(({ MIB, newHeap }) => {
      const heap = newHeap()
      while (heap.allocate(64 * MIB) >= 0);
      return heap
    })
    expect(grownBytes).toBeLessThan(24 * MIB)
    expect(metadataBytes).toBeLessThan(12 * MIB)
  })
})

describe.concurrent('metadataBytes', () => {
  const blocks: [string, (tools: BooksTools) => Booked][] = [
    [
      'blocks of 4 KiB',
      ({ newHeap }) => {
        const heap = newHeap()
        for (let i = 0; i < 1_000_000; i++) heap.allocate(4096)
        return heap
      },
    ],
    [
      'blocks of 1 MiB',
      ({ MIB, newHeap }) => {
        const heap = newHeap()
        for (let i = 0; i < 20_000; i++) heap.allocate(MIB)
        return heap
      },
    ],
    [
      'freed ones',
      ({ newHeap }) => {
        const heap = newHeap()
        for (let i = 0; i < 1_000_000; i++) heap.allocate(4096)
        for (let i = 0; i < 1_000_000; i++) heap.free(i * 256)
        return heap
      },
    ],
  ]
  it.each(someOf(blocks, 1))('is about what the kernel says: %s', async (_, make) => {
    const { grownBytes, metadataBytes } = await growthOf(make)
    expect(metadataBytes / grownBytes).toBeGreaterThan(0.8)
    expect(metadataBytes / grownBytes).toBeLessThan(1.15)
  })
})
