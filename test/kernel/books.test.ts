/** What the books cost by the kernel's count, and what the statistics say of it. */
import { describe, expect, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { DIST, runScript } from '../support/process.js'

const MIB = 2 ** 20

interface Growth {
  grownBytes: number
  metadataBytes: number
}

/** Runs `make`, which returns what has `stats()`, in a process of its own; says how that grew. */
async function growthOf(make: string): Promise<Growth> {
  const { code, stdout, stderr } = await runScript(
    `
    const { readFileSync } = await import('node:fs')
    const { Heap } = await import(new URL('heap/index.js', ${JSON.stringify(DIST.href)}))
    const MIB = 2 ** 20
    const residentBytes = () =>
      1024 * Number(/^Rss:\\s+(\\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1])
    const settle = async () => {
      for (let i = 0; i < 3; i++) {
        gc()
        await new Promise(done => setTimeout(done, 200))
      }
    }
    const make = () => { ${make} }
    new Arena().alloc(100)
    await settle()
    const before = residentBytes()
    const made = make()
    await settle()
    const grownBytes = residentBytes() - before
    const { metadataBytes } = made.stats()
    made.check()
    console.log(JSON.stringify({ grownBytes, metadataBytes }))
    process.exit()
    `,
    ['--expose-gc'],
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

const HEAP = 'const heap = new Heap({ capacityBytes: 32 * 1024 * MIB })'

// Of each kind a sample of the blocks.
describe.concurrent('the books of long blocks that nobody writes to', () => {
  const inArenas = [
    [
      '64 of 64 MiB in an arena',
      'kept = []; for (let i = 0; i < 64; i++) kept.push(arena.allocUnsafe(64 * MIB))',
    ],
    [
      '24 of 1 GiB in an arena',
      'kept = []; for (let i = 0; i < 24; i++) kept.push(arena.allocUnsafe(1024 * MIB))',
    ],
  ] as const
  it.each(someOf(inArenas, 1))('cost next to nothing: %s', async (_, fill) => {
    const { grownBytes, metadataBytes } = await growthOf(
      `const arena = new Arena(); globalThis.kept = null; ${fill}; return arena`,
    )
    expect(grownBytes).toBeLessThan(24 * MIB)
    expect(metadataBytes).toBeLessThan(4 * MIB)
  })

  it('cost next to nothing in a Heap of 32 GiB that is full', async () => {
    const { grownBytes, metadataBytes } = await growthOf(
      `${HEAP}; while (heap.allocate(64 * MIB) >= 0); return heap`,
    )
    expect(grownBytes).toBeLessThan(24 * MIB)
    expect(metadataBytes).toBeLessThan(12 * MIB)
  })
})

describe.concurrent('metadataBytes', () => {
  const blocks = [
    ['blocks of 4 KiB', 'for (let i = 0; i < 1_000_000; i++) heap.allocate(4096)'],
    ['blocks of 1 MiB', 'for (let i = 0; i < 20_000; i++) heap.allocate(MIB)'],
    [
      'freed ones',
      'for (let i = 0; i < 1_000_000; i++) heap.allocate(4096); for (let i = 0; i < 1_000_000; i++) heap.free(i * 256)',
    ],
  ] as const
  it.each(someOf(blocks, 1))('is about what the kernel says: %s', async (_, fill) => {
    const { grownBytes, metadataBytes } = await growthOf(`${HEAP}; ${fill}; return heap`)
    expect(metadataBytes / grownBytes).toBeGreaterThan(0.8)
    expect(metadataBytes / grownBytes).toBeLessThan(1.15)
  })
})
