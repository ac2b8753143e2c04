/**
 * The space that blocks are cut from, in granules: a block starts where the one before it ends, also in the middle of a
 * page. Gaps are split and coalesced at once, so a gap is always maximal.
 *
 * What a page is follows from the gaps alone: a page that lies wholly in one is free, any other is used. So a block that is
 * taken makes exactly those of its pages used that lay wholly in the gap it was cut from, and a block that is given
 * back frees exactly those that lie wholly in the gap it coalesces to.
 *
 * Small blocks come from the gap that fits best if it is shorter than a frame, and else from the *front*: one longer gap
 * at a time, held back from all others, from which they are cut one behind the other. Gaps that hold no clean page are
 * used before others, so that memory which is resident anyway is used before a page is committed.
 *
 * Invariants, checked by `SpacePages.checkSpace`:
 *  1. a range is covered exactly by blocks, gaps and the front; behind it a held start marks its end
 *  2. no two gaps touch
 *  3. a gap is where it can be found: in `short-gaps`, or with its length and its clean pages in `long-gaps`
 *  4. `heldBlocks` counts the blocks that are live or held back
 *  5. a page is used exactly where a block touches it, or an end of the front that is not a whole page
 */
import type { Block, PageCount, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import * as maps from './granule-map.js'
import * as gaps from './long-gaps.js'
import { LongGaps, slotOf } from './long-gaps.js'
import * as layout from './page-table.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BITS_PREFIX, EDGE, END, FRAME_GRANULES, FRAME_SHIFT, ROW_WORDS, START } = layout
const { ANY, GAP } = maps
const { COLD, WARM } = gaps
const NONE = units.NONE

/** No gap is long enough: add pages and try again. */
export const REFUSED_SPACE = 1
/** It would commit more than `limitPages`: purge and try again. */
export const REFUSED_LIMIT = 2
/** It would take clean pages, and `growthPages` are used up: see what else can be had, and allow more. */
export const REFUSED_GROWTH = 3

/** The front is cut from a longer gap in pieces of about this many granules: 16 KiB. */
const FRONT_GRANULES = 1024

export class BlockSpace extends LongGaps {
  /** [front, frontEnd) is held back for small blocks; both 0 where there is no front. */
  protected front: Block = 0
  protected frontEnd = 0
  /** Blocks that were taken and not given back. */
  heldBlocks = 0
  /** Clean pages that may be taken before `REFUSED_GROWTH`. */
  growthPages: PageCount = 0
  /** Why the last `take…` returned NONE. */
  refusal = 0
  /** The latest block of a frame or more that was cut from whole clean pages only, so that it reads as zero, or NONE. */
  zeroedBlock: Block = NONE

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
    bits[BITS_PREFIX + 1 + ((block >>> 5) << 1)] |= 1 << block
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
    bits[BITS_PREFIX + ((end >>> 5) << 1)] |= 1 << end
    occupied[endFrame] |= ANY << ((end >>> 5) & 7)
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
    const endPage = Math.min(lastPage + 1, this.frontEnd >>> this.granuleShift)
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

  /** A long gap for `size` granules at a multiple of `mask + 1`, or NONE. A warm one if there is any. */
  private findGap(size: number, mask: number): Block {
    const warm = mask === 0 ? this.findLong(WARM, size) : this.findLongAligned(WARM, size, mask)
    if (warm !== NONE) return warm
    const cold = mask === 0 ? this.findLong(COLD, size) : this.findLongAligned(COLD, size, mask)
    if (cold === NONE) this.refusal = REFUSED_SPACE
    else if (this.growthPages <= 0) this.refusal = REFUSED_GROWTH
    else return cold
    return NONE
  }

  /** Whether a long gap is known for `size` granules. */
  hasRoom(size: number): boolean {
    return this.findLong(WARM, size) !== NONE || this.findLong(COLD, size) !== NONE
  }

  /**
   * `take` of a frame or more. `findGap` and `cut`, written out for blocks at the start of a gap: half of all that a service
   * asks for and frees.
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
        if (taken === pages) this.noteZeroed(gap, end, pages)
      }
    }
    this.heldBlocks++
    const pair = BITS_PREFIX + ((gap >>> 5) << 1)
    const starts = bits[pair] | (1 << gap)
    bits[pair] = starts
    if ((bits[pair + 1] & ~starts) === 0) occupied[frame] &= ~(GAP << ((gap >>> 5) & 7))
    rows[row + END] = end
    const lastFrame = (end - 1) >>> FRAME_SHIFT
    if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = gap
    const left = gapEnd - end
    const slot = slotOf(gapEnd - gap, clean)
    if (left === 0) {
      this.removeFrom(slot, frame)
      return gap
    }
    const endFrame = end >>> FRAME_SHIFT
    bits[BITS_PREFIX + 1 + ((end >>> 5) << 1)] |= 1 << end
    occupied[endFrame] |= (GAP | ANY) << ((end >>> 5) & 7)
    if (gapEnd >>> FRAME_SHIFT !== endFrame) {
      rows[endFrame * ROW_WORDS + END] = gapEnd
      const lastOfGap = (gapEnd - 1) >>> FRAME_SHIFT
      if (lastOfGap !== endFrame) rows[lastOfGap * ROW_WORDS + START] = end
    }
    if (left >= FRAME_GRANULES) {
      this.changeIn(slot, frame, slotOf(left, clean - taken), end, clean - taken)
    } else {
      this.removeFrom(slot, frame)
      this.raiseTop(endFrame, left)
    }
    return gap
  }

  /** The same as `take` at a multiple of `mask + 1` granules: a power of two, a page at most. */
  takeAligned(size: number, mask: number): Block {
    // In a short gap all pages are used anyway: what lies before the aligned block is cut off, and given back.
    const whole = size + mask < FRAME_GRANULES ? this.takeShort(size + mask) : NONE
    if (whole !== NONE) {
      this.heldBlocks++
      return this.trim(whole, whole + (-whole & mask), size, whole + size + mask)
    }
    const gap = this.findGap(size, mask)
    if (gap === NONE) return NONE
    const block = gap + (-gap & mask)
    return this.cut(gap, this.next(gap), block, block + size)
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

  /** For when there was no gap for `take` or `takeAligned`: looks at all that may still do before more pages are added. */
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
   * For when the limit has refused: a block wherever it commits no more than the limit allows, at either end of any long
   * gap. Reads all of these: a cost that only an allocation at the limit has.
   */
  takeCommitted(size: number, mask: number): Block {
    for (let gap = this.followingLong(NONE); gap !== NONE; gap = this.followingLong(gap)) {
      const end = this.next(gap)
      const low = gap + (-gap & mask)
      const high = (end - size) & ~mask
      if (low + size > end || high < gap) continue
      for (const block of [low, high]) {
        if (!this.fits(this.cleanTouched(block, block + size, gap, end))) continue
        return this.cut(gap, end, block, block + size)
      }
    }
    this.refusal = REFUSED_LIMIT
    return NONE
  }

  /** Makes [block, end) of the long gap [gap, gapEnd) a live block; what is left on both sides stays a gap. */
  private cut(gap: Block, gapEnd: number, block: Block, end: number): Block {
    const shift = this.granuleShift
    const clean = this.cleanOf(gap)
    const firstPage = (Math.max(block & -this.pageGranules, gap) + this.pageGranules - 1) >>> shift
    const endPage = Math.min(gapEnd >>> shift, (end + this.pageGranules - 1) >>> shift)
    const pages = endPage - firstPage
    let taken = 0
    if (pages > 0) {
      if (clean > 0) taken = this.cleanIn(firstPage, pages)
      if (!this.useCounted(firstPage, pages, pages - taken)) {
        this.refusal = REFUSED_LIMIT
        return NONE
      }
      this.growthPages -= taken
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
    this.markHeld(block)
    this.markLive(block)
    this.span(block, end)
    this.span(gap, block)
    this.removeLong(gap, gapEnd - gap, clean)
    const before = clean === 0 ? 0 : this.cleanWithin(gap, block)
    this.addGap(gap, block, before)
    if (end < gapEnd) {
      this.markGap(end)
      this.span(end, gapEnd)
      this.addGap(end, gapEnd, clean - taken - before)
    }
    return block
  }

  /** `cleanPages` clean pages were taken for a block: if they are all that it touches, it reads as zero. */
  private noteZeroed(block: Block, end: number, cleanPages: PageCount): void {
    const touched = ((end - 1) >>> this.granuleShift) - (block >>> this.granuleShift) + 1
    if (touched === cleanPages) this.zeroedBlock = block
  }

  /** Files the gap [first, end), which is marked. */
  protected addGap(first: Block, end: number, clean: PageCount): void {
    if (end - first < FRAME_GRANULES) this.raiseTop(first >>> FRAME_SHIFT, end - first)
    else this.addLong(first, end - first, clean)
  }

  // ---- giving back -----------------------------------------------------------------------------------------------

  /** The block [block, end), held back or live, is a gap from now on. O(1). With `GranuleMap.coalesce` written out. */
  give(block: Block, end: number): void {
    this.heldBlocks--
    const { bits, occupied, rows } = this
    let to = end
    let pair = BITS_PREFIX + ((end >>> 5) << 1)
    let starts = bits[pair]
    let marks = bits[pair + 1]
    if ((((marks & ~starts) >>> end) & 1) === 1) {
      const later = (starts | marks) & (-2 << end)
      to = later !== 0 ? (end & ~31) + 31 - Math.clz32(later & -later) : this.nextBehind(end)
      marks &= ~(1 << end)
      bits[pair + 1] = marks
      if ((marks & ~starts) === 0) {
        occupied[end >>> FRAME_SHIFT] &= ~(((starts | marks) === 0 ? GAP | ANY : GAP) << ((end >>> 5) & 7))
      }
    }
    // What ends where the block starts.
    const last = (block - 1) | 0
    let before: number
    pair = BITS_PREFIX + ((last >> 5) << 1)
    const near = (bits[pair] | bits[pair + 1]) & (-1 >>> (31 - (last & 31)))
    if (near !== 0) {
      before = (last & ~31) + 31 - Math.clz32(near)
    } else {
      const frame = last >>> FRAME_SHIFT
      const earlier = occupied[frame] & ((1 << ((last >> 5) & 7)) - 1)
      if (earlier === 0) {
        before = rows[frame * ROW_WORDS + START]
        pair = BITS_PREFIX + ((before >>> 5) << 1)
      } else {
        const word = (frame << 3) + 31 - Math.clz32(earlier)
        pair = BITS_PREFIX + (word << 1)
        before = (word << 5) + 31 - Math.clz32(bits[pair] | bits[pair + 1])
      }
    }
    const isAfterGap = before >= 0 && (((bits[pair + 1] & ~bits[pair]) >>> before) & 1) === 1
    const bit = 1 << block
    let from = block
    pair = BITS_PREFIX + ((block >>> 5) << 1)
    starts = bits[pair] & ~bit
    bits[pair] = starts
    if (isAfterGap) {
      from = before
      marks = bits[pair + 1] & ~bit
      bits[pair + 1] = marks
      if ((starts | marks) === 0) occupied[block >>> FRAME_SHIFT] &= ~(ANY << ((block >>> 5) & 7))
    } else {
      bits[pair + 1] |= bit
      occupied[block >>> FRAME_SHIFT] |= GAP << ((block >>> 5) & 7)
    }
    const frame = from >>> FRAME_SHIFT
    if (to >>> FRAME_SHIFT !== frame) {
      rows[frame * ROW_WORDS + END] = to
      const lastFrame = (to - 1) >>> FRAME_SHIFT
      if (lastFrame !== frame) rows[lastFrame * ROW_WORDS + START] = from
    }
    const length = to - from
    if (length >= FRAME_GRANULES) this.fileFreed(block, end, from, to)
    else this.raiseTop(frame, length)
  }

  /**
   * [first, end) is a gap: it coalesces with those on both sides. `clean` of its whole pages are clean; `isUsed`: all of them
   * were used, else all were free.
   */
  protected giveCoalescing(first: Block, end: number, clean: PageCount, isUsed: boolean): void {
    const from = this.coalesce(first, end)
    const to = this.coalescedEnd
    if (to - from < FRAME_GRANULES) {
      this.raiseTop(from >>> FRAME_SHIFT, to - from)
    } else if (isUsed) {
      this.fileFreed(first, end, from, to)
    } else {
      this.releaseEnds(first, end, from, to)
      this.fileLong(first, end, from, to, clean)
    }
  }

  /** The block [first, end) has coalesced to the long gap [from, to): its pages come free. */
  private fileFreed(first: Block, end: number, from: Block, to: number): void {
    const shift = this.granuleShift
    let firstPage = first >>> shift
    let endPage = ((end - 1) >>> shift) + 1
    if (firstPage << shift < from) firstPage++
    if (endPage > to >>> shift) endPage = to >>> shift
    if (firstPage < endPage) this.release(firstPage, endPage - firstPage)
    this.fileLong(first, end, from, to, 0)
  }

  /** [first, end), of which `clean` pages are clean, has coalesced to [from, to): the gaps that it is made of are refiled. */
  private fileLong(first: Block, end: number, from: Block, to: number, clean: PageCount): void {
    const left = first - from
    const right = to - end
    const leftClean = left >= FRAME_GRANULES ? this.cleanOf(from) : 0
    const rightClean = right >= FRAME_GRANULES ? this.cleanOf(end) : 0
    const allClean = clean + leftClean + rightClean
    const slot = slotOf(to - from, allClean)
    if (left >= FRAME_GRANULES) {
      if (right >= FRAME_GRANULES) this.removeFrom(slotOf(right, rightClean), end >>> FRAME_SHIFT)
      this.changeIn(slotOf(left, leftClean), from >>> FRAME_SHIFT, slot, from, allClean)
    } else if (right >= FRAME_GRANULES) {
      this.changeIn(slotOf(right, rightClean), end >>> FRAME_SHIFT, slot, from, allClean)
    } else {
      this.addTo(slot, from, allClean)
    }
  }

  /** [first, end) has coalesced to [from, to): the pages at its ends come free that it shared, all others were free already. */
  private releaseEnds(first: Block, end: number, from: Block, to: number): void {
    const shift = this.granuleShift
    const firstPage = (Math.max(from, first & -this.pageGranules) + this.pageGranules - 1) >>> shift
    const endPage = Math.min(this.pageCeil(end), to) >>> shift
    const firstFree = (first + this.pageGranules - 1) >>> shift
    const endFree = end >>> shift
    if (firstFree >= endFree) {
      if (firstPage < endPage) this.release(firstPage, endPage - firstPage)
      return
    }
    if (firstPage < firstFree) this.release(firstPage, firstFree - firstPage)
    if (endFree < endPage) this.release(endFree, endPage - endFree)
  }

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

  // ---- pages -----------------------------------------------------------------------------------------------------

  /** The first granule at or behind `granule` that starts a page, or would. */
  protected pageCeil(granule: number): number {
    return ((granule + this.pageGranules - 1) >>> this.granuleShift) * this.pageGranules
  }

  /** Clean pages that lie wholly in [first, end), which is free. */
  protected cleanWithin(first: Block, end: number): PageCount {
    const firstPage = (first + this.pageGranules - 1) >>> this.granuleShift
    const endPage = end >>> this.granuleShift
    return firstPage < endPage ? this.cleanIn(firstPage, endPage - firstPage) : 0
  }

  /** Clean pages of the gap [gap, gapEnd) that a block over [block, end) would touch. */
  private cleanTouched(block: Block, end: number, gap: Block, gapEnd: number): PageCount {
    const first = Math.max(gap, block & -this.pageGranules)
    const last = Math.min(gapEnd, this.pageCeil(end))
    return this.cleanWithin(first, last)
  }
}
