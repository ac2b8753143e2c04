import { describe, expect, it } from 'vitest'
import {
  claim,
  extendStack,
  flushStacks,
  isCacheEmpty,
  isFor,
  keptBlocks,
  keptGranules,
  mayExtend,
  stackOf,
  takeBackRooms,
} from '../../src/heap/block-cache.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { Books } from '../../src/heap/books.js'
import { checkStacks } from '../../src/heap/check.js'
import { endOf, isGap, markLive, unmark } from '../../src/heap/granule-map.js'
import { DIRECT, END, ROW_WORDS } from '../../src/heap/layout.js'
import { useCounted } from '../../src/heap/page-states.js'
import { bookBytes } from '../../src/heap/page-table.js'
import { stepsOf } from '../support/extent.js'
import { CountedStorage, coverMap, layOut, PAGE, type Stretch } from './books.js'

interface Cached {
  books: Books
  storage: CountedStorage
  /** As a heap does it: onto the stack if it has room, or gets it. */
  keep(block: number, size: number, usedGranules?: number): boolean
  pop(size: number): number
}

const PLENTY = 2 ** 30

function makeCache(frames = 64): Cached {
  const storage = new CountedStorage()
  const books = new Books(PAGE, storage)
  coverMap(books, frames)
  // The columns are not what is counted here.
  storage.requests = 0
  storage.buffers.clear()
  return {
    books,
    storage,
    keep(block, size, usedGranules = PLENTY) {
      const stack = stackOf(size)
      const isFull = books.stacks[books.stacks[stack] + 1] < 0
      if (isFull && !grant(books, stack, size, usedGranules)) return false
      books.stacks[++books.stacks[stack]] = block
      return true
    },
    pop(size) {
      const stack = stackOf(size)
      const block = books.stacks[books.stacks[stack]]
      if (block < 0) return -1
      books.stacks[stack]--
      return block
    },
  }
}

/** Held blocks of that size in a row, from granule 0 on. */
function heldBlocks(cached: Cached, size: number, count: number): number[] {
  return layOut(
    cached.books,
    0,
    Array.from({ length: count }, () => ['held', size] as Stretch),
  )
}

/** Two sizes that share a stack. */
function rivals(): [number, number] {
  const size = 300
  let other = size + 1
  while (stackOf(other) !== stackOf(size)) other++
  return [size, other]
}

/** Grants more room where the budget allows it. */
function grant(books: Books, stack: number, size: number, usedGranules: number): boolean {
  return mayExtend(books, stack, size, usedGranules) && extendStack(books, stack, size)
}

describe('stackOf', () => {
  it('is a stack of its own for each size below a frame, and a shared one for all others', () => {
    for (let size = 1; size < DIRECT; size++) expect(stackOf(size)).toBe(size)
    const shared = new Set(Array.from({ length: 70_000 }, (_, n) => stackOf(DIRECT + n)))
    expect(shared.size).toBe(256)
    expect([Math.min(...shared), Math.max(...shared)]).toEqual([DIRECT, DIRECT + 255])
    expect(stackOf(2 ** 31)).toBeLessThan(DIRECT + 256)
  })

  it('is its own for each length that blocks of up to 256 KiB have', () => {
    const heap = new BlockHeap(PAGE)
    heap.addRange(0, 2 ** 15)
    const lengths = new Set<number>()
    for (let sizeBytes = DIRECT * 16; sizeBytes <= 2 ** 18 - 2 ** 12; sizeBytes += 16) {
      const block = heap.allocate(sizeBytes)
      lengths.add(heap.sizeOf(block) / 16)
      heap.free(block)
    }
    expect(lengths.size).toBe(6 * 32)
    expect(new Set([...lengths].map(length => stackOf(length))).size).toBe(lengths.size)
  })
})

