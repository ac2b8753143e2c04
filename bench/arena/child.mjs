/** Measures one case and prints its figures as JSON. */
import { Arena } from '../../dist/index.js'

const ROUND_MS = 60

const { sizeBytes, rounds, keepsBuffers = false, isZeroFilled = false } = JSON.parse(process.argv[2])
const arena = new Arena(keepsBuffers ? { detachFromBytes: Number.POSITIVE_INFINITY } : {})
// Other blocks live beside the one that comes and goes.
const live = Array.from({ length: 100 }, () => arena.allocUnsafe(Math.min(sizeBytes, 64 * 1024)))

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

function nsPerBlock(run, count) {
  const start = process.hrtime.bigint()
  run(count)
  return Number(process.hrtime.bigint() - start) / count
}

/** A turn of the event loop: finalizers run, and are not counted to the next round. */
const turn = () => new Promise(resolve => setImmediate(resolve))

const counts = {}
for (const [name, run] of Object.entries(work)) {
  for (let i = 0; i < 20; i++) {
    run(2_000)
    await turn()
  }
  counts[name] = Math.ceil((ROUND_MS * 1e6) / nsPerBlock(run, 2_000))
}
const times = { arena: [], buffer: [] }
for (let round = 0; round < rounds; round++) {
  for (const [name, run] of Object.entries(work)) {
    times[name].push(nsPerBlock(run, counts[name]))
    await turn()
  }
}

function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted[sorted.length - 1] }
}
if (live.some(block => block.length === 0)) throw new Error('a live block was lost')
console.log(JSON.stringify({ buffer: summary(times.buffer), arena: summary(times.arena) }))
