/**
 * Blocks that are cut from long gaps. Gaps without a clean page are used before others, so that memory that
 * is resident anyway is used before a page is committed.
 */
import { type Block, NONE, type PageCount } from '../base/units.js'
import { Gaps } from './gaps.js'
import {
  ANY,
  BITS_PREFIX,
  COLD,
  EDGE,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  GAP,
  REFUSED_GROWTH,
  REFUSED_LIMIT,
  REFUSED_SPACE,
  ROW_WORDS,
  START,
  WARM,
} from './layout.js'

const { max, min } = Math

/** Chooses a long gap for a block, cuts the block and counts the pages that it uses. */
export class LongBlocks extends Gaps {
  /** The number of clean pages that may be taken before `REFUSED_GROWTH`. */
  growthPages: PageCount = 0
  /** Why the last `take…` returned NONE: one of the `REFUSED_…` constants. Valid only after NONE. */
  refusal = 0
  /**
   * The latest block, a frame or longer, that was cut from whole clean pages only, or NONE. It reads as zero.
   */
  zeroedBlock: Block = NONE
  /** Whether clean pages read as zero. */
  protected cleanIsZero = true

  /**
   * The start of a long gap for `size` granules at a multiple of `mask + 1`, or NONE. A warm gap if there is
   * one.
   */
  protected findGap(size: number, mask: number): Block {
    const warm = mask === 0 ? this.findLong(WARM, size) : this.findLongAligned(WARM, size, mask)
    if (warm !== NONE) return warm
    const cold = mask === 0 ? this.findLong(COLD, size) : this.findLongAligned(COLD, size, mask)
    if (cold === NONE) this.refusal = REFUSED_SPACE
    else if (this.growthPages <= 0) this.refusal = REFUSED_GROWTH
    else return cold
    return NONE
  }

  /** Whether a search finds a long gap for `size` granules. */
  protected hasRoom(size: number): boolean {
    return this.findLong(WARM, size) !== NONE || this.findLong(COLD, size) !== NONE
  }

