/**
 * Gaps of a frame and longer, found by length in O(1).
 *
 * They hang in bins by length, eight bins a doubling, under a two-level bitmap, oldest first: a gap that is old has had time
 * to coalesce. Such a gap starts last in its frame, so its links stand in the frame's row. There are two sets of
 * bins: *warm* gaps, which hold no whole clean page, so that taking from them costs no fault, and all others.
 *
 * Invariants, checked by `checkLongGaps`:
 *  1. a long gap is in the one bin that its length and its clean pages name, and its row says where it starts
 *  2. a bin's bit is set exactly where the bin is not empty, a summary bit where its word is not zero
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

const STEPS_SHIFT = 3 // eight bins a doubling
const STEPS_MASK = (1 << STEPS_SHIFT) - 1
const WORDS_SHIFT = BIN_SHIFT - 5
const WORDS_MASK = (1 << WORDS_SHIFT) - 1
const FRAME_MASK = FRAME_GRANULES - 1
/** The gaps of a bin differ in length. The best of that many is taken. */
const PROBES = 4
/** More than a gap can be longer than what is looked for: lengths are up to 2^31, what is looked for is not 0. */
const MOST_SPARE = 2 ** 31 - 1

function binOf(length: number): number {
  const doubling = 31 - clz32(length)
  return ((doubling - FRAME_SHIFT) << STEPS_SHIFT) + ((length >>> (doubling - STEPS_SHIFT)) & STEPS_MASK)
}

export class LongGaps extends ShortGaps {
  /** First frame of each bin, or NONE; its row has the last as the one before. Bin `b` of set `s` is `(s << BIN_SHIFT) + b`. */
  private readonly heads = this.words(HEADS_AT, HEADS_LENGTH).fill(NONE)
  private readonly binBits = this.words(BIN_BITS_AT, BIN_BITS_LENGTH)
  private readonly summaries = this.words(SUMMARIES_AT, SETS)

  override get metadataBytes(): number {
    return super.metadataBytes + this.heads.byteLength + this.binBits.byteLength + this.summaries.byteLength
  }

  /** There is none. */
  protected forgetLongGaps(): void {
    for (let slot = 0; slot < SETS << BIN_SHIFT; slot++) this.heads[slot] = NONE
    for (let word = 0; word < SETS << WORDS_SHIFT; word++) this.binBits[word] = 0
    for (let set = 0; set < SETS; set++) this.summaries[set] = 0
  }

  /** The bin, of both sets, of a gap. */
  protected slotOf(length: number, clean: PageCount): number {
    return binOf(length) + (clean === 0 ? WARM << BIN_SHIFT : COLD << BIN_SHIFT)
  }

  /** Whole clean pages of the long gap that starts at `granule`. */
  cleanOf(granule: number): PageCount {
    return this.rows[(granule >>> FRAME_SHIFT) * ROW_WORDS + EDGE] >>> FRAME_SHIFT
  }

  /** Where a gap of `set` starts that has room for `length` granules, the best of a few, or NONE. It stays in its bin. */
  findLong(set: number, length: number): number {
    const summary = this.summaries[set]
    if (summary === 0) return NONE
    const { rows } = this
    const heads = this.heads
    let bin = 0
    if (length >= FRAME_GRANULES) {
      bin = binOf(length)
      // The gaps of the length's own bin may be too short.
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

  /** The same at a multiple of `mask + 1`. */
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
    // An aligned block fits by luck, or where there is room for any alignment.
    return gap !== NONE ? gap : this.findLong(set, length + mask)
  }

  /** The first bin of `set` at or above `bin` that is not empty, or NONE. */
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

  /** The shortest of a bin's first few gaps that has room for `length` granules at a multiple of `mask + 1`, or NONE. */
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
   * For when `find` has found nothing: where a gap starts that has room for `size` granules at a multiple of `mask + 1`,
   * or NONE. Reads all gaps of nearly that length, of which `find` probes a few.
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

  /** The first gap (`after` NONE), or the one behind `after`; NONE at the end. In no particular order. */
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

  /** The most bytes that `roomIn` says of a long gap: its length or, for the longest of all, less. 0 where there is none. */
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

  private startIn(frame: number): number {
    return (frame << FRAME_SHIFT) | (this.rows[frame * ROW_WORDS + EDGE] & FRAME_MASK)
  }

  /** A gap of `length` granules starts at `granule`; `clean` of its whole pages are clean. */
  addLong(granule: number, length: number, clean: PageCount): void {
    this.addTo(this.slotOf(length, clean), granule, clean)
  }

  /** The same where the caller knows the bin. */
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

  /** The gap that starts at `granule` is no longer one, or no longer of that length and those clean pages. */
  removeLong(granule: number, length: number, clean: PageCount): void {
    this.removeFrom(this.slotOf(length, clean), granule >>> FRAME_SHIFT)
  }

  /** The same where the caller knows the bin. */
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
   * A gap has another start, length or count of clean pages. Keeps its place in its bin where that is still the right
   * one, as for the longest gaps it nearly always is.
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

  /** The same where the caller knows the bins. */
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

  /** The gap in the place of `fromFrame`'s starts in `frame` from now on. */
  private renameIn(slot: number, fromFrame: number, frame: number): void {
    const { heads, rows } = this
    const next = rows[fromFrame * ROW_WORDS + NEXT]
    const previous = rows[fromFrame * ROW_WORDS + PREV]
    const isFirst = heads[slot] === fromFrame
    if (isFirst) heads[slot] = frame
    else rows[previous * ROW_WORDS + NEXT] = frame
    rows[frame * ROW_WORDS + NEXT] = next
    rows[frame * ROW_WORDS + PREV] = previous
    // The only one in its bin is the last too.
    rows[(next !== NONE ? next : heads[slot]) * ROW_WORDS + PREV] = frame
  }

  /**
   * Checks the bins. `lengthOf`: granules of the gap that starts there, or 0. `cleanIn`: its clean pages. Returns how many
   * gaps there are.
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
