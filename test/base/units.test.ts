import { describe, expect, it } from 'vitest'
import { GRANULE_BYTES, GRANULE_SHIFT, isPowerOfTwo, MAX_SPACE_BYTES, NONE } from '../../src/base/units.js'

describe('isPowerOfTwo', () => {
  it('is true for every power of two from 1 to 2^52', () => {
    for (let exponent = 0; exponent <= 52; exponent++) expect(isPowerOfTwo(2 ** exponent)).toBe(true)
  })

  it('is false right beside each of them', () => {
    for (let exponent = 2; exponent <= 52; exponent++) {
      expect(isPowerOfTwo(2 ** exponent - 1)).toBe(false)
      expect(isPowerOfTwo(2 ** exponent + 1)).toBe(false)
    }
    expect(isPowerOfTwo(2 ** 53 - 1)).toBe(false)
  })

  it.each([0, -1, -4, 0.5, 1.5, 3.999, Number.NaN, Infinity, -Infinity, Number.MIN_VALUE])(
    'is false for %s',
    n => {
      expect(isPowerOfTwo(n)).toBe(false)
    },
  )
})

describe('units', () => {
  it('lets 31-bit granule indices reach the whole space', () => {
    expect(2 ** GRANULE_SHIFT).toBe(GRANULE_BYTES)
    expect(2 ** 31 * GRANULE_BYTES).toBe(MAX_SPACE_BYTES)
    expect(NONE).toBe(-1)
  })
})
