/**
 * An arena in one scenario; prints its figures as JSON. Argument: { scenario, source, releaseAfterMs, … }. `null` for
 * `releaseAfterMs` is Infinity.
 */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { FREE, readTrace } from '../../.compiled/replay/trace.js'
import { Arena } from '../../dist/index.js'

const MIB = 2 ** 20
/** Bytes of the blocks of the curve, in turn. */
const CURVE_SIZES = [16, 64, 24, 128, 48].map(kib => kib * 1024)
const options = JSON.parse(process.argv[2])
const arenaOptions = {
  source: options.source,
  releaseAfterMs: options.releaseAfterMs ?? Number.POSITIVE_INFINITY,
}

function rssBytes() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

/** Returns what was resident when 512 MiB were full. */
function fillAndFree(arena) {
  const { blockBytes } = options
  const blocks = Array.from({ length: (512 * MIB) / blockBytes }, () => arena.allocUnsafe(blockBytes).fill(1))
  const fullBytes = rssBytes()
  for (const block of blocks) arena.free(block)
  return fullBytes
}

/** Finalizers run on later turns. */
async function collect() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc()
    await sleep(50)
  }
}

/** What a process needs once, compiled code and V8's own tables, is no growth of an arena's: a round before counting. */
async function settle(use) {
  const first = new Arena(arenaOptions)
  use(first)
  await sleep(500)
  first.close()
  await collect()
}

/** Fills 512 MiB, frees all, then makes no further call until it reads what is resident. */
async function idle() {
  const releaseAfterMs = options.releaseAfterMs
  await settle(fillAndFree)
  const arena = new Arena(arenaOptions)
  const rssBefore = rssBytes()
  const fullBytes = fillAndFree(arena) - rssBefore
  // What follows is about pages: the Buffers' own garbage is collected here, so that V8 does not do it later.
  globalThis.gc()
  const freedMs = performance.now()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await sleep(releaseAfterMs + 250 - (performance.now() - freedMs))
  delay.disable()
  // Now, at D + 250 ms, what the kernel says of the arena; then of the process, once V8 has let go of its own.
  const residentBytes = arena.residentBytes()
  await collect()
  const grownBytes = rssBytes() - rssBefore
  return {
    fullBytes,
    residentBytes,
    grownBytes,
    maxMs: delay.max / 1e6 - 1,
    p99Ms: delay.percentile(99) / 1e6 - 1,
    dirtyBytes: arena.stats().dirtyBytes,
  }
}

/** An idle process of the same length: what this machine's timers and collector do to the histogram by themselves. */
async function nothing() {
  globalThis.gc()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await sleep(options.releaseAfterMs + 250)
  delay.disable()
  return { maxMs: delay.max / 1e6 - 1, p99Ms: delay.percentile(99) / 1e6 - 1 }
}

/** The same 64 MiB, again and again. */
async function bounce() {
  const roundBytes = 64 * MIB
  await settle(arena => arena.free(arena.allocUnsafe(roundBytes).fill(1)))
  const arena = new Arena(arenaOptions)
  const rounds = Math.ceil(options.forMs / options.everyMs)
  let afterTwo
  let betweenBytes = 0
  const rssBefore = rssBytes()
  const startMs = performance.now()
  for (let round = 0; round < rounds; round++) {
    const block = arena.allocUnsafe(roundBytes)
    if (round === 1) afterTwo = arena.stats()
    block.fill(round)
    arena.free(block)
    await sleep(startMs + (round + 1) * options.everyMs - performance.now())
    if (options.everyMs >= 1_000) betweenBytes = Math.max(betweenBytes, rssBytes() - rssBefore)
  }
  const { purges, refaultedBytes } = arena.stats()
  return {
    rounds,
    refaultShare: (refaultedBytes - afterTwo.refaultedBytes) / (roundBytes * (rounds - 2)),
    purgesAfterTwo: purges - afterTwo.purges,
    betweenBytes,
  }
}

/**
 * Two arenas play a recording in turn, a pass each, in one process: only one of them gives pages back. In processes of their own,
 * two that do the same differ by a tenth. The other is over mappings in any case, since a process has one break.
 */
