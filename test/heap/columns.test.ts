import { describe, expect, it } from 'vitest'
import { type ColumnStorage, copyTo, disposeOf, plainStorage } from '../../src/heap/columns.js'

describe('copyTo', () => {
  it('keeps the contents and adds zeros', () => {
    expect([...copyTo(Int32Array.of(1, -2, 3), 5, plainStorage)]).toEqual([1, -2, 3, 0, 0])
  })

  it('keeps what fits into a shorter column', () => {
    expect([...copyTo(Int32Array.of(1, -2, 3), 2, plainStorage)]).toEqual([1, -2])
  })

  it('leaves the old column as it was', () => {
    const column = Int32Array.of(1, 2)
    copyTo(column, 4, plainStorage).fill(9)
    expect([...column]).toEqual([1, 2])
  })

  it('throws a RangeError where there is no memory', () => {
    expect(() => copyTo(Int32Array.of(1), 2 ** 50, plainStorage)).toThrow(RangeError)
  })
})

describe('disposeOf', () => {
  it('hands a column back to where its memory came from, but not the empty one that nobody allocated', () => {
    const disposed: ArrayBuffer[] = []
    const storage: ColumnStorage = {
      allocate: plainStorage.allocate,
      dispose: buffer => disposed.push(buffer),
    }
    const column = copyTo(Int32Array.of(1), 2, storage)
    disposeOf(column, storage)
    disposeOf(new Int32Array(0), storage)
    expect(disposed).toEqual([column.buffer])
  })
})

describe('plainStorage', () => {
  it('never detaches a buffer, which would slow down all typed arrays of the process', () => {
    const buffer = plainStorage.allocate(2 ** 24)
    plainStorage.dispose(buffer)
    expect(buffer.byteLength).toBe(2 ** 24)
  })
})
