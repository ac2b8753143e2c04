/**
 * The lowest place for a block: what a compaction asks for. Allocation looks for the best fit; compaction looks for the
 * lowest address, so that the pages above come free.
 *
 * A search walks up from where the last one of the same length ended, and never goes back. So all searches of a pass
 * together read each frame once for each length. Short gaps are found by the top of each frame (`short-gaps`). For long gaps
 * a survey notes in which frames they start (`LongGaps`).
 */
import { clearRange, nextSet, setBit, wordsFor } from '../base/bits.js'
import { type Block, NONE } from '../base/units.js'
import type { Books } from './books.js'
import { endOf, isGap } from './granule-map.js'
import {
  FRAME_GRANULES,
  FRAME_SHIFT,
  LONG_STEPS_SHIFT,
  MAX_FRAMES,
  REFUSED_LIMIT,
  REFUSED_SPACE,
} from './layout.js'
import { cleanTouched, cut } from './long-blocks.js'
import { startIn } from './long-gaps.js'
import { fits } from './page-states.js'
import { longestIn, shortBinOf, sureBinFor, takeFrom, takeLongestOf } from './short-gaps.js'

const { clz32, max, min } = Math

/** Lengths of blocks that have a cursor of their own: one for all below a frame, then 32 a doubling. */
const CURSORS = 1 + (24 << LONG_STEPS_SHIFT)

/** The frames in which long gaps start, as a survey has found them, and how far searches have come. */
export class LongGaps {
  /** A set bit: a long gap started in the frame when it was noted. It may be gone by now. */
  readonly #frames: Int32Array
  readonly #endFrame: number
  /** For each length: no gap that is long enough starts in a noted frame below. */
  readonly #cursors = new Int32Array(CURSORS)
  /** For each length below a frame: no short gap that is long enough starts in a frame below. */
  readonly #shortCursors = new Int32Array(FRAME_GRANULES)
  /** The same where the page limit refuses clean pages. */
  readonly #limitedCursors = new Int32Array(CURSORS)

  /** `endFrame`: the frames of the books. */
  constructor(endFrame: number) {
    this.#endFrame = endFrame
    this.#frames = new Int32Array(wordsFor(endFrame))
  }

