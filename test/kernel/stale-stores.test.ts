/** Stores into memory that was freed, and given back, through views of small blocks: what they make resident, and who sees them. */
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { hasNoBreak } from '../support/break.js'
import { isZero } from '../support/world.js'

const SIZES = [5_000, 40_000, 70_000, 300_000, 2 ** 21]

/** An arena with pages that went back and were stored to afterwards. Returns how many stores there were. */
function storeInto(arena: Arena, sizeBytes: number): number {
  const blocks = Array.from({ length: 400 }, () => arena.allocUnsafe(sizeBytes).fill(1))
  for (const block of blocks) arena.free(block)
  // A window lives on while a block lives in it, and those of the others see its memory.
  const kept = Array.from({ length: 64 }, () => arena.alloc(10))
  arena.trim()
  let stores = 0
  for (const block of blocks) {
    if (block.length === 0) continue
    block[block.length >> 1] = 7
    stores++
  }
  for (const block of kept) arena.free(block)
  return stores
}

describe.each<[string, ArenaOptions]>([
  ['mmap', {}],
  ['mmap with kept buffers', { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['mmap, released at once', { releaseAfterMs: 0 }],
  ['sbrk', { source: 'sbrk' }],
])('%s', (_, options) => {
  it.skipIf(options.source === 'sbrk' && hasNoBreak).each(SIZES)(
    'alloc of %i bytes is zero, whatever was stored there',
    sizeBytes => {
      const arena = new Arena({ releaseAfterMs: Number.POSITIVE_INFINITY, ...options })
      const stores = storeInto(arena, 1_000)
      // With nothing kept warm no window outlives its blocks.
      expect(stores > 0).toBe(options.releaseAfterMs !== 0)
      const { usedBytes } = arena.stats()
      const blocks: Buffer[] = []
      while (arena.stats().usedBytes < usedBytes + 2 ** 23) blocks.push(arena.alloc(sizeBytes))
      for (const block of blocks) expect(isZero(block)).toBe(true)
      arena.check()
      arena.close()
    },
  )
})

it('is what residentBytes() counts beyond committedBytes', () => {
  const arena = new Arena({ releaseAfterMs: Number.POSITIVE_INFINITY })
  expect(arena.residentBytes()).toBeLessThanOrEqual(arena.stats().committedBytes)
  storeInto(arena, 1_000)
  const staleBytes = arena.residentBytes() - arena.stats().committedBytes
  expect(staleBytes).toBeGreaterThan(0)
  arena.close()
})

it('touches nothing that is not touched already', () => {
  const arena = new Arena({ releaseAfterMs: Number.POSITIVE_INFINITY })
  arena.alloc(2 ** 24)
  expect(arena.residentBytes()).toBe(0)
  arena.close()
})
