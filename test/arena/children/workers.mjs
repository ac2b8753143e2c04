/**
 * Runs 20 Workers with arenas, four at a time, each terminated at a random moment; prints what the process kept. Argument:
 * a seed.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

const field = (file, name) =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(file, 'latin1'))[1]) * 1024
const look = () => ({
  mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1,
  rssBytes: field('/proc/self/smaps_rollup', 'Rss'),
})

async function runOne(seed, delayMs) {
  const worker = new Worker(new URL('./worker.mjs', import.meta.url), { workerData: { seed } })
  const exit = new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
  await Promise.race([new Promise(resolve => worker.once('message', resolve)), exit])
  await sleep(delayMs)
  await worker.terminate()
  await exit
}

const seed = Number(process.argv[2])
const delays = Array.from({ length: 20 }, (_, i) => (Math.imul(seed + i, 2_654_435_761) >>> 0) % 60)
for (let i = 0; i < 4; i++) await runOne(seed - i - 1, 30)
const before = look()
for (let i = 0; i < 20; i += 4) await Promise.all([0, 1, 2, 3].map(k => runOne(seed + i + k, delays[i + k])))
await sleep(100)
const after = look()
console.log(
  JSON.stringify({ mappings: after.mappings - before.mappings, rssBytes: after.rssBytes - before.rssBytes }),
)
