/** A store is filled, and a random record in some is kept. What is resident then, before and after a compaction? */
import { Store } from 'offheap'
import {
  compactAll,
  cpuUs,
  fill,
  firstTouchUs,
  freeMost,
  PAGE_BYTES,
  randomFrom,
  verify,
} from './measuring.mjs'

/** After these many rounds the code is compiled. The round after them counts. */
const WARM_UPS = 3

/**
 * @typedef {object} SparseJob
 * @property {{ least: number, most: number }} sizes of records, in bytes
 * @property {number} keep one in so many records is kept
 * @property {number} mib that are filled
 * @property {boolean} [isAtLimit] `limitBytes` is what the full store holds, so that a compaction may commit nothing
 * @property {number} [pinnedShare] of the kept records
 * @property {boolean} [hugePages] the option of the store
 */

/**
 * What a store held and what its compaction did. Ratios are over the live bytes.
 * @typedef {object} Sparse
 * @property {number} liveBytes
 * @property {number} before what is resident once the free pages have gone back, over live
 * @property {number} after the same after a compaction
 * @property {number} afterTrim the same after one with the gain of `trim()`
 * @property {number} moved bytes moved, over live
 * @property {number} movedByTrim the same, with the gain of `trim()`
 * @property {number} usOfRecord CPU microseconds for each record moved: survey, moves, and giving back; 0 if none moved
 * @property {number} overAllocFree the same, over those that making and freeing one such record took
 * @property {number} touchesOfPage CPU time for each page that came free, in first touches of a page in the same process; 0 if
 *   none did
 * @property {number} longestSliceMs CPU milliseconds of the longest slice
 */

/**
 * @param {SparseJob} job
 * @returns {Sparse}
 */
export function measure(job) {
  const limitBytes = job.isAtLimit ? heldWhenFull(job) : Number.POSITIVE_INFINITY
  // Compactions and purges run only where they are measured.
  const store = new Store({
    compact: 'manual',
    releaseAfterMs: Number.POSITIVE_INFINITY,
    limitBytes,
    hugePages: job.hugePages ?? false,
  })
  for (let round = 0; round < WARM_UPS; round++) runRound(store, job, 0)
  const touchUs = firstTouchUs()
  const result = runRound(store, job, touchUs)
  store.close()
  return result
}

/** @param {SparseJob} job */
function heldWhenFull({ sizes, mib }) {
  const store = new Store({ compact: 'manual', releaseAfterMs: Number.POSITIVE_INFINITY })
  fill(store, sizes, mib * 2 ** 20, randomFrom(1))
  const { committedBytes } = store.stats()
  store.close()
  return committedBytes
}

/**
 * @param {Store} store is empty before and after
 * @param {SparseJob} job
 * @param {number} touchUs
 * @returns {Sparse}
 */
function runRound(store, { sizes, keep, mib, isAtLimit = false, pinnedShare = 0 }, touchUs) {
  const random = randomFrom(1)
  const startUs = cpuUs()
  const all = fill(store, sizes, mib * 2 ** 20, random)
  const kept = freeMost(store, all, keep, random)
  const allocFreeUs = (cpuUs() - startUs) / all.length
  const pinned = kept.filter(() => random() < pinnedShare)
  for (const { ref } of pinned) store.pin(ref)
  const { liveBytes } = store.stats()
  // At the limit the dirty pages stay: they count, and so nothing may be committed.
  if (!isAtLimit) store.trim()
  const before = isAtLimit ? store.stats().usedBytes : store.residentBytes()
  const overLive = () => {
    store.trim()
    return store.residentBytes() / liveBytes
  }
  const done = compactAll(store, {}, () => requireWithinLimit(store))
  const after = overLive()
  verify(store, kept)
  const more = compactAll(store, { gain: 0.15 })
  const afterTrim = overLive()
  verify(store, kept)
  for (const { ref } of pinned) store.unpin(ref)
  for (const { ref } of kept) store.free(ref)
  store.trim()
  const usOfRecord = done.movedRecords === 0 ? 0 : done.cpuUs / done.movedRecords
  return {
    liveBytes,
    before: before / liveBytes,
    after,
    afterTrim,
    moved: done.movedBytes / liveBytes,
    movedByTrim: (done.movedBytes + more.movedBytes) / liveBytes,
    usOfRecord,
    overAllocFree: usOfRecord / allocFreeUs,
    touchesOfPage: done.freedBytes === 0 ? 0 : done.cpuUs / (done.freedBytes / PAGE_BYTES) / touchUs,
    longestSliceMs: done.longestSliceUs / 1000,
  }
}

/** @param {Store} store */
function requireWithinLimit(store) {
  const { committedBytes, limitBytes } = store.stats()
  if (committedBytes > limitBytes) throw new Error(`${committedBytes} bytes are committed, of ${limitBytes}`)
}
