/** A Worker's arena holds free pages that no timer gives back. The main thread reclaims. Prints what the arena held, as JSON. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { Arena, reclaim } from '../../../dist/index.js'

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url))
  const [before] = await once(worker, 'message')
  await reclaim()
  let after = before
  // The Worker was asked; nobody waits for it.
  for (let i = 0; i < 500 && after > 0; i++) {
    await sleep(10)
    worker.postMessage('look')
    ;[after] = await once(worker, 'message')
  }
  console.log(JSON.stringify({ before, after }))
  await worker.terminate()
} else {
  const arena = new Arena({ releaseAfterMs: Number.POSITIVE_INFINITY })
  const blocks = Array.from({ length: 64 }, () => arena.alloc(65_536).fill(1))
  for (const block of blocks) arena.free(block)
  parentPort.postMessage(arena.stats().dirtyBytes)
  parentPort.on('message', () => parentPort.postMessage(arena.stats().dirtyBytes))
}
