/** Waves and pipelines over real pages: what is wanted again and again is not faulted in again, and goes when calls stop. */
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { runFunction, type Tools } from '../support/child.js'

interface Shape {
  readonly options?: ArenaOptions
  readonly liveMib?: number
  readonly blockBytes: number
  readonly count?: number
  readonly depth?: number
  readonly everyMs: number
  readonly rounds: number
}

/**
 * Runs in the child. `share` is the percent of pages that faulted. On a busy machine the first looks come late: ten rounds do not
 * count (`policy.test` counts from the third one on).
 */
async function percentsOf({ Arena: ArenaClass, assert, sleep }: Tools, shapes: Shape[]): Promise<void> {
  const MIB = 2 ** 20
  const written = (arena: Arena, sizeBytes: number) => {
    const block = arena.allocUnsafe(sizeBytes)
    for (let i = 0; i < sizeBytes; i += 4096) block[i] = 1
    return block
  }
  const run = async (shape: Shape, i: number) => {
    const { options, liveMib = 0, blockBytes, count = 1, depth = 0, everyMs, rounds } = shape
    await sleep(i * 200)
    const arena = new ArenaClass(options)
    const live = Array.from({ length: liveMib }, () => written(arena, MIB))
    const blocks: Buffer[] = []
    let before = 0
    for (let i = 0; i < rounds + depth + 10; i++) {
      if (i === depth + 10) before = arena.stats().refaultedBytes
      for (let n = 0; n < count; n++) blocks.push(written(arena, blockBytes))
      while (blocks.length > depth) arena.free(blocks.shift() as Buffer)
      await sleep(everyMs)
    }
    const share = (100 * (arena.stats().refaultedBytes - before)) / (rounds * count * blockBytes)
    const warmBytes = arena.stats().dirtyBytes
    for (const block of blocks) arena.free(block)
    await sleep(2 * arena.stats().releaseAfterMs)
    assert.equal(arena.stats().dirtyBytes, 0)
    assert.equal(arena.residentBytes(), liveMib * MIB)
    arena.check()
    assert.equal(live.length, liveMib)
    return { share, warmBytes }
  }
  console.log(JSON.stringify(await Promise.all(shapes.map(run))))
}

/** Runs these shapes side by side in one process. */
async function percentFaulted(shapes: Shape[]): Promise<{ share: number; warmBytes: number }[]> {
  const outcome = await runFunction(percentsOf, shapes)
  expect(outcome.stderr).toBe('')
  return JSON.parse(outcome.stdout)
}

const MIB = 2 ** 20

describe('waves', () => {
  it('over live memory find their pages warm, whatever their blocks, and leave nothing behind', async () => {
    const figures = await percentFaulted([
      { liveMib: 16, blockBytes: MIB, count: 8, everyMs: 100, rounds: 20 },
      { liveMib: 64, blockBytes: MIB, count: 2, everyMs: 100, rounds: 20 },
      { liveMib: 4, blockBytes: 65_536, count: 128, everyMs: 50, rounds: 40 },
      { liveMib: 16, blockBytes: 4_096, count: 1_024, everyMs: 100, rounds: 20 },
      {
        liveMib: 4,
        blockBytes: MIB,
        count: 4,
        everyMs: 100,
        rounds: 20,
        options: { detachFromBytes: 2 ** 22 },
      },
    ])
    for (const { share } of figures) expect(share).toBeLessThan(2)
  })

  it('over the program break do so too', async () => {
    const options = { source: 'sbrk' } as const
    const [{ share }] = await percentFaulted([
      { options, liveMib: 16, blockBytes: MIB, count: 8, everyMs: 100, rounds: 15 },
    ])
    expect(share).toBeLessThan(2)
  })
})

describe('pipelines', () => {
  it('of few long blocks find their pages warm, at any pace, and leave nothing behind', async () => {
    const figures = await percentFaulted([
      { blockBytes: MIB, depth: 2, everyMs: 20, rounds: 60 },
      { blockBytes: 8 * MIB, depth: 1, everyMs: 50, rounds: 30 },
      { blockBytes: 3 * MIB, depth: 5, everyMs: 5, rounds: 100 },
      { blockBytes: MIB, depth: 3, everyMs: 300, rounds: 6, options: { releaseAfterMs: 1_500 } },
    ])
    for (const { share, warmBytes } of figures) {
      expect(share).toBeLessThan(2)
      expect(warmBytes).toBeGreaterThanOrEqual(MIB)
    }
  })
})
