import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { Arena, ArenaError } from '../../src/index.js'
import { loadAddon } from '../../src/memory/addon.js'
import { someOf } from '../support/extent.js'
import { isFilled, isMarked, isZero, mark, open, thrownBy } from '../support/world.js'

const KIB = 1024
const MIB = 1024 * KIB
const PAGE = loadAddon().pageBytes
const SIZES = [
  1,
  15,
  16,
  17,
  64,
  100,
  255,
  256,
  257,
  1_000,
  4_095,
  4_096,
  4_097,
  16 * KIB,
  16 * KIB + 1,
  40_000,
]
const LARGE_SIZES = [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 100_000, MIB, 3 * MIB + 1, 10 * MIB]

const DETACH_FROM = [0, undefined, MIB, Number.POSITIVE_INFINITY]

/** Options with `detachFromBytes`, or the default. */
function detaching(detachFromBytes: number | undefined): ArenaOptions {
  return detachFromBytes === undefined ? {} : { detachFromBytes }
}

describe('new Arena', () => {
  it('works with the real world and no options', () => {
    const arena = new Arena()
    expect(arena.name).toMatch(/^arena-\d+$/)
    expect(arena.alloc(64).length).toBe(64)
    arena.close()
  })

  it('gives each arena a name of its own, or the one asked for', () => {
    expect(open().arena.name).not.toBe(open().arena.name)
    const { arena } = open({ name: 'uploads' })
    expect([arena.name, arena.stats().name]).toEqual(['uploads', 'uploads'])
  })

  it('names the arena in its errors', () => {
    const { arena } = open({ name: 'uploads', limitBytes: 8 * KIB })
    const block = arena.alloc(100)
    arena.free(block)
    const calls = [
      () => arena.free(block),
      () => arena.free(Buffer.alloc(1)),
      () => arena.realloc(arena.alloc(100).subarray(1), 5),
      () => arena.alloc(MIB),
      () => {
        arena.close()
        arena.alloc(1)
      },
    ]
    for (const call of calls) {
      const error = thrownBy(call)
      expect(error).toBeInstanceOf(ArenaError)
      expect(error?.message).toContain("'uploads'")
    }
  })
})

// A sample of them.
describe.each(someOf(DETACH_FROM, 2))('detachFromBytes %s', detachFromBytes => {
  it.each([...SIZES, ...LARGE_SIZES])(
    'alloc(%i) gives that many zeros, also where bytes were before',
    size => {
      const { arena } = open(detaching(detachFromBytes))
      for (let round = 0; round < 3; round++) {
        const blocks = [arena.alloc(size), arena.alloc(size)]
        for (const block of blocks) {
          expect(block.length).toBe(size)
          expect(isZero(block)).toBe(true)
          block.fill(0xff)
        }
        arena.free(blocks[0])
        const again = arena.alloc(size)
        expect(isZero(again)).toBe(true)
        expect(isFilled(blocks[1], 0xff)).toBe(true)
        again.fill(0xee)
        arena.free(again)
        arena.free(blocks[1])
        if (round === 1) arena.trim()
      }
      arena.check()
    },
  )

  it('blocks never overlap, and are aligned to 16', () => {
    const { arena, kernel } = open(detaching(detachFromBytes))
    const blocks = [...SIZES, ...LARGE_SIZES, ...SIZES].map(size => arena.allocUnsafe(size))
    blocks.forEach((block, index) => {
      mark(block, index)
      expect(kernel.placeOf(block).offsetBytes % 16).toBe(0)
    })
    blocks.forEach((block, index) => {
      expect(isMarked(block, index)).toBe(true)
    })
  })

  it.each([1, 2, 8, 16, 32, 64, 128, 512, 1_024, 2_048, PAGE])('align: %i is kept for every size', align => {
    const { arena, kernel } = open(detaching(detachFromBytes))
    for (const size of [...SIZES, 64 * KIB, 100_000]) {
      for (const method of ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const) {
        const block = arena[method](size, { align }) as Buffer
        expect(block.length).toBe(size)
        expect(kernel.placeOf(block).offsetBytes % align).toBe(0)
        if (method.endsWith('lloc')) expect(isZero(block)).toBe(true)
        block.fill(1)
      }
    }
    arena.check()
  })

  it('realloc keeps the contents over every border, and spends the old Buffer', () => {
    const sizes = [0, 1, 100, 5_000, 20_000, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 300_000, MIB - 1, MIB + 1]
    const { arena } = open(detaching(detachFromBytes))
    for (const from of sizes) {
      for (const to of sizes) {
        const old = arena.allocUnsafe(from)
        mark(old, from)
        const resized = arena.realloc(old, to)
        expect(resized.length).toBe(to)
        expect(isMarked(resized, from, Math.min(from, to), from)).toBe(true)
        expect(thrownBy(() => arena.free(old))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
        if (from > 0 && from >= (detachFromBytes ?? 64 * KIB)) expect(old.length).toBe(0)
        expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: to })
        mark(resized, to)
        expect(isMarked(resized, to)).toBe(true)
        arena.free(resized)
        arena.check()
      }
    }
  })
})

