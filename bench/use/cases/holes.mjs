/** Memory that is mostly free, in holes of a page or two between blocks that live: how soon it is back, and what `trim` takes. */
import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Arena } from '../../../dist/index.js'

const MIB = 2 ** 20
/** One block in so many is kept. */
const KEPT = 20
const PROMISE_MS = 1_000

/** An arena in which that was allocated and written, and all but one in twenty freed. */
function withHoles(count, sizeBytes) {
  const arena = new Arena()
  const blocks = Array.from({ length: count }, () => arena.allocUnsafe(sizeBytes).fill(1))
  const kept = blocks.filter((_, index) => index % KEPT === 0)
  for (let index = 0; index < count; index++) if (index % KEPT !== 0) arena.free(blocks[index])
  return { arena, kept }
}

/** Free bytes that the kernel still holds: resident ones beyond the pages in use. */
function lateBytes(arena) {
  return arena.residentBytes() - arena.stats().usedBytes
}

/** Free MiB that are resident when the promise has ended, nobody having called since. */
async function lateMib(count, sizeBytes) {
  const { arena, kept } = withHoles(count, sizeBytes)
  await sleep(PROMISE_MS)
  const late = lateBytes(arena) / MIB
  if (kept.length === 0) throw new Error('nothing was kept')
  return late
}

/** The same while two other processes take both cores. */
async function lateMibUnderLoad(count, sizeBytes) {
  const busy = [0, 1].map(() => fork(fileURLToPath(import.meta.url), ['busy']))
  try {
    await sleep(200)
    return await lateMib(count, sizeBytes)
  } finally {
    for (const child of busy) child.kill()
  }
}

async function trimMs(count, sizeBytes) {
  const { arena } = withHoles(count, sizeBytes)
  const startMs = performance.now()
  arena.trim()
  return performance.now() - startMs
}

/** The longest that `trimAsync` keeps the event loop from anything else. */
async function longestTurnMs(count, sizeBytes) {
  const { arena } = withHoles(count, sizeBytes)
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
  return longest
}

const CASES = [
  [150_000, 512],
  [100_000, 1024],
  [50_000, 2048],
]

function rowsOf(label, unit, most, measure) {
  return CASES.map(([count, sizeBytes]) => [
    `${count} x ${sizeBytes} B: ${label}`,
    { unit, most, measures: { arena: () => measure(count, sizeBytes) } },
  ])
}

export const title = 'Scattered holes, one block in 20 kept, then no call'
export const rows = Object.fromEntries([
  ...rowsOf('free and still resident after releaseAfterMs', 'MiB', 0, lateMib),
  ...rowsOf('the same while two other processes take both cores', 'MiB', 0, lateMibUnderLoad),
  ...rowsOf('trim()', 'ms', 150, trimMs),
  ...rowsOf('longest turn of the event loop in trimAsync()', 'ms', undefined, longestTurnMs),
  [
    'a million holes of a page: free and still resident after releaseAfterMs',
    { unit: 'MiB', measures: { arena: () => lateMib(1_050_000, 4096) } },
  ],
  ['a million holes of a page: trim()', { unit: 'ms', measures: { arena: () => trimMs(1_050_000, 4096) } }],
])

if (process.argv[2] === 'busy') for (;;);