describe('extendStack', () => {
  it('grants room for 1 block, then for 3, 7, 15 and 31, then no more but for long ones', () => {
    const cached = makeCache()
    const blocks = heldBlocks(cached, 4, 32)
    const granted = blocks.map(block => {
      const isKept = cached.keep(block, 4)
      return isKept && cached.books.grantedDirect
    })
    const rooms = [1, 3, 7, 15, 31].flatMap(room => Array.from({ length: (room + 1) / 2 }, () => room))
    expect(granted).toEqual([...rooms.map(room => room * 4), false])
    const { books } = cached
    expect([keptBlocks(books), keptGranules(books), isCacheEmpty(books)]).toEqual([31, 124, false])
    checkStacks(cached.books, () => {})
  })

  it('grants room for up to 63 blocks of a frame and more', () => {
    const cached = makeCache(80)
    const { books } = cached
    const stack = stackOf(300)
    claim(books, stack, 300, PLENTY)
    const blocks = heldBlocks(cached, 300, 64).slice(0, 64)
    expect(blocks.filter(block => cached.keep(block, 300))).toEqual(blocks.slice(0, 63))
    expect(keptBlocks(books)).toBe(63)
    expect(books).toMatchObject({ grantedShared: 63 * 300, grantedDirect: 0 })
    checkStacks(books, () => {})
  })

  it('keeps what the stack holds, so that the latest comes first', () => {
    const cached = makeCache()
    const blocks = heldBlocks(cached, 4, 10)
    for (const block of blocks) cached.keep(block, 4)
    expect(blocks.map(() => cached.pop(4))).toEqual([...blocks].reverse())
    expect(isCacheEmpty(cached.books)).toBe(true)
    expect(cached.pop(4)).toBe(-1)
  })

  it('grants all stacks of short sizes together at most an eighth of what is in use', () => {
    const { books } = makeCache()
    for (let size = 101; size <= 120; size++) expect(grant(books, size, size, PLENTY)).toBe(true)
    expect(books.grantedDirect).toBe(2_210)
    expect(grant(books, 250, 250, 8 * 2_460 - 1)).toBe(false)
    expect(grant(books, 250, 250, 8 * 2_460)).toBe(true)
    expect(books.grantedDirect).toBe(2_460)
    checkStacks(books, () => {})
  })

  it('grants all shared stacks together at most a quarter of what is in use, whatever the others have', () => {
    const { books } = makeCache()
    for (let size = 101; size <= 120; size++) grant(books, size, size, PLENTY)
    const [first, second] = [300, 313].map(size => {
      claim(books, stackOf(size), size, 0)
      return stackOf(size)
    })
    expect(grant(books, first, 300, 4 * 300)).toBe(true)
    expect(grant(books, second, 313, 4 * 613 - 1)).toBe(false)
    expect(grant(books, second, 313, 4 * 613)).toBe(true)
    expect(books).toMatchObject({ grantedDirect: 2_210, grantedShared: 613 })
    checkStacks(books, () => {})
  })

  it('grants 512 granules of each kind even where nothing is in use', () => {
    const { books } = makeCache()
    expect(grant(books, 255, 255, 0)).toBe(true)
    expect(grant(books, 254, 254, 0)).toBe(true)
    expect(grant(books, 3, 3, 0)).toBe(true)
    expect(grant(books, 1, 1, 0)).toBe(false)
    expect(grant(books, stackOf(513), 513, 0)).toBe(false)
    claim(books, stackOf(512), 512, 0)
    expect(grant(books, stackOf(512), 512, 0)).toBe(true)
    expect(books).toMatchObject({ grantedDirect: 512, grantedShared: 512 })
    checkStacks(books, () => {})
  })
})