describe('alloc', () => {
  it('of zero bytes gives an empty Buffer that can be freed once', () => {
    const { arena, kernel } = open()
    for (const method of ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const) {
      const block = arena[method](0) as Buffer
      expect([block.length, Buffer.isBuffer(block)]).toEqual([0, true])
      expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: 0, mappedBytes: 0 })
      arena.free(block)
      expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    }
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, allocations: 4, frees: 4 })
    expect(kernel.callCount).toBe(0)
  })

  it('of a size far above what can be mapped is refused by the kernel, or by the arena', () => {
    const { arena } = open()
    arena.alloc(64)
    const before = arena.stats()
    const error = thrownBy(() => {
      for (let i = 0; i < 10; i++) arena.allocUnsafe(4 * 1024 * MIB)
    })
    expect(error).toMatchObject({ code: 'ERR_ARENA_OUT_OF_MEMORY' })
    expect(error?.cause).toBeInstanceOf(Error)
    expect(arena.tryAlloc(4 * 1024 * MIB)).toBeUndefined()
    arena.check()
    expect(before.liveBlocks).toBe(1)
  })

  it.each(['off', 'all'] as const)(
    'does not make pages resident that are zero already (leaks: %s)',
    leaks => {
      const { arena } = open({ leaks })
      arena.alloc(3 * MIB)
      expect(arena.residentBytes()).toBe(0)
    },
  )
})

