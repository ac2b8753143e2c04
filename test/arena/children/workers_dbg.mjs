/**
 * Runs Workers with arenas, four at a time: of four, one is terminated at a random moment, the others exit, throw and end.
 * The addon is loaded by nobody else. Prints what the process kept. Arguments: a seed, how many.
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

const ENDS = ['terminate', 'exit', 'throw', 'natural']

async function runOne(seed, delayMs, end) {
  const worker = new Worker(new URL('./worker.mjs', import.meta.url), { workerData: { seed, end } })
  let error
  worker.once('error', thrown => {
    error = thrown
  })
  const exit = new Promise(resolve => worker.once('exit', resolve))
  await Promise.race([new Promise(resolve => worker.once('message', resolve)), exit])
  if (end === 'terminate') {
    await sleep(delayMs)
    await worker.terminate()
  }
  await exit
  if ((error?.message === 'on purpose') !== (end === 'throw')) throw error ?? new Error('it did not throw')
}

const seed = Number(process.argv[2])
const count = Number(process.argv[3])
const delayOf = i => (Math.imul(seed + i, 2_654_435_761) >>> 0) % 60
const runFour = first =>
  Promise.all(ENDS.map((end, i) => runOne((seed + first + i) >>> 0, delayOf(first + i), end)))
for (let i = -8; i < 0; i += 4) await runFour(i)
const before = look()
for (let i = 0; i < count; i += 4) await runFour(i)
await sleep(100)
const after = look()
const hist = {}
for (const line of readFileSync('/proc/self/maps','latin1').split('\n')) { const m=/^(\w+)-(\w+) (\S+) \S+ \S+ (\d+) *(.*)/.exec(line); if(!m||m[4]!=='0'||m[5])continue; const k=m[3]+' '+((parseInt(m[2],16)-parseInt(m[1],16))/1024); hist[k]=(hist[k]??0)+1 }
console.error(Object.entries(hist).sort((a,b)=>b[1]-a[1]).slice(0,25))
console.log(
  JSON.stringify({ mappings: after.mappings - before.mappings, rssBytes: after.rssBytes - before.rssBytes }),
)
