/**
 * An arena in one scenario; prints its figures as JSON. Argument: { scenario, source, releaseAfterMs, … }. `null` for
 * `releaseAfterMs` is Infinity.
 */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Arena } from 'offheap'
import { FREE } from '#compiled/replay/trace.js'
import { readTrace } from '#compiled/replay/trace-file.js'

/** @import { ArenaStats } from 'offheap' */
/** @import { Trace } from '#compiled/replay/trace.js' */

const MIB = 2 ** 20
/** Bytes of the blocks of the curve, in turn. */
const CURVE_SIZES = [16, 64, 24, 128, 48].map(kib => kib * 1024)

/**
 * What to do. All but `scenario` are set for the scenarios that read them only.
 * @typedef {object} Task
 * @property {keyof Figures} scenario
 * @property {'mmap' | 'sbrk'} source where an arena's pages come from
 * @property {number | null} releaseAfterMs the arena's option; null is Infinity, which JSON has no number for
 * @property {number} blockBytes `idle`: the length of every block
 * @property {number} everyMs `bounce`: from one block to the next
 * @property {number} forMs `bounce` and `steady`: how long it goes on
 * @property {string} trace `steady`: the path of a recording
 * @property {'arena' | 'buffer'} allocator `curve`: what memory comes from
 */

/**
 * What `idle` found. Delays are of the event loop, in milliseconds beyond the timer's own.
 * @typedef {object} Idle
 * @property {number} fullBytes growth of the process when everything was full
 * @property {number} residentBytes what the kernel says of the arena 250 ms after the promise
 * @property {number} grownBytes growth of the process at the end
 * @property {number} maxMs the longest delay
 * @property {number} p99Ms 99 % of the delays are shorter
 * @property {number} dirtyBytes what the arena says it still has to give back
 */

/**
 * `refaultShare`: of all pages after the first two rounds, those that had gone back and faulted in again (0 to 1).
 * `betweenBytes`: the most that was resident between two blocks.
 * @typedef {{ rounds: number, refaultShare: number, purgesAfterTwo: number, betweenBytes: number }} Bounce
 */

/**
 * `ratio`: throughput of the arena that gives pages back over that of the one that does not.
 * @typedef {{ ratio: number, passes: number, purges: number, refaultedBytes: number }} Steady
 */

/**
 * A point of the curve: seconds since the start, bytes live, and bytes that the process has grown by.
 * @typedef {{ s: number, liveBytes: number, heldBytes: number }} CurveSample
 */

/**
 * What each scenario prints.
 * @typedef {object} Figures
 * @property {Idle} idle
 * @property {Pick<Idle, 'maxMs' | 'p99Ms'>} nothing
 * @property {Bounce} bounce
 * @property {Steady} steady
 * @property {{ samples: CurveSample[] }} curve
 */

/**
 * Where the blocks of the curve come from.
 * @typedef {object} Allocator
 * @property {(sizeBytes: number) => Buffer} allocate
 * @property {(block: Buffer) => void} free
 * @property {() => void} collect is called when traffic ends
 */

/** @type {Task} */
const options = JSON.parse(process.argv[2])
const arenaOptions = {
  source: options.source,
  releaseAfterMs: options.releaseAfterMs ?? Number.POSITIVE_INFINITY,
}

/** Collects garbage now. Needs `--expose-gc`. */
function collectNow() {
  if (globalThis.gc === undefined) throw new Error('run it with --expose-gc')
  globalThis.gc()
}

/** What is resident of this process. */
function rssBytes() {
  const line = /^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
  if (line === null) throw new Error('the kernel does not say what is resident')
  return Number(line[1]) * 1024
}

/**
 * Returns what was resident when 512 MiB were full.
 * @param {Arena} arena
 */
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
    collectNow()
    await sleep(50)
  }
}

/**
 * What a process needs once, compiled code and V8's own tables, is no growth of an arena's: a round before counting.
 * @param {(arena: Arena) => unknown} use
 */
async function settle(use) {
  const first = new Arena(arenaOptions)
  use(first)
  await sleep(500)
  first.close()
  await collect()
}

