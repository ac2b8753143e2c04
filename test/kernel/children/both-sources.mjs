/**
 * Replays a recording on mappings, on the program break and on the heap of the runtime, every block's contents checked, and prints what is left of
 * each when all blocks are free: of the arena's pages, of the break and of resident memory.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { ArenaBlocks, bufferTable } from '../../../.compiled/replay/allocators.js'
import { replayRangeTouching, slotsLiveAtEnd } from '../../../.compiled/replay/passes.js'
import { readTrace } from '../../../.compiled/replay/trace-file.js'
import { verifyContents } from '../../../.compiled/replay/verify.js'
import { Arena } from '../../../dist/index.js'

const [tracePath, strangerPath] = process.argv.slice(2)
const module = { exports: {} }
process.dlopen(module, strangerPath)
const stranger = module.exports
const trace = await readTrace(tracePath)

async function residentBytes() {
  // V8's helper threads finish giving memory back after a collection has returned.
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await turn()
    await sleep(20)
  }
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

/** How far the break is above where it was found; while no page is held, malloc may lower it further. */
const raisedBytes = found => Math.max(0, stranger.breakAt() - found)

const OPERATIONS_PER_TURN = 500
const leftOver = slotsLiveAtEnd(trace)

/** As a program would: in turns of the event loop, in which finalizers run, so that the runtime keeps no backlog of them. */
async function replayInTurns(blocks) {
  for (let at = 0; at < trace.operationCount; at += OPERATIONS_PER_TURN) {
    replayRangeTouching(trace, blocks, at, Math.min(trace.operationCount, at + OPERATIONS_PER_TURN))
    await turn()
  }
  for (const slot of leftOver) blocks.free(slot)
}

async function replay(source, isChecked) {
  const arena = new Arena({ source })
  const found = stranger.breakAt()
  const blocks = new ArenaBlocks(arena, bufferTable(trace.slotCount))
  const checks = isChecked ? verifyContents(trace, blocks) : await replayInTurns(blocks)
  const { allocations, frees, liveBlocks, peakCommittedBytes } = arena.stats()
  arena.trim()
  arena.check()
  // Before and after closing: both must leave the break where it was.
  const left = { breakBytes: raisedBytes(found), arenaBytes: arena.residentBytes() }
  arena.close()
  left.closedBreakBytes = raisedBytes(found)
  await turn()
  await turn()
  return { checks, allocations, frees, liveBlocks, peakCommittedBytes, left }
}

const mmap = await replay('mmap', true)
const sbrk = await replay('sbrk', true)
const heap = await replay('heap', true)
// V8 and malloc keep some pages of their own from one round to the next and some not, over either source; what an arena
// kept would show in each.
let grownBytes = Infinity
for (let round = 0; round < 8 && !(grownBytes < 2 ** 20); round++) {
  const before = await residentBytes()
  await replay('sbrk', false)
  grownBytes = Math.min(grownBytes, (await residentBytes()) - before)
}
console.log(JSON.stringify({ mmap, sbrk, heap, grownBytes }))
