/**
 * Which sizes slabs come in, and how long each slab is.
 *
 * A block of up to `MAX_SLAB_BYTES` takes a slot of the smallest class that holds it. Classes are 16 bytes apart up to
 * 256 bytes and about an eighth of a doubling apart above, so rounding wastes 6 % of a slot on average, a sixth at most. For each
 * class the slab is the shortest run of pages whose tail, what is left behind the last whole slot, is at most 1/16 of
 * it; then the slots are widened to share out that tail. Short slabs matter: a slab's pages serve one class only, so a
 * small heap commits little and an emptied slab comes free early.
 */
import { invariant } from '../base/assert.js'
import { wordsFor } from '../base/bits.js'
import { GRANULE_BYTES, GRANULE_SHIFT, KIB } from '../base/units.js'
import { BITMAP, recordWords } from './slab-records.js'

const LINEAR_GRANULES = 16 // 256 bytes
const STEPS_PER_DOUBLING = 8
const MAX_SLAB_PAGES = 8
const MAX_TAIL = 1 / 16

/** Blocks above this many bytes are page runs of their own. */
export const MAX_SLAB_BYTES = 16 * KIB

/** Words of one class in `SizeClasses.columns`. */
export const CLASS_SHIFT = 3
export const GRANULES = 0 // granules a slot
export const RECIPROCAL = 1 // ceil(2^SHIFT / GRANULES): slot index = (granules into the slab * RECIPROCAL) >>> SHIFT
export const SHIFT = 2
export const SLOTS = 3 // slots a slab
export const PAGES = 4 // pages a slab
// A slab with fewer free slots than this, before one is taken or after one is freed, has no page that changes its state:
// `SLOTS` where the slab is one page, 0 where slots must be counted on each page.
export const QUIET_BELOW = 5
export const LIVE_COUNTS = 6 // where, in the record of a slab of several pages, the live counts of its pages begin

/** What a block is that is better off with a run of pages. */
export const NO_CLASS = 0

/** Class numbers start at 1: a page's tag is its class, and 0 is "no tag". */
export class SizeClasses {
  readonly count: number
  readonly columns: Int32Array
  /** Pages of the longest slab. */
  readonly longestSlabPages: number
  /**
   * Class of a block of `n` granules, for n up to `MAX_SLAB_BYTES / 16`, or NO_CLASS where whole pages are a closer fit
   * than the smallest slot that is large enough. Index 0 is class 1.
   */
  readonly ofGranules: Uint8Array
  readonly #pageGranules: number

  constructor(pageBytes: number) {
    const pageGranules = pageBytes >>> GRANULE_SHIFT
    this.#pageGranules = pageGranules
    const maxGranules = MAX_SLAB_BYTES / GRANULE_BYTES
    const rows: number[][] = [[0, 0, 0, 0, 0]]
    for (const wanted of ladder(maxGranules)) {
      const pages = slabPages(wanted, pageGranules)
      const slots = Math.floor((pages * pageGranules) / wanted)
      const granules = Math.min(maxGranules, Math.floor((pages * pageGranules) / slots))
      // A slab of one slot is a run of pages: that is what such a block gets.
      if (slots === 1 || granules === rows[rows.length - 1][GRANULES]) continue
      const liveCounts = BITMAP + wordsFor(slots)
      invariant(
        pages === 1 || liveCounts + pages <= recordWords(pageBytes),
        'a record holds the bitmap and the counts',
      )
      rows.push([granules, ...reciprocal(granules, slots), slots, pages, pages === 1 ? slots : 0, liveCounts])
    }
    this.count = rows.length - 1
    this.longestSlabPages = Math.max(...rows.map(row => row[PAGES]))
    this.columns = new Int32Array(rows.length << CLASS_SHIFT)
    for (let c = 0; c < rows.length; c++) this.columns.set(rows[c], c << CLASS_SHIFT)
    this.ofGranules = new Uint8Array(maxGranules + 1)
    for (let granules = 0, c = 1; granules <= maxGranules; granules++) {
      if (c <= this.count && granules > rows[c][GRANULES]) c++
      const isSlot = c <= this.count && rows[c][GRANULES] <= this.#wholePages(granules)
      this.ofGranules[granules] = isSlot ? c : NO_CLASS
    }
  }

  /** Granules of the shortest run of pages for a block. */
  #wholePages(granules: number): number {
    return Math.max(1, Math.ceil(granules / this.#pageGranules)) * this.#pageGranules
  }

  /**
   * The smallest class for `sizeBytes` whose every slot starts at a multiple of `alignBytes` (a power of two, a page at
   * most), or NO_CLASS where a run of pages is better. Slabs start on pages, so slots are as aligned as their size is.
   */
  aligned(sizeBytes: number, alignBytes: number): number {
    if (sizeBytes > MAX_SLAB_BYTES) return NO_CLASS
    const alignMask = (alignBytes >>> GRANULE_SHIFT) - 1
    const granules = (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
    const wholePages = this.#wholePages(granules)
    for (let c = this.ofGranules[granules]; c !== NO_CLASS && c <= this.count; c++) {
      const slot = this.columns[(c << CLASS_SHIFT) + GRANULES]
      if (slot > wholePages) break
      if ((slot & alignMask) === 0) return c
    }
    return NO_CLASS
  }
}

/** Slot sizes before widening, in granules, ascending. */
function ladder(maxGranules: number): number[] {
  const sizes: number[] = []
  for (let granules = 1; granules <= LINEAR_GRANULES; granules++) sizes.push(granules)
  for (let base = LINEAR_GRANULES; base < maxGranules; base *= 2) {
    for (let step = 1; step <= STEPS_PER_DOUBLING; step++)
      sizes.push(base + (base * step) / STEPS_PER_DOUBLING)
  }
  return sizes
}

/** The shortest slab with a small tail, or else the one with the smallest. */
function slabPages(granules: number, pageGranules: number): number {
  let best = 0
  let bestTail = 1
  for (let pages = Math.ceil(granules / pageGranules); pages <= MAX_SLAB_PAGES; pages++) {
    const tail = ((pages * pageGranules) % granules) / (pages * pageGranules)
    if (tail <= MAX_TAIL) return pages
    if (tail < bestTail) {
      best = pages
      bestTail = tail
    }
  }
  return best
}

/**
 * A multiplication and a shift that divide exactly every granule index inside a slab by the slot size. The product
 * stays below 2^31; exact while (slots * granules)^2 < 2^31, far above any slab here.
 */
function reciprocal(granules: number, slots: number): [number, number] {
  const shift = 30 - Math.ceil(Math.log2(slots + 1))
  const factor = Math.ceil(2 ** shift / granules)
  const last = (slots + 1) * granules - 1
  invariant(
    Math.floor((last * factor) / 2 ** shift) === slots && last * factor < 2 ** 31,
    'slot division is exact',
  )
  return [factor, shift]
}
