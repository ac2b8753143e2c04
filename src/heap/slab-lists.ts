/**
 * Which slab serves a size class next.
 *
 * For each class one *current* slab serves allocation until it is full. The other slabs with free slots wait in buckets by
 * how many are free, one bucket a doubling, and the fullest bucket is served next, so that sparse slabs drain. Links
 * and buckets stand in the slabs' records.
 *
 * Invariants, checked by `check…()`:
 *  1. current slabs have a free slot and are in no bucket; full slabs are in none; all others are in the bucket of
 *     their free count, and are not empty
 *  2. a bucket's bit is set exactly where it is not empty
 */
import { invariant } from '../base/assert.js'
import { lowestBit } from '../base/bits.js'
import * as units from '../base/units.js'
import type { SlabRecords } from './slab-records.js'
import * as layout from './slab-records.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BUCKET, CLASS, NEXT, PREV } = layout
const NONE = units.NONE

const BUCKETS = 16 // free slots of a slab: below 2^16
const BUCKET_SHIFT = 4

export class SlabLists {
  readonly #records: SlabRecords
  /** Each class's current slab, or NONE. */
  readonly current: Int32Array
  /** Each bucket's first slab, or NONE; bucket `b` of class `c` is `(c << BUCKET_SHIFT) + b`. */
  readonly #buckets: Int32Array
  /** One word a class: bit `b` is set where bucket `b` is not empty. */
  readonly #bucketBits: Int32Array

  /** Classes are numbered from 1 to `classCount`. */
  constructor(records: SlabRecords, classCount: number) {
    this.#records = records
    this.current = new Int32Array(classCount + 1).fill(NONE)
    this.#buckets = new Int32Array((classCount + 1) << BUCKET_SHIFT).fill(NONE)
    this.#bucketBits = new Int32Array(classCount + 1)
  }

  /** Takes the fullest waiting slab of a class out of its bucket, or returns NONE. */
  takeFullest(sizeClass: number): number {
    const bits = this.#bucketBits[sizeClass]
    if (bits === 0) return NONE
    const slab = this.#buckets[(sizeClass << BUCKET_SHIFT) + lowestBit(bits)]
    this.remove(slab)
    return slab
  }

  /** The first waiting slab of a class (`after` NONE), or the one behind `after`; NONE at the end. Fullest first. */
  nextWaiting(sizeClass: number, after: number): number {
    const records = this.#records.columns
    let bucket = 0
    if (after !== NONE) {
      if (records[after + NEXT] !== NONE) return records[after + NEXT]
      bucket = records[after + BUCKET] + 1
    }
    const bits = this.#bucketBits[sizeClass] & (-1 << bucket)
    return bits === 0 ? NONE : this.#buckets[(sizeClass << BUCKET_SHIFT) + lowestBit(bits)]
  }

  /** A slab with `free` free slots waits. */
  add(slab: number, free: number): void {
    const records = this.#records.columns
    const bucket = 31 - Math.clz32(free)
    const sizeClass = records[slab + CLASS]
    const index = (sizeClass << BUCKET_SHIFT) + bucket
    const head = this.#buckets[index]
    records[slab + NEXT] = head
    records[slab + PREV] = NONE
    records[slab + BUCKET] = bucket
    if (head !== NONE) records[head + PREV] = slab
    this.#buckets[index] = slab
    this.#bucketBits[sizeClass] |= 1 << bucket
  }

  /** A waiting slab does not wait any more. */
  remove(slab: number): void {
    const records = this.#records.columns
    const sizeClass = records[slab + CLASS]
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

  isWaiting(slab: number): boolean {
    return this.#records.columns[slab + BUCKET] !== NONE
  }

  /** Every slab has another name now: `move` says which. The records are moved already. */
  rename(move: (slab: number) => number): void {
    const records = this.#records.columns
    for (let i = 0; i < this.current.length; i++) this.current[i] = move(this.current[i])
    for (let i = 0; i < this.#buckets.length; i++) {
      this.#buckets[i] = move(this.#buckets[i])
      for (let slab = this.#buckets[i]; slab !== NONE; slab = records[slab + NEXT]) {
        records[slab + NEXT] = move(records[slab + NEXT])
        records[slab + PREV] = move(records[slab + PREV])
      }
    }
  }

  /** Checks that a slab with `free` of `slots` slots free is where it belongs. */
  checkPlace(slab: number, free: number, slots: number): void {
    const records = this.#records.columns
    const bucket = records[slab + BUCKET]
    const isCurrent = this.current[records[slab + CLASS]] === slab
    if (isCurrent)
      invariant(free > 0 && bucket === NONE, `1: current slab ${slab} has a free slot and no bucket`)
    else if (free === 0) invariant(bucket === NONE, `1: full slab ${slab} is in no bucket`)
    else invariant(free < slots && bucket === 31 - Math.clz32(free), `1: slab ${slab} is in its bucket`)
  }

  /** Checks that the lists have slabs of their class only, `listedSlabs` in all. */
  check(listedSlabs: number): void {
    const records = this.#records.columns
    let listed = 0
    for (let c = 1; c < this.current.length; c++) {
      const current = this.current[c]
      if (current !== NONE) listed++
      invariant(
        current === NONE || records[current + CLASS] === c,
        `1: the current slab of class ${c} is of that class`,
      )
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        const head = this.#buckets[(c << BUCKET_SHIFT) + bucket]
        const isSet = ((this.#bucketBits[c] >>> bucket) & 1) === 1
        invariant(isSet === (head !== NONE), `2: bit of bucket ${bucket} of class ${c}`)
        let previous = NONE
        for (let slab = head; slab !== NONE; slab = records[slab + NEXT]) {
          const isInPlace = records[slab + CLASS] === c && records[slab + BUCKET] === bucket
          invariant(isInPlace && records[slab + PREV] === previous, `1: slab ${slab} is listed rightly`)
          previous = slab
          listed++
        }
      }
    }
    invariant(listed === listedSlabs, `1: ${listedSlabs} slabs to be listed, found ${listed}`)
  }
}
