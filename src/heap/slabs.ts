/**
 * Small blocks: runs of pages cut into equal slots of one size class.
 *
 * A slab's books are one record: how many slots are free, a bitmap of which (1 = free), a hint where to start looking. A
 * slab of several pages also counts, for each page, the live slots that touch it. When a page's count leaves or
 * reaches zero, `page-states` is told, so that single pages go back to the kernel while the slab lives.
 *
 * The lowest free slot of the class's current slab is served first; which slab comes next is for `slab-lists` to say. A
 * slab that becomes empty gives its pages back at once, but for the current one: a block that bounces must not cut and
 * join a run each time. `releaseCurrents` gives those back too, when a run is wanted.
 *
 * A slab is named by the index of its record.
 *
 * Invariants, checked by `check…()`:
 *  1. every page of a slab carries its tag, and its record says where it starts
 *  2. free slots = ones in the bitmap; no ones behind the last slot, none before the hint
 *  3. a page's live count = live slots that touch it
 */
import { invariant } from '../base/assert.js'
import { popcount } from '../base/bits.js'
import type { Block, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import type { ColumnStorage } from './columns.js'
import type { PageRuns } from './page-runs.js'
import type { PageStates } from './page-states.js'
import { type PageTable, TAG_NONE } from './page-table.js'
import type { SizeClasses } from './size-class.js'
import * as classLayout from './size-class.js'
import { SlabLists } from './slab-lists.js'
import * as layout from './slab-records.js'
import { SlabRecords } from './slab-records.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BITMAP, BUCKET, CLASS, FIRST_GRANULE, FREE_SLOTS, HINT } = layout
const { CLASS_SHIFT, GRANULES, LIVE_COUNTS, PAGES, QUIET_BELOW, RECIPROCAL, SHIFT, SLOTS } = classLayout
const NONE = units.NONE

/** What `slotOf` answers for a granule where no slot starts. */
const NOT_A_SLOT = -1

export class Slabs {
  readonly #table: PageTable
  readonly #states: PageStates
  readonly #runs: PageRuns
  readonly #records: SlabRecords
  readonly #lists: SlabLists
  readonly #classCount: number
  readonly #classes: Int32Array
  /** Each class's current slab, or NONE: the lists' own. */
  readonly #current: Int32Array
  liveSlots = 0

  constructor(
    table: PageTable,
    states: PageStates,
    runs: PageRuns,
    classes: SizeClasses,
    storage: ColumnStorage,
  ) {
    this.#table = table
    this.#states = states
    this.#runs = runs
    this.#records = new SlabRecords(table.pageBytes, storage)
    this.#classCount = classes.count
    this.#classes = classes.columns
    this.#lists = new SlabLists(this.#records, classes.count)
    this.#current = this.#lists.current
  }

  get metadataBytes(): number {
    return this.#records.metadataBytes
  }

  /** What the runtime said when it had no memory for books, since this was last set to null. */
  get failure(): unknown {
    return this.#records.failure
  }

  set failure(value: null) {
    this.#records.failure = value
  }

  /**
   * A slot of the class, or NONE where no run of pages is long enough, the page limit refuses, or there is no memory for
   * the books of another slab (`failure`).
   */
  allocate(sizeClass: number): Block {
    const slab = this.#current[sizeClass]
    if (slab === NONE) return this.#allocateFromNext(sizeClass)
    const records = this.#records.columns
    const classes = this.#classes
    const column = sizeClass << CLASS_SHIFT
    const free = records[slab + FREE_SLOTS]
    const bitmap = slab + BITMAP
    let word = records[slab + HINT]
    let bits = records[bitmap + word]
    while (bits === 0) bits = records[bitmap + ++word]
    const slot = (word << 5) + 31 - Math.clz32(bits & -bits)
    const block = (records[slab + FIRST_GRANULE] + Math.imul(slot, classes[column + GRANULES])) | 0
    // A slab of one page changes its page's state with the first slot only.
    if (free >= classes[column + QUIET_BELOW] && !this.#occupy(block, slab, column)) {
      return this.#allocateOnUsedPages(sizeClass)
    }
    records[bitmap + word] = bits & (bits - 1)
    records[slab + HINT] = word
    records[slab + FREE_SLOTS] = free - 1
    if (free === 1) this.#current[sizeClass] = NONE
    this.liveSlots++
    return block
  }

  /**
   * Frees the block that starts at granule `block` in the slab. Returns false, and changes nothing, where no live slot
   * starts there.
   */
  free(block: Block, slab: number): boolean {
    const records = this.#records.columns
    const classes = this.#classes
    const column = records[slab + CLASS] << CLASS_SHIFT
    const into = (block - records[slab + FIRST_GRANULE]) | 0
    const slot = Math.imul(into, classes[column + RECIPROCAL]) >>> classes[column + SHIFT]
    if (Math.imul(slot, classes[column + GRANULES]) !== into || slot >= classes[column + SLOTS]) return false
    const word = slot >>> 5
    const at = slab + BITMAP + word
    const bits = records[at]
    const freed = bits | (1 << slot)
    if (freed === bits) return false
    records[at] = freed
    if (word < records[slab + HINT]) records[slab + HINT] = word
    const free = (records[slab + FREE_SLOTS] + 1) | 0
    records[slab + FREE_SLOTS] = free
    this.liveSlots--
    // What is left to do is rare: a page came free, or the slab changes its place in the lists.
    if (free >= classes[column + QUIET_BELOW]) this.#vacate(block, slab, column)
    if ((free & (free - 1)) === 0 || free === classes[column + SLOTS]) this.#relist(slab, free)
    return true
  }

  /** Whether a live slot of the slab starts at this granule. */
  isLive(block: Block, slab: number): boolean {
    const records = this.#records.columns
    const slot = this.#slotOf(block, slab)
    return slot !== NOT_A_SLOT && ((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 0
  }

  /** The slab's size class. */
  classOf(slab: number): number {
    return this.#records.columns[slab + CLASS]
  }

  /** Whether the class has a slab with a free slot, so that an allocation that failed did so for the page limit. */
  hasRoom(sizeClass: number): boolean {
    return this.#current[sizeClass] !== NONE
  }

  /** Writes the slab's live blocks into `blocks`; returns how many. */
  listLive(slab: number, blocks: Int32Array): number {
    const records = this.#records.columns
    const column = records[slab + CLASS] << CLASS_SHIFT
    let count = 0
    for (let slot = 0; slot < this.#classes[column + SLOTS]; slot++) {
      if (((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 1) continue
      blocks[count++] = records[slab + FIRST_GRANULE] + slot * this.#classes[column + GRANULES]
    }
    return count
  }

  /** Gives back the pages of every current slab that is empty. Returns whether there was one. */
  releaseCurrents(): boolean {
    const records = this.#records.columns
    let released = false
    for (let c = 1; c <= this.#classCount; c++) {
      const slab = this.#current[c]
      if (slab === NONE || records[slab + FREE_SLOTS] !== this.#classes[(c << CLASS_SHIFT) + SLOTS]) continue
      this.#current[c] = NONE
      this.#dissolve(slab)
      released = true
    }
    return released
  }

  /** Gives back the memory of records that were needed once. Every slab may get another name. */
  shrinkBooks(): void {
    const movedTo = this.#records.compact()
    if (movedTo === null) return
    const { words, columns } = this.#records
    const move = (slab: number): number => (slab === NONE ? NONE : movedTo[slab / words])
    this.#lists.rename(move)
    const { tags, granuleShift } = this.#table
    for (const oldSlab of movedTo.keys()) {
      const slab = movedTo[oldSlab]
      if (slab === NONE) continue
      const firstPage = columns[slab + FIRST_GRANULE] >>> granuleShift
      const pages = this.#classes[(columns[slab + CLASS] << CLASS_SHIFT) + PAGES]
      tags.fill(slab + 1, firstPage, firstPage + pages)
    }
  }

  /** The slot that starts at `block`, or NOT_A_SLOT inside one and behind the last. */
  #slotOf(block: Block, slab: number): number {
    const records = this.#records.columns
    const classes = this.#classes
    const column = records[slab + CLASS] << CLASS_SHIFT
    const into = block - records[slab + FIRST_GRANULE]
    const slot = Math.imul(into, classes[column + RECIPROCAL]) >>> classes[column + SHIFT]
    return Math.imul(slot, classes[column + GRANULES]) === into && slot < classes[column + SLOTS]
      ? slot
      : NOT_A_SLOT
  }

  /**
   * A slot is about to be taken: the pages it touches become used. Returns false, and changes nothing, where the page
   * limit refuses.
   */
  #occupy(block: Block, slab: number, column: number): boolean {
    const records = this.#records.columns
    const { granuleShift } = this.#table
    const slabPage = records[slab + FIRST_GRANULE] >>> granuleShift
    if (this.#classes[column + PAGES] === 1) return this.#states.usePage(slabPage)
    const counts = slab + this.#classes[column + LIVE_COUNTS] - slabPage
    const first = block >>> granuleShift
    const last = (block + this.#classes[column + GRANULES] - 1) >>> granuleShift
    if (!this.#states.fits(last - first + 1) && !this.#states.fits(this.#cleanIdle(counts, first, last))) {
      return false
    }
    for (let page = first; page <= last; page++)
      if (records[counts + page]++ === 0) this.#states.usePage(page)
    return true
  }

  /**
   * The page limit refused the lowest slot of the current slab. Another slot of the class may lie on pages that are
   * committed already. Reads the class's slabs that have room: a cost that only an allocation at the limit has.
   */
  #allocateOnUsedPages(sizeClass: number): Block {
    const block = this.#takeCommitted(this.#current[sizeClass], sizeClass)
    if (block !== NONE) return block
    let slab = this.#lists.nextWaiting(sizeClass, NONE)
    for (; slab !== NONE; slab = this.#lists.nextWaiting(sizeClass, slab)) {
      const found = this.#takeCommitted(slab, sizeClass)
      if (found !== NONE) return found
    }
    return NONE
  }

  /** Takes a free slot of the slab that commits no more than the limit allows, or returns NONE. */
  #takeCommitted(slab: number, sizeClass: number): Block {
    const records = this.#records.columns
    const column = sizeClass << CLASS_SHIFT
    const free = records[slab + FREE_SLOTS]
    // The page of an empty slab of one page is not committed, that of any other is.
    const isEmptyPage = this.#classes[column + PAGES] === 1 && free === this.#classes[column + SLOTS]
    if (isEmptyPage) return NONE
    for (let slot = 0; slot < this.#classes[column + SLOTS]; slot++) {
      const word = slab + BITMAP + (slot >>> 5)
      if (((records[word] >>> (slot & 31)) & 1) === 0) continue
      const block = records[slab + FIRST_GRANULE] + slot * this.#classes[column + GRANULES]
      if (this.#classes[column + PAGES] > 1 && !this.#occupy(block, slab, column)) continue
      records[word] &= ~(1 << slot)
      records[slab + FREE_SLOTS] = free - 1
      this.liveSlots++
      this.#afterTake(slab, sizeClass, free - 1)
      return block
    }
    return NONE
  }

  /** A slab that lost a slot out of turn goes where its free count belongs. */
  #afterTake(slab: number, sizeClass: number, free: number): void {
    if (slab === this.#current[sizeClass]) {
      if (free === 0) this.#current[sizeClass] = NONE
      return
    }
    this.#lists.remove(slab)
    if (free > 0) this.#lists.add(slab, free)
  }

  /** How many of a slab's pages from `first` to `last` are clean. Live ones never are. */
  #cleanIdle(counts: number, first: PageNumber, last: PageNumber): number {
    const records = this.#records.columns
    let clean = 0
    for (let page = first; page <= last; page++) {
      if (records[counts + page] === 0) clean += this.#states.cleanIn(page, 1)
    }
    return clean
  }

  /** A slot was freed: pages that no live slot touches any more come free. */
  #vacate(block: Block, slab: number, column: number): void {
    const records = this.#records.columns
    const { granuleShift } = this.#table
    const slabPage = records[slab + FIRST_GRANULE] >>> granuleShift
    if (this.#classes[column + PAGES] === 1) {
      this.#states.releasePage(slabPage)
      return
    }
    const counts = slab + this.#classes[column + LIVE_COUNTS] - slabPage
    const last = (block + this.#classes[column + GRANULES] - 1) >>> granuleShift
    for (let page = block >>> granuleShift; page <= last; page++) {
      if (--records[counts + page] === 0) this.#states.releasePage(page)
    }
  }

  /** A slab whose free count reached a power of two, or all of its slots, goes where that count belongs. */
  #relist(slab: number, free: number): void {
    const records = this.#records.columns
    const sizeClass = records[slab + CLASS]
    if (slab === this.#current[sizeClass]) return
    if (records[slab + BUCKET] !== NONE) this.#lists.remove(slab)
    if (free === this.#classes[(sizeClass << CLASS_SHIFT) + SLOTS]) this.#dissolve(slab)
    else this.#lists.add(slab, free)
  }

  /** Makes another slab current and allocates from it. */
  #allocateFromNext(sizeClass: number): Block {
    return this.#refill(sizeClass) === NONE ? NONE : this.allocate(sizeClass)
  }

  /** Makes the fullest waiting slab current, or a new one. */
  #refill(sizeClass: number): number {
    let slab = this.#lists.takeFullest(sizeClass)
    if (slab === NONE) {
      if (!this.#records.reserve()) return NONE
      const firstPage = this.#runs.take(this.#classes[(sizeClass << CLASS_SHIFT) + PAGES])
      if (firstPage === NONE) return NONE
      slab = this.#create(firstPage, sizeClass)
    }
    this.#current[sizeClass] = slab
    return slab
  }

  #create(firstPage: PageNumber, sizeClass: number): number {
    const column = sizeClass << CLASS_SHIFT
    const slots = this.#classes[column + SLOTS]
    const pages = this.#classes[column + PAGES]
    const slab = this.#records.acquire()
    const records = this.#records.columns
    records[slab + FIRST_GRANULE] = firstPage << this.#table.granuleShift
    records[slab + CLASS] = sizeClass
    records[slab + FREE_SLOTS] = slots
    records[slab + HINT] = 0
    records[slab + BUCKET] = NONE
    let word = slab + BITMAP
    for (let left = slots; left > 0; word++, left -= 32) records[word] = left >= 32 ? -1 : (1 << left) - 1
    if (pages > 1) records.fill(0, word, word + pages)
    for (let page = firstPage; page < firstPage + pages; page++) this.#table.tags[page] = slab + 1
    return slab
  }

  /** An empty slab, in no list, gives its pages back. */
  #dissolve(slab: number): void {
    const records = this.#records.columns
    const { tags, granuleShift } = this.#table
    const firstPage = records[slab + FIRST_GRANULE] >>> granuleShift
    const pages = this.#classes[(records[slab + CLASS] << CLASS_SHIFT) + PAGES]
    for (let page = firstPage; page < firstPage + pages; page++) tags[page] = TAG_NONE
    this.#records.release(slab)
    this.#runs.give(firstPage, pages)
  }

  // ---- proof -----------------------------------------------------------------------------------------------------

  /** Checks the slab whose first page is `firstPage`; returns how many pages it has. */
  checkSlab(firstPage: PageNumber): number {
    const records = this.#records.columns
    const { tags, granuleShift } = this.#table
    const slab = tags[firstPage] - 1
    const column = records[slab + CLASS] << CLASS_SHIFT
    const pages = this.#classes[column + PAGES]
    invariant(
      records[slab + FIRST_GRANULE] === firstPage << granuleShift,
      `1: slab ${slab} starts at page ${firstPage}`,
    )
    for (let page = firstPage; page < firstPage + pages; page++) {
      invariant(tags[page] === slab + 1, `1: page ${page} carries the tag of slab ${slab}`)
    }
    const { free, live } = this.#checkBitmap(slab, column)
    for (let page = 0; page < pages; page++) {
      const isCounted =
        pages === 1 || records[slab + this.#classes[column + LIVE_COUNTS] + page] === live[page]
      invariant(isCounted, `3: page ${firstPage + page} counts its live slots`)
    }
    this.#lists.checkPlace(slab, free, this.#classes[column + SLOTS])
    return pages
  }

  /** Counts a slab's free slots, and the live ones on each page. */
  #checkBitmap(slab: number, column: number): { free: number; live: Int32Array } {
    const records = this.#records.columns
    const { granuleShift } = this.#table
    const granules = this.#classes[column + GRANULES]
    const slots = this.#classes[column + SLOTS]
    const live = new Int32Array(this.#classes[column + PAGES])
    let free = 0
    for (let slot = 0; slot < slots; slot++) {
      const isFree = ((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 1
      if (isFree) {
        free++
        invariant(slot >>> 5 >= records[slab + HINT], `2: slab ${slab} has no free slot before its hint`)
        continue
      }
      const last = (slot * granules + granules - 1) >>> granuleShift
      for (let page = (slot * granules) >>> granuleShift; page <= last; page++) live[page]++
    }
    let ones = 0
    for (let word = 0; word < (slots + 31) >>> 5; word++) ones += popcount(records[slab + BITMAP + word])
    invariant(free === ones && free === records[slab + FREE_SLOTS], `2: slab ${slab} counts its free slots`)
    return { free, live }
  }

  /** Whether a live slot touches this page of a slab. */
  isPageLive(page: PageNumber): boolean {
    const records = this.#records.columns
    const { tags, granuleShift } = this.#table
    const slab = tags[page] - 1
    const column = records[slab + CLASS] << CLASS_SHIFT
    if (this.#classes[column + PAGES] === 1) return records[slab + FREE_SLOTS] < this.#classes[column + SLOTS]
    const index = page - (records[slab + FIRST_GRANULE] >>> granuleShift)
    return records[slab + this.#classes[column + LIVE_COUNTS] + index] > 0
  }

  /** Whether the slab is a current one or waits. */
  isListed(slab: number): boolean {
    return this.#lists.isWaiting(slab) || this.#current[this.classOf(slab)] === slab
  }

  /** Checks that `listedSlabs` slabs are listed, rightly, and that there are records for `slabCount`. */
  checkLists(listedSlabs: number, slabCount: number): void {
    this.#records.check(slabCount)
    this.#lists.check(listedSlabs)
  }
}
