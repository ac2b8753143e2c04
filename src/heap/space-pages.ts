/**
 * The pages of the space: adding and removing ranges, purging, and rebuilding the books.
 *
 * Pages come and go as whole ranges, or at the end of a range. Purging and filling change which pages of a
 * gap are clean, and so the bin of the gap. No warm path is here.
 *
 * `checkSpace` checks the invariants that `block-space.ts` lists.
 */
import { invariant } from '../base/assert.js'
import { previousSet } from '../base/bits.js'
import { type Block, NONE, type PageCount, type PageNumber } from '../base/units.js'
import { BlockSpace } from './block-space.js'
import { FRAME_GRANULES, FRAME_SHIFT } from './layout.js'
import type { PageRange } from './page-table.js'

const { max, min } = Math

/** Changes pages and the gaps over them together. */
export class SpacePages extends BlockSpace {
  /** The start of the gap, or front, in which pages were purged last. It may have ended since. */
  private purgedGap: Block = 0

  /** Adds free, clean pages. Throws a `RangeError` if the books cannot grow; nothing has changed then. */
  override addRange(firstPage: PageNumber, pageCount: PageCount): void {
    super.addRange(firstPage, pageCount)
    const first = firstPage * this.pageGranules
    const end = first + pageCount * this.pageGranules
    // A held granule stands before the range and at its end, so that neither is taken for a gap.
    if (first === 0) this.bits[0] = 1
    else if (!this.isHeld(first)) this.markHeld(first - 1)
    this.markHeld(end)
    this.markHeld(first)
    this.span(first, end)
    this.giveCoalescing(first, end, pageCount, false)
  }

  /** Whether a range is one gap. Call `dropFront` first. */
  isRangeFree({ firstPage, pageCount }: PageRange): boolean {
    const first = firstPage * this.pageGranules
    return this.isGap(first) && this.next(first) === first + pageCount * this.pageGranules
  }

