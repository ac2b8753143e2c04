import { describe, expect, it } from 'vitest'
import { clearRange, setRange } from '../../src/base/bits.js'
import { NONE } from '../../src/base/units.js'
import { BlockHeap, REFUSED_BOOKS, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/block-heap.js'
import { freeTag, TAG_NONE, usedTag } from '../../src/heap/page-table.js'
import { MAX_SLAB_BYTES } from '../../src/heap/size-class.js'
import { BUCKET, NEXT } from '../../src/heap/slab-records.js'
import { catchRecords, exhaust, openHeap, PAGE } from './books.js'

const PAGE_GRANULES = PAGE / 16

function makeHeap(pageCount: number, pageBytes = PAGE): BlockHeap {
  const heap = new BlockHeap(pageBytes)
  heap.addRange(0, pageCount)
  return heap
}

function run(heap: BlockHeap, pageCount: number): number {
  const block = heap.allocatePages(pageCount * heap.pageBytes)
  expect(block).not.toBe(NONE)
  return block
}

function purgeAll(heap: BlockHeap): void {
  for (let page = heap.nextDirty(0, false); page !== NONE; page = heap.nextDirty(page, false)) {
    heap.markPurged(page, heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false) - page)
  }
}

/** Frees all and proves that the space is one run again. */
function expectWholeSpaceFree(heap: BlockHeap): void {
  for (const block of heap.listLive()) expect(heap.free(block)).toBe(true)
  heap.check()
  expect(heap).toMatchObject({ liveBlocks: 0, usedPages: 0 })
  expect(heap.allocatePages(heap.managedPages * heap.pageBytes)).toBe(0)
  expect(heap.usedPages).toBe(heap.managedPages)
  heap.check()
}

/** Everything about a heap that a refused call must leave alone. */
function observe(heap: BlockHeap): unknown {
  const {
    liveBlocks,
    usedPages,
    dirtyPages,
    managedPages,
    refaultedPages,
    peakUsedPages,
    peakCommittedPages,
  } = heap
  const blocks = [...heap.listLive()].map(block => [block, heap.sizeOf(block)])
  const dirty: number[][] = []
  for (
    let page = heap.nextDirty(0, false);
    page !== NONE;
    page = heap.nextDirty(dirty[dirty.length - 1][1], false)
  ) {
    dirty.push([page, heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)])
  }
  return [
    { liveBlocks, usedPages, dirtyPages, managedPages, refaultedPages, peakUsedPages, peakCommittedPages },
    blocks,
    dirty,
  ]
}

