import { describe, expect, it } from 'vitest'
import { ArenaError } from '../../src/base/errors.js'
import { Heap } from '../../src/heap/heap.js'
import { Heap as PublishedHeap } from '../../src/heap/index.js'

const MIB = 2 ** 20
const GIB = 2 ** 30
const PAGE = 4096

/** Frees the given blocks and takes the whole capacity as one. */
function expectWholeCapacityFree(heap: Heap, blocks: Iterable<number>): void {
  for (const block of blocks) heap.free(block)
  expect(heap.stats()).toMatchObject({ liveBlocks: 0, usedBytes: 0 })
  expect(heap.allocate(heap.capacityBytes)).toBe(0)
  expect(heap.stats()).toMatchObject({ liveBlocks: 1, usedBytes: heap.capacityBytes })
}

const DOUBLE_FREE = expect.objectContaining({ code: 'ERR_ARENA_DOUBLE_FREE' })

describe('new Heap', () => {
  it('is what the entry point exports', () => {
    expect(PublishedHeap).toBe(Heap)
  })

  it('has pages of 4 KiB unless told otherwise', () => {
    expect(new Heap({ capacityBytes: MIB }).pageBytes).toBe(4096)
  })

  it.each([4096, 8192, 16384, 32768, 65536])('takes pages of %i bytes', pageBytes => {
    const heap = new Heap({ capacityBytes: 4 * MIB, pageBytes })
    expect(heap).toMatchObject({ pageBytes, capacityBytes: 4 * MIB })
    const block = heap.allocate(100)
    expect(heap.stats().usedBytes).toBe(pageBytes)
    expectWholeCapacityFree(heap, [block])
  })

  it.each([0, 1, 2048, 4095, 4097, 12288, 131072, -4096, 4096.5, Number.NaN, Infinity])(
    'refuses pages of %d bytes',
    pageBytes => {
      expect(() => new Heap({ capacityBytes: 0, pageBytes })).toThrow(
        expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }),
      )
    },
  )

  it.each([-1, -4096, 1, 4095, 4097, 0.5, Number.NaN, Infinity, -Infinity, 32 * GIB + PAGE, 2 ** 53])(
    'refuses a capacity of %d bytes',
    capacityBytes => {
      expect(() => new Heap({ capacityBytes })).toThrow(
        expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }),
      )
    },
  )

  it.each([
    [undefined],
    [null],
    [4096],
    ['4096'],
    [{}],
    [{ capacityBytes: '4096' }],
    [{ capacityBytes: 4096n }],
    [{ capacityBytes: null }],
    [{ capacityBytes: 4096, pageBytes: '4096' }],
    [{ capacityBytes: 4096, pageBytes: 4096n }],
    [{ capacityBytes: 4096, pageBytes: null }],
  ])('refuses options of the wrong type: %#', (...[options]: unknown[]) => {
    expect(() => new Heap(options as { capacityBytes: number })).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
    )
  })

  it('holds a capacity of 0, in which nothing fits', () => {
    const heap = new Heap({ capacityBytes: 0 })
    for (const size of [0, 1, PAGE]) expect(heap.allocate(size)).toBe(-1)
    expect(() => heap.free(0)).toThrow(DOUBLE_FREE)
    expect(heap.stats()).toMatchObject({ capacityBytes: 0, liveBlocks: 0, committedBytes: 0 })
    heap.check()
  })

  it('costs little before it is used', () => {
    const heap = new Heap({ capacityBytes: GIB })
    expect(heap.stats().metadataBytes).toBeLessThan(8192)
    heap.allocate(100)
    expect(heap.stats().metadataBytes).toBeLessThan(256 * 1024)
  })
})

