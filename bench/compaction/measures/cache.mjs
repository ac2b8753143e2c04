/** A cache, a `Map` from string to value: filled, then nine reads to one replacement. What do its values cost, by what holds them? */
import { PerformanceObserver } from 'node:perf_hooks'
import { setTimeout, setImmediate as turn } from 'node:timers/promises'
import { Arena, Store } from 'offheap'
import { rssBytes } from 'offheap/testing'
import { cpuUs, randomFrom } from './measuring.mjs'

/** @import { Ref } from 'offheap' */

/** The event loop has a turn after so many operations, as in a service. */
const OPERATIONS_A_TURN = 1000
const READS_OF_TEN = 9

/**
 * @typedef {object} Cache
 * @property {number} payloadBytes of the values when the cache was full
 * @property {number} rssBytes growth of `Rss` over the keys and an empty cache, after all operations
 * @property {number} gcMs time in garbage collections during the operations
 * @property {number} cpuUs of one operation, all threads
 */

/**
 * A cache whose values one of the peers holds.
 * @typedef {object} Values
 * @property {(key: string, sizeBytes: number) => void} put sets or replaces a value
 * @property {(key: string) => number} get reads two bytes of it
 */

/** @type {Record<string, () => Values>} */
const PEERS = {
  store: () => {
    const store = new Store({ name: 'cache' })
    /** @type {Map<string, Ref>} */
    const refs = new Map()
    return {
      put: (key, sizeBytes) => {
        const old = refs.get(key)
        if (old !== undefined) store.free(old)
        const ref = store.allocUnsafe(sizeBytes)
        mark(store.view(ref))
        refs.set(key, ref)
      },
      get: key => read(store.view(/** @type {Ref} */ (refs.get(key)))),
    }
  },
  arena: () => {
    const arena = new Arena({ name: 'cache' })
    return overBuffers(
      sizeBytes => arena.allocUnsafe(sizeBytes),
      buffer => arena.free(buffer),
    )
  },
  buffers: () => overBuffers(Buffer.allocUnsafe, () => {}),
  'slow-buffers': () => overBuffers(Buffer.allocUnsafeSlow, () => {}),
}

/**
 * @param {(sizeBytes: number) => Buffer} allocate
 * @param {(buffer: Buffer) => void} free
 * @returns {Values}
 */
function overBuffers(allocate, free) {
  /** @type {Map<string, Buffer>} */
  const buffers = new Map()
  return {
    put: (key, sizeBytes) => {
      const old = buffers.get(key)
      if (old !== undefined) free(old)
      const buffer = allocate(sizeBytes)
      mark(buffer)
      buffers.set(key, buffer)
    },
    get: key => read(/** @type {Buffer} */ (buffers.get(key))),
  }
}

/** @param {Uint8Array} bytes of at most a page */
function mark(bytes) {
  bytes[0] = 1
  bytes[bytes.length - 1] = 1
}

/** @param {Uint8Array} bytes */
function read(bytes) {
  return bytes[0] + bytes[bytes.length - 1]
}

/**
 * @param {{ peer: string, count: number, operations: number }} job
 * @returns {Promise<Cache>}
 */
export async function measure({ peer, count, operations }) {
  let gcMs = 0
  const observer = new PerformanceObserver(list => {
    for (const { duration } of list.getEntries()) gcMs += duration
  })
  const random = randomFrom(1)
  // Most values are short: 64 to 1,024 bytes, 304 in the mean.
  const nextSize = () => 64 + Math.floor(random() * random() * 960)
  const keys = Array.from({ length: count }, (_, index) => `key-${index}`)
  const values = PEERS[peer]()
  await collect()
  const baseBytes = rssBytes()
  let payloadBytes = 0
  for (const [index, key] of keys.entries()) {
    const sizeBytes = nextSize()
    payloadBytes += sizeBytes
    values.put(key, sizeBytes)
    if (index % OPERATIONS_A_TURN === 0) await turn()
  }
  await collect()
  observer.observe({ entryTypes: ['gc'] })
  const startUs = cpuUs()
  for (let index = 0; index < operations; index++) {
    const key = keys[Math.floor(random() * count)]
    if (index % (READS_OF_TEN + 1) === 0) values.put(key, nextSize())
    else if (values.get(key) !== 2) throw new Error(`${key} is not what was written`)
    if (index % OPERATIONS_A_TURN === 0) await turn()
  }
  const tookUs = cpuUs() - startUs
  const heldBytes = rssBytes()
  // The last ones are told later.
  await setTimeout(100)
  observer.disconnect()
  return { payloadBytes, rssBytes: heldBytes - baseBytes, gcMs, cpuUs: tookUs / operations }
}

async function collect() {
  globalThis.gc?.()
  await turn()
}
