/**
 * Bitmaps in `Int32Array`s: bit `i` is bit `i & 31` of word `i >>> 5`. Ranges are half-open and may be empty.
 */

/** The number of ones in a 32-bit word. */
export function popcount(word: number): number {
  let w = word - ((word >>> 1) & 0x55555555)
  w = (w & 0x33333333) + ((w >>> 2) & 0x33333333)
  return Math.imul((w + (w >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** The index of the lowest one in a word that is not zero. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word)
}

/** Words needed for that many bits. */
export function wordsFor(bitCount: number): number {
  return (bitCount + 31) >>> 5
}

/** The bits of word `w` that lie in [first, end); `w` must be a word that the range touches. */
function maskOf(w: number, first: number, end: number): number {
  let mask = -1
  if (w === first >>> 5) mask <<= first & 31
  if (w === (end - 1) >>> 5) mask &= -1 >>> (31 - ((end - 1) & 31))
  return mask
}

export function testBit(words: Int32Array, index: number): boolean {
  return ((words[index >>> 5] >>> (index & 31)) & 1) === 1
}

// The ranges of a few pages that allocators see nearly always lie within one word.

export function setRange(words: Int32Array, first: number, end: number): void {
  if (first >= end) return
  if (first >>> 5 === (end - 1) >>> 5) {
    words[first >>> 5] |= (-1 << first) & (-1 >>> -end)
    return
  }
  for (let w = first >>> 5; w <= (end - 1) >>> 5; w++) words[w] |= maskOf(w, first, end)
}

export function clearRange(words: Int32Array, first: number, end: number): void {
  if (first >= end) return
  if (first >>> 5 === (end - 1) >>> 5) {
    words[first >>> 5] &= ~((-1 << first) & (-1 >>> -end))
    return
  }
  for (let w = first >>> 5; w <= (end - 1) >>> 5; w++) words[w] &= ~maskOf(w, first, end)
}

export function countRange(words: Int32Array, first: number, end: number): number {
  if (first >= end) return 0
  if (first >>> 5 === (end - 1) >>> 5) return popcount(words[first >>> 5] & (-1 << first) & (-1 >>> -end))
  let count = 0
  for (let w = first >>> 5; w <= (end - 1) >>> 5; w++) count += popcount(words[w] & maskOf(w, first, end))
  return count
}

/** The lowest set bit in [first, end), or `end`. */
export function nextSet(words: Int32Array, first: number, end: number): number {
  for (let w = first >>> 5; w << 5 < end; w++) {
    const bits = w === first >>> 5 ? words[w] & (-1 << (first & 31)) : words[w]
    if (bits !== 0) return Math.min(end, (w << 5) + lowestBit(bits))
  }
  return end
}

/** The lowest clear bit in [first, end), or `end`. */
export function nextClear(words: Int32Array, first: number, end: number): number {
  for (let w = first >>> 5; w << 5 < end; w++) {
    const bits = w === first >>> 5 ? ~words[w] & (-1 << (first & 31)) : ~words[w]
    if (bits !== 0) return Math.min(end, (w << 5) + lowestBit(bits))
  }
  return end
}

/** The highest set bit in [0, index], or -1. */
export function previousSet(words: Int32Array, index: number): number {
  for (let w = index >>> 5; w >= 0; w--) {
    const bits = w === index >>> 5 ? words[w] & (-1 >>> (31 - (index & 31))) : words[w]
    if (bits !== 0) return (w << 5) + 31 - Math.clz32(bits)
  }
  return -1
}
