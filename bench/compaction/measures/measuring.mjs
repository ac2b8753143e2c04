/** What the measures of compaction share: sizes of records, random numbers, CPU time, and the cost of a page's first touch. */
import { Arena } from 'offheap'

/** @import { CompactOptions, Ref, Store } from 'offheap' */

const TOUCHED_BYTES = 32 * 2 ** 20
/** No supported system has smaller pages. */
export const PAGE_BYTES = 4096

/**
 * Numbers from 0 to 1 that are the same in every run (xorshift32).
 * @param {number} seed
 */
export function randomFrom(seed) {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/**
 * The length of the next record. All have `least` bytes, or their logarithms are spread evenly from `least` up to `most`.
 * @param {{ least: number, most: number }} sizes
 * @param {() => number} random
 */
export function sizeOf({ least, most }, random) {
  return Math.floor(least * (most / least) ** random())
}

/** CPU time of this process so far, in microseconds, user and system together. */
export function cpuUs() {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** @param {number[]} values */
export function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1]
}

/** CPU microseconds for the first touch of one page of `offheap`, which no huge page serves. */
export function firstTouchUs() {
  const arena = new Arena({ name: 'touch', detachFromBytes: Number.POSITIVE_INFINITY })
  const times = []
  for (let round = 0; round < 5; round++) {
    const block = arena.allocUnsafe(TOUCHED_BYTES)
    const startUs = cpuUs()
    for (let at = 0; at < TOUCHED_BYTES; at += PAGE_BYTES) block[at] = 1
    times.push((cpuUs() - startUs) / (TOUCHED_BYTES / PAGE_BYTES))
    arena.free(block)
    arena.trim()
  }
  arena.close()
  return median(times)
}

/** A record, and a byte that stands at its start and at its end. */
/** @typedef {{ ref: Ref, sizeBytes: number, mark: number }} Held */

/**
 * Fills a store with records of `totalBytes` together.
 * @param {Store} store
 * @param {{ least: number, most: number }} sizes
 * @param {number} totalBytes
 * @param {() => number} random
 */
export function fill(store, sizes, totalBytes, random) {
  /** @type {Held[]} */
  const all = []
  for (let filledBytes = 0; filledBytes < totalBytes; ) {
    const sizeBytes = sizeOf(sizes, random)
    const ref = store.allocUnsafe(sizeBytes)
    const mark = all.length & 255
    const view = store.view(ref)
    // Each page of a record is touched: by its first byte, its last, or one in each page between.
    for (let at = 0; at < sizeBytes; at += PAGE_BYTES) view[at] = mark
    view[sizeBytes - 1] = mark
    all.push({ ref, sizeBytes, mark })
    filledBytes += sizeBytes
  }
  return all
}

/**
 * Frees all but a random one in `keep`.
 * @param {Store} store
 * @param {Held[]} all
 * @param {number} keep
 * @param {() => number} random
 * @returns {Held[]} those that are left
 */
export function freeMost(store, all, keep, random) {
  return all.filter(({ ref }) => {
    if (random() * keep < 1) return true
    store.free(ref)
    return false
  })
}

/**
 * Throws if a record does not have the bytes that were written to it.
 * @param {Store} store
 * @param {Held[]} records
 */
export function verify(store, records) {
  for (const { ref, sizeBytes, mark } of records) {
    const view = store.view(ref)
    if (view.length !== sizeBytes || view[0] !== mark || view[sizeBytes - 1] !== mark) {
      throw new Error(`record ${ref} of ${sizeBytes} bytes is not what was written`)
    }
  }
  store.check()
}

/**
 * Compacts in slices of a millisecond until nothing is to be gained.
 * @param {Store} store
 * @param {CompactOptions} [options]
 * @param {() => void} [afterSlice]
 */
export function compactAll(store, options = {}, afterSlice = () => {}) {
  const done = { movedRecords: 0, movedBytes: 0, freedBytes: 0, cpuUs: 0, longestSliceUs: 0, slices: 0 }
  for (let isDone = false; !isDone; ) {
    const startUs = cpuUs()
    const report = store.compact({ maxMs: 1, ...(done.slices === 0 ? options : {}) })
    const tookUs = cpuUs() - startUs
    done.movedRecords += report.movedRecords
    done.movedBytes += report.movedBytes
    done.freedBytes += report.freedBytes
    done.cpuUs += tookUs
    done.longestSliceUs = Math.max(done.longestSliceUs, tookUs)
    done.slices++
    isDone = report.isDone
    afterSlice()
  }
  return done
}
