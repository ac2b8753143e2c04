/**
 * A cache with a budget of bytes. Its entries are blocks of an arena, so the memory of evicted entries goes back to the kernel.
 *
 * It is put to the test: a server answers from it to slow clients, while new entries push old ones out. An entry that is evicted
 * while it is being sent stays whole until the last byte of it is sent.
 */
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, onPressure } from 'offheap'
import { assertNoLiveBlocks, assertResidentBelow } from 'offheap/testing'

const MIB = 2 ** 20

// #region cache
class Cache {
  #arena
  #budgetBytes
  #bytes = 0
  /** Blocks by key, the one that was not used for the longest time first. */
  #blocks = new Map()

  constructor(arena, budgetBytes) {
    this.#arena = arena
    this.#budgetBytes = budgetBytes
  }

  get bytes() {
    return this.#bytes
  }

  get size() {
    return this.#blocks.size
  }

  /**
   * Calls `use` with the bytes of an entry, and resolves to what its promise resolves to; to undefined if there is no such entry.
   * The bytes stay as they are until then, also if the entry is evicted or replaced meanwhile. There is no `get` that simply returns
   * the block: its caller would still be sending it when `put` frees it.
   */
  async use(key, use) {
    const block = this.#blocks.get(key)
    if (block === undefined) return undefined
    // A Map lists its keys in the order in which they were set: this one is the newest now.
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
    return await this.#arena.lend(block, use)
  }

  /** Stores a copy of `bytes`. Evicts until there is room. Returns false if there is no room at all. */
  put(key, bytes) {
    this.delete(key)
    if (bytes.length > this.#budgetBytes) return false
    this.evictTo(this.#budgetBytes - bytes.length)
    // Evicted entries that are still being sent count for the limit of the arena. So this may fail below the budget.
    const block = this.#arena.tryAllocUnsafe(bytes.length)
    if (block === undefined) return false
    block.set(bytes)
    this.#blocks.set(key, block)
    this.#bytes += block.length
    return true
  }

  delete(key) {
    const block = this.#blocks.get(key)
    if (block === undefined) return
    this.#blocks.delete(key)
    this.#bytes -= block.length
    // If the block is lent, it ends with its last loan.
    this.#arena.free(block)
  }

  /** Evicts the oldest entries until the others have `bytes` at most. */
  evictTo(bytes) {
    for (const key of this.#blocks.keys()) {
      if (this.#bytes <= bytes) return
      this.delete(key)
    }
  }
}
// #endregion

// #region pressure
const arena = new Arena({ name: 'cache', limitBytes: 48 * MIB })
const cache = new Cache(arena, 16 * MIB)
// When the container runs out of memory, the cache is the first to give way.
const stop = onPressure(({ missingBytes }) => cache.evictTo(Math.max(0, cache.bytes - missingBytes)))
// #endregion

// #region send
const server = createServer(async (request, response) => {
  const sent = await cache.use(request.url, bytes => {
    // 'close' is the last event: all is sent, or the client is gone.
    const closed = once(response, 'close')
    response.end(bytes)
    return closed
  })
  if (sent === undefined) response.writeHead(404).end()
})
// #endregion

// ---- load: slow clients read old entries while new ones push them out -------------------------------------

let begun = 0
server.on('request', () => {
  begun++
})
server.listen(0)
await once(server, 'listening')

/** Reads entry `key` slowly. Returns whether all of it is there, and nothing else: each of its bytes is `key`. */
async function read(key) {
  const [response] = await once(get(`http://localhost:${server.address().port}/${key}`), 'response')
  let length = 0
  let isRight = response.statusCode === 200
  for await (const chunk of response) {
    length += chunk.length
    if (!chunk.every(byte => byte === key)) isRight = false
    if (length < 2 * MIB) await sleep(2)
  }
  return isRight && length === 4 * MIB
}

for (let key = 0; key < 4; key++) cache.put(`/${key}`, Buffer.alloc(4 * MIB, key))
const readers = [0, 1, 2, 3, 0, 1, 2, 3].map(read)
while (begun < readers.length) await sleep(1)
let evictedWhileSent = 0
for (let key = 4; key < 24; key++) {
  cache.put(`/${key}`, Buffer.alloc(4 * MIB, key))
  evictedWhileSent = Math.max(evictedWhileSent, arena.stats().liveBlocks - cache.size)
  await sleep(5)
}
const whole = (await Promise.all(readers)).filter(Boolean).length
console.log(
  `${whole} of 8 readers got all their bytes; ${evictedWhileSent} entries were evicted while they were being sent`,
)

cache.evictTo(0)
await assertNoLiveBlocks({ arenas: [arena], withinMs: 30_000 })
const bytes = await assertResidentBelow(MIB, { arenas: [arena], withinMs: 30_000 })
console.log(`all evicted: ${bytes} bytes resident`)

stop()
server.close()
server.closeAllConnections()
await arena.closeWhenIdle()
if (whole !== 8 || evictedWhileSent === 0) process.exitCode = 1
