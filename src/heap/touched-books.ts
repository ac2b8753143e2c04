/**
 * Which of the books were written to. The inside of a long block or gap has none: its columns were never touched, or given
 * back, and take no memory however long they are.
 *
 * The unit is the *group*, 64 frames or 256 KiB, whose bits are 4 KiB. `touched` has a bit a group. What is written there
 * without a look at that bit (where blocks start between others) is found by `noteTouched`, which reads `occupied`; where
 * clean pages are taken, or a front is made, the bit is set. So a group that is not marked, after `noteTouched`, holds
 * nothing, and had blocks at most where pages were not clean, since it was last given back.
 */
import { setBit, testBit } from '../base/bits.js'
import { copyElements, lengthOf } from '../base/primordials.js'
import { isZero, wordsIn, wordsOf } from './columns.js'
import { BINS, BITS_PREFIX, FRAME_SHIFT, ROW_WORDS } from './layout.js'

const { ceil, floor, max, min } = Math

/** `frame >>> GROUP_SHIFT` is its group. */
export const GROUP_SHIFT = 6
export const GROUP_FRAMES = 1 << GROUP_SHIFT
/** `granule >>> GROUP_GRANULES_SHIFT` is its group. */
export const GROUP_GRANULES_SHIFT = GROUP_SHIFT + FRAME_SHIFT

/** Words of `bits` a frame: a pair for every 32 granules. A frame is one cache line. */
export const FRAME_BITS_WORDS = 16

/** Each level of the tree over frames has a bit for a word of the one below. */
export const LEVEL_SHIFT = 5

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

/** Groups of so many frames, the last one maybe in part. */
export function groupsFor(frames: number): number {
  return (frames + GROUP_FRAMES - 1) >>> GROUP_SHIFT
}

/** Marks the groups in which anything starts. */
export function noteTouched({ occupied, touched }: Columns, groupCount: number): void {
  const words = wordsOf(occupied)
  const wordCount = lengthOf(words)
  const groupWords = GROUP_FRAMES / 2
  for (let group = 0; group < groupCount; group++) {
    if (testBit(touched, group)) continue
    const first = group * groupWords
    if (!isZero(words, first, min(wordCount, first + groupWords))) setBit(touched, group)
  }
}

/** First and end of the frames of a group in which anything starts; 0 and 0 where nothing does. */
function startsIn(occupied: Uint16Array, group: number): { first: number; end: number } {
  let first = group * GROUP_FRAMES
  let end = min(lengthOf(occupied), first + GROUP_FRAMES)
  while (first < end && occupied[first] === 0) first++
  if (first >= end) return { first: 0, end: 0 }
  while (occupied[end - 1] === 0) end--
  return { first, end }
}

/**
 * Copies the bits and rows of marked groups in which anything starts, as far as they fit, to columns that are zero, and marks
 * them there. What ends where a frame begins has its row in the frame before.
 */
export function copyGroups(from: Columns, to: Columns): void {
  const frames = min(lengthOf(from.occupied), lengthOf(to.occupied))
  copyPart(from.bits, to.bits, 0, BITS_PREFIX)
  for (let group = 0; group < groupsFor(frames); group++) {
    if (!testBit(from.touched, group)) continue
    const { first, end } = startsIn(from.occupied, group)
    const last = min(frames, end)
    if (first >= last) continue
    setBit(to.touched, group)
    copyPart(
      from.bits,
      to.bits,
      BITS_PREFIX + first * FRAME_BITS_WORDS,
      BITS_PREFIX + last * FRAME_BITS_WORDS,
    )
    copyPart(from.rows, to.rows, max(0, first - 1) * ROW_WORDS, last * ROW_WORDS)
  }
}

function copyPart(from: Int32Array, to: Int32Array, first: number, end: number): void {
  copyElements(to, wordsIn(from, first, end), first)
}

/** Adds up the pages that stretches of bytes touch, which come in ascending order. */
class TouchedPages {
  readonly #pageBytes: number
  #end = 0
  bytes = 0

  constructor(pageBytes: number) {
    this.#pageBytes = pageBytes
  }

  add(firstByte: number, endByte: number): void {
    const first = max(this.#end, floor(firstByte / this.#pageBytes) * this.#pageBytes)
    const end = ceil(endByte / this.#pageBytes) * this.#pageBytes
    if (end <= first) return
    this.bytes += end - first
    this.#end = end
  }
}

/**
 * Bytes of the pages of the columns that were written to, after `noteTouched`. `pageWords`:
 * words of the bitmaps of pages. `pageBytes`: what memory is given in. */
export function touchedBytes(
  columns: Columns,
  groupCount: number,
  pageWords: number,
  pageBytes: number,
): number {
  const { occupied, touched } = columns
  const bits = new TouchedPages(pageBytes)
  const rows = new TouchedPages(pageBytes)
  const frames = new TouchedPages(pageBytes)
  const tops = new TouchedPages(pageBytes)
  const leaves = new TouchedPages(pageBytes)
  const branches = new TouchedPages(pageBytes)
  const roots = new TouchedPages(pageBytes)
  const topWords = wordsOf(columns.tops)
  for (let group = 0; group < groupCount; group++) {
    if (!testBit(touched, group)) continue
    const groupFrame = group * GROUP_FRAMES
    const groupEnd = min(lengthOf(occupied), groupFrame + GROUP_FRAMES)
    const starts = startsIn(occupied, group)
    // Where nothing starts any more, what was written is not known but that it was.
    const [first, end] = starts.end === 0 ? [groupFrame, groupEnd] : [starts.first, starts.end]
    const topWord = groupFrame >>> 2
    // Small blocks leave short gaps, which may be gone again; long ones start in two frames of a group at most.
    const hasShort =
      end - first > 2 || !isZero(topWords, topWord, min(topWords.length, topWord + GROUP_FRAMES / 4))
    if (hasShort) {
      tops.add(groupFrame, groupEnd)
      for (const [level, pages] of [leaves, branches, roots].entries()) {
        const bin = (groupFrame >>> (LEVEL_SHIFT * (level + 1))) * BINS * 4
        pages.add(bin, bin + 1)
      }
    }
    bits.add((BITS_PREFIX + first * FRAME_BITS_WORDS) * 4, (BITS_PREFIX + end * FRAME_BITS_WORDS) * 4 - 8)
    rows.add(max(0, first - 1) * ROW_WORDS * 4, end * ROW_WORDS * 4)
    frames.add(first * 2, end * 2)
  }
  let bytes = columns.touched.byteLength
  for (const pages of [bits, rows, frames, tops, leaves, branches, roots]) bytes += pages.bytes
  return bytes + bitmapBytes(columns, pageWords, pageBytes)
}

/** The same of the three bitmaps of pages, which are written to in the same places. */
function bitmapBytes({ dirty, aged, purged }: Columns, words: number, pageBytes: number): number {
  const chunkWords = pageBytes / 4
  let bytes = 0
  for (let first = 0; first < words; first += chunkWords) {
    const end = min(words, first + chunkWords)
    if ([dirty, aged, purged].every(bitmap => isZero(bitmap, first, end))) continue
    bytes += 3 * pageBytes
  }
  return bytes
}
