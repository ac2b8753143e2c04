/** Measures one size, with `debug` and without, and prints the figures as JSON. */
import { Arena } from 'offheap'

/** @import { Figure } from '../sizes.mjs' */

const ROUND_MS = 60
/** Between two turns of the event loop, so that finalizers run: they are part of what a block costs. */
const SLICE = 500

/** @type {{ sizeBytes: number, rounds: number }} */
const { sizeBytes, rounds } = JSON.parse(process.argv[2])

/**
 * @param {Arena} arena
 * @returns {(count: number) => void} allocates and frees so many blocks, one after the other
 */
function workOn(arena) {
  return count => {
    for (let i = 0; i < count; i++) arena.free(arena.allocUnsafe(sizeBytes))
  }
}

const arenas = { plain: new Arena(), debug: new Arena({ debug: true }) }
// Other blocks live beside the one that comes and goes.
const live = Object.values(arenas).flatMap(arena =>
  Array.from({ length: 100 }, () => arena.allocUnsafe(Math.min(sizeBytes, 64 * 1024))),
)

/** A turn of the event loop: finalizers run. */
const turn = () => new Promise(resolve => setImmediate(resolve))

/**
 * Nanoseconds for each block, the turns included.
 * @param {(count: number) => void} run
 * @param {number} count blocks in all
 */
async function measure(run, count) {
  const start = process.hrtime.bigint()
  for (let done = 0; done < count; done += SLICE) {
    run(Math.min(SLICE, count - done))
    await turn()
  }
  return Number(process.hrtime.bigint() - start) / count
}

/** @type {('plain' | 'debug')[]} */
const MODES = ['plain', 'debug']
/**
 * Nanoseconds for one block, of each round.
 * @type {Record<'plain' | 'debug', number[]>}
 */
const times = { plain: [], debug: [] }
/** How many blocks make a round. */
const counts = { plain: 0, debug: 0 }
const work = { plain: workOn(arenas.plain), debug: workOn(arenas.debug) }
for (const name of MODES) {
  await measure(work[name], 20_000)
  counts[name] = Math.ceil((ROUND_MS * 1e6) / (await measure(work[name], 2_000)))
}
for (let round = 0; round < rounds; round++) {
  for (const name of MODES) times[name].push(await measure(work[name], counts[name]))
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
console.log(JSON.stringify({ plain: summary(times.plain), debug: summary(times.debug) }))
