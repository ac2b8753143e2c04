/**
 * One recording on one source of pages: at even points everything free is given back (`trim`), and the kernel is asked what
 * is left. Argument: JSON of { path, source, points }. Prints JSON of one object a point.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { Arena } from 'offheap'
import { ArenaBlocks, bufferTable } from '#compiled/replay/allocators.js'
import { liveBytesAt, replayRangeTouching, samplePoints, slotsLiveAtEnd } from '#compiled/replay/passes.js'
import { readTrace } from '#compiled/replay/trace-file.js'

/** @type {{ path: string, source: 'mmap' | 'sbrk', points: number }} */
const { path, source, points } = JSON.parse(process.argv[2])
const trace = await readTrace(path)
// Nothing goes back but at the points, so that all that is seen there could be given back there.
const arena = new Arena({ name: 'bench', source, releaseAfterMs: Number.POSITIVE_INFINITY })
const blocks = new ArenaBlocks(arena, bufferTable(trace.slotCount))

/**
 * What the arena holds at a point of the recording, all in bytes.
 * @typedef {object} Sample
 * @property {number} liveBytes what the recording has allocated and not freed
 * @property {number} committedBytes before everything free was given back; the rest is after that
 * @property {number} mappedBytes
 * @property {number} usedBytes
 * @property {number} residentBytes what the kernel says is in memory
 * @property {boolean | null} breakOwned whether the program break is still the arena's own; null with `source: 'mmap'`
 */

/**
 * @param {number} liveBytes
 * @returns {Sample}
 */
function look(liveBytes) {
  const { committedBytes } = arena.stats()
  arena.trim()
  const { mappedBytes, usedBytes, breakOwned } = arena.stats()
  return {
    liveBytes,
    committedBytes,
    mappedBytes,
    usedBytes,
    residentBytes: arena.residentBytes(),
    breakOwned,
  }
}

const stops = samplePoints(trace, points)
const liveBytes = liveBytesAt(trace, stops)
const samples = []
let from = 0
for (const [index, stop] of stops.entries()) {
  replayRangeTouching(trace, blocks, from, stop)
  from = stop
  samples.push(look(liveBytes[index]))
  await turn()
}
for (const slot of slotsLiveAtEnd(trace)) blocks.free(slot)
await turn()
const freed = look(0)
arena.check()
arena.close()
console.log(JSON.stringify({ samples, freed }))
