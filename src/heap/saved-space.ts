/**
 * The books of a space as lengths, and back. All books follow from what is live and what is dirty.
 *
 * The lengths of granules are gap and block in turn, from the first granule to the end of the last block. The
 * lengths of pages are pages that are not dirty and dirty ones in turn, to the end of the last dirty page. A
 * gap may be 0 long, and so may the first length of pages.
 */
import { setRange } from '../base/bits.js'
import { SpacePages } from './space-pages.js'

const { ceil, max } = Math

/** Saves the books of a space as lengths, and restores them. */
export class SavedSpace extends SpacePages {
  /**
   * Calls `write` for each live block, with its distance from the end of the last one and its length, in
   * granules. Flush first.
   */
  protected saveBlocks(write: (gap: number, length: number) => void): void {
    let end = 0
    for (const { firstPage, pageCount } of this.ranges) {
      const first = firstPage * this.pageGranules
      const rangeEnd = first + pageCount * this.pageGranules
      for (let at = first; at < rangeEnd; ) {
        const next = this.next(at)
        if (!this.isGap(at)) {
          write(at - end, next - at)
          end = next
        }
        at = next
      }
    }
  }

  /**
   * Calls `write` for each stretch of dirty pages, with its distance from the end of the last one and its
   * length, in pages.
   */
  protected saveDirty(write: (others: number, dirty: number) => void): void {
    let end = 0
    for (let page = this.nextDirty(0, false); page >= 0 && page < this.columnPages; ) {
      const dirtyEnd = this.dirtyEnd(page, this.columnPages, false)
      write(page - end, dirtyEnd - page)
      end = dirtyEnd
      page = this.nextDirty(end, false)
    }
  }

  /**
   * Restores saved books into a space that has none. `stretches` are lengths in granules, `dirtyStretches`
   * lengths in pages. The caller has checked them.
   */
  protected restoreSpace(stretches: Uint32Array, dirtyStretches: Uint32Array): void {
    const endPage = max(ceil(sum(stretches) / this.pageGranules), sum(dirtyStretches))
    if (endPage === 0) return
    const end = endPage * this.pageGranules
    this.addRange(0, endPage)
    this.removeLong(0, end, endPage)
    this.clear(0)
    const lastEnd = this.restoreBlocks(stretches)
    if (lastEnd < end) {
      this.markGap(lastEnd)
      this.span(lastEnd, end)
    }
    this.restoreDirty(dirtyStretches)
    // A gap is filed by its clean pages, and only now are these known.
    let at = 0
    for (let index = 0; index < stretches.length; index += 2) {
      const block = at + stretches[index]
      if (block > at) this.addGap(at, block, this.cleanWithin(at, block))
      at = block + stretches[index + 1]
    }
    if (at < end) this.addGap(at, end, this.cleanWithin(at, end))
  }

  /** Marks blocks and gaps in the map and counts blocks and used pages. Returns the end of the last block. */
  private restoreBlocks(stretches: Uint32Array): number {
    const shift = this.granuleShift
    let at = 0
    let used = 0
    let usedEnd = 0
    for (let index = 0; index < stretches.length; index += 2) {
      const block = at + stretches[index]
      const end = block + stretches[index + 1]
      if (block > at) {
        this.markGap(at)
        this.span(at, block)
      }
      this.markHeld(block)
      this.markLive(block)
      this.span(block, end)
      this.touch(block)
      this.touch(end)
      const endPage = ((end - 1) >>> shift) + 1
      used += endPage - max(usedEnd, block >>> shift)
      usedEnd = endPage
      at = end
    }
    this.heldBlocks = stretches.length / 2
    this.usedPages = used
    this.recentPeakPages = used
    return at
  }

  /** Marks and counts the dirty pages. */
  private restoreDirty(dirtyStretches: Uint32Array): void {
    let page = 0
    for (let index = 0; index < dirtyStretches.length; index += 2) {
      page += dirtyStretches[index]
      setRange(this.dirty, page, page + dirtyStretches[index + 1])
      this.dirtyPages += dirtyStretches[index + 1]
      page += dirtyStretches[index + 1]
    }
    this.peakCommittedPages = this.committedPages
  }
}

function sum(lengths: Uint32Array): number {
  return lengths.reduce((total, length) => total + length, 0)
}