/**
 * Fills 512 MiB, frees all, then makes no further call until it reads what is resident.
 * @returns {Promise<Idle>}
 */
async function idle() {
  const { releaseAfterMs } = arenaOptions
  await settle(fillAndFree)
  const arena = new Arena(arenaOptions)
  const rssBefore = rssBytes()
  const fullBytes = fillAndFree(arena) - rssBefore
  // What follows is about pages: the Buffers' own garbage is collected here, so that V8 does not do it later.
  collectNow()
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

/**
 * An idle process of the same length: what this machine's timers and collector do to the histogram by themselves.
 * @returns {Promise<Figures['nothing']>}
 */
async function nothing() {
  collectNow()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await sleep(arenaOptions.releaseAfterMs + 250)
  delay.disable()
  return { maxMs: delay.max / 1e6 - 1, p99Ms: delay.percentile(99) / 1e6 - 1 }
}

/**
 * The same 64 MiB, again and again.
 * @returns {Promise<Bounce>}
 */
async function bounce() {
  const roundBytes = 64 * MIB
  await settle(arena => arena.free(arena.allocUnsafe(roundBytes).fill(1)))
  const arena = new Arena(arenaOptions)
  const rounds = Math.ceil(options.forMs / options.everyMs)
  /** @type {Pick<ArenaStats, 'purges' | 'refaultedBytes'>} */
  let afterTwo = { purges: 0, refaultedBytes: 0 }
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
 * @returns {Promise<Steady>}
 */
async function steady() {
  const trace = await readTrace(options.trace)
  /** @type {Player} */
  const releasing = { arena: new Arena(arenaOptions), passesMs: [] }
  /** @type {Player} */
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

/**
 * An arena that plays a recording, and how long each pass took.
 * @typedef {{ arena: Arena, passesMs: number[] }} Player
 */

/**
 * Of the passes after V8 has compiled everything.
 * @param {Player} player
 */
function meanMs({ passesMs }) {
  const warm = passesMs.slice(passesMs.length >>> 2)
  return warm.reduce((sum, ms) => sum + ms, 0) / warm.length
}

/**
 * Plays the recording once. Returns how long it took.
 * @param {Trace} trace
 * @param {Arena} arena
 */
async function playedMs({ operations, slots, sizes, operationCount, slotCount }, arena) {
  /** @type {(Buffer | undefined)[]} */
  const blocks = new Array(slotCount).fill(undefined)
  const startMs = performance.now()
  for (let i = 0; i < operationCount; i++) {
    const slot = slots[i]
    const old = blocks[slot]
    if (operations[i] === FREE) {
      if (old !== undefined) arena.free(old)
      blocks[slot] = undefined
    } else {
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
 * @returns {Promise<Figures['curve']>}
 */
async function curve() {
  const allocator = options.allocator === 'arena' ? arenaAllocator() : bufferAllocator()
  /** @type {CurveSample[]} */
  const samples = []
  /** @type {Buffer[]} */
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
  /** @param {number} index of a live block, which the last one takes the place of */
  const drop = index => {
    const block = live[index]
    const last = live.pop()
    if (last !== undefined && index < live.length) live[index] = last
    liveBytes -= block.length
    allocator.free(block)
  }
  /**
   * @param {number} untilS seconds since the start
   * @param {number} goalBytes live at most, after each round
   */
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
  /** @param {number} untilS seconds since the start */
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

/** @returns {Allocator} */
function arenaAllocator() {
  const arena = new Arena(arenaOptions)
  return {
    allocate: sizeBytes => arena.allocUnsafe(sizeBytes).fill(1),
    free: block => arena.free(block),
    collect() {},
  }
}

/**
 * Dropped Buffers are collected explicitly when traffic ends: their memory depends on `malloc` then, not on V8's mood.
 * @returns {Allocator}
 */
function bufferAllocator() {
  return {
    allocate: sizeBytes => Buffer.allocUnsafeSlow(sizeBytes).fill(1),
    free() {},
    collect() {
      collectNow()
      setTimeout(collectNow, 100)
    },
  }
}

console.log(JSON.stringify(await { idle, nothing, bounce, steady, curve }[options.scenario]()))
process.exit(0)
