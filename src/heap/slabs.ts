/**
 * Small blocks: runs of pages cut into equal slots of one size class.
 *
 * A slab's books lie in the record of its first page: how many slots are free, a bitmap of which (1 = free), a hint
 * where to start looking. Each page of a slab counts the live slots that touch it, and tells `page-states` when the
 * count leaves or reaches zero, so that single pages go back to the kernel while the slab lives.
 *
 * For each class one *current* slab serves allocation, lowest slot first, until it is full. The other slabs with free
 * slots wait in buckets by how many are free (one bucket a doubling) and the fullest bucket is served next, so sparse
 * slabs drain. A slab that becomes empty gives its pages back at once, but for the current one: a block that bounces
 * must not cut and join a run each time. `releaseCurrents` gives those back too, when a run is wanted.
 *
 * Invariants, checked by `check()`:
 *  1. every page of a slab carries its class and points to its first page
 *  2. free slots = ones in the bitmap; no ones behind the last slot, none before the hint
 *  3. a page's live count = live slots that touch it
 *  4. current slabs have a free slot and are in no bucket; full slabs are in none; all others are in the bucket of
 *     their free count, and are not empty
 *  5. a bucket's bit is set exactly where it is not empty
 */
import { invariant } from '../base/assert.js'
import { lowestBit, popcount } from '../base/bits.js'
import type { Block, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import type { PageRuns } from './page-runs.js'
import type { PageStates } from './page-states.js'
import type { PageTable } from './page-table.js'
import * as layout from './page-table.js'
import type { SizeClasses } from './size-class.js'
import * as classLayout from './size-class.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BITMAP, BUCKET, FREE_SLOTS, HINT, LIVE, NEXT, PREV, SLAB, TAG, TAG_NONE } = layout
const { CLASS_SHIFT, GRANULES, PAGES, QUIET_BELOW, RECIPROCAL, SHIFT, SLOTS } = classLayout
const NONE = units.NONE

const BUCKETS = 16 // free slots of a slab: below 2^16
const BUCKET_SHIFT = 4

/** What `slotOf` answers for a granule where no slot starts. */
const NOT_A_SLOT = -1

export class Slabs {
  readonly #table: PageTable
  readonly #states: PageStates
  readonly #runs: PageRuns
  readonly #classCount: number
  readonly #columns: Int32Array
  /** Each class's current slab, as the record index of its first page, or NONE. */
  readonly #current: Int32Array
  /** Record index of each bucket's first slab, or NONE; bucket `b` of class `c` is `(c << BUCKET_SHIFT) + b`. */
  readonly #buckets: Int32Array
  /** One word a class: bit `b` is set where bucket `b` is not empty. */
  readonly #bucketBits: Int32Array
  liveSlots = 0

  constructor(table: PageTable, states: PageStates, runs: PageRuns, classes: SizeClasses) {
    this.#table = table
    this.#states = states
    this.#runs = runs
    this.#classCount = classes.count
    this.#columns = classes.columns
    this.#current = new Int32Array(classes.count + 1).fill(NONE)
    this.#buckets = new Int32Array((classes.count + 1) << BUCKET_SHIFT).fill(NONE)
    this.#bucketBits = new Int32Array(classes.count + 1)
  }

  /** A slot of the class, or NONE where no run of pages is long enough or the page limit refuses. */
  allocate(sizeClass: number): Block {
    const slab = this.#current[sizeClass]
    if (slab === NONE) return this.#allocateFromNext(sizeClass)
    const { records, recordShift, granuleShift } = this.#table
    const columns = this.#columns
    const column = sizeClass << CLASS_SHIFT
    const free = records[slab + FREE_SLOTS]
    const bitmap = slab + BITMAP
    let word = records[slab + HINT]
    let bits = records[bitmap + word]
    while (bits === 0) bits = records[bitmap + ++word]
    const slot = (word << 5) + 31 - Math.clz32(bits & -bits)
    const block = ((slab >>> recordShift) << granuleShift) + Math.imul(slot, columns[column + GRANULES])
    // A slab of one page changes its page's state with the first slot only.
    if (free >= columns[column + QUIET_BELOW] && !this.#occupy(block, slab, sizeClass)) return NONE
    records[bitmap + word] = bits & (bits - 1)
    records[slab + HINT] = word
    records[slab + FREE_SLOTS] = free - 1
    if (free === 1) this.#current[sizeClass] = NONE
    this.liveSlots++
    return block
  }

  /**
   * Frees the block that starts at granule `block`, on a page with the positive tag `sizeClass`. Returns false, and
   * changes nothing, where no live slot starts there.
   */
  free(block: Block, sizeClass: number): boolean {
    const { records, recordShift, granuleShift } = this.#table
    const columns = this.#columns
    const column = sizeClass << CLASS_SHIFT
    const slab = records[((block >>> granuleShift) << recordShift) + SLAB]
    const into = block - ((slab >>> recordShift) << granuleShift)
    const slot = Math.imul(into, columns[column + RECIPROCAL]) >>> columns[column + SHIFT]
    if (Math.imul(slot, columns[column + GRANULES]) !== into || slot >= columns[column + SLOTS]) return false
    const word = slot >>> 5
    const at = slab + BITMAP + word
    const bits = records[at]
    const freed = bits | (1 << slot)
    if (freed === bits) return false
    records[at] = freed
    if (word < records[slab + HINT]) records[slab + HINT] = word
    const free = records[slab + FREE_SLOTS] + 1
    records[slab + FREE_SLOTS] = free
    this.liveSlots--
    // What is left to do is rare: a page came free, or the slab changes its place in the lists.
    if (free >= columns[column + QUIET_BELOW]) this.#vacate(block, slab, sizeClass)
    if ((free & (free - 1)) === 0 || free === columns[column + SLOTS]) this.#relist(slab, sizeClass, free)
    return true
  }

  /** Whether a live slot starts at this granule, on a page with the positive tag `sizeClass`. */
  isLive(block: Block, sizeClass: number): boolean {
    const { records, recordShift, granuleShift } = this.#table
    const slab = records[((block >>> granuleShift) << recordShift) + SLAB]
    const slot = this.#slotOf(block, slab, sizeClass)
    return slot !== NOT_A_SLOT && ((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 0
  }

  /** Whether the class has a slab with a free slot, so that an allocation that failed did so for the page limit. */
  hasRoom(sizeClass: number): boolean {
    return this.#current[sizeClass] !== NONE
  }

  /** Writes the live blocks of the slab that starts at `firstPage` into `blocks`; returns how many. */
  listLive(firstPage: PageNumber, blocks: Int32Array): number {
    const { records, recordShift, granuleShift } = this.#table
    const slab = firstPage << recordShift
    const column = records[slab + TAG] << CLASS_SHIFT
    const slots = this.#columns[column + SLOTS]
    let count = 0
    for (let slot = 0; slot < slots; slot++) {
      if (((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 1) continue
      blocks[count++] = (firstPage << granuleShift) + slot * this.#columns[column + GRANULES]
    }
    return count
  }

  /** Gives back the pages of every current slab that is empty. Returns whether there was one. */
  releaseCurrents(): boolean {
    const { records } = this.#table
    let released = false
    for (let c = 1; c <= this.#classCount; c++) {
      const slab = this.#current[c]
      if (slab === NONE || records[slab + FREE_SLOTS] !== this.#columns[(c << CLASS_SHIFT) + SLOTS]) continue
      this.#current[c] = NONE
      this.#dissolve(slab, c)
      released = true
    }
    return released
  }

  /** The slot that starts at `block`, or NOT_A_SLOT inside one and behind the last. */
  #slotOf(block: Block, slab: number, sizeClass: number): number {
    const { recordShift, granuleShift } = this.#table
    const columns = this.#columns
    const column = sizeClass << CLASS_SHIFT
    const into = block - ((slab >>> recordShift) << granuleShift)
    const slot = Math.imul(into, columns[column + RECIPROCAL]) >>> columns[column + SHIFT]
    return Math.imul(slot, columns[column + GRANULES]) === into && slot < columns[column + SLOTS]
      ? slot
      : NOT_A_SLOT
  }

  /**
   * A slot is about to be taken: the pages it touches become used. Returns false, and changes nothing, where the page
   * limit refuses.
   */
  #occupy(block: Block, slab: number, sizeClass: number): boolean {
    const column = sizeClass << CLASS_SHIFT
    if (this.#columns[column + PAGES] === 1) return this.#states.use(slab >>> this.#table.recordShift, 1)
    const granules = this.#columns[column + GRANULES]
    const { records, recordShift, granuleShift } = this.#table
    const first = block >>> granuleShift
    const last = (block + granules - 1) >>> granuleShift
    if (!this.#states.fits(last - first + 1) && !this.#states.fits(this.#cleanIdle(first, last))) return false
    for (let page = first; page <= last; page++) {
      if (records[(page << recordShift) + LIVE]++ === 0) this.#states.use(page, 1)
    }
    return true
  }

  /** How many of a slab's pages from `first` to `last` are clean. Live ones never are. */
  #cleanIdle(first: PageNumber, last: PageNumber): number {
    const { records, recordShift } = this.#table
    let clean = 0
    for (let page = first; page <= last; page++) {
      if (records[(page << recordShift) + LIVE] === 0) clean += this.#states.cleanIn(page, 1)
    }
    return clean
  }

  /** A slot was freed: pages that no live slot touches any more come free. */
  #vacate(block: Block, slab: number, sizeClass: number): void {
    const column = sizeClass << CLASS_SHIFT
    const { records, recordShift, granuleShift } = this.#table
    if (this.#columns[column + PAGES] === 1) {
      this.#states.release(slab >>> recordShift, 1)
      return
    }
    const last = (block + this.#columns[column + GRANULES] - 1) >>> granuleShift
    for (let page = block >>> granuleShift; page <= last; page++) {
      if (--records[(page << recordShift) + LIVE] === 0) this.#states.release(page, 1)
    }
  }

  /** A slab whose free count reached a power of two, or all of its slots, goes where that count belongs. */
  #relist(slab: number, sizeClass: number, free: number): void {
    if (slab === this.#current[sizeClass]) return
    if (this.#table.records[slab + BUCKET] !== NONE) this.#unlist(slab, sizeClass)
    if (free === this.#columns[(sizeClass << CLASS_SHIFT) + SLOTS]) this.#dissolve(slab, sizeClass)
    else this.#list(slab, sizeClass, 31 - Math.clz32(free))
  }

  /** Makes another slab current and allocates from it. */
  #allocateFromNext(sizeClass: number): Block {
    return this.#refill(sizeClass) === NONE ? NONE : this.allocate(sizeClass)
  }

  /** Makes the fullest waiting slab current, or a new one. */
  #refill(sizeClass: number): number {
    const bits = this.#bucketBits[sizeClass]
    let slab = NONE
    if (bits !== 0) {
      slab = this.#buckets[(sizeClass << BUCKET_SHIFT) + lowestBit(bits)]
      this.#unlist(slab, sizeClass)
    } else {
      const firstPage = this.#runs.take(this.#columns[(sizeClass << CLASS_SHIFT) + PAGES])
      if (firstPage === NONE) return NONE
      slab = this.#create(firstPage, sizeClass)
    }
    this.#current[sizeClass] = slab
    return slab
  }

  #create(firstPage: PageNumber, sizeClass: number): number {
    const { records, recordShift } = this.#table
    const column = sizeClass << CLASS_SHIFT
    const slots = this.#columns[column + SLOTS]
    const pages = this.#columns[column + PAGES]
    const slab = firstPage << recordShift
    for (let page = firstPage; page < firstPage + pages; page++) {
      const record = page << recordShift
      records[record + TAG] = sizeClass
      records[record + SLAB] = slab
      records[record + LIVE] = 0
    }
    records[slab + FREE_SLOTS] = slots
    records[slab + HINT] = 0
    records[slab + BUCKET] = NONE
    for (let word = 0, left = slots; left > 0; word++, left -= 32) {
      records[slab + BITMAP + word] = left >= 32 ? -1 : (1 << left) - 1
    }
    return slab
  }

  #dissolve(slab: number, sizeClass: number): void {
    const { records, recordShift } = this.#table
    const firstPage = slab >>> recordShift
    const pages = this.#columns[(sizeClass << CLASS_SHIFT) + PAGES]
    for (let page = firstPage; page < firstPage + pages; page++)
      records[(page << recordShift) + TAG] = TAG_NONE
    this.#runs.give(firstPage, pages)
  }

  #list(slab: number, sizeClass: number, bucket: number): void {
    const { records } = this.#table
    const index = (sizeClass << BUCKET_SHIFT) + bucket
    const head = this.#buckets[index]
    records[slab + NEXT] = head
    records[slab + PREV] = NONE
    records[slab + BUCKET] = bucket
    if (head !== NONE) records[head + PREV] = slab
    this.#buckets[index] = slab
    this.#bucketBits[sizeClass] |= 1 << bucket
  }

  #unlist(slab: number, sizeClass: number): void {
    const { records } = this.#table
    const next = records[slab + NEXT]
    const previous = records[slab + PREV]
    const bucket = records[slab + BUCKET]
    if (next !== NONE) records[next + PREV] = previous
    if (previous !== NONE) {
      records[previous + NEXT] = next
    } else {
      this.#buckets[(sizeClass << BUCKET_SHIFT) + bucket] = next
      if (next === NONE) this.#bucketBits[sizeClass] &= ~(1 << bucket)
    }
    records[slab + BUCKET] = NONE
  }

  /** Checks the slab that starts at `firstPage`; returns how many pages it has. */
  checkSlab(firstPage: PageNumber): number {
    const { records, recordShift, granuleShift } = this.#table
    const slab = firstPage << recordShift
    const sizeClass = records[slab + TAG]
    const column = sizeClass << CLASS_SHIFT
    const [granules, , , slots, pages] = this.#columns.subarray(column, column + PAGES + 1)
    const live = new Int32Array(pages)
    let free = 0
    for (let slot = 0; slot < slots; slot++) {
      const isFree = ((records[slab + BITMAP + (slot >>> 5)] >>> (slot & 31)) & 1) === 1
      if (isFree) {
        free++
        invariant(slot >>> 5 >= records[slab + HINT], `2: slab ${firstPage} has no free slot before its hint`)
        continue
      }
      const last = (slot * granules + granules - 1) >>> granuleShift
      for (let page = (slot * granules) >>> granuleShift; page <= last; page++) live[page]++
    }
    let ones = 0
    for (let word = 0; word < (slots + 31) >>> 5; word++) ones += popcount(records[slab + BITMAP + word])
    invariant(
      free === ones && free === records[slab + FREE_SLOTS],
      `2: slab ${firstPage} counts its free slots`,
    )
    for (let page = 0; page < pages; page++) {
      const record = (firstPage + page) << recordShift
      invariant(records[record + TAG] === sizeClass, `1: page ${firstPage + page} has its slab's class`)
      invariant(records[record + SLAB] === slab, `1: page ${firstPage + page} points to its slab`)
      if (pages > 1)
        invariant(records[record + LIVE] === live[page], `3: page ${firstPage + page} counts its live slots`)
    }
    const bucket = records[slab + BUCKET]
    const isCurrent = this.#current[sizeClass] === slab
    if (isCurrent)
      invariant(free > 0 && bucket === NONE, `4: current slab ${firstPage} has a free slot and no bucket`)
    else if (free === 0) invariant(bucket === NONE, `4: full slab ${firstPage} is in no bucket`)
    else invariant(free < slots && bucket === 31 - Math.clz32(free), `4: slab ${firstPage} is in its bucket`)
    return pages
  }

  /** Whether a live slot touches this page of a slab. */
  isPageLive(page: PageNumber): boolean {
    const { records, recordShift } = this.#table
    const column = records[(page << recordShift) + TAG] << CLASS_SHIFT
    if (this.#columns[column + PAGES] > 1) return records[(page << recordShift) + LIVE] > 0
    return records[(page << recordShift) + FREE_SLOTS] < this.#columns[column + SLOTS]
  }

  /** Whether the slab with this record is a current one or in a bucket. */
  isListed(slab: number): boolean {
    const { records } = this.#table
    return records[slab + BUCKET] !== NONE || this.#current[records[slab + TAG]] === slab
  }

  /** Checks that the buckets and currents list slabs of their class only; returns how many they list. */
  checkLists(): number {
    const { records } = this.#table
    let listed = 0
    for (let c = 1; c <= this.#classCount; c++) {
      if (this.#current[c] !== NONE) {
        listed++
        invariant(records[this.#current[c] + TAG] === c, `4: the current slab of class ${c} is of that class`)
      }
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        const head = this.#buckets[(c << BUCKET_SHIFT) + bucket]
        const isSet = ((this.#bucketBits[c] >>> bucket) & 1) === 1
        invariant(isSet === (head !== NONE), `5: bit of bucket ${bucket} of class ${c}`)
        let previous = NONE
        for (let slab = head; slab !== NONE; slab = records[slab + NEXT]) {
          invariant(
            records[slab + TAG] === c && records[slab + BUCKET] === bucket,
            `4: slab ${slab} is listed rightly`,
          )
          invariant(records[slab + PREV] === previous, `4: slab ${slab} is linked both ways`)
          previous = slab
          listed++
        }
      }
    }
    return listed
  }
}
