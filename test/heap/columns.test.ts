import { describe, expect, it } from 'vitest'
import { copyTouched, isZero, plainStorage, wordsOf } from '../../src/heap/columns.js'

describe('copyTouched', () => {
  it('copies what fits, and leaves the rest as it was', () => {
    const to = new Int32Array(5)
    copyTouched(Int32Array.of(1, -2, 3), to)
    expect([...to]).toEqual([1, -2, 3, 0, 0])
    const short = new Int32Array(2)
    copyTouched(Int32Array.of(1, -2, 3), short)
    expect([...short]).toEqual([1, -2])
  })

  it.each([Int32Array, Uint16Array, Uint8Array])(
    'copies every element of a long %o that is not zero',
    Kind => {
      for (const at of [0, 1, 4095, 4096, 9999]) {
        const from = new Kind(10_000)
        const to = new Kind(10_001)
        from[at] = 7
        copyTouched(from, to)
        expect([to.indexOf(7), to.lastIndexOf(7)]).toEqual([at, at])
      }
    },
  )

  it('writes no zeros: what was never touched stays so', () => {
    const to = new Int32Array(3000).fill(9)
    const from = new Int32Array(3000)
    from[2500] = 1
    copyTouched(from, to)
    expect(to.indexOf(0)).toBe(2048)
  })
})

describe('wordsOf', () => {
  it('reads a column by words, from where it begins', () => {
    const buffer = plainStorage.allocate(16)
    const column = new Uint8Array(buffer, 8, 5)
    column[0] = 1
    column[4] = 2
    expect([...wordsOf(column)]).toEqual([1, 2])
    expect([isZero(wordsOf(column), 0, 1), isZero(wordsOf(column), 2, 2)]).toEqual([false, true])
  })
})

describe('plainStorage', () => {
  it('never detaches a buffer, which would slow down all typed arrays of the process', () => {
    const buffer = plainStorage.allocate(2 ** 24)
    plainStorage.dispose(buffer)
    expect(buffer.byteLength).toBe(2 ** 24)
  })
})