describe('allocate', () => {
  const sizes = [0, 1, 15, 16, 17, PAGE - 1, PAGE, PAGE + 1, 16 * PAGE - 1, 16 * PAGE, 16 * PAGE + 1]

  it.each(sizes)('has a block for %i bytes', size => {
    const heap = new Heap({ capacityBytes: MIB })
    const block = heap.allocate(size)
    expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(size)
    expect(heap.offsetOf(block) % 16).toBe(0)
    heap.check()
    expectWholeCapacityFree(heap, [block])
  })

  it.each([1, 2, 3, 4, 5, 63, 64, 65, 1000])('takes the whole of %i pages as one block', pages => {
    const heap = new Heap({ capacityBytes: pages * PAGE })
    const block = heap.allocate(pages * PAGE)
    expect(heap.offsetOf(block)).toBe(0)
    expect(heap.sizeOf(block)).toBe(pages * PAGE)
    expect(heap.allocate(0)).toBe(-1)
    heap.check()
    expectWholeCapacityFree(heap, [block])
  })

  it.each([MIB + 1, 2 * MIB, 32 * GIB, 2 ** 53 - 1])(
    'has nothing for %i bytes of a capacity of 1 MiB',
    size => {
      const heap = new Heap({ capacityBytes: MIB })
      expect(heap.allocate(size)).toBe(-1)
      expect(heap.stats().metadataBytes).toBeLessThan(8192)
      expectWholeCapacityFree(heap, [])
    },
  )

  it.each([-1, 1.5, Number.NaN, Infinity, -Infinity, 2 ** 53])('refuses a size of %d', size => {
    const heap = new Heap({ capacityBytes: MIB })
    expect(() => heap.allocate(size)).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }),
    )
  })

  it.each([[undefined], [null], ['16'], [16n], [{}], [true]])(
    'refuses a size that is no number: %s',
    size => {
      const heap = new Heap({ capacityBytes: MIB })
      expect(() => heap.allocate(size as unknown as number)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
      )
    },
  )

  it('has another block where one ends in the middle of a page', () => {
    const heap = new Heap({ capacityBytes: 2 * PAGE })
    const block = heap.allocate(5000)
    expect(heap.sizeOf(block)).toBe(5120)
    const next = heap.allocate(2 * PAGE - 5120)
    expect(heap.offsetOf(next)).toBe(5120)
    expect(heap.allocate(1)).toBe(-1)
    expectWholeCapacityFree(heap, [block, next])
  })

  it('fills the capacity with blocks that do not overlap', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const ends = new Map<number, number>()
    for (;;) {
      const block = heap.allocate(700)
      if (block === -1) break
      ends.set(heap.offsetOf(block), heap.offsetOf(block) + heap.sizeOf(block))
    }
    const offsets = [...ends.keys()].sort((a, b) => a - b)
    let end = 0
    for (const offset of offsets) {
      expect(offset).toBeGreaterThanOrEqual(end)
      end = ends.get(offset) as number
    }
    expect(end).toBeLessThanOrEqual(MIB)
    expect(offsets.length).toBe(Math.floor(MIB / 704))
    heap.check()
    expectWholeCapacityFree(
      heap,
      offsets.map(offset => offset / 16),
    )
  })

  it('holds a million live blocks', () => {
    const heap = new Heap({ capacityBytes: 16 * MIB })
    const count = 2 ** 20
    const blocks = new Int32Array(count)
    for (let i = 0; i < count; i++) blocks[i] = heap.allocate(1 + (i % 16))
    expect(heap.stats()).toMatchObject({ liveBlocks: count, usedBytes: 16 * MIB })
    expect(heap.allocate(1)).toBe(-1)
    expect(new Set(blocks).size).toBe(count)
    heap.check()
    // An odd step visits all of a power of two, far from the order of allocation.
    for (let i = 0; i < count; i++) heap.free(blocks[Math.imul(i, 0x9e3779b1) & (count - 1)])
    expectWholeCapacityFree(heap, [])
  })
})

describe('a heap of 32 GiB', () => {
  const capacityBytes = 32 * GIB
  const pageBytes = 65536

  it('takes it all as one block', () => {
    const heap = new Heap({ capacityBytes, pageBytes })
    const block = heap.allocate(capacityBytes)
    expect(heap.sizeOf(block)).toBe(capacityBytes)
    expect(heap.stats()).toMatchObject({
      liveBlocks: 1,
      usedBytes: capacityBytes,
      peakCommittedBytes: capacityBytes,
    })
    heap.free(block)
    expect(heap.stats().dirtyBytes).toBe(capacityBytes)
    const stretches: number[][] = []
    expect(heap.purge((offset, length) => stretches.push([offset, length]))).toBe(capacityBytes)
    expect(stretches).toEqual([[0, capacityBytes]])
    expectWholeCapacityFree(heap, [])
  })

  it('has small blocks up to its last granule, which is 2^31 - 1', () => {
    const heap = new Heap({ capacityBytes, pageBytes })
    heap.free(heap.allocate(capacityBytes))
    const low = heap.allocate(capacityBytes - pageBytes)
    expect(low).toBe(0)
    const slots = Array.from({ length: pageBytes / 16 }, () => heap.allocate(16))
    expect(slots[slots.length - 1]).toBe(2 ** 31 - 1)
    expect(heap.offsetOf(2 ** 31 - 1)).toBe(capacityBytes - 16)
    expect(heap.sizeOf(2 ** 31 - 1)).toBe(16)
    expect(heap.allocate(1)).toBe(-1)
    heap.free(2 ** 31 - 1)
    expect(() => heap.free(2 ** 31 - 1)).toThrow(DOUBLE_FREE)
    expect(() => heap.free(2 ** 31)).toThrow(DOUBLE_FREE)
    expectWholeCapacityFree(heap, [low, ...slots.slice(0, -1)])
  })
})

