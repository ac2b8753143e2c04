/** Measures pools of three sizes, and new Buffers of these sizes, and prints the figures as JSON. */
import { Arena } from 'offheap'

const rounds = Number(process.argv[2])
const arena = new Arena()
// As in most programs, some ArrayBuffer was detached before. V8 compiles other code from then on.
arena.free(arena.alloc(100_000))
/** The last Buffers stay for a moment, as if they were in use. */
const ring = new Array(16)

/** What is measured. `count`: how many make a round. With new Buffers that is enough for some collections. */
const CASES = [
  { name: '64 B', sizeBytes: 64, buffers: 200_000 },
  { name: '1 KiB', sizeBytes: 1_024, buffers: 50_000 },
  { name: '64 KiB', sizeBytes: 65_536, buffers: 3_000 },
].flatMap(({ name, sizeBytes, buffers }) => {
  const pool = arena.pool(sizeBytes)
  // Texts, so that each loop is compiled for itself.
  const pairs = `/* ${sizeBytes} */ for (let i = 0; i < count; i++) { const buffer = pool.acquire(); pool.release(buffer) }`
  const allocs = `/* ${sizeBytes} */ for (let i = 0; i < count; i++) ring[i & 15] = Buffer.allocUnsafe(${sizeBytes})`
  return [
    { name, what: 'pool', count: 500_000, run: new Function('pool', 'count', pairs).bind(null, pool) },
    { name, what: 'buffer', count: buffers, run: new Function('ring', 'count', allocs).bind(null, ring) },
  ].map(each => ({ ...each, times: /** @type {number[]} */ ([]) }))
})

/** A turn of the event loop: finalizers run, and are not counted to the next round. */
const turn = () => new Promise(resolve => setImmediate(resolve))

for (let round = -5; round < rounds; round++) {
  for (const { run, count, times } of CASES) {
    const start = process.hrtime.bigint()
    run(count)
    const ns = Number(process.hrtime.bigint() - start) / count
    if (round >= 0) times.push(ns)
    await turn()
  }
}

/** @param {number[]} values nanoseconds for one pair, of each round */
function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted[sorted.length - 1] }
}
const names = [...new Set(CASES.map(({ name }) => name))]
const cases = names.map(name => {
  const [pool, buffer] = CASES.filter(each => each.name === name).map(({ times }) => summary(times))
  return { name, pool, buffer }
})
console.log(JSON.stringify({ node: process.version, cases }))
