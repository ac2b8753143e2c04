/**
 * The allocators in JavaScript. A process makes one kind only, so that the calls in the timed loop have one target, as they have
 * in a program.
 */
import { MemPool } from '@thi.ng/malloc'
import { Heap } from 'offheap/heap'

const MIB = 2 ** 20

/**
 * What is measured: integers in and out.
 * @typedef {object} Allocator
 * @property {(sizeBytes: number) => number} allocate returns a block; -1 where there is no room
 * @property {(block: number, sizeBytes: number) => boolean} resize in place. Returns false, and does nothing, where it cannot
 * @property {(block: number) => void} free
 */

/** @typedef {'offheap' | 'thi.ng' | 'bare'} AllocatorName */

/**
 * Four times what is ever live, so that none is measured short of space, which the C peers never are. In bytes.
 * @param {number} peakLiveBytes
 */
export function capacityFor(peakLiveBytes) {
  return Math.max(64 * MIB, 2 ** Math.ceil(Math.log2(4 * peakLiveBytes)))
}

/** @param {number} capacityBytes */
export function makeOffheap(capacityBytes) {
  return new Heap({ capacityBytes })
}

/**
 * Aligned to 16 bytes, as all the others are. No use is made of its `realloc`: one that moves frees a block address where
 * an address of data is expected, and so leaks the old block.
 */
export class ThingPool {
  #pool
  /** One past the highest byte ever handed out: the pool's counterpart of committed bytes. */
  peakEndBytes = 0

  /** @param {number} capacityBytes */
  constructor(capacityBytes) {
    this.#pool = new MemPool({ buf: new ArrayBuffer(capacityBytes), align: 16 })
  }

  /**
   * The pool's 0 for "no room" becomes -1, as `Heap` has it.
   * @param {number} sizeBytes
   */
  allocate(sizeBytes) {
    const block = this.#pool.malloc(sizeBytes || 1)
    if (block === 0) return -1
    if (block + sizeBytes > this.peakEndBytes) this.peakEndBytes = block + sizeBytes
    return block
  }

  resize() {
    return false
  }

  /** @param {number} block */
  free(block) {
    if (!this.#pool.free(block)) throw new Error(`free(${block}) was refused`)
  }
}

/** No allocator at all: what of the timed loop is the loop's own. The sum keeps the loads that a real free needs. */
class Bare {
  sum = 0

  /** @param {number} sizeBytes */
  allocate(sizeBytes) {
    return sizeBytes
  }

  resize() {
    return false
  }

  /** @param {number} block */
  free(block) {
    this.sum ^= block
  }
}

/**
 * @param {AllocatorName} name
 * @param {number} capacityBytes
 * @returns {Allocator}
 */
export function makeAllocator(name, capacityBytes) {
  if (name === 'offheap') return makeOffheap(capacityBytes)
  if (name === 'thi.ng') return new ThingPool(capacityBytes)
  return new Bare()
}
