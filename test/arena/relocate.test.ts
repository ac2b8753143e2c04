/** Blocks that move to lower places: what that frees, what it leaves alone, and what may go wrong meanwhile. */
import { ReadableStream } from 'node:stream/web'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { hasNoBreak } from '../support/break.js'
import { expectToPass } from '../support/leak-listener.js'
import { isMarked, isZero, mark, open, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20
/** Nothing goes back but by `trim`, so that each page is accounted for. */
const BY_TRIM = { releaseAfterMs: Number.POSITIVE_INFINITY }

type Cache = Map<number, Buffer>

/** Fills `bytes` of the arena with blocks of `sizeBytes`, and keeps one in `keepOneIn`, each marked with its key. */
function sparse(arena: Arena, bytes: number, sizeBytes: number, keepOneIn: number): Cache {
  const blocks = Array.from({ length: bytes / sizeBytes }, () => arena.allocUnsafe(sizeBytes))
  const cache: Cache = new Map()
  blocks.forEach((block, key) => {
    if (key % keepOneIn === keepOneIn - 1) {
      mark(block, key)
      cache.set(key, block)
    } else arena.free(block)
  })
  return cache
}

/** One walk, as a program does it. Returns how many moved. */
function relocateAll(arena: Arena, cache: Cache): number {
  let moved = 0
  for (const [key, buffer] of cache) {
    const now = arena.relocate(buffer)
    if (now === buffer) continue
    moved++
    cache.set(key, now)
  }
  return moved
}

function expectUnharmed(arena: Arena, cache: Cache): void {
  arena.check()
  for (const [key, buffer] of cache) {
    if (!isMarked(buffer, key)) expect.fail(`the contents of block ${key}`)
  }
}

/** The highest block of a sparse arena, and what else lives there. */
function highBlock(options: ArenaOptions = {}) {
  const world = open({ ...BY_TRIM, ...options })
  // With `debug` each block moves, and takes much longer to allocate.
  const cache = sparse(world.arena, options.debug ? 32_000 : 1_024_000, 1_000, 16)
  const [key, buffer] = [...cache].at(-1) as [number, Buffer]
  return { ...world, cache, key, buffer }
}

describe('a walk over 1 in 64 blocks of 256 bytes', () => {
  it('leaves 128 MiB with little more than what lives', () => {
    const arena = new Arena({ name: 'relocated', ...BY_TRIM })
    try {
      const all = Array.from({ length: (128 * MIB) / 256 }, () => arena.allocUnsafe(256))
      const cache: Cache = new Map()
      // One at random of each 64.
      all.forEach((block, key) => {
        const group = key >>> 6
        if ((Math.imul(group, 0x9e3779b1) >>> 8) % 64 === key % 64) {
          mark(block, key)
          cache.set(key, block)
        } else arena.free(block)
      })
      const liveBytes = cache.size * 256
      arena.trim()
      expect(arena.residentBytes()).toBeGreaterThan(12 * liveBytes)
      relocateAll(arena, cache)
      arena.trim()
      expect(arena.residentBytes()).toBeLessThan(1.05 * liveBytes)
      expectUnharmed(arena, cache)
      const { allocations, frees, liveBlocks } = arena.stats()
      expect([liveBlocks, allocations - frees]).toEqual([cache.size, cache.size])
    } finally {
      arena.close()
    }
  })
})

const OPTIONS: ArenaOptions[] = [
  {},
  { releaseAfterMs: 0 },
  { detachFromBytes: 0 },
  { trackOwners: true },
  { leaks: 'all' },
  { wipeOnFree: true },
  { hugePages: true },
  { prefault: true },
  { source: 'heap' },
  { source: 'heap', detachFromBytes: 0, wipeOnFree: true },
  ...(hasNoBreak ? [] : [{ source: 'sbrk' } as const]),
]

describe.each(OPTIONS)('with %o', options => {
  it.each([
    [64, 64, 16_384],
    [256, 2, 2_048],
    [3_000, 16, 1_024],
    [9_000, 8, 512],
  ])('moves blocks of %d bytes, of which 1 in %d lives, and harms none', (sizeBytes, keepOneIn, count) => {
    const { arena } = open({ ...BY_TRIM, ...options })
    const cache = sparse(arena, sizeBytes * count, sizeBytes, keepOneIn)
    const before = arena.stats()
    const old = new Map(cache)
    const moved = relocateAll(arena, cache)
    const after = arena.stats()
    // The kernel gives back huge pages only as a whole, and these are too few.
    if (!options.hugePages) {
      expect(moved).toBeGreaterThan(0)
      expect(after.usedBytes).toBeLessThan(before.usedBytes)
      const pages = (cache.size * sizeBytes) / 4096
      expect(after.usedBytes / 4096).toBeLessThan(1.25 * pages + 2)
    }
    expect(after).toMatchObject({
      liveBlocks: cache.size,
      liveBytes: cache.size * sizeBytes,
      allocations: before.allocations + moved,
      frees: before.frees + moved,
    })
    expectUnharmed(arena, cache)
    for (const [key, buffer] of old) {
      if (buffer === cache.get(key)) continue
      expect(thrownBy(() => arena.free(buffer))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      if (options.detachFromBytes === 0) expect(buffer.length).toBe(0)
    }
    for (const buffer of cache.values()) {
      expect(arena.ownerOf(buffer)).toBe(buffer)
      if (options.trackOwners) expect(arena.ownerOf(buffer.subarray(1, 5))).toBe(buffer)
      arena.free(buffer)
    }
    arena.trim()
    expect(arena.stats()).toMatchObject({ usedBytes: 0, liveBlocks: 0 })
    arena.check()
  })
})

describe('what stays', () => {
  it('is what lies well', () => {
    const { arena } = open(BY_TRIM)
    const cache = sparse(arena, MIB, 256, 64)
    relocateAll(arena, cache)
    expect(relocateAll(arena, cache)).toBe(0)
    expect(relocateAll(arena, cache)).toBe(0)
    const dense = Array.from({ length: 5_000 }, () => arena.allocUnsafe(100))
    expect(dense.every(buffer => arena.relocate(buffer) === buffer)).toBe(true)
  })

  it.each<[string, number, { align: number } | undefined]>([
    ['has 0 bytes', 0, undefined],
    ['has 64 KiB', 65_536, undefined],
    ['has more', 300_000, undefined],
    ['has an alignment', 256, { align: 64 }],
  ])('is what %s', (_, sizeBytes, align) => {
    for (const debug of [false, true]) {
      const { arena } = open({ ...BY_TRIM, debug })
      const below = Array.from({ length: 200 }, () => arena.allocUnsafe(10_000))
      const buffer = arena.allocUnsafe(sizeBytes, align)
      for (const block of below) arena.free(block)
      expect(arena.relocate(buffer)).toBe(buffer)
      arena.free(buffer)
    }
  })

  it('is what is pinned or on loan', async () => {
    const { arena, buffer } = highBlock()
    arena.pin(buffer)
    expect(arena.relocate(buffer)).toBe(buffer)
    arena.unpin(buffer)
    let isDone = () => {}
    const pending = new Promise<void>(resolve => {
      isDone = resolve
    })
    const loan = arena.lend(buffer, () => pending)
    expect(arena.relocate(buffer)).toBe(buffer)
    isDone()
    await loan
    expect(arena.relocate(buffer) === buffer).toBe(false)
  })

  it('is what has no room below: pinned pages are left alone', () => {
    const { arena } = open(BY_TRIM)
    const blocks = Array.from({ length: 64 }, () => arena.allocUnsafe(60_000))
    // The gaps of 40 KB have no room for blocks of 60 KB.
    const cut = blocks.map(block => arena.realloc(block, 20_000))
    const block = arena.allocUnsafe(60_000)
    expect(arena.relocate(block)).toBe(block)
    for (const buffer of cut) arena.pin(buffer)
    expect(cut.every(buffer => arena.relocate(buffer) === buffer)).toBe(true)
    for (const buffer of cut) arena.unpin(buffer)
    arena.check()
  })
})

describe('a plan', () => {
  it('serves one walk over all blocks, and then there is another one', () => {
    const { arena } = open(BY_TRIM)
    const cache = sparse(arena, MIB / 2, 256, 1)
    expect(relocateAll(arena, cache)).toBe(0)
    for (const [key, buffer] of cache) {
      if (key % 64 === 0) continue
      arena.free(buffer)
      cache.delete(key)
    }
    expect(relocateAll(arena, cache)).toBeGreaterThan((cache.size - 100) / 2)
    expectUnharmed(arena, cache)
  })

  it('serves a second', () => {
    const { arena, deferral } = open(BY_TRIM)
    const cache = sparse(arena, MIB / 2, 256, 1)
    relocateAll(arena, cache)
    // The first call plans anew, and the next ones go by that.
    arena.relocate([...cache.values()][0])
    for (const [key, buffer] of cache) {
      if (key % 64 === 0) continue
      arena.free(buffer)
      cache.delete(key)
    }
    deferral.advance(998)
    expect(relocateAll(arena, cache)).toBe(0)
    deferral.advance(2)
    expect(relocateAll(arena, cache)).toBeGreaterThan(cache.size / 2)
  })

  it('serves longer if it took long to make, so that plans take little of the time', () => {
    const { arena, deferral } = open(BY_TRIM)
    const cache = sparse(arena, MIB / 2, 256, 1)
    deferral.readCostMs = 40
    arena.relocate([...cache.values()][0])
    deferral.readCostMs = 0
    for (const [key, buffer] of cache) {
      if (key % 64 === 0) continue
      arena.free(buffer)
      cache.delete(key)
    }
    deferral.advance(3_900)
    expect(relocateAll(arena, cache)).toBe(0)
    deferral.advance(200)
    expect(relocateAll(arena, cache)).toBeGreaterThan(0)
  })

  it('is made in slices, while the heap changes', () => {
    const { arena } = open(BY_TRIM)
    const cache = sparse(arena, 16 * MIB, 256, 4)
    const first = [...cache.values()]
    // 32,768 blocks and gaps, 4,096 a call.
    for (let call = 0; call < 4; call++) expect(arena.relocate(first[call])).toBe(first[call])
    for (const [key, buffer] of cache) {
      if (key % 64 === 3) continue
      arena.free(buffer)
      cache.delete(key)
    }
    arena.trim()
    relocateAll(arena, cache)
    relocateAll(arena, cache)
    arena.trim()
    expect(arena.stats().usedBytes).toBeLessThan(1.1 * cache.size * 256)
    expectUnharmed(arena, cache)
  })

  it('may be left unfinished by reset and close, and leaves no mapping', async () => {
    const { arena, kernel, deferral } = open(BY_TRIM)
    const cache = sparse(arena, 32 * MIB, 256, 2)
    const [buffer] = cache.values()
    expect(arena.relocate(buffer)).toBe(buffer)
    arena.reset()
    const again = sparse(arena, 32 * MIB, 256, 2)
    arena.relocate([...again.values()][0])
    arena.close()
    await turns()
    for (let i = 0; i < 4; i++) deferral.runTurn()
    // Long mappings go in slices.
    deferral.advance(60_000)
    expect(kernel.mappings.size).toBe(0)
  })
})

describe('errors', () => {
  it.each<[string, (arena: Arena, buffer: Buffer) => Uint8Array]>([
    ['ERR_ARENA_FOREIGN_BUFFER', () => Buffer.alloc(8)],
    ['ERR_ARENA_FOREIGN_BUFFER', () => open().arena.allocUnsafe(8)],
    ['ERR_ARENA_NOT_OWNER', (_, buffer) => buffer.subarray(1)],
    ['ERR_INVALID_ARG_TYPE', () => 'x' as unknown as Buffer],
    [
      'ERR_ARENA_DOUBLE_FREE',
      (arena, buffer) => {
        arena.free(buffer)
        return buffer
      },
    ],
    [
      'ERR_ARENA_DOUBLE_FREE',
      (arena, buffer) => {
        arena.reset()
        return buffer
      },
    ],
    [
      'ERR_ARENA_CLOSED',
      (arena, buffer) => {
        arena.close()
        return buffer
      },
    ],
    [
      'ERR_ARENA_CLOSED',
      (arena, buffer) => {
        arena.pin(buffer)
        void arena.closeWhenIdle()
        return buffer
      },
    ],
  ])('%s', (code, prepare) => {
    for (const debug of [false, true]) {
      const { arena, buffer } = highBlock({ debug })
      const given = prepare(arena, buffer)
      const error = thrownBy(() => arena.relocate(given))
      expect(error?.code).toBe(code)
      if (code !== 'ERR_INVALID_ARG_TYPE') expect(error?.message).toContain('relocate()')
      if (arena.stats().pinnedBlocks > 0) arena.unpin(buffer)
      arena.check()
    }
  })

  it('ERR_ARENA_DETACHED: a byte stream took the ArrayBuffer', async () => {
    const { arena, buffer } = highBlock({ detachFromBytes: 0 })
    const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(buffer) })
    const taken = (await stream.getReader().read()).value as Uint8Array
    expect(thrownBy(() => arena.relocate(buffer))?.code).toBe('ERR_ARENA_DETACHED')
    expect(taken.length).toBe(1_000)
    arena.free(buffer)
    arena.check()
  })

  it('ERR_ARENA_BUSY: in the middle of another call', () => {
    const { arena, kernel, buffer, key } = highBlock()
    let error: unknown
    kernel.fails = () => {
      error ??= thrownBy(() => arena.relocate(buffer))
      return false
    }
    arena.allocUnsafe(32 * MIB)
    expect((error as { code: string }).code).toBe('ERR_ARENA_BUSY')
    kernel.allow()
    expect(isMarked(arena.relocate(buffer), key)).toBe(true)
  })
})

