/** `allocate` with an alignment, and heaps whose granules are longer than 16 bytes. */
import { describe, expect, it } from 'vitest'
import { Heap } from '../../src/heap/heap.js'

const KIB = 2 ** 10
const MIB = 2 ** 20
const GIB = 2 ** 30
const TIB = 2 ** 40

const coded = (code: string) => expect.objectContaining({ code })

describe('allocate with align', () => {
  it.each([16, 32, 256, 4 * KIB, 8 * KIB, 64 * KIB])('gives offsets that are multiples of %d', align => {
    const heap = new Heap({ capacityBytes: 64 * MIB })
    const blocks: number[] = []
    for (let n = 0; n < 200; n++) {
      // What is not aligned lies in between.
      blocks.push(heap.allocate(24 + n))
      const size = [1, 100, 4095, 5000, 70_000][n % 5]
      const block = heap.allocate(size, { align })
      expect(heap.offsetOf(block) % align).toBe(0)
      expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(size)
      blocks.push(block)
    }
    heap.check()
    for (const block of blocks) heap.free(block)
    expect(heap.allocate(heap.capacityBytes)).toBe(0)
  })

  it('aligns also where a page is longer or shorter than that, and the longest blocks', () => {
    for (const pageBytes of [4 * KIB, 64 * KIB]) {
      const heap = new Heap({ capacityBytes: 16 * GIB, pageBytes })
      heap.allocate(1)
      for (const size of [100, MIB, 2 * GIB - 17, 2 * GIB, 3 * GIB]) {
        const block = heap.allocate(size, { align: 64 * KIB })
        expect(heap.offsetOf(block) % (64 * KIB)).toBe(0)
      }
      expect(heap.offsetOf(heap.allocate(0, { align: 64 * KIB })) % (64 * KIB)).toBe(0)
    }
  })

  it('finds the only place that there is', () => {
    const heap = new Heap({ capacityBytes: 128 * KIB })
    const blocks = Array.from({ length: 32 }, () => heap.allocate(4 * KIB))
    for (const block of blocks.slice(15, 18)) heap.free(block)
    expect(heap.allocate(8 * KIB, { align: 64 * KIB })).toBe((64 * KIB) / 16)
    expect(heap.allocate(16, { align: 64 * KIB })).toBe(-1)
  })

  it.each([0, 1, 8, 15, 17, 48, 128 * KIB, 2 ** 31, -16, 16.5, Number.NaN, Infinity])(
    'refuses align %d',
    align => {
      const heap = new Heap({ capacityBytes: MIB })
      expect(() => heap.allocate(16, { align })).toThrow(coded('ERR_OUT_OF_RANGE'))
    },
  )

  it('refuses options that are none', () => {
    const heap = new Heap({ capacityBytes: MIB })
    for (const options of [null, 64, 'align', { align: '64' }, { align: 64n }, { align: null }]) {
      expect(() => heap.allocate(16, options as object)).toThrow(coded('ERR_INVALID_ARG_TYPE'))
    }
    expect(() => heap.allocate(16, { alignment: 64 } as object)).toThrow(/'options.alignment'.*'align'/)
    expect(() => new Heap({ capacityBytes: MIB, granuleByte: 64 } as never)).toThrow(
      /did you mean 'granuleBytes'/,
    )
    expect(heap.stats().liveBlocks).toBe(0)
    expect(heap.allocate(16, {})).toBeGreaterThanOrEqual(0)
  })
})