describe('free', () => {
  it('says so of a value that has no text', () => {
    const heap = new Heap({ capacityBytes: MIB })
    expect(() => heap.free(Object.create(null) as number)).toThrow(DOUBLE_FREE)
  })

  it('refuses what is no live block, and changes nothing', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const [short, long, freed] = [heap.allocate(100), heap.allocate(10 * PAGE), heap.allocate(300)]
    heap.free(freed)
    const before = heap.stats()
    const bad: unknown[] = [
      freed,
      short + 1,
      long + 1,
      long + PAGE / 16,
      long + 0.5,
      long + 2 ** 32,
      MIB / 16 - 1,
      MIB / 16,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32,
      2 ** 53,
      -1,
      -(2 ** 31),
      Number.NaN,
      Infinity,
      -Infinity,
      String(short),
      BigInt(short),
      [short],
      { block: short },
      true,
      null,
      undefined,
      Symbol('block'),
    ]
    for (const block of bad) {
      expect(() => heap.free(block as number)).toThrow(DOUBLE_FREE)
      expect(() => heap.sizeOf(block as number)).toThrow(DOUBLE_FREE)
    }
    expect(heap.stats()).toEqual(before)
    heap.check()
    expectWholeCapacityFree(heap, [short, long])
  })

  it('says what was freed twice', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const block = heap.allocate(100)
    heap.free(block)
    expect(() => heap.free(block)).toThrow(ArenaError)
    expect(() => heap.free(block)).toThrow(`Heap.free: ${block} is not a live block of this heap`)
    expect(() => heap.sizeOf(block)).toThrow(`Heap.sizeOf: ${block} is not a live block of this heap`)
  })
})

describe('purge', () => {
  it('refuses allocate, free and purge inside its callback', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const kept = heap.allocate(40_960)
    heap.free(heap.allocate(40_960))
    const busy = expect.objectContaining({ code: 'ERR_ARENA_BUSY' })
    let calls = 0
    heap.purge(() => {
      calls++
      expect(() => heap.allocate(40_960)).toThrow(busy)
      expect(() => heap.free(kept)).toThrow(busy)
      expect(() => heap.purge(() => {})).toThrow(busy)
    })
    expect(calls).toBe(1)
    heap.check()
    expectWholeCapacityFree(heap, [kept])
  })

  it('passes every stretch of dirty bytes once, ascending', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const blocks = Array.from({ length: 6 }, () => heap.allocate(10 * PAGE))
    for (const i of [0, 1, 4]) heap.free(blocks[i])
    const stretches: number[][] = []
    expect(heap.purge((offset, length) => stretches.push([offset, length]))).toBe(30 * PAGE)
    expect(stretches).toEqual([
      [0, 20 * PAGE],
      [40 * PAGE, 10 * PAGE],
    ])
    expect(heap.stats()).toMatchObject({ dirtyBytes: 0, committedBytes: 30 * PAGE, usedBytes: 30 * PAGE })
    expect(heap.purge(() => expect.fail('nothing is dirty'))).toBe(0)
    heap.check()
    expectWholeCapacityFree(
      heap,
      [2, 3, 5].map(i => blocks[i]),
    )
  })

  it('leaves pages dirty where the callback throws', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const blocks = Array.from({ length: 6 }, () => heap.allocate(10 * PAGE))
    for (const i of [0, 2, 4]) heap.free(blocks[i])
    const failure = new Error('device lost')
    let calls = 0
    expect(() =>
      heap.purge(() => {
        if (++calls === 2) throw failure
      }),
    ).toThrow(failure)
    expect(heap.stats()).toMatchObject({ dirtyBytes: 20 * PAGE, committedBytes: 50 * PAGE })
    heap.check()
    expect(heap.purge(() => {})).toBe(20 * PAGE)
    expectWholeCapacityFree(
      heap,
      [1, 3, 5].map(i => blocks[i]),
    )
  })

  it('passes pages between live blocks', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const blocks = Array.from({ length: 640 }, () => heap.allocate(64))
    const kept = blocks.filter((_, i) => i % 64 === 0)
    for (const block of blocks.filter((_, i) => i % 64 !== 0)) heap.free(block)
    expect(heap.stats().usedBytes).toBe(kept.length * PAGE)
    heap.purge(() => {})
    expect(heap.stats()).toMatchObject({ liveBlocks: 10, committedBytes: 10 * PAGE })
    heap.check()
    expectWholeCapacityFree(heap, kept)
  })
})

describe('stats', () => {
  it('adds up: committed is used and dirty', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const [a, b] = [heap.allocate(10 * PAGE), heap.allocate(1)]
    heap.free(a)
    expect(heap.stats()).toEqual({
      capacityBytes: MIB,
      liveBlocks: 1,
      usedBytes: PAGE,
      dirtyBytes: 10 * PAGE,
      committedBytes: 11 * PAGE,
      peakUsedBytes: 11 * PAGE,
      peakCommittedBytes: 11 * PAGE,
      longestFreeBytes: expect.any(Number),
      metadataBytes: heap.stats().metadataBytes,
    })
    expectWholeCapacityFree(heap, [b])
  })
})
