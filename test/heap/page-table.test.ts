import { describe, expect, it } from 'vitest'
import { plainStorage } from '../../src/heap/columns.js'
import {
  freeTag,
  isFreeTag,
  isUsedTag,
  LINK_SHIFT,
  lengthOf,
  PageTable,
  TAG_NONE,
  usedTag,
} from '../../src/heap/page-table.js'

describe('tags', () => {
  it.each([1, 2, 3, 255, 2 ** 23, 2 ** 30 - 1])('carry a length of %i pages', pageCount => {
    for (const tag of [freeTag(pageCount), usedTag(pageCount)]) {
      expect(tag).toBe(tag | 0)
      expect(lengthOf(tag)).toBe(pageCount)
    }
    expect([isFreeTag(freeTag(pageCount)), isUsedTag(freeTag(pageCount))]).toEqual([true, false])
    expect([isFreeTag(usedTag(pageCount)), isUsedTag(usedTag(pageCount))]).toEqual([false, true])
  })

  it('of slabs and of nothing are no runs', () => {
    for (const tag of [TAG_NONE, 1, 2, 2 ** 31 - 1])
      expect([isFreeTag(tag), isUsedTag(tag)]).toEqual([false, false])
  })
})

describe('PageTable', () => {
  it.each([4096, 8192, 16384, 32768, 65536])('finds the page of a block in pages of %i bytes', pageBytes => {
    expect(1 << new PageTable(pageBytes, plainStorage).granuleShift).toBe(pageBytes / 16)
  })

  it.each([2048, 131072, 5000, 0, Number.NaN])('refuses pages of %d bytes', pageBytes => {
    expect(() => new PageTable(pageBytes, plainStorage)).toThrow('pages are 4 to 64 KiB')
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
    table.check()
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
    table.check()
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

  it('keeps what stands in the columns as they grow', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 64)
    table.tags[63] = 42
    table.links[(63 << LINK_SHIFT) + 3] = 43
    table.dirty[1] = 7
    table.aged[1] = 5
    table.purged[0] = 9
    table.freeHeads[1] = 3
    table.addRange(64, 1000)
    expect(table.columnPages).toBe(1064)
    expect([table.tags[63], table.links[(63 << LINK_SHIFT) + 3]]).toEqual([42, 43])
    expect([table.dirty[1], table.aged[1], table.purged[0], table.freeHeads[1]]).toEqual([7, 5, 9, 3])
    expect(table.tags.length).toBe(1065)
  })

  it('hands over the storage it grew out of', () => {
    const disposed: ArrayBufferLike[] = []
    const table = new PageTable(4096, {
      allocate: plainStorage.allocate,
      dispose: storage => disposed.push(storage),
    })
    table.addRange(0, 64)
    disposed.length = 0
    const { tags, links, dirty, aged, purged, freeHeads } = table
    table.addRange(64, 1)
    expect(new Set(disposed)).toEqual(
      new Set([tags, links, dirty, aged, purged, freeHeads].map(column => column.buffer)),
    )
    table.removeRange(0, 65)
    table.addRange(0, 65)
    expect(disposed.length).toBe(6)
  })

  it('changes nothing where the columns cannot grow', () => {
    const table = new PageTable(65536, plainStorage)
    table.addRange(0, 10)
    const { tags } = table
    expect(() => table.addRange(10, 2 ** 40)).toThrow(RangeError)
    expect(table.tags).toBe(tags)
    expect(table).toMatchObject({ managedPages: 10, columnPages: 64 })
    expect(table.ranges).toEqual([{ firstPage: 0, pageCount: 10 }])
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
    table.check()
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

describe('metadataBytes', () => {
  it('is 20 bytes and four bits a page', () => {
    const table = new PageTable(4096, plainStorage)
    table.addRange(0, 1024)
    expect(table.metadataBytes).toBe(1025 * 4 + 1024 * 16 + (4 * 1024) / 8)
  })
})

describe('check', () => {
  function twoRanges(): PageTable {
    const table = new PageTable(4096, plainStorage)
    table.addRange(10, 10)
    table.addRange(30, 10)
    table.check()
    return table
  }

  it('finds ranges out of order (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[]).reverse()
    expect(() => table.check()).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds an empty range (1)', () => {
    const table = twoRanges()
    ;(table.ranges as unknown[])[1] = { firstPage: 30, pageCount: 0 }
    expect(() => table.check()).toThrow('1: ranges are ascending and disjoint')
  })

  it('finds a wrong count of managed pages (1)', () => {
    const table = twoRanges()
    table.managedPages++
    expect(() => table.check()).toThrow('1: ranges lie within the columns')
  })

  it('finds columns that end before a range does (1)', () => {
    const table = twoRanges()
    table.columnPages = 39
    expect(() => table.check()).toThrow('1: ranges lie within the columns')
  })

  it.each([0, 9, 20, 29])('finds a tag on page %i, between the ranges (2)', page => {
    const table = twoRanges()
    table.tags[page] = freeTag(1)
    expect(() => table.check()).toThrow('2: no tag between ranges')
  })

  it.each([40, 63, 64])('finds a tag on page %i, behind the ranges (2)', page => {
    const table = twoRanges()
    table.tags[page] = usedTag(1)
    expect(() => table.check()).toThrow('2: no tag behind the ranges')
  })
})
