/** What the books of large blocks cost, and whether the statistics say so. Nothing writes to the blocks. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from 'offheap'
import { Heap } from 'offheap/heap'
import { collectGarbage, residentBytes } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const MIB = 2 ** 20
const GIB = 2 ** 30

/** Mappings that were outgrown are gone by then. */
const SETTLE_MS = 700

async function settle() {
  await sleep(SETTLE_MS)
  await collectGarbage()
}

/**
 * Makes something, and says by how much it made the process grow.
 * @template Made
 * @param {() => Made} make
 */
async function growthBy(make) {
  await settle()
  const before = residentBytes()
  const made = make()
  await settle()
  const grownBytes = residentBytes() - before
  return { made, grownBytes }
}

/** @param {() => unknown[]} make */
async function grownMib(make) {
  const { made, grownBytes } = await growthBy(make)
  // Until here nobody may collect it.
  if (made.length === 0) throw new Error('nothing was made')
  return grownBytes / MIB
}

/**
 * An arena and its blocks.
 * @param {number} count
 * @param {number} sizeBytes
 */
function arenaOf(count, sizeBytes) {
  const arena = new Arena()
  return [arena, ...Array.from({ length: count }, () => arena.allocUnsafe(sizeBytes))]
}

/**
 * A heap with so many blocks.
 * @param {number} count
 * @param {number} sizeBytes
 */
function heapOf(count, sizeBytes) {
  const heap = new Heap({ capacityBytes: 32 * GIB })
  for (let i = 0; i < count; i++) if (heap.allocate(sizeBytes) < 0) throw new Error('full')
  return [heap]
}

/**
 * By how much the statistics are off what the kernel says, in percent.
 * @param {number} count
 * @param {number} sizeBytes
 */
async function percentOff(count, sizeBytes) {
  const { made, grownBytes } = await growthBy(() => heapOf(count, sizeBytes))
  return Math.abs(100 * (made[0].stats().metadataBytes / grownBytes - 1))
}

export const title = 'books of blocks that nobody writes to'
/** @type {Case['rows']} */
export const rows = {
  '64 blocks of 64 MiB: growth of the process': {
    unit: 'MiB',
    most: 8,
    measures: {
      arena: () => grownMib(() => arenaOf(64, 64 * MIB)),
      heap: () => grownMib(() => heapOf(64, 64 * MIB)),
      buffer: () => grownMib(() => Array.from({ length: 64 }, () => Buffer.allocUnsafeSlow(64 * MIB))),
    },
  },
  '31 blocks of 1 GiB: growth of the process': {
    unit: 'MiB',
    most: 8,
    measures: {
      arena: () => grownMib(() => arenaOf(31, GIB)),
      heap: () => grownMib(() => heapOf(31, GIB)),
    },
  },
  '2,000,000 blocks of 4 KiB in a Heap: metadataBytes off what is resident': {
    unit: '%',
    most: 10,
    measures: { arena: () => percentOff(2_000_000, 4096) },
  },
  '30,000 blocks of 1 MiB in a Heap: metadataBytes off what is resident': {
    unit: '%',
    most: 10,
    measures: { arena: () => percentOff(30_000, MIB) },
  },
}
