/** What stays of arenas that were closed: their addresses are kept, and must cost next to nothing else. */
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { Arena } from 'offheap'
import { collectGarbage, kibIn } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const WARM_UP = 5_000
const COUNT = 20_000
const MIB = 2 ** 20

const kernelMappings = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1
const pageTableKib = () => kibIn('/proc/self/status', /^VmPTE:\s+(\d+) kB$/m)

/**
 * How much `measure()` grew over `COUNT` arenas, one after the other, each with a short and a long block.
 * @param {() => number} measure
 */
async function growth(measure) {
  /** @param {number} count */
  const use = async count => {
    for (let i = 0; i < count; i++) {
      const arena = new Arena()
      arena.allocUnsafe(1_000).fill(1)
      arena.allocUnsafe(MIB)[0] = 1
      arena.close()
      if (i % 20 === 0) await turn()
    }
    await collectGarbage()
  }
  await use(WARM_UP)
  const before = measure()
  await use(COUNT)
  return measure() - before
}

export const title = '20,000 arenas, one after the other, each with a block of 1,000 bytes and one of 1 MiB'
/** @type {Case['rows']} */
export const rows = {
  'kernel mappings that stay, a count': {
    unit: 'more',
    most: 50,
    measures: { arena: () => growth(kernelMappings) },
  },
  'page tables that stay': {
    unit: 'KiB more',
    most: 1024,
    measures: { arena: () => growth(pageTableKib) },
  },
}