describe('claim', () => {
  it('makes a shared stack one for blocks of another size', () => {
    const cached = makeCache()
    const { books } = cached
    const [size, other] = rivals()
    const stack = stackOf(size)
    expect(isFor(books, stack, size)).toBe(false)
    expect(claim(books, stack, size, 0)).toBe(true)
    expect([isFor(books, stack, size), isFor(books, stack, other)]).toEqual([true, false])
    const [block] = heldBlocks(cached, size, 1)
    cached.keep(block, size)
    expect(claim(books, stack, other, 0)).toBe(false)
    expect(isFor(books, stack, size)).toBe(true)
    expect(cached.pop(size)).toBe(block)
    expect(claim(books, stack, other, 0)).toBe(true)
    // Room for one block, as before.
    expect([books.grantedShared, keptBlocks(books)]).toEqual([other, 0])
    expect([isFor(books, stack, size), isFor(books, stack, other)]).toEqual([false, true])
    checkStacks(books, () => {})
  })

  it('leaves a stack its room only where the budget allows for the new size', () => {
    const cached = makeCache()
    const { books } = cached
    const size = 300
    const stack = stackOf(size)
    let long = 1_000
    while (stackOf(long) !== stack) long++
    claim(books, stack, size, 0)
    const [block] = heldBlocks(cached, size, 1)
    cached.keep(block, size)
    cached.pop(size)
    expect(claim(books, stack, long, 4 * long)).toBe(true)
    expect(books.grantedShared).toBe(long)
    expect(claim(books, stack, size, 0)).toBe(true)
    expect(books.grantedShared).toBe(size)
    expect(claim(books, stack, long, 4 * long - 1)).toBe(true)
    expect(books.grantedShared).toBe(0)
    checkStacks(books, () => {})
  })

  it('uses the slots again that a stack gives up', () => {
    const cached = makeCache()
    const { books } = cached
    const sizes = rivals()
    const stack = stackOf(sizes[0])
    let metadataBytes = 0
    for (let n = 0; n < stepsOf(1_000); n++) {
      const size = sizes[n % 2]
      expect(claim(books, stack, size, 0)).toBe(true)
      for (let block = 0; block < 63; block++) expect(cached.keep(block, size)).toBe(true)
      expect(cached.keep(63, size)).toBe(false)
      for (let block = 62; block >= 0; block--) expect(cached.pop(size)).toBe(block)
      checkStacks(books, () => {})
      if (n === 0) metadataBytes = bookBytes(books)
    }
    expect(bookBytes(books)).toBe(metadataBytes)
  })
})

describe('flushStacks', () => {
  it('gives up each block with its end, and leaves the room', () => {
    const cached = makeCache()
    const { books } = cached
    claim(books, stackOf(300), 300, 0)
    const blocks = layOut(books, 0, [
      ['held', 4],
      ['held', 300],
      ['held', 4],
      ['held', 1],
    ])
    const sizes = [4, 300, 4, 1]
    blocks.forEach((block, at) => {
      cached.keep(block, sizes[at])
    })
    const { grantedDirect, grantedShared } = books
    books.cutBlocks = blocks.length
    useCounted(books, 0, 64, 0)
    flushStacks(books)
    // All of them, up to their ends, are one gap.
    expect([isGap(books, 0), endOf(books, 0), books.cutBlocks]).toEqual([true, 309, 0])
    expect([isCacheEmpty(books), keptBlocks(books), keptGranules(books)]).toEqual([true, 0, 0])
    expect(books).toMatchObject({ grantedDirect, grantedShared })
    checkStacks(books, () => expect.fail('nothing is kept'))
  })
})

describe('a stack', () => {
  it('keeps the first granule, and the last of 32 GiB', () => {
    const cached = makeCache()
    cached.keep(0, 1)
    cached.keep(2 ** 31 - 1, 1)
    expect(keptBlocks(cached.books)).toBe(2)
    expect([cached.pop(1), cached.pop(1)]).toEqual([2 ** 31 - 1, 0])
  })
})

