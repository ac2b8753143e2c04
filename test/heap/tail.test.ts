import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { BlockHeap } from '../../src/heap/block-heap.js'

const PAGE = 4096

function makeHeap(pageCount: number, pageBytes = PAGE): BlockHeap {
  const heap = new BlockHeap(pageBytes, { wholePagesFromBytes: pageBytes, hasCache: false })
  heap.addRange(0, pageCount)
  return heap
}

function run(heap: BlockHeap, pageCount: number): number {
  const block = heap.allocate(pageCount * heap.pageBytes)
  expect(block).not.toBe(NONE)
  return block
}

function purgeAll(heap: BlockHeap): void {
  for (let page = heap.nextDirty(0, false); page !== NONE; page = heap.nextDirty(page, false)) {
    heap.markPurged(page, heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false) - page)
  }
}

const tailOf = (heap: BlockHeap, pageCount: number) => heap.cleanTailPages({ firstPage: 0, pageCount })

describe.each([PAGE, 4 * PAGE, 16 * PAGE])('cleanTailPages and removeTail, pages of %d bytes', pageBytes => {
  it('count what is free and clean above the highest block, and take it off', () => {
    const heap = makeHeap(20, pageBytes)
    run(heap, 5)
    expect(tailOf(heap, 20)).toBe(15)
    heap.removeTail({ firstPage: 0, pageCount: 20 }, 10)
    expect(heap.managedPages).toBe(10)
    heap.check()
    expect(tailOf(heap, 10)).toBe(5)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 5)
    heap.check()
    expect(tailOf(heap, 5)).toBe(0)
    expect(heap.allocate(pageBytes)).toBe(NONE)
    expect(heap.allocate(16)).toBe(NONE)
    heap.check()
  })

  it('stop at a dirty page, and at a live block', () => {
    const heap = makeHeap(20, pageBytes)
    const [low, high] = [run(heap, 4), run(heap, 4)]
    heap.free(high)
    expect(tailOf(heap, 20)).toBe(12)
    heap.markPurged(6, 2)
    expect(tailOf(heap, 20)).toBe(14)
    heap.markPurged(4, 2)
    expect(tailOf(heap, 20)).toBe(16)
    heap.removeTail({ firstPage: 0, pageCount: 20 }, 16)
    heap.check()
    expect(heap.free(low)).toBe(true)
    expect(tailOf(heap, 4)).toBe(0)
    heap.check()
  })

  it('stop at a page that a small block ends in, and leave the rest of it to small blocks', () => {
    const heap = makeHeap(4, pageBytes)
    const block = heap.allocate(pageBytes - 512)
    heap.flush()
    expect(tailOf(heap, 4)).toBe(3)
    heap.removeTail({ firstPage: 0, pageCount: 4 }, 3)
    heap.check()
    expect(heap.allocate(1_024)).toBe(NONE)
    expect(heap.allocate(512)).not.toBe(NONE)
    heap.check()
    expect(heap.free(block)).toBe(true)
    heap.check()
  })

  it('count the pages that small blocks were cut from once the front is given up', () => {
    const heap = makeHeap(10, pageBytes)
    heap.free(heap.allocate(100))
    heap.flush()
    purgeAll(heap)
    expect(tailOf(heap, 10)).toBe(10)
    heap.allocate(100)
    heap.flush()
    expect(tailOf(heap, 10)).toBe(9)
  })

  it('remove a range that has no more, which can be added again', () => {
    const heap = makeHeap(10, pageBytes)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 10)
    expect(heap.managedPages).toBe(0)
    heap.check()
    expect(tailOf(heap, 0)).toBe(0)
    heap.addRange(0, 30)
    expect(run(heap, 30)).toBe(0)
    heap.check()
  })

  it('leave what is left joined to pages added behind it', () => {
    const heap = makeHeap(10, pageBytes)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 4)
    heap.addRange(6, 14)
    heap.check()
    expect(heap.refaultedPages).toBe(0)
    expect(run(heap, 20)).toBe(0)
    heap.check()
  })

  it('let a block grow into pages added behind it again', () => {
    const heap = makeHeap(10, pageBytes)
    const block = run(heap, 5)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 5)
    expect(heap.resize(block, 6 * pageBytes)).toBe(false)
    heap.addRange(5, 5)
    expect(heap.resize(block, 10 * pageBytes)).toBe(true)
    heap.check()
  })

  it('reach down to the start of a range above another', () => {
    const heap = makeHeap(10, pageBytes)
    heap.addRange(20, 10)
    const high = { firstPage: 20, pageCount: 10 }
    expect(heap.cleanTailPages(high)).toBe(10)
    heap.removeTail(high, 10)
    expect(heap.managedPages).toBe(10)
    heap.check()
  })
})
