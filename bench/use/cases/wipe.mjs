/** What `wipeOnFree` costs: a block allocated and freed at once, beside an arena without it. */
import { Arena } from 'offheap'

/** @import { ArenaOptions } from 'offheap' */
/** @import { Case } from '../main.mjs' */

const KIB = 1024
const ROUND_MS = 100

/**
 * Microseconds for one block, the lowest of seven rounds: what else the machine does adds to the others.
 * @param {ArenaOptions} options
 * @param {number} sizeBytes
 */
async function usPerBlock(options, sizeBytes) {
  const arena = new Arena(options)
  /** @param {number} count blocks, one after the other */
  const run = count => {
    const start = process.hrtime.bigint()
    for (let i = 0; i < count; i++) arena.free(arena.allocUnsafe(sizeBytes))
    return Number(process.hrtime.bigint() - start) / 1_000 / count
  }
  // A turn of the event loop after each: finalizers run, and are not counted.
  const turn = () => new Promise(resolve => setImmediate(resolve))
  for (let i = 0; i < 10; i++) {
    run(1_000)
    await turn()
  }
  const count = Math.ceil((ROUND_MS * 1_000) / run(1_000))
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 7; round++) {
    least = Math.min(least, run(count))
    await turn()
  }
  arena.close()
  return least
}

export const title = 'A block that is allocated and freed at once, with wipeOnFree and without'
/** @type {Case['rows']} */
export const rows = Object.fromEntries(
  Object.entries({
    '64 B': 64,
    '4 KiB': 4 * KIB,
    '32 KiB': 32 * KIB,
    '1 MiB': 1024 * KIB,
  }).map(([name, sizeBytes]) => [
    name,
    {
      unit: 'µs',
      measures: {
        arena: () => usPerBlock({ wipeOnFree: true }, sizeBytes),
        without: () => usPerBlock({}, sizeBytes),
      },
    },
  ]),
)
