/** Bodies that are appended to, and blocks of which each takes the place of another: how much is resident, and how long it takes. */
import { Arena } from 'offheap'
import { residentBytes } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const MIB = 2 ** 20
const STEP_BYTES = 2 ** 16
/** Resident memory is read after so many steps: that takes longer than a step. */
const LOOKS = 8

/**
 * Returns a body of that length which takes the place of another; of none where that is null.
 * @typedef {(body: Buffer | null, length: number) => Buffer} Lengthen
 */

/**
 * A way to make a body longer.
 * @typedef {() => Lengthen} Way
 */

/** @type {Way} */
const arenaRealloc = () => {
  const arena = new Arena()
  return (body, length) => (body === null ? arena.allocUnsafe(length) : arena.realloc(body, length))
}
/** @type {Way} */
const arenaFree = () => {
  const arena = new Arena()
  return (body, length) => {
    if (body !== null) arena.free(body)
    return arena.allocUnsafe(length)
  }
}
/** @type {Way} */
const bufferCopy = () => (body, length) => {
  const longer = Buffer.allocUnsafe(length)
  body?.copy(longer)
  return longer
}
/** @type {Way} */
const bufferAnew = () => (_, length) => Buffer.allocUnsafe(length)

/**
 * Milliseconds for a body that grows from one length to another, all of it written, in one turn.
 * @param {Lengthen} lengthen
 * @param {number} fromBytes
 * @param {number} toBytes
 * @param {number} stepBytes
 */
function growthMs(lengthen, fromBytes, toBytes, stepBytes = STEP_BYTES) {
  const start = performance.now()
  let body = lengthen(null, fromBytes).fill(1)
  for (let length = fromBytes + stepBytes; length <= toBytes; length += stepBytes) {
    body = lengthen(body, length)
    body.fill(1, length - stepBytes)
  }
  return performance.now() - start
}

/**
 * Of four times the length, over that of the length; the shorter one several times, as it is over soon.
 * @param {Way} way
 */
function timeRatio(way) {
  growthMs(way(), MIB, 8 * MIB)
  const short = Array.from({ length: 5 }, () => growthMs(way(), MIB, 16 * MIB)).sort((a, b) => a - b)
  const long = Array.from({ length: 3 }, () => growthMs(way(), 4 * MIB, 64 * MIB)).sort((a, b) => a - b)
  return long[1] / short[2]
}

/**
 * The most that is resident while a body grows in one turn, over its length at the end.
 * @param {Lengthen} lengthen
 * @param {number} fromBytes
 * @param {number} toBytes
 * @param {boolean} isKept whether the contents stay, so that only what is new is written
 */
function peakRatio(lengthen, fromBytes, toBytes, isKept) {
  const before = residentBytes()
  let body = lengthen(null, fromBytes).fill(1)
  let peak = 0
  for (let length = fromBytes + STEP_BYTES, step = 0; length <= toBytes; length += STEP_BYTES, step++) {
    body = lengthen(body, length)
    body.fill(1, isKept ? length - STEP_BYTES : 0)
    if (step % LOOKS === 0) peak = Math.max(peak, residentBytes() - before)
  }
  return peak / toBytes
}

/**
 * The most that is resident while one block takes the place of another, of 1 to 64 MiB, 300 times in one turn, over 64 MiB.
 * @param {Lengthen} lengthen
 */
function replaceRatio(lengthen) {
  const before = residentBytes()
  let peak = 0
  let seed = 1
  let body = null
  for (let i = 0; i < 300; i++) {
    seed = Math.imul(seed, 1103515245) + 12345
    body = lengthen(body, MIB + ((seed >>> 1) % (63 * MIB))).fill(1)
    peak = Math.max(peak, residentBytes() - before)
  }
  return peak / (64 * MIB)
}

export const title = 'A body that grows by 64 KiB, and blocks that take each other’s place, in one turn'
/** @type {Case['rows']} */
export const rows = {
  'realloc from 4 to 64 MiB, most resident': {
    unit: 'times the length',
    most: 2,
    measures: {
      arena: () => peakRatio(arenaRealloc(), 4 * MIB, 64 * MIB, true),
      buffer: () => peakRatio(bufferCopy(), 4 * MIB, 64 * MIB, true),
    },
  },
  'free and allocate from 16 to 32 MiB, most resident': {
    unit: 'times the length',
    // 1.25 times, and 8 MiB.
    most: 1.5,
    measures: {
      arena: () => peakRatio(arenaFree(), 16 * MIB, 32 * MIB, false),
      buffer: () => peakRatio(bufferAnew(), 16 * MIB, 32 * MIB, false),
    },
  },
  'realloc to four times the length, time': {
    unit: 'times',
    // Linear, and how much two runs of that length differ.
    most: 5.5,
    measures: { arena: () => timeRatio(arenaRealloc) },
  },
  'realloc from 4 to 16 MiB, time': {
    unit: 'ms',
    measures: {
      arena: () => growthMs(arenaRealloc(), 4 * MIB, 16 * MIB),
      buffer: () => growthMs(bufferCopy(), 4 * MIB, 16 * MIB),
    },
  },
  'one block of 1 to 64 MiB after the other, most resident': {
    unit: 'times the longest',
    // 1.25 times, and 8 MiB.
    most: 1.4,
    measures: { arena: () => replaceRatio(arenaFree()), buffer: () => replaceRatio(bufferAnew()) },
  },
}
