/**
 * The space that blocks are cut from, in granules. A block starts where the one before it ends, also in the
 * middle of a page. Gaps are split and coalesced at once, so each gap is as long as possible.
 *
 * The gaps alone determine what a page is: a page that lies wholly in a gap is free, any other is used. A
 * block that is taken makes exactly those pages used that lay wholly in its gap. A block that is given back
 * frees exactly those pages that now lie wholly in the coalesced gap and did not before.
 *
 * Short blocks come from the best fit among the short gaps, and else from the *front*. The front is one
 * longer gap that no other search finds. Short blocks are cut from it one behind the other.
 *
 * Invariants, checked by `SpacePages.checkSpace`:
 *  1. blocks, gaps and the front cover a range exactly; behind it a held granule marks its end
 *  2. no two gaps touch
 *  3. a gap is where it can be found: in `short-gaps`, or with its length and its clean pages in `long-gaps`
 *  4. `heldBlocks` counts the blocks that are live or kept
 *  5. a page is used exactly where a block touches it, or where the front begins or ends in the middle of it
 */
import { type Block, NONE, type PageNumber } from '../base/units.js'
import {
  ANY,
  BITS_PREFIX,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  REFUSED_LIMIT,
  REFUSED_SPACE,
  ROW_WORDS,
  START,
} from './layout.js'
import { LongBlocks } from './long-blocks.js'

const { min } = Math

/** About the granules of a front that is cut from a longer gap: 16 KiB in an arena. */
const FRONT_GRANULES = 1024

/** Takes blocks from the gaps and the front, aligns and resizes them. */
export class BlockSpace extends LongBlocks {
  /** The front is [front, frontEnd). Both are 0 if there is none. */
  protected front: Block = 0
  protected frontEnd = 0

  // ---- taking ---------------------------------------------------------------------------------------------

  /**
   * Makes a live block of `size` granules, at least 1. Returns NONE if there is no room; `refusal` then says
   * why, and no block has changed. O(1).
   */
  take(size: number): Block {
    if (size >= FRAME_GRANULES) return this.takeLong(size)
    const block = this.takeShort(size)
    if (block !== NONE) {
      this.heldBlocks++
      return block
    }
    const front = this.front
    if (front + size <= this.frontEnd) return this.takeFromFront(front, front + size)
    return this.takeFromNewFront(size)
  }

  /**
   * Makes [block, end), the first part of the front, a live block. The rest stays the front. Returns NONE if
   * the page limit refuses. It is one function, because V8 inlines only so much into one, see docs/v8.md.
   */
  private takeFromFront(block: Block, end: number): Block {
    const shift = this.granuleShift
    const lastPage = (end - 1) >>> shift
    if (lastPage !== (block - 1) >>> shift && !this.useFront(block, lastPage)) return NONE
    const { bits, occupied, rows } = this
    const frontEnd = this.frontEnd
    const frame = block >>> FRAME_SHIFT
    const endFrame = end >>> FRAME_SHIFT
    this.heldBlocks++
    bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= FIRST_BIT >>> block
    if (endFrame !== frame) {
      rows[frame * ROW_WORDS + END] = end
      const lastFrame = (end - 1) >>> FRAME_SHIFT
      if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = block
    }
    if (end === frontEnd) {
      this.front = 0
      this.frontEnd = 0
      return block
    }
    this.front = end
    bits[BITS_PREFIX + ((end >>> 5) << 1)] |= FIRST_BIT >>> end
    occupied[endFrame] |= ANY >>> ((end >>> 5) & 7)
    if (frontEnd >>> FRAME_SHIFT !== endFrame) {
      rows[endFrame * ROW_WORDS + END] = frontEnd
      const lastFrame = (frontEnd - 1) >>> FRAME_SHIFT
      if (lastFrame !== endFrame) rows[lastFrame * ROW_WORDS + START] = end
    }
    return block
  }

  /**
   * Makes the pages used that a block at the start of the front will touch. `lastPage` is the last one.
   * Returns false if the page limit refuses.
   */
  private useFront(block: Block, lastPage: PageNumber): boolean {
    const firstPage = (block + this.pageGranules - 1) >>> this.granuleShift
    const endPage = min(lastPage + 1, this.frontEnd >>> this.granuleShift)
    if (firstPage >= endPage) return true
    const clean = this.cleanIn(firstPage, endPage - firstPage)
    if (!this.useCounted(firstPage, endPage - firstPage, endPage - firstPage - clean)) {
      this.refusal = REFUSED_LIMIT
      return false
    }
    this.growthPages -= clean
    return true
  }