async function steady() {
  const trace = await readTrace(options.trace)
  const releasing = { arena: new Arena(arenaOptions), passesMs: [] }
  const keeping = { arena: new Arena({ releaseAfterMs: Number.POSITIVE_INFINITY }), passesMs: [] }
  const endMs = performance.now() + options.forMs
  for (let round = 0; performance.now() < endMs; round++) {
    const order = round % 2 === 0 ? [releasing, keeping] : [keeping, releasing]
    for (const { arena, passesMs } of order) passesMs.push(await playedMs(trace, arena))
  }
  const { purges, refaultedBytes } = releasing.arena.stats()
  return {
    ratio: meanMs(keeping) / meanMs(releasing),
    passes: releasing.passesMs.length,
    purges,
    refaultedBytes,
  }
}

/** Of the passes after V8 has compiled everything. */
function meanMs({ passesMs }) {
  const warm = passesMs.slice(passesMs.length >>> 2)
  return warm.reduce((sum, ms) => sum + ms, 0) / warm.length
}

async function playedMs({ operations, slots, sizes, operationCount, slotCount }, arena) {
  const blocks = new Array(slotCount).fill(undefined)
  const startMs = performance.now()
  for (let i = 0; i < operationCount; i++) {
    const slot = slots[i]
    if (operations[i] === FREE) {
      arena.free(blocks[slot])
      blocks[slot] = undefined
    } else {
      const old = blocks[slot]
      const block = old === undefined ? arena.allocUnsafe(sizes[i]) : arena.realloc(old, sizes[i])
      if (block.length > 0) block[0] = 1
      blocks[slot] = block
    }
    if (i % 1_000 === 999) await turn()
  }
  for (const block of blocks) if (block !== undefined) arena.free(block)
  return performance.now() - startMs
}

/**
 * Memory over time: traffic with up to 128 MiB live, all but one block in 64 freed, nothing for a while, then traffic
 * again, and nothing. Held: growth of resident memory since before the first block.
 */
async function curve() {
  const allocator = options.allocator === 'arena' ? arenaAllocator() : bufferAllocator()
  const samples = []
  let live = []
  let liveBytes = 0
  const rssBefore = rssBytes()
  const startMs = performance.now()
  const sample = () =>
    samples.push({ s: (performance.now() - startMs) / 1_000, liveBytes, heldBytes: rssBytes() - rssBefore })
  const put = () => {
    const sizeBytes = CURVE_SIZES[live.length % CURVE_SIZES.length]
    live.push(allocator.allocate(sizeBytes))
    liveBytes += sizeBytes
  }
  const drop = index => {
    const last = live.pop()
    const block = index < live.length ? live[index] : last
    if (index < live.length) live[index] = last
    liveBytes -= block.length
    allocator.free(block)
  }
  const traffic = async (untilS, goalBytes) => {
    for (let round = 0; performance.now() - startMs < untilS * 1_000; round++) {
      // A few MiB come and go in each round, up to the goal.
      for (let i = 0; i < 100; i++) put()
      for (let i = 0; (i < 60 || liveBytes > goalBytes) && live.length > 0; i++)
        drop((i * 7_919 + round) % live.length)
      sample()
      await sleep(20)
    }
  }
  const quiet = async untilS => {
    allocator.collect()
    while (performance.now() - startMs < untilS * 1_000) {
      sample()
      await sleep(50)
    }
  }
  await traffic(2.5, 128 * MIB)
  const kept = live.filter((_, i) => i % 64 === 0)
  for (const block of live) if (!kept.includes(block)) allocator.free(block)
  liveBytes = kept.reduce((bytes, block) => bytes + block.length, 0)
  live = kept
  await quiet(6)
  await traffic(8.5, 64 * MIB)
  for (const block of live) allocator.free(block)
  live = []
  liveBytes = 0
  await quiet(12)
  return { samples }
}

function arenaAllocator() {
  const arena = new Arena(arenaOptions)
  return {
    allocate: sizeBytes => arena.allocUnsafe(sizeBytes).fill(1),
    free: block => arena.free(block),
    collect() {},
  }
}

/** Dropped Buffers are collected explicitly when traffic ends: their memory depends on `malloc` then, not on V8's mood. */
function bufferAllocator() {
  return {
    allocate: sizeBytes => Buffer.allocUnsafeSlow(sizeBytes).fill(1),
    free() {},
    collect() {
      globalThis.gc()
      setTimeout(globalThis.gc, 100)
    },
  }
}

console.log(JSON.stringify(await { idle, nothing, bounce, steady, curve }[options.scenario]()))
process.exit(0)
