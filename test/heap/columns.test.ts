import { describe, expect, it } from 'vitest'
import { copyTo } from '../../src/heap/columns.js'

describe('grow', () => {
  it('keeps the contents and adds zeros', () => {
    expect([...copyTo(Int32Array.of(1, -2, 3), 5)]).toEqual([1, -2, 3, 0, 0])
  })

  it('leaves the old column as it was', () => {
    const column = Int32Array.of(1, 2)
    copyTo(column, 4).fill(9)
    expect([...column]).toEqual([1, 2])
  })

  it('throws a RangeError where there is no memory', () => {
    expect(() => copyTo(Int32Array.of(1), 2 ** 50)).toThrow(RangeError)
  })
})
