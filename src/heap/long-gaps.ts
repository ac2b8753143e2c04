/**
 * Gaps of a frame and longer. They are found by length in O(1).
 *
 * Each long gap is linked into one *bin*. There are eight bins a doubling, under a bitmap of two levels. A
 * bin is a queue, oldest gap first: an old gap has had time to coalesce. A long gap is the last stretch that
 * starts in its frame, so its links fit into the frame's row. There are two sets of bins. *Warm* gaps hold no
 * whole clean page, so a block from one costs no fault. *Cold* gaps are all others.
 *
 * Invariants, checked by `checkLongGaps`:
 *  1. a long gap is in the one bin that its length and its clean pages determine, and its row says where it
 *     starts
 *  2. the bit of a bin is set exactly where the bin has a gap; a summary bit is set exactly where its word of
 *     bin bits is not zero
 */
import { invariant } from '../base/assert.js'
import { GRANULE_BYTES, NONE, type PageCount } from '../base/units.js'
import {
  BIN_BITS_AT,
  BIN_BITS_LENGTH,
  BIN_SHIFT,
  COLD,
  EDGE,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  HEADS_AT,
  HEADS_LENGTH,
  LATER_BITS,
  NEXT,
  PREV,
  ROW_WORDS,
  SETS,
  SUMMARIES_AT,
  WARM,
} from './layout.js'
import { ShortGaps } from './short-gaps.js'

const { clz32, max } = Math

const STEPS_SHIFT = 3 // log2 of the bins in a doubling
const STEPS_MASK = (1 << STEPS_SHIFT) - 1
const WORDS_SHIFT = BIN_SHIFT - 5
const WORDS_MASK = (1 << WORDS_SHIFT) - 1
const FRAME_MASK = FRAME_GRANULES - 1
/** The gaps of a bin differ in length. A search takes the best of this many. */
const PROBES = 4
/**
 * More granules than any gap can have beyond a wanted length: lengths are at most 2^31, and a wanted length
 * is at least 1.
 */
const MOST_SPARE = 2 ** 31 - 1

/** The bin, within a set, of a gap of `length` granules, at least a frame. */
function binOf(length: number): number {
  const doubling = 31 - clz32(length)
  return ((doubling - FRAME_SHIFT) << STEPS_SHIFT) + ((length >>> (doubling - STEPS_SHIFT)) & STEPS_MASK)
}

/** Files long gaps by length and finds them. */
export class LongGaps extends ShortGaps {
  /**
   * The frame of the first gap of each bin, or NONE. `PREV` in that frame's row is the last gap. Bin `b` of
   * set `s` is at `(s << BIN_SHIFT) + b`; this index is called a *slot* here.
   */
  private readonly heads = this.words(HEADS_AT, HEADS_LENGTH).fill(NONE)
  /** One bit for each slot: its bin has a gap. */
  private readonly binBits = this.words(BIN_BITS_AT, BIN_BITS_LENGTH)
  /** One word for each set, with one bit for each of its words of `binBits`: that word is not zero. */
  private readonly summaries = this.words(SUMMARIES_AT, SETS)

  override get metadataBytes(): number {
    return super.metadataBytes + this.heads.byteLength + this.binBits.byteLength + this.summaries.byteLength
  }

  /** Forgets all long gaps. */
  protected forgetLongGaps(): void {
    for (let slot = 0; slot < SETS << BIN_SHIFT; slot++) this.heads[slot] = NONE
    for (let word = 0; word < SETS << WORDS_SHIFT; word++) this.binBits[word] = 0
    for (let set = 0; set < SETS; set++) this.summaries[set] = 0
  }

  /** The slot of a gap of `length` granules with `clean` whole clean pages. */
  protected slotOf(length: number, clean: PageCount): number {
    return binOf(length) + (clean === 0 ? WARM << BIN_SHIFT : COLD << BIN_SHIFT)
  }

  /** The whole clean pages of the long gap that starts at `granule`. */
  cleanOf(granule: number): PageCount {
    return this.rows[(granule >>> FRAME_SHIFT) * ROW_WORDS + EDGE] >>> FRAME_SHIFT
  }