describe('tryAlloc', () => {
  it('gives undefined at the limit and throws for bad arguments and a closed arena', () => {
    const { arena } = open({ limitBytes: 16 * PAGE })
    expect(arena.tryAlloc(17 * PAGE)).toBeUndefined()
    expect(arena.tryAllocUnsafe(17 * PAGE)).toBeUndefined()
    expect(arena.tryAlloc(16 * PAGE)?.length).toBe(16 * PAGE)
    expect(thrownBy(() => arena.tryAlloc(-1))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(thrownBy(() => arena.tryAllocUnsafe(1, { align: 5 }))?.code).toBe('ERR_OUT_OF_RANGE')
    arena.close()
    expect(thrownBy(() => arena.tryAlloc(1))?.code).toBe('ERR_ARENA_CLOSED')
    expect(thrownBy(() => arena.tryAllocUnsafe(1))?.code).toBe('ERR_ARENA_CLOSED')
  })
})

describe('realloc', () => {
  it('grows and shrinks a run where it lies', () => {
    const { arena, kernel } = open()
    const block = arena.allocUnsafe(100_000)
    mark(block, 1)
    const place = kernel.placeOf(block)
    const grown = arena.realloc(block, 3 * MIB)
    expect(kernel.placeOf(grown)).toEqual(place)
    expect(isMarked(grown, 1, 100_000)).toBe(true)
    const shrunk = arena.realloc(grown, 70_000)
    expect(kernel.placeOf(shrunk)).toEqual(place)
    expect(isMarked(shrunk, 1, 70_000, 100_000)).toBe(true)
    expect(arena.stats()).toMatchObject({ usedBytes: Math.ceil(70_000 / PAGE) * PAGE, liveBytes: 70_000 })
    arena.check()
  })

  it('keeps a small block in its slot while its size class is the same', () => {
    const { arena, kernel } = open()
    const block = arena.allocUnsafe(1_000)
    const place = kernel.placeOf(block)
    const resized = arena.realloc(block, 1_001)
    expect(kernel.placeOf(resized)).toEqual(place)
    expect([block === resized, resized.length]).toEqual([false, 1_001])
  })

  it('moves where the next pages are taken', () => {
    const { arena, kernel } = open()
    const block = arena.allocUnsafe(100_000)
    mark(block, 2)
    const neighbour = arena.allocUnsafe(100_000)
    mark(neighbour, 3)
    const place = kernel.placeOf(block)
    const moved = arena.realloc(block, 200_000)
    expect(kernel.placeOf(moved)).not.toEqual(place)
    expect(isMarked(moved, 2, 100_000)).toBe(true)
    expect(isMarked(neighbour, 3)).toBe(true)
    expect(block.length).toBe(0)
  })

  it('at the limit grows in place after giving back what is free', () => {
    const { arena } = open({ limitBytes: 40 * PAGE })
    const before = arena.allocUnsafe(20 * PAGE)
    const block = arena.allocUnsafe(17 * PAGE)
    mark(block, 4)
    arena.free(before)
    const grown = arena.realloc(block, 30 * PAGE)
    expect(isMarked(grown, 4, 17 * PAGE)).toBe(true)
    arena.check()
  })

  it('leaves everything as it was where it is refused', () => {
    const { arena } = open({ limitBytes: 40 * PAGE })
    const block = arena.allocUnsafe(30 * PAGE)
    mark(block, 5)
    const before = arena.stats()
    expect(thrownBy(() => arena.realloc(block, 41 * PAGE))?.code).toBe('ERR_ARENA_LIMIT')
    expect(arena.stats()).toEqual(before)
    expect(isMarked(block, 5)).toBe(true)
    arena.free(block)
  })

  it('to zero bytes frees the block, from zero bytes allocates one', () => {
    const { arena } = open()
    const empty = arena.realloc(arena.allocUnsafe(100), 0)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: 0, usedBytes: 0 })
    expect(arena.realloc(empty, 50).length).toBe(50)
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: 50 })
  })
})

describe('free', () => {
  it('takes the Buffer although views of it exist, and the next block reuses its place', () => {
    const { arena, kernel } = open()
    const block = arena.allocUnsafe(64)
    const place = kernel.placeOf(block)
    arena.free(block)
    expect(kernel.placeOf(arena.allocUnsafe(64))).toEqual(place)
  })

  it('of everything lets the whole of each segment be allocated again', () => {
    const { arena } = open({ releaseAfterMs: Number.POSITIVE_INFINITY })
    const blocks = Array.from({ length: 900 }, (_, i) => arena.allocUnsafe(1 + ((i * 7_919) % 4_000)))
    for (let i = 0; i < blocks.length; i += 2) arena.free(blocks[i])
    for (let i = 1; i < blocks.length; i += 2) arena.free(blocks[i])
    const { mappedBytes, segments } = arena.stats()
    expect(segments).toBe(1)
    arena.allocUnsafe(mappedBytes)
    expect(arena.stats()).toMatchObject({ mappedBytes, usedBytes: mappedBytes })
    arena.check()
  })
})

