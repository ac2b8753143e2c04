import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { isFreeTag, type PageTable } from '../../src/heap/page-table.js'
import {
  CLASS_SHIFT,
  GRANULES,
  LIVE_COUNTS,
  PAGES,
  type SizeClasses,
  SLOTS,
} from '../../src/heap/size-class.js'
import {
  BITMAP,
  BUCKET,
  CLASS,
  FIRST_GRANULE,
  FREE_SLOTS,
  HINT,
  NEXT,
  PREV,
  type SlabRecords,
} from '../../src/heap/slab-records.js'
import { type Books, catchRecords, classOf, makeBooks, PAGE } from './books.js'

const PAGE_GRANULES = PAGE / 16

function slotsOf(classes: SizeClasses, sizeClass: number): number {
  return classes.columns[(sizeClass << CLASS_SHIFT) + SLOTS]
}

function pagesOf(classes: SizeClasses, sizeClass: number): number {
  return classes.columns[(sizeClass << CLASS_SHIFT) + PAGES]
}

function granulesOf(classes: SizeClasses, sizeClass: number): number {
  return classes.columns[(sizeClass << CLASS_SHIFT) + GRANULES]
}

/** The slab that the page of a granule belongs to. */
function slabAt({ table }: { table: PageTable }, granule: number): number {
  return table.tags[granule >>> table.granuleShift] - 1
}

function freeSlot(books: Books, block: number): boolean {
  return books.slabs.free(block, slabAt(books, block))
}

/** A whole slab's worth of blocks. */
function fillSlab({ slabs, classes }: Books, sizeClass: number): number[] {
  return Array.from({ length: slotsOf(classes, sizeClass) }, () => slabs.allocate(sizeClass))
}

function pageOf(block: number): number {
  return Math.floor(block / PAGE_GRANULES)
}

/** The first class whose slabs have that many pages or more, and a slot that crosses a page border. */
function longClass(classes: SizeClasses, pageCount: number): number {
  for (let c = 1; c <= classes.count; c++) {
    if (pagesOf(classes, c) >= pageCount && PAGE_GRANULES % granulesOf(classes, c) !== 0) return c
  }
  throw new Error(`no class with slabs of ${pageCount} pages`)
}

describe('allocate', () => {
  it('serves the lowest free slot first', () => {
    const books = makeBooks(100)
    const { slabs, classes } = books
    const c = classOf(classes, 100)
    const blocks = fillSlab(books, c).slice(0, -1)
    expect(blocks).toEqual(blocks.map((_, i) => i * granulesOf(classes, c)))
    for (const i of [7, 3, 20]) freeSlot(books, blocks[i])
    // The slab is full and no current one any more, but the only one with free slots.
    expect([0, 0, 0].map(() => slabs.allocate(c))).toEqual([3, 7, 20].map(i => blocks[i]))
  })

  it('serves every slot of every class once before another slab', () => {
    for (const pageBytes of [4096, 65536]) {
      const books = makeBooks(64, pageBytes)
      const { slabs, classes, runs } = books
      for (let c = 1; c <= classes.count; c++) {
        const granules = granulesOf(classes, c)
        const blocks = fillSlab(books, c)
        expect(blocks).toEqual(blocks.map((_, i) => blocks[0] + i * granules))
        expect(runs.freePages).toBe(64 - pagesOf(classes, c))
        expect(slabs.checkSlab((blocks[0] * 16) / pageBytes)).toBe(pagesOf(classes, c))
        for (const block of blocks) expect(freeSlot(books, block)).toBe(true)
        expect(runs.freePages).toBe(64)
      }
    }
  })

  it('serves the fullest slab next', () => {
    const books = makeBooks(100)
    const { slabs, classes } = books
    const c = classOf(classes, 128)
    const first = fillSlab(books, c)
    const second = fillSlab(books, c)
    const third = fillSlab(books, c)
    for (const block of first.slice(0, 20)) freeSlot(books, block)
    for (const block of second.slice(0, 3)) freeSlot(books, block)
    for (const block of third.slice(0, 10)) freeSlot(books, block)
    expect(slabs.allocate(c)).toBe(second[0])
    expect(slabs.allocate(c)).toBe(second[1])
    expect(slabs.allocate(c)).toBe(second[2])
    expect(slabs.allocate(c)).toBe(third[0])
    slabs.checkLists(2, 3)
  })

  it('says so where there is no run for a slab', () => {
    const books = makeBooks(1)
    const { slabs, classes } = books
    const c = classes.count
    expect(slabs.allocate(c)).toBe(NONE)
    expect(slabs.hasRoom(c)).toBe(false)
    expect(slabs.liveSlots).toBe(0)
  })

  it('says so where the page limit refuses', () => {
    const books = makeBooks(10)
    const { slabs, classes, states } = books
    const c = classOf(classes, 64)
    states.limitPages = 0
    expect(slabs.allocate(c)).toBe(NONE)
    expect(slabs.hasRoom(c)).toBe(true)
    expect(states.usedPages).toBe(0)
    expect(slabs.liveSlots).toBe(0)
    states.limitPages = 1
    expect(slabs.allocate(c)).toBe(0)
  })

  it('counts nothing where the limit allows a part of the pages that a slot touches', () => {
    const books = makeBooks(20)
    const { slabs, classes, states } = books
    const c = classes.count // one slot of 16 KiB
    states.limitPages = 3
    expect(slabs.allocate(c)).toBe(NONE)
    expect(states.committedPages).toBe(0)
    for (let page = 0; page < 4; page++) expect(slabs.isPageLive(page)).toBe(false)
    slabs.checkSlab(0)
    states.limitPages = 4
    expect(slabs.allocate(c)).toBe(0)
  })

  it('takes dirty pages at the limit', () => {
    const books = makeBooks(20)
    const { slabs, classes, states } = books
    const c = classes.count
    states.limitPages = 4
    const block = slabs.allocate(c)
    freeSlot(books, block)
    expect(states.dirtyPages).toBe(4)
    expect(slabs.allocate(c)).toBe(block)
  })
})

