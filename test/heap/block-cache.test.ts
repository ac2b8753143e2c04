import { describe, expect, it } from 'vitest'
import { BlockCache, DIRECT } from '../../src/heap/block-cache.js'
import type { GranuleMap } from '../../src/heap/granule-map.js'
import { END, type PageTable, ROW_WORDS } from '../../src/heap/page-table.js'
import { CountedStorage, coverMap, layOut, PAGE, type Stretch } from './books.js'

/** Says what it gives back, in place of doing it: these blocks lie in no space. */
class TellingCache extends BlockCache {
  readonly given: number[][] = []

  override give(block: number, end: number): void {
    this.given.push([block, end])
  }
}

interface Cached {
  cache: TellingCache
  map: GranuleMap
  table: PageTable
  storage: CountedStorage
  /** As a heap does it: onto the stack if it has room, or gets it. */
  keep(block: number, size: number, usedGranules?: number): boolean
  pop(size: number): number
}

const PLENTY = 2 ** 30

function makeCache(frames = 64): Cached {
  const storage = new CountedStorage()
  const cache = new TellingCache(PAGE, storage)
  coverMap(cache, frames)
  // The columns are not what is counted here.
  storage.requests = 0
  storage.buffers.clear()
  cache.openStacks()
  return {
    cache,
    map: cache,
    table: cache,
    storage,
    keep(block, size, usedGranules = PLENTY) {
      const stack = cache.stackOf(size)
      const isFull = cache.stacks[stack << 1] === cache.stacks[(stack << 1) + 1]
      if (isFull && !grant(cache, stack, size, usedGranules)) return false
      cache.stacks[++cache.stacks[stack << 1]] = block + 1
      return true
    },
    pop(size) {
      const at = cache.stackOf(size) << 1
      return cache.stacks[cache.stacks[at]--] - 1
    },
  }
}

/** Held blocks of that size in a row, from granule 0 on. */
function heldBlocks(cached: Cached, size: number, count: number): number[] {
  return layOut(
    cached.map,
    0,
    Array.from({ length: count }, () => ['held', size] as Stretch),
  )
}

/** Two sizes that share a stack. */
function rivals(cache: BlockCache): [number, number] {
  const size = 300
  let other = size + 1
  while (cache.stackOf(other) !== cache.stackOf(size)) other++
  return [size, other]
}

/** Grants more room where the budget and the memory allow it. */
function grant(cache: BlockCache, stack: number, size: number, usedGranules: number): boolean {
  return cache.mayExtend(stack, size, usedGranules) && cache.extendStack(stack, size)
}

describe('stackOf', () => {
  it('is a stack of its own for each size below a frame, and a shared one for all others', () => {
    const { cache } = makeCache()
    for (let size = 1; size < DIRECT; size++) expect(cache.stackOf(size)).toBe(size)
    const shared = new Set(Array.from({ length: 5_000 }, (_, n) => cache.stackOf(DIRECT + n)))
    expect(shared.size).toBe(128)
    expect([Math.min(...shared), Math.max(...shared)]).toEqual([DIRECT, DIRECT + 127])
    expect(cache.stackOf(2 ** 31)).toBeLessThan(DIRECT + 128)
  })
})