  /** Removes a range that is one gap and whose pages are all clean. */
  override removeRange(firstPage: PageNumber, pageCount: PageCount): void {
    invariant(this.isRangeFree({ firstPage, pageCount }), 'only a free range is removed')
    const first = firstPage * this.pageGranules
    const end = first + pageCount * this.pageGranules
    this.removeLong(first, end - first, this.cleanOf(first))
    this.forgetTops(first >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
    this.clear(first)
    this.clear(end)
    if (first > 0) this.clear(first - 1)
    this.forgetPages(firstPage, pageCount)
    super.removeRange(firstPage, pageCount)
  }

  /** The number of pages at the end of a range that are free and clean. Call `dropFront` first. */
  cleanTailPages({ firstPage, pageCount }: PageRange): PageCount {
    if (pageCount === 0) return 0
    const endPage = firstPage + pageCount
    const end = endPage * this.pageGranules
    const gap = this.previous(end)
    if (!this.isGap(gap)) return 0
    const firstFree = this.pageCeil(gap) >>> this.granuleShift
    return endPage - max(firstFree, previousSet(this.dirty, endPage - 1) + 1)
  }

  /**
   * Removes the last `count` pages of a range, which must be free and clean. If the range has no more pages,
   * it is removed.
   */
  removeTail({ firstPage, pageCount }: PageRange, count: PageCount): void {
    if (count === 0) return
    invariant(count <= this.cleanTailPages({ firstPage, pageCount }), 'only free, clean pages are removed')
    const first = firstPage * this.pageGranules
    const end = first + pageCount * this.pageGranules
    const newEnd = end - count * this.pageGranules
    const gap = this.previous(end)
    const clean = this.cleanOf(gap)
    this.removeLong(gap, end - gap, clean)
    this.clear(end)
    if (newEnd > gap) {
      this.markHeld(newEnd)
      this.span(gap, newEnd)
      this.addGap(gap, newEnd, clean - count)
    } else if (newEnd > first) {
      this.markHeld(newEnd)
    } else {
      this.clear(first)
      if (first > 0) this.clear(first - 1)
    }
    this.forgetTops(newEnd >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
    this.forgetPages(firstPage + pageCount - count, count)
    this.shortenRange({ firstPage, pageCount }, count)
  }

  /** Makes free pages clean after they were given back to the kernel. Returns how many of them were dirty. */
  override markPurged(firstPage: PageNumber, pageCount: PageCount): PageCount {
    const end = firstPage + pageCount
    for (let page = firstPage; page < end; ) page = this.purgeIn(page, end)
    return super.markPurged(firstPage, pageCount)
  }

  /**
   * Makes free, clean pages of one gap dirty. Returns false, and changes nothing, if the page limit refuses.
   */
  markResident(firstPage: PageNumber, pageCount: PageCount): boolean {
    const peak = this.recentPeakPages
    if (!this.useCounted(firstPage, pageCount, 0)) return false
    this.release(firstPage, pageCount)
    this.recentPeakPages = peak
    const gap = this.startOf(firstPage * this.pageGranules)
    const length = this.next(gap) - gap
    const clean = this.cleanOf(gap)
    this.changeLong(gap, length, clean, gap, length, clean - pageCount)
    return true
  }

  /**
   * The first page and the end of each stretch of pages that lie wholly in a gap: one flat list, in ascending
   * order. Call `dropFront` first.
   */
  listUnused(): PageNumber[] {
    const stretches: [PageNumber, PageNumber][] = []
    for (let gap = this.followingLong(NONE); gap !== NONE; gap = this.followingLong(gap)) {
      const firstPage = (gap + this.pageGranules - 1) >>> this.granuleShift
      const endPage = this.next(gap) >>> this.granuleShift
      if (firstPage < endPage) stretches.push([firstPage, endPage])
    }
    return stretches.sort(([a], [b]) => a - b).flat()
  }

  /**
   * Counts the pages from `page` up to `end` as clean in the gap in which `page` lies, and gives back the
   * books of its inside. The front is in no bin, so nothing is counted there. Returns the first page that
   * does not lie wholly in that gap, or `end`.
   */
  private purgeIn(page: PageNumber, end: PageNumber): PageNumber {
    const first = page * this.pageGranules
    const start = this.gapAround(first)
    const gapEnd = this.next(start)
    const endPage = min(end, gapEnd >>> this.granuleShift)
    if (this.isGap(start)) {
      const clean = this.cleanOf(start)
      const dirty = endPage - page - this.cleanIn(page, endPage - page)
      this.changeLong(start, gapEnd - start, clean, start, gapEnd - start, clean + dirty)
      const firstFrame = max(first, start + FRAME_GRANULES) >>> FRAME_SHIFT
      const endFrame = min(endPage * this.pageGranules, gapEnd - FRAME_GRANULES) >>> FRAME_SHIFT
      this.purgeFrames(firstFrame, endFrame)
    }
    return endPage
  }

  /**
   * The start of the gap, or of the front, in which a free page lies. Pages are purged in ascending order, so
   * it is often the same gap as before.
   */
  private gapAround(granule: number): Block {
    const known = this.purgedGap
    const isKnown = known <= granule && this.isGap(known) && this.next(known) > granule
    if (!isKnown) this.purgedGap = this.startOf(granule)
    return this.purgedGap
  }

  /**
   * Rebuilds all books from the live blocks in the map, after an interrupted change. A free page counts as
   * clean only if it was purged and not used since.
   */
  protected rebuildSpace(): void {
    this.forgetShortGaps()
    this.forgetLongGaps()
    this.forgetStates()
    this.front = 0
    this.frontEnd = 0
    this.zeroedBlock = NONE
    this.purgedGap = 0
    this.heldBlocks = 0
    const { ranges, pageGranules } = this
    for (let i = 0; i < ranges.length; i++) {
      const first = ranges[i].firstPage * pageGranules
      const end = first + ranges[i].pageCount * pageGranules
      if (first === 0) this.bits[0] = 1
      else this.markHeld(first - 1)
      this.keepLive(first, end)
      this.markHeld(end)
      this.rebuildRange(first, end)
    }
    this.recentPeakPages = max(this.recentPeakPages, this.usedPages)
    this.peakCommittedPages = max(this.peakCommittedPages, this.committedPages)
  }

  /** Rebuilds the books of the range [first, end), whose bits and `occupied` are right. */
  private rebuildRange(first: number, end: number): void {
    const shift = this.granuleShift
    let usedEnd = first >>> shift
    for (let at = first; at < end; ) {
      const next = this.nextBit(at + 1, end)
      this.touch(at)
      this.span(at, next)
      if (this.isGap(at)) {
        this.addGap(at, next, this.countFree((at + this.pageGranules - 1) >>> shift, next >>> shift))
      } else {
        this.heldBlocks++
        const lastEnd = ((next - 1) >>> shift) + 1
        this.countUsed(max(usedEnd, at >>> shift), lastEnd)
        usedEnd = lastEnd
      }
      at = next
    }
    this.touch(end)
  }

  // ---- checks ---------------------------------------------------------------------------------------------

  /** Checks all books of the space. Calls `meet` with each block, live or held, and its end. */
  checkSpace(meet: (block: Block, end: number) => void): void {
    const count = { blocks: 0, long: 0 }
    const isUsed = new Uint8Array(this.columnPages)
    for (const { firstPage, pageCount } of this.ranges) {
      const first = firstPage * this.pageGranules
      const end = first + pageCount * this.pageGranules
      this.checkFrames(first >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
      let wasGap = false
      for (let at = first; at < end; at = this.next(at)) {
        const next = this.next(at)
        const isGap = this.isGap(at)
        invariant(next > at && next <= end, `1: what starts at ${at} ends in its range`)
        invariant(!(isGap && wasGap), `2: gap ${at} touches no other`)
        this.checkStretch(at, next)
        if (isGap) this.checkGap(at, next, count)
        else this.checkBlock(at, next, isUsed, count, meet)
        wasGap = isGap
      }
      invariant(!this.isGap(end) && !this.isLive(end), `1: range ends at ${end}`)
    }
    const filed = this.checkLongGaps(
      gap => (this.isGap(gap) ? this.next(gap) - gap : 0),
      gap => this.cleanWithin(gap, this.next(gap)),
    )
    invariant(filed === count.long, `3: ${count.long} long gaps, found ${filed}`)
    this.checkShortGaps()
    invariant(count.blocks === this.heldBlocks, `4: ${this.heldBlocks} blocks, found ${count.blocks}`)
    this.checkPages(page => isUsed[page] === 1)
  }

  /** Checks one gap, or counts it if it is long. */
  private checkGap(gap: Block, end: number, count: { long: number }): void {
    if (end - gap >= FRAME_GRANULES) count.long++
    else this.checkShortGap(gap, end - gap)
  }

  /** Checks one block or the front, and marks in `isUsed` the pages that it uses. */
  private checkBlock(
    block: Block,
    end: number,
    isUsed: Uint8Array,
    count: { blocks: number },
    meet: (block: Block, end: number) => void,
  ): void {
    if (block === this.front && this.frontEnd > 0) {
      invariant(end === this.frontEnd && !this.isLive(block), `1: the front is held back`)
      const mask = this.pageGranules - 1
      if ((block & mask) !== 0) isUsed[block >>> this.granuleShift] = 1
      if ((end & mask) !== 0) isUsed[end >>> this.granuleShift] = 1
      return
    }
    count.blocks++
    isUsed.fill(1, block >>> this.granuleShift, ((end - 1) >>> this.granuleShift) + 1)
    meet(block, end)
  }
}
