import { describe, expect, it } from 'vitest'
import { Books } from '../../src/heap/books.js'
import { checkRanges } from '../../src/heap/check.js'
import { plainStorage } from '../../src/heap/columns.js'
import { END, ROW_WORDS } from '../../src/heap/layout.js'
import {
  columnBytes,
  deleteRange,
  insertRange,
  pagesToReach,
  shrinkColumns,
} from '../../src/heap/page-table.js'
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

function twoRanges(): Books {
  const table = new Books(4096, plainStorage)
  insertRange(table, 10, 10)
  insertRange(table, 30, 10)
  checkRanges(table)
  return table
}

function contentsOf(table: Books): number[][] {
  return COLUMNS.map(name => [...table[name]])
}

describe('new Books', () => {
  it.each([4096, 8192, 16384, 32768, 65536])('finds the page of a block in pages of %i bytes', pageBytes => {
    const table = new Books(pageBytes, plainStorage)
    expect(table.pageGranules).toBe(pageBytes / 16)
    expect(1 << table.granuleShift).toBe(pageBytes / 16)
  })

  it.each([2048, 131072, 5000, 0, -4096, Number.NaN])('refuses pages of %d bytes', pageBytes => {
    expect(() => new Books(pageBytes, plainStorage)).toThrow('pages are 4 to 64 KiB')
  })

  it('costs nothing before the first range', () => {
    expect(columnBytes(new Books(4096, plainStorage))).toBe(0)
  })
})

describe('insertRange', () => {
  it('keeps ranges in ascending order, whatever the order they come in', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 300, 10)
    insertRange(table, 0, 10)
    insertRange(table, 100, 10)
    expect(table.ranges).toEqual([
      { firstPage: 0, pageCount: 10 },
      { firstPage: 100, pageCount: 10 },
      { firstPage: 300, pageCount: 10 },
    ])
    expect(table.managedPages).toBe(30)
    checkRanges(table)
  })

  it('joins a range right behind another to it', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 10)
    insertRange(table, 50, 10)
    insertRange(table, 10, 5)
    expect(table.ranges).toEqual([
      { firstPage: 0, pageCount: 15 },
      { firstPage: 50, pageCount: 10 },
    ])
    expect(table.managedPages).toBe(25)
    checkRanges(table)
  })

  it.each([
    [10, 10],
    [5, 6],
    [19, 1],
    [0, 30],
    [12, 3],
  ])('refuses a range that overlaps another: page %i, %i pages', (first, count) => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 10, 10)
    expect(() => insertRange(table, first, count)).toThrow('ranges are disjoint')
    expect(table.ranges).toEqual([{ firstPage: 10, pageCount: 10 }])
    expect(table.managedPages).toBe(10)
  })

  it('refuses a range right in front of another', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 10, 10)
    expect(() => insertRange(table, 5, 5)).toThrow('a range joins the one before it, never one behind it')
    expect(table.ranges).toEqual([{ firstPage: 10, pageCount: 10 }])
  })

  it('keeps what stands in the columns as they grow', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 64)
    for (const [at, name] of COLUMNS.entries()) table[name][table[name].length - 1] = at + 1
    expect(table.occupied.at(-1)).toBeGreaterThan(0)
    const before = contentsOf(table)
    insertRange(table, 64, 1000)
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
      const table = new Books(pageBytes, plainStorage)
      insertRange(table, 0, 100)
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
    const table = new Books(4096, storage)
    insertRange(table, 0, 1)
    insertRange(table, 1, 63)
    expect(storage.requests).toBe(1)
    expect(table.columnPages).toBe(64)
  })

  it('grows by an eighth, and twofold once the columns are long', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 1600)
    insertRange(table, 1600, 1)
    expect(table.columnPages).toBe(1800)
    insertRange(table, 1601, 1_000)
    expect(table.columnPages).toBe(2601)
    insertRange(table, 2601, 1)
    expect(table.columnPages).toBe(5202)
  })

  it('grows no columns for pages behind 32 GiB', () => {
    const wanted = [4096, 65536].map(pageBytes => {
      const table = new Books(pageBytes, plainStorage)
      table.columnPages = 2 ** 22 + 10
      return pagesToReach(table, 2 ** 22 + 11)
    })
    expect(wanted).toEqual([2 ** 23, 2 ** 22 + 11])
  })

  it('counts short columns in full, as far as there were pages, and of long ones what was written to', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 300)
    const metadataBytes = columnBytes(table)
    expect(metadataBytes / (300 * 4096)).toBeGreaterThan(0.02)
    insertRange(table, 300, 100_000)
    expect(columnBytes(table)).toBeLessThan(2 * metadataBytes)
    deleteRange(table, 0, 100_300)
    shrinkColumns(table)
    expect(columnBytes(table)).toBeLessThan(metadataBytes)
  })

  it('gives back the storage it grew out of', () => {
    const storage = new CountedStorage()
    const table = new Books(4096, storage)
    insertRange(table, 0, 64)
    insertRange(table, 64, 1)
    expect(storage.requests).toBe(2)
    expect(storage.buffers).toEqual(new Set(COLUMNS.map(name => table[name].buffer)))
  })

  it('changes nothing where there is no memory for them', () => {
    const storage = new CountedStorage()
    const table = new Books(4096, storage)
    insertRange(table, 0, 20)
    table.rows[END] = 42
    table.occupied[0] = 1
    const buffers = COLUMNS.map(name => table[name].buffer)
    storage.failAt = storage.requests
    expect(() => insertRange(table, 20, 990)).toThrow('no memory')
    expect(COLUMNS.map(name => table[name].buffer)).toEqual(buffers)
    expect(storage.buffers).toEqual(new Set(buffers))
    expect(table).toMatchObject({ managedPages: 20, columnPages: 20 })
    expect(table.ranges).toEqual([{ firstPage: 0, pageCount: 20 }])
    expect(table.rows[END]).toBe(42)
    storage.failAt = Number.POSITIVE_INFINITY
    insertRange(table, 20, 990)
    expect(table).toMatchObject({ managedPages: 1010, columnPages: 1010 })
    expect(table.rows[END]).toBe(42)
    checkRanges(table)
  })

  it('throws a RangeError where no array is that long', () => {
    const table = new Books(65536, plainStorage)
    insertRange(table, 0, 10)
    expect(() => insertRange(table, 10, 2 ** 40)).toThrow(RangeError)
    expect(table).toMatchObject({ managedPages: 10, columnPages: 10 })
  })
})

