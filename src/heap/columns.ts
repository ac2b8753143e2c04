/** Columns: typed arrays that grow and shrink. */
import { bufferOf, byteLengthOfView, byteOffsetOf, copyElements, lengthOf } from '../base/primordials.js'

const { ceil, min } = Math
// Taken once, so that whoever replaces it in the process does not run within a change.
const Words = Int32Array
const HalfWords = Uint16Array
const Bytes = Uint8Array

/** Where the memory of columns comes from. */
export interface ColumnStorage {
  /** That many zeroed bytes. Throws where there is no memory. */
  allocate(lengthBytes: number): ArrayBuffer
  /** Called with a buffer that `allocate` returned and that was replaced: nothing refers to it any more. */
  dispose(storage: ArrayBuffer): void
  /**
   * These bytes of a buffer are not needed for now, whatever they hold: they may read as zero afterwards, or be as they
   * were. Where it is absent they stay as they are.
   */
  purge?(storage: ArrayBuffer, offsetBytes: number, lengthBytes: number): void
  /**
   * Memory for what a heap has of fixed length, and for its first columns. Where it is absent, or has none, the heap allocates
   * its own.
   */
  takeRegion?(): Region | null
  /** Called with a region that `takeRegion` returned, zeroed: nothing refers to it any more. */
  giveRegion?(region: Region): void
  /** The unit in which its memory comes and goes. 4 KiB where it is absent. */
  readonly pageBytes?: number
}

/** `REGION_BYTES` that are zero. */
export interface Region {
  readonly buffer: ArrayBuffer
  readonly offsetBytes: number
}

export type Column = Int32Array | Uint16Array | Uint8Array

/**
 * The runtime's own buffers. The garbage collector frees them: once any buffer was detached, by `transfer` too, V8 asks at each
 * access to any typed array of the process whether this one is. A heap takes 6 to 32 % more time then, on Node 22 and 24. As
 * long columns double, what waits for the collector is no more than those in use.
 */
export const plainStorage: ColumnStorage = {
  allocate: lengthBytes => new ArrayBuffer(lengthBytes),
  dispose: () => {},
}

/** What is looked at together, and copied where any of it is not zero: a page of most systems. */
const CHUNK_BYTES = 4096
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT

/** Whole words, so that every column can be read by them. */
export function wholeWords(lengthBytes: number): number {
  return ceil(lengthBytes / WORD_BYTES) * WORD_BYTES
}

/** A column as the words it lies over. */
export function wordsOf(column: Column): Int32Array {
  if (column instanceof Words) return column
  return new Words(bufferOf(column), byteOffsetOf(column), wholeWords(byteLengthOfView(column)) / WORD_BYTES)
}

/** Words [first, end) of a column. */
export function wordsIn(column: Int32Array, first: number, end: number): Int32Array {
  return new Words(bufferOf(column), byteOffsetOf(column) + first * WORD_BYTES, end - first)
}

/** Whether words [first, end) are all zero. */
export function isZero(words: Int32Array, first: number, end: number): boolean {
  for (let word = first; word < end; word++) if (words[word] !== 0) return false
  return true
}

/**
 * Copies what is not zero, as far as it fits, to a column whose contents are zero: what was never touched stays so, and takes
 * no memory.
 */
export function copyTouched(from: Column, to: Column): void {
  const words = wordsOf(from)
  const chunkWords = CHUNK_BYTES / WORD_BYTES
  const chunkLength = CHUNK_BYTES / from.BYTES_PER_ELEMENT
  const length = min(lengthOf(from), lengthOf(to))
  const wordCount = lengthOf(words)
  const Kind = from instanceof Words ? Words : from instanceof Bytes ? Bytes : HalfWords
  for (let first = 0, word = 0; first < length; first += chunkLength, word += chunkWords) {
    if (isZero(words, word, min(wordCount, word + chunkWords))) continue
    const offset = byteOffsetOf(from) + first * from.BYTES_PER_ELEMENT
    copyElements(to, new Kind(bufferOf(from), offset, min(length - first, chunkLength)), first)
  }
}
