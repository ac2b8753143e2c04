/**
 * The space that blocks are cut from, in granules: a block starts where the one before it ends, also in the middle of a
 * page. Gaps are split and coalesced at once, so a gap is always maximal.
 *
 * What a page is follows from the gaps alone: a page that lies wholly in one is free, any other is used. So a block that is
 * taken makes exactly those of its pages used that lay wholly in the gap it was cut from, and a block that is given
 * back frees exactly those that lie wholly in the gap it coalesces to.
 *
 * Small blocks come from the gap that fits best if it is shorter than a frame, and else from the *front*: one longer gap
 * at a time, held back from all others, from which they are cut one behind the other.
 *
 * Invariants, checked by `SpacePages.checkSpace`:
 *  1. a range is covered exactly by blocks, gaps and the front; behind it a held start marks its end
 *  2. no two gaps touch
 *  3. a gap is where it can be found: in `short-gaps`, or with its length and its clean pages in `long-gaps`
 *  4. `heldBlocks` counts the blocks that are live or held back
 *  5. a page is used exactly where a block touches it, or an end of the front that is not a whole page
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

/** The front is cut from a longer gap in pieces of about this many granules: 16 KiB. */
const FRONT_GRANULES = 1024

export class BlockSpace extends LongBlocks {
  /** [front, frontEnd) is held back for small blocks; both 0 where there is no front. */
  protected front: Block = 0
  protected frontEnd = 0

  // ---- taking ----------------------------------------------------------------------------------------------------

  /** A live block of `size` granules, at least 1, or NONE; `refusal` then says why, and nothing has changed. O(1). */
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

  /** Makes [block, end) of the front a live block; the rest stays held back. One function, as V8 inlines only so much. */
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

  /** A block from `block` up to `lastPage` is about to be cut from the front. False where the page limit refuses. */
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

  private takeFromNewFront(size: number): Block {
    this.dropFront()
    const gap = this.findGap(size, 0)
    if (gap === NONE) return NONE
    const end = this.next(gap)
    const clean = this.cleanOf(gap)
    let frontEnd = end
    this.removeLong(gap, end - gap, clean)
    // Cut at the end of a page: a page that the front shares with a gap would be neither used nor free.
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

  /** What is left of the front is a gap again. */
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

  /** Whether a page would come free without the front: one that it shares with a gap, at either end. */
  get frontHoldsPages(): boolean {
    const front = this.front
    const frontEnd = this.frontEnd
    if (frontEnd === 0) return false
    const mask = this.pageGranules - 1
    if ((frontEnd & mask) !== 0 && this.isGap(frontEnd)) return true
    const before = this.previous(front)
    return (front & mask) !== 0 && before !== NONE && this.isGap(before)
  }

  /** The same as `take` at a multiple of `mask + 1` granules: a power of two, a page at most. */
  takeAligned(size: number, mask: number): Block {
    // In a short gap all pages are used anyway: what lies before the aligned block is cut off, and given back.
    const whole = size + mask < FRAME_GRANULES ? this.takeShort(size + mask) : NONE
    if (whole !== NONE) return this.align(whole, size, mask)
    const gap = this.findGap(size, mask)
    if (gap === NONE) return NONE
    const block = gap + (-gap & mask)
    return this.cut(gap, this.next(gap), block, block + size)
  }

  /**
   * For when nothing else had room: a block from any short gap that has. Reads all frames whose tops are too high, of which
   * `take` reads a few.
   */
  takeLastShort(size: number, mask: number): Block {
    const whole = size + mask < FRAME_GRANULES ? this.takeShortOfAll(size + mask) : NONE
    return whole !== NONE ? this.align(whole, size, mask) : NONE
  }

  /** Of the new block of `size + mask` granules only `size` stay, at a multiple of `mask + 1`. */
  private align(whole: Block, size: number, mask: number): Block {
    this.heldBlocks++
    return this.trim(whole, whole + (-whole & mask), size, whole + size + mask)
  }

  /** Of the live block [whole, end) only `size` granules at `block` stay. */
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

  // ---- resizing --------------------------------------------------------------------------------------------------

  /** Makes the live block [block, end) `size` granules long where it is. Returns false, and changes nothing, where it has to move. */
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
