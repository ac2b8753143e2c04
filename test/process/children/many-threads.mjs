/** Many threads reclaim at once while they allocate, compress and end at any moment. Prints how many Workers there were. */

import { promisify } from 'node:util'
import { isMainThread, Worker } from 'node:worker_threads'
import { gzip } from 'node:zlib'
import { Arena, reclaim } from '../../../dist/index.js'

const compress = promisify(gzip)
const [seconds] = process.argv.slice(2).map(Number)

async function work(goesOn) {
  const arena = new Arena()
  let kept = []
  for (let i = 0; goesOn(); i++) {
    const waits = [reclaim({ collectGarbage: i % 50 === 0 ? 'minor' : 'none' })]
    for (let k = 0; k < 20; k++) {
      kept.push(Buffer.allocUnsafeSlow(1 + Math.floor(Math.random() * 200_000)).fill(k))
      if (kept.length > 200) kept = kept.slice(Math.floor(Math.random() * 150))
      arena.free(arena.alloc(1 + Math.floor(Math.random() * 60_000)).fill(k))
    }
    if (i % 5 === 0) waits.push(compress(Buffer.alloc(100_000, i)))
    if (i % 3 === 0) await Promise.all(waits)
    for (const block of kept)
      if (block[0] !== block[block.length - 1]) throw new Error('a live block was purged')
  }
  arena.close()
}

if (isMainThread) {
  const endMs = Date.now() + seconds * 1000
  let count = 0
  const oneAfterTheOther = async () => {
    while (Date.now() < endMs) {
      const worker = new Worker(new URL(import.meta.url), { argv: [String(seconds)] })
      count++
      worker.on('error', error => {
        console.error(error)
        process.exitCode = 1
      })
      setTimeout(() => worker.terminate(), 100 + Math.random() * 500)
      await new Promise(resolve => worker.on('exit', resolve))
    }
  }
  await Promise.all([work(() => Date.now() < endMs), ...Array.from({ length: 4 }, oneAfterTheOther)])
  await reclaim()
  console.log(count)
} else {
  await work(() => true)
}
