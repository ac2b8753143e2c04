/** Walks of one process over a recording: the timed loop, and the walk that looks at the allocator as it goes. */
import { slotsLiveAtEnd } from '#compiled/replay/passes.js'
import { ALLOCATE, FREE } from '#compiled/replay/trace.js'
import { quantile } from './statistics.mjs'

/** @import { Trace } from '#compiled/replay/trace.js' */
/** @import { Allocator } from './allocators.mjs' */
/** @import { Options } from './options.mjs' */

// How often a walk that is not timed looks at the clock.
const CLOCK_STRIDE = 256

// From Node 22 on, V8 enters the compiled loop of a whole pass in the middle, anew in each pass, and that code checks more:
// up to two thirds more time an operation. Node 20 compiles it for being called.
const HAS_WHOLE_PASSES = Number.parseInt(process.versions.node, 10) < 22
const PIECE = 1_000

/**
 * The timed loop: all of `trace`, nothing else. Made once a process, and what it works on are constants of the closure, so
 * that V8 compiles them in as a C compiler would; as arguments they cost 4 ns an operation.
 * @param {Trace} trace
 * @param {Allocator} allocator
 * @param {Int32Array} live the block in each slot of the recording
 */
function makeReplay(trace, allocator, live) {
  return HAS_WHOLE_PASSES ? makeWhole(trace, allocator, live) : makePieces(trace, allocator, live)
}

/**
 * @param {Trace} trace
 * @param {Allocator} allocator
 * @param {Int32Array} live
 */
function makeWhole({ operations, slots, sizes, operationCount }, allocator, live) {
  // Imported constants are loaded each time.
  const [isAllocate, isFree] = [ALLOCATE, FREE]
  return () => {
    for (let index = 0; index < operationCount; index++) {
      const operation = operations[index]
      const slot = slots[index]
      if (operation === isAllocate) {
        live[slot] = allocator.allocate(sizes[index])
      } else if (operation === isFree) {
        allocator.free(live[slot])
      } else {
        live[slot] = resized(allocator, live[slot], sizes[index])
      }
    }
  }
}

/**
 * The same loop, called for `PIECE` operations at a time. A function of both is inlined otherwise than either.
 * @param {Trace} trace
 * @param {Allocator} allocator
 * @param {Int32Array} live
 */
function makePieces({ operations, slots, sizes, operationCount }, allocator, live) {
  const [isAllocate, isFree] = [ALLOCATE, FREE]
  const last = operationCount - 1
  /** @param {number} from the first operation of the piece */
  const replayPiece = from => {
    // That each index lies within the columns is known to V8 by this, and need not be checked.
    const first = Math.min(from >>> 0, last)
    const end = first + PIECE
    for (let index = first; index < operationCount && index < end; index++) {
      const operation = operations[index]
      const slot = slots[index]
      if (operation === isAllocate) {
        live[slot] = allocator.allocate(sizes[index])
      } else if (operation === isFree) {
        allocator.free(live[slot])
      } else {
        live[slot] = resized(allocator, live[slot], sizes[index])
      }
    }
  }
  return () => {
    for (let from = 0; from < operationCount; from += PIECE) replayPiece(from)
  }
}

/**
 * What `realloc` does, but for the contents: in place, or another block.
 * @param {Allocator} allocator
 * @param {number} old
 * @param {number} sizeBytes
 */
function resized(allocator, old, sizeBytes) {
  if (allocator.resize(old, sizeBytes)) return old
  const block = allocator.allocate(sizeBytes)
  if (block >= 0) allocator.free(old)
  return block
}

/**
 * One pass that is not timed. Throws where the allocator has no room for an operation or where the pass takes longer than
 * `timeLimitMs`. Calls `look` at the operation of peak live bytes, at about 100 even points, and at the end.
 * @param {Trace} trace
 * @param {Allocator} allocator
 * @param {Int32Array} live the block in each slot of the recording
 * @param {number} timeLimitMs
 * @param {() => void} look
 */
export function replayWatched(trace, allocator, live, timeLimitMs, look) {
  const { operations, slots, sizes, operationCount, peakOperation } = trace
  const stride = Math.floor(operationCount / 100) + 1
  const deadline = performance.now() + timeLimitMs
  for (let index = 0; index < operationCount; index++) {
    const slot = slots[index]
    const old = live[slot]
    if (operations[index] === FREE) {
      allocator.free(old)
    } else {
      const isNew = operations[index] === ALLOCATE
      live[slot] = isNew ? allocator.allocate(sizes[index]) : resized(allocator, old, sizes[index])
      if (live[slot] < 0) throw new Error(`no room at operation ${index + 1}, ${sizes[index]} bytes`)
    }
    if (index === peakOperation || index % stride === stride - 1 || index + 1 === operationCount) look()
    if (index % CLOCK_STRIDE === 0 && performance.now() > deadline) {
      throw new Error(
        `over ${timeLimitMs / 1000} s for one pass, at operation ${index + 1} of ${operationCount}`,
      )
    }
  }
}

/**
 * Median nanoseconds an operation over at least `minPasses` passes and `minMs`, after warming up for `warmUpMs`; fewer
 * passes once they took `maxMs`. What the recording leaves live is freed with the clock stopped.
 * @param {Trace} trace
 * @param {Allocator} allocator
 * @param {Int32Array} live the block in each slot of the recording
 * @param {Pick<Options, 'warmUpMs' | 'minPasses' | 'minMs' | 'maxMs'>} options
 */
export function timePasses(trace, allocator, live, { warmUpMs, minPasses, minMs, maxMs }) {
  const leftOver = slotsLiveAtEnd(trace)
  const replay = makeReplay(trace, allocator, live)
  const timedPass = () => {
    const start = process.hrtime.bigint()
    replay()
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
