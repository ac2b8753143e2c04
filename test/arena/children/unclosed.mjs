/**
 * Drops arenas without close(), collects, and prints what the process kept. Arguments: how many, options as JSON, and
 * 'worker' to do it in a Worker.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { loadAddon } from '../../../.compiled/memory/addon.js'
import { Arena, processLimit } from '../../../dist/index.js'

const rssBytes = () =>
  Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
/** All address space, but for what is kept for whoever may still hold an address. Of how many mappings it is says nothing: neighbours are one to the kernel. */
const sizeBytes = () =>
  Number(/^VmSize:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024 -
  loadAddon().kept().bytes

function drop(count, options) {
  for (let i = 0; i < count; i++) {
    const arena = new Arena(options)
    arena.on('limit', () => arena.trim())
    for (const size of [64, 5_000, 70_000, 1_000_000]) arena.alloc(size)[0] = 1
    arena.free(arena.allocUnsafe(50_000).fill(1))
    arena.free(arena.allocUnsafe(2_000_000).fill(1))
  }
}

/** Waits until the process's limit has everything back: nobody shows any byte of any arena then. */
async function collected() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc()
    await turn()
  }
  while (processLimit().takenBytes > 0) {
    globalThis.gc()
    await sleep(5)
  }
}

/** Waits until no mapping went for half a second: they go in slices, a few each millisecond, and later where one is shown. */
async function settled() {
  let size = sizeBytes()
  for (let unchanged = 0; unchanged < 10; unchanged++) {
    await sleep(50)
    if (sizeBytes() !== size) unchanged = 0
    size = sizeBytes()
  }
}

async function run(count, options) {
  drop(Math.min(count, 50), options)
  await collected()
  await settled()
  const before = [rssBytes(), sizeBytes()]
  for (let left = count; left > 0; left -= 50) {
    drop(Math.min(left, 50), options)
    await collected()
  }
  await settled()
  const after = [rssBytes(), sizeBytes()]
  console.log(JSON.stringify({ rssBytes: after[0] - before[0], sizeBytes: after[1] - before[1] }))
}

const { count, options } = isMainThread
  ? { count: Number(process.argv[2]), options: JSON.parse(process.argv[3]) }
  : workerData
if (isMainThread && process.argv[4] === 'worker') {
  new Worker(fileURLToPath(import.meta.url), { workerData: { count, options } })
} else {
  // JSON has no Infinity.
  for (const [name, value] of Object.entries(options))
    if (value === 'Infinity') options[name] = Number.POSITIVE_INFINITY
  await run(count, options)
}
