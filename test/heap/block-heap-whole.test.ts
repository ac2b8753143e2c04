import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { expectWholeHeapFree, makeHeap, observe, PAGE, purgeAll } from './books.js'

const PAGE_SIZES = [4096, 16384, 65536]
const WHOLE = 16384

/** A block of whole pages, one byte and one granule to either side. */
function sizesAround(bytes: number): number[] {
  return [bytes - 17, bytes - 16, bytes - 15, bytes - 1, bytes, bytes + 1, bytes + 16]
}

describe('wholePagesFromBytes', () => {
  it.each(PAGE_SIZES)('starts a block of whole pages with a page of %i bytes', pageBytes => {
    const heap = makeHeap(100, { wholePagesFromBytes: WHOLE }, pageBytes)
    const longest = heap.sizeOf(heap.allocate(WHOLE - 16))
    // As long as whole pages are only blocks of whole pages.
    expect(longest).toBe(pageBytes > WHOLE ? WHOLE : WHOLE - 16)
    for (const size of [WHOLE, WHOLE + 1, 4 * pageBytes + 1, 5 * pageBytes]) {
      const block = heap.allocate(size)
      expect((block * 16) % pageBytes).toBe(0)
      expect(heap.sizeOf(block)).toBe(Math.ceil(size / pageBytes) * pageBytes)
      expect(heap.allocateAligned(size, 16)).toBe(block + heap.sizeOf(block) / 16)
    }
    expectWholeHeapFree(heap)
  })

  it('starts a block with a page also where one of as many granules is kept', () => {
    for (const from of [WHOLE, WHOLE - 1, WHOLE - 15, WHOLE - 16, 5_000]) {
      for (const size of sizesAround(WHOLE)) {
        const heap = makeHeap(1_000, { wholePagesFromBytes: from })
        heap.allocate(400 * PAGE)
        heap.allocate(5_000)
        const kept = heap.allocate(size)
        heap.free(kept)
        expect((heap.allocate(WHOLE) * 16) % PAGE).toBe(0)
        expectWholeHeapFree(heap)
      }
    }
  })

  it('lets no block become one of whole pages where it is, nor cease to be one', () => {
    const heap = makeHeap(100, { wholePagesFromBytes: WHOLE })
    heap.allocate(5_000)
    const short = heap.allocate(WHOLE - 16)
    const long = heap.allocate(2 * WHOLE)
    const before = observe(heap)
    for (const size of [WHOLE - 15, WHOLE, 2 * WHOLE]) expect(heap.resize(short, size)).toBe(false)
    for (const size of [0, 1, WHOLE - 16]) expect(heap.resize(long, size)).toBe(false)
    expect(observe(heap)).toEqual(before)
    expect(heap.resize(long, WHOLE + 1)).toBe(true)
    expect(heap.sizeOf(long)).toBe(WHOLE + PAGE)
    expect(heap.resize(long, WHOLE - 15)).toBe(true)
    expect(heap.sizeOf(long)).toBe(WHOLE)
    expectWholeHeapFree(heap)
  })

  it('tells the two kinds of block apart where a page is longer than that', () => {
    const heap = makeHeap(100, { wholePagesFromBytes: WHOLE }, 65536)
    heap.allocate(5_000)
    const short = heap.allocate(WHOLE - 1)
    expect(heap.sizeOf(short)).toBe(WHOLE)
    const long = heap.allocate(WHOLE)
    expect(heap.sizeOf(long)).toBe(65536)
    const before = observe(heap)
    for (const size of [WHOLE, 20_000, 65536]) expect(heap.resize(short, size)).toBe(false)
    expect(heap.resize(long, WHOLE - 1)).toBe(false)
    expect(heap.resize(short, WHOLE - 1)).toBe(true)
    expect(heap.resize(long, 65536)).toBe(true)
    expect(observe(heap)).toEqual(before)
    expectWholeHeapFree(heap)
  })

  it.each([4095, 1024, 0, -1, Number.NaN])('refuses to be %d', wholePagesFromBytes => {
    expect(() => new BlockHeap(PAGE, { wholePagesFromBytes })).toThrow('blocks of whole pages')
  })
})

describe('zeroedBlock', () => {
  it('is a long block on pages that were clean', () => {
    const heap = makeHeap(20)
    expect(heap.zeroedBlock).toBe(NONE)
    const block = heap.allocate(5 * PAGE)
    expect(heap.zeroedBlock).toBe(block)
    heap.allocate(100)
    expect(heap.zeroedBlock).toBe(block)
  })

  it('is a block on purged pages, and none with a dirty page', () => {
    const heap = makeHeap(20)
    heap.free(heap.allocate(20 * PAGE))
    purgeAll(heap)
    expect(heap.zeroedBlock).toBe(NONE)
    expect(heap.allocate(20 * PAGE)).toBe(0)
    expect(heap.zeroedBlock).toBe(0)
    heap.free(0)
    heap.flush()
    heap.markPurged(0, 19)
    expect(heap.allocate(20 * PAGE)).toBe(0)
    expect(heap.zeroedBlock).toBe(NONE)
  })

  it('is forgotten when the block is freed, whether it is kept or not', () => {
    for (const hasCache of [true, false]) {
      const heap = makeHeap(100, { hasCache })
      heap.allocate(50 * PAGE)
      const block = heap.allocate(PAGE)
      expect(heap.zeroedBlock).toBe(block)
      heap.free(block)
      expect(heap.hasKept).toBe(hasCache)
      expect(heap.zeroedBlock).toBe(NONE)
      expect(heap.allocate(PAGE)).toBe(block)
      expect(heap.zeroedBlock).toBe(NONE)
    }
  })

  it('is forgotten when the block is resized', () => {
    const heap = makeHeap(100)
    for (const size of [1, 10 * PAGE]) {
      const block = heap.allocate(5 * PAGE)
      expect(heap.resize(block, size)).toBe(true)
      expect(heap.zeroedBlock).toBe(NONE)
      heap.allocateAligned(PAGE, PAGE)
    }
  })
})
