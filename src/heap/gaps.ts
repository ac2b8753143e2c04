/**
 * Gaps of any length. A block that ends becomes a gap. The gap coalesces at once with those on both sides,
 * and is filed where a search finds it.
 *
 * Exactly these pages come free: they lie wholly in the coalesced gap, and did not lie wholly in a gap
 * before.
 */
import type { Block, PageCount } from '../base/units.js'
import {
  ANY,
  BITS_PREFIX,
  END,
  FIRST_ANY,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  GAP,
  LATER_BITS,
  ROW_WORDS,
  START,
} from './layout.js'
import { LongGaps } from './long-gaps.js'

const { clz32, max, min } = Math

/** Makes gaps of blocks and files them. */
export class Gaps extends LongGaps {
  /** The number of live and kept blocks. */
  heldBlocks = 0

  /** Files the gap [first, end), which is marked in the map. `clean` of its whole pages are clean. */
  protected addGap(first: Block, end: number, clean: PageCount): void {
    if (end - first < FRAME_GRANULES) this.raiseTop(first >>> FRAME_SHIFT, end - first)
    else this.addLong(first, end - first, clean)
  }

  /**
   * Makes the block [block, end), held or live, a gap, and coalesces it. O(1). `GranuleMap.coalesce` is
   * written out here, because a call takes longer.
   */
  give(block: Block, end: number): void {
    this.heldBlocks--
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
    // The start of the stretch that ends where the block starts.
    const last = (block - 1) | 0
    let before: number
    pair = BITS_PREFIX + ((last >> 5) << 1)
    const near = (bits[pair] | bits[pair + 1]) & (-1 << ~last)
    if (near !== 0) {
      before = (last & ~31) | clz32(near & -near)
    } else {
      const frame = last >>> FRAME_SHIFT
      const earlier = occupied[frame] & 0xff & (0xff00 >>> ((last >> 5) & 7))
      if (earlier === 0) {
        before = rows[frame * ROW_WORDS + START]
        pair = BITS_PREFIX + ((before >>> 5) << 1)
      } else {
        const word = (frame << 3) | (clz32(earlier & -earlier) - FIRST_ANY)
        pair = BITS_PREFIX + (word << 1)
        const any = bits[pair] | bits[pair + 1]
        before = (word << 5) | clz32(any & -any)
      }
    }
    const isAfterGap = before >= 0 && (bits[pair + 1] & ~bits[pair]) << before < 0
    const bit = FIRST_BIT >>> block
    let from = block
    pair = BITS_PREFIX + ((block >>> 5) << 1)
    starts = bits[pair] & ~bit
    bits[pair] = starts
    if (isAfterGap) {
      from = before
      marks = bits[pair + 1] & ~bit
      bits[pair + 1] = marks
      if ((starts | marks) === 0) occupied[block >>> FRAME_SHIFT] &= ~(ANY >>> ((block >>> 5) & 7))
    } else {
      bits[pair + 1] |= bit
      occupied[block >>> FRAME_SHIFT] |= GAP >>> ((block >>> 5) & 7)
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
   * Makes [first, end) a gap, coalesces it with the gaps on both sides and files it. `clean` of its whole
   * pages are clean. `isUsed`: all its pages were used; if false, all its whole pages were free.
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

  /**
   * Releases the pages of a block [first, end) that has coalesced to the long gap [from, to), and files that
   * gap.
   */
  private fileFreed(first: Block, end: number, from: Block, to: number): void {
    const shift = this.granuleShift
    let firstPage = first >>> shift
    let endPage = ((end - 1) >>> shift) + 1
    if (firstPage << shift < from) firstPage++
    if (endPage > to >>> shift) endPage = to >>> shift
    if (firstPage < endPage) this.release(firstPage, endPage - firstPage)
    this.fileLong(first, end, from, to, 0)
  }

  /**
   * Files the gap [from, to) to which [first, end) has coalesced, and takes the gaps on both sides out of
   * their bins. `clean` of the whole pages of [first, end) are clean.
   */
  private fileLong(first: Block, end: number, from: Block, to: number, clean: PageCount): void {
    const left = first - from
    const right = to - end
    const leftClean = left >= FRAME_GRANULES ? this.cleanOf(from) : 0
    const rightClean = right >= FRAME_GRANULES ? this.cleanOf(end) : 0
    const allClean = clean + leftClean + rightClean
    const slot = this.slotOf(to - from, allClean)
    if (left >= FRAME_GRANULES) {
      if (right >= FRAME_GRANULES) this.removeFrom(this.slotOf(right, rightClean), end >>> FRAME_SHIFT)
      this.changeIn(this.slotOf(left, leftClean), from >>> FRAME_SHIFT, slot, from, allClean)
    } else if (right >= FRAME_GRANULES) {
      this.changeIn(this.slotOf(right, rightClean), end >>> FRAME_SHIFT, slot, from, allClean)
    } else {
      this.addTo(slot, from, allClean)
    }
  }

  /**
   * Releases the pages that [first, end) shared with its neighbours and that now lie wholly in the gap
   * [from, to). All other pages of [first, end) were free already.
   */
  private releaseEnds(first: Block, end: number, from: Block, to: number): void {
    const shift = this.granuleShift
    const firstPage = (max(from, first & -this.pageGranules) + this.pageGranules - 1) >>> shift
    const endPage = min(this.pageCeil(end), to) >>> shift
    const firstFree = (first + this.pageGranules - 1) >>> shift
    const endFree = end >>> shift
    if (firstFree >= endFree) {
      if (firstPage < endPage) this.release(firstPage, endPage - firstPage)
      return
    }
    if (firstPage < firstFree) this.release(firstPage, firstFree - firstPage)
    if (endFree < endPage) this.release(endFree, endPage - endFree)
  }

  // ---- pages ----------------------------------------------------------------------------------------------

  /** The first granule, at or behind `granule`, at which a page starts. */
  protected pageCeil(granule: number): number {
    return ((granule + this.pageGranules - 1) >>> this.granuleShift) * this.pageGranules
  }

  /** The number of clean pages that lie wholly in [first, end), which is free. */
  protected cleanWithin(first: Block, end: number): PageCount {
    const firstPage = (first + this.pageGranules - 1) >>> this.granuleShift
    const endPage = end >>> this.granuleShift
    return firstPage < endPage ? this.cleanIn(firstPage, endPage - firstPage) : 0
  }
}
