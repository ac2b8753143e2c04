/**
 * Columns: typed arrays that grow and shrink. This file says where their memory comes from, and copies them.
 */
import { bufferOf, byteLengthOfView, byteOffsetOf, copyElements, lengthOf } from '../base/primordials.js'

const { ceil, min } = Math
// Taken when the module is loaded. Script that replaces these classes later does not run within a change of
// the books.
const Words = Int32Array
const HalfWords = Uint16Array
const Bytes = Uint8Array

/** The source of memory for columns. */
export interface ColumnStorage {
  /** Returns `lengthBytes` zeroed bytes. Throws if there is no memory. */
  allocate(lengthBytes: number): ArrayBuffer
  /** Called with a buffer that `allocate` returned, after it was replaced. Nothing refers to it any more. */
  dispose(storage: ArrayBuffer): void
  /**
   * Called with bytes of a buffer that are not needed for now, whatever they hold. Afterwards each may read
   * as zero or as before. If absent, the bytes stay as they are.
   */
  purge?(storage: ArrayBuffer, offsetBytes: number, lengthBytes: number): void
  /**
   * Returns memory for the books of fixed length and for the first columns, or null if it has none. If it is
   * absent or returns null, the heap allocates that memory itself.
   */
  takeRegion?(): Region | null
  /** Called with a region that `takeRegion` returned, zeroed again. Nothing refers to it any more. */
  giveRegion?(region: Region): void
  /** The unit, in bytes, in which this memory comes and goes. 4 KiB if absent. */
  readonly pageBytes?: number
}

/** `REGION_BYTES` bytes of a buffer, from `offsetBytes` on. They are zero when a heap gets them. */
export interface Region {
  readonly buffer: ArrayBuffer
  readonly offsetBytes: number
}

/** All columns of the books. */
export interface Columns {
  bits: Int32Array<ArrayBuffer>
  occupied: Uint16Array<ArrayBuffer>
  rows: Int32Array<ArrayBuffer>
  tops: Uint8Array<ArrayBuffer>
  leaves: Int32Array<ArrayBuffer>
  branches: Int32Array<ArrayBuffer>
  roots: Int32Array<ArrayBuffer>
  dirty: Int32Array<ArrayBuffer>
  aged: Int32Array<ArrayBuffer>
  purged: Int32Array<ArrayBuffer>
  touched: Int32Array<ArrayBuffer>
}

/** The kinds of typed array that columns are. */
export type Column = Int32Array | Uint16Array | Uint8Array

/**
 * Buffers of the runtime. The garbage collector frees them. They are not detached, because that makes every
 * typed array of the process slower, see docs/v8.md. Long columns double, so the buffers that wait for the
 * collector are together no longer than those in use.
 */
export const plainStorage: ColumnStorage = {
  allocate: lengthBytes => new ArrayBuffer(lengthBytes),
  dispose: () => {},
}

/** The unit of copying: a chunk is copied if any of its bytes is not zero. It is a page of most systems. */
const CHUNK_BYTES = 4096
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT

/** Rounds a length up to whole words, so that every column can be read by words. */
export function wholeWords(lengthBytes: number): number {
  return ceil(lengthBytes / WORD_BYTES) * WORD_BYTES
}

/** The words over which a column lies. */
export function wordsOf(column: Column): Int32Array {
  if (column instanceof Words) return column
  return new Words(bufferOf(column), byteOffsetOf(column), wholeWords(byteLengthOfView(column)) / WORD_BYTES)
}

/** A view of words [first, end) of a column. */
export function wordsIn(column: Int32Array, first: number, end: number): Int32Array {
  return new Words(bufferOf(column), byteOffsetOf(column) + first * WORD_BYTES, end - first)
}

/** Whether words [first, end) are all zero. */
export function isZero(words: Int32Array, first: number, end: number): boolean {
  for (let word = first; word < end; word++) if (words[word] !== 0) return false
  return true
}

/**
 * Copies the chunks that are not all zero, as far as they fit, to a column that is zero. Memory that was
 * never touched stays untouched there, and takes no memory.
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
