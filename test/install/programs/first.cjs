// A first Buffer, by `require`. Prints what was loaded.
const assert = require('node:assert/strict')
const { Arena, ArenaError } = require('offheap')
const { Heap } = require('offheap/heap')
const { assertNoLiveBlocks } = require('offheap/testing')

const arena = new Arena({ name: 'first' })
const block = arena.alloc(100_000)
assert.equal(
  block.every(byte => byte === 0),
  true,
)
block.write('hello')
arena.free(block)
assert.equal(arena.stats().liveBlocks, 0)
assert.throws(
  () => arena.free(block),
  error => error instanceof ArenaError && error.code === 'ERR_ARENA_DOUBLE_FREE',
)
arena.close()

const heap = new Heap({ capacityBytes: 2 ** 20 })
heap.free(heap.allocate(100))
assert.equal(heap.stats().longestFreeBytes, 2 ** 20)
assertNoLiveBlocks().then(() => console.log('it works'))
