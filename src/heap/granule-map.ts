/**
 * The map: two bits for each granule say what starts there.
 *
 * *Blocks* and *gaps* cover a range without a space between them; a *stretch* is one of either, or the front.
 * At the granule where a stretch starts, a bit is set in one of two bitmaps, or in both. At all granules
 * inside a stretch both bits are clear. So a stretch ends at the next set bit, and blocks need no header:
 *
 *      start  mark
 *        1     1    a live block
 *        1     0    a held block (kept on a stack), the front, or the end of a range
 *        0     1    a gap: free granules between blocks
 *
 * The words of the two bitmaps alternate. A *pair* of words describes 32 granules, and the eight pairs of a
 * frame fill one cache line:
 *
 *    bits      | start mark | start mark | ...        pair w of frame f: bits[BITS_PREFIX + (f * 8 + w) * 2]
 *    occupied  | gap 0..7   | any 0..7   |            bit w: a gap starts in pair w; pair w has any bit
 *    rows      | END | START | NEXT | PREV | EDGE |   the last three belong to `long-gaps`
 *
 * `occupied` leads to the next pair with a bit, so the next bit of a frame is found without a search. `END`
 * and `START` describe a stretch that crosses the end of a frame: its first frame has the end, its last frame
 * has the start.
 *
 * Invariants, checked by `checkFrames` and `checkStretch`:
 *  1. `occupied` says exactly which pairs of a frame have bits, and in which pairs gaps start
 *  2. if a stretch ends at the end of its first frame or beyond, the row of that frame has the end; if it
 *     ends in a later frame, the row of that frame has the start
 */
import type { Books } from './books.js'
import {
  ANY,
  BITS_PREFIX,
  END,
  FIRST_ANY,
  FIRST_BIT,
  FRAME_SHIFT,
  GAP,
  LATER_BITS,
  ROW_WORDS,
  START,
} from './layout.js'

const { clz32, min } = Math

/** The index in `bits` of the pair of words that holds a granule's bits. */
export function pairOf(granule: number): number {
  return BITS_PREFIX + ((granule >>> 5) << 1)
}

/** Whether a live block starts here. */
export function isLive(books: Books, granule: number): boolean {
  const { bits } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  return (bits[pair] & bits[pair + 1]) << granule < 0
}

/** Whether a gap starts here. */
export function isGap(books: Books, granule: number): boolean {
  const { bits } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  return (bits[pair + 1] & ~bits[pair]) << granule < 0
}

/** Whether a held block or the front starts here, or a range ends here. */
export function isHeld(books: Books, granule: number): boolean {
  const { bits } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  return (bits[pair] & ~bits[pair + 1]) << granule < 0
}

/** The end of the stretch that starts at `granule`. */
export function endOf(books: Books, granule: number): number {
  const { bits } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  const near = (bits[pair] | bits[pair + 1]) & (LATER_BITS >>> granule)
  return near !== 0 ? (granule & ~31) | clz32(near) : nextBehind(books, granule)
}

/**
 * The end of the stretch that starts at `granule`. Valid only if no other bit is set behind `granule` in
 * its pair.
 */
export function nextBehind(books: Books, granule: number): number {
  const { bits, occupied, rows } = books
  const frame = granule >>> FRAME_SHIFT
  const later = occupied[frame] & (0x7f >>> ((granule >>> 5) & 7))
  if (later === 0) return rows[frame * ROW_WORDS + END] >>> 0
  const word = (frame << 3) | (clz32(later) - FIRST_ANY)
  const pair = BITS_PREFIX + (word << 1)
  const any = bits[pair] | bits[pair + 1]
  return (word << 5) | clz32(any)
}

/**
 * The start of the stretch that ends at `granule`. If a range begins at `granule`, that is the held granule
 * before it.
 */
export function startBefore(books: Books, granule: number): number {
  const { bits, occupied, rows } = books
  const last = (granule - 1) | 0
  const word = last >> 5
  const pair = BITS_PREFIX + (word << 1)
  const near = (bits[pair] | bits[pair + 1]) & (-1 << ~last)
  if (near !== 0) return (last & ~31) | clz32(near & -near)
  const frame = last >>> FRAME_SHIFT
  const earlier = occupied[frame] & 0xff & (0xff00 >>> (word & 7))
  if (earlier === 0) return rows[frame * ROW_WORDS + START]
  const found = (frame << 3) | (clz32(earlier & -earlier) - FIRST_ANY)
  const at = BITS_PREFIX + (found << 1)
  const any = bits[at] | bits[at + 1]
  return (found << 5) | clz32(any & -any)
}

