import { describe, expect, it } from 'vitest'
import { setRange } from '../../src/base/bits.js'
import { NONE } from '../../src/base/units.js'
import {
  BIN,
  DIRTY,
  freeTag,
  LINK_SHIFT,
  NEXT,
  type PageTable,
  PREV,
  TAG_NONE,
  usedTag,
} from '../../src/heap/page-table.js'
import { type Books, makeBooks } from './books.js'

const PAGES = 1000

/** Index of a link of a free run. */
function link(page: number, field: number): number {
  return (page << LINK_SHIFT) + field
}

function dirtyCountOf(table: PageTable, run: number): number {
  return table.links[link(run, DIRTY)]
}

/** Takes pages and uses them. Unlike `BlockHeap` it leaves them without a tag, which `PageRuns` does not ask for. */
function takeUsed({ runs, states }: Books, pageCount: number): number {
  const first = runs.take(pageCount)
  if (first !== NONE) states.use(first, pageCount)
  return first
}

function giveDirty({ runs, states }: Books, first: number, pageCount: number): void {
  states.release(first, pageCount)
  runs.give(first, pageCount)
}

function givePurged(books: Books, first: number, pageCount: number): void {
  books.states.release(first, pageCount)
  books.states.markPurged(first, pageCount)
  books.runs.give(first, pageCount)
}

/** Blocks of the given lengths, one behind the other from page 0, with everything behind them taken too. */
function layOut(books: Books, lengths: number[]): number[] {
  const firsts = lengths.map(length => takeUsed(books, length))
  takeUsed(books, books.runs.freePages)
  return firsts
}

function expectWholeSpaceFree({ runs, table }: Books): void {
  runs.check()
  expect(runs.freePages).toBe(table.managedPages)
  expect(runs.freeRunAt(0)).toBe(table.managedPages)
  expect(runs.take(table.managedPages)).toBe(0)
}

describe('take', () => {
  it('takes runs of every length, each from the low end', () => {
    const books = makeBooks(PAGES)
    for (let length = 1, page = 0; page + length <= PAGES; length++) {
      expect(takeUsed(books, length)).toBe(page)
      page += length
      books.runs.check()
    }
  })

  it('takes the whole space, and nothing then', () => {
    const { runs } = makeBooks(PAGES)
    expect(runs.take(PAGES)).toBe(0)
    expect(runs.freePages).toBe(0)
    expect(runs.take(1)).toBe(NONE)
    runs.check()
  })

  it.each([PAGES + 1, 2 ** 20, 2 ** 30])('has no run of %i pages', pageCount => {
    const { runs } = makeBooks(PAGES)
    expect(runs.take(pageCount)).toBe(NONE)
    expect(runs.freePages).toBe(PAGES)
    runs.check()
  })

  it('takes the shortest run that is long enough', () => {
    const books = makeBooks(PAGES)
    const [, long, , short, , middle] = layOut(books, [1, 20, 1, 3, 1, 7, 1])
    for (const [first, length] of [
      [long, 20],
      [short, 3],
      [middle, 7],
    ])
      givePurged(books, first, length)
    expect(takeUsed(books, 4)).toBe(middle)
    expect(takeUsed(books, 3)).toBe(middle + 4)
    expect(takeUsed(books, 3)).toBe(short)
    expect(takeUsed(books, 3)).toBe(long)
    books.runs.check()
  })

  it('prefers dirty runs to mixed ones and mixed ones to clean ones', () => {
    const books = makeBooks(PAGES)
    const [, clean, , mixed, , dirty] = layOut(books, [1, 4, 1, 4, 1, 8, 1])
    givePurged(books, clean, 4)
    givePurged(books, mixed, 2)
    giveDirty(books, mixed + 2, 2)
    giveDirty(books, dirty, 8)
    books.runs.check()
    expect(takeUsed(books, 4)).toBe(dirty)
    expect(takeUsed(books, 4)).toBe(dirty + 4)
    expect(takeUsed(books, 4)).toBe(mixed)
    expect(takeUsed(books, 4)).toBe(clean)
    expect(takeUsed(books, 1)).toBe(NONE)
  })

  it('takes the warm end of a mixed run', () => {
    for (const isHighWarm of [false, true]) {
      const books = makeBooks(PAGES)
      const [, run] = layOut(books, [1, 10, 1])
      const warm = isHighWarm ? run + 7 : run
      const cold = isHighWarm ? run : run + 3
      giveDirty(books, warm, 3)
      givePurged(books, cold, 7)
      expect(books.runs.take(3)).toBe(warm)
      books.runs.check()
      expect(books.runs.freeRunAt(cold)).toBe(7)
    }
  })

  it('takes the low end of a run that is warm at both', () => {
    const books = makeBooks(PAGES)
    const [, run] = layOut(books, [1, 9, 1])
    giveDirty(books, run, 3)
    givePurged(books, run + 3, 3)
    giveDirty(books, run + 6, 3)
    expect(books.runs.take(3)).toBe(run)
    books.runs.check()
  })

  it('finds the one run that fits behind many that are a little too short', () => {
    // All lengths from 64 to 71 pages share a bin; only a few of it are tried before longer runs are.
    const books = makeBooks(10_000)
    const lengths = [71, 1, ...Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 65 : 1))]
    const firsts = layOut(books, lengths)
    lengths.forEach((length, i) => {
      if (length > 1) givePurged(books, firsts[i], length)
    })
    expect(takeUsed(books, 70)).toBe(firsts[0])
    expect(takeUsed(books, 70)).toBe(NONE)
    books.runs.check()
  })

  it('finds a run in every bin of every doubling', () => {
    for (let length = 1; length < 40_000; length = Math.ceil(length * 1.09)) {
      const books = makeBooks(length)
      expect(books.runs.take(length + 1)).toBe(NONE)
      expect(books.runs.take(length)).toBe(0)
      books.runs.check()
    }
  })
})