describe('extend', () => {
  it('grants room for 1 block, then for 3, 7 and 15, then no more', () => {
    const cached = makeCache()
    const blocks = heldBlocks(cached, 4, 16)
    const granted = blocks.map(block => {
      const isKept = cached.keep(block, 4)
      return isKept && cached.cache.grantedGranules
    })
    expect(granted).toEqual([4, 12, 12, 28, 28, 28, 28, ...Array.from({ length: 8 }, () => 60), false])
    expect(cached.cache).toMatchObject({ keptBlocks: 15, keptGranules: 60, isEmpty: false })
    cached.cache.checkStacks(() => {})
  })

  it('keeps what the stack holds, so that the latest comes first', () => {
    const cached = makeCache()
    const blocks = heldBlocks(cached, 4, 10)
    for (const block of blocks) cached.keep(block, 4)
    expect(blocks.map(() => cached.pop(4))).toEqual([...blocks].reverse())
    expect(cached.cache.isEmpty).toBe(true)
    expect(cached.pop(4)).toBe(-1)
  })

  it('grants at most a quarter of what is in use, to all stacks together', () => {
    const { cache } = makeCache()
    for (let size = 101; size <= 120; size++) expect(grant(cache, size, size, PLENTY)).toBe(true)
    const { grantedGranules } = cache
    expect(grantedGranules).toBe(2_210)
    expect(grant(cache, 250, 250, 4 * 2_460 - 1)).toBe(false)
    expect(grant(cache, 250, 250, 4 * 2_460)).toBe(true)
    expect(cache.grantedGranules).toBe(2_460)
    cache.checkStacks(() => {})
  })

  it('grants one stack at most an eighth of what is in use, if for more than a block', () => {
    const { cache } = makeCache()
    expect(grant(cache, 250, 250, 4 * 250)).toBe(true)
    // From 1 block to 3, then to 7.
    expect(grant(cache, 250, 250, 8 * 750 - 1)).toBe(false)
    expect(grant(cache, 250, 250, 8 * 750)).toBe(true)
    expect(grant(cache, 250, 250, 8 * 1_750 - 1)).toBe(false)
    expect(grant(cache, 250, 250, 8 * 1_750)).toBe(true)
    expect(cache.grantedGranules).toBe(1_750)
    cache.checkStacks(() => {})
  })

  it('grants 512 granules even where nothing is in use', () => {
    const { cache } = makeCache()
    expect(grant(cache, cache.stackOf(513), 513, 0)).toBe(false)
    expect(grant(cache, 255, 255, 0)).toBe(true)
    expect(grant(cache, 254, 254, 0)).toBe(true)
    expect(grant(cache, 3, 3, 0)).toBe(true)
    expect(grant(cache, 1, 1, 0)).toBe(false)
    expect(cache.grantedGranules).toBe(512)
    cache.checkStacks(() => {})
  })

  it('keeps less where there is no memory, and what was kept stays', () => {
    const cached = makeCache()
    const blocks = heldBlocks(cached, 4, 16)
    cached.keep(blocks[0], 4)
    cached.storage.failAt = cached.storage.requests
    let stack = 5
    while (grant(cached.cache, stack, 5, PLENTY)) stack++
    const { grantedGranules } = cached.cache
    expect(cached.keep(blocks[1], 4)).toBe(false)
    expect(cached.cache).toMatchObject({ keptBlocks: 1, grantedGranules })
    expect(cached.storage.buffers.size).toBe(1)
    cached.storage.failAt = Number.POSITIVE_INFINITY
    expect(cached.keep(blocks[1], 4)).toBe(true)
    expect(cached.storage.buffers).toEqual(new Set([cached.cache.stacks.buffer]))
    expect([1, 0].map(() => cached.pop(4))).toEqual(blocks.slice(0, 2).reverse())
  })
})

describe('claim', () => {
  it('makes a shared stack one for blocks of another size', () => {
    const cached = makeCache()
    const { cache } = cached
    const [size, other] = rivals(cache)
    const stack = cache.stackOf(size)
    expect(cache.isFor(stack, size)).toBe(false)
    expect(cache.claim(stack, size, 0)).toBe(true)
    expect([cache.isFor(stack, size), cache.isFor(stack, other)]).toEqual([true, false])
    const [block] = heldBlocks(cached, size, 1)
    cached.keep(block, size)
    expect(cache.claim(stack, other, 0)).toBe(false)
    expect(cache.isFor(stack, size)).toBe(true)
    expect(cached.pop(size)).toBe(block)
    expect(cache.claim(stack, other, 0)).toBe(true)
    // Room for one block, as before.
    expect(cache).toMatchObject({ grantedGranules: other, keptBlocks: 0 })
    expect([cache.isFor(stack, size), cache.isFor(stack, other)]).toEqual([false, true])
    cache.checkStacks(() => {})
  })

  it('leaves a stack its room only where the budget allows for the new size', () => {
    const cached = makeCache()
    const { cache } = cached
    const size = 300
    const stack = cache.stackOf(size)
    let long = 1_000
    while (cache.stackOf(long) !== stack) long++
    cache.claim(stack, size, 0)
    const [block] = heldBlocks(cached, size, 1)
    cached.keep(block, size)
    cached.pop(size)
    expect(cache.claim(stack, long, 4 * long)).toBe(true)
    expect(cache.grantedGranules).toBe(long)
    expect(cache.claim(stack, size, 0)).toBe(true)
    expect(cache.grantedGranules).toBe(size)
    expect(cache.claim(stack, long, 4 * long - 1)).toBe(true)
    expect(cache.grantedGranules).toBe(0)
    cache.checkStacks(() => {})
  })

  it('uses the slots again that a stack gives up', () => {
    const cached = makeCache()
    const { cache } = cached
    const sizes = rivals(cache)
    const stack = cache.stackOf(sizes[0])
    const { metadataBytes } = cache
    for (let n = 0; n < 1_000; n++) {
      const size = sizes[n % 2]
      expect(cache.claim(stack, size, 0)).toBe(true)
      for (let block = 0; block < 15; block++) expect(cached.keep(block, size)).toBe(true)
      expect(cached.keep(15, size)).toBe(false)
      for (let block = 14; block >= 0; block--) expect(cached.pop(size)).toBe(block)
      cache.checkStacks(() => {})
    }
    expect(cache.metadataBytes).toBe(metadataBytes)
  })
})