describe('free', () => {
  it('frees each slot once', () => {
    const books = makeBooks(10)
    const { slabs, classes } = books
    const c = classOf(classes, 48)
    const [block, other] = [slabs.allocate(c), slabs.allocate(c)]
    expect(freeSlot(books, block)).toBe(true)
    expect(freeSlot(books, block)).toBe(false)
    expect(slabs.liveSlots).toBe(1)
    expect(slabs.isLive(other, slabAt(books, other))).toBe(true)
  })

  it('knows every granule where no slot starts, in every class', () => {
    const books = makeBooks(16)
    const { slabs, classes } = books
    for (let c = 1; c <= classes.count; c++) {
      const blocks = new Set(fillSlab(books, c))
      const first = Math.min(...blocks)
      const slab = slabAt(books, first)
      for (let granule = first; granule < first + pagesOf(classes, c) * PAGE_GRANULES; granule++) {
        if (slabs.isLive(granule, slab) !== blocks.has(granule))
          expect.fail(`granule ${granule} of class ${c}`)
        if (!blocks.has(granule) && slabs.free(granule, slab)) expect.fail(`freed ${granule} of class ${c}`)
      }
      for (const block of blocks) freeSlot(books, block)
    }
  })

  it('releases a page when the last slot that touches it goes', () => {
    const books = makeBooks(20)
    const { slabs, classes, states } = books
    const c = longClass(classes, 3)
    const blocks = fillSlab(books, c)
    const granules = granulesOf(classes, c)
    const touches = (block: number, page: number) =>
      pageOf(block) <= page && page <= pageOf(block + granules - 1)
    const page = 1
    const onPage = blocks.filter(block => touches(block, page))
    expect(onPage.some(block => pageOf(block) < page)).toBe(true)
    const last = onPage.pop() as number
    for (const block of onPage) freeSlot(books, block)
    expect(states.anyDirty(page, 1)).toBe(false)
    freeSlot(books, last)
    expect(states.anyDirty(page, 1)).toBe(true)
    expect(slabs.liveSlots).toBeGreaterThan(0)
    slabs.checkSlab(0)
  })

  it('keeps a page used while a slot that starts on another page reaches into it', () => {
    const books = makeBooks(20)
    const { slabs, classes, states } = books
    const c = longClass(classes, 3)
    const blocks = fillSlab(books, c)
    const crossing = blocks.find(
      block => pageOf(block + granulesOf(classes, c) - 1) > pageOf(block),
    ) as number
    for (const block of blocks) if (block !== crossing) freeSlot(books, block)
    expect(states.usedPages).toBe(2)
    expect(states.dirtyPages).toBe(pagesOf(classes, c) - 2)
    slabs.checkSlab(0)
    freeSlot(books, crossing)
    expect(states.usedPages).toBe(0)
  })

  it('gives an emptied slab’s pages back at once', () => {
    const books = makeBooks(10)
    const { slabs, classes, runs, table } = books
    const c = classOf(classes, 64)
    for (const block of fillSlab(books, c)) freeSlot(books, block)
    expect(runs.freeRunAt(0)).toBe(10)
    slabs.checkLists(0, 0)
    expect(isFreeTag(table.tags[0])).toBe(true)
    runs.check()
  })

  it('keeps an emptied current slab until a run is wanted', () => {
    const books = makeBooks(10)
    const { slabs, classes, runs, states } = books
    const c = classOf(classes, 64)
    const block = slabs.allocate(c)
    freeSlot(books, block)
    expect(states).toMatchObject({ usedPages: 0, dirtyPages: 1 })
    expect(runs.freePages).toBe(9)
    expect(slabs.allocate(c)).toBe(block)
    freeSlot(books, block)
    expect(slabs.releaseCurrents()).toBe(true)
    expect(runs.freeRunAt(0)).toBe(10)
    expect(slabs.releaseCurrents()).toBe(false)
  })
})