  /** Notes that a long gap starts at `granule`. */
  note(granule: number): void {
    if (granule >>> FRAME_SHIFT < this.#endFrame) setBit(this.#frames, granule >>> FRAME_SHIFT)
  }

  /** Pages went back, so that the page limit allows more: searches begin anew. */
  forgetLimit(): void {
    for (let cursor = 0; cursor < CURSORS; cursor++) this.#limitedCursors[cursor] = 0
  }

  /**
   * The start of the lowest noted gap that has room for `size` granules below the frame `below`, or NONE. The
   * gap stays noted.
   */
  lowest(books: Books, size: number, below: number): Block {
    const cursor = cursorOf(size)
    const end = min(below, this.#endFrame)
    for (let frame = this.#cursors[cursor]; ; frame++) {
      frame = nextSet(this.#frames, frame, end)
      if (frame >= end) {
        // A later search may be for a higher place.
        this.#cursors[cursor] = end
        return NONE
      }
      const gap = this.#gapIn(books, frame)
      if (gap !== NONE && endOf(books, gap) - gap >= size) {
        this.#cursors[cursor] = frame
        return gap
      }
    }
  }

  /**
   * Makes a live block of `size` granules at the lower or the upper end of the lowest noted gap where that commits no
   * more pages than the limit allows. Returns NONE if there is no such place wholly below the frame `below`.
   */
  takeWithinLimit(books: Books, size: number, below: number): Block {
    const cursor = cursorOf(size)
    const end = min(below, this.#endFrame)
    for (let frame = this.#limitedCursors[cursor]; ; frame++) {
      frame = nextSet(this.#frames, frame, end)
      this.#limitedCursors[cursor] = frame
      if (frame >= end) return NONE
      const gap = this.#gapIn(books, frame)
      if (gap === NONE) continue
      const gapEnd = endOf(books, gap)
      if (gapEnd - gap < size) continue
      for (const block of [gap, gapEnd - size]) {
        if ((block + size - 1) >>> FRAME_SHIFT >= below) continue
        if (!fits(books, cleanTouched(books, block, block + size, gap, gapEnd))) continue
        return this.take(books, gap, gapEnd, block, size)
      }
    }
  }

  /**
   * The lowest frame, below `end`, in which a short gap starts that has room for `size` granules, or NONE. The top of the
   * frame may be too high.
   */
  lowestShort(books: Books, size: number, end: number): number {
    const { tops } = books
    const own = shortBinOf(size)
    const sure = sureBinFor(size)
    let frame = this.#shortCursors[size]
    for (; frame < end; frame++) {
      const top = tops[frame]
      if (top < own) continue
      if (top >= sure) break
      // In the bin of `size` itself only some gaps are long enough.
      const gap = longestIn(books, frame)
      if (gap !== NONE && endOf(books, gap) - gap >= size) break
    }
    if (frame > this.#shortCursors[size]) this.#shortCursors[size] = frame
    return frame < end ? frame : NONE
  }

  /** Makes `size` granules at `block`, an end of the noted gap [gap, gapEnd), a live block. Returns NONE at the limit. */
  take(books: Books, gap: Block, gapEnd: number, block: Block, size: number): Block {
    const { growthPages } = books
    const taken = cut(books, gap, gapEnd, block, block + size)
    if (taken === NONE) return NONE
    // A move is no growth, and the block will not read as zero.
    books.growthPages = growthPages
    books.zeroedBlock = NONE
    const left = block === gap ? block + size : gap
    if (left >>> FRAME_SHIFT !== gap >>> FRAME_SHIFT) {
      clearRange(this.#frames, gap >>> FRAME_SHIFT, (gap >>> FRAME_SHIFT) + 1)
    }
    const leftLength = gapEnd - gap - size
    if (leftLength >= FRAME_GRANULES) this.note(left)
    else this.#noteShort(left >>> FRAME_SHIFT, leftLength)
    return taken
  }

  /** What was left of a long gap is short now, and may lie below where searches for short gaps have come. */
  #noteShort(frame: number, length: number): void {
    for (let size = 1; size <= length; size++) {
      if (this.#shortCursors[size] > frame) this.#shortCursors[size] = frame
    }
  }

  /** The long gap that starts in a noted frame, or NONE if it is gone. */
  #gapIn(books: Books, frame: number): Block {
    const gap = startIn(books, frame)
    return isGap(books, gap) && endOf(books, gap) - gap >= FRAME_GRANULES ? gap : NONE
  }
}

/** The cursor for blocks of `size` granules. */
function cursorOf(size: number): number {
  if (size < FRAME_GRANULES) return 0
  const shift = 31 - LONG_STEPS_SHIFT - clz32(size)
  // As many steps a doubling as blocks have lengths.
  return 1 + ((shift + LONG_STEPS_SHIFT - FRAME_SHIFT) << LONG_STEPS_SHIFT) + ((size >>> shift) & 31)
}

/**
 * Makes a live block of `size` granules at the lowest place, wholly below the granule `below`. Returns NONE if there is
 * none; `refusal` then says whether only the page limit stood in the way. Amortised O(1).
 *
 * A short gap is taken before a long one, wherever it lies: its pages are used anyway.
 */
export function takeLowest(books: Books, gaps: LongGaps, size: number, below: number): Block {
  books.refusal = REFUSED_SPACE
  if (size < FRAME_GRANULES) {
    const block = takeLowestShort(books, gaps, size, below)
    if (block !== NONE) return block
  }
  const belowFrame = below >>> FRAME_SHIFT
  const gap = gaps.lowest(books, size, belowFrame)
  if (gap === NONE || gap + size > below) return NONE
  const block = gaps.take(books, gap, endOf(books, gap), gap, size)
  if (block !== NONE) return block
  const within = gaps.takeWithinLimit(books, size, belowFrame)
  if (within === NONE) books.refusal = REFUSED_LIMIT
  return within
}

/** Makes a live block of `size` granules, below a frame, from the lowest short gap, or returns NONE. */
function takeLowestShort(books: Books, gaps: LongGaps, size: number, below: number): Block {
  // A short gap may reach into the next frame, so the last frame is left out.
  const endFrame = max(0, (below >>> FRAME_SHIFT) - 1)
  for (let tries = MAX_FRAMES; tries > 0; tries--) {
    const frame = gaps.lowestShort(books, size, endFrame)
    if (frame === NONE) return NONE
    const bin = books.tops[frame]
    const isSure = bin >= sureBinFor(size)
    const block = isSure ? takeFrom(books, bin, size) : takeLongestOf(books, frame, size)
    // If there was none, the top of that frame was too high, and is right now.
    if (block < 0) continue
    books.cutBlocks++
    return block
  }
  return NONE
}
