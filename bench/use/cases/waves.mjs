/**
 * Memory that comes and goes: waves over memory that stays, and pipelines of a few long blocks. Shown is the share of pages
 * that fault again after the first two rounds. All shapes of a row run side by side, each in an arena of its own; the worst
 * counts. A peer counts the faults of its whole process.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from 'offheap'
import { cpuMs, minorFaults } from '../process.mjs'

/** @import { ArenaOptions } from 'offheap' */
/** @import { Case, Row } from '../main.mjs' */

const MIB = 2 ** 20
const PAGE_BYTES = 4096
const FOR_MS = 3_000
const MIN_ROUNDS = 8
const BETWEEN_MS = 150

/**
 * Memory of one kind, opened anew for each shape.
 * @typedef {object} Memory
 * @property {(sizeBytes: number) => Buffer} allocate
 * @property {(block: Buffer) => void} free
 * @property {() => number} faultedPages pages that have faulted so far
 */

/**
 * How memory comes and goes.
 * @typedef {object} Shape
 * @property {number} everyMs from one round to the next
 * @property {number} warmUp rounds before faults are counted
 * @property {number} pages that are written in a round
 * @property {(memory: Memory) => () => unknown} start returns what does one round
 */

/**
 * @param {ArenaOptions} [options]
 * @returns {() => Memory}
 */
const arenaMemory = options => () => {
  const arena = new Arena(options)
  return {
    allocate: sizeBytes => arena.allocUnsafe(sizeBytes),
    free: block => arena.free(block),
    faultedPages: () => arena.stats().refaultedBytes / PAGE_BYTES,
  }
}
/** @returns {Memory} */
const bufferMemory = () => ({
  allocate: sizeBytes => Buffer.allocUnsafeSlow(sizeBytes),
  free: () => {},
  faultedPages: minorFaults,
})

/**
 * A block whose every page is written.
 * @param {Memory} memory
 * @param {number} sizeBytes
 */
function written(memory, sizeBytes) {
  const block = memory.allocate(sizeBytes)
  for (let i = 0; i < sizeBytes; i += PAGE_BYTES) block[i] = 1
  return block
}

/**
 * Blocks that come and go together, over blocks of 1 MiB that stay.
 * @param {number} blockBytes of each that comes and goes
 * @param {number} waveMib of all that come and go together
 * @param {number} everyMs
 * @param {number} liveMib of all that stay
 * @returns {Shape}
 */
const waves = (blockBytes, waveMib, everyMs, liveMib) => ({
  everyMs,
  warmUp: 2,
  pages: (waveMib * MIB) / PAGE_BYTES,
  start(memory) {
    const live = Array.from({ length: liveMib }, () => written(memory, MIB))
    return () => {
      const blocks = Array.from({ length: Math.floor((waveMib * MIB) / blockBytes) }, () =>
        written(memory, blockBytes),
      )
      for (const block of blocks) memory.free(block)
      return live
    }
  },
})

/**
 * One more block, then the oldest goes: so many are in flight between rounds.
 * @param {number} blockMib of each block
 * @param {number} depth blocks in flight
 * @param {number} everyMs
 * @returns {Shape}
 */
const pipeline = (blockMib, depth, everyMs) => ({
  everyMs,
  warmUp: depth + 2,
  pages: (blockMib * MIB) / PAGE_BYTES,
  start(memory) {
    /** @type {Buffer[]} */
    const inFlight = []
    return () => {
      inFlight.push(written(memory, blockMib * MIB))
      const oldest = inFlight.length > depth ? inFlight.shift() : undefined
      if (oldest !== undefined) memory.free(oldest)
    }
  },
})

/**
 * The share of pages that fault after the first rounds, in percent.
 * @param {() => Memory} openMemory
 * @param {Shape} shape
 */
