/** Bytes that get into blocks, next to what Node has for Buffers: each time is a ratio, of runs that take turns in one process. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer as bufferOf } from 'node:stream/consumers'
import { Arena } from 'offheap'
import { kibIn } from '../process.mjs'

/** @import { Case } from '../main.mjs' */

const KIB = 1024
const MIB = 2 ** 20

/**
 * Runs `use` with the path of a file of that length.
 * @param {number} sizeBytes
 * @param {(path: string) => Promise<number>} use
 */
async function withFile(sizeBytes, use) {
  const folder = mkdtempSync(join(tmpdir(), 'offheap-bench-'))
  const path = join(folder, 'file')
  try {
    writeFileSync(path, '')
    truncateSync(path, sizeBytes)
    return await use(path)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/**
 * The time of `ours` over that of `theirs`: of each the least of many rounds, which take turns.
 * @param {number} count of calls in a round
 * @param {() => unknown} ours
 * @param {() => unknown} theirs
 */
async function timeRatio(count, ours, theirs, rounds = 30) {
  const least = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  for (let round = 0; round < rounds; round++) {
    for (const [index, call] of [ours, theirs].entries()) {
      const start = performance.now()
      for (let i = 0; i < count; i++) {
        const result = call()
        if (result instanceof Promise) await result
      }
      least[index] = Math.min(least[index], performance.now() - start)
    }
  }
  return least[0] / least[1]
}

/**
 * The time of a call that makes a block, and `free` of it, over that of one that makes a Buffer.
 * @param {number} count
 * @param {(arena: Arena) => Buffer | Promise<Buffer>} ours
 * @param {() => unknown} theirs
 */
function blockRatio(count, ours, theirs) {
  const arena = new Arena()
  const run = () => {
    const made = ours(arena)
    return made instanceof Promise ? made.then(block => arena.free(block)) : arena.free(made)
  }
  return timeRatio(count, run, theirs)
}

/**
 * The most that is resident while a file is read, over its length.
 * @param {(path: string) => Promise<Buffer>} read
 */
function peakRatio(read) {
  return withFile(100 * MIB, async path => {
    const before = kibIn('/proc/self/status', /^VmRSS:\s+(\d+) kB$/m)
    const { length } = await read(path)
    return (1024 * (kibIn('/proc/self/status', /^VmHWM:\s+(\d+) kB$/m) - before)) / length
  })
}

/**
 * @param {number} sizeBytes
 * @param {number} count
 */
function readFileRatio(sizeBytes, count) {
  return withFile(sizeBytes, path =>
    blockRatio(
      count,
      arena => arena.readFile(path),
      () => readFile(path),
    ),
  )
}

/**
 * @param {number} chunkBytes
 * @param {number} chunkCount
 * @param {number} count
 */
function collectRatio(chunkBytes, chunkCount, count) {
  const chunks = Array.from({ length: chunkCount }, () => Buffer.alloc(chunkBytes, 1))
  const source = () => Readable.from(chunks, { objectMode: false })
  return blockRatio(
    count,
    arena => arena.collect(source(), { maxBytes: chunkBytes * chunkCount }),
    () => bufferOf(source()),
  )
}

const text =
  'a text of a hundred characters or so, as it may be the value of a header or a field in some message..'
const bytes = Buffer.alloc(4 * KIB, 1)
const list = Array.from({ length: 16 }, () => bytes)

/** @param {() => Promise<number>} arena */
const ratio = arena => ({ unit: 'times the time for a Buffer', measures: { arena } })

export const title = 'Bytes that get into blocks'
/** @type {Case['rows']} */
export const rows = {
  'readFile of 100 MiB, most resident': {
    unit: 'times the length',
    most: 1.1,
    measures: {
      arena: () => peakRatio(path => new Arena().readFile(path)),
      buffer: () => peakRatio(path => readFile(path)),
    },
  },
  'readFile of 100 MiB': { ...ratio(() => readFileRatio(100 * MIB, 1)), most: 1 },
  'readFile of 1 MiB': ratio(() => readFileRatio(MIB, 20)),
  'readFile of 4 KiB': ratio(() => readFileRatio(4 * KIB, 200)),
  'collect of 4 KiB in one chunk': ratio(() => collectRatio(4 * KIB, 1, 500)),
  'collect of 64 KiB in 64 chunks': ratio(() => collectRatio(KIB, 64, 100)),
  'collect of 1 MiB in 16 chunks': ratio(() => collectRatio(64 * KIB, 16, 50)),
  'collect of 16 MiB in 256 chunks': ratio(() => collectRatio(64 * KIB, 256, 3)),
  'from a text of 100 characters': ratio(() =>
    blockRatio(
      10_000,
      arena => arena.from(text),
      () => Buffer.from(text),
    ),
  ),
  'from 4 KiB': ratio(() =>
    blockRatio(
      5_000,
      arena => arena.from(bytes),
      () => Buffer.from(bytes),
    ),
  ),
  'concat of 16 times 4 KiB': ratio(() =>
    blockRatio(
      1_000,
      arena => arena.concat(list),
      () => Buffer.concat(list),
    ),
  ),
}
