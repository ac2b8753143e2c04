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
import { invariant } from '../base/assert.js'
import type { Block } from '../base/units.js'
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
import { PageStates } from './page-states.js'

const { clz32, min } = Math

/** The index in `bits` of the pair of words that holds a granule's bits. */
export function pairOf(granule: number): number {
  return BITS_PREFIX + ((granule >>> 5) << 1)
}

/** Reads and writes the map. It does not count blocks and does not file gaps. */
export class GranuleMap extends PageStates {
  /** The end of the gap that the last call of `coalesce` made. */
  coalescedEnd = 0

  /** Whether a live block starts here. */
  isLive(granule: number): boolean {
    const { bits } = this
    const pair = BITS_PREFIX + ((granule >>> 5) << 1)
    return (bits[pair] & bits[pair + 1]) << granule < 0
  }

  /** Whether a gap starts here. */
  isGap(granule: number): boolean {
    const { bits } = this
    const pair = BITS_PREFIX + ((granule >>> 5) << 1)
    return (bits[pair + 1] & ~bits[pair]) << granule < 0
  }

  /** Whether a held block or the front starts here, or a range ends here. */
  isHeld(granule: number): boolean {
    const { bits } = this
    const pair = BITS_PREFIX + ((granule >>> 5) << 1)
    return (bits[pair] & ~bits[pair + 1]) << granule < 0
  }

  /** The end of the stretch that starts at `granule`. */
  next(granule: number): number {
    const { bits } = this
    const pair = BITS_PREFIX + ((granule >>> 5) << 1)
    const near = (bits[pair] | bits[pair + 1]) & (LATER_BITS >>> granule)
    return near !== 0 ? (granule & ~31) | clz32(near) : this.nextBehind(granule)
  }