describe('memory that is refused', () => {
  it('for the Buffer: the block stays', () => {
    const { arena, kernel, cache } = highBlock({ detachFromBytes: 0 })
    let refusals = 0
    kernel.fails = kind => kind === 'wrap' && ++refusals % 3 === 0
    const moved = relocateAll(arena, cache)
    expect(moved).toBeGreaterThan(0)
    expect(refusals).toBeGreaterThan(moved)
    kernel.allow()
    expectUnharmed(arena, cache)
    relocateAll(arena, cache)
    relocateAll(arena, cache)
    expect(arena.stats().usedBytes).toBeLessThan(1.25 * cache.size * 1_008 + 8_192)
  })

  it('for a plan: nothing moves until the next one', () => {
    const { arena, kernel, deferral } = open(BY_TRIM)
    const cache = sparse(arena, 32 * MIB, 256, 64)
    kernel.failNth('map', 1)
    expect(relocateAll(arena, cache)).toBe(0)
    expect(kernel.failures).toBe(1)
    deferral.advance(1_000)
    expect(relocateAll(arena, cache)).toBeGreaterThan(0)
    expectUnharmed(arena, cache)
  })

  it('by limitBytes at what is held: what came free serves, and the limit is never passed', () => {
    const probe = open(BY_TRIM)
    sparse(probe.arena, 2 * MIB, 256, 64)
    const limitBytes = probe.arena.stats().committedBytes
    for (const softLimitBytes of [limitBytes, limitBytes / 2]) {
      const { arena } = open({ ...BY_TRIM, limitBytes, softLimitBytes })
      const cache = sparse(arena, 2 * MIB, 256, 64)
      for (let walk = 0; walk < 2; walk++) relocateAll(arena, cache)
      const { usedBytes, peakCommittedBytes } = arena.stats()
      expect(peakCommittedBytes).toBeLessThanOrEqual(limitBytes)
      expect(usedBytes).toBeLessThan(1.1 * cache.size * 256 + 8_192)
      expectUnharmed(arena, cache)
    }
  })

  it.each(['map', 'unmap', 'dontneed', 'booksDontneed', 'wrap', 'detach'] as const)(
    'once, by the N-th call of %s: no throw, and no block is harmed',
    kind => {
      for (let n = 1; ; n++) {
        const { arena, kernel } = open({ limitBytes: 15 * MIB, detachFromBytes: 200 })
        const cache = sparse(arena, 14_640_000, 3_000, 61)
        kernel.failNth(kind, n)
        const { failures } = kernel
        relocateAll(arena, cache)
        thrownBy(() => arena.trim())
        const hasFailed = kernel.failures > failures
        kernel.allow()
        expectUnharmed(arena, cache)
        arena.reset()
        arena.close()
        // Calls that fail all alike need not each fail.
        if (!hasFailed || n >= 12) return
      }
    },
  )
})

