/** A store over the program break is filled, and a random record in some is kept. How far does the break come down? */
import { Store } from 'offheap'
import { compactAll, fill, freeMost, randomFrom, verify } from './measuring.mjs'

/**
 * How high the break is above where it was found, in bytes.
 * @typedef {object} Break
 * @property {number} liveBytes
 * @property {number} fullBytes when the store was full
 * @property {number} beforeBytes after all that can go back went back
 * @property {number} afterBytes after a compaction
 */

/**
 * @param {{ sizes: { least: number, most: number }, keep: number, mib: number }} job
 * @returns {Break}
 */
export function measure({ sizes, keep, mib }) {
  const store = new Store({ source: 'sbrk', compact: 'manual', releaseAfterMs: Number.POSITIVE_INFINITY })
  const random = randomFrom(1)
  const all = fill(store, sizes, mib * 2 ** 20, random)
  const fullBytes = store.stats().mappedBytes
  const kept = freeMost(store, all, keep, random)
  store.trim()
  const { liveBytes, mappedBytes: beforeBytes } = store.stats()
  compactAll(store)
  store.trim()
  verify(store, kept)
  const { mappedBytes: afterBytes, breakOwned } = store.stats()
  if (breakOwned !== true) throw new Error('the break was lost')
  store.close()
  return { liveBytes, fullBytes, beforeBytes, afterBytes }
}
