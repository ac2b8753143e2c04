// A cache that gives its memory back. Its entries are blocks of an arena. The memory of evicted entries goes back to the kernel.
import { Arena } from 'offheap'

const MIB = 2 ** 20
const arena = new Arena({ name: 'cache', limitBytes: 256 * MIB })
const entries = new Map()

/** Stores a copy of `bytes`. If the arena is at its limit, it evicts the oldest entries first. */
function put(key, bytes) {
  remove(key)
  let block = arena.tryAllocUnsafe(bytes.length)
  while (block === undefined && entries.size > 0) {
    remove(entries.keys().next().value)
    block = arena.tryAllocUnsafe(bytes.length)
  }
  if (block === undefined) return false
  block.set(bytes)
  entries.set(key, block)
  return true
}

function remove(key) {
  const block = entries.get(key)
  if (block === undefined) return
  entries.delete(key)
  arena.free(block)
}

const megabytes = bytes => `${(bytes / MIB).toFixed(0)} MiB`

for (let i = 0; i < 2000; i++) put(`key ${i}`, Buffer.alloc(200_000, i))
console.log(`${entries.size} entries; resident: ${megabytes(arena.residentBytes())}`)

for (const key of [...entries.keys()]) remove(key)
setTimeout(() => {
  console.log(`all removed, 1.2 s later; resident: ${megabytes(arena.residentBytes())}`)
  arena.close()
}, 1200)
