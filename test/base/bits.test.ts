import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  clearRange,
  countRange,
  lowestBit,
  nextClear,
  nextSet,
  popcount,
  previousSet,
  setRange,
  testBit,
  wordsFor,
} from '../../src/base/bits.js'

const BITS = 160

/** Bits as an array of booleans, and the same ones as words. */
const bitmap = fc.array(fc.boolean(), { minLength: BITS, maxLength: BITS }).map(bits => {
  const words = new Int32Array(wordsFor(BITS))
  bits.forEach((bit, i) => {
    if (bit) words[Math.floor(i / 32)] |= 1 << (i % 32)
  })
  return { bits, words }
})

const range = fc
  .tuple(fc.nat(BITS), fc.nat(BITS))
  .map(([a, b]) => ({ first: Math.min(a, b), end: Math.max(a, b) }))

/** Long stretches of equal bits, so that searches cross whole words. */
const sparse = fc.tuple(bitmap, range, fc.boolean()).map(([{ bits, words }, { first, end }, value]) => {
  const stretched = bits.map((bit, i) => (i >= first && i < end ? value : bit))
  words.fill(0)
  stretched.forEach((bit, i) => {
    if (bit) words[Math.floor(i / 32)] |= 1 << (i % 32)
  })
  return { bits: stretched, words }
})

function read(words: Int32Array): boolean[] {
  return Array.from({ length: BITS }, (_, i) => ((words[Math.floor(i / 32)] >> (i % 32)) & 1) === 1)
}

describe('popcount', () => {
  it('counts the ones of any word', () => {
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), word => {
        expect(popcount(word)).toBe([...(word >>> 0).toString(2)].filter(digit => digit === '1').length)
      }),
      { examples: [[0], [-1], [-(2 ** 31)], [2 ** 31 - 1]] },
    )
  })
})

describe('lowestBit', () => {
  it('finds each bit, whatever stands above it', () => {
    for (let i = 0; i < 32; i++) {
      expect(lowestBit(1 << i)).toBe(i)
      expect(lowestBit(-1 << i)).toBe(i)
    }
  })
})

describe('wordsFor', () => {
  it('rounds up to whole words', () => {
    expect([0, 1, 31, 32, 33, 64, 65].map(wordsFor)).toEqual([0, 1, 1, 1, 2, 2, 3])
  })
})

describe('setRange', () => {
  it('sets the bits of the range and no other', () => {
    fc.assert(
      fc.property(bitmap, range, ({ bits, words }, { first, end }) => {
        setRange(words, first, end)
        expect(read(words)).toEqual(bits.map((bit, i) => bit || (i >= first && i < end)))
      }),
    )
  })
})

describe('clearRange', () => {
  it('clears the bits of the range and no other', () => {
    fc.assert(
      fc.property(bitmap, range, ({ bits, words }, { first, end }) => {
        clearRange(words, first, end)
        expect(read(words)).toEqual(bits.map((bit, i) => bit && !(i >= first && i < end)))
      }),
    )
  })
})

describe('countRange', () => {
  it('counts the ones of the range', () => {
    fc.assert(
      fc.property(bitmap, range, ({ bits, words }, { first, end }) => {
        expect(countRange(words, first, end)).toBe(bits.slice(first, end).filter(Boolean).length)
      }),
    )
  })

  it('counts every range that begins or ends at a word border', () => {
    const words = new Int32Array(wordsFor(BITS)).fill(-1)
    for (const first of [0, 1, 31, 32, 33, 63, 64]) {
      for (const end of [64, 65, 95, 96, 97, BITS]) expect(countRange(words, first, end)).toBe(end - first)
    }
  })
})

describe('testBit', () => {
  it('reads each bit', () => {
    fc.assert(
      fc.property(bitmap, ({ bits, words }) => {
        expect(bits.map((_, i) => testBit(words, i))).toEqual(bits)
      }),
    )
  })
})

describe('nextSet', () => {
  it('finds the first one of the range, or its end', () => {
    fc.assert(
      fc.property(sparse, range, ({ bits, words }, { first, end }) => {
        const found = bits.slice(first, end).indexOf(true)
        expect(nextSet(words, first, end)).toBe(found < 0 ? end : first + found)
      }),
    )
  })
})

describe('nextClear', () => {
  it('finds the first zero of the range, or its end', () => {
    fc.assert(
      fc.property(sparse, range, ({ bits, words }, { first, end }) => {
        const found = bits.slice(first, end).indexOf(false)
        expect(nextClear(words, first, end)).toBe(found < 0 ? end : first + found)
      }),
    )
  })
})

describe('previousSet', () => {
  it('finds the last one at or below an index, or -1', () => {
    fc.assert(
      fc.property(sparse, fc.nat(BITS - 1), ({ bits, words }, index) => {
        expect(previousSet(words, index)).toBe(bits.slice(0, index + 1).lastIndexOf(true))
      }),
    )
  })
})