  /**
   * Makes a live block of `size` granules, a frame or more, or returns NONE. `findGap` and `cut` are written
   * out here for blocks at the start of a gap, because services ask for such blocks so often.
   */
  takeLong(size: number): Block {
    const gap = this.findGap(size, 0)
    if (gap === NONE) return NONE
    const { bits, occupied, rows } = this
    const shift = this.granuleShift
    const roundUp = this.pageGranules - 1
    const frame = gap >>> FRAME_SHIFT
    const row = frame * ROW_WORDS
    const gapEnd = rows[row + END] >>> 0
    const clean = rows[row + EDGE] >>> FRAME_SHIFT
    const end = gap + size
    const firstPage = (gap + roundUp) >>> shift
    const endOfWhole = gapEnd >>> shift
    const endOfTouched = (end + roundUp) >>> shift
    const pages = (endOfTouched < endOfWhole ? endOfTouched : endOfWhole) - firstPage
    let taken = 0
    if (pages > 0) {
      if (clean > 0) taken = this.cleanIn(firstPage, pages)
      if (!this.useCounted(firstPage, pages, pages - taken)) {
        this.refusal = REFUSED_LIMIT
        return NONE
      }
      if (taken > 0) {
        this.growthPages -= taken
        this.touch(end)
        if (taken === pages) this.noteZeroed(gap, end, pages)
      }
    }
    this.heldBlocks++
    const slot = this.slotOf(gapEnd - gap, clean)
    // From here on nothing is called until the bit at the block's end is set. An interruption in between
    // would leave a block as long as the gap.
    const pair = BITS_PREFIX + ((gap >>> 5) << 1)
    const starts = bits[pair] | (FIRST_BIT >>> gap)
    bits[pair] = starts
    if ((bits[pair + 1] & ~starts) === 0) occupied[frame] &= ~(GAP >>> ((gap >>> 5) & 7))
    rows[row + END] = end
    const lastFrame = (end - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = gap
    const left = gapEnd - end
    if (left === 0) {
      this.removeFrom(slot, frame)
      return gap
    }
    const endFrame = end >>> FRAME_SHIFT
    bits[BITS_PREFIX + 1 + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
    occupied[endFrame] |= (GAP | ANY) >>> ((end >>> 5) & 7)
    if (gapEnd >>> FRAME_SHIFT !== endFrame) {
      rows[endFrame * ROW_WORDS + END] = gapEnd
      const lastOfGap = (gapEnd - 1) >>> FRAME_SHIFT
      if (lastOfGap !== endFrame) rows[lastOfGap * ROW_WORDS + START] = end
    }
    if (left >= FRAME_GRANULES) {
      this.changeIn(slot, frame, this.slotOf(left, clean - taken), end, clean - taken)
    } else {
      this.removeFrom(slot, frame)
      this.raiseTop(endFrame, left)
    }
    return gap
  }

  /** Whether a range starts at `granule`. */
  private startsRange(granule: number): boolean {
    const { ranges } = this
    for (let i = 0; i < ranges.length; i++) {
      if (ranges[i].firstPage * this.pageGranules === granule) return true
    }
    return false
  }

  /**
   * Makes a live block after `take` or `takeAligned` found no gap, or returns NONE. Reads all long gaps that
   * may have room, so that pages are added only if none has.
   */
  takeLast(size: number, mask: number): Block {
    const gap = this.findLastLong(size, mask)
    if (gap === NONE) {
      this.refusal = REFUSED_SPACE
      return NONE
    }
    const block = gap + (-gap & mask)
    return this.cut(gap, this.next(gap), block, block + size)
  }

  /**
   * Makes a live block after the limit has refused, or returns NONE. It takes any place, at either end of any
   * long gap, that commits no more than the limit allows. Reads all long gaps: only an allocation at the
   * limit takes that time.
   */
  takeCommitted(size: number, mask: number): Block {
    for (let gap = this.followingLong(NONE); gap !== NONE; gap = this.followingLong(gap)) {
      const end = this.next(gap)
      const low = gap + (-gap & mask)
      const high = (end - size) & ~mask
      if (low + size > end || high < gap) continue
      const isLow = this.fits(this.cleanTouched(low, low + size, gap, end))
      const isHigh = !isLow && this.fits(this.cleanTouched(high, high + size, gap, end))
      if (!isLow && !isHigh) continue
      const block = isLow ? low : high
      return this.cut(gap, end, block, block + size)
    }
    this.refusal = REFUSED_LIMIT
    return NONE
  }

  /**
   * Makes a live block of `size` granules, a frame or more, at a multiple of `mask + 1`, with room behind it.
   * Returns NONE if no gap has twice that length.
   */
  protected takeWithRoom(size: number, mask: number): Block {
    const warm = this.findLongAligned(WARM, 2 * size, mask)
    const gap = warm !== NONE ? warm : this.findLongAligned(COLD, 2 * size, mask)
    if (gap === NONE) {
      this.refusal = REFUSED_SPACE
      return NONE
    }
    const gapEnd = this.next(gap)
    const first = gap + (-gap & mask)
    const isAtStart = this.startsRange(gap)
    const block = isAtStart ? first : first + (((gapEnd - first - size) >>> 1) & ~mask)
    return this.cut(gap, gapEnd, block, block + size)
  }

  /**
   * Makes [block, end) of the long gap [gap, gapEnd) a live block and returns `block`. The parts on both
   * sides stay gaps. Returns NONE, and changes nothing, if the page limit refuses.
   */
  protected cut(gap: Block, gapEnd: number, block: Block, end: number): Block {
    const shift = this.granuleShift
    const clean = this.cleanOf(gap)
    const firstPage = (max(block & -this.pageGranules, gap) + this.pageGranules - 1) >>> shift
    const endPage = min(gapEnd >>> shift, (end + this.pageGranules - 1) >>> shift)
    const pages = endPage - firstPage
    let taken = 0
    if (pages > 0) {
      if (clean > 0) taken = this.cleanIn(firstPage, pages)
      if (!this.useCounted(firstPage, pages, pages - taken)) {
        this.refusal = REFUSED_LIMIT
        return NONE
      }
      this.growthPages -= taken
      if (taken > 0) {
        this.touch(block)
        this.touch(end)
      }
      if (taken === pages && end - block >= FRAME_GRANULES) this.noteZeroed(block, end, pages)
    }
    this.heldBlocks++
    if (block === gap) {
      this.carve(gap, end, gapEnd)
      const left = gapEnd - end
      if (left >= FRAME_GRANULES) {
        this.changeLong(gap, gapEnd - gap, clean, end, left, clean - taken)
      } else {
        this.removeLong(gap, gapEnd - gap, clean)
        if (left > 0) this.raiseTop(end >>> FRAME_SHIFT, left)
      }
      return block
    }
    // This comes first: if it is interrupted, the block is no longer than it was to be.
    if (end < gapEnd) this.markGap(end)
    this.markHeld(block)
    this.markLive(block)
    this.span(block, end)
    this.span(gap, block)
    this.removeLong(gap, gapEnd - gap, clean)
    const before = clean === 0 ? 0 : this.cleanWithin(gap, block)
    this.addGap(gap, block, before)
    if (end < gapEnd) {
      this.span(end, gapEnd)
      this.addGap(end, gapEnd, clean - taken - before)
    }
    return block
  }

  /**
   * Sets `zeroedBlock` if the block [block, end) touches only the `cleanPages` clean pages that were taken
   * for it.
   */
  private noteZeroed(block: Block, end: number, cleanPages: PageCount): void {
    const touched = ((end - 1) >>> this.granuleShift) - (block >>> this.granuleShift) + 1
    if (touched === cleanPages && this.cleanIsZero) this.zeroedBlock = block
  }

  /** The number of clean pages of the gap [gap, gapEnd) that a block [block, end) would touch. */
  private cleanTouched(block: Block, end: number, gap: Block, gapEnd: number): PageCount {
    const first = max(gap, block & -this.pageGranules)
    const last = min(gapEnd, this.pageCeil(end))
    return this.cleanWithin(first, last)
  }
}
