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
import { lengthOf } from '../base/primordials.js'
import { type Block, NONE } from '../base/units.js'
import type { Books } from './books.js'
import { carve, endOf, isGap, nextBehind } from './granule-map.js'
import {
  BINS,
  BINS_SHIFT,
  BITS_PREFIX,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  LATER_BITS,
  MAX_FRAMES,
} from './layout.js'

const { clz32, max } = Math

/** `takeFrom` returns it if the frame has the right top and no gap there is long enough. */
const TOO_SHORT = NONE - 1
/**
 * Below this many granules each bin holds one length. From there on there are four bins a doubling. Bin 0
 * means no gap.
 */
const EXACT_BELOW = 16
const STEPS_SHIFT = 2
const STEPS_MASK = (1 << STEPS_SHIFT) - 1
/** More frames than any space has. */
const ALL_FRAMES = 2 ** 30

/** The bin of a gap of `length` granules, below a frame. */
export function shortBinOf(length: number): number {
  if (length < EXACT_BELOW) return length
  const doubling = 31 - clz32(length)
  return (doubling << STEPS_SHIFT) + ((length >>> (doubling - STEPS_SHIFT)) & STEPS_MASK)
}

/** The first bin in which every gap has room for `size` granules, below a frame; `BINS` if there is none. */
export function sureBinFor(size: number): number {
  return size < EXACT_BELOW ? size : shortBinOf(size) + 1
}

/**
 * Forgets all short gaps. Writes only where a word is not zero, so that untouched memory stays untouched.
 */
export function forgetShortGaps(books: Books): void {
  books.usedTops = 0
  books.restLength = 0
  books.maxFrames = MAX_FRAMES
  zero(books.tops)
  zero(books.leaves)
  zero(books.branches)
  zero(books.roots)
}

/** Files a gap of `length` granules, less than a frame, that starts in `frame`. */
export function raiseTop(books: Books, frame: number, length: number): void {
  const bin = shortBinOf(length)
  const top = books.tops[frame]
  if (bin > top) moveTop(books, frame, top, bin)
}

/**
 * Makes a live block of `size` granules, less than a frame: from the rest, or else from the gap that fits
 * best. Returns NONE if it found no gap. O(1).
 */
export function takeShort(books: Books, size: number): Block {
  if (size <= books.restLength) {
    const block = takeFromRest(books, size)
    if (block !== NONE) return block
  }
  // In a bin of several lengths some gaps may be too short. In the bins from `sure` on all are long enough.
  const sure = size < EXACT_BELOW ? size : shortBinOf(size) + 1
  for (let frames = books.maxFrames; sure < BINS && frames > 0; frames--) {
    const bins = books.usedTops & (-1 >>> sure)
    if (bins === 0) break
    const block = takeFrom(books, clz32(bins), size)
    if (block >= 0) return block
  }
  return size < EXACT_BELOW ? NONE : takeFromOwn(books, size)
}

/**
 * Like `takeShort`, but returns NONE only if no short gap is long enough. Reads all frames whose tops are
 * too high.
 */
export function takeShortOfAll(books: Books, size: number): Block {
  books.maxFrames = ALL_FRAMES
  const block = takeShort(books, size)
  books.maxFrames = MAX_FRAMES
  return block !== NONE || size < EXACT_BELOW ? block : takeFromAnyOf(books, shortBinOf(size), size)
}

/**
 * Makes a live block of `size` granules in the first frame of `bin` that has a gap of that length, or
 * returns NONE. The bin holds several lengths, so some of its gaps may be too short.
 */
function takeFromAnyOf(books: Books, bin: number, size: number): Block {
  const { leaves } = books
  for (let leaf = bin; books.usedTops << bin < 0 && leaf < leaves.length; leaf += BINS) {
    for (let frames = leaves[leaf]; frames !== 0; ) {
      const bit = clz32(frames)
      frames ^= FIRST_BIT >>> bit
      const block = takeLongestOf(books, (leaf & -BINS) | bit, size)
      if (block !== NONE) return block
    }
  }
  return NONE
}

/** Makes a live block of `size` granules from the longest short gap of a frame, or returns NONE if it is too short. */
export function takeLongestOf(books: Books, frame: number, size: number): Block {
  const gap = longestIn(books, frame)
  if (gap === NONE || endOf(books, gap) - gap < size) return NONE
  const end = gap + size
  const gapEnd = endOf(books, gap)
  carve(books, gap, end, gapEnd)
  if (end < gapEnd) raiseTop(books, end >>> FRAME_SHIFT, gapEnd - end)
  return gap
}

/**
 * Makes a live block from the bin of `size` itself, in which only some gaps may be long enough. Returns
 * NONE if it found none.
 */
function takeFromOwn(books: Books, size: number): Block {
  const own = shortBinOf(size)
  for (let frames = books.maxFrames; books.usedTops << own < 0 && frames > 0; frames--) {
    const block = takeFrom(books, own, size)
    if (block >= 0) return block
    if (block === TOO_SHORT) return NONE
  }
  return NONE
}

/**
 * Makes a live block of `size` granules from the rest, or returns NONE. The top of the rest's frame stays as
 * it is.
 *
 * @noinline
 */
