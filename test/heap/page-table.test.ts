import { describe, expect, it } from 'vitest'
import { plainStorage } from '../../src/heap/columns.js'
import { END, ROW_WORDS } from '../../src/heap/layout.js'
import { PageTable } from '../../src/heap/page-table.js'
import { CountedStorage } from './books.js'

const COLUMNS = [
  'bits',
  'occupied',
  'rows',
  'tops',
  'leaves',
  'branches',
  'roots',
  'dirty',
  'aged',
  'purged',
] as const

function twoRanges(): PageTable {
  const table = new PageTable(4096, plainStorage)
  table.addRange(10, 10)
  table.addRange(30, 10)
  table.checkRanges()
  return table
}

function contentsOf(table: PageTable): number[][] {
  return COLUMNS.map(name => [...table[name]])
}

describe('new PageTable', () => {
  it.each([4096, 8192, 16384, 32768, 65536])('finds the page of a block in pages of %i bytes', pageBytes => {
    const table = new PageTable(pageBytes, plainStorage)
    expect(table.pageGranules).toBe(pageBytes / 16)
    expect(1 << table.granuleShift).toBe(pageBytes / 16)
  })

  it.each([2048, 131072, 5000, 0, -4096, Number.NaN])('refuses pages of %d bytes', pageBytes => {
    expect(() => new PageTable(pageBytes, plainStorage)).toThrow('pages are 4 to 64 KiB')
  })

  it('costs nothing before the first range', () => {
    expect(new PageTable(4096, plainStorage).metadataBytes).toBe(0)
  })
})

describe('addRange', () => {
  it('keeps ranges in ascending order, whatever the order they come in', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(300, 10)
    table.addRange(0, 10)
    table.addRange(100, 10)
    expect(table.ranges).toEqual([
      { firstPage: 0, pageCount: 10 },
      { firstPage: 100, pageCount: 10 },
      { firstPage: 300, pageCount: 10 },
    ])
    expect(table.managedPages).toBe(30)
    table.checkRanges()
  })

  it('joins a range right behind another to it', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 10)
    table.addRange(50, 10)
    table.addRange(10, 5)
    expect(table.ranges).toEqual([
      { firstPage: 0, pageCount: 15 },
      { firstPage: 50, pageCount: 10 },
    ])
    expect(table.managedPages).toBe(25)
    table.checkRanges()
  })

  it.each([
    [10, 10],
    [5, 6],
    [19, 1],
    [0, 30],
    [12, 3],
  ])('refuses a range that overlaps another: page %i, %i pages', (first, count) => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(10, 10)
    expect(() => table.addRange(first, count)).toThrow('ranges are disjoint')
    expect(table.ranges).toEqual([{ firstPage: 10, pageCount: 10 }])
    expect(table.managedPages).toBe(10)
  })

  it('refuses a range right in front of another', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(10, 10)
    expect(() => table.addRange(5, 5)).toThrow('a range joins the one before it, never one behind it')
    expect(table.ranges).toEqual([{ firstPage: 10, pageCount: 10 }])
  })

  it('keeps what stands in the columns as they grow', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 64)
    for (const [at, name] of COLUMNS.entries()) table[name][table[name].length - 1] = at + 1
    expect(table.occupied.at(-1)).toBeGreaterThan(0)
    const before = contentsOf(table)
    table.addRange(64, 1000)
    expect(table.columnPages).toBe(1064)
    for (const [at, contents] of contentsOf(table).entries()) {
      expect(contents.length).toBeGreaterThanOrEqual(before[at].length)
      expect(contents.slice(0, before[at].length)).toEqual(before[at])
      expect(contents.slice(before[at].length).every(word => word === 0)).toBe(true)
    }
  })

  it.each([4096, 65536])(
    'has books for every granule of pages of %i bytes, and for the one behind',
    pageBytes => {
      const table = new PageTable(pageBytes, plainStorage)
      table.addRange(0, 100)
      const frames = (100 * pageBytes) / 4096
      expect(table.occupied.length).toBe(frames + 1)
      expect(table.tops.length).toBe(frames + 1)
      expect(table.rows.length).toBe((frames + 1) * ROW_WORDS)
      expect(table.bits.length).toBe(2 + (frames + 1) * 16)
      expect(table.dirty.length).toBe(4)
    },
  )

  it('grows no columns where they are long enough', () => {
    const storage = new CountedStorage()
    const table = new PageTable(4096, storage)
    table.addRange(0, 1)
    table.addRange(1, 63)
    expect(storage.requests).toBe(1)
    expect(table.columnPages).toBe(64)
  })

  it('grows by an eighth, and twofold once the columns are long', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 1600)
    table.addRange(1600, 1)
    expect(table.columnPages).toBe(1800)
    table.addRange(1601, 1_000)
    expect(table.columnPages).toBe(2601)
    table.addRange(2601, 1)
    expect(table.columnPages).toBe(5202)
  })

  it('grows no columns for pages behind 32 GiB', () => {
    class LongTable extends PageTable {
      override columnPages = 2 ** 22 + 10
      columnsFor(end: number): number {
        return this.pagesToReach(end)
      }
    }
    expect(new LongTable(4096, plainStorage).columnsFor(2 ** 22 + 11)).toBe(2 ** 23)
    expect(new LongTable(65536, plainStorage).columnsFor(2 ** 22 + 11)).toBe(2 ** 22 + 11)
  })

  it('counts short columns in full, as far as there were pages, and of long ones what was written to', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 300)
    const { metadataBytes } = table
    expect(metadataBytes / (300 * 4096)).toBeGreaterThan(0.02)
    table.addRange(300, 100_000)
    expect(table.metadataBytes).toBeLessThan(2 * metadataBytes)
    table.removeRange(0, 100_300)
    table.shrinkColumns()
    expect(table.metadataBytes).toBeLessThan(metadataBytes)
  })

  it('gives back the storage it grew out of', () => {
    const storage = new CountedStorage()
    const table = new PageTable(4096, storage)
    table.addRange(0, 64)
    table.addRange(64, 1)
    expect(storage.requests).toBe(2)
    expect(storage.buffers).toEqual(new Set(COLUMNS.map(name => table[name].buffer)))
  })

  it('changes nothing where there is no memory for them', () => {
    const storage = new CountedStorage()
    const table = new PageTable(4096, storage)
    table.addRange(0, 20)
    table.rows[END] = 42
    table.occupied[0] = 1
    const buffers = COLUMNS.map(name => table[name].buffer)
    storage.failAt = storage.requests
    expect(() => table.addRange(20, 990)).toThrow('no memory')
    expect(COLUMNS.map(name => table[name].buffer)).toEqual(buffers)
    expect(storage.buffers).toEqual(new Set(buffers))
    expect(table).toMatchObject({ managedPages: 20, columnPages: 20 })
    expect(table.ranges).toEqual([{ firstPage: 0, pageCount: 20 }])
    expect(table.rows[END]).toBe(42)
    storage.failAt = Number.POSITIVE_INFINITY
    table.addRange(20, 990)
    expect(table).toMatchObject({ managedPages: 1010, columnPages: 1010 })
    expect(table.rows[END]).toBe(42)
    table.checkRanges()
  })

  it('throws a RangeError where no array is that long', () => {
    const table = new PageTable(65536, plainStorage)
    table.addRange(0, 10)
    expect(() => table.addRange(10, 2 ** 40)).toThrow(RangeError)
    expect(table).toMatchObject({ managedPages: 10, columnPages: 10 })
  })
})