  /**
   * The start of a gap of `set` that has room for `length` granules, or NONE. It is the best of a few. The
   * gap stays in its bin.
   */
  findLong(set: number, length: number): number {
    const summary = this.summaries[set]
    if (summary === 0) return NONE
    const { rows } = this
    const heads = this.heads
    let bin = 0
    if (length >= FRAME_GRANULES) {
      bin = binOf(length)
      // In the bin of `length` itself gaps may be too short.
      let best: number = NONE
      let bestSpare = MOST_SPARE
      let frame = heads[(set << BIN_SHIFT) + bin]
      for (let n = 0; n < PROBES && frame !== NONE; n++) {
        const row = frame * ROW_WORDS
        const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
        const spare = (rows[row + END] - start - length) | 0
        if (spare >= 0 && spare < bestSpare) {
          best = start
          bestSpare = spare
        }
        frame = rows[row + NEXT]
      }
      if (best !== NONE) return best
      bin++
    }
    let word = bin >>> 5
    let bits = word < 1 << WORDS_SHIFT ? this.binBits[(set << WORDS_SHIFT) + word] & (-1 >>> bin) : 0
    if (bits === 0) {
      const later = summary & (LATER_BITS >>> word)
      if (later === 0) return NONE
      word = clz32(later)
      bits = this.binBits[(set << WORDS_SHIFT) + word]
    }
    let frame = heads[(set << BIN_SHIFT) + (word << 5) + clz32(bits)]
    let best: number = NONE
    let bestSpare = MOST_SPARE
    for (let n = 0; n < PROBES && frame !== NONE; n++) {
      const row = frame * ROW_WORDS
      const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
      const spare = (rows[row + END] - start - length) | 0
      if (spare < bestSpare || best === NONE) {
        best = start
        bestSpare = spare
      }
      frame = rows[row + NEXT]
    }
    return best
  }

  /**
   * The start of a gap of `set` that has room for `length` granules at a multiple of `mask + 1`, or NONE. The
   * gap stays in its bin.
   */
  findLongAligned(set: number, length: number, mask: number): number {
    if (this.summaries[set] === 0) return NONE
    let bin = 0
    if (length >= FRAME_GRANULES) {
      bin = binOf(length)
      const own = (set << BIN_SHIFT) + bin
      const near = this.heads[own] === NONE ? NONE : this.best(own, length, mask)
      if (near !== NONE) return near
      bin++
    }
    const slot = this.slotFrom(set, bin)
    if (slot === NONE) return NONE
    const gap = this.best(slot, length, mask)
    // In the probed gaps an aligned block may not fit. A gap with room for every alignment certainly has
    // room.
    return gap !== NONE ? gap : this.findLong(set, length + mask)
  }

  /** The slot of the first bin of `set`, from `bin` on, that has a gap, or NONE. */
  private slotFrom(set: number, bin: number): number {
    let word = bin >>> 5
    let bits = word < 1 << WORDS_SHIFT ? this.binBits[(set << WORDS_SHIFT) + word] & (-1 >>> bin) : 0
    if (bits === 0) {
      const later = this.summaries[set] & (LATER_BITS >>> word)
      if (later === 0) return NONE
      word = clz32(later)
      bits = this.binBits[(set << WORDS_SHIFT) + word]
    }
    return ((set << BIN_SHIFT) + (word << 5)) | clz32(bits)
  }

  /**
   * The start of the shortest of a bin's first few gaps that have room for `length` granules at a multiple of
   * `mask + 1`, or NONE.
   */
  private best(slot: number, length: number, mask: number): number {
    const { rows } = this
    let best: number = NONE
    let bestLength = Number.MAX_SAFE_INTEGER
    let frame = this.heads[slot]
    for (let n = 0; n < PROBES && frame !== NONE; n++) {
      const row = frame * ROW_WORDS
      const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
      const found = (rows[row + END] >>> 0) - start
      if (found - (-start & mask) >= length && found < bestLength) {
        best = start
        bestLength = found
      }
      frame = rows[row + NEXT]
    }
    return best
  }