describe('releaseCurrents', () => {
  it('keeps slabs that have a live slot', () => {
    const books = makeBooks(100)
    const { slabs, classes, runs } = books
    const [a, b] = [classOf(classes, 64), classOf(classes, 640)]
    slabs.allocate(a)
    freeSlot(books, slabs.allocate(b))
    expect(slabs.releaseCurrents()).toBe(true)
    expect(runs.freePages).toBe(100 - pagesOf(classes, a))
    expect(slabs.hasRoom(a)).toBe(true)
    expect(slabs.hasRoom(b)).toBe(false)
  })
})

describe('listLive', () => {
  it('writes the live slots of a slab, ascending', () => {
    const books = makeBooks(100)
    const { slabs, classes } = books
    const c = classOf(classes, 64)
    const blocks = fillSlab(books, c)
    for (const block of blocks.slice(5, 40)) freeSlot(books, block)
    const listed = new Int32Array(100)
    const count = slabs.listLive(slabAt(books, 0), listed)
    expect([...listed.subarray(0, count)]).toEqual([...blocks.slice(0, 5), ...blocks.slice(40)])
  })
})

describe('isPageLive', () => {
  it('is true where a live slot touches a page', () => {
    const books = makeBooks(20)
    const { slabs, classes } = books
    const c = longClass(classes, 3)
    const blocks = fillSlab(books, c)
    const pages = Array.from({ length: pagesOf(classes, c) }, (_, page) => page)
    expect(pages.map(page => slabs.isPageLive(page))).toEqual(pages.map(() => true))
    for (const block of blocks.slice(0, -1)) freeSlot(books, block)
    const last = pageOf(blocks[blocks.length - 1])
    expect(pages.map(page => slabs.isPageLive(page))).toEqual(pages.map(page => page >= last))
  })
})

/** A slab of several pages at page 0 that waits in a bucket, and a current one behind it. */
function twoSlabs() {
  const books = makeBooks(100)
  const { slabs, classes } = books
  const c = longClass(classes, 3)
  let blocks: number[] = []
  const records = catchRecords(() => {
    blocks = [...fillSlab(books, c), ...fillSlab(books, c)]
  })
  const slots = slotsOf(classes, c)
  const firstPage = pagesOf(classes, c)
  for (const block of blocks.slice(4, 7)) freeSlot(books, block)
  for (const block of blocks.slice(slots + 4, slots + 6)) freeSlot(books, block)
  slabs.allocate(c) // of the fuller slab, the second
  slabs.checkSlab(0)
  slabs.checkSlab(firstPage)
  const [first, second] = [slabAt(books, 0), slabAt(books, blocks[slots])]
  expect(slabs.isListed(first) && slabs.isListed(second)).toBe(true)
  return { ...books, c, records: records.columns, first, second, firstPage }
}

describe('checkSlab', () => {
  it('finds a page with another tag (1)', () => {
    const { slabs, table, first, second } = twoSlabs()
    table.tags[1] = second + 1
    expect(() => slabs.checkSlab(0)).toThrow(`1: page 1 carries the tag of slab ${first}`)
  })

  it('finds a record that starts elsewhere (1)', () => {
    const { slabs, records, first } = twoSlabs()
    records[first + FIRST_GRANULE] += PAGE_GRANULES
    expect(() => slabs.checkSlab(0)).toThrow(`1: slab ${first} starts at page 0`)
  })

  it('finds a wrong count of free slots (2)', () => {
    const { slabs, records, first } = twoSlabs()
    records[first + FREE_SLOTS]++
    expect(() => slabs.checkSlab(0)).toThrow(`2: slab ${first} counts its free slots`)
  })

  it('finds ones behind the last slot (2)', () => {
    const { slabs, classes, c, records, first } = twoSlabs()
    const slots = slotsOf(classes, c)
    expect(slots % 32).not.toBe(0)
    records[first + BITMAP + (slots >>> 5)] |= 1 << (slots & 31)
    expect(() => slabs.checkSlab(0)).toThrow(`2: slab ${first} counts its free slots`)
  })

  it('finds a free slot before the hint (2)', () => {
    const { slabs, records, first } = twoSlabs()
    records[first + HINT] = 1
    expect(() => slabs.checkSlab(0)).toThrow(`2: slab ${first} has no free slot before its hint`)
  })

  it('finds a wrong live count (3)', () => {
    const { slabs, classes, c, records, first } = twoSlabs()
    const counts = classes.columns[(c << CLASS_SHIFT) + LIVE_COUNTS]
    records[first + counts + 2]--
    expect(() => slabs.checkSlab(0)).toThrow('3: page 2 counts its live slots')
  })

  it('finds a listed slab in the wrong bucket', () => {
    const { slabs, records, first } = twoSlabs()
    records[first + BUCKET] = 0
    expect(() => slabs.checkSlab(0)).toThrow(`1: slab ${first} is in its bucket`)
  })

  it('finds a current slab with a bucket', () => {
    const { slabs, records, second, firstPage } = twoSlabs()
    records[second + BUCKET] = 0
    expect(() => slabs.checkSlab(firstPage)).toThrow(
      `1: current slab ${second} has a free slot and no bucket`,
    )
  })

  it('finds a full slab with a bucket', () => {
    const { slabs, c, records, second, firstPage } = twoSlabs()
    slabs.allocate(c)
    slabs.checkSlab(firstPage)
    records[second + BUCKET] = 0
    expect(() => slabs.checkSlab(firstPage)).toThrow(`1: full slab ${second} is in no bucket`)
  })
})

