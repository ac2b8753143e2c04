/**
 * The allocators in JavaScript, each as an object with `allocate(sizeBytes)`, `free(block)` and `resize(block, sizeBytes)`: integers in
 * and out. A
 * process makes one kind only, so that the calls in the timed loop have one target, as they have in a program.
 */
import { MemPool } from '@thi.ng/malloc'
import { Heap } from 'offheap/heap'

const MIB = 2 ** 20

/** Four times what is ever live, so that none is measured short of space, which the C peers never are. */
export function capacityFor(peakLiveBytes) {
  return Math.max(64 * MIB, 2 ** Math.ceil(Math.log2(4 * peakLiveBytes)))
}

export function makeOffheap(capacityBytes) {
  return new Heap({ capacityBytes })
}

/**
 * Aligned to 16 bytes, as all the others are. No use is made of its `realloc`: one that moves frees a block address where
 * an address of data is expected, and so leaks the old block.
 */
class ThingPool {
  #pool
  /** One past the highest byte ever handed out: the pool's counterpart of committed bytes. */
  peakEndBytes = 0

  constructor(capacityBytes) {
    this.#pool = new MemPool({ buf: new ArrayBuffer(capacityBytes), align: 16 })
  }

  /** The pool's 0 for "no room" becomes -1, as `Heap` has it. */
  allocate(sizeBytes) {
    const block = this.#pool.malloc(sizeBytes || 1)
    if (block === 0) return -1
    if (block + sizeBytes > this.peakEndBytes) this.peakEndBytes = block + sizeBytes
    return block
  }

  resize() {
    return false
  }

  free(block) {
    if (!this.#pool.free(block)) throw new Error(`free(${block}) was refused`)
  }
}

/** No allocator at all: what of the timed loop is the loop's own. The sum keeps the loads that a real free needs. */
class Bare {
  sum = 0

  allocate(sizeBytes) {
    return sizeBytes
  }

  resize() {
    return false
  }

  free(block) {
    this.sum ^= block
  }
}

export function makeAllocator(name, capacityBytes) {
  if (name === 'offheap') return makeOffheap(capacityBytes)
  if (name === 'thi.ng') return new ThingPool(capacityBytes)
  return new Bare()
}
