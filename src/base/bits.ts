/**
 * Bitmaps in `Int32Array`s: bit `i` is bit `i & 31` of word `i >>> 5`. Ranges of bits are half-open and may
 * be empty.
 */

const { clz32, imul, min } = Math

/** The number of set bits in a 32-bit word. */
export function popcount(word: number): number {
  let w = word - ((word >>> 1) & 0x55555555)
  w = (w & 0x33333333) + ((w >>> 2) & 0x33333333)
  return imul((w + (w >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** The index of the lowest set bit in a word that is not zero. */
export function lowestBit(word: number): number {
  return 31 - clz32(word & -word)
}

/** The number of words that hold `bitCount` bits. */
export function wordsFor(bitCount: number): number {
  return (bitCount + 31) >>> 5
}

/** Whether a bit is set. */
export function testBit(words: Int32Array, index: number): boolean {
  return ((words[index >>> 5] >>> (index & 31)) & 1) === 1
}

/** Sets one bit. */
export function setBit(words: Int32Array, index: number): void {
  words[index >>> 5] |= 1 << (index & 31)
}

// Nearly all ranges are a few pages long and lie within one word, so that case comes first.

/** Sets the bits [first, end). */
export function setRange(words: Int32Array, first: number, end: number): void {
  if (first >= end) return
  const head = first >>> 5
  const tail = (end - 1) >>> 5
  if (head === tail) {
    words[head] |= (-1 << first) & (-1 >>> -end)
    return
  }
  words[head] |= -1 << first
  for (let w = head + 1; w < tail; w++) words[w] = -1
  words[tail] |= -1 >>> -end
}

/** Clears the bits [first, end). */
export function clearRange(words: Int32Array, first: number, end: number): void {
  if (first >= end) return
  const head = first >>> 5
  const tail = (end - 1) >>> 5
  if (head === tail) {
    words[head] &= ~((-1 << first) & (-1 >>> -end))
    return
  }
  words[head] &= ~(-1 << first)
  // Untouched memory stays untouched: writing zeros would make it resident.
  for (let w = head + 1; w < tail; w++) if (words[w] !== 0) words[w] = 0
  words[tail] &= ~(-1 >>> -end)
}

/** The number of set bits in [first, end). */
export function countRange(words: Int32Array, first: number, end: number): number {
  if (first >= end) return 0
  const head = first >>> 5
  const tail = (end - 1) >>> 5
  if (head === tail) return popcount(words[head] & (-1 << first) & (-1 >>> -end))
  let count = popcount(words[head] & (-1 << first)) + popcount(words[tail] & (-1 >>> -end))
  for (let w = head + 1; w < tail; w++) count += popcount(words[w])
  return count
}

/** The lowest set bit in [first, end), or `end`. */
export function nextSet(words: Int32Array, first: number, end: number): number {
  for (let w = first >>> 5; w << 5 < end; w++) {
    const bits = w === first >>> 5 ? words[w] & (-1 << (first & 31)) : words[w]
    if (bits !== 0) return min(end, (w << 5) + lowestBit(bits))
  }
  return end
}

/** The lowest clear bit in [first, end), or `end`. */
export function nextClear(words: Int32Array, first: number, end: number): number {
  for (let w = first >>> 5; w << 5 < end; w++) {
    const bits = w === first >>> 5 ? ~words[w] & (-1 << (first & 31)) : ~words[w]
    if (bits !== 0) return min(end, (w << 5) + lowestBit(bits))
  }
  return end
}

/** The highest set bit in [0, index], or -1. */
export function previousSet(words: Int32Array, index: number): number {
  for (let w = index >>> 5; w >= 0; w--) {
    const bits = w === index >>> 5 ? words[w] & (-1 >>> (31 - (index & 31))) : words[w]
    if (bits !== 0) return (w << 5) + 31 - clz32(bits)
  }
  return -1
}