describe('allocate', () => {
  it.each([0, 1, 15, 16, 17, 4095, 4096, 4097, MAX_SLAB_BYTES - 1, MAX_SLAB_BYTES])(
    'has a slot for %i bytes',
    size => {
      const heap = makeHeap(100)
      const block = heap.allocate(size)
      expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(Math.max(16, size))
      expect(heap.sizeOf(block)).toBeLessThan(Math.max(33, size * 1.2))
      expect(heap.usedPages).toBe(Math.max(1, Math.ceil(size / PAGE)))
      expectWholeSpaceFree(heap)
    },
  )

  it.each([
    [MAX_SLAB_BYTES + 1, 5],
    [5 * PAGE, 5],
    [5 * PAGE + 1, 6],
    [100 * PAGE, 100],
  ])('has a run for %i bytes', (size, pages) => {
    const heap = makeHeap(100)
    const block = heap.allocate(size)
    expect(heap.sizeOf(block)).toBe(pages * PAGE)
    expect(heap.usedPages).toBe(pages)
    expectWholeSpaceFree(heap)
  })

  it('says that space is missing, and changes nothing', () => {
    const heap = makeHeap(10)
    run(heap, 8)
    const before = observe(heap)
    for (const size of [3 * PAGE, 20 * PAGE, 2 ** 35, 2 ** 53]) {
      expect(heap.allocate(size)).toBe(NONE)
      expect(heap.refusal).toBe(REFUSED_SPACE)
    }
    expect(observe(heap)).toEqual(before)
    expectWholeSpaceFree(heap)
  })

  it('says that the limit is in the way, and changes nothing', () => {
    const heap = makeHeap(100)
    heap.limitPages = 10
    run(heap, 10)
    const before = observe(heap)
    for (const size of [1, 4097, MAX_SLAB_BYTES, 5 * PAGE]) {
      expect(heap.allocate(size)).toBe(NONE)
      expect(heap.refusal).toBe(REFUSED_LIMIT)
    }
    expect(observe(heap)).toEqual(before)
    heap.check()
    heap.limitPages = Number.MAX_SAFE_INTEGER
    expectWholeSpaceFree(heap)
  })

  it('uses dirty pages at the limit', () => {
    const heap = makeHeap(100)
    heap.limitPages = 10
    heap.free(run(heap, 10))
    expect(heap.allocate(10 * PAGE)).toBe(0)
    expect(heap.committedPages).toBe(10)
    expectWholeSpaceFreeWithoutLimit(heap)
  })

  it('takes the pages of empty slabs before it refuses a run or another slab', () => {
    for (const size of [8 * PAGE, 100]) {
      const heap = makeHeap(8)
      if (size === 100) run(heap, 7)
      heap.free(heap.allocate(16))
      expect(heap.allocate(size)).not.toBe(NONE)
      heap.check()
    }
  })

  it('says so where there is no memory for the books of a slab, and changes nothing', () => {
    const heap = makeHeap(100)
    run(heap, 10)
    const before = observe(heap)
    let block: number = NONE
    catchRecords(() => {
      block = heap.allocate(100)
    }, exhaust)
    expect(block).toBe(NONE)
    expect(heap.refusal).toBe(REFUSED_BOOKS)
    expect(heap.failure).toBeInstanceOf(RangeError)
    expect(observe(heap)).toEqual(before)
    heap.check()
  })

  it('refuses everything before a range was added', () => {
    const heap = new BlockHeap(PAGE)
    for (const size of [0, 1, PAGE, 2 ** 35]) {
      expect(heap.allocate(size)).toBe(NONE)
      expect(heap.refusal).toBe(REFUSED_SPACE)
    }
    expect(heap.free(0)).toBe(false)
    expect(heap.isLive(0)).toBe(false)
    expect([...heap.listLive()]).toEqual([])
    expect(heap.nextDirty(0, false)).toBe(NONE)
    heap.check()
  })
})

function expectWholeSpaceFreeWithoutLimit(heap: BlockHeap): void {
  heap.limitPages = Number.MAX_SAFE_INTEGER
  expectWholeSpaceFree(heap)
}

describe('allocate at the page limit', () => {
  it('takes a slot of a waiting slab where the current one would need another page', () => {
    const heap = makeHeap(16)
    heap.limitPages = 2
    const first = Array.from({ length: PAGE / 64 }, () => heap.allocate(64))
    const bouncing = heap.allocate(64)
    heap.free(first[0])
    heap.free(bouncing)
    purgeAll(heap)
    const page = heap.allocate(PAGE)
    expect(page).not.toBe(NONE)
    heap.check()
    expect(heap.allocate(64)).toBe(first[0])
    expect(heap.allocate(64)).toBe(NONE)
    expect(heap.refusal).toBe(REFUSED_LIMIT)
    heap.check()
    heap.free(page)
    heap.limitPages = Number.MAX_SAFE_INTEGER
    expectWholeSpaceFree(heap)
  })

  it('takes any slot of a slab of several pages that lies on used ones', () => {
    const heap = makeHeap(64)
    // Five slots of 2,448 bytes in three pages: the second and the third page hold slots 2 to 4 without the first.
    const slots = Array.from({ length: 5 }, () => heap.allocate(2_400))
    heap.free(slots[0])
    heap.free(slots[1])
    heap.free(slots[3])
    purgeAll(heap)
    heap.limitPages = heap.committedPages
    expect(heap.committedPages).toBe(2)
    expect(heap.allocate(2_400)).toBe(slots[3])
    expect(heap.allocate(2_400)).toBe(NONE)
    heap.check()
    heap.limitPages = Number.MAX_SAFE_INTEGER
    expectWholeSpaceFree(heap)
  })
})