  /**
   * The start of a gap of any set that has room for `size` granules at a multiple of `mask + 1`, or NONE.
   * Called when `findLong` and `findLongAligned` found nothing. Reads all gaps of nearly that length, of
   * which those two probe a few.
   */
  findLastLong(size: number, mask: number): number {
    const { rows } = this
    const lastBin = binOf(max(FRAME_GRANULES, size + mask))
    for (let bin = size < FRAME_GRANULES ? 0 : binOf(size); bin <= lastBin; bin++) {
      for (let set = WARM; set <= COLD; set++) {
        let frame = this.heads[(set << BIN_SHIFT) + bin]
        for (; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
          const start = this.startIn(frame)
          const end = rows[frame * ROW_WORDS + END] >>> 0
          if (start + (-start & mask) + size <= end) return start
        }
      }
    }
    return NONE
  }

  /**
   * The start of the long gap that follows `after`, or of the first one if `after` is NONE. Returns NONE at
   * the end. The order means nothing.
   */
  followingLong(after: number): number {
    const { rows } = this
    let slot = 0
    if (after !== NONE) {
      const row = (after >>> FRAME_SHIFT) * ROW_WORDS
      if (rows[row + NEXT] !== NONE) return this.startIn(rows[row + NEXT])
      slot = this.slotOf((rows[row + END] >>> 0) - after, rows[row + EDGE] >>> FRAME_SHIFT) + 1
    }
    while (slot < SETS << BIN_SHIFT && this.heads[slot] === NONE) slot++
    return slot < SETS << BIN_SHIFT ? this.startIn(this.heads[slot]) : NONE
  }

  /**
   * The most bytes that `roomIn` returns for any long gap, or 0 if there is none. `roomIn` returns at most
   * the length of a gap in bytes. Reads the bins from the longest gaps down, until the best result is as long
   * as the longest gap.
   */
  protected mostInLong(roomIn: (first: number, end: number) => number): number {
    const { rows } = this
    let most = 0
    let longest = 0
    for (let bin = (1 << BIN_SHIFT) - 1; bin >= 0 && (most === 0 || most < longest); bin--) {
      for (let set = WARM; set <= COLD; set++) {
        let frame = this.heads[(set << BIN_SHIFT) + bin]
        for (; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
          const first = this.startIn(frame)
          const end = rows[frame * ROW_WORDS + END] >>> 0
          longest = max(longest, (end - first) * GRANULE_BYTES)
          most = max(most, roomIn(first, end))
        }
      }
    }
    return most
  }

  /** The start of the long gap that starts in `frame`. */
  private startIn(frame: number): number {
    return (frame << FRAME_SHIFT) | (this.rows[frame * ROW_WORDS + EDGE] & FRAME_MASK)
  }

  /** Files the gap of `length` granules that starts at `granule`. `clean` of its whole pages are clean. */
  addLong(granule: number, length: number, clean: PageCount): void {
    this.addTo(this.slotOf(length, clean), granule, clean)
  }

  /**
   * Puts the gap that starts at `granule` at the end of the bin at `slot`. `clean` of its whole pages are
   * clean.
   */
  addTo(slot: number, granule: number, clean: PageCount): void {
    const { heads, rows } = this
    const frame = granule >>> FRAME_SHIFT
    const row = frame * ROW_WORDS
    const head = heads[slot]
    rows[row + EDGE] = (clean << FRAME_SHIFT) | (granule & FRAME_MASK)
    rows[row + NEXT] = NONE
    if (head !== NONE) {
      const tail = rows[head * ROW_WORDS + PREV]
      rows[row + PREV] = tail
      rows[tail * ROW_WORDS + NEXT] = frame
      rows[head * ROW_WORDS + PREV] = frame
      return
    }
    rows[row + PREV] = frame
    heads[slot] = frame
    const word = slot >>> 5
    this.binBits[word] |= FIRST_BIT >>> slot
    this.summaries[word >>> WORDS_SHIFT] |= FIRST_BIT >>> (word & WORDS_MASK)
  }

  /**
   * Takes the gap that starts at `granule` out of its bin. `length` and `clean` are those with which it was
   * filed.
   */
  removeLong(granule: number, length: number, clean: PageCount): void {
    this.removeFrom(this.slotOf(length, clean), granule >>> FRAME_SHIFT)
  }

