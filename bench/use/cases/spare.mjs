/** What an arena holds after everything in it was freed: a sanity check of the others. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from 'offheap'
import { collectGarbage, residentBytes } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const MIB = 2 ** 20
const COUNT = 64

/**
 * By how many MiB the process has grown once all was freed again.
 * @param {(sizeBytes: number) => Buffer} allocate
 * @param {(block: Buffer) => void} free
 */
async function growthAfterFreeing(allocate, free) {
  await collectGarbage()
  const before = residentBytes()
  /** @type {Buffer[] | null} */
  let blocks = Array.from({ length: COUNT }, () => allocate(MIB).fill(1))
  for (const block of blocks) free(block)
  blocks = null
  await sleep(1_250)
  await collectGarbage()
  return (residentBytes() - before) / MIB
}

export const title = '64 blocks of 1 MiB, written and freed'
/** @type {Case['rows']} */
export const rows = {
  'growth of the process 1.25 s later': {
    unit: 'MiB',
    most: 8,
    measures: {
      arena: () => {
        const arena = new Arena()
        return growthAfterFreeing(
          size => arena.allocUnsafe(size),
          block => arena.free(block),
        )
      },
      buffer: () => growthAfterFreeing(Buffer.allocUnsafe, () => {}),
    },
  },
}
