/** What `spawn` costs a process that holds memory: `fork` copies the page tables of all that is resident, but for arenas'. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Arena } from 'offheap'

/** @import { Case } from '../main.mjs' */

const MIB = 2 ** 20
const BLOCK_BYTES = 64 * MIB
const BLOCKS = 32
const TIMES = 5

/**
 * Milliseconds that the call of `spawn` keeps the event loop, the median of a few.
 * @param {Buffer[]} blocks what the process holds, each filled with 1
 */
async function spawnMs(blocks) {
  const took = []
  for (let i = 0; i < TIMES; i++) {
    const startMs = performance.now()
    const child = spawn('/bin/true', { stdio: 'ignore' })
    took.push(performance.now() - startMs)
    await once(child, 'exit')
  }
  if (blocks.some(block => block[0] !== 1)) throw new Error('a block has lost its bytes')
  return took.sort((a, b) => a - b)[TIMES >> 1]
}

export const title = 'spawn() with 2 GiB in use'
/** @type {Case['rows']} */
export const rows = {
  'the call': {
    unit: 'ms',
    most: 10,
    measures: {
      arena: () => {
        const arena = new Arena()
        return spawnMs(Array.from({ length: BLOCKS }, () => arena.allocUnsafe(BLOCK_BYTES).fill(1)))
      },
      buffer: () => spawnMs(Array.from({ length: BLOCKS }, () => Buffer.allocUnsafe(BLOCK_BYTES).fill(1))),
      nothing: () => spawnMs([]),
    },
  },
}
