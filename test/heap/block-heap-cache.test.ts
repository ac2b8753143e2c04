import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { keptGranules } from '../../src/heap/block-cache.js'
import { REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/block-heap.js'
import { expectWholeHeapFree, makeHeap, observe, PAGE, PG } from './books.js'

const SIZES = [1, 16, 100, 496, 512, 4080, PAGE, 5000, 5 * PAGE]

describe('what is kept', () => {
  it.each(SIZES)('is the next block of %i bytes', size => {
    const heap = makeHeap(1_000)
    heap.allocate(500 * PAGE)
    const blocks = [heap.allocate(size), heap.allocate(size)]
    for (const block of blocks) heap.free(block)
    expect(heap.hasKept).toBe(true)
    expect(heap.liveBlocks).toBe(1)
    heap.check()
    // Lengths from a frame on are 1/32 apart.
    expect(heap.allocate(size + Math.max(16, size / 16))).not.toBe(blocks[0])
    expect([heap.allocate(size), heap.allocate(size)]).toEqual([blocks[1], blocks[0]])
    expect(heap.isLive(blocks[0])).toBe(true)
    expect(heap.liveBlocks).toBe(4)
    expectWholeHeapFree(heap)
  })

  it('counts as used, and comes free with a flush', () => {
    const heap = makeHeap(1_000)
    heap.allocate(500 * PAGE)
    heap.free(heap.allocate(5 * PAGE))
    expect(heap).toMatchObject({ usedPages: 505, dirtyPages: 0, hasKept: true, holdsPages: true })
    heap.flush()
    expect(heap).toMatchObject({ usedPages: 500, dirtyPages: 5, hasKept: false, holdsPages: false })
    expectWholeHeapFree(heap)
  })

  it.each([
    ['an eighth of what is in use', 1_000, 4_000, 8],
    ['a quarter, of blocks of a frame and more', PAGE, 1_000, 4],
  ])('is at most %s', (_, sizeBytes, count, share) => {
    const heap = makeHeap(4_000)
    heap.allocate(2_000 * PAGE)
    const blocks = Array.from({ length: count }, (_, n) => heap.allocate(sizeBytes + 16 * (n % 100)))
    const inUse = heap.usedPages
    for (const block of blocks) heap.free(block)
    const kept = keptGranules(heap)
    heap.check()
    heap.flush()
    expect(heap.usedPages).toBe(2_000)
    expect(kept).toBeGreaterThan(50 * PG)
    expect(kept).toBeLessThanOrEqual((inUse * PG) / share)
    expectWholeHeapFree(heap)
  })

  it('is given up before space is refused', () => {
    for (const size of [16, 4080, PAGE]) {
      const heap = makeHeap(100)
      const blocks: number[] = []
      for (let block = heap.allocate(size); block !== NONE; block = heap.allocate(size)) blocks.push(block)
      for (const block of blocks) heap.free(block)
      expect(heap.hasKept).toBe(true)
      expect(heap.allocate(100 * PAGE)).toBe(0)
      expect(heap.hasKept).toBe(false)
      expectWholeHeapFree(heap)
    }
  })

  it('is given up before clean pages are taken, where it is much', () => {
    const heap = makeHeap(10_000)
    heap.allocate(512 * PAGE)
    const blocks = Array.from({ length: 15 }, (_, n) => heap.allocate((n < 7 ? 4 : 3) * PAGE))
    for (const block of blocks) heap.free(block)
    expect(heap.usedPages).toBe(512 + 7 * 4 + 8 * 3)
    // Each takes two pages of those that are allowed, then some must be asked for again.
    for (let n = 0; n < 40; n++) heap.allocate(2 * PAGE)
    expect(heap.committedPages).toBeLessThan(512 + 60 + 32)
    expectWholeHeapFree(heap)
  })

  it('stays where it is little', () => {
    const heap = makeHeap(10_000)
    heap.allocate(512 * PAGE)
    heap.free(heap.allocate(2 * PAGE))
    for (let n = 0; n < 100; n++) heap.allocate(3 * PAGE)
    expect(heap.hasKept).toBe(true)
    expect(heap.allocate(2 * PAGE)).toBe(512 * PG)
    expectWholeHeapFree(heap)
  })
})

describe('holdsPages', () => {
  it('is true where the front shares a page with a gap', () => {
    const heap = makeHeap(100, { hasCache: false })
    const block = heap.allocate(100)
    expect(heap).toMatchObject({ hasKept: true, holdsPages: false })
    heap.free(block)
    expect(heap).toMatchObject({ hasKept: true, holdsPages: true, usedPages: 1 })
    heap.flush()
    expect(heap).toMatchObject({ hasKept: false, holdsPages: false, usedPages: 0, dirtyPages: 1 })
    expectWholeHeapFree(heap)
  })
})

describe('without a cache', () => {
  it.each(SIZES)('pages come free with the block of %i bytes', size => {
    const heap = makeHeap(1_000, { hasCache: false })
    heap.allocate(500 * PAGE)
    const block = heap.allocate(size)
    heap.allocateAligned(PAGE, PAGE)
    const usedPages = 500 + Math.max(1, Math.ceil(size / PAGE)) + 1
    expect(heap.usedPages).toBe(usedPages)
    heap.free(block)
    // The front may share one page with what was freed.
    expect(heap.usedPages).toBeLessThanOrEqual(502)
    heap.flush()
    expect(heap.usedPages).toBe(501)
    expectWholeHeapFree(heap)
  })
})

describe('resize', () => {
  it('keeps a block for every size of as many granules', () => {
    const heap = makeHeap(100)
    const block = heap.allocate(1000)
    const before = observe(heap)
    for (const size of [993, 1000, 1008]) expect(heap.resize(block, size)).toBe(true)
    expect(observe(heap)).toEqual(before)
    expectWholeHeapFree(heap)
  })

  it('shrinks to nothing but a granule', () => {
    const heap = makeHeap(100)
    const block = heap.allocate(50 * PAGE)
    expect(heap.resize(block, 0)).toBe(true)
    expect(heap.sizeOf(block)).toBe(16)
    expect(heap).toMatchObject({ usedPages: 1, dirtyPages: 49, liveBlocks: 1 })
    expectWholeHeapFree(heap)
  })

  it('grows over all that is free behind it, and not one byte more', () => {
    for (const size of [1, 1000, 10 * PAGE]) {
      const heap = makeHeap(100)
      const block = heap.allocate(size)
      expect(heap.resize(block, 100 * PAGE + 1)).toBe(false)
      expect(heap.refusal).toBe(REFUSED_SPACE)
      expect(heap.resize(block, 100 * PAGE)).toBe(true)
      expect(heap.sizeOf(block)).toBe(100 * PAGE)
      expectWholeHeapFree(heap)
    }
  })

  it('does not grow over what is kept before that is given up', () => {
    const heap = makeHeap(1_000)
    heap.allocate(500 * PAGE)
    const [block, behind] = [heap.allocate(5 * PAGE), heap.allocate(5 * PAGE)]
    heap.allocate(PAGE)
    heap.free(behind)
    expect(heap.hasKept).toBe(true)
    expect(heap.resize(block, 10 * PAGE)).toBe(false)
    heap.flush()
    expect(heap.resize(block, 10 * PAGE)).toBe(true)
    expect(heap.resize(block, 10 * PAGE + 1)).toBe(false)
    expectWholeHeapFree(heap)
  })

  it('does not grow into another block, and changes nothing', () => {
    const heap = makeHeap(20)
    const [block] = [heap.allocate(6 * PAGE), heap.allocate(6 * PAGE)]
    const before = observe(heap)
    for (const size of [6 * PAGE + 1, 2 ** 35]) {
      expect(heap.resize(block, size)).toBe(false)
      expect(heap.refusal).toBe(REFUSED_SPACE)
    }
    expect(observe(heap)).toEqual(before)
    expectWholeHeapFree(heap)
  })

  it('does not grow over the limit, and says so', () => {
    const heap = makeHeap(20)
    heap.limitPages = 10
    const block = heap.allocate(8 * PAGE)
    const before = observe(heap)
    expect(heap.resize(block, 11 * PAGE)).toBe(false)
    expect(heap.refusal).toBe(REFUSED_LIMIT)
    expect(observe(heap)).toEqual(before)
    expect(heap.resize(block, 10 * PAGE)).toBe(true)
    expectWholeHeapFree(heap)
  })
})
