/**
 * The books of slabs: one record each, in one `Int32Array`. For 4 KiB pages a record is 16 words: 64 bytes, one cache line,
 * so that `free` and `allocate` read one line of books beside the tag of the page. Records of slabs that are gone are
 * reused, the latest first.
 *
 * Invariants, checked by `check()`:
 *  1. every record below `#end` belongs to a slab, or is in the list of unused ones, not both
 */
import { invariant } from '../base/assert.js'
import { GRANULE_SHIFT, NONE } from '../base/units.js'
import { type ColumnStorage, copyTo, disposeOf } from './columns.js'

export const FIRST_GRANULE = 0 // where its first slot starts
export const CLASS = 1 // its size class, or 0 in an unused record
export const FREE_SLOTS = 2
export const HINT = 3 // no slot is free in the bitmap words before this one
export const NEXT = 4 // neighbours in a bucket, as record indices; the next unused record
export const PREV = 5
export const BUCKET = 6 // the bucket that lists it, or NONE
export const BITMAP = 8 // first word of its slot bitmap, 1 = free; behind that, for a slab of several pages, a word a page: live slots that touch it

/** A 4 KiB page has 256 slots of 16 bytes. */
const MIN_BITMAP_WORDS = 8
const FIRST_RECORDS = 16
/** Above this many words, columns grow by an eighth: less is wasted, and copying still costs little a record. */
const LARGE_WORDS = 2 ** 16

/** Words a record. */
export function recordWords(pageBytes: number): number {
  return BITMAP + Math.max(MIN_BITMAP_WORDS, pageBytes >>> (GRANULE_SHIFT + 5))
}

export class SlabRecords {
  readonly words: number
  columns: Int32Array
  /** Index of the first unused record, or NONE. */
  #unused: number = NONE
  /** Records from here on were never used. */
  #end = 0
  readonly #storage: ColumnStorage

  constructor(pageBytes: number, storage: ColumnStorage) {
    this.words = recordWords(pageBytes)
    this.columns = new Int32Array(0)
    this.#storage = storage
  }

  get metadataBytes(): number {
    return this.columns.byteLength
  }

  /** What the runtime said when it last had no memory for more records. */
  failure: unknown = null

  /** Makes sure that `acquire` can succeed. Returns false, and changes nothing, where there is no memory. */
  reserve(): boolean {
    if (this.#unused !== NONE || this.#end < this.columns.length) return true
    const old = this.columns
    const more = old.length < LARGE_WORDS ? old.length : old.length >>> 3
    const records = Math.max(FIRST_RECORDS, Math.ceil((old.length + more) / this.words))
    try {
      this.columns = copyTo(old, records * this.words, this.#storage)
    } catch (error) {
      this.failure = error
      return false
    }
    disposeOf(old, this.#storage)
    return true
  }

  /** The index of a record, its contents undefined. After `reserve`. */
  acquire(): number {
    const record = this.#unused
    if (record !== NONE) {
      this.#unused = this.columns[record + NEXT]
      return record
    }
    const end = this.#end
    this.#end = end + this.words
    return end
  }

  /**
   * Moves the records of all slabs together and gives up the rest, where less than half is in use. Returns the new
   * index of each old record (at `record / words`), or null where nothing moved: then there was little to gain, or no
   * memory.
   */
  compact(): Int32Array | null {
    const { columns, words } = this
    let used = 0
    for (let record = 0; record < this.#end; record += words) if (columns[record + CLASS] > 0) used++
    const records = Math.max(FIRST_RECORDS, used + (used >>> 3))
    if (records * words > columns.length >>> 1) return null
    try {
      return this.#moveTogether(copyTo(new Int32Array(0), records * words, this.#storage))
    } catch {
      // No memory for the shorter column: the longer one goes on.
      return null
    }
  }

  #moveTogether(compacted: Int32Array): Int32Array {
    const { columns, words } = this
    const movedTo = new Int32Array(this.#end / words).fill(NONE)
    let end = 0
    for (let record = 0; record < this.#end; record += words) {
      if (columns[record + CLASS] === 0) continue
      compacted.set(columns.subarray(record, record + words), end)
      movedTo[record / words] = end
      end += words
    }
    this.columns = compacted
    this.#unused = NONE
    this.#end = end
    disposeOf(columns, this.#storage)
    return movedTo
  }

  release(record: number): void {
    this.columns[record + CLASS] = 0
    this.columns[record + NEXT] = this.#unused
    this.#unused = record
  }

  /** `slabCount`: how many slabs there are. */
  check(slabCount: number): void {
    let used = 0
    let unused = 0
    for (let record = 0; record < this.#end; record += this.words)
      if (this.columns[record + CLASS] > 0) used++
    for (let record = this.#unused; record !== NONE; record = this.columns[record + NEXT]) {
      invariant(this.columns[record + CLASS] === 0, `1: unused record ${record} belongs to no slab`)
      unused++
    }
    invariant(used === slabCount, `1: ${slabCount} slabs, ${used} records`)
    invariant((used + unused) * this.words === this.#end, '1: every record is used or listed as unused')
  }
}