async function faultPercent(openMemory, { everyMs, warmUp, pages, start }) {
  const memory = openMemory()
  const round = start(memory)
  const rounds = warmUp + Math.max(MIN_ROUNDS, Math.round(FOR_MS / everyMs))
  await sleep(10)
  let before = 0
  for (let i = 0; i < rounds; i++) {
    if (i === warmUp) before = memory.faultedPages()
    round()
    await sleep(everyMs)
  }
  return (100 * (memory.faultedPages() - before)) / ((rounds - warmUp) * pages)
}

/**
 * The highest share of all. They begin one after another: their first rounds are not to wait for each other.
 * @param {() => Memory} openMemory
 * @param {Shape[]} shapes
 */
async function worst(openMemory, shapes) {
  const shares = shapes.map(async (shape, i) => {
    await sleep(i * BETWEEN_MS)
    return faultPercent(openMemory, shape)
  })
  return Math.max(...(await Promise.all(shares)))
}

/**
 * @param {Shape[]} shapes
 * @param {ArenaOptions} [options]
 * @returns {Row}
 */
const row = (shapes, options) => ({
  unit: '% of pages',
  most: 2,
  measures: { arena: () => worst(arenaMemory(options), shapes) },
})

/**
 * Beside a peer, whose faults are those of its process: one shape.
 * @param {Shape} shape
 * @returns {Row}
 */
const comparedRow = shape => ({
  unit: '% of pages',
  most: 2,
  measures: {
    arena: () => faultPercent(arenaMemory(), shape),
    buffer: () => faultPercent(bufferMemory, shape),
  },
})

/**
 * CPU time of a pipeline over that of one that gives nothing back, in one process, in turn.
 * @param {Shape} shape
 */
async function cpuRatio(shape) {
  const took = [0, 0]
  const rounds = [undefined, { releaseAfterMs: Number.POSITIVE_INFINITY }].map(options =>
    shape.start(arenaMemory(options)()),
  )
  for (let slice = 0; slice < 8; slice++) {
    const which = slice % 2
    const before = cpuMs()
    for (let i = 0; i < 1_000 / shape.everyMs; i++) {
      rounds[which]()
      await sleep(shape.everyMs)
    }
    // The first slice of each compiles, and fills.
    if (slice >= 2) took[which] += cpuMs() - before
  }
  return took[0] / took[1]
}

const WAVES_MIB = [2, 5, 8, 16, 24]
const PIPELINES = [1, 2, 3, 5].flatMap(depth => [1, 3, 8].map(mib => [mib, depth]))

export const title = 'Waves and pipelines: pages that fault after the first two rounds'
/** @type {Case['rows']} */
export const rows = {
  '8 blocks of 1 MiB every 100 ms over 16 MiB': comparedRow(waves(MIB, 8, 100, 16)),
  '2 blocks of 1 MiB in flight, every 20 ms': comparedRow(pipeline(1, 2, 20)),
  ...Object.fromEntries(
    [0, 16, 64, 256].map(liveMib => [
      `waves of 2 to 24 MiB every 20, 100 and 500 ms over ${liveMib} MiB`,
      row([20, 100, 500].flatMap(everyMs => WAVES_MIB.map(mib => waves(MIB, mib, everyMs, liveMib)))),
    ]),
  ),
  ...Object.fromEntries(
    [5, 20, 100, 500].map(everyMs => [
      `1 to 5 blocks of 1 to 8 MiB in flight, every ${everyMs} ms`,
      row(PIPELINES.map(([mib, depth]) => pipeline(mib, depth, everyMs))),
    ]),
  ),
  'waves of 8 MiB in blocks of 4, 64 and 300 KiB every 50 and 400 ms over 16 MiB': row(
    [50, 400].flatMap(everyMs => [4, 64, 300].map(kib => waves(kib * 1024, 8, everyMs, 16))),
  ),
  "the same with source: 'sbrk', blocks of 64 KiB": row([waves(65_536, 8, 400, 16)], { source: 'sbrk' }),
  'CPU of 2 blocks of 1 MiB in flight every 5 ms, over that with releaseAfterMs: Infinity': {
    unit: 'times',
    most: 1.3,
    measures: { arena: () => cpuRatio(pipeline(1, 2, 5)) },
  },
}
