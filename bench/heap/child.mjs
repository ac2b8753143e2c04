/**
 * One measurement of one allocator in a process of its own; started by `runner.mjs`.
 *
 *     node child.mjs '{"mode":"speed","allocator":"offheap","columnsPath":"…","options":{…}}'
 *
 * Prints its figures as JSON. An allocator that could not complete the recording is a figure too: `{"failure":"…"}`.
 */

import { slotsLiveAtEnd } from '#compiled/replay/passes.js'
import { capacityFor, makeAllocator, makeOffheap, ThingPool } from './allocators.mjs'
import { measureLatency } from './latency.mjs'
import { replayWatched, timePasses } from './passes.mjs'
import { loadTrace } from './traces.mjs'

/** @import { Heap } from 'offheap/heap' */
/** @import { Trace } from '#compiled/replay/trace.js' */
/** @import { Allocator, AllocatorName } from './allocators.mjs' */
/** @import { Options } from './options.mjs' */
/** @import { MemoryFigures, SpeedFigures } from './summary.mjs' */

/**
 * A replay of one recording. `columnsPath`: where `prepareTrace` wrote it.
 * @typedef {{ mode: 'speed' | 'memory', allocator: AllocatorName, columnsPath: string, options: Options }} ReplayTask
 */

/**
 * Single operations, beside so many live blocks.
 * @typedef {{ mode: 'latency', liveBlocks: number, options: Options }} LatencyTask
 */

const nothing = () => {}

/**
 * Frees what the recording left live, and says whether the whole capacity is one block again.
 * @param {Heap} heap
 * @param {Trace} trace
 * @param {Int32Array} live the block in each slot of the recording
 * @param {number} capacityBytes
 */
function endsWhole(heap, trace, live, capacityBytes) {
  for (const slot of slotsLiveAtEnd(trace)) heap.free(live[slot])
  return isWhole(heap, capacityBytes)
}

/**
 * @param {Allocator} heap
 * @param {number} capacityBytes
 */
function isWhole(heap, capacityBytes) {
  const block = heap.allocate(capacityBytes)
  if (block < 0) return false
  heap.free(block)
  return true
}

/**
 * @param {ReplayTask} task
 * @returns {SpeedFigures}
 */
function measureSpeed({ allocator: name, columnsPath, options }) {
  const trace = loadTrace(columnsPath)
  const capacityBytes = capacityFor(trace.peakLiveBytes)
  const live = new Int32Array(trace.slotCount)
  const allocator = makeAllocator(name, capacityBytes)
  if (name !== 'bare') {
    replayWatched(trace, allocator, live, options.timeLimitMs / 2, nothing)
    for (const slot of slotsLiveAtEnd(trace)) allocator.free(live[slot])
  }
  const figures = timePasses(trace, allocator, live, options)
  return name === 'offheap' ? { ...figures, endsWhole: isWhole(allocator, capacityBytes) } : figures
}

/**
 * @param {ReplayTask} task
 * @returns {MemoryFigures}
 */
function measureHeapMemory({ columnsPath, options }) {
  const trace = loadTrace(columnsPath)
  const capacityBytes = capacityFor(trace.peakLiveBytes)
  const live = new Int32Array(trace.slotCount)
  const heap = makeOffheap(capacityBytes)
  // Nobody looks meanwhile: stats() gives up the blocks that the heap keeps, and it would use memory better than it does.
  // The books only grow.
  replayWatched(trace, heap, live, options.timeLimitMs, nothing)
  const { peakCommittedBytes, metadataBytes } = heap.stats()
  const whole = endsWhole(heap, trace, live, capacityBytes)
  heap.check()
  const checks = options.hasCheck ? walkChecked(trace, capacityBytes, options.timeLimitMs) : 0
  return { peakResidentBytes: peakCommittedBytes, metadataBytes, endsWhole: whole, checks: checks + 1 }
}

/**
 * Replays once more, and walks the books as it goes. Returns how often.
 * @param {Trace} trace
 * @param {number} capacityBytes
 * @param {number} timeLimitMs
 */
function walkChecked(trace, capacityBytes, timeLimitMs) {
  const heap = makeOffheap(capacityBytes)
  let checks = 0
  const look = () => {
    heap.check()
    checks++
  }
  replayWatched(trace, heap, new Int32Array(trace.slotCount), timeLimitMs, look)
  return checks
}

/**
 * @param {ReplayTask} task
 * @returns {MemoryFigures}
 */
function measureThingMemory({ columnsPath, options }) {
  const trace = loadTrace(columnsPath)
  const live = new Int32Array(trace.slotCount)
  const pool = new ThingPool(capacityFor(trace.peakLiveBytes))
  replayWatched(trace, pool, live, options.timeLimitMs, nothing)
  return { peakResidentBytes: pool.peakEndBytes }
}

/** @param {ReplayTask | LatencyTask} task */
function measure(task) {
  if (task.mode === 'latency') return measureLatency(task.liveBlocks, task.options.latencySamples)
  if (task.mode === 'speed') return measureSpeed(task)
  return task.allocator === 'offheap' ? measureHeapMemory(task) : measureThingMemory(task)
}

try {
  console.log(JSON.stringify(measure(JSON.parse(process.argv[2]))))
} catch (error) {
  console.log(JSON.stringify({ failure: error instanceof Error ? error.message : String(error) }))
}
