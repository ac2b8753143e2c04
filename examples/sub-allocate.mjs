// The bookkeeping alone, without the addon. It divides up a SharedArrayBuffer.
import { Heap } from 'offheap/heap'

const shared = new SharedArrayBuffer(16 * 2 ** 20)
const heap = new Heap({ capacityBytes: shared.byteLength })

const block = heap.allocate(1000)
if (block === -1) throw new Error('the SharedArrayBuffer is full')
const view = new Uint8Array(shared, heap.offsetOf(block), 1000)
view.fill(7)

console.log(`1000 bytes at offset ${heap.offsetOf(block)}, ${heap.sizeOf(block)} usable`)
heap.free(block)
console.log(`${heap.stats().liveBlocks} blocks live`)