describe('granuleBytes', () => {
  it.each([16, 32, 256, 4 * KIB, 64 * KIB])(
    'of %d: sizes are rounded up to it, offsets are multiples',
    granuleBytes => {
      const heap = new Heap({ capacityBytes: 4096 * granuleBytes, granuleBytes })
      expect(heap).toMatchObject({ granuleBytes, pageBytes: 256 * granuleBytes })
      for (const [size, usable] of [
        [0, 1],
        [1, 1],
        [granuleBytes, 1],
        [granuleBytes + 1, 2],
        [100 * granuleBytes - 1, 100],
      ]) {
        const block = heap.allocate(size)
        expect(heap.sizeOf(block)).toBe(usable * granuleBytes)
        expect(heap.offsetOf(block) % granuleBytes).toBe(0)
        expect(heap.resize(block, 3 * granuleBytes)).toBe(heap.sizeOf(block) === 3 * granuleBytes)
      }
      heap.check()
    },
  )

  it('reaches 2^31 granules: offsets are exact up to the last', () => {
    for (const [granuleBytes, capacityBytes] of [
      [64, 128 * GIB],
      [64 * KIB, 128 * TIB],
    ]) {
      const heap = new Heap({ capacityBytes, granuleBytes })
      expect(heap.stats().longestFreeBytes).toBe(capacityBytes)
      const most = heap.allocate(capacityBytes - 256 * granuleBytes)
      expect(heap.offsetOf(most) + heap.sizeOf(most)).toBe(capacityBytes - 256 * granuleBytes)
      const blocks = Array.from({ length: 256 }, () => heap.allocate(granuleBytes))
      expect(Math.max(...blocks)).toBe(2 ** 31 - 1)
      expect(Math.max(...blocks.map(block => heap.offsetOf(block)))).toBe(capacityBytes - granuleBytes)
      expect(heap.allocate(1)).toBe(-1)
      for (const block of [most, ...blocks]) heap.free(block)
      expect(heap.stats()).toMatchObject({ liveBlocks: 0, longestFreeBytes: capacityBytes })
      expect(() => new Heap({ capacityBytes: capacityBytes + 256 * granuleBytes, granuleBytes })).toThrow(
        coded('ERR_OUT_OF_RANGE'),
      )
    }
  })

  it('gives purge whole pages of that length', () => {
    const heap = new Heap({ capacityBytes: 64 * MIB, granuleBytes: 256 })
    const blocks = [heap.allocate(MIB), heap.allocate(1), heap.allocate(MIB)]
    heap.free(blocks[0])
    const calls: number[][] = []
    expect(heap.purge((...range) => calls.push(range))).toBe(MIB)
    expect(calls).toEqual([[heap.offsetOf(blocks[0]), MIB]])
  })

  it.each([0, 8, 17, 48, 128 * KIB, -16, Number.NaN])('refuses %d', granuleBytes => {
    expect(() => new Heap({ capacityBytes: 0, granuleBytes })).toThrow(coded('ERR_OUT_OF_RANGE'))
  })

  it('refuses pages that are not 256 to 4096 granules', () => {
    for (const pageBytes of [128 * 64, 8192 * 64, 4096]) {
      expect(() => new Heap({ capacityBytes: 0, granuleBytes: 64, pageBytes })).toThrow(
        'It must be a power of two from 16384 to 262144. Received',
      )
    }
  })
})

describe('longestFreeBytes', () => {
  it('is what allocate can give, and one more it cannot', () => {
    const heap = new Heap({ capacityBytes: MIB })
    const expectLongest = (bytes: number) => {
      expect(heap.stats().longestFreeBytes).toBe(bytes)
      expect(heap.allocate(bytes + 1)).toBe(-1)
      if (bytes === 0) return
      const block = heap.allocate(bytes)
      expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(bytes)
      heap.free(block)
    }
    expectLongest(MIB)
    const blocks = Array.from({ length: 1024 }, () => heap.allocate(1024))
    expectLongest(0)
    for (const index of [3, 7, 500, 501, 502, 1023]) heap.free(blocks[index])
    expectLongest(3 * 1024)
    for (let index = 100; index < 200; index++) heap.free(blocks[index])
    expectLongest(100 * 1024)
    heap.check()
  })

  it('is right above 2 GiB, where blocks are whole pages', () => {
    const heap = new Heap({ capacityBytes: 8 * GIB })
    heap.allocate(16)
    const { longestFreeBytes } = heap.stats()
    expect(longestFreeBytes).toBe(8 * GIB - 4 * KIB)
    expect(heap.allocate(longestFreeBytes + 1)).toBe(-1)
    expect(heap.allocate(longestFreeBytes)).toBe(256)
    const short = new Heap({ capacityBytes: 2 * GIB })
    short.allocate(16)
    const most = short.stats().longestFreeBytes
    expect(short.allocate(most + 1)).toBe(-1)
    expect(short.allocate(most)).toBeGreaterThanOrEqual(0)
  })
})
