/**
 * Gaps shorter than a frame. They are found by the longest gap of each frame.
 *
 * There are far too many short gaps to link each one. So each frame has one figure, its *top*: the bin of the
 * longest short gap that starts in it. A tree over frames has one bit for each frame and top. A search takes
 * the least top that is long enough, and the lowest frame that has it. This is best fit by frame and lowest
 * address first, so that memory at high addresses becomes free. Within the frame the search reads one cache
 * line, takes the gap that fits best, and computes the new top.
 *
 * A top may be too high: a gap has coalesced with one that starts in an earlier frame, or has become shorter
 * without a search. The next search of that frame lowers it. A top is never too low. There can be any number
 * of frames whose tops are too high, so `takeShort` looks at a few only. `takeShortOfAll` looks at all.
 *
 * The *rest* is what the last cut left of its gap. The next block is looked for in the rest first, because
 * that needs no search. The rest is a gap in the books like any other, so it may be gone by then, or longer.
 *
 * Invariants, checked by `checkShortGap` and `checkShortGaps`:
 *  1. no short gap of a frame is in a bin above the frame's top
 *  2. the tree has each frame in the bin of its top, and in no other bin; a bit of an upper level is set
 *     exactly where the word below has any bit
 */
import { invariant } from '../base/assert.js'
import { lengthOf } from '../base/primordials.js'
import { type Block, NONE } from '../base/units.js'
import { GranuleMap } from './granule-map.js'
import {
  ANY,
  BINS,
  BITS_PREFIX,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  GAP,
  LATER_BITS,
  ROW_WORDS,
  START,
} from './layout.js'

const { clz32, max } = Math

const BINS_SHIFT = 5
/** `takeFrom` returns it if the frame has the right top and no gap there is long enough. */
const TOO_SHORT = NONE - 1
/**
 * Below this many granules each bin holds one length. From there on there are four bins a doubling. Bin 0
 * means no gap.
 */
const EXACT_BELOW = 16
const STEPS_SHIFT = 2
const STEPS_MASK = (1 << STEPS_SHIFT) - 1
/**
 * The most frames of one kind that a search looks at. Each but the last has a top that is too high, and the
 * search sets it right.
 */
const MOST_FRAMES = 64
/** More frames than any space has. */
const ALL_FRAMES = 2 ** 30

/** The bin of a gap of `length` granules, below a frame. */
function binOf(length: number): number {
  if (length < EXACT_BELOW) return length
  const doubling = 31 - clz32(length)
  return (doubling << STEPS_SHIFT) + ((length >>> (doubling - STEPS_SHIFT)) & STEPS_MASK)
}

/** Finds short gaps and cuts blocks from them. */
export class ShortGaps extends GranuleMap {
  /** Bit `b` (from the top, as in all bitmaps) is clear only if no frame has top `b`. */
  private usedTops = 0
  /**
   * Where the rest starts, and how many granules it had after the cut. The length is 0 if the cut left
   * nothing.
   */
  private rest: Block = 0
  private restLength = 0
  /** The limit of the search that is under way, in frames: `ALL_FRAMES` during `takeShortOfAll`. */
  private mostFrames = MOST_FRAMES

  /**
   * Forgets all short gaps. Writes only where a word is not zero, so that untouched memory stays untouched.
   */
  protected forgetShortGaps(): void {
    this.usedTops = 0
    this.restLength = 0
    this.mostFrames = MOST_FRAMES
    zero(this.tops)
    zero(this.leaves)
    zero(this.branches)
    zero(this.roots)
  }

  /** Files a gap of `length` granules, less than a frame, that starts in `frame`. */
  raiseTop(frame: number, length: number): void {
    const bin = binOf(length)
    const top = this.tops[frame]
    if (bin > top) this.move(frame, top, bin)
  }

  /**
   * Makes a live block of `size` granules, less than a frame: from the rest, or else from the gap that fits
   * best. Returns NONE if it found no gap. O(1).
   */
  takeShort(size: number): Block {
    if (size <= this.restLength) {
      const block = this.takeFromRest(size)
      if (block !== NONE) return block
    }
    // In a bin of several lengths some gaps may be too short. In the bins from `sure` on all are long enough.
    const sure = size < EXACT_BELOW ? size : binOf(size) + 1
    for (let frames = this.mostFrames; sure < BINS && frames > 0; frames--) {
      const bins = this.usedTops & (-1 >>> sure)
      if (bins === 0) break
      const block = this.takeFrom(clz32(bins), size)
      if (block >= 0) return block
    }
    return size < EXACT_BELOW ? NONE : this.takeFromOwn(size)
  }

