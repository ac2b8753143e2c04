/** A recording, over a store that compacts nothing by itself: what a compaction does at its low points behind the peak. */
import { Store } from 'offheap'
import { ALLOCATE, FREE } from '#compiled/replay/trace.js'
import { readTrace } from '#compiled/replay/trace-file.js'
import { compactAll } from './measuring.mjs'

/** @import { Ref } from 'offheap' */
/** @import { Trace } from '#compiled/replay/trace.js' */

/** How often a replay is looked at. */
const LOOKS = 400
/** A low point has at least this share of the peak, and 64 KiB: ratios over next to nothing say nothing. */
const LEAST_SHARE = 1 / 20
const LEAST_BYTES = 64 * 1024

/**
 * One low point, and what a compaction did there. Ratios are over the live bytes.
 * @typedef {object} LowPoint
 * @property {'low' | 'waste'} at `low`: where least lives. `waste`: where most is used beyond what lives
 * @property {number} liveBytes
 * @property {number} ofPeak live bytes over the most that ever lived
 * @property {number} before bytes of used pages, over live
 * @property {number} after the same after a compaction
 * @property {number} afterTrim the same after one with the gain of `trim()`
 * @property {number} moved bytes moved, over live
 * @property {number} movedByTrim the same, with the gain of `trim()`
 */

/**
 * @param {{ path: string }} job
 * @returns {Promise<LowPoint[]>} none, if the recording never comes down from its peak
 */
export async function measure({ path }) {
  const trace = await readTrace(path)
  const { lowAt, wasteAt } = findLowPoints(trace)
  /** @type {LowPoint[]} */
  const points = []
  if (wasteAt > 0) points.push(measureAt(trace, 'waste', wasteAt))
  if (lowAt > 0 && lowAt !== wasteAt) points.push(measureAt(trace, 'low', lowAt))
  return points
}

/**
 * Replays `trace` up to the operation `until`, and returns the store.
 * @param {Trace} trace
 * @param {number} until
 * @param {(store: Store, operation: number) => void} look is called after each operation
 */
function replay({ operations, slots, sizes, slotCount }, until, look) {
  const store = new Store({ compact: 'manual', releaseAfterMs: Number.POSITIVE_INFINITY })
  /** @type {Ref[]} */
  const refs = new Array(slotCount)
  for (let index = 0; index < until; index++) {
    const slot = slots[index]
    if (operations[index] === ALLOCATE) refs[slot] = store.allocUnsafe(sizes[index])
    else if (operations[index] === FREE) store.free(refs[slot])
    else store.realloc(refs[slot], sizes[index])
    look(store, index + 1)
  }
  return store
}

/**
 * The operations after which least lives, and after which most is wasted, behind the peak. 0 where there is none.
 * @param {Trace} trace
 */
function findLowPoints(trace) {
  const every = Math.max(1, Math.floor(trace.operationCount / LOOKS))
  const leastBytes = Math.max(LEAST_BYTES, LEAST_SHARE * trace.peakLiveBytes)
  let [lowAt, lowBytes, wasteAt, wasteBytes] = [0, Number.POSITIVE_INFINITY, 0, 0]
  replay(trace, trace.operationCount, (store, operation) => {
    if (operation % every !== 0 || operation <= trace.peakOperation) return
    const { liveBytes, usedBytes } = store.stats()
    if (liveBytes < leastBytes) return
    if (liveBytes < lowBytes) [lowAt, lowBytes] = [operation, liveBytes]
    if (usedBytes - liveBytes > wasteBytes) [wasteAt, wasteBytes] = [operation, usedBytes - liveBytes]
  }).close()
  return { lowAt, wasteAt }
}

/**
 * @param {Trace} trace
 * @param {'low' | 'waste'} at
 * @param {number} operation
 * @returns {LowPoint}
 */
function measureAt(trace, at, operation) {
  const store = replay(trace, operation, () => {})
  const { liveBytes, usedBytes } = store.stats()
  const done = compactAll(store)
  const after = store.stats().usedBytes / liveBytes
  const more = compactAll(store, { gain: 0.15 })
  const afterTrim = store.stats().usedBytes / liveBytes
  store.check()
  store.close()
  return {
    at,
    liveBytes,
    ofPeak: liveBytes / trace.peakLiveBytes,
    before: usedBytes / liveBytes,
    after,
    afterTrim,
    moved: done.movedBytes / liveBytes,
    movedByTrim: (done.movedBytes + more.movedBytes) / liveBytes,
  }
}
