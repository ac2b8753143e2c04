/** Measures a pair of allocUnsafe and free under each of `leaks`, interleaved, and prints the figures of each round as JSON. */
import { Arena } from 'offheap'

/** @import { LeakMode } from 'offheap' */

const ROUND_MS = 40

/** @type {{ sizeBytes: number, rounds: number }} */
const { sizeBytes, rounds } = JSON.parse(process.argv[2])

/**
 * A loop of its own for each mode, so that none runs code that was compiled for another.
 * @param {LeakMode} leaks
 * @returns {(count: number) => number} allocates and frees so many blocks
 */
function makeLoop(leaks) {
  const arena = new Arena({ leaks })
  // Other blocks live beside the one that comes and goes.
  const live = Array.from({ length: 100 }, () => arena.allocUnsafe(Math.min(sizeBytes, 64 * 1024)))
  const body = 'for (let i = 0; i < count; i++) arena.free(arena.allocUnsafe(sizeBytes)); return live.length'
  return new Function('arena', 'sizeBytes', 'live', `return count => { ${body} }`)(arena, sizeBytes, live)
}

/**
 * @param {(count: number) => number} run
 * @param {number} count
 */
function nsPerPair(run, count) {
  const start = process.hrtime.bigint()
  run(count)
  return Number(process.hrtime.bigint() - start) / count
}

/** A turn of the event loop: finalizers run, and are not counted to the next round. */
const turn = () => new Promise(resolve => setImmediate(resolve))

/** @type {LeakMode[]} */
const modes = ['off', 'sampled', 'all']
const loops = modes.map(makeLoop)
const counts = []
for (const run of loops) {
  for (let i = 0; i < 20; i++) {
    run(2_000)
    await turn()
  }
  counts.push(Math.ceil((ROUND_MS * 1e6) / nsPerPair(run, 2_000)))
}
/**
 * Nanoseconds for a pair, of each round.
 * @type {Record<LeakMode, number[]>}
 */
const times = { off: [], sampled: [], all: [] }
for (let round = 0; round < rounds; round++) {
  for (let k = 0; k < modes.length; k++) {
    // Each mode comes first, second and third equally often.
    const at = (k + round) % modes.length
    times[modes[at]].push(nsPerPair(loops[at], counts[at]))
    await turn()
  }
}
console.log(JSON.stringify(times))
