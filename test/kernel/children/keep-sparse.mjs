/**
 * Keeps one block in 64 of 128 MiB, frees the rest, and tells what is resident when the arena was left alone for a while.
 * Arguments: block size, `detachFromBytes`. Prints one line of JSON.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from '../../../.compiled/arena/arena.js'
import { eventLoop } from '../../../.compiled/base/deferral.js'
import { loadAddon } from '../../../.compiled/memory/addon.js'
import { locatingAddon, restBytes, rssBytes } from './measure.mjs'

const TOTAL_BYTES = 128 * 2 ** 20
const KEEP_ONE_IN = 64
const sizeBytes = Number(process.argv[2])

function world() {
  const { addon, pageBytesOf } = locatingAddon(loadAddon())
  const environment = { addon, deferral: eventLoop, now: () => performance.now() }
  return { arena: new Arena({ detachFromBytes: Number(process.argv[3]) }, environment), pageBytesOf }
}

/** Allocates all blocks, frees all but one in 64, and returns those. */
function fillAndThin(arena) {
  const kept = []
  const others = []
  for (let i = 0; i < TOTAL_BYTES / sizeBytes; i++) {
    const block = arena.allocUnsafe(sizeBytes).fill(1)
    if (i % KEEP_ONE_IN === 0) kept.push(block)
    else others.push(block)
  }
  peakRestBytes = Math.max(peakRestBytes, restBytes())
  for (const block of others) arena.free(block)
  return kept
}

let peakRestBytes = 0

// What a process needs once, compiled code and V8's own tables, is no growth of an arena's: one round before counting.
const first = world()
const firstKept = fillAndThin(first.arena)
await sleep(1_500)
// Held until here: a collected one would be reported as a leak.
for (const block of firstKept) first.arena.free(block)
firstKept.length = 0
first.arena.close()
for (let i = 0; i < 4; i++) {
  globalThis.gc()
  await sleep(50)
}
const { arena, pageBytesOf } = world()
const rssBefore = rssBytes()
const restBefore = restBytes()
const externalBefore = process.memoryUsage().external

peakRestBytes = 0
const kept = fillAndThin(arena)
const fullGrownBytes = peakRestBytes - restBefore
await sleep(1_500)
const sparse = { grownBytes: restBytes() - restBefore, rssGrownBytes: rssBytes() - rssBefore }
const stats = arena.stats()
sparse.residentBytes = arena.residentBytes()
const liveBytes = pageBytesOf(kept)
const isIntact = kept.every(block => block.length === sizeBytes && block.every(byte => byte === 1))

for (const block of kept) arena.free(block)
kept.length = 0
await sleep(1_500)
const empty = { grownBytes: restBytes() - restBefore, rssGrownBytes: rssBytes() - rssBefore }
empty.residentBytes = arena.residentBytes()
globalThis.gc()
await sleep(100)
const externalGrownBytes = process.memoryUsage().external - externalBefore
const { liveBlocks, dirtyBytes } = arena.stats()
console.log(
  JSON.stringify({
    sizeBytes,
    fullGrownBytes,
    liveBytes,
    usedBytes: stats.usedBytes,
    metadataBytes: stats.metadataBytes,
    sparse,
    isIntact,
    empty,
    externalGrownBytes,
    liveBlocks,
    dirtyBytes,
  }),
)
