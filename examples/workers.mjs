/**
 * Arenas in Workers. Each thread has an arena of its own; blocks do not cross threads, copies do. One limit holds for all threads
 * together. When a Worker ends, its arenas end with it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { Arena, processLimit, setProcessLimit } from 'offheap'

const MIB = 2 ** 20

if (isMainThread) {
  await main()
} else {
  // #region worker
  const arena = new Arena({ name: 'worker', limitBytes: 32 * MIB })
  parentPort.on('message', bytes => {
    // A copy in this thread's own arena, for whatever the Worker does with it. `bytes` is ordinary memory.
    const block = arena.allocUnsafe(bytes.length)
    block.set(bytes)
    parentPort.postMessage(createHash('sha256').update(block).digest('hex'))
    arena.free(block)
  })
  // #endregion
}

async function main() {
  setProcessLimit(128 * MIB)
  const arena = new Arena({ name: 'main' })
  const workers = [new Worker(new URL(import.meta.url)), new Worker(new URL(import.meta.url))]

  // #region post
  /** Sends the bytes of a block to a Worker. The copy moves there; the block stays here. */
  function post(worker, block) {
    const copy = Uint8Array.from(block)
    worker.postMessage(copy, [copy.buffer])
  }
  // #endregion

  let right = 0
  for (let i = 0; i < 40; i++) {
    const block = arena.allocUnsafe(MIB)
    randomBytes(MIB).copy(block)
    const worker = workers[i % 2]
    post(worker, block)
    const [hash] = await once(worker, 'message')
    if (hash === createHash('sha256').update(block).digest('hex')) right++
    arena.free(block)
  }
  const { takenBytes } = processLimit()
  console.log(
    `${right} of 40 blocks were right; all threads have taken ${(takenBytes / MIB).toFixed(1)} MiB of 128 MiB`,
  )

  await Promise.all(workers.map(worker => worker.terminate()))
  arena.close()
  while (processLimit().takenBytes > 0) await sleep(10)
  console.log('Workers ended, arena closed: 0 MiB are taken')
  if (right !== 40) process.exitCode = 1
}