describe('give', () => {
  function threeRuns(): Books & { firsts: number[] } {
    const books = makeBooks(30)
    return { ...books, firsts: layOut(books, [10, 10, 10]) }
  }

  it('coalesces with the left neighbour', () => {
    const books = threeRuns()
    giveDirty(books, 0, 10)
    giveDirty(books, 10, 10)
    expect(books.runs.freeRunAt(0)).toBe(20)
    expect(books.runs.freeRunAt(10)).toBe(0)
    books.runs.check()
  })

  it('coalesces with the right neighbour', () => {
    const books = threeRuns()
    giveDirty(books, 10, 10)
    giveDirty(books, 0, 10)
    expect(books.runs.freeRunAt(0)).toBe(20)
    books.runs.check()
  })

  it('coalesces with both neighbours', () => {
    const books = threeRuns()
    giveDirty(books, 0, 10)
    giveDirty(books, 20, 10)
    books.runs.check()
    giveDirty(books, 10, 10)
    expectWholeSpaceFree(books)
  })

  it('coalesces dirty and clean neighbours, and knows how many are dirty', () => {
    const books = threeRuns()
    givePurged(books, 0, 10)
    giveDirty(books, 10, 10)
    books.runs.check()
    expect(dirtyCountOf(books.table, 0)).toBe(10)
    givePurged(books, 20, 10)
    expectWholeSpaceFree(books)
  })

  it('makes one run of single pages given in any order', () => {
    const books = makeBooks(64)
    for (let n = 0; n < 64; n++) takeUsed(books, 1)
    // 37 is coprime to 64, so every page comes once.
    for (let n = 0; n < 64; n++) {
      giveDirty(books, (n * 37) % 64, 1)
      books.runs.check()
    }
    expectWholeSpaceFree(books)
  })

  it('does not coalesce over pages that are not managed', () => {
    const books = makeBooks(10)
    books.table.addRange(11, 10)
    books.runs.give(11, 10)
    expect(books.runs.freeRunAt(0)).toBe(10)
    expect(books.runs.freeRunAt(11)).toBe(10)
    expect(books.runs.take(11)).toBe(NONE)
    books.runs.check()
  })
})

describe('takeAt', () => {
  it('takes the front of a run and leaves the rest', () => {
    const books = makeBooks(PAGES)
    books.runs.takeAt(0, 7)
    expect(books.runs.freeRunAt(0)).toBe(0)
    expect(books.runs.freeRunAt(7)).toBe(PAGES - 7)
    expect(books.runs.freePages).toBe(PAGES - 7)
    books.runs.check()
  })

  it('takes a whole run', () => {
    const books = makeBooks(PAGES)
    books.runs.takeAt(0, PAGES)
    expect(books.runs.freePages).toBe(0)
    books.runs.check()
  })

  it('leaves the rest with its own dirty count', () => {
    const books = makeBooks(PAGES)
    layOut(books, [10])
    giveDirty(books, 0, 4)
    givePurged(books, 4, 6)
    books.runs.takeAt(0, 3)
    expect(dirtyCountOf(books.table, 3)).toBe(1)
    books.runs.check()
  })
})