describe('with debug', () => {
  it('every call moves, and a stale Buffer has no bytes', () => {
    const { arena } = open({ debug: true })
    let buffer = arena.allocUnsafe(1_000)
    mark(buffer, 5)
    for (let i = 0; i < 10; i++) {
      const stale = buffer
      buffer = arena.relocate(buffer)
      // Not by `expect`, which looks at what is in them.
      expect(buffer === stale).toBe(false)
      expect(stale.length).toBe(0)
      const error = thrownBy(() => arena.relocate(stale))
      expect(error?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(String((error?.cause as Error | undefined)?.stack)).toContain('relocate.test')
      expect(isMarked(buffer, 5)).toBe(true)
    }
    expect(arena.stats()).toMatchObject({ allocations: 11, frees: 10, liveBytes: 1_000 })
    arena.pin(buffer)
    expect(arena.relocate(buffer)).toBe(buffer)
    arena.unpin(buffer)
    arena.check()
  })

  it('a block stays where a limit leaves no other place', () => {
    const { arena } = open({ debug: true, limitBytes: 4096 })
    const buffer = arena.allocUnsafe(3_000)
    mark(buffer, 5)
    expect(arena.relocate(buffer)).toBe(buffer)
    expect(isMarked(buffer, 5)).toBe(true)
    arena.check()
  })
})

describe('wipeOnFree', () => {
  it('leaves zeros where the bytes were', () => {
    const { arena, buffer } = highBlock({ wipeOnFree: true })
    const old = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
    expect(isZero(old)).toBe(false)
    expect(arena.relocate(buffer) === buffer).toBe(false)
    expect([old.length, isZero(old)]).toEqual([1_000, true])
  })
})

describe('a scope', () => {
  it.each([false, true])('holds the Buffer that it is returned (debug: %s)', debug => {
    const { arena } = open({ ...BY_TRIM, debug })
    const scope = arena.scope()
    const all = Array.from({ length: 640 }, () => scope.allocUnsafe(1_000))
    const kept = all.filter((_, i) => i % 16 === 1)
    for (const buffer of all) if (!kept.includes(buffer)) arena.free(buffer)
    let moved = 0
    const now = kept.map(buffer => {
      const relocated = scope.relocate(buffer)
      if (relocated !== buffer) moved++
      return relocated
    })
    expect(moved).toBeGreaterThan(0)
    expect(scope.toJSON().liveBlocks).toBe(kept.length)
    const [first, ...others] = now
    expect(scope.keep(first)).toBe(first)
    scope.end()
    expect(others.every(buffer => thrownBy(() => arena.free(buffer))?.code === 'ERR_ARENA_DOUBLE_FREE')).toBe(
      true,
    )
    expect(thrownBy(() => scope.relocate(first))?.code).toBe('ERR_ARENA_SCOPE_ENDED')
    arena.free(first)
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('takes no Buffer that it does not hold', () => {
    const { arena, buffer, cache } = highBlock()
    const scope = arena.scope()
    const other = arena.scope().allocUnsafe(8)
    for (const given of [buffer, other]) {
      expect(thrownBy(() => scope.relocate(given))?.code).toBe('ERR_INVALID_ARG_VALUE')
    }
    expect(thrownBy(() => scope.relocate(Buffer.alloc(8)))?.code).toBe('ERR_ARENA_FOREIGN_BUFFER')
    expectUnharmed(arena, cache)
  })

  it('finds each of many in no time that grows with their square', () => {
    const { arena } = open(BY_TRIM)
    const scope = arena.scope()
    let all = Array.from({ length: 50_000 }, () => scope.allocUnsafe(16))
    // From the first on, the search in an array would pass 1.25 billion.
    all = all.map(buffer => scope.relocate(buffer))
    expect(scope.toJSON().liveBlocks).toBe(all.length)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(0)
  })
})

describe('memory that a byte stream took', () => {
  it('is no place for a block that moves', async () => {
    const { arena } = open(BY_TRIM)
    const cache = sparse(arena, 8 * MIB, 256, 64)
    const [[key, lowest]] = cache
    const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(lowest) })
    const taken = (await stream.getReader().read()).value as Uint8Array
    // All blocks of that window are detached, and can only be freed.
    for (const [lost, buffer] of cache) {
      if (buffer.length > 0) continue
      arena.free(buffer)
      cache.delete(lost)
    }
    const window = new Uint8Array(taken.buffer)
    const before = Buffer.from(window)
    relocateAll(arena, cache)
    relocateAll(arena, cache)
    expect(Buffer.compare(before, window), 'nobody wrote there').toBe(0)
    expect(isMarked(taken, key)).toBe(true)
    expectUnharmed(arena, cache)
  })
})

describe('leaks', () => {
  it('tell of a Buffer that was collected after it moved, and where it moved', () =>
    expectToPass(async ({ Arena, assert, until, heard }) => {
      const arena = new Arena({ leaks: 'all', releaseAfterMs: Number.POSITIVE_INFINITY })
      const cache = new Map<number, Buffer>()
      const all = Array.from({ length: 4_096 }, () => arena.allocUnsafe(256))
      for (const [i, block] of all.entries()) {
        if (i % 64 === 1) cache.set(i, block)
        else arena.free(block)
      }
      all.length = 0
      let moved = 0
      const moveThem = () => {
        for (const [key, buffer] of cache) {
          const now = arena.relocate(buffer)
          if (now !== buffer) moved++
          cache.set(key, now)
        }
      }
      moveThem()
      assert.ok(moved > 32)
      const { size } = cache
      cache.clear()
      await until(() => heard.length === size)
      assert.equal(heard.filter(({ stack }) => stack.includes('moveThem')).length, moved)
      arena.check()
      arena.trim()
      assert.equal(arena.stats().liveBlocks, 0)
      arena.close()
    }))
})
