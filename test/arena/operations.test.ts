/** Node's own operations on the Buffers of an arena, under `lend`: as on any other Buffer, whatever is freed meanwhile. */
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { someOf } from '../support/extent.js'
import { OPERATIONS, sampleOf } from '../support/operations.js'
import { thrownBy } from '../support/world.js'

// In a window; the longest there; with an ArrayBuffer of its own.
const SIZES = [1_000, 64 * 1024 - 8, 100_000, 2 ** 21]
const ARENAS: readonly (readonly [string, ArenaOptions])[] = [
  ['by default', {}],
  ['with debug: true', { debug: true }],
]
const CASES = ARENAS.flatMap(([name, options]) => SIZES.map(size => [name, size, options] as const))

let arena: Arena
afterEach(() => {
  arena.check()
  arena.close()
})

function openWithBlock(options: ArenaOptions, size: number): Buffer {
  arena = new Arena({ name: 'subject', ...options })
  const block = arena.allocUnsafe(size)
  block.set(sampleOf(size))
  return block
}

/** Has everything that is free used, purged and used again: what is lent must not be among it. */
function churn(size: number): void {
  for (let round = 0; round < 2; round++) {
    const blocks = Array.from({ length: 4 }, () => arena.allocUnsafe(size).fill(0x11))
    for (const block of blocks) arena.free(block)
    arena.trim()
  }
}

// A sample of the sizes in each kind of arena, with all operations on them.
describe.each(someOf(CASES, 2))('an arena %s, %i bytes', (_, size, options) => {
  it.each(OPERATIONS)('%s', async (_, operate) => {
    const block = openWithBlock(options, size)
    await arena.lend(block, operate)
    expect([block.length, arena.stats().pinnedBlocks]).toEqual([size, 0])
    arena.free(block)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0 })
  })

  it.each(OPERATIONS)('%s, freed in the middle', async (_, operate) => {
    const block = openWithBlock(options, size)
    const lent = arena.lend(block, operate)
    arena.free(block)
    expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    churn(size)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, pinnedBlocks: 1 })
    await lent
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pinnedBlocks: 0 })
    if (size >= 64 * 1024) expect(block.length).toBe(0)
    arena.trim()
    expect(arena.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0 })
  })
})
