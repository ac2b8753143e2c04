/** Many arenas: one for each request, and one for each connection. */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Arena } from 'offheap'
import { collectGarbage, cpuMs, residentBytes } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const KIB = 2 ** 10
const REQUESTS = 20_000
/** Of an arena for a request that are made and closed in one turn of the event loop. */
const REQUESTS_A_TURN = 10
const CONNECTIONS = 5_000

/**
 * How long a request takes.
 * @param {() => void} serve
 */
async function microsecondsEach(serve) {
  let startMs = 0
  for (let i = -REQUESTS / 2; i < REQUESTS; i++) {
    if (i === 0) startMs = performance.now()
    serve()
    if (i % REQUESTS_A_TURN === 0) await turn()
  }
  return (1_000 * (performance.now() - startMs)) / REQUESTS
}

/** Ten Buffers, as a request has them. */
function tenBuffers() {
  for (let i = 0; i < 10; i++) Buffer.alloc(1_000)
}

/**
 * How much `bytes()` grows for each connection, in KiB.
 * @param {() => number} bytes
 * @param {() => unknown} open returns what keeps the connection
 */
async function growthEach(bytes, open) {
  const open0 = Array.from({ length: 200 }, open)
  await collectGarbage()
  const before = bytes()
  const opened = Array.from({ length: CONNECTIONS }, open)
  await collectGarbage()
  const grown = (bytes() - before) / CONNECTIONS / KIB
  // Until here nobody may collect them.
  if (open0.length + opened.length === 0) throw new Error('nothing was opened')
  return grown
}

/** @returns {[Arena, Buffer]} */
function openArena() {
  const arena = new Arena()
  return [arena, arena.alloc(100)]
}

const openBuffer = () => Buffer.alloc(100)
const externalBytes = () => process.memoryUsage().external

async function idleCpuMs() {
  const arenas = Array.from({ length: 20_000 }, openArena)
  // What was just made is dirty nowhere: wait until timers of the beginning are through.
  await collectGarbage()
  await sleep(2_000)
  const before = cpuMs()
  await sleep(3_000)
  const spent = (cpuMs() - before) / 3
  for (const [arena] of arenas) arena.close()
  return spent
}

async function closingMs() {
  const arenas = Array.from({ length: 10_000 }, openArena)
  await collectGarbage()
  const startMs = performance.now()
  for (const [arena] of arenas) arena.close()
  return performance.now() - startMs
}

export const title = 'many arenas'
/** @type {Case['rows']} */
export const rows = {
  'an arena for a request: made, alloc(1000), closed': {
    unit: 'µs',
    most: 100,
    measures: {
      arena: () =>
        microsecondsEach(() => {
          const arena = new Arena()
          arena.alloc(1_000)
          arena.close()
        }),
      'ten buffers': () => microsecondsEach(tenBuffers),
    },
  },
  'an arena for a connection, with a block of 100 bytes: resident': {
    unit: 'KiB',
    most: 48,
    measures: {
      arena: () => growthEach(residentBytes, openArena),
      buffer: () => growthEach(residentBytes, openBuffer),
    },
  },
  'the same: external': {
    unit: 'KiB',
    most: 64,
    measures: {
      arena: () => growthEach(externalBytes, openArena),
      buffer: () => growthEach(externalBytes, openBuffer),
    },
  },
  '20,000 arenas that do nothing: CPU time': {
    unit: 'ms a second',
    most: 5,
    measures: { arena: idleCpuMs },
  },
  '10,000 arenas closed in one turn of the event loop': {
    unit: 'ms',
    measures: { arena: closingMs },
  },
}
