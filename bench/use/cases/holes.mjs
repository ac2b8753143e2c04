/** Memory that is mostly free, in holes of a page or two between blocks that live: how soon it is back, and what `trim` takes. */
import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Arena } from 'offheap'

/** @import { Case, Row } from '../main.mjs' */

const MIB = 2 ** 20
/** One block in so many is kept. */
const KEPT = 20
const PROMISE_MS = 1_000

/**
 * An arena in which that was allocated and written, and all but one in so many freed.
 * @param {number} count blocks
 * @param {number} sizeBytes of each
 * @param {number} keptOf one block in so many is kept
 */
function withHoles(count, sizeBytes, keptOf) {
  const arena = new Arena()
  const blocks = Array.from({ length: count }, () => arena.allocUnsafe(sizeBytes).fill(1))
  const kept = blocks.filter((_, index) => index % keptOf === 0)
  for (let index = 0; index < count; index++) if (index % keptOf !== 0) arena.free(blocks[index])
  return { arena, kept }
}

/**
 * What is kept until here is not collected before, and with it not freed.
 * @param {Buffer[]} kept
 */
function requireLive(kept) {
  if (kept.some(block => block[0] !== 1)) throw new Error('a block has lost its bytes')
}

/**
 * Free bytes that the kernel still holds: resident ones beyond the pages in use.
 * @param {Arena} arena
 */
function lateBytes(arena) {
  return arena.residentBytes() - arena.stats().usedBytes
}

/**
 * Milliseconds from the last call until nothing free is resident, to a tenth of a second; 30 s at most.
 * @param {number} count blocks
 * @param {number} sizeBytes of each
 * @param {number} keptOf one block in so many is kept
 */
async function goneMs(count, sizeBytes, keptOf) {
  const { arena, kept } = withHoles(count, sizeBytes, keptOf)
  const startMs = performance.now()
  for (let i = 0; i < 300 && arena.stats().dirtyBytes > 0; i++) await sleep(100)
  const tookMs = performance.now() - startMs
  if (lateBytes(arena) > 0) throw new Error('free pages are resident')
  requireLive(kept)
  return tookMs
}

/**
 * Free MiB that are resident when the promise has ended, nobody having called since.
 * @param {number} count blocks
 * @param {number} sizeBytes of each
 * @param {number} keptOf one block in so many is kept
 */
async function lateMib(count, sizeBytes, keptOf = KEPT) {
  const { arena, kept } = withHoles(count, sizeBytes, keptOf)
  await sleep(PROMISE_MS)
  const late = lateBytes(arena) / MIB
  requireLive(kept)
  return late
}

/**
 * What that gives while two other processes take both cores.
 * @param {() => Promise<number>} measure
 */
async function underLoad(measure) {
  const busy = [0, 1].map(() => fork(fileURLToPath(import.meta.url), ['busy']))
  try {
    await sleep(200)
    return await measure()
  } finally {
    for (const child of busy) child.kill()
  }
}

/**
 * How long `trim` takes.
 * @param {number} count blocks
 * @param {number} sizeBytes of each
 * @param {number} keptOf one block in so many is kept
 */
async function trimMs(count, sizeBytes, keptOf = KEPT) {
  const { arena, kept } = withHoles(count, sizeBytes, keptOf)
  const startMs = performance.now()
  arena.trim()
  const tookMs = performance.now() - startMs
  requireLive(kept)
  return tookMs
}

/**
 * The longest that `trimAsync` keeps the event loop from anything else, in milliseconds.
 * @param {number} count blocks
 * @param {number} sizeBytes of each
 */
async function longestTurnMs(count, sizeBytes) {
  const { arena, kept } = withHoles(count, sizeBytes, KEPT)
  let longest = 0
  let last = performance.now()
  let isDone = false
  const turn = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (!isDone) setImmediate(turn)
  }
  setImmediate(turn)
  await arena.trimAsync()
  isDone = true
  requireLive(kept)
  return longest
}

/**
 * How many blocks, and of how many bytes.
 * @type {[count: number, sizeBytes: number][]}
 */
const CASES = [
  [150_000, 512],
  [100_000, 1024],
  [50_000, 2048],
]
/**
 * Blocks of a page: how many, and one in how many is kept. The first is 3.9 GiB of free pages, the second 3.8.
 * @type {[name: string, count: number, sizeBytes: number, keptOf: number][]}
 */
const HOLES = [
  ['52,500 holes of 19 pages', 1_050_000, 4096, 20],
  ['a million holes of a page', 2_000_000, 4096, 2],
]

/**
 * A row for each of `CASES`.
 * @param {string} label
 * @param {string} unit
 * @param {number | undefined} most the bound, if there is one
 * @param {(count: number, sizeBytes: number) => Promise<number>} measure
 * @returns {[name: string, row: Row][]}
 */
function rowsOf(label, unit, most, measure) {
  return CASES.map(([count, sizeBytes]) => [
    `${count} x ${sizeBytes} B: ${label}`,
    { unit, most, measures: { arena: () => measure(count, sizeBytes) } },
  ])
}

/**
 * The rows of one of `HOLES`.
 * @param {typeof HOLES[number]} holes
 * @returns {[name: string, row: Row][]}
 */
function holeRows([name, ...input]) {
  return [
    [
      `${name}: free and still resident after releaseAfterMs`,
      { unit: 'MiB', measures: { arena: () => lateMib(...input) } },
    ],
    [`${name}: until all are back`, { unit: 'ms', measures: { arena: () => goneMs(...input) } }],
    [
      `${name}: the same while two other processes take both cores`,
      { unit: 'ms', measures: { arena: () => underLoad(() => goneMs(...input)) } },
    ],
    [`${name}: trim()`, { unit: 'ms', measures: { arena: () => trimMs(...input) } }],
  ]
}

export const title = 'Scattered holes, one block in 20 kept, then no call'
/** @type {Case['rows']} */
export const rows = Object.fromEntries([
  ...rowsOf('free and still resident after releaseAfterMs', 'MiB', 0, lateMib),
  ...rowsOf('the same while two other processes take both cores', 'MiB', 0, (...input) =>
    underLoad(() => lateMib(...input)),
  ),
  ...rowsOf('trim()', 'ms', 150, trimMs),
  ...rowsOf('longest turn of the event loop in trimAsync()', 'ms', undefined, longestTurnMs),
  ...HOLES.flatMap(holeRows),
])

if (process.argv[2] === 'busy') for (;;);