describe('allocateAligned', () => {
  it('aligns every size to every power of two up to a page', () => {
    for (const pageBytes of [4096, 65536]) {
      const heap = makeHeap(1000, pageBytes)
      for (let align = 16; align <= pageBytes; align *= 2) {
        for (const size of [0, 1, align - 1, align, align + 1, 1000, MAX_SLAB_BYTES, MAX_SLAB_BYTES + 1]) {
          // Several each, since the first slot of a slab is aligned to everything.
          for (let n = 0; n < 3; n++) {
            const block = heap.allocateAligned(size, align)
            expect((block * 16) % align).toBe(0)
            expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(size)
          }
        }
      }
      heap.check()
      expectWholeSpaceFree(heap)
    }
  })
})

describe('zeroedBlock', () => {
  it('is a run on pages that were clean', () => {
    const heap = makeHeap(20)
    expect(heap.zeroedBlock).toBe(NONE)
    const block = run(heap, 5)
    expect(heap.zeroedBlock).toBe(block)
  })

  it('is no run that has a dirty page', () => {
    const heap = makeHeap(20)
    heap.free(run(heap, 5))
    run(heap, 20)
    expect(heap.zeroedBlock).toBe(NONE)
  })

  it('is a run on purged pages', () => {
    const heap = makeHeap(20)
    heap.free(run(heap, 20))
    purgeAll(heap)
    expect(heap.zeroedBlock).toBe(NONE)
    expect(heap.zeroedBlock).not.toBe(run(heap, 20))
    expect(heap.zeroedBlock).toBe(0)
  })

  it('is forgotten when the block is freed', () => {
    const heap = makeHeap(20)
    const block = run(heap, 5)
    heap.free(block)
    expect(run(heap, 5)).toBe(block)
    expect(heap.zeroedBlock).toBe(NONE)
  })

  it('is never a slot', () => {
    const heap = makeHeap(20)
    expect(heap.zeroedBlock).not.toBe(heap.allocate(100))
  })
})