function takeFromRest(books: Books, size: number): Block {
  const gap = books.rest
  books.restLength = 0
  if (!isGap(books, gap)) return NONE
  const gapEnd = endOf(books, gap)
  const end = gap + size
  const left = gapEnd - end
  if (left < 0 || gapEnd - gap >= FRAME_GRANULES) return NONE
  carve(books, gap, end, gapEnd)
  if (left === 0) return gap
  books.rest = end
  books.restLength = left
  const endFrame = end >>> FRAME_SHIFT
  if (endFrame !== gap >>> FRAME_SHIFT) raiseTop(books, endFrame, left)
  return gap
}

/**
 * Makes a live block of `size` granules from the gap that fits best in the lowest frame with top `bin`.
 * Returns NONE if no gap there is long enough and the frame's top was too high; the top is right then.
 * Returns TOO_SHORT if the top was right already. Blocks that come from no stack spend much of their time
 * here.
 *
 * @noinline
 */
export function takeFrom(books: Books, bin: number, size: number): Block {
  const { bits, branches, leaves, occupied, roots, rootWords } = books
  let at = bin
  while (at < rootWords && roots[at] === 0) at += BINS
  if (at >= rootWords) {
    books.usedTops &= ~(FIRST_BIT >>> bin)
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
      const length = later !== 0 ? clz32(later) - bit : nextBehind(books, start) - start
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
    books.restLength = left
    carve(books, best, end, end + left)
    if (left > 0) {
      books.rest = end
      const endFrame = end >>> FRAME_SHIFT
      if (endFrame !== frame) raiseTop(books, endFrame, left)
      else if (left > longest) longest = left
    }
  }
  const top = longest === 0 ? 0 : shortBinOf(longest)
  if (top !== bin) moveTop(books, frame, bin, top)
  else if (best === NONE) return TOO_SHORT
  return best
}

/** Changes the top of a frame from bin `from` to bin `to`, in `tops` and in the tree. */
function moveTop(books: Books, frame: number, from: number, to: number): void {
  const { leaves, tops } = books
  const leaf = frame & -32
  const bit = FIRST_BIT >>> frame
  tops[frame] = to
  if (from !== 0) {
    const word = leaves[leaf + from] & ~bit
    leaves[leaf + from] = word
    if (word === 0) clearAbove(books, frame, from)
  }
  if (to !== 0) {
    const word = leaves[leaf + to]
    leaves[leaf + to] = word | bit
    if (word === 0) setAbove(books, frame, to)
  }
}

/** Clears the bits above a leaf word of `bin` that has become zero. */
function clearAbove(books: Books, frame: number, bin: number): void {
  const { branches, roots } = books
  const branch = ((frame >>> 10) << BINS_SHIFT) + bin
  branches[branch] &= ~(FIRST_BIT >>> (frame >>> 5))
  if (branches[branch] === 0) roots[((frame >>> 15) << BINS_SHIFT) + bin] &= ~(FIRST_BIT >>> (frame >>> 10))
}

/** Sets the bits above a leaf word of `bin` that was zero. */
function setAbove(books: Books, frame: number, bin: number): void {
  const { branches, roots } = books
  branches[((frame >>> 10) << BINS_SHIFT) + bin] |= FIRST_BIT >>> (frame >>> 5)
  roots[((frame >>> 15) << BINS_SHIFT) + bin] |= FIRST_BIT >>> (frame >>> 10)
  books.usedTops |= FIRST_BIT >>> bin
}

/**
 * Granules of the longest short gap before `endFrame`, or 0 if there is none. Reads one byte for each
 * frame, and the bits of some frames.
 */
export function longestShort(books: Books, endFrame: number): number {
  const { tops } = books
  let longest = 0
  let bin = 0
  for (let frame = 0; frame < endFrame; frame++) {
    // The bin of the longest gap so far can have a longer one only if it holds several lengths.
    if (tops[frame] < bin || (tops[frame] === bin && bin < EXACT_BELOW)) continue
    const gap = longestIn(books, frame)
    if (gap !== NONE) longest = max(longest, endOf(books, gap) - gap)
    bin = shortBinOf(longest)
  }
  return longest
}

/** The start of the longest short gap of a frame, or NONE. */
export function longestIn(books: Books, frame: number): Block {
  const { bits } = books
  let longest: Block = NONE
  let most = 0
  for (let word = frame << 3; word < (frame + 1) << 3; word++) {
    const pair = BITS_PREFIX + (word << 1)
    for (let gaps = bits[pair + 1] & ~bits[pair]; gaps !== 0; ) {
      const bit = clz32(gaps)
      gaps ^= FIRST_BIT >>> bit
      const gap = (word << 5) | bit
      const length = endOf(books, gap) - gap
      if (length >= FRAME_GRANULES || length <= most) continue
      longest = gap
      most = length
    }
  }
  return longest
}

/** Forgets the tops of frames [firstFrame, endFrame), which are no longer managed. */
export function forgetTops(books: Books, firstFrame: number, endFrame: number): void {
  const { tops } = books
  for (let frame = firstFrame; frame < endFrame; frame++) {
    if (tops[frame] !== 0) moveTop(books, frame, tops[frame], 0)
  }
}

/** Sets all elements to 0. Writes only where one is not 0 yet. */
function zero(words: Int32Array | Uint8Array): void {
  const length = lengthOf(words)
  for (let at = 0; at < length; at++) if (words[at] !== 0) words[at] = 0
}
