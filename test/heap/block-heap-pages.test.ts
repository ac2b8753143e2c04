import { describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { Heap } from '../../src/heap/heap.js'
import { someOf } from '../support/extent.js'
import {
  CountedStorage,
  dirtyStretches,
  expectWholeHeapFree,
  makeHeap,
  observe,
  PAGE,
  PG,
  purgeAll,
} from './books.js'

describe('addRange and removeRange', () => {
  it('refuses a range right in front of another', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(100, 50)
    expect(() => heap.addRange(50, 50)).toThrow('a range joins the one before it')
    expect(heap.managedPages).toBe(50)
    expectWholeHeapFree(heap)
  })

  it('join a range behind a block, which can grow into it', () => {
    const heap = makeHeap(10)
    const block = heap.allocate(10 * PAGE)
    heap.addRange(10, 10)
    expect(heap.resize(block, 20 * PAGE)).toBe(true)
    expectWholeHeapFree(heap)
  })

  it('take a range out once it is free and purged', () => {
    const heap = makeHeap(10)
    const high = { firstPage: 20, pageCount: 30 }
    heap.addRange(20, 30)
    const block = heap.allocate(30 * PAGE)
    expect(heap.isRangeFree(high)).toBe(false)
    expect(heap.isRangeFree({ firstPage: 0, pageCount: 10 })).toBe(true)
    heap.free(block)
    heap.flush()
    expect(heap.isRangeFree(high)).toBe(true)
    expect(heap.anyDirty(20, 30)).toBe(true)
    purgeAll(heap)
    expect(heap.anyDirty(20, 30)).toBe(false)
    heap.removeRange(20, 30)
    expect(heap.managedPages).toBe(10)
    expect([heap.isLive(block), heap.free(block)]).toEqual([false, false])
    heap.check()
    heap.addRange(15, 40)
    expect(heap.allocate(40 * PAGE)).toBe(15 * PG)
    expect(heap.refaultedPages).toBe(0)
    heap.check()
  })

  it('throw where there is no memory for the books, and change nothing', () => {
    const needed = new CountedStorage()
    makeHeap(100, { storage: needed })
    expect(needed.requests).toBe(1)
    for (let at = 0; at < needed.requests; at++) {
      const storage = new CountedStorage()
      const heap = new BlockHeap(PAGE, { storage })
      storage.failAt = at
      expect(() => heap.addRange(0, 100)).toThrow('no memory')
      expect(heap.managedPages).toBe(0)
      expect(heap.allocate(1)).toBe(NONE)
      heap.check()
      storage.failAt = Number.POSITIVE_INFINITY
      heap.addRange(0, 100)
      expect(storage.buffers.size).toBe(1)
      expectWholeHeapFree(heap)
    }
  })

  it('throw where books in use cannot grow, and change nothing', () => {
    const storage = new CountedStorage()
    const heap = makeHeap(100, { storage })
    const [a, b] = [heap.allocate(100), heap.allocate(5 * PAGE)]
    heap.free(heap.allocate(2 * PAGE))
    const before = observe(heap)
    const { metadataBytes } = heap
    storage.failAt = storage.requests
    expect(() => heap.addRange(100, 1_000)).toThrow('no memory')
    expect(observe(heap)).toEqual(before)
    expect(heap.metadataBytes).toBe(metadataBytes)
    expect([heap.free(a), heap.free(b), heap.free(a)]).toEqual([true, true, false])
    storage.failAt = Number.POSITIVE_INFINITY
    heap.addRange(100, 1_000)
    expectWholeHeapFree(heap)
  })
})

describe('markPurged', () => {
  it('purges all that is free, between blocks too', () => {
    const heap = makeHeap(200)
    const blocks = Array.from({ length: 60 }, () => heap.allocate(9000))
    blocks.forEach((block, i) => {
      if (i % 10 !== 9) heap.free(block)
    })
    heap.flush()
    heap.check()
    const { usedPages } = heap
    expect(usedPages).toBeLessThan(20)
    purgeAll(heap)
    expect(heap).toMatchObject({ usedPages, dirtyPages: 0, committedPages: usedPages, liveBlocks: 6 })
    expectWholeHeapFree(heap)
  })

  it('purges the middle of a gap, of which each page refaults once', () => {
    const heap = makeHeap(30)
    heap.free(heap.allocate(30 * PAGE))
    heap.flush()
    heap.markPurged(10, 10)
    expect(dirtyStretches(heap)).toEqual([
      [0, 10],
      [20, 30],
    ])
    expectWholeHeapFree(heap)
    expect(heap.refaultedPages).toBe(10)
    heap.free(0)
    expectWholeHeapFree(heap)
    expect(heap.refaultedPages).toBe(10)
  })
})

describe('ageDirtyPages', () => {
  it('leaves out what came free since', () => {
    const heap = makeHeap(30, { hasCache: false })
    const [a, b] = [heap.allocate(10 * PAGE), heap.allocate(10 * PAGE)]
    heap.free(a)
    heap.ageDirtyPages()
    heap.free(b)
    expect([heap.nextDirty(0, true), heap.dirtyEnd(0, 100, true), heap.nextDirty(10, true)]).toEqual([
      0,
      10,
      NONE,
    ])
    expect(heap.dirtyEnd(0, 100, false)).toBe(20)
    expect(heap.dirtyEnd(0, 7, false)).toBe(7)
    expectWholeHeapFree(heap)
  })
})

