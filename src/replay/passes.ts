/**
 * Walks over a recording, and what must be known about it beforehand. All walks keep one rule: nothing but
 * the allocator's own work is measured.
 *
 * The *timed* passes touch no memory and read no clock inside. Blocks that the recording leaves live are
 * freed between passes, while the clock is stopped. There is one pass to warm up, then the median counts. The
 * *touching* walk is for `memory-run.ts`.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Blocks, type BufferBlocks, bufferTable, type MakeBlocks } from './allocators.js'
import type { ResidentMeter } from './resident.js'
import { ALLOCATE, FREE, type Trace, TraceReader } from './trace.js'

// No supported system has smaller pages, so a step of this length touches every page.
const PAGE_BYTES = 4096

/** Carries out operations `from` to `to` of `trace`, and nothing else. This is the timed loop. */
export function replayRange(trace: Trace, blocks: Blocks, from: number, to: number): void {
  const { operations, slots, sizes } = trace
  for (let index = from; index < to; index++) {
    const operation = operations[index]
    if (operation === ALLOCATE) blocks.allocate(slots[index], sizes[index])
    else if (operation === FREE) blocks.free(slots[index])
    else blocks.resize(slots[index], sizes[index])
  }
}

/** Returns the slots whose blocks are still live after the last operation. */
export function slotsLiveAtEnd(trace: Trace): number[] {
  const live = new Uint8Array(trace.slotCount)
  for (let index = 0; index < trace.operationCount; index++) {
    live[trace.slots[index]] = trace.operations[index] === FREE ? 0 : 1
  }
  return Array.from(live.keys()).filter(slot => live[slot] === 1)
}

/**
 * Returns the median nanoseconds per operation of `passCount` passes, after one pass that is not counted.
 * Returns `undefined` for no passes.
 */
export async function timePasses(
  trace: Trace,
  blocks: Blocks,
  passCount: number,
): Promise<number | undefined> {
  if (passCount === 0) return undefined
  const leftOver = slotsLiveAtEnd(trace)
  const times: number[] = []
  for (let pass = 0; pass <= passCount; pass++) {
    const start = process.hrtime.bigint()
    replayRange(trace, blocks, 0, trace.operationCount)
    times.push(Number(process.hrtime.bigint() - start) / trace.operationCount)
    for (const slot of leftOver) blocks.free(slot)
    // The event loop gets a turn, so that work such as running finalizers does not pile up.
    await nextTurn()
  }
  const counted = times.slice(1).sort((a, b) => a - b)
  const middle = passCount >> 1
  return passCount % 2 === 1 ? counted[middle] : (counted[middle - 1] + counted[middle]) / 2
}

/** Writes to every page that `block` has a part of. */
export function touchPages(block: Uint8Array): void {
  const sizeBytes = block.length
  for (let at = 0; at < sizeBytes; at += PAGE_BYTES) block[at] = 1
  // The last page may begin within the last step.
  if (sizeBytes > 0) block[sizeBytes - 1] = 1
}

/** Carries out operations `from` to `to` of `trace`, and writes to the pages of each new or resized block. */
export function replayRangeTouching(trace: Trace, blocks: BufferBlocks, from: number, to: number): void {
  const { operations, slots } = trace
  for (let index = from; index < to; index++) {
    replayRange(trace, blocks, index, index + 1)
    if (operations[index] !== FREE) touchPages(blocks.bufferOf(slots[index]))
  }
}

const WARM_UP_BLOCKS = 2000
const WARM_UP_SLOTS = 16

/**
 * Replays a few thousand tiny blocks on an allocator that is then closed. A baseline taken afterwards
 * includes compiled code and everything that is initialised once in a process. The blocks are few and tiny,
 * so that a `malloc` beneath has next to nothing left over to serve the measured blocks from.
 */
export async function warmUp(makeBlocks: MakeBlocks, meter: ResidentMeter): Promise<void> {
  const reader = new TraceReader('warm-up')
  for (let id = 0; id < WARM_UP_BLOCKS; id++) {
    reader.push(
      Buffer.from(`a ${id} 16\nr ${id} 24\n${id < WARM_UP_SLOTS ? '' : `f ${id - WARM_UP_SLOTS}\n`}`),
    )
  }
  const trace = reader.finish()
  const blocks = makeBlocks(bufferTable(trace.slotCount))
  replayRangeTouching(trace, blocks, 0, trace.operationCount)
  for (const slot of slotsLiveAtEnd(trace)) blocks.free(slot)
  blocks.close()
  for (let sample = 0; sample < WARM_UP_SLOTS; sample++) meter.growth()
  // The mappings of an arena go on the turn after it is closed.
  await nextTurn()
  await nextTurn()
}

/**
 * Returns how many operations are done at each sample, ascending: evenly spread, and one right after the peak
 * of live bytes.
 */
export function samplePoints(trace: Trace, sampleCount: number): number[] {
  const points = new Set<number>([trace.peakOperation + 1])
  for (let sample = 1; sample <= sampleCount; sample++) {
    points.add(Math.ceil((trace.operationCount * sample) / sampleCount))
  }
  return [...points].sort((a, b) => a - b)
}

/**
 * Returns the bytes that are live after the first `stops[i]` operations, for each `i`. `stops` must ascend.
 */
export function liveBytesAt(trace: Trace, stops: readonly number[]): number[] {
  const { operations, slots, sizes } = trace
  const liveSizes = new Float64Array(trace.slotCount)
  let liveBytes = 0
  let index = 0
  return stops.map(stop => {
    for (; index < stop; index++) {
      const slot = slots[index]
      if (operations[index] !== ALLOCATE) liveBytes -= liveSizes[slot]
      liveSizes[slot] = sizes[index]
      liveBytes += liveSizes[slot]
    }
    return liveBytes
  })
}
