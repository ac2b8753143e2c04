import { describe, expect, it } from 'vitest'
import { plainStorage } from '../../src/heap/columns.js'
import { CLASS, NEXT, recordWords, SlabRecords } from '../../src/heap/slab-records.js'
import { exhaust, PAGE } from './books.js'

/** Records that count as slabs. */
function acquire(records: SlabRecords, count: number): number[] {
  return Array.from({ length: count }, () => {
    expect(records.reserve()).toBe(true)
    const record = records.acquire()
    records.columns[record + CLASS] = 1
    return record
  })
}

describe('recordWords', () => {
  it('is a cache line for pages of 4 KiB, and has a bit for each granule of a longer page', () => {
    expect(recordWords(4096) * 4).toBe(64)
    expect(recordWords(65536)).toBe(8 + 4096 / 32)
  })
})

describe('acquire', () => {
  it('gives records that do not overlap', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    const acquired = acquire(records, 100)
    expect(acquired).toEqual(acquired.map((_, i) => i * records.words))
    expect(records.columns.length).toBeGreaterThanOrEqual(100 * records.words)
    records.check(100)
  })

  it('reuses released records, the latest first', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    const acquired = acquire(records, 10)
    for (const i of [2, 7, 5]) records.release(acquired[i])
    records.check(7)
    expect(acquire(records, 3)).toEqual([5, 7, 2].map(i => acquired[i]))
    records.check(10)
  })
})

describe('reserve', () => {
  it('keeps what is written, and hands over the storage it grew out of', () => {
    const disposed: ArrayBufferLike[] = []
    const records = new SlabRecords(PAGE, {
      allocate: plainStorage.allocate,
      dispose: storage => disposed.push(storage),
    })
    acquire(records, 16)
    const { columns } = records
    columns[100] = 12345
    acquire(records, 1)
    expect(records.columns).not.toBe(columns)
    expect(records.columns[100]).toBe(12345)
    expect(disposed[disposed.length - 1]).toBe(columns.buffer)
  })

  it('grows by a share of what there is, so that copying stays cheap', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    let growths = 0
    for (let n = 0; n < 50_000; n++) {
      const { columns } = records
      records.reserve()
      if (records.columns !== columns) growths++
      records.acquire()
    }
    expect(growths).toBeLessThan(50)
    expect(records.metadataBytes).toBeLessThan(50_000 * 64 * 1.13)
  })

  it('says so where there is no memory, and changes nothing', () => {
    const records = new SlabRecords(PAGE, {
      allocate: plainStorage.allocate,
      dispose: () => expect.fail('nothing was replaced'),
    })
    const { columns } = records
    exhaust(records)
    expect(records.reserve()).toBe(false)
    expect(records.failure).toBeInstanceOf(RangeError)
    expect(records.columns).toBe(columns)
  })
})

describe('check', () => {
  it('finds a count of slabs that is not that of the records (1)', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    acquire(records, 3)
    expect(() => records.check(2)).toThrow('1: 2 slabs, 3 records')
  })

  it('finds a record both used and unused (1)', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    const [record] = acquire(records, 3)
    records.release(record)
    records.columns[record + CLASS] = 1
    expect(() => records.check(3)).toThrow(`1: unused record ${record} belongs to no slab`)
  })

  it('finds a record that is neither (1)', () => {
    const records = new SlabRecords(PAGE, plainStorage)
    const acquired = acquire(records, 3)
    records.release(acquired[0])
    records.release(acquired[1])
    records.check(1)
    records.columns[acquired[1] + NEXT] = -1
    expect(() => records.check(1)).toThrow('1: every record is used or listed as unused')
  })
})