/**
 * The start of the stretch in which the managed `granule` lies. Reads two bytes for each frame in between.
 */
export function startOf(books: Books, granule: number): number {
  const { bits, occupied } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  const near = (bits[pair] | bits[pair + 1]) & (-1 << ~granule)
  if (near !== 0) return (granule & ~31) | clz32(near & -near)
  let frame = granule >>> FRAME_SHIFT
  let earlier = occupied[frame] & 0xff & (0xff00 >>> ((granule >>> 5) & 7))
  while (earlier === 0) earlier = occupied[--frame] & 0xff
  const word = (frame << 3) | (clz32(earlier & -earlier) - FIRST_ANY)
  const at = BITS_PREFIX + (word << 1)
  const any = bits[at] | bits[at + 1]
  return (word << 5) | clz32(any & -any)
}

/** Writes into the rows that [first, end) is one stretch. */
export function span(books: Books, first: number, end: number): void {
  const frame = first >>> FRAME_SHIFT
  if (end >>> FRAME_SHIFT === frame) return
  const { rows } = books
  rows[frame * ROW_WORDS + END] = end
  const lastFrame = (end - 1) >>> FRAME_SHIFT
  if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = first
}

/** Marks the start of a gap, at a granule where nothing started. */
export function markGap(books: Books, granule: number): void {
  const { bits, occupied } = books
  bits[BITS_PREFIX + 1 + ((granule >>> 5) << 1)] |= FIRST_BIT >>> granule
  occupied[granule >>> FRAME_SHIFT] |= (GAP | ANY) >>> ((granule >>> 5) & 7)
}

/** Marks the start of a held block, at a granule where nothing or a gap started. */
export function markHeld(books: Books, granule: number): void {
  const { bits, occupied } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  const bit = FIRST_BIT >>> granule
  bits[pair] |= bit
  bits[pair + 1] &= ~bit
  occupied[granule >>> FRAME_SHIFT] |= ANY >>> ((granule >>> 5) & 7)
  forgetGaps(books, granule, pair)
}