describe('headOf', () => {
  it('finds the first page of a run from every page of it', () => {
    const books = makeBooks(PAGES)
    layOut(books, [5, 100])
    giveDirty(books, 5, 100)
    for (let page = 5; page < 105; page++) expect(books.runs.headOf(page)).toBe(5)
  })
})

describe('refresh', () => {
  it('moves a run that was purged behind the ones that were not', () => {
    const books = makeBooks(PAGES)
    const [, first, , second] = layOut(books, [1, 5, 1, 5, 1])
    giveDirty(books, first, 5)
    giveDirty(books, second, 5)
    books.states.markPurged(second, 5)
    expect(() => books.runs.check()).toThrow('3: ')
    books.runs.refresh(second)
    books.runs.check()
    expect(books.runs.take(5)).toBe(first)
    expect(books.runs.take(5)).toBe(second)
  })
})

describe('check', () => {
  /** Free runs of 10, 20 and 10 pages, the first of them dirty: at pages 1, 12 and 33. */
  function fixture(): Books & { tags: Int32Array; links: Int32Array } {
    const books = makeBooks(PAGES)
    const [, a, , b, , c] = layOut(books, [1, 10, 1, 20, 1, 10, 1])
    expect([a, b, c]).toEqual([1, 12, 33])
    giveDirty(books, a, 10)
    givePurged(books, b, 20)
    givePurged(books, c, 10)
    books.runs.check()
    return { ...books, tags: books.table.tags, links: books.table.links }
  }

  it('finds two free runs that touch (1)', () => {
    const { runs, tags } = fixture()
    tags[11] = freeTag(1)
    expect(() => runs.check()).toThrow('1: run 1 touches no free run')
  })

  it('finds a last page without a tag (2)', () => {
    const { runs, tags } = fixture()
    tags[31] = TAG_NONE
    expect(() => runs.check()).toThrow('2: run 12 has one length at both ends')
  })

  it('finds two lengths for one run (2)', () => {
    const { runs, tags } = fixture()
    tags[31] = freeTag(19)
    expect(() => runs.check()).toThrow('2: run 12 has one length at both ends')
  })

  it('finds a tag inside a run (2)', () => {
    const { runs, tags } = fixture()
    tags[20] = usedTag(1)
    expect(() => runs.check()).toThrow('2: no tag inside run 12')
  })

  it('finds a listed run that is not free (3)', () => {
    const { runs, tags } = fixture()
    tags[12] = usedTag(20)
    expect(() => runs.check()).toThrow('3: run 12 is linked')
  })

  it('finds a link that does not go both ways (3)', () => {
    const { runs, links } = fixture()
    links[link(12, PREV)] = 33
    expect(() => runs.check()).toThrow('3: run 12 is linked')
  })

  it('finds a run in the wrong bin (3)', () => {
    const { runs, links } = fixture()
    links[link(12, BIN)] = links[link(33, BIN)]
    expect(() => runs.check()).toThrow('3: run 12 is in its bin')
  })

  it('finds a wrong dirty count (3)', () => {
    const { runs, links } = fixture()
    links[link(1, DIRTY)] = 9
    expect(() => runs.check()).toThrow('3: run 1 counts its dirty pages')
  })

  it('finds pages whose state changed behind its back (3)', () => {
    const { runs, table } = fixture()
    setRange(table.dirty, 15, 16)
    expect(() => runs.check()).toThrow('3: run 12 counts its dirty pages')
  })

  it('finds a wrong count of free pages (3)', () => {
    const { runs } = fixture()
    runs.freePages++
    expect(() => runs.check()).toThrow('3: 41 pages free, found 40')
  })

  it('finds a bin that is not empty although its bit says so (4)', () => {
    const { runs, links } = fixture()
    // Taken out of a bin that never held it, and followed there by another run.
    links[link(12, BIN)] = 3
    links[link(12, NEXT)] = 33
    runs.takeAt(12, 20)
    expect(() => runs.check()).toThrow('4: bit of bin 3')
  })

  it('finds a missing and a superfluous free head (5)', () => {
    for (const page of [12, 20]) {
      const { runs, table } = fixture()
      table.freeHeads[page >>> 5] ^= 1 << (page & 31)
      expect(() => runs.check()).toThrow('5: free heads are exact')
    }
  })
})