describe('limitBytes', () => {
  it('counts used and dirty pages, and gives dirty ones back before it refuses', () => {
    const { arena, kernel } = open({ limitBytes: 100 * PAGE, releaseAfterMs: Number.POSITIVE_INFINITY })
    const first = arena.allocUnsafe(50 * PAGE)
    const second = arena.allocUnsafe(50 * PAGE)
    expect(thrownBy(() => arena.allocUnsafe(1))?.code).toBe('ERR_ARENA_LIMIT')
    arena.free(first)
    expect(arena.stats()).toMatchObject({ committedBytes: 100 * PAGE, dirtyBytes: 50 * PAGE })
    expect(kernel.counts.dontneed).toBe(0)
    const third = arena.allocUnsafe(20 * PAGE)
    arena.free(second)
    // 20 used, 80 dirty in two pieces: 70 in a row are mapped anew, and so must be committed.
    arena.allocUnsafe(70 * PAGE)
    arena.check()
    expect(arena.stats().committedBytes).toBeLessThanOrEqual(100 * PAGE)
    expect(third.length).toBe(20 * PAGE)
  })

  it('is never passed by blocks of any size', () => {
    const limitBytes = 64 * PAGE
    for (const size of [16, 100, 1_000, 3_000, 5_000, 16 * KIB, 20_000, 70_000]) {
      const { arena } = open({ limitBytes })
      let count = 0
      while (arena.tryAllocUnsafe(size) !== undefined) count++
      expect(arena.stats().committedBytes).toBeLessThanOrEqual(limitBytes)
      // An eighth for rounding, and what is left at the end of the pages.
      expect(count * size).toBeGreaterThan(limitBytes * 0.75 - size)
      expect(thrownBy(() => arena.alloc(size))).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
      arena.check()
    }
  })

  it('below a page allows zero bytes only', () => {
    const { arena, kernel } = open({ limitBytes: PAGE - 1 })
    expect(arena.alloc(0).length).toBe(0)
    expect(arena.tryAlloc(1)).toBeUndefined()
    expect(kernel.counts.map).toBe(0)
  })

  it('of one page holds one block of up to a page', () => {
    for (const size of [1, 1_000, 3_000, PAGE]) {
      const { arena } = open({ limitBytes: PAGE })
      expect(arena.tryAlloc(size)?.length).toBe(size)
    }
  })

  it('says what it is, what is used and what to do', () => {
    const { arena } = open({ limitBytes: 10 * PAGE })
    arena.allocUnsafe(9 * PAGE)
    const error = thrownBy(() => arena.alloc(2 * PAGE))
    expect(error?.message).toContain(String(10 * PAGE))
    expect(error?.message).toContain(String(9 * PAGE))
    expect(error?.message).toContain(String(2 * PAGE))
  })
})

describe('reset', () => {
  it.each(DETACH_FROM)('frees every block and empties every view (detachFromBytes %s)', detachFromBytes => {
    const { arena } = open(detaching(detachFromBytes))
    const blocks = [0, ...SIZES, ...LARGE_SIZES].map(size => arena.allocUnsafe(size))
    const views = blocks.map(block => block.subarray(0, 1))
    const { allocations } = arena.stats()
    arena.reset()
    expect([...blocks, ...views].every(view => view.length === 0)).toBe(true)
    expect(arena.stats()).toMatchObject({
      liveBlocks: 0,
      liveBytes: 0,
      usedBytes: 0,
      allocations,
      frees: allocations,
    })
    arena.check()
    expect(isZero(arena.alloc(5_000))).toBe(true)
    arena.check()
  })

  it('of an unused arena does nothing', () => {
    const { arena, kernel } = open()
    arena.reset()
    arena.reset()
    expect(kernel.callCount).toBe(0)
  })
})