/** Makes [gap, end), the first part of the gap [gap, gapEnd), a live block. The rest stays a gap. */
export function carve(books: Books, gap: number, end: number, gapEnd: number): void {
  const { bits, occupied, rows } = books
  const pair = BITS_PREFIX + ((gap >>> 5) << 1)
  const frame = gap >>> FRAME_SHIFT
  const endFrame = end >>> FRAME_SHIFT
  bits[pair] |= FIRST_BIT >>> gap
  if ((bits[pair + 1] & ~bits[pair]) === 0) occupied[frame] &= ~(GAP >>> ((gap >>> 5) & 7))
  if (endFrame !== frame) {
    rows[frame * ROW_WORDS + END] = end
    const lastFrame = (end - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = gap
  }
  if (end === gapEnd) return
  bits[BITS_PREFIX + 1 + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
  occupied[endFrame] |= (GAP | ANY) >>> ((end >>> 5) & 7)
  if (gapEnd >>> FRAME_SHIFT === endFrame) return
  rows[endFrame * ROW_WORDS + END] = gapEnd
  const lastFrame = (gapEnd - 1) >>> FRAME_SHIFT
  if (lastFrame !== endFrame) rows[lastFrame * ROW_WORDS + START] = end
}

/** If a gap starts at `end`, takes away its mark and returns its end. If not, returns `end`. */
export function mergeWithNext(books: Books, end: number): number {
  const { bits, occupied } = books
  const pair = BITS_PREFIX + ((end >>> 5) << 1)
  const starts = bits[pair]
  const marks = bits[pair + 1]
  if ((marks & ~starts) << end >= 0) return end
  const to = endOf(books, end)
  const left = marks & ~(FIRST_BIT >>> end)
  bits[pair + 1] = left
  if ((left & ~starts) === 0) {
    occupied[end >>> FRAME_SHIFT] &= ~(((starts | left) === 0 ? GAP | ANY : GAP) >>> ((end >>> 5) & 7))
  }
  return to
}

/**
 * Makes the block that starts at `first` a part of the gap before it, or a gap of its own if there is none.
 * Returns the start of that gap.
 */
export function mergeWithPrevious(books: Books, first: number): number {
  const { bits, occupied } = books
  const before = startBefore(books, first)
  const bit = FIRST_BIT >>> first
  const pair = BITS_PREFIX + ((first >>> 5) << 1)
  const starts = bits[pair] & ~bit
  const isAfterGap = before >= 0 && isGap(books, before)
  bits[pair] = starts
  if (!isAfterGap) {
    bits[pair + 1] |= bit
    occupied[first >>> FRAME_SHIFT] |= GAP >>> ((first >>> 5) & 7)
    return first
  }
  const marks = bits[pair + 1] & ~bit
  bits[pair + 1] = marks
  if ((starts | marks) === 0) occupied[first >>> FRAME_SHIFT] &= ~(ANY >>> ((first >>> 5) & 7))
  return before
}

/** Makes the held block that starts here live. */
export function markLive(books: Books, granule: number): void {
  books.bits[BITS_PREFIX + 1 + ((granule >>> 5) << 1)] |= FIRST_BIT >>> granule
}

/** Clears both bits: nothing starts at `granule` any more. */
export function unmark(books: Books, granule: number): void {
  const { bits, occupied } = books
  const pair = BITS_PREFIX + ((granule >>> 5) << 1)
  const bit = ~(FIRST_BIT >>> granule)
  const starts = bits[pair] & bit
  const marks = bits[pair + 1] & bit
  bits[pair] = starts
  bits[pair + 1] = marks
  const gone = (starts | marks) === 0 ? GAP | ANY : GAP
  if ((marks & ~starts) === 0) occupied[granule >>> FRAME_SHIFT] &= ~(gone >>> ((granule >>> 5) & 7))
}

/**
 * Clears the gap bit of a pair in `occupied` if no gap starts there any more. `pair`: the index of the pair
 * of `granule`.
 */
function forgetGaps(books: Books, granule: number, pair: number): void {
  const { bits, occupied } = books
  if ((bits[pair + 1] & ~bits[pair]) === 0) {
    occupied[granule >>> FRAME_SHIFT] &= ~(GAP >>> ((granule >>> 5) & 7))
  }
}

/**
 * Keeps the live blocks of [first, end) and makes everything else gaps, each as long as possible. `first`
 * and `end` are multiples of a frame. Only the bits of live blocks are trusted. At each moment in between
 * live blocks end where they ended before.
 */
export function keepLive(books: Books, first: number, end: number): void {
  const { bits, occupied } = books
  // The granules before the first set bit are free too.
  if (nextBit(books, first, end) !== first) markGap(books, first)
  let isInGap = false
  for (let word = first >>> 5; word < end >>> 5; word++) {
    const pair = BITS_PREFIX + (word << 1)
    let gaps = 0
    const live = bits[pair] & bits[pair + 1]
    for (let any = bits[pair] | bits[pair + 1]; any !== 0; ) {
      const bit = FIRST_BIT >>> clz32(any)
      any &= ~bit
      if ((live & bit) !== 0) {
        isInGap = false
      } else if (!isInGap) {
        gaps |= bit
        isInGap = true
      }
    }
    const marks = live | gaps
    if (bits[pair] !== live || bits[pair + 1] !== marks) {
      bits[pair] = live
      bits[pair + 1] = marks
    }
    const frame = word >>> 3
    const shift = word & 7
    const said = ((marks !== 0 ? ANY : 0) | (gaps !== 0 ? GAP : 0)) >>> shift
    const known = occupied[frame]
    const now = (known & ~((ANY | GAP) >>> shift)) | said
    if (now !== known) occupied[frame] = now
  }
}

/** The first granule in [from, end) where something starts, or `end`. Reads `bits` only. */
export function nextBit(books: Books, from: number, end: number): number {
  const { bits } = books
  let mask = -1 >>> from
  for (let word = from >>> 5; word << 5 < end; word++) {
    const pair = BITS_PREFIX + (word << 1)
    const any = (bits[pair] | bits[pair + 1]) & mask
    if (any !== 0) return min(end, (word << 5) | clz32(any))
    mask = -1
  }
  return end
}

/** Whether a live block starts in [from, end). Both are multiples of 32. Reads `bits` only, up to index `endPair`. */
export function anyLiveIn(books: Books, from: number, end: number, endPair: number): boolean {
  const { bits } = books
  const last = min(BITS_PREFIX + ((end >>> 5) << 1), endPair)
  for (let pair = BITS_PREFIX + ((from >>> 5) << 1); pair < last; pair += 2) {
    if ((bits[pair] & bits[pair + 1]) !== 0) return true
  }
  return false
}

/**
 * Writes the live blocks of the range [first, end) into `blocks`, in ascending order, from index `from` on.
 * Returns the index behind the last one.
 */
export function listLiveIn(
  books: Books,
  first: number,
  end: number,
  blocks: Int32Array,
  from: number,
): number {
  let count = from
  for (let at = first; at < end; at = endOf(books, at)) if (isLive(books, at)) blocks[count++] = at
  return count
}