describe('deleteRange', () => {
  it('forgets a range, so that it can be added again', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 10)
    insertRange(table, 20, 10)
    deleteRange(table, 0, 10)
    expect(table.ranges).toEqual([{ firstPage: 20, pageCount: 10 }])
    expect(table.managedPages).toBe(10)
    insertRange(table, 0, 5)
    expect(table.managedPages).toBe(15)
    checkRanges(table)
  })

  it.each([
    [0, 9],
    [1, 9],
    [5, 5],
    [30, 10],
  ])('refuses what was not added so: page %i, %i pages', (first, count) => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 10)
    expect(() => deleteRange(table, first, count)).toThrow('a range is removed as it was added')
    expect(table.managedPages).toBe(10)
  })
})

describe('shrinkColumns', () => {
  function shrinkable(): { table: Books; storage: CountedStorage } {
    const storage = new CountedStorage()
    const table = new Books(4096, storage)
    insertRange(table, 0, 100)
    insertRange(table, 200, 800)
    table.rows[99 * ROW_WORDS + END] = 42
    table.occupied[99] = 1
    deleteRange(table, 200, 800)
    return { table, storage }
  }

  it('gives up columns of which less than half is used', () => {
    const { table, storage } = shrinkable()
    shrinkColumns(table)
    expect(table.columnPages).toBe(100)
    expect(table.rows[99 * ROW_WORDS + END]).toBe(42)
    expect(storage.buffers.size).toBe(1)
    insertRange(table, 100, 900)
    expect(table.managedPages).toBe(1000)
    checkRanges(table)
  })

  it('keeps columns of which more than half is used', () => {
    const { table } = shrinkable()
    insertRange(table, 500, 1)
    shrinkColumns(table)
    expect(table.columnPages).toBe(1000)
  })

  it('keeps columns that are long because they doubled', () => {
    const table = new Books(4096, plainStorage)
    insertRange(table, 0, 2_100)
    insertRange(table, 2_100, 100)
    deleteRange(table, 0, 2_200)
    insertRange(table, 0, 1_150)
    const { bits } = table
    expect(table.columnPages).toBe(4_200)
    shrinkColumns(table)
    expect(table.bits).toBe(bits)
    deleteRange(table, 0, 1_150)
    shrinkColumns(table)
    expect(table.columnPages).toBe(4)
  })

  it('keeps some columns where nothing is managed', () => {
    const { table } = shrinkable()
    deleteRange(table, 0, 100)
    shrinkColumns(table)
    expect(table.columnPages).toBe(4)
    checkRanges(table)
  })

  it('goes on with the long ones where there is no memory for short ones', () => {
    const { table, storage } = shrinkable()
    const buffers = COLUMNS.map(name => table[name].buffer)
    storage.failAt = storage.requests
    shrinkColumns(table)
    expect(table.columnPages).toBe(1000)
    expect(storage.buffers).toEqual(new Set(buffers))
    checkRanges(table)
  })
})

describe('checkRanges', () => {
  it('finds ranges out of order (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[]).reverse()
    expect(() => checkRanges(table)).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds an empty range (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[])[1] = { firstPage: 30, pageCount: 0 }
    expect(() => checkRanges(table)).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds a wrong count of managed pages (1)', () => {
    const table = twoRanges()
    table.managedPages++
    expect(() => checkRanges(table)).toThrow('1: ranges lie within the columns')
  })

  it('finds columns that end before a range does (1)', () => {
    const table = twoRanges()
    table.columnPages = 39
    expect(() => checkRanges(table)).toThrow('1: ranges lie within the columns')
  })

  it('finds a range behind what is counted as reached (1)', () => {
    const table = twoRanges()
    table.reachedPages = 39
    expect(() => checkRanges(table)).toThrow('1: ranges lie within the columns')
  })
})