describe('the words of the stacks', () => {
  it('are one array as long as the cache lives, counted as far as it was used', () => {
    const cached = makeCache()
    const { books, storage } = cached
    const metadataBytes = bookBytes(books)
    const { stacks } = books
    expect(metadataBytes).toBeLessThan(stacks.byteLength)
    for (let step = 0; step < 2; step++) {
      for (let size = 1; size < DIRECT; size++) expect(grant(books, size, size, PLENTY)).toBe(true)
    }
    // Rooms for one and for three, each between two marks.
    expect(bookBytes(books)).toBe(metadataBytes + (DIRECT - 1) * (3 + 5) * 4)
    expect(books.stacks).toBe(stacks)
    expect(storage.requests).toBe(0)
  })

  it('run out where many sizes come to their most in turns: then less is kept', () => {
    const cached = makeCache()
    const { books } = cached
    const sizes = Array.from({ length: DIRECT - 1 }, (_, n) => n + 1)
    const seen = new Set<number>()
    for (let size = DIRECT; seen.size < 256; size++) {
      const stack = stackOf(size)
      if (seen.has(stack)) continue
      seen.add(stack)
      sizes.push(size)
      claim(books, stack, size, PLENTY)
    }
    const asked = { granted: 0, refused: 0 }
    for (let turn = 0; turn < 6; turn++) {
      for (const size of sizes) {
        const stack = stackOf(size)
        if (!mayExtend(books, stack, size, PLENTY)) continue
        const before = [books.grantedDirect, books.grantedShared, books.stacks[stack]]
        if (extendStack(books, stack, size)) {
          asked.granted++
          // What was kept is taken: only room is wanted here.
          books.stacks[stack] -= 2 ** turn - 1
        } else {
          asked.refused++
          expect([books.grantedDirect, books.grantedShared, books.stacks[stack]]).toEqual(before)
        }
      }
    }
    expect(asked.granted).toBeGreaterThan(2 * sizes.length)
    expect(asked.refused).toBeGreaterThan(0)
    expect(bookBytes(books)).toBeLessThan(160 * 2 ** 10)
    checkStacks(books, () => {})
    takeBackRooms(books)
    checkStacks(books, () => {})
    for (const block of heldBlocks(cached, 4, 31)) expect(cached.keep(block, 4)).toBe(true)
  })

  it('are all to be had again when the rooms were taken back', () => {
    const cached = makeCache()
    const { books } = cached
    for (let size = 1; size < DIRECT; size++) grant(books, size, size, PLENTY)
    const metadataBytes = bookBytes(books)
    takeBackRooms(books)
    expect(books).toMatchObject({ grantedDirect: 0, grantedShared: 0 })
    expect([bookBytes(books), isCacheEmpty(books)]).toEqual([metadataBytes, true])
    checkStacks(books, () => {})
    const blocks = heldBlocks(cached, 4, 4)
    for (const block of blocks) expect(cached.keep(block, 4)).toBe(true)
    expect(cached.pop(4)).toBe(blocks[3])
    expect(bookBytes(books)).toBe(metadataBytes)
  })
})

describe('checkStacks', () => {
  /** Two blocks of 4 granules are kept. */
  function fixture() {
    const cached = makeCache()
    for (const block of heldBlocks(cached, 4, 2)) cached.keep(block, 4)
    const met: number[][] = []
    checkStacks(cached.books, (block, end) => met.push([block, end]))
    expect(met).toEqual([
      [0, 4],
      [4, 8],
    ])
    return { ...cached, stacks: cached.books.stacks, check: () => checkStacks(cached.books, () => {}) }
  }

  it('finds a top above the room, and one below its bottom (1)', () => {
    for (const by of [2, -3]) {
      const { stacks, check } = fixture()
      stacks[4] += by
      expect(check).toThrow('1: stack 4 stays within its room')
    }
  })

  it('finds a stack without room that has a top (1)', () => {
    const { stacks, check } = fixture()
    stacks[5] = stacks[4]
    expect(check).toThrow('1: stack 5 stays within its room')
  })

  it('finds a block at the bottom of a stack, and at its end (1)', () => {
    const low = fixture()
    low.stacks[low.stacks[4] - 2] = 1
    expect(low.check).toThrow('1: the bottom of stack 4')
    const high = fixture()
    high.stacks[high.stacks[4] + 2] = 1
    expect(high.check).toThrow('1: the end of stack 4')
  })

  it('finds an empty slot below the top (1)', () => {
    const { stacks, check } = fixture()
    stacks[stacks[4] - 1] = -1
    expect(check).toThrow('1: no empty slot in stack 4')
  })

  it('finds a wrong count of what was granted (2)', () => {
    const direct = fixture()
    direct.books.grantedDirect++
    expect(direct.check).toThrow('2: 13 granules granted, found 12')
    const shared = fixture()
    shared.books.grantedShared++
    expect(shared.check).toThrow('2: 1 granules granted to shared stacks, found 0')
  })

  it('finds a room behind the end of all, and an end that was never reached (4)', () => {
    const behind = fixture()
    behind.books.endSlot--
    expect(behind.check).toThrow(/^offheap: broken invariant: 4: the room of stack \d+ lies before the end$/)
    behind.books.endSlot += 2
    expect(behind.check).toThrow('4: slots that were never touched')
  })

  it('finds a kept block that is live (3)', () => {
    const { books, check } = fixture()
    markLive(books, 4)
    expect(check).toThrow('3: block 4 is held')
  })

  it('finds a kept block of another size (3)', () => {
    const { books, check } = fixture()
    unmark(books, 8)
    books.rows[0 * ROW_WORDS + END] = 9
    expect(check).toThrow('3: block 4 has 4 granules')
  })
})