describe('flush', () => {
  it('gives up each block with its end, and leaves the room', () => {
    const cached = makeCache()
    const { cache, map } = cached
    cache.claim(cache.stackOf(300), 300, 0)
    const blocks = layOut(map, 0, [
      ['held', 4],
      ['held', 300],
      ['held', 4],
      ['held', 1],
    ])
    const sizes = [4, 300, 4, 1]
    blocks.forEach((block, at) => {
      cached.keep(block, sizes[at])
    })
    const { grantedGranules } = cache
    cache.flushStacks()
    expect(cache.given.sort((a, b) => a[0] - b[0])).toEqual(
      blocks.map((block, at) => [block, block + sizes[at]]),
    )
    expect(cache).toMatchObject({ isEmpty: true, keptBlocks: 0, keptGranules: 0, grantedGranules })
    cache.checkStacks(() => expect.fail('nothing is kept'))
  })

  it('finds the last granule of 32 GiB, whose slot is negative', () => {
    const cached = makeCache()
    cached.keep(2 ** 31 - 1, 1)
    cached.cache.flushStacks()
    expect(cached.cache.given).toEqual([[2 ** 31 - 1, 2 ** 31]])
  })
})

describe('open and shrink', () => {
  it('cost nothing where nothing is ever kept', () => {
    const storage = new CountedStorage()
    const cache = new BlockCache(PAGE, storage)
    const { metadataBytes } = cache
    cache.shrinkStacks()
    expect(cache).toMatchObject({ isEmpty: true, keptBlocks: 0, metadataBytes })
    expect(storage.requests).toBe(0)
    cache.openStacks()
    cache.openStacks()
    expect(storage.requests).toBe(1)
    expect(cache.metadataBytes).toBe(metadataBytes + cache.stacks.byteLength)
  })

  it('give up slots that were needed once', () => {
    const cached = makeCache()
    const { cache, storage } = cached
    const { metadataBytes } = cache
    for (let size = 1; size < DIRECT; size++) grant(cache, size, size, PLENTY)
    for (let size = 1; size < DIRECT; size++) grant(cache, size, size, PLENTY)
    const { byteLength } = cache.stacks
    expect(cache.metadataBytes).toBeGreaterThan(metadataBytes + byteLength / 2)
    cache.shrinkStacks()
    expect(cache).toMatchObject({ metadataBytes, grantedGranules: 0, isEmpty: true })
    expect(storage.buffers).toEqual(new Set([cache.stacks.buffer]))
    cache.checkStacks(() => {})
    const blocks = heldBlocks(cached, 4, 4)
    for (const block of blocks) expect(cached.keep(block, 4)).toBe(true)
    expect(cached.pop(4)).toBe(blocks[3])
  })

  it('go on with the long stacks where there is no memory for short ones', () => {
    const cached = makeCache()
    const { cache, storage } = cached
    for (let size = 1; size < DIRECT; size++) grant(cache, size, size, PLENTY)
    const { metadataBytes } = cache
    storage.failAt = storage.requests
    cache.shrinkStacks()
    expect(cache).toMatchObject({ metadataBytes, grantedGranules: 0 })
    expect(storage.buffers).toEqual(new Set([cache.stacks.buffer]))
    const [block] = heldBlocks(cached, 4, 1)
    expect(cached.keep(block, 4)).toBe(true)
    cache.checkStacks(() => {})
  })
})

describe('check', () => {
  /** Two blocks of 4 granules are kept. */
  function fixture() {
    const cached = makeCache()
    for (const block of heldBlocks(cached, 4, 2)) cached.keep(block, 4)
    const met: number[][] = []
    cached.cache.checkStacks((block, end) => met.push([block, end]))
    expect(met).toEqual([
      [0, 4],
      [4, 8],
    ])
    return { ...cached, stacks: cached.cache.stacks, check: () => cached.cache.checkStacks(() => {}) }
  }

  it('finds a top above the limit, and one below the empty slot (1)', () => {
    for (const by of [2, -3]) {
      const { stacks, check } = fixture()
      stacks[4 << 1] += by
      expect(check).toThrow('1: stack 4 stays within its room')
    }
  })

  it('finds a stack without room that has a top or a limit (1)', () => {
    for (const at of [10, 11]) {
      const { stacks, check } = fixture()
      stacks[at] = stacks[8]
      expect(check).toThrow('1: stack 5 has no room')
    }
  })

  it('finds a block in the slot below a stack (1)', () => {
    const { stacks, check } = fixture()
    stacks[stacks[4 << 1] - 2] = 1
    expect(check).toThrow('1: the slot below stack 4 is empty')
  })

  it('finds an empty slot below the top (1)', () => {
    const { stacks, check } = fixture()
    stacks[stacks[4 << 1] - 1] = 0
    expect(check).toThrow('1: no empty slot in stack 4')
  })

  it('finds a wrong count of what was granted (2)', () => {
    const { cache, check } = fixture()
    cache.grantedGranules++
    expect(check).toThrow('2: 13 granules granted, found 12')
  })

  it('finds a kept block that is live (3)', () => {
    const { map, check } = fixture()
    map.markLive(4)
    expect(check).toThrow('3: block 4 is held')
  })

  it('finds a kept block of another size (3)', () => {
    const { table, map, check } = fixture()
    map.clear(8)
    table.rows[0 * ROW_WORDS + END] = 9
    expect(check).toThrow('3: block 4 has 4 granules')
  })
})