  /** Takes the gap that starts in `frame` out of the bin at `slot`. */
  removeFrom(slot: number, frame: number): void {
    const { heads, rows } = this
    const row = frame * ROW_WORDS
    const next = rows[row + NEXT]
    const previous = rows[row + PREV]
    const head = heads[slot]
    if (frame !== head) {
      rows[previous * ROW_WORDS + NEXT] = next
      rows[(next !== NONE ? next : head) * ROW_WORDS + PREV] = previous
      return
    }
    heads[slot] = next
    if (next !== NONE) {
      rows[next * ROW_WORDS + PREV] = previous
      return
    }
    const word = slot >>> 5
    this.binBits[word] &= ~(FIRST_BIT >>> slot)
    if (this.binBits[word] === 0) this.summaries[word >>> WORDS_SHIFT] &= ~(FIRST_BIT >>> (word & WORDS_MASK))
  }

  /**
   * Refiles a gap whose start, length or count of clean pages has changed. If its bin stays the same, so does
   * its place in it. For the longest gaps that is nearly always so.
   */
  changeLong(
    from: number,
    fromLength: number,
    fromClean: PageCount,
    to: number,
    length: number,
    clean: PageCount,
  ): void {
    this.changeIn(
      this.slotOf(fromLength, fromClean),
      from >>> FRAME_SHIFT,
      this.slotOf(length, clean),
      to,
      clean,
    )
  }

  /**
   * Refiles the gap that started in `fromFrame` and is in the bin at `fromSlot`. It now starts at `to` and
   * belongs at `slot`; `clean` of its whole pages are clean.
   */
  changeIn(fromSlot: number, fromFrame: number, slot: number, to: number, clean: PageCount): void {
    if (slot !== fromSlot) {
      this.removeFrom(fromSlot, fromFrame)
      this.addTo(slot, to, clean)
      return
    }
    const { rows } = this
    const frame = to >>> FRAME_SHIFT
    rows[frame * ROW_WORDS + EDGE] = (clean << FRAME_SHIFT) | (to & FRAME_MASK)
    if (frame !== fromFrame) this.renameIn(slot, fromFrame, frame)
  }

  /** Gives the place of `fromFrame` in the bin at `slot` to `frame`. */
  private renameIn(slot: number, fromFrame: number, frame: number): void {
    const { heads, rows } = this
    const next = rows[fromFrame * ROW_WORDS + NEXT]
    const previous = rows[fromFrame * ROW_WORDS + PREV]
    const isFirst = heads[slot] === fromFrame
    if (isFirst) heads[slot] = frame
    else rows[previous * ROW_WORDS + NEXT] = frame
    rows[frame * ROW_WORDS + NEXT] = next
    rows[frame * ROW_WORDS + PREV] = previous
    // If the bin has only this gap, the gap is also the last one.
    rows[(next !== NONE ? next : heads[slot]) * ROW_WORDS + PREV] = frame
  }

  /**
   * Checks the bins. `lengthOf` returns the granules of the gap that starts at a granule, or 0; `cleanIn`
   * returns its whole clean pages. Returns the number of long gaps.
   */
  checkLongGaps(lengthOf: (granule: number) => number, cleanIn: (granule: number) => PageCount): number {
    const { rows } = this
    let gaps = 0
    for (let slot = 0; slot < SETS << BIN_SHIFT; slot++) {
      invariant(this.binBits[slot >>> 5] << slot < 0 === (this.heads[slot] !== NONE), `2: bit of bin ${slot}`)
      const head = this.heads[slot]
      let previous: number = head === NONE ? NONE : rows[head * ROW_WORDS + PREV]
      const last = previous
      for (let frame = this.heads[slot]; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
        const start = this.startIn(frame)
        const clean = this.cleanOf(start)
        invariant(rows[frame * ROW_WORDS + PREV] === previous, `1: gap ${start} is linked`)
        invariant(clean === cleanIn(start), `1: gap ${start} counts its clean pages`)
        invariant(slot === this.slotOf(lengthOf(start), clean), `1: gap ${start} is in its bin`)
        previous = frame
        gaps++
      }
      invariant(previous === last, `1: the last gap of bin ${slot}`)
    }
    for (let word = 0; word < SETS << WORDS_SHIFT; word++) {
      const summary = this.summaries[word >>> WORDS_SHIFT] << (word & WORDS_MASK)
      invariant(summary < 0 === (this.binBits[word] !== 0), `2: summary of word ${word}`)
    }
    return gaps
  }
}