  /**
   * The end of the stretch that starts at `granule`. Valid only if no other bit is set behind `granule` in
   * its pair.
   */
  nextBehind(granule: number): number {
    const { bits, occupied, rows } = this
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
  previous(granule: number): number {
    const { bits, occupied, rows } = this
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
  startOf(granule: number): number {
    const { bits, occupied } = this
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
  span(first: number, end: number): void {
    const frame = first >>> FRAME_SHIFT
    if (end >>> FRAME_SHIFT === frame) return
    const { rows } = this
    rows[frame * ROW_WORDS + END] = end
    const lastFrame = (end - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = first
  }

  /** Marks the start of a gap, at a granule where nothing started. */
  markGap(granule: number): void {
    const { bits, occupied } = this
    bits[BITS_PREFIX + 1 + ((granule >>> 5) << 1)] |= FIRST_BIT >>> granule
    occupied[granule >>> FRAME_SHIFT] |= (GAP | ANY) >>> ((granule >>> 5) & 7)
  }

  /** Marks the start of a held block, at a granule where nothing or a gap started. */
  markHeld(granule: number): void {
    const { bits, occupied } = this
    const pair = BITS_PREFIX + ((granule >>> 5) << 1)
    const bit = FIRST_BIT >>> granule
    bits[pair] |= bit
    bits[pair + 1] &= ~bit
    occupied[granule >>> FRAME_SHIFT] |= ANY >>> ((granule >>> 5) & 7)
    this.forgetGaps(granule, pair)
  }

  /** Makes [gap, end), the first part of the gap [gap, gapEnd), a live block. The rest stays a gap. */
  carve(gap: number, end: number, gapEnd: number): void {
    const { bits, occupied, rows } = this
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

  /**
   * Makes the block [first, end) a gap, together with the gaps on both sides. Returns the start of that gap;
   * `coalescedEnd` is its end.
   */
  coalesce(first: number, end: number): number {
    const { bits, occupied, rows } = this
    let to = end
    let pair = BITS_PREFIX + ((end >>> 5) << 1)
    let starts = bits[pair]
    let marks = bits[pair + 1]
    if ((marks & ~starts) << end < 0) {
      const later = (starts | marks) & (LATER_BITS >>> end)
      to = later !== 0 ? (end & ~31) | clz32(later) : this.nextBehind(end)
      marks &= ~(FIRST_BIT >>> end)
      bits[pair + 1] = marks
      if ((marks & ~starts) === 0) {
        occupied[end >>> FRAME_SHIFT] &= ~(((starts | marks) === 0 ? GAP | ANY : GAP) >>> ((end >>> 5) & 7))
      }
    }
    const before = this.previous(first)
    const bit = FIRST_BIT >>> first
    const frame = first >>> FRAME_SHIFT
    const isAfterGap = before >= 0 && this.isGap(before)
    pair = BITS_PREFIX + ((first >>> 5) << 1)
    starts = bits[pair] & ~bit
    marks = isAfterGap ? bits[pair + 1] & ~bit : bits[pair + 1] | bit
    bits[pair] = starts
    bits[pair + 1] = marks
    if (!isAfterGap) occupied[frame] |= GAP >>> ((first >>> 5) & 7)
    else if ((starts | marks) === 0) occupied[frame] &= ~(ANY >>> ((first >>> 5) & 7))
    const from = isAfterGap ? before : first
    this.coalescedEnd = to
    const fromFrame = from >>> FRAME_SHIFT
    if (to >>> FRAME_SHIFT !== fromFrame) {
      rows[fromFrame * ROW_WORDS + END] = to
      const lastFrame = (to - 1) >>> FRAME_SHIFT
      if (lastFrame !== fromFrame) rows[lastFrame * ROW_WORDS + START] = from
    }
    return from
  }

  /** Makes the held block that starts here live. */
  markLive(granule: number): void {
    this.bits[BITS_PREFIX + 1 + ((granule >>> 5) << 1)] |= FIRST_BIT >>> granule
  }

  /** Clears both bits: nothing starts at `granule` any more. */
  clear(granule: number): void {
    const { bits, occupied } = this
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
  private forgetGaps(granule: number, pair: number): void {
    const { bits, occupied } = this
    if ((bits[pair + 1] & ~bits[pair]) === 0) {
      occupied[granule >>> FRAME_SHIFT] &= ~(GAP >>> ((granule >>> 5) & 7))
    }
  }

  /**
   * Keeps the live blocks of [first, end) and makes everything else gaps, each as long as possible. `first`
   * and `end` are multiples of a frame. Only the bits of live blocks are trusted. At each moment in between
   * live blocks end where they ended before.
   */
  protected keepLive(first: number, end: number): void {
    const { bits, occupied } = this
    // The granules before the first set bit are free too.
    if (this.nextBit(first, end) !== first) this.markGap(first)
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
  protected nextBit(from: number, end: number): number {
    const { bits } = this
    let mask = -1 >>> from
    for (let word = from >>> 5; word << 5 < end; word++) {
      const pair = BITS_PREFIX + (word << 1)
      const any = (bits[pair] | bits[pair + 1]) & mask
      if (any !== 0) return min(end, (word << 5) | clz32(any))
      mask = -1
    }
    return end
  }

  /**
   * Writes the live blocks of the range [first, end) into `blocks`, in ascending order, from index `from` on.
   * Returns the index behind the last one.
   */
  listLiveIn(first: number, end: number, blocks: Int32Array, from: number): number {
    let count = from
    for (let at = first; at < end; at = this.next(at)) if (this.isLive(at)) blocks[count++] = at
    return count
  }

  // ---- checks ---------------------------------------------------------------------------------------------

  /** Checks `occupied` for frames [firstFrame, endFrame). */
  checkFrames(firstFrame: number, endFrame: number): void {
    const { bits, occupied } = this
    for (let frame = firstFrame; frame < endFrame; frame++) {
      let expected = 0
      for (let word = 0; word < 8; word++) {
        const pair = BITS_PREFIX + (((frame << 3) + word) << 1)
        if ((bits[pair] | bits[pair + 1]) !== 0) expected |= ANY >>> word
        if ((bits[pair + 1] & ~bits[pair]) !== 0) expected |= GAP >>> word
      }
      invariant(occupied[frame] === expected, `1: pairs of frame ${frame}`)
    }
  }

  /** Checks that [first, end) is one stretch, looked up from both ends. */
  checkStretch(first: Block, end: number): void {
    invariant(this.next(first) === end, `2: what starts at ${first} ends at ${end}`)
    invariant(this.previous(end) === first, `2: what ends at ${end} starts at ${first}`)
  }
}
