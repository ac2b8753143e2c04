/** What a use of a record costs, beside the same use of a Buffer of an arena. In one process, interleaved by rounds. */
import { Arena, Store } from 'offheap'
import { cpuUs, median, randomFrom } from './measuring.mjs'

/** @import { Ref } from 'offheap' */

const RECORD_BYTES = 256
const RECORDS = 65_536
const READ_BYTES = 32
/** How many uses make a round. */
const USES = 400_000

/**
 * CPU nanoseconds of one use, the median of the rounds, and the median of the ratios of each round.
 * @typedef {{ name: string, storeNs: number, arenaNs: number, ratio: number }} Access
 */

/**
 * @param {{ rounds: number }} job
 * @returns {Access[]}
 */
export function measure({ rounds }) {
  const store = new Store()
  const arena = new Arena()
  const refs = Array.from({ length: RECORDS }, () => store.alloc(RECORD_BYTES))
  const buffers = Array.from({ length: RECORDS }, () => arena.alloc(RECORD_BYTES))
  const random = randomFrom(1)
  const order = Int32Array.from({ length: USES }, () => Math.floor(random() * RECORDS))
  const cases = casesOver(store, arena, refs, buffers, order)
  const results = cases.map(({ name, ofStore, ofArena }) => {
    /** @type {number[][]} */
    const [storeNs, arenaNs] = [[], []]
    for (let round = -1; round < rounds; round++) {
      const times = [ofStore, ofArena].map(timeOf)
      // The first round compiles.
      if (round < 0) continue
      storeNs.push(times[0])
      arenaNs.push(times[1])
    }
    const ratio = median(storeNs.map((ns, round) => ns / arenaNs[round]))
    return { name, storeNs: median(storeNs), arenaNs: median(arenaNs), ratio }
  })
  store.close()
  arena.close()
  return results
}

/** @param {() => number} use is called for all uses at once, and returns a sum that must not be optimised away */
function timeOf(use) {
  const startUs = cpuUs()
  const sum = use()
  const tookUs = cpuUs() - startUs
  if (sum !== 0) throw new Error(`the records are not what was written: ${sum}`)
  return (1000 * tookUs) / USES
}

/**
 * Each case has loops of its own, so that V8 compiles them for what they call.
 * @param {Store} store
 * @param {Arena} arena
 * @param {Ref[]} refs
 * @param {Buffer[]} buffers
 * @param {Int32Array} order
 */
function casesOver(store, arena, refs, buffers, order) {
  return [
    {
      name: 'make and free',
      ofStore: () => {
        for (let i = 0; i < USES; i++) store.free(store.allocUnsafe(RECORD_BYTES))
        return 0
      },
      ofArena: () => {
        for (let i = 0; i < USES; i++) arena.free(arena.allocUnsafe(RECORD_BYTES))
        return 0
      },
    },
    {
      name: 'read a byte: `view(ref)[0]`',
      ofStore: () => {
        let sum = 0
        for (let i = 0; i < USES; i++) sum += store.view(refs[order[i]])[0]
        return sum
      },
      ofArena: () => {
        let sum = 0
        for (let i = 0; i < USES; i++) sum += buffers[order[i]][0]
        return sum
      },
    },
    {
      name: 'read a number: `readUInt32LE(ref, 0)`',
      ofStore: () => {
        let sum = 0
        for (let i = 0; i < USES; i++) sum += store.readUInt32LE(refs[order[i]], 0)
        return sum
      },
      ofArena: () => {
        let sum = 0
        for (let i = 0; i < USES; i++) sum += buffers[order[i]].readUInt32LE(0)
        return sum
      },
    },
    {
      name: `read ${READ_BYTES} bytes as a string: \`view(ref).toString()\``,
      ofStore: () => {
        let sum = 0
        for (let i = 0; i < USES; i++)
          sum += store.view(refs[order[i]]).toString('latin1', 0, READ_BYTES).length
        return sum - USES * READ_BYTES
      },
      ofArena: () => {
        let sum = 0
        for (let i = 0; i < USES; i++) sum += buffers[order[i]].toString('latin1', 0, READ_BYTES).length
        return sum - USES * READ_BYTES
      },
    },
  ]
}