describe('removeRange', () => {
  it('forgets a range, so that it can be added again', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 10)
    table.addRange(20, 10)
    table.removeRange(0, 10)
    expect(table.ranges).toEqual([{ firstPage: 20, pageCount: 10 }])
    expect(table.managedPages).toBe(10)
    table.addRange(0, 5)
    expect(table.managedPages).toBe(15)
    table.checkRanges()
  })

  it.each([
    [0, 9],
    [1, 9],
    [5, 5],
    [30, 10],
  ])('refuses what was not added so: page %i, %i pages', (first, count) => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 10)
    expect(() => table.removeRange(first, count)).toThrow('a range is removed as it was added')
    expect(table.managedPages).toBe(10)
  })
})

describe('shrink', () => {
  function shrinkable(): { table: PageTable; storage: CountedStorage } {
    const storage = new CountedStorage()
    const table = new PageTable(4096, storage)
    table.addRange(0, 100)
    table.addRange(200, 800)
    table.rows[99 * ROW_WORDS + END] = 42
    table.occupied[99] = 1
    table.removeRange(200, 800)
    return { table, storage }
  }

  it('gives up columns of which less than half is used', () => {
    const { table, storage } = shrinkable()
    table.shrinkColumns()
    expect(table.columnPages).toBe(100)
    expect(table.rows[99 * ROW_WORDS + END]).toBe(42)
    expect(storage.buffers.size).toBe(1)
    table.addRange(100, 900)
    expect(table.managedPages).toBe(1000)
    table.checkRanges()
  })

  it('keeps columns of which more than half is used', () => {
    const { table } = shrinkable()
    table.addRange(500, 1)
    table.shrinkColumns()
    expect(table.columnPages).toBe(1000)
  })

  it('keeps columns that are long because they doubled', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 2_100)
    table.addRange(2_100, 100)
    table.removeRange(0, 2_200)
    table.addRange(0, 1_150)
    const { bits } = table
    expect(table.columnPages).toBe(4_200)
    table.shrinkColumns()
    expect(table.bits).toBe(bits)
    table.removeRange(0, 1_150)
    table.shrinkColumns()
    expect(table.columnPages).toBe(4)
  })

  it('keeps some columns where nothing is managed', () => {
    const { table } = shrinkable()
    table.removeRange(0, 100)
    table.shrinkColumns()
    expect(table.columnPages).toBe(4)
    table.checkRanges()
  })

  it('goes on with the long ones where there is no memory for short ones', () => {
    const { table, storage } = shrinkable()
    const buffers = COLUMNS.map(name => table[name].buffer)
    storage.failAt = storage.requests
    table.shrinkColumns()
    expect(table.columnPages).toBe(1000)
    expect(storage.buffers).toEqual(new Set(buffers))
    table.checkRanges()
  })
})

describe('check', () => {
  it('finds ranges out of order (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[]).reverse()
    expect(() => table.checkRanges()).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds an empty range (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[])[1] = { firstPage: 30, pageCount: 0 }
    expect(() => table.checkRanges()).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds a wrong count of managed pages (1)', () => {
    const table = twoRanges()
    table.managedPages++
    expect(() => table.checkRanges()).toThrow('1: ranges lie within the columns')
  })

  it('finds columns that end before a range does (1)', () => {
    const table = twoRanges()
    table.columnPages = 39
    expect(() => table.checkRanges()).toThrow('1: ranges lie within the columns')
  })

  it('finds a range behind what is counted as reached (1)', () => {
    const table = twoRanges()
    ;(table as unknown as { reachedPages: number }).reachedPages = 39
    expect(() => table.checkRanges()).toThrow('1: ranges lie within the columns')
  })
})