describe('shrinkBooks', () => {
  it('gives back the books of pages that are not managed any more, and every block is still found', () => {
    const storage = new CountedStorage()
    const heap = makeHeap(100, { storage })
    heap.addRange(1_000, 10_000)
    const blocks = [heap.allocate(100), heap.allocate(PAGE)]
    const before = heap.metadataBytes
    heap.removeRange(1_000, 10_000)
    heap.flush()
    heap.shrinkBooks()
    heap.check()
    expect(heap.metadataBytes).toBeLessThan(before)
    expect(storage.buffers.size).toBe(1)
    expect(heap.bits.length).toBeLessThan(10_000)
    expect([...heap.listLive()]).toEqual(blocks)
    expect([...blocks, 5_000 * PG].map(block => heap.free(block))).toEqual([true, true, false])
    heap.addRange(1_000, 10_000)
    heap.flush()
    heap.check()
    expect(heap.allocate(10_000 * PAGE)).toBe(1_000 * PG)
  })

  it('leaves the words that kept blocks, for others to be kept', () => {
    const heap = makeHeap(10_000)
    heap.allocate(5_000 * PAGE)
    const { metadataBytes } = heap
    const keepMany = () => {
      for (let size = 16; size <= 4_000; size += 16) {
        const blocks = Array.from({ length: 15 }, () => heap.allocate(size))
        for (const block of blocks) heap.free(block)
      }
      return heap.metadataBytes
    }
    const kept = keepMany()
    expect(kept).toBeGreaterThan(metadataBytes + 8_000)
    expect(heap.hasKept).toBe(true)
    heap.shrinkBooks()
    heap.check()
    heap.flush()
    heap.shrinkBooks()
    heap.check()
    expect(heap.hasKept).toBe(false)
    // But for pages of the columns, of which some are written to for the first time.
    expect(keepMany()).toBeLessThanOrEqual(kept + 4 * 4096)
    const block = heap.allocate(100)
    heap.free(block)
    heap.check()
    expect(heap.allocate(100)).toBe(block)
    expectWholeHeapFree(heap)
  })
})

describe('listLive', () => {
  it('lists the blocks of all ranges in ascending order, without those that are kept', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(0, 20)
    heap.addRange(50, 20)
    const blocks = [100, 19 * PAGE, 16, 5000, 5000, 6 * PAGE].map(size => heap.allocate(size))
    expect(blocks).not.toContain(NONE)
    const [freed] = blocks.splice(0, 1)
    heap.free(freed)
    expect(heap.hasKept).toBe(true)
    expect([...heap.listLive()]).toEqual(blocks.sort((a, b) => a - b))
    expect(heap.liveBlocks).toBe(5)
  })
})

describe('runPagesFor', () => {
  it.each([4096, 65536])(
    'is enough pages of %i bytes for any block of that size, and no page too many',
    pageBytes => {
      for (const size of [0, 1, 16, 4095, 4096, 4097, pageBytes, pageBytes + 1, 100 * PAGE]) {
        for (const align of [16, 256, pageBytes]) {
          const pages = new BlockHeap(pageBytes).runPagesFor(size, align)
          expect(makeHeap(pages, {}, pageBytes).allocateAligned(size, align)).toBe(0)
          if (align === 16 && pages > 1) {
            expect(makeHeap(pages - 1, {}, pageBytes).allocate(size)).toBe(NONE)
          }
        }
      }
    },
  )
})

describe('metadataBytes', () => {
  it('is little before use, whatever the capacity', () => {
    const heap = new Heap({ capacityBytes: 1024 * MIB })
    const unused = heap.stats().metadataBytes
    expect(unused).toBeGreaterThan(0)
    expect(unused).toBeLessThan(256 * 1024)
    expect(new Heap({ capacityBytes: MIB }).stats().metadataBytes).toBe(unused)
    heap.allocate(1)
    expect(heap.stats().metadataBytes).toBeLessThan(256 * 1024)
  })

  // One of them in a sample.
  it.each(someOf([4096, 65536], 1))(
    'stays below 2.5 percent of what is managed, in pages of %i bytes',
    pageBytes => {
      const heap = makeHeap((32 * MIB) / pageBytes, {}, pageBytes)
      const blocks: number[] = []
      for (let n = 0; n < 100_000; n++) {
        const block = heap.allocate((n * 7919) % (n % 16 === 0 ? 9_000 : 600))
        if (block === NONE) break
        blocks.push(block)
        if (n % 3 === 0) heap.free(blocks.splice((n * 31) % blocks.length, 1)[0])
      }
      expect(heap.usedPages).toBeGreaterThan(heap.managedPages / 2)
      expect(heap.metadataBytes).toBeLessThan(0.025 * 32 * MIB)
      expectWholeHeapFree(heap)
      expect(heap.metadataBytes).toBeLessThan(0.025 * 32 * MIB)
    },
  )

  it('does not grow where sizes take turns', () => {
    const heap = makeHeap(10_000)
    heap.allocate(4_000 * PAGE)
    const turn = () => {
      for (let size = PAGE; size < 2 * PAGE; size += 16) {
        const blocks = Array.from({ length: 4 }, () => heap.allocate(size))
        for (const block of blocks) heap.free(block)
        for (let n = 0; n < 4; n++) heap.allocate(size)
        for (const block of blocks) heap.free(block)
        heap.flush()
      }
    }
    for (let n = 0; n < 3; n++) turn()
    const { metadataBytes } = heap
    for (let n = 0; n < 10; n++) turn()
    expect(heap.metadataBytes).toBe(metadataBytes)
  })
})