describe('trim', () => {
  it('returns the bytes given back, and zero the second time', () => {
    const { arena } = open()
    arena.free(arena.allocUnsafe(100_000))
    arena.free(arena.allocUnsafe(64))
    const { dirtyBytes } = arena.stats()
    expect(dirtyBytes).toBeGreaterThan(100_000)
    expect(arena.trim()).toBe(dirtyBytes)
    expect(arena.trim()).toBe(0)
    expect(arena.stats()).toMatchObject({ dirtyBytes: 0, purgedBytes: dirtyBytes })
  })

  it('unmaps free segments but for one, on the next turn', async () => {
    const { arena, kernel, deferral } = open()
    const blocks = Array.from({ length: 4 }, () => arena.allocUnsafe(20 * MIB))
    expect(arena.stats().segments).toBeGreaterThan(1)
    const smallest = Math.min(...kernel.segments.values())
    for (const block of blocks) arena.free(block)
    arena.trim()
    expect(arena.stats()).toMatchObject({ segments: 1, mappedBytes: smallest })
    expect(kernel.counts.unmap).toBe(0)
    await new Promise(setImmediate)
    deferral.runTurn()
    expect(kernel.segments.size).toBe(1)
    arena.check()
  })
})

describe('stats', () => {
  it('add up, and count what was done', () => {
    const { arena } = open({ name: 'counted', limitBytes: 50 * MIB })
    expect(arena.stats()).toEqual({
      name: 'counted',
      source: 'mmap',
      breakOwned: null,
      segments: 0,
      liveBlocks: 0,
      liveBytes: 0,
      usedBytes: 0,
      dirtyBytes: 0,
      cleanBytes: 0,
      mappedBytes: 0,
      committedBytes: 0,
      peakCommittedBytes: 0,
      limitBytes: 50 * MIB,
      softLimitBytes: Number.POSITIVE_INFINITY,
      releaseAfterMs: 1_000,
      allocations: 0,
      frees: 0,
      purges: 0,
      purgedBytes: 0,
      refaultedBytes: 0,
      pools: 0,
      idleBlocks: 0,
      idleBytes: 0,
      acquiredBlocks: 0,
      acquiredBytes: 0,
      pinnedBlocks: 0,
      quarantinedBlocks: 0,
      quarantinedBytes: 0,
      metadataBytes: expect.any(Number),
    })
    const block = arena.allocUnsafe(100_000)
    const pages = Math.ceil(100_000 / PAGE) * PAGE
    expect(arena.stats()).toMatchObject({ segments: 1, liveBlocks: 1, liveBytes: 100_000, usedBytes: pages })
    arena.free(block)
    expect(arena.stats()).toMatchObject({
      liveBlocks: 0,
      usedBytes: 0,
      dirtyBytes: pages,
      committedBytes: pages,
    })
    arena.trim()
    expect(arena.stats()).toMatchObject({
      dirtyBytes: 0,
      purges: 1,
      purgedBytes: pages,
      peakCommittedBytes: pages,
    })
    expect(arena.stats().refaultedBytes).toBe(0)
    arena.allocUnsafe(100_000)
    expect(arena.stats()).toMatchObject({ refaultedBytes: pages, allocations: 2, frees: 1 })
  })

  it('make no kernel call', () => {
    const { arena, kernel } = open()
    arena.alloc(1_000)
    const before = kernel.callCount
    arena.stats()
    expect(kernel.callCount).toBe(before)
  })
})

describe('close', () => {
  it('spends every Buffer, twice is fine, and using does it at the end of a scope', () => {
    const { arena } = open()
    const blocks = [...SIZES, ...LARGE_SIZES].map(size => arena.allocUnsafe(size))
    arena[Symbol.dispose]()
    expect(blocks.every(block => block.length === 0)).toBe(true)
    arena.close()
    arena[Symbol.dispose]()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, mappedBytes: 0, segments: 0 })
    arena.check()
  })

  it('leaves no timer', () => {
    const { arena, deferral, kernel } = open()
    arena.free(arena.allocUnsafe(1_000))
    arena.close()
    const before = kernel.callCount
    deferral.advance(10_000)
    expect(kernel.callCount).toBe(before)
    expect(deferral.pendingTimers).toBe(0)
  })
})