describe('checkLists', () => {
  /** Two slabs of 64-byte slots in one bucket, with three slots free each. The later one stands first. */
  function fixture() {
    const books = makeBooks(100)
    const c = classOf(books.classes, 64)
    let both: number[][] = []
    const records = catchRecords(() => {
      both = [fillSlab(books, c), fillSlab(books, c)]
    })
    for (const blocks of both) for (const block of blocks.slice(0, 3)) freeSlot(books, block)
    books.slabs.checkLists(2, 2)
    const [first, second] = both.map(blocks => slabAt(books, blocks[0]))
    return { ...books, books, c, both, records: records.columns, first, second }
  }

  it('finds a current slab of another class', () => {
    const { slabs, classes } = makeBooks(100)
    const c = classOf(classes, 64)
    const records: SlabRecords = catchRecords(() => slabs.allocate(c))
    slabs.checkLists(1, 1)
    records.columns[CLASS] = c + 1
    expect(() => slabs.checkLists(1, 1)).toThrow(`1: the current slab of class ${c} is of that class`)
  })

  it('finds a slab of another class in a bucket', () => {
    const { slabs, records, first, c } = fixture()
    records[first + CLASS] = c + 1
    expect(() => slabs.checkLists(2, 2)).toThrow(`1: slab ${first} is listed rightly`)
  })

  it('finds a slab that says it is in another bucket', () => {
    const { slabs, records, first } = fixture()
    records[first + BUCKET] = 2
    expect(() => slabs.checkLists(2, 2)).toThrow(`1: slab ${first} is listed rightly`)
  })

  it('finds a link that does not go both ways', () => {
    const { slabs, records, first } = fixture()
    records[first + PREV] = NONE
    expect(() => slabs.checkLists(2, 2)).toThrow(`1: slab ${first} is listed rightly`)
  })

  it('finds slabs listed too few and too many', () => {
    const { slabs, records, second } = fixture()
    expect(() => slabs.checkLists(1, 2)).toThrow('1: 1 slabs to be listed, found 2')
    records[second + NEXT] = NONE
    expect(() => slabs.checkLists(2, 2)).toThrow('1: 2 slabs to be listed, found 1')
  })

  it('finds a bucket that is not empty although its bit says so', () => {
    const { books, slabs, records, first, second, both } = fixture()
    // The second slab leaves a bucket that never held it, and the first one follows it there.
    records[second + BUCKET] = 0
    records[second + NEXT] = first
    freeSlot(books, both[1][3])
    expect(() => slabs.checkLists(2, 2)).toThrow('2: bit of bucket 0')
  })

  it('finds records that are not the slabs’', () => {
    const { slabs } = fixture()
    expect(() => slabs.checkLists(2, 3)).toThrow('1: 3 slabs, 2 records')
  })
})

describe('isListed', () => {
  it('is true for current slabs and those in a bucket', () => {
    const books = makeBooks(100)
    const { slabs, classes } = books
    const c = classOf(classes, 64)
    const blocks = fillSlab(books, c)
    const slab = slabAt(books, blocks[0])
    expect(slabs.isListed(slab)).toBe(false)
    freeSlot(books, blocks[0])
    expect(slabs.isListed(slab)).toBe(true)
    slabs.allocate(c)
    expect(slabs.isListed(slab)).toBe(false)
    expect(slabs.isListed(slabAt(books, slabs.allocate(c)))).toBe(true)
  })
})
