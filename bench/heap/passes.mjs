/** Walks of one process over a recording: the timed loop, and the walk that looks at the allocator as it goes. */
import { ALLOCATE, FREE } from '../../dist/cli/trace.js'
import { quantile } from './statistics.mjs'

// How often a walk that is not timed looks at the clock.
const CLOCK_STRIDE = 256

/** All of `trace`, nothing else: this is the timed loop. `live` is the table of blocks. */
export function replay(trace, allocator, live) {
  const { operations, slots, sizes, operationCount } = trace
  for (let index = 0; index < operationCount; index++) {
    const operation = operations[index]
    const slot = slots[index]
    if (operation === ALLOCATE) {
      live[slot] = allocator.allocate(sizes[index])
    } else if (operation === FREE) {
      allocator.free(live[slot])
    } else {
      const old = live[slot]
      live[slot] = allocator.allocate(sizes[index])
      allocator.free(old)
    }
  }
}

/**
 * One pass that is not timed. Throws where the allocator has no room for an operation or where the pass takes longer than
 * `timeLimitMs`. Calls `look` at the operation of peak live bytes, at about 100 even points, and at the end.
 */
export function replayWatched(trace, allocator, live, timeLimitMs, look) {
  const { operations, slots, sizes, operationCount, peakOperation } = trace
  const stride = Math.floor(operationCount / 100) + 1
  const deadline = performance.now() + timeLimitMs
  for (let index = 0; index < operationCount; index++) {
    const slot = slots[index]
    const old = live[slot]
    if (operations[index] !== FREE) {
      live[slot] = allocator.allocate(sizes[index])
      if (live[slot] < 0) throw new Error(`no room at operation ${index + 1}, ${sizes[index]} bytes`)
    }
    if (operations[index] !== ALLOCATE) allocator.free(old)
    if (index === peakOperation || index % stride === stride - 1 || index + 1 === operationCount) look()
    if (index % CLOCK_STRIDE === 0 && performance.now() > deadline) {
      throw new Error(
        `over ${timeLimitMs / 1000} s for one pass, at operation ${index + 1} of ${operationCount}`,
      )
    }
  }
}

/** The slots whose blocks are still live after the last operation. */
export function slotsLiveAtEnd({ operations, slots, operationCount, slotCount }) {
  const isLive = new Uint8Array(slotCount)
  for (let index = 0; index < operationCount; index++)
    isLive[slots[index]] = operations[index] === FREE ? 0 : 1
  return Array.from(isLive.keys()).filter(slot => isLive[slot] === 1)
}

/**
 * Median nanoseconds an operation over at least `minPasses` passes and `minMs`, after warming up for `warmUpMs`; fewer
 * passes once they took `maxMs`. What the recording leaves live is freed with the clock stopped.
 */
export function timePasses(trace, allocator, live, { warmUpMs, minPasses, minMs, maxMs }) {
  const leftOver = slotsLiveAtEnd(trace)
  const timedPass = () => {
    const start = process.hrtime.bigint()
    replay(trace, allocator, live)
    const passMs = Number(process.hrtime.bigint() - start) / 1e6
    for (const slot of leftOver) allocator.free(live[slot])
    return passMs
  }
  for (let warmedMs = 0; warmedMs < warmUpMs; ) warmedMs += timedPass()
  const passesMs = []
  let totalMs = 0
  while ((passesMs.length < minPasses || totalMs < minMs) && totalMs < maxMs) {
    const passMs = timedPass()
    passesMs.push(passMs)
    totalMs += passMs
  }
  return {
    nsPerOperation: (quantile(passesMs, 0.5) * 1e6) / trace.operationCount,
    passes: passesMs.length,
  }
}