describe('free', () => {
  it('refuses what is no live block, and changes nothing', () => {
    const heap = makeHeap(100)
    const [slot, other, long, freed] = [heap.allocate(100), heap.allocate(1000), run(heap, 5), run(heap, 3)]
    heap.free(freed)
    const before = observe(heap)
    const bad = [
      freed,
      slot + 1,
      slot - 1,
      other + 1,
      long + 1,
      long + PAGE_GRANULES,
      long + 5 * PAGE_GRANULES - 1,
      slot - 2 ** 31,
      99 * PAGE_GRANULES,
      100 * PAGE_GRANULES,
      2 ** 31 - 1,
      2 ** 31,
      -1,
      -PAGE_GRANULES,
      -(2 ** 31),
    ]
    for (const granule of bad) {
      if (heap.free(granule)) expect.fail(`freed ${granule}`)
      if (heap.isLive(granule)) expect.fail(`${granule} is live`)
    }
    expect(observe(heap)).toEqual(before)
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('coalesces blocks freed in any order', () => {
    for (const step of [1, 3, 7, 11]) {
      const heap = makeHeap(100)
      const blocks = Array.from({ length: 20 }, () => run(heap, 5))
      for (let n = 0; n < 20; n++) expect(heap.free(blocks[(n * step) % 20])).toBe(true)
      expectWholeSpaceFree(heap)
    }
  })

  it('counts the pages of a sparse slab as free', () => {
    const heap = makeHeap(100)
    const blocks = Array.from({ length: 2048 }, () => heap.allocate(64))
    expect(heap.usedPages).toBe(32)
    // One block in 64 stays, the first of each page.
    blocks.forEach((block, i) => {
      if (i % 128 !== 0) heap.free(block)
    })
    expect(heap).toMatchObject({ liveBlocks: 16, usedPages: 16, dirtyPages: 16 })
    heap.check()
    expectWholeSpaceFree(heap)
  })
})

describe('resize', () => {
  it('keeps a slot for every size of its class, and for no other', () => {
    const heap = makeHeap(100)
    const block = heap.allocate(1000)
    const before = observe(heap)
    const slot = heap.sizeOf(block)
    expect(heap.resize(block, slot)).toBe(true)
    expect(heap.resize(block, slot - 15)).toBe(true)
    expect(heap.resize(block, slot + 1)).toBe(false)
    expect(heap.resize(block, 1)).toBe(false)
    expect(heap.resize(block, MAX_SLAB_BYTES + 1)).toBe(false)
    expect(observe(heap)).toEqual(before)
  })

  it('shrinks a run, and releases its tail', () => {
    const heap = makeHeap(100)
    const block = run(heap, 50)
    expect(heap.resize(block, 10 * PAGE)).toBe(true)
    expect(heap.sizeOf(block)).toBe(10 * PAGE)
    expect(heap).toMatchObject({ usedPages: 10, dirtyPages: 40, liveBlocks: 1 })
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('does not shrink a run to what a slot could hold', () => {
    const heap = makeHeap(100)
    const block = run(heap, 50)
    const before = observe(heap)
    expect(heap.resize(block, MAX_SLAB_BYTES)).toBe(false)
    expect(observe(heap)).toEqual(before)
  })

  it('grows a run over free pages behind it', () => {
    const heap = makeHeap(100)
    const block = run(heap, 10)
    expect(heap.resize(block, 100 * PAGE)).toBe(true)
    expect(heap.sizeOf(block)).toBe(100 * PAGE)
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('grows over a part of a dirty run, and counts what is left of it', () => {
    const heap = makeHeap(64)
    const [block, next] = [run(heap, 5), run(heap, 10)]
    run(heap, 20)
    heap.free(next)
    expect(heap.resize(block, 9 * PAGE)).toBe(true)
    expect(heap).toMatchObject({ usedPages: 29, dirtyPages: 6 })
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('does not grow into another block, nor behind the space', () => {
    const heap = makeHeap(20)
    const [block, next] = [run(heap, 6), run(heap, 6)]
    const before = observe(heap)
    expect(heap.resize(block, 7 * PAGE)).toBe(false)
    expect(heap.refusal).toBe(REFUSED_SPACE)
    expect(heap.resize(next, 15 * PAGE)).toBe(false)
    expect(heap.refusal).toBe(REFUSED_SPACE)
    expect(observe(heap)).toEqual(before)
    heap.check()
  })

  it('does not grow over the limit, and says so', () => {
    const heap = makeHeap(20)
    heap.limitPages = 10
    const block = run(heap, 8)
    const before = observe(heap)
    expect(heap.resize(block, 11 * PAGE)).toBe(false)
    expect(heap.refusal).toBe(REFUSED_LIMIT)
    expect(observe(heap)).toEqual(before)
    expect(heap.resize(block, 10 * PAGE)).toBe(true)
    heap.check()
  })
})

describe('cleanTailPages and removeTail', () => {
  const tailOf = (heap: BlockHeap, pageCount: number) => heap.cleanTailPages({ firstPage: 0, pageCount })

  it('count what is free and clean above the highest block, and take it off', () => {
    const heap = makeHeap(20)
    run(heap, 5)
    expect(tailOf(heap, 20)).toBe(15)
    heap.removeTail({ firstPage: 0, pageCount: 20 }, 10)
    expect(heap.managedPages).toBe(10)
    expect(tailOf(heap, 10)).toBe(5)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 5)
    expect(tailOf(heap, 5)).toBe(0)
    expect(heap.allocatePages(PAGE)).toBe(NONE)
    heap.check()
  })

  it('stop at a dirty page, and at a live block', () => {
    const heap = makeHeap(20)
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

  it('count the pages of an empty slab once empty slabs are given up', () => {
    const heap = makeHeap(10)
    heap.free(heap.allocate(100))
    purgeAll(heap)
    expect(tailOf(heap, 10)).toBeLessThan(10)
    heap.releaseEmptySlabs()
    expect(tailOf(heap, 10)).toBe(10)
  })

  it('remove a range that has no more, which can be added again', () => {
    const heap = makeHeap(10)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 10)
    expect(heap.managedPages).toBe(0)
    expect(tailOf(heap, 0)).toBe(0)
    heap.addRange(0, 30)
    expect(run(heap, 30)).toBe(0)
    heap.check()
  })

  it('leave what is left joined to pages added behind it', () => {
    const heap = makeHeap(10)
    heap.removeTail({ firstPage: 0, pageCount: 10 }, 4)
    heap.addRange(6, 14)
    expect(heap.refaultedPages).toBe(0)
    expect(run(heap, 20)).toBe(0)
    heap.check()
  })

  it('reach down to the start of a range above another', () => {
    const heap = makeHeap(10)
    heap.addRange(20, 10)
    const high = { firstPage: 20, pageCount: 10 }
    expect(heap.cleanTailPages(high)).toBe(10)
    heap.removeTail(high, 10)
    expect(heap.managedPages).toBe(10)
    heap.check()
  })
})

describe('addRange and removeRange', () => {
  it('refuses a range right in front of another', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(100, 50)
    expect(() => heap.addRange(50, 50)).toThrow('a range joins the one before it')
    heap.check()
    expect(heap.managedPages).toBe(50)
  })

  it('never coalesce over a gap', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(0, 10)
    heap.addRange(11, 10)
    expect(heap.allocatePages(11 * PAGE)).toBe(NONE)
    expect([run(heap, 10), run(heap, 10)].sort((a, b) => a - b)).toEqual([0, 11 * PAGE_GRANULES])
    heap.check()
  })

  it('join a range right behind another', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(5, 10)
    heap.addRange(15, 10)
    expect(run(heap, 20)).toBe(5 * PAGE_GRANULES)
    heap.check()
  })

  it('take a range out once it is free and purged', () => {
    const heap = new BlockHeap(PAGE)
    const [low, high] = [
      { firstPage: 0, pageCount: 10 },
      { firstPage: 20, pageCount: 30 },
    ]
    heap.addRange(0, 10)
    heap.addRange(20, 30)
    const block = run(heap, 30)
    expect(heap.isRangeFree(high)).toBe(false)
    expect(heap.isRangeFree(low)).toBe(true)
    heap.free(block)
    expect(heap.isRangeFree(high)).toBe(true)
    expect(heap.anyDirty(20, 30)).toBe(true)
    purgeAll(heap)
    heap.removeRange(20, 30)
    expect(heap.managedPages).toBe(10)
    expect(heap.free(block)).toBe(false)
    heap.check()
    heap.addRange(15, 40)
    expect(heap.refaultedPages).toBe(0)
    run(heap, 40)
    expect(heap.refaultedPages).toBe(0)
    heap.check()
  })

  it('count a range with an empty slab as free once empty slabs are given up', () => {
    const heap = makeHeap(10)
    heap.free(heap.allocate(100))
    const range = { firstPage: 0, pageCount: 10 }
    expect(heap.isRangeFree(range)).toBe(false)
    heap.releaseEmptySlabs()
    expect(heap.isRangeFree(range)).toBe(true)
  })

  it('throw where the books cannot grow, and change nothing', () => {
    const heap = makeHeap(10)
    const before = observe(heap)
    expect(() => heap.addRange(10, 2 ** 40)).toThrow(RangeError)
    expect(observe(heap)).toEqual(before)
    heap.check()
    expectWholeSpaceFree(heap)
  })
})

describe('markPurged', () => {
  it('purges free runs and idle pages of slabs in one stretch', () => {
    const heap = makeHeap(100)
    // Slabs of several pages with their last slot live only, and dirty runs between them.
    const blocks = Array.from({ length: 60 }, () => heap.allocate(5000))
    blocks.forEach((block, i) => {
      if (i % 10 !== 9) heap.free(block)
    })
    heap.free(run(heap, 20))
    heap.check()
    const used = heap.usedPages
    purgeAll(heap)
    expect(heap).toMatchObject({ usedPages: used, dirtyPages: 0, committedPages: used, liveBlocks: 6 })
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('purges the middle of a run', () => {
    const heap = makeHeap(30)
    heap.free(run(heap, 30))
    heap.markPurged(10, 10)
    heap.check()
    expect(heap.dirtyPages).toBe(20)
    expect([heap.nextDirty(0, false), heap.dirtyEnd(0, 100, false), heap.nextDirty(10, false)]).toEqual([
      0, 10, 20,
    ])
    expectWholeSpaceFree(heap)
    expect(heap.refaultedPages).toBe(10)
  })
})

describe('ageDirtyPages', () => {
  it('leaves out what came free since', () => {
    const heap = makeHeap(30)
    const [a, b] = [run(heap, 10), run(heap, 10)]
    heap.free(a)
    heap.ageDirtyPages()
    heap.free(b)
    expect([heap.nextDirty(0, true), heap.dirtyEnd(0, 100, true), heap.nextDirty(10, true)]).toEqual([
      0,
      10,
      NONE,
    ])
    expect(heap.dirtyEnd(0, 100, false)).toBe(20)
    heap.check()
  })
})

describe('shrinkBooks', () => {
  it('gives back records that are mostly unused, and every block is still found', () => {
    const heap = makeHeap(4096)
    const blocks = Array.from({ length: 40_000 }, () => heap.allocate(48))
    const spanning = Array.from({ length: 500 }, () => heap.allocate(2_400))
    const kept = [...blocks, ...spanning].filter((_, i) => i % 200 === 0)
    const keptSet = new Set(kept)
    for (const block of [...blocks, ...spanning]) if (!keptSet.has(block)) heap.free(block)
    const before = heap.metadataBytes
    heap.shrinkBooks()
    heap.check()
    expect(heap.metadataBytes).toBeLessThan(before)
    expect([...heap.listLive()]).toEqual([...kept].sort((a, b) => a - b))
    for (let i = 0; i < 1_000; i++) heap.allocate(16 * (i % 200))
    heap.check()
    expectWholeSpaceFree(heap)
  })

  it('gives back the columns of pages that are not managed any more', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(0, 100)
    heap.addRange(1_000, 10_000)
    const block = heap.allocate(100)
    const before = heap.metadataBytes
    heap.removeRange(1_000, 10_000)
    heap.shrinkBooks()
    heap.check()
    expect(heap.metadataBytes).toBeLessThan(before / 10)
    expect(heap.isLive(block)).toBe(true)
    heap.addRange(1_000, 10_000)
    expect(heap.free(block)).toBe(true)
    heap.check()
    expect(heap.allocatePages(10_000 * PAGE)).not.toBe(NONE)
  })
})

describe('listLive', () => {
  it('lists slots and runs of all ranges in ascending order', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(0, 20)
    heap.addRange(50, 20)
    const blocks = [100, 20 * PAGE - PAGE, 16, 5000, 5000, 6 * PAGE].map(size => heap.allocate(size))
    expect(blocks).not.toContain(NONE)
    expect([...heap.listLive()]).toEqual(blocks.sort((a, b) => a - b))
  })
})

describe('runPagesFor', () => {
  it('is enough pages for any block of that size', () => {
    for (const size of [0, 1, 4097, 10_000, MAX_SLAB_BYTES, MAX_SLAB_BYTES + 1, 100 * PAGE]) {
      const heap = makeHeap(new BlockHeap(PAGE).runPagesFor(size))
      expect(heap.allocate(size)).toBe(0)
    }
  })
})

describe('check', () => {
  /** A run of 4 pages at page 0, one of 2 at page 4, a slab of one page at page 6, and the rest of 20 pages free. */
  function fixture() {
    const { heap, table } = openHeap(20)
    run(heap, 4)
    run(heap, 2)
    heap.allocate(64)
    heap.check()
    return { heap, table, tags: table.tags }
  }

  it('finds a page that starts nothing (1)', () => {
    const { heap, tags } = fixture()
    tags[4] = TAG_NONE
    expect(() => heap.check()).toThrow('1: page 4 starts a free run, a slab or a block')
  })

  it('finds a tag inside a block (1)', () => {
    for (const page of [1, 2, 3]) {
      const { heap, tags } = fixture()
      tags[page] = usedTag(1)
      expect(() => heap.check()).toThrow('1: no tag inside the block at page 0')
    }
  })

  it('finds a block that reaches behind its range (1)', () => {
    const { heap, table } = openHeap(20)
    run(heap, 20)
    table.tags[0] = usedTag(21)
    expect(() => heap.check()).toThrow('1: a range is covered exactly')
  })

  it('finds a free run that no bin has (1)', () => {
    const { heap, tags } = fixture()
    for (const page of [0, 3]) tags[page] = freeTag(4)
    expect(() => heap.check()).toThrow('1: every free run is in a bin')
  })

  it('finds a slab with free slots that no list has', () => {
    const heap = makeHeap(20)
    const blocks: number[] = []
    const records = catchRecords(() => {
      for (let n = 0; n < 128; n++) blocks.push(heap.allocate(64))
    })
    heap.free(blocks[0])
    heap.free(blocks[64])
    heap.check()
    // Of the two slabs in the bucket the first, which came last, forgets the second.
    expect(records.columns[records.words + BUCKET]).toBe(0)
    expect(records.columns[records.words + NEXT]).toBe(0)
    records.columns[records.words + NEXT] = NONE
    expect(() => heap.check()).toThrow('1: 2 slabs to be listed, found 1')
  })

  it('finds a record without a slab', () => {
    const heap = makeHeap(20)
    const records = catchRecords(() => heap.allocate(64))
    records.acquire()
    expect(() => heap.check()).toThrow('1: every record is used or listed as unused')
  })

  it('finds a block too many (2)', () => {
    const { heap, tags } = fixture()
    tags[0] = usedTag(2)
    tags[2] = usedTag(2)
    expect(() => heap.check()).toThrow('2: live runs')
  })

  it('finds a live page that counts as dirty (3)', () => {
    const { heap, table } = fixture()
    for (const page of [1, 5, 6]) {
      setRange(table.dirty, page, page + 1)
      expect(() => heap.check()).toThrow(`2: used page ${page} is not dirty`)
      clearRange(table.dirty, page, page + 1)
    }
    heap.check()
  })

  it('finds a limit below what is committed', () => {
    const { heap } = fixture()
    heap.limitPages = 6
    expect(() => heap.check()).toThrow('3: committed pages within the limit')
  })

  it('finds what is wrong in the parts', () => {
    const { heap, table, tags } = fixture()
    tags[19] = freeTag(12)
    expect(() => heap.check()).toThrow('2: run 7 has one length')
    tags[19] = freeTag(13)
    tags[20] = usedTag(1)
    expect(() => heap.check()).toThrow('2: no tag behind the ranges')
    tags[20] = TAG_NONE
    heap.check()
    table.managedPages++
    expect(() => heap.check()).toThrow('1: ranges lie within the columns')
  })
})
