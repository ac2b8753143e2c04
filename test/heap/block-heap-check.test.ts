import { describe, expect, it } from 'vitest'
import { clearRange, setRange } from '../../src/base/bits.js'
import type { Books } from '../../src/heap/books.js'
import { pairOf } from '../../src/heap/granule-map.js'
import { ANY, FIRST_BIT } from '../../src/heap/layout.js'
import { removeTail } from '../../src/heap/space-pages.js'
import { makeHeap, PAGE } from './books.js'

describe('check', () => {
  /** Blocks of 4 pages, of 2, and of 100 bytes; a block of 2 pages that is kept; the rest of 400 pages free. */
  function fixture() {
    const heap = makeHeap(400)
    heap.allocate(200 * PAGE)
    const [long, kept, small] = [heap.allocate(2 * PAGE), heap.allocate(2 * PAGE), heap.allocate(100)]
    heap.free(kept)
    expect(heap.hasKept).toBe(true)
    heap.check()
    return { heap, table: heap, long, kept, small }
  }

  it('finds a block that is held back by nobody (1)', () => {
    const { heap, table, long } = fixture()
    table.bits[pairOf(long) + 1] &= ~(FIRST_BIT >>> long)
    expect(() => heap.check()).toThrow('1: 1 blocks are held back by nobody')
  })

  it('finds a kept block that is live (1)', () => {
    const { heap, table, kept } = fixture()
    table.bits[pairOf(kept) + 1] |= FIRST_BIT >>> kept
    expect(() => heap.check()).toThrow(`3: block ${kept} is held`)
  })

  it('finds that the end of the map is not where the last range ends (2)', () => {
    const { heap } = fixture()
    // As the layer below does it, which knows nothing of the heap's end.
    removeTail(heap as Books, heap.ranges[0], 100)
    expect(() => heap.check()).toThrow('2: the end of the map')
  })

  it('finds a live page that counts as dirty', () => {
    const { heap, table } = fixture()
    for (const page of [0, 199, 200, 204]) {
      setRange(table.dirty, page, page + 1)
      expect(() => heap.check()).toThrow(`2: used page ${page} is not dirty`)
      clearRange(table.dirty, page, page + 1)
    }
    heap.check()
  })

  it('finds a limit below what is committed', () => {
    const { heap } = fixture()
    heap.limitPages = heap.committedPages - 1
    expect(() => heap.check()).toThrow('3: committed pages within the limit')
  })

  it('finds what is wrong in the parts', () => {
    const { heap, table } = fixture()
    table.occupied[3] ^= ANY
    expect(() => heap.check()).toThrow('1: pairs of frame 3')
    table.occupied[3] ^= ANY
    table.leaves[1] ^= FIRST_BIT
    expect(() => heap.check()).toThrow('2: frames from 0 in bin 1')
    table.leaves[1] ^= FIRST_BIT
    table.managedPages++
    expect(() => heap.check()).toThrow('1: ranges lie within the columns')
  })
})