  /**
   * Like `takeShort`, but returns NONE only if no short gap is long enough. Reads all frames whose tops are
   * too high.
   */
  takeShortOfAll(size: number): Block {
    this.mostFrames = ALL_FRAMES
    const block = this.takeShort(size)
    this.mostFrames = MOST_FRAMES
    return block !== NONE || size < EXACT_BELOW ? block : this.takeFromAnyOf(binOf(size), size)
  }

  /**
   * Makes a live block of `size` granules in the first frame of `bin` that has a gap of that length, or
   * returns NONE. The bin holds several lengths, so some of its gaps may be too short.
   */
  private takeFromAnyOf(bin: number, size: number): Block {
    const { leaves } = this
    for (let leaf = bin; this.usedTops << bin < 0 && leaf < leaves.length; leaf += BINS) {
      for (let frames = leaves[leaf]; frames !== 0; ) {
        const bit = clz32(frames)
        frames ^= FIRST_BIT >>> bit
        const gap = this.longestIn((leaf & -BINS) | bit)
        if (gap === NONE || this.next(gap) - gap < size) continue
        const end = gap + size
        const gapEnd = this.next(gap)
        this.carve(gap, end, gapEnd)
        if (end < gapEnd) this.raiseTop(end >>> FRAME_SHIFT, gapEnd - end)
        return gap
      }
    }
    return NONE
  }

  /**
   * Makes a live block from the bin of `size` itself, in which only some gaps may be long enough. Returns
   * NONE if it found none.
   */
  private takeFromOwn(size: number): Block {
    const own = binOf(size)
    for (let frames = this.mostFrames; this.usedTops << own < 0 && frames > 0; frames--) {
      const block = this.takeFrom(own, size)
      if (block >= 0) return block
      if (block === TOO_SHORT) return NONE
    }
    return NONE
  }

