/**
 * Which books were written to, and so take memory. The books of the inside of a long block or gap do not:
 * they were never touched, or their memory was given back.
 *
 * The unit is the *group*: 64 frames, 256 KiB in an arena, whose bits fill 4 KiB. `touched` has one bit for
 * each group. There are two ways in which it is set. `noteTouched` reads `occupied` and marks the groups in
 * which something starts. And the bit is set at once where clean pages are taken or a front is made. So,
 * after `noteTouched`, nothing starts in an unmarked group. Since the books of that group were last given
 * back, blocks can have started there only on dirty pages.
 */
import { setBit, testBit } from '../base/bits.js'
import { copyElements, lengthOf } from '../base/primordials.js'
import { type Columns, isZero, wordsIn, wordsOf } from './columns.js'
import { BINS, BITS_PREFIX, FRAME_SHIFT, ROW_WORDS } from './layout.js'

const { ceil, floor, max, min } = Math

/** `frame >>> GROUP_SHIFT` is the group of a frame. */
export const GROUP_SHIFT = 6
const GROUP_FRAMES = 1 << GROUP_SHIFT
/** `granule >>> GROUP_GRANULES_SHIFT` is the group of a granule. */
export const GROUP_GRANULES_SHIFT = GROUP_SHIFT + FRAME_SHIFT

/** Words of `bits` for each frame: a pair for every 32 granules. They fill one cache line of 64 bytes. */
export const FRAME_BITS_WORDS = 16

/**
 * log2 of the entries that one word of the tree over frames describes: each level has one bit for a word of
 * the level below.
 */
export const LEVEL_SHIFT = 5

/** The number of groups that `frames` frames touch; the last group may be only partly filled. */
export function groupsFor(frames: number): number {
  return (frames + GROUP_FRAMES - 1) >>> GROUP_SHIFT
}

/** Marks the groups, of the first `groupCount`, in which anything starts. */
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

/**
 * The first frame and the end of the frames of a group in which anything starts. Both are 0 if nothing starts
 * in the group.
 */
function startsIn(occupied: Uint16Array, group: number): { first: number; end: number } {
  let first = group * GROUP_FRAMES
  let end = min(lengthOf(occupied), first + GROUP_FRAMES)
  while (first < end && occupied[first] === 0) first++
  if (first >= end) return { first: 0, end: 0 }
  while (occupied[end - 1] === 0) end--
  return { first, end }
}

/**
 * Copies the bits and rows of the marked groups in which anything starts, as far as they fit, and marks these
 * groups in `to`. The columns of `to` must be zero. A row of the frame before the first one is copied too,
 * because a stretch that ends at the start of a frame has its row there.
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

/** Copies words [first, end) to the same place of another column. */
function copyPart(from: Int32Array, to: Int32Array, first: number, end: number): void {
  copyElements(to, wordsIn(from, first, end), first)
}

/**
 * Adds up the bytes of the pages that stretches of bytes touch. The stretches must come in ascending order.
 */
class TouchedPages {
  readonly #pageBytes: number
  #end = 0
  bytes = 0

  constructor(pageBytes: number) {
    this.#pageBytes = pageBytes
  }

  /** Counts the pages that [firstByte, endByte) touches and that no earlier stretch has touched. */
  add(firstByte: number, endByte: number): void {
    const first = max(this.#end, floor(firstByte / this.#pageBytes) * this.#pageBytes)
    const end = ceil(endByte / this.#pageBytes) * this.#pageBytes
    if (end <= first) return
    this.bytes += end - first
    this.#end = end
  }
}

/**
 * Bytes of the pages of the columns that were written to. Call `noteTouched` first. `pageWords`: words of
 * each bitmap of pages. `pageBytes`: the unit in which memory of the books is given.
 */
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
    // If nothing starts in the group any more, it is not known which part was written to: all of it counts.
    const [first, end] = starts.end === 0 ? [groupFrame, groupEnd] : [starts.first, starts.end]
    const topWord = groupFrame >>> 2
    // Small blocks leave short gaps, though these may be gone again. Long blocks start in at most two frames
    // of a group.
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

/**
 * Bytes of the pages of the three bitmaps of pages that were written to. All three are written to in the same
 * places.
 */
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
