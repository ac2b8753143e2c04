/**
 * Single operations on a heap with many live blocks of mixed sizes: one random block is freed, one of a random size
 * allocated, over and over.
 *
 * Every operation has two readings of `performance.now()` around it (they count nanoseconds on Linux). What two readings
 * with nothing between them say is measured in the same way and reported beside; it is not taken off. The mean is of the
 * same operations with no clock between them.
 */
import { makeOffheap } from './allocators.mjs'
import { quantile } from './statistics.mjs'

/** @import { Heap } from 'offheap/heap' */

/**
 * A value for each operation, in milliseconds. `clock`: two readings with nothing between them.
 * @typedef {{ free: Float64Array, allocate: Float64Array, clock: Float64Array }} Times
 */

/** @typedef {{ p50Ns: number, p99Ns: number, p999Ns: number }} Percentiles */

/**
 * What is measured beside so many live blocks. `meanNs` is of one operation, without a clock around it.
 * @typedef {object} LatencyFigures
 * @property {number} liveBlocks
 * @property {number} samples operations of each kind
 * @property {number} meanNs
 * @property {Percentiles} allocate
 * @property {Percentiles} free
 * @property {Percentiles} clock
 */

const CAPACITY_BYTES = 16 * 2 ** 30
// 60 % of the blocks have from 16 to 256 bytes, evenly spread, 30 % up to 4 KiB, 10 % up to 64 KiB: 4.1 KiB on average.
// `upTo` adds the shares up.
const MIX = [
  { upTo: 0.6, from: 16, to: 256 },
  { upTo: 0.9, from: 256, to: 4096 },
  { upTo: 1, from: 4096, to: 65536 },
]
const SIZE_COUNT = 2 ** 16
const SEED = 0x9e3779b9
const MEAN_PAIRS_PER_SAMPLE = 2

/** Xorshift: the same numbers in every run. Whole numbers from 0 to 2^32 - 1. */
function makeRandom() {
  let state = SEED
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** @param {() => number} random */
function mixedSizes(random) {
  return Int32Array.from({ length: SIZE_COUNT }, () => {
    const share = random() / 2 ** 32
    const kind = MIX.find(entry => share < entry.upTo) ?? MIX[MIX.length - 1]
    return kind.from + (random() % (kind.to - kind.from))
  })
}

/**
 * @param {Float64Array} samplesMs
 * @returns {Percentiles}
 */
function percentiles(samplesMs) {
  /** @param {number} share from 0 to 1 */
  const at = share => Math.round(quantile(samplesMs, share) * 1e6)
  return { p50Ns: at(0.5), p99Ns: at(0.99), p999Ns: at(0.999) }
}

/**
 * Frees and allocates `count` times, each with the clock around it.
 * @param {Heap} heap
 * @param {Int32Array} live
 * @param {Int32Array} sizes bytes, of which each block has one at random
 * @param {() => number} random
 * @param {number} count
 * @param {Times} times is written to
 */
function churn(heap, live, sizes, random, count, times) {
  for (let index = 0; index < count; index++) {
    const slot = random() % live.length
    const sizeBytes = sizes[random() % SIZE_COUNT]
    const old = live[slot]
    const start = performance.now()
    heap.free(old)
    const freed = performance.now()
    const block = heap.allocate(sizeBytes)
    const allocated = performance.now()
    const nothing = performance.now()
    live[slot] = block
    times.free[index] = freed - start
    times.allocate[index] = allocated - freed
    times.clock[index] = nothing - allocated
  }
}

/**
 * Nanoseconds of one operation on average, the random numbers included.
 * @param {Heap} heap
 * @param {Int32Array} live
 * @param {Int32Array} sizes
 * @param {() => number} random
 * @param {number} pairCount
 */
function meanOf(heap, live, sizes, random, pairCount) {
  const start = process.hrtime.bigint()
  for (let index = 0; index < pairCount; index++) {
    const slot = random() % live.length
    heap.free(live[slot])
    live[slot] = heap.allocate(sizes[random() % SIZE_COUNT])
  }
  return Number(process.hrtime.bigint() - start) / (2 * pairCount)
}

/**
 * @param {number} liveCount blocks live throughout
 * @param {number} sampleCount operations of each kind
 * @returns {LatencyFigures}
 */
export function measureLatency(liveCount, sampleCount) {
  const random = makeRandom()
  const sizes = mixedSizes(random)
  const heap = makeOffheap(CAPACITY_BYTES)
  const live = new Int32Array(liveCount)
  for (let slot = 0; slot < liveCount; slot++) live[slot] = heap.allocate(sizes[random() % SIZE_COUNT])
  const column = () => new Float64Array(sampleCount)
  const times = { free: column(), allocate: column(), clock: column() }
  // Once to warm up, once to be counted.
  churn(heap, live, sizes, random, sampleCount, times)
  churn(heap, live, sizes, random, sampleCount, times)
  const meanNs = meanOf(heap, live, sizes, random, MEAN_PAIRS_PER_SAMPLE * sampleCount)
  return {
    liveBlocks: liveCount,
    samples: sampleCount,
    meanNs,
    allocate: percentiles(times.allocate),
    free: percentiles(times.free),
    clock: percentiles(times.clock),
  }
}