  /**
   * Gives up the front, makes a new one and cuts a block from it. Returns NONE if there is no gap or the page
   * limit refuses.
   */
  private takeFromNewFront(size: number): Block {
    this.dropFront()
    const gap = this.findGap(size, 0)
    if (gap === NONE) return NONE
    const end = this.next(gap)
    const clean = this.cleanOf(gap)
    let frontEnd = end
    this.removeLong(gap, end - gap, clean)
    // It is cut on a page border: a page that the front shared with a gap would be neither used nor free.
    const cutAt = this.pageCeil(gap + FRONT_GRANULES)
    if (end - cutAt >= FRONT_GRANULES) {
      frontEnd = cutAt
      this.markGap(frontEnd)
      this.span(frontEnd, end)
      this.addLong(frontEnd, end - frontEnd, clean === 0 ? 0 : clean - this.cleanWithin(gap, frontEnd))
    }
    this.markHeld(gap)
    this.span(gap, frontEnd)
    this.touch(gap)
    this.touch(frontEnd - 1)
    this.front = gap
    this.frontEnd = frontEnd
    return this.takeFromFront(gap, gap + size)
  }

  /** Makes what is left of the front a gap. */
  dropFront(): void {
    const front = this.front
    const frontEnd = this.frontEnd
    if (frontEnd === 0) return
    this.front = 0
    this.frontEnd = 0
    this.giveCoalescing(front, frontEnd, this.cleanWithin(front, frontEnd), false)
  }

  get hasFront(): boolean {
    return this.frontEnd !== 0
  }

  /** Whether `dropFront` would free a page: one that the front shares with a gap, at either end. */
  get frontHoldsPages(): boolean {
    const front = this.front
    const frontEnd = this.frontEnd
    if (frontEnd === 0) return false
    const mask = this.pageGranules - 1
    if ((frontEnd & mask) !== 0 && this.isGap(frontEnd)) return true
    const before = this.previous(front)
    return (front & mask) !== 0 && before !== NONE && this.isGap(before)
  }

  /**
   * Makes a live block of `size` granules at a multiple of `mask + 1` granules, or returns NONE; `refusal`
   * then says why. `mask + 1` is a power of two.
   */
  takeAligned(size: number, mask: number): Block {
    // All pages of a short gap are used already, so a longer block commits nothing. `align` gives back the
    // rest.
    const whole = size + mask < FRAME_GRANULES ? this.takeShort(size + mask) : NONE
    if (whole !== NONE) return this.align(whole, size, mask)
    const gap = this.findGap(size, mask)
    if (gap === NONE) return NONE
    const block = gap + (-gap & mask)
    return this.cut(gap, this.next(gap), block, block + size)
  }

  /**
   * Makes a live block from any short gap that has room, or returns NONE. Called when nothing else had room.
   * Reads all frames whose tops are too high, of which `take` reads a few.
   */
  takeLastShort(size: number, mask: number): Block {
    const whole = size + mask < FRAME_GRANULES ? this.takeShortOfAll(size + mask) : NONE
    return whole !== NONE ? this.align(whole, size, mask) : NONE
  }

  /**
   * Counts the new block at `whole`, of `size + mask` granules, and gives back all of it but `size` granules
   * at a multiple of `mask + 1`.
   */
  private align(whole: Block, size: number, mask: number): Block {
    this.heldBlocks++
    return this.trim(whole, whole + (-whole & mask), size, whole + size + mask)
  }

  /** Gives back all of the live block [whole, end) but `size` granules at `block`. */
  private trim(whole: Block, block: Block, size: number, end: number): Block {
    if (block > whole) {
      this.markHeld(block)
      this.markLive(block)
      this.span(block, end)
      this.span(whole, block)
      this.giveCoalescing(whole, block, 0, true)
    }
    if (block + size < end) {
      this.span(block, block + size)
      this.markHeld(block + size)
      this.span(block + size, end)
      this.giveCoalescing(block + size, end, 0, true)
    }
    return block
  }

  // ---- resizing -------------------------------------------------------------------------------------------

  /**
   * Makes the live block [block, end) `size` granules long without moving it. Returns false, and changes
   * nothing, if it has to move.
   */
  resizeTo(block: Block, end: number, size: number): boolean {
    const newEnd = block + size
    this.refusal = REFUSED_SPACE
    if (newEnd > end) return this.grow(block, end, newEnd)
    if (newEnd < end) {
      this.span(block, newEnd)
      this.markHeld(newEnd)
      this.span(newEnd, end)
      this.giveCoalescing(newEnd, end, 0, true)
    }
    return true
  }

  /**
   * Makes the live block [block, end) end at `newEnd`, if the gap behind it is long enough. Returns false,
   * and changes no block, if not.
   */
  private grow(block: Block, end: number, newEnd: number): boolean {
    if (end === this.front) this.dropFront()
    if (!this.isGap(end)) return false
    const gapEnd = this.next(end)
    if (gapEnd < newEnd) return false
    if (gapEnd - end >= FRAME_GRANULES) {
      if (this.cut(end, gapEnd, end, newEnd) === NONE) return false
      this.heldBlocks--
      if (this.zeroedBlock === end) this.zeroedBlock = NONE
    } else if (newEnd < gapEnd) {
      this.markGap(newEnd)
      this.span(newEnd, gapEnd)
      this.raiseTop(newEnd >>> FRAME_SHIFT, gapEnd - newEnd)
    }
    this.clear(end)
    this.span(block, newEnd)
    return true
  }
}
