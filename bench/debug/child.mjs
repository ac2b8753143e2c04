/** Measures one size, with `debug` and without, and prints the figures as JSON. */
import { Arena } from '../../dist/index.js'

const ROUND_MS = 60
/** Between two turns of the event loop, so that finalizers run: they are part of what a block costs. */
const SLICE = 500

const { sizeBytes, rounds } = JSON.parse(process.argv[2])

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

/** Nanoseconds for each block, the turns included. */
async function measure(run, count) {
  const start = process.hrtime.bigint()
  for (let done = 0; done < count; done += SLICE) {
    run(Math.min(SLICE, count - done))
    await turn()
  }
  return Number(process.hrtime.bigint() - start) / count
}

const times = { plain: [], debug: [] }
const counts = {}
const work = { plain: workOn(arenas.plain), debug: workOn(arenas.debug) }
for (const name of ['plain', 'debug']) {
  await measure(work[name], 20_000)
  counts[name] = Math.ceil((ROUND_MS * 1e6) / (await measure(work[name], 2_000)))
}
for (let round = 0; round < rounds; round++) {
  for (const name of ['plain', 'debug']) times[name].push(await measure(work[name], counts[name]))
}

function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted[sorted.length - 1] }
}
if (live.some(block => block.length === 0)) throw new Error('a live block was lost')
console.log(JSON.stringify({ plain: summary(times.plain), debug: summary(times.debug) }))
