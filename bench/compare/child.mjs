/**
 * One way to have memory, in a process of its own: `node child.mjs WAY LOAD [reclaim]`. Prints what it held, as JSON.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MemPool } from '@thi.ng/malloc'
import { Arena, reclaim } from 'offheap'
import { collectGarbage, rssBytes } from 'offheap/testing'

const MIB = 2 ** 20
const TOTAL_BYTES = 128 * MIB
const SMALL_BYTES = [512, 1024, 2048, 4096, 8192]

/** @typedef {{ alloc(sizeBytes: number): Uint8Array, free(block: Uint8Array): void }} Allocator */

/** @type {Record<string, () => Allocator>} */
const WAYS = {
  // `Buffer.allocUnsafe` takes blocks of up to half its pool from the pool, which then lives as long as any of them.
  Buffer: () => ({ alloc: sizeBytes => Buffer.allocUnsafeSlow(sizeBytes), free: () => {} }),
  transfer: () => ({
    alloc: sizeBytes => new Uint8Array(sizeBytes),
    free: block => void (/** @type {any} */ (block.buffer).transfer(0)),
  }),
  'thi.ng': () => {
    const pool = new MemPool({ size: 2 * TOTAL_BYTES, compact: true, split: true })
    return {
      alloc: sizeBytes => {
        const block = pool.mallocAs('u8', sizeBytes)
        if (block === undefined) throw new Error('the pool is full')
        return block
      },
      free: block => void pool.free(block),
    }
  },
  Arena: () => {
    const arena = new Arena()
    return { alloc: sizeBytes => arena.allocUnsafe(sizeBytes), free: block => arena.free(block) }
  },
}

/** @typedef {{ sizeOf: (i: number) => number, isKept: (i: number) => boolean }} Load */

/** @type {Record<string, Load>} */
const LOADS = {
  'drop-all': { sizeOf: () => 64 * 1024, isKept: () => false },
  'keep-1-in-64': { sizeOf: () => 64 * 1024, isKept: i => i % 64 === 0 },
  'large-keep-1-in-8': { sizeOf: () => 4 * MIB, isKept: i => i % 8 === 0 },
  'small-keep-1-in-64': { sizeOf: i => SMALL_BYTES[i % SMALL_BYTES.length], isKept: i => i % 64 === 0 },
}

/**
 * Holds `totalBytes` in blocks, then frees all but those that are kept. Returns these.
 * @param {Allocator} allocator
 * @param {Load} load
 * @param {number} totalBytes
 */
function run({ alloc, free }, load, totalBytes) {
  /** @type {Uint8Array[]} */
  const blocks = []
  for (let bytes = 0, i = 0; bytes < totalBytes; bytes += load.sizeOf(i++))
    blocks.push(alloc(load.sizeOf(i)).fill(1))
  return blocks.filter((block, i) => {
    if (load.isKept(i)) return true
    free(block)
    return false
  })
}

const [, , way, loadName, end] = process.argv
const allocator = WAYS[way]()
const load = LOADS[loadName]
for (let i = 0; i < 20; i++) {
  for (const block of run(allocator, load, 2 * MIB)) allocator.free(block)
  await collectGarbage()
}
await sleep(1500)
const before = rssBytes()
const kept = run(allocator, load, TOTAL_BYTES)
const atOnce = rssBytes()
await collectGarbage()
if (end === 'reclaim') await reclaim({ collectGarbage: 'major' })
await sleep(1500)
const soon = rssBytes()
await sleep(10_500)
const late = rssBytes()
const live = kept.reduce((bytes, { length }) => bytes + length, 0)
console.log(JSON.stringify({ live, atOnce: atOnce - before, soon: soon - before, late: late - before }))
