/**
 * One recording on one source of pages: at even points everything free is given back (`trim`), and the kernel is asked what
 * is left. Argument: JSON of { path, source, points }. Prints JSON of one object a point.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { ArenaBlocks, bufferTable } from '../../.compiled/replay/allocators.js'
import {
  liveBytesAt,
  replayRangeTouching,
  samplePoints,
  slotsLiveAtEnd,
} from '../../.compiled/replay/passes.js'
import { readTrace } from '../../.compiled/replay/trace.js'
import { Arena } from '../../dist/index.js'

const { path, source, points } = JSON.parse(process.argv[2])
const trace = await readTrace(path)
// Nothing goes back but at the points, so that all that is seen there could be given back there.
const arena = new Arena({ name: 'bench', source, releaseAfterMs: Number.POSITIVE_INFINITY })
const blocks = new ArenaBlocks(arena, bufferTable(trace.slotCount))

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
