import { describe, expect, it } from 'vitest'
import { KIB, NONE } from '../../src/base/units.js'
import { BlockHeap, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/block-heap.js'
import { plainStorage } from '../../src/heap/columns.js'
import { FIRST_BIT } from '../../src/heap/layout.js'
import { raiseTop } from '../../src/heap/short-gaps.js'
import { fill, makeHeap, PAGE, PG, purgeAll } from './books.js'

/** Frees the blocks, and takes the whole of `pageCount` pages as one block. */
function expectWhole(heap: BlockHeap, blocks: Iterable<number>, pageCount: number): void {
  for (const block of blocks) expect(heap.free(block)).toBe(true)
  heap.check()
  const whole = heap.allocate(pageCount * heap.pageBytes)
  expect(whole).toBe(0)
  expect(heap.free(whole)).toBe(true)
  heap.flush()
  heap.check()
}

describe('allocate', () => {
  it.each([0, 1, 15, 16, 17, 496, 497, 4079, 4080, 4081, PAGE - 1, PAGE])(
    'gives %i bytes whole granules, and no more',
    size => {
      const heap = makeHeap(64)
      const block = heap.allocate(size)
      expect(heap.sizeOf(block)).toBe(Math.max(16, Math.ceil(size / 16) * 16))
      heap.check()
      expectWhole(heap, [block], 64)
    },
  )

  it.each([
    [PAGE + 1, PAGE + 128],
    [2 * PAGE - 1, 2 * PAGE],
    [2 * PAGE, 2 * PAGE],
    [2 * PAGE + 257, 2 * PAGE + 512],
    [64 * KIB, 64 * KIB],
    [100_000, 100_352],
    [33 * PAGE, 33 * PAGE],
    [129 * PAGE, 129 * PAGE],
    [129 * PAGE + 1, 130 * PAGE],
  ])('gives %i bytes, a page or more, at most 1/32 more than that', (size, held) => {
    const heap = makeHeap(200)
    const block = heap.allocate(size)
    expect(heap.sizeOf(block)).toBe(held)
    heap.check()
    // To make it that long, or shorter by less than a step, changes nothing.
    expect(heap.resize(block, held)).toBe(true)
    expect(heap.resize(block, size)).toBe(true)
    expect(heap.sizeOf(block)).toBe(held)
    expectWhole(heap, [block], 200)
  })

  it('gives no more than that where there is no room for it', () => {
    for (const allocate of ['allocate', 'allocateAligned'] as const) {
      const heap = makeHeap(2)
      const small = heap.allocate(2 * PAGE - 4_240)
      expect(heap[allocate](4_241, 16)).toBe(NONE)
      const last = heap[allocate](4_225, 16)
      expect(heap.sizeOf(last)).toBe(4_240)
      // It holds that many bytes already.
      expect(heap.resize(last, 4_230)).toBe(true)
      expect(heap.resize(last, 4_241)).toBe(false)
      expect(heap.sizeOf(last)).toBe(4_240)
      expectWhole(heap, [small, last], 2)
    }
  })

  it('grows to no more than that where there is no room to move to', () => {
    const heap = makeHeap(5, { hasCache: false })
    const block = heap.allocate(PAGE)
    const gap = heap.allocate(160)
    const last = heap.allocate(PAGE - 160)
    heap.free(gap)
    heap.flush()
    // There is room elsewhere.
    expect(heap.resize(block, PAGE + 145)).toBe(false)
    const rest = heap.allocate(3 * PAGE)
    expect(heap.resize(block, PAGE + 161)).toBe(false)
    expect(heap.resize(block, PAGE + 145)).toBe(true)
    expect(heap.sizeOf(block)).toBe(PAGE + 160)
    heap.check()
    expectWhole(heap, [block, last, rest], 5)
  })

  it('packs blocks one behind the other, over the ends of pages', () => {
    const heap = makeHeap(8)
    const blocks = fill(heap, 1000)
    expect(blocks.length).toBe(Math.floor((8 * PAGE) / 1008))
    expect(blocks).toEqual(blocks.map((_, i) => i * 63))
    expectWhole(heap, blocks, 8)
  })

  it('has one block for the exact space, and none for a byte more', () => {
    const heap = makeHeap(8)
    expect(heap.allocate(8 * PAGE + 1)).toBe(NONE)
    expect(heap.refusal).toBe(REFUSED_SPACE)
    expectWhole(heap, [heap.allocate(8 * PAGE)], 8)
  })

  it('takes the gap that fits best', () => {
    const heap = makeHeap(16, { hasCache: false })
    const sizes = [320, 16, 160, 16, 240, 16]
    const blocks = sizes.map(size => heap.allocate(size))
    for (const i of [0, 2, 4]) heap.free(blocks[i])
    expect(heap.allocate(240)).toBe(blocks[4])
    expect(heap.allocate(150)).toBe(blocks[2])
    expect(heap.allocate(300)).toBe(blocks[0])
    heap.check()
  })

  it.each([16, 64])(
    'finds the last gap behind any number of frames that seem to have one, at a multiple of %i',
    align => {
      const heap = makeHeap(200, { hasCache: false })
      const blocks = fill(heap, 512)
      const last = blocks.at(-1) as number
      heap.free(last)
      for (let frame = 0; frame < 199; frame++) raiseTop(heap, frame, 200)
      heap.check()
      expect(heap.allocateAligned(320, align)).toBe(last)
      expect(heap.allocateAligned(320, align)).toBe(NONE)
      heap.check()
      expectWhole(heap, blocks, 200)
    },
  )

  it('uses pages that are resident before clean ones', () => {
    const heap = makeHeap(64, { hasCache: false })
    const [low, high] = [heap.allocate(10 * PAGE), heap.allocate(10 * PAGE)]
    const guard = heap.allocate(PAGE)
    heap.free(low)
    purgeAll(heap)
    heap.free(high)
    // One gap now, clean below and dirty above: no gap without clean pages, so the low end.
    expect(heap.allocate(10 * PAGE)).toBe(low)
    const rest = heap.allocate(5 * PAGE)
    expect(rest).toBe(high)
    expect(heap.refaultedPages).toBe(10)
    expectWhole(heap, [low, rest, guard], 64)
  })

  it('gives back what is kept before it refuses', () => {
    const heap = makeHeap(8)
    const blocks = fill(heap, 512)
    for (const block of blocks) heap.free(block)
    expect(heap.hasKept).toBe(true)
    const whole = heap.allocate(8 * PAGE)
    expect(whole).toBe(0)
    expect(heap.hasKept).toBe(false)
    heap.check()
  })
})

describe('allocateAligned', () => {
  it.each([16, 32, 64, 128, 256, 512, 1024, 2048, 4096])('starts at a multiple of %i', align => {
    const heap = makeHeap(64)
    const blocks: number[] = []
    for (const size of [1, 16, 100, 300, 1000, 3000, 5000, 20_000]) {
      blocks.push(heap.allocate(48), heap.allocateAligned(size, align))
      const block = blocks[blocks.length - 1]
      expect((block * 16) % align).toBe(0)
      expect(heap.sizeOf(block)).toBeGreaterThanOrEqual(size)
      heap.check()
    }
    expectWhole(heap, blocks, 64)
  })
})

describe('blocks of whole pages', () => {
  it('start on a page from the given size on, and read as zero on clean pages', () => {
    const heap = makeHeap(64, { wholePagesFromBytes: 16 * KIB })
    const small = heap.allocate(100)
    const large = heap.allocate(16 * KIB + 1)
    expect(large % PG).toBe(0)
    expect(heap.sizeOf(large)).toBe(5 * PAGE)
    expect(heap.zeroedBlock).toBe(large)
    expectWhole(heap, [small, large], 64)
  })

  it('start on a page although one as long was kept that would not', () => {
    const heap = makeHeap(64, { wholePagesFromBytes: 64 * KIB })
    heap.allocate(16)
    for (const size of [64 * KIB - 15, 64 * KIB - 1, 64 * KIB]) {
      const block = heap.allocate(size)
      expect(block % PG).toBe(0)
      heap.free(block)
    }
    heap.check()
  })

  it('take a hole of exactly their length before a longer gap', () => {
    const heap = makeHeap(64, { wholePagesFromBytes: PAGE, hasCache: false })
    const blocks = [5, 1, 4, 1].map(pages => heap.allocate(pages * PAGE))
    heap.free(blocks[0])
    heap.free(blocks[2])
    expect(heap.allocate(4 * PAGE)).toBe(blocks[2])
    expect(heap.allocate(5 * PAGE)).toBe(blocks[0])
    heap.check()
  })
})

describe('free', () => {
  it('coalesces with the gaps on both sides', () => {
    const heap = makeHeap(4, { hasCache: false })
    const blocks = fill(heap, 64)
    for (const i of [1, 3, 2]) heap.free(blocks[i])
    expect(heap.allocate(192)).toBe(blocks[1])
    heap.check()
  })

  it('frees exactly the pages that no block touches any more', () => {
    const heap = makeHeap(8, { hasCache: false })
    const blocks = fill(heap, 1000)
    expect(heap.usedPages).toBe(8)
    // 63 granules each: the first five reach into the second page.
    for (const block of blocks.slice(0, 4)) heap.free(block)
    expect(heap.usedPages).toBe(8)
    heap.free(blocks[4])
    expect([heap.usedPages, heap.dirtyPages]).toEqual([7, 1])
    heap.check()
  })

  it('keeps a block for the next of its size, until a flush', () => {
    const heap = makeHeap(8)
    const block = heap.allocate(100)
    expect(heap.free(block)).toBe(true)
    expect(heap.isLive(block)).toBe(false)
    expect(heap.free(block)).toBe(false)
    expect([heap.liveBlocks, heap.usedPages]).toEqual([0, 1])
    expect(heap.allocate(112)).toBe(block)
    heap.free(block)
    heap.flush()
    expect([heap.usedPages, heap.dirtyPages]).toEqual([0, 1])
    heap.check()
  })

  it('refuses every granule where no live block starts', () => {
    const heap = makeHeap(8)
    const block = heap.allocate(1000)
    for (const granule of [-1, block + 1, block + 62, block + 63, 8 * PG, 2 ** 31 - 1, -(2 ** 31)]) {
      expect(heap.free(granule)).toBe(false)
      expect(heap.isLive(granule)).toBe(false)
    }
    expectWhole(heap, [block], 8)
  })
})

describe('resize', () => {
  it('shrinks, and grows over what it left', () => {
    const heap = makeHeap(16)
    const block = heap.allocate(5 * PAGE)
    expect(heap.resize(block, 100)).toBe(true)
    expect(heap.sizeOf(block)).toBe(112)
    expect(heap.resize(block, 16 * PAGE)).toBe(true)
    expect(heap.resize(block, 16 * PAGE + 1)).toBe(false)
    expect(heap.sizeOf(block)).toBe(16 * PAGE)
    expectWhole(heap, [block], 16)
  })

  it('grows over blocks that were kept, once they are given up', () => {
    const heap = makeHeap(16)
    const [block, behind] = [heap.allocate(512), heap.allocate(512)]
    heap.free(behind)
    expect(heap.resize(block, 1024)).toBe(false)
    heap.flush()
    expect(heap.resize(block, 1024)).toBe(true)
    expectWhole(heap, [block], 16)
  })

  it('does not grow over a live block, nor past the limit', () => {
    const heap = makeHeap(16)
    const [block, behind] = [heap.allocate(512), heap.allocate(512)]
    expect(heap.resize(block, 528)).toBe(false)
    heap.limitPages = heap.committedPages
    expect(heap.resize(behind, 5 * PAGE)).toBe(false)
    expect(heap.refusal).toBe(REFUSED_LIMIT)
    heap.limitPages = 16
    expect(heap.resize(behind, 5 * PAGE)).toBe(true)
    expectWhole(heap, [block, behind], 16)
  })
})

describe('limitPages', () => {
  it('refuses what would commit more, and serves what fits on used pages', () => {
    const heap = makeHeap(64, { hasCache: false })
    const block = heap.allocate(PAGE + 128)
    heap.limitPages = 2
    expect(heap.allocate(2 * PAGE)).toBe(NONE)
    expect(heap.refusal).toBe(REFUSED_LIMIT)
    const rest = heap.allocate(PAGE - 128)
    expect(rest).toBe(block + PG + 8)
    expect(heap.committedPages).toBe(2)
    expect(heap.allocate(1)).toBe(NONE)
    heap.limitPages = 64
    expectWhole(heap, [block, rest], 64)
  })
})

describe('ranges', () => {
  it('that touch join, those that do not stay apart', () => {
    const heap = makeHeap(4)
    heap.addRange(4, 4)
    heap.addRange(10, 4)
    heap.check()
    expect(heap.allocate(9 * PAGE)).toBe(NONE)
    const [low, high] = [heap.allocate(8 * PAGE), heap.allocate(4 * PAGE)]
    expect([low, high]).toEqual([0, 10 * PG])
    heap.check()
    for (const block of [low, high]) heap.free(block)
    purgeAll(heap)
    expect(heap.isRangeFree({ firstPage: 10, pageCount: 4 })).toBe(true)
    heap.removeRange(10, 4)
    expect(heap.isLive(10 * PG)).toBe(false)
    expectWhole(heap, [], 8)
  })

  it('leave everything as it was where the books cannot grow', () => {
    let isShort = true
    const storage = {
      ...plainStorage,
      allocate: (bytes: number) => {
        if (isShort) throw new RangeError('no memory')
        return plainStorage.allocate(bytes)
      },
    }
    const heap = new BlockHeap(PAGE, { storage })
    expect(() => heap.addRange(0, 64)).toThrow('no memory')
    expect([heap.managedPages, heap.allocate(1)]).toEqual([0, NONE])
    heap.check()
    isShort = false
    heap.addRange(0, 64)
    expectWhole(heap, [], 64)
  })
})

describe('the cache', () => {
  it('costs no more books where two sizes take turns on one stack', () => {
    const stackOf = (granules: number) => Math.imul(granules, 0x9e3779b1) >>> 26
    let other = 301
    while (stackOf(other) !== stackOf(300)) other++
    const heap = makeHeap(4096)
    heap.allocate(8 * 2 ** 20)
    let [a, b] = [heap.allocate(300 * 16), heap.allocate(other * 16)]
    const turn = () => {
      heap.free(a)
      a = heap.allocate(300 * 16)
      heap.free(b)
      b = heap.allocate(other * 16)
    }
    for (let i = 0; i < 10; i++) turn()
    const before = heap.metadataBytes
    for (let i = 0; i < 10_000; i++) turn()
    expect(heap.metadataBytes).toBe(before)
    heap.check()
  })

  it('holds at most 1/32 of what is in use for one size, and a little', () => {
    const heap = makeHeap(1024)
    const blocks = fill(heap, 2000)
    const before = heap.usedPages
    for (const block of blocks.slice(0, blocks.length / 2)) heap.free(block)
    heap.flush()
    const exact = heap.usedPages
    for (const block of blocks.slice(blocks.length / 2)) heap.free(block)
    expect(heap.usedPages).toBeLessThan(before / 32 + 4)
    expect(exact).toBeLessThan(before)
    heap.check()
  })
})

describe('purging', () => {
  it('counts pages in the middle of a gap as clean, and again as refaults', () => {
    const heap = makeHeap(64, { hasCache: false })
    const block = heap.allocate(60 * PAGE)
    heap.free(block)
    heap.markPurged(20, 10)
    heap.check()
    expect([heap.dirtyPages, heap.committedPages]).toEqual([50, 50])
    expect(heap.allocate(60 * PAGE)).toBe(block)
    expect(heap.refaultedPages).toBe(10)
    heap.check()
  })

  it('has the storage give back the books of long gaps', () => {
    const purged: number[] = []
    const storage = {
      ...plainStorage,
      purge: (_: ArrayBuffer, __: number, bytes: number) => purged.push(bytes),
    }
    const heap = makeHeap(1024, { storage })
    const blocks = Array.from({ length: 16 }, () => heap.allocate(64 * PAGE))
    for (const block of blocks) heap.free(block)
    purgeAll(heap)
    expect(purged.length).toBeGreaterThan(0)
    expect(Math.max(...purged)).toBeGreaterThan(60 * KIB)
    expectWhole(heap, [], 1024)
  })
})

describe('what the policy asks', () => {
  it('takePeakUsed gives the most pages used since it was last asked', () => {
    const heap = makeHeap(64, { hasCache: false })
    const block = heap.allocate(10 * PAGE)
    heap.free(block)
    expect(heap.takePeakUsed()).toBe(10)
    expect(heap.takePeakUsed()).toBe(0)
    expect(heap.peakUsedPages).toBe(10)
  })

  it('agedPages counts what was dirty at the last mark and not used since', () => {
    const heap = makeHeap(64, { hasCache: false })
    heap.free(heap.allocate(10 * PAGE))
    heap.ageDirtyPages()
    expect(heap.agedPages).toBe(10)
    heap.allocate(4 * PAGE)
    expect(heap.agedPages).toBe(6)
  })

  it('markResident makes free, clean pages dirty, within the limit', () => {
    const heap = makeHeap(64)
    heap.limitPages = 32
    expect(heap.markResident(0, 33)).toBe(false)
    expect(heap.markResident(0, 32)).toBe(true)
    expect([heap.dirtyPages, heap.peakUsedPages, heap.refaultedPages]).toEqual([32, 0, 0])
    heap.check()
    expect(heap.allocate(32 * PAGE)).toBe(0)
    heap.check()
  })

  it('listUnused lists the pages that no live block touches', () => {
    const heap = makeHeap(64)
    const blocks = [10, 10, 10].map(pages => heap.allocate(pages * PAGE))
    heap.free(blocks[1])
    expect(heap.listUnused()).toEqual([10, 20, 30, 64])
  })
})

describe('books', () => {
  it('stay below 2.5 % of what is managed, and shrink', () => {
    const heap = makeHeap(16_384)
    expect(heap.metadataBytes).toBeLessThan(0.025 * 16_384 * PAGE)
    const blocks = fill(heap, 100)
    expect(heap.metadataBytes).toBeLessThan(0.025 * 16_384 * PAGE)
    for (const block of blocks) heap.free(block)
    purgeAll(heap)
    heap.removeRange(0, 16_384)
    heap.shrinkBooks()
    expect(heap.metadataBytes).toBeLessThan(32 * KIB)
    heap.check()
  })

  it('list live blocks in order', () => {
    const heap = makeHeap(64)
    const blocks = [100, 5000, 16, 70_000].map(size => heap.allocate(size))
    heap.free(blocks[1])
    expect([...heap.listLive()]).toEqual([blocks[0], blocks[2], blocks[3]].sort((a, b) => a - b))
  })
})

describe('anyLive', () => {
  it('tells whether a live block starts in a range, and no other', () => {
    const heap = makeHeap(64)
    const [front, long, behind] = [100, 10 * PAGE, 100].map(size => heap.allocate(size))
    const endOfLong = long + (10 * PAGE) / 16
    const border = (granule: number) => granule - (granule % 32)
    expect(heap.anyLive(border(front), border(front) + 32)).toBe(true)
    expect(heap.anyLive(border(long), border(long) + 32)).toBe(true)
    // In the middle of a block none starts.
    expect(heap.anyLive(border(long) + 32, border(endOfLong) - 32)).toBe(false)
    expect(heap.anyLive(0, 64 * PG)).toBe(true)
    for (const block of [front, behind]) heap.free(block)
    expect(heap.anyLive(0, 64 * PG)).toBe(true)
    heap.free(long)
    // Kept blocks are no live ones, and beyond what is managed there is none.
    expect(heap.anyLive(0, 64 * PG)).toBe(false)
    expect(heap.anyLive(64 * PG, 2 ** 24)).toBe(false)
  })
})

describe('check', () => {
  const filled = () => {
    const heap = makeHeap(64)
    const blocks = Array.from({ length: 40 }, (_, i) => heap.allocate(100 + 16 * i))
    for (let i = 0; i < 40; i += 3) heap.free(blocks[i])
    heap.flush()
    heap.check()
    return { heap, table: heap, blocks }
  }

  it.each<[string, (opened: ReturnType<typeof filled>) => void, RegExp]>([
    [
      'a lost block',
      ({ table, blocks }) => (table.bits[2 + 2 * (blocks[1] >>> 5)] &= ~(FIRST_BIT >>> blocks[1])),
      /invariant/,
    ],
    ['a lost pair', ({ table }) => (table.occupied[0] = 0), /pairs of frame 0/],
    ['a wrong end', ({ table }) => table.rows.fill(7), /invariant/],
    ['a top too low', ({ table }) => table.tops.fill(0), /top|bin/],
    ['a tree that differs', ({ table }) => table.leaves.fill(0), /in bin/],
    ['a lost branch', ({ table }) => table.branches.fill(0), /tree word/],
    ['a page that is dirty and used', ({ table }) => (table.dirty[0] |= 1), /used page 0 is not dirty/],
    ['a page that is aged and not dirty', ({ table }) => (table.aged[1] |= 1 << 31), /aged page 63 is dirty/],
  ])('names %s', (_, damage, message) => {
    const opened = filled()
    damage(opened)
    expect(() => opened.heap.check()).toThrow(message)
  })
})

describe.each([16 * KIB, 64 * KIB])('pages of %i bytes', pageBytes => {
  it('hold blocks of any size, and are one block again', () => {
    const heap = makeHeap(8, {}, pageBytes)
    const blocks = [1, 100, 4096, 5000, pageBytes - 1, pageBytes, pageBytes + 1].map(size =>
      heap.allocate(size),
    )
    expect(blocks.includes(NONE)).toBe(false)
    heap.check()
    expectWhole(heap, blocks, 8)
  })
})