  /**
   * Makes a live block of `size` granules from the rest, or returns NONE. The top of the rest's frame stays
   * as it is. `GranuleMap.carve` is written out here. That also makes this function too long to be inlined,
   * and `takeFromFront` needs that room.
   */
  private takeFromRest(size: number): Block {
    const { bits, occupied, rows } = this
    const gap = this.rest
    const pair = BITS_PREFIX + ((gap >>> 5) << 1)
    const bit = FIRST_BIT >>> gap
    const marks = bits[pair + 1]
    let starts = bits[pair]
    this.restLength = 0
    if ((marks & ~starts & bit) === 0) return NONE
    const later = (starts | marks) & (LATER_BITS >>> gap)
    const gapEnd = later !== 0 ? (gap & ~31) | clz32(later) : this.nextBehind(gap)
    const end = gap + size
    const left = gapEnd - end
    if (left < 0 || gapEnd - gap >= FRAME_GRANULES) return NONE
    const frame = gap >>> FRAME_SHIFT
    const endFrame = end >>> FRAME_SHIFT
    starts |= bit
    bits[pair] = starts
    if ((marks & ~starts) === 0) occupied[frame] &= ~(GAP >>> ((gap >>> 5) & 7))
    if (endFrame !== frame) {
      rows[frame * ROW_WORDS + END] = end
      const lastFrame = (end - 1) >>> FRAME_SHIFT
      if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = gap
    }
    if (left === 0) return gap
    this.rest = end
    this.restLength = left
    bits[BITS_PREFIX + 1 + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
    occupied[endFrame] |= (GAP | ANY) >>> ((end >>> 5) & 7)
    if (gapEnd >>> FRAME_SHIFT !== endFrame) {
      rows[endFrame * ROW_WORDS + END] = gapEnd
      const lastFrame = (gapEnd - 1) >>> FRAME_SHIFT
      if (lastFrame !== endFrame) rows[lastFrame * ROW_WORDS + START] = end
    }
    if (endFrame !== frame) this.raiseTop(endFrame, left)
    return gap
  }

  /**
   * Makes a live block of `size` granules from the gap that fits best in the lowest frame with top `bin`.
   * Returns NONE if no gap there is long enough and the frame's top was too high; the top is right then.
   * Returns TOO_SHORT if the top was right already.
   *
   * Blocks that come from no stack spend much of their time here. So it is one function, with
   * `GranuleMap.carve` written out: V8 inlines only so much into one function, see docs/v8.md.
   */
  private takeFrom(bin: number, size: number): Block {
    const { bits, branches, leaves, occupied, roots, rootWords, rows } = this
    let at = bin
    while (at < rootWords && roots[at] === 0) at += BINS
    if (at >= rootWords) {
      this.usedTops &= ~(FIRST_BIT >>> bin)
      return NONE
    }
    let node = (at & -BINS) | clz32(roots[at])
    node = (node << BINS_SHIFT) | clz32(branches[(node << BINS_SHIFT) | bin])
    const frame = (node << BINS_SHIFT) | clz32(leaves[(node << BINS_SHIFT) | bin])
    let best: number = NONE
    let bestLength = FRAME_GRANULES
    let longest = 0
    for (let words = (occupied[frame] >>> 8) << 24; words !== 0; ) {
      const first = clz32(words)
      words ^= FIRST_BIT >>> first
      const word = (frame << 3) | first
      const pair = BITS_PREFIX + (word << 1)
      const starts = bits[pair]
      const marks = bits[pair + 1]
      const any = marks | starts
      let gaps = marks & ~starts
      do {
        const bit = clz32(gaps)
        const behind = LATER_BITS >>> bit
        gaps &= behind
        const later = any & behind
        const start = (word << 5) | bit
        const length = later !== 0 ? clz32(later) - bit : this.nextBehind(start) - start
        if (length >= size && length < bestLength) {
          if (best !== NONE && bestLength > longest) longest = bestLength
          best = start
          bestLength = length
        } else if (length > longest && length < FRAME_GRANULES) {
          longest = length
        }
      } while (gaps !== 0)
    }
    if (best !== NONE) {
      const end = best + size
      const left = bestLength - size
      const endFrame = end >>> FRAME_SHIFT
      this.restLength = left
      const pair = BITS_PREFIX + ((best >>> 5) << 1)
      const starts = bits[pair] | (FIRST_BIT >>> best)
      bits[pair] = starts
      if ((bits[pair + 1] & ~starts) === 0) occupied[frame] &= ~(GAP >>> ((best >>> 5) & 7))
      if (endFrame !== frame) {
        rows[frame * ROW_WORDS + END] = end
        const lastFrame = (end - 1) >>> FRAME_SHIFT
        if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = best
      }
      if (left > 0) {
        this.rest = end
        bits[BITS_PREFIX + 1 + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
        occupied[endFrame] |= (GAP | ANY) >>> ((end >>> 5) & 7)
        const gapEnd = end + left
        if (gapEnd >>> FRAME_SHIFT !== endFrame) {
          rows[endFrame * ROW_WORDS + END] = gapEnd
          const lastFrame = (gapEnd - 1) >>> FRAME_SHIFT
          if (lastFrame !== endFrame) rows[lastFrame * ROW_WORDS + START] = end
        }
        if (endFrame !== frame) this.raiseTop(endFrame, left)
        else if (left > longest) longest = left
      }
    }
    const top = longest === 0 ? 0 : binOf(longest)
    if (top !== bin) this.move(frame, bin, top)
    else if (best === NONE) return TOO_SHORT
    return best
  }

  /** Changes the top of a frame from bin `from` to bin `to`, in `tops` and in the tree. */
  private move(frame: number, from: number, to: number): void {
    const { leaves, tops } = this
    const leaf = frame & -32
    const bit = FIRST_BIT >>> frame
    tops[frame] = to
    if (from !== 0) {
      const word = leaves[leaf + from] & ~bit
      leaves[leaf + from] = word
      if (word === 0) this.clearAbove(frame, from)
    }
    if (to !== 0) {
      const word = leaves[leaf + to]
      leaves[leaf + to] = word | bit
      if (word === 0) this.setAbove(frame, to)
    }
  }

  /** Clears the bits above a leaf word of `bin` that has become zero. */
  private clearAbove(frame: number, bin: number): void {
    const { branches, roots } = this
    const branch = ((frame >>> 10) << BINS_SHIFT) + bin
    branches[branch] &= ~(FIRST_BIT >>> (frame >>> 5))
    if (branches[branch] === 0) roots[((frame >>> 15) << BINS_SHIFT) + bin] &= ~(FIRST_BIT >>> (frame >>> 10))
  }

  /** Sets the bits above a leaf word of `bin` that was zero. */
  private setAbove(frame: number, bin: number): void {
    const { branches, roots } = this
    branches[((frame >>> 10) << BINS_SHIFT) + bin] |= FIRST_BIT >>> (frame >>> 5)
    roots[((frame >>> 15) << BINS_SHIFT) + bin] |= FIRST_BIT >>> (frame >>> 10)
    this.usedTops |= FIRST_BIT >>> bin
  }

  /**
   * Granules of the longest short gap before `endFrame`, or 0 if there is none. Reads one byte for each
   * frame, and the bits of some frames.
   */
  protected longestShort(endFrame: number): number {
    const { tops } = this
    let longest = 0
    let bin = 0
    for (let frame = 0; frame < endFrame; frame++) {
      // The bin of the longest gap so far can have a longer one only if it holds several lengths.
      if (tops[frame] < bin || (tops[frame] === bin && bin < EXACT_BELOW)) continue
      const gap = this.longestIn(frame)
      if (gap !== NONE) longest = max(longest, this.next(gap) - gap)
      bin = binOf(longest)
    }
    return longest
  }

  /** The start of the longest short gap of a frame, or NONE. */
  private longestIn(frame: number): Block {
    const { bits } = this
    let longest: Block = NONE
    let most = 0
    for (let word = frame << 3; word < (frame + 1) << 3; word++) {
      const pair = BITS_PREFIX + (word << 1)
      for (let gaps = bits[pair + 1] & ~bits[pair]; gaps !== 0; ) {
        const bit = clz32(gaps)
        gaps ^= FIRST_BIT >>> bit
        const gap = (word << 5) | bit
        const length = this.next(gap) - gap
        if (length >= FRAME_GRANULES || length <= most) continue
        longest = gap
        most = length
      }
    }
    return longest
  }

  /** Forgets the tops of frames [firstFrame, endFrame), which are no longer managed. */
  forgetTops(firstFrame: number, endFrame: number): void {
    const { tops } = this
    for (let frame = firstFrame; frame < endFrame; frame++) {
      if (tops[frame] !== 0) this.move(frame, tops[frame], 0)
    }
  }

  // ---- checks ---------------------------------------------------------------------------------------------

  /** Checks that a search can find the gap of `length` granules that starts at `granule`. */
  checkShortGap(granule: Block, length: number): void {
    const top = this.tops[granule >>> FRAME_SHIFT]
    invariant(top >= binOf(length), `1: gap ${granule} of ${length} is not above its frame's top`)
  }

  /** Checks the tree against the tops. */
  checkShortGaps(): void {
    const { tops, leaves, branches, roots } = this
    const expected = new Int32Array(leaves.length)
    for (let frame = 0; frame < tops.length; frame++) {
      const top = tops[frame]
      if (top === 0) continue
      expected[(frame & -32) + top] |= FIRST_BIT >>> frame
      invariant(this.usedTops << top < 0, `2: bin ${top} is known to have frames`)
    }
    for (let at = 0; at < leaves.length; at++) {
      invariant(leaves[at] === expected[at], `2: frames from ${at & -32} in bin ${at & (BINS - 1)}`)
    }
    for (let bin = 1; bin < BINS; bin++) {
      checkLevel(leaves, branches, bin)
      checkLevel(branches, roots, bin)
    }
  }
}

/** Sets all elements to 0. Writes only where one is not 0 yet. */
function zero(words: Int32Array | Uint8Array): void {
  const length = lengthOf(words)
  for (let at = 0; at < length; at++) if (words[at] !== 0) words[at] = 0
}

/** Checks that a bit of the upper level is set exactly where its word of the level below is not zero. */
function checkLevel(below: Int32Array, above: Int32Array, bin: number): void {
  for (let at = bin; at < below.length; at += BINS) {
    const index = at >>> BINS_SHIFT
    const isSet = above[((index >>> 5) << BINS_SHIFT) + bin] << index < 0
    invariant(isSet === (below[at] !== 0), `2: tree word ${index} of bin ${bin}`)
  }
}
