/** Measures one case and prints its figures as JSON. */
import { Arena } from 'offheap'

/** @import { Figure } from '../sizes.mjs' */

const ROUND_MS = 60

/**
 * `keepsBuffers`: a freed block's Buffer is used again, whatever its length. `isZeroFilled`: `alloc` is measured, not `allocUnsafe`.
 * @type {{ sizeBytes: number, rounds: number, keepsBuffers?: boolean, isZeroFilled?: boolean }}
 */
const { sizeBytes, rounds, keepsBuffers = false, isZeroFilled = false } = JSON.parse(process.argv[2])
const arena = new Arena(keepsBuffers ? { detachFromBytes: Number.POSITIVE_INFINITY } : {})
// Other blocks live beside the one that comes and goes.
const live = Array.from({ length: 100 }, () => arena.allocUnsafe(Math.min(sizeBytes, 64 * 1024)))

/**
 * What is measured: each takes so many blocks, one after the other.
 * @type {Record<'arena' | 'buffer', (count: number) => void>}
 */
const work = {
  arena: isZeroFilled
    ? count => {
        for (let i = 0; i < count; i++) arena.free(arena.alloc(sizeBytes))
      }
    : count => {
        for (let i = 0; i < count; i++) arena.free(arena.allocUnsafe(sizeBytes))
      },
  buffer: isZeroFilled
    ? count => {
        for (let i = 0; i < count; i++) Buffer.alloc(sizeBytes)
      }
    : count => {
        for (let i = 0; i < count; i++) Buffer.allocUnsafe(sizeBytes)
      },
}

/**
 * @param {(count: number) => void} run
 * @param {number} count
 */
function nsPerBlock(run, count) {
  const start = process.hrtime.bigint()
  run(count)
  return Number(process.hrtime.bigint() - start) / count
}

/** A turn of the event loop: finalizers run, and are not counted to the next round. */
const turn = () => new Promise(resolve => setImmediate(resolve))

/** @type {('arena' | 'buffer')[]} */
const NAMES = ['arena', 'buffer']
/** How many blocks make a round. */
const counts = { arena: 0, buffer: 0 }
for (const name of NAMES) {
  const run = work[name]
  for (let i = 0; i < 20; i++) {
    run(2_000)
    await turn()
  }
  counts[name] = Math.ceil((ROUND_MS * 1e6) / nsPerBlock(run, 2_000))
}
/**
 * Nanoseconds for one block, of each round.
 * @type {Record<'arena' | 'buffer', number[]>}
 */
const times = { arena: [], buffer: [] }
for (let round = 0; round < rounds; round++) {
  for (const name of NAMES) {
    times[name].push(nsPerBlock(work[name], counts[name]))
    await turn()
  }
}

/**
 * @param {number[]} values nanoseconds for one block, of each round
 * @returns {Figure}
 */
function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted[sorted.length - 1] }
}
if (live.some(block => block.length === 0)) throw new Error('a live block was lost')
console.log(JSON.stringify({ buffer: summary(times.buffer), arena: summary(times.arena) }))
