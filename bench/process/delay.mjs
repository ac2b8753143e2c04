/**
 * How long `reclaim()` keeps the event loop waiting, in a process of its own: `node --expose-gc delay.mjs CASE [GIVEN]`, both as JSON. malloc has
 * `freeBytes` of free blocks, each between two that are in use. A timer allocates each millisecond. Prints the figures as JSON.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { collectGarbage } from '../use/process.mjs'
import { functionNamed } from './given.mjs'
import { residentBytes } from './memory.mjs'

/** @import { IntervalHistogram } from 'node:perf_hooks' */
/** @import { DelayCase } from './delay-cases.mjs' */

/**
 * Milliseconds. The delay is what a timer of 1 ms was late. `allocationMaxMs`: the longest that the allocations of one tick took.
 * @typedef {{ ticks: number, p50Ms: number, p99Ms: number, maxMs: number, allocationMaxMs: number }} Delay
 */

/**
 * `quiet`: before, without a reclaim. `tookMs`: until the promise was settled. `saysPauseMs`: what the report says was the longest pause, if it
 * says so. `beforeBytes` and `afterBytes` were resident.
 * @typedef {object} DelayFigures
 * @property {Delay} quiet
 * @property {Delay} reclaim
 * @property {number} nothingMs how long the event loop was active for a reclaim before, with nothing to give back; the median of five
 * @property {number} tookMs
 * @property {number | undefined} saysPauseMs
 * @property {number} beforeBytes
 * @property {number} afterBytes
 */

/** So much may be missing of what was freed: V8 gives some pages of its own back meanwhile. */
const STAYS = 0.9
const QUIET_MS = 2000
const RESOLUTION_MS = 1

/**
 * Fills malloc. Returns the blocks that stay in use.
 * @param {DelayCase} wanted
 */
async function fragment({ freeBytes, minBytes, maxBytes }) {
  /** @type {(Buffer | undefined)[]} */
  const blocks = []
  let state = 1
  for (let droppedBytes = 0, i = 0; droppedBytes < freeBytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    const sizeBytes = minBytes + Math.floor(((maxBytes - minBytes) * state) / 2 ** 32)
    blocks.push(Buffer.allocUnsafeSlow(sizeBytes).fill(1))
    // The last one stays in use, or the break would be lowered.
    if (i % 2 === 1) droppedBytes += sizeBytes
  }
  blocks.push(Buffer.allocUnsafeSlow(minBytes).fill(1))
  await collectGarbage()
  const fullBytes = residentBytes('self')
  for (let i = 1; i < blocks.length - 1; i += 2) blocks[i] = undefined
  await collectGarbage()
  await sleep(500)
  const stayBytes = residentBytes('self')
  if (fullBytes - stayBytes > (1 - STAYS) * freeBytes)
    throw new Error(`of ${fullBytes} resident bytes only ${stayBytes} stayed: not what is to be measured`)
  return blocks
}

/** The longest of one tick, in milliseconds, since it was last set. */
let allocationMaxMs = 0

function allocate() {
  const startMs = performance.now()
  Buffer.allocUnsafeSlow(8000)
  for (let i = 0; i < 4; i++) Buffer.allocUnsafeSlow(100).write('x'.repeat(100), 'latin1')
  allocationMaxMs = Math.max(allocationMaxMs, performance.now() - startMs)
}

/**
 * Forgets what was measured so far. The first tick afterwards only sets the time that the next one is measured from: it waits for both.
 * @param {IntervalHistogram} delays
 */
async function beginAgain(delays) {
  delays.reset()
  while (delays.count === 0) await sleep(RESOLUTION_MS)
  allocationMaxMs = 0
}

/**
 * @param {IntervalHistogram} delays
 * @returns {Delay}
 */
function figuresOf(delays) {
  // It records the time from tick to tick.
  /** @param {number} ns */
  const lateMs = ns => Math.max(0, ns / 1e6 - RESOLUTION_MS)
  return {
    ticks: delays.count,
    p50Ms: lateMs(delays.percentile(50)),
    p99Ms: lateMs(delays.percentile(99)),
    maxMs: lateMs(delays.max),
    allocationMaxMs,
  }
}

/**
 * How long the event loop is active for a reclaim that finds nothing, in milliseconds.
 * @param {() => Promise<unknown>} reclaim
 */
async function measureNothing(reclaim) {
  for (let i = 0; i < 3; i++) await reclaim()
  const activeMs = []
  for (let i = 0; i < 5; i++) {
    await sleep(20)
    const start = performance.eventLoopUtilization()
    await reclaim()
    activeMs.push(performance.eventLoopUtilization(start).active)
  }
  return activeMs.sort((a, b) => a - b)[2]
}

/**
 * @param {DelayCase} wanted
 * @param {string | undefined} given
 * @returns {Promise<DelayFigures>}
 */
async function measure(wanted, given) {
  const reclaim = await functionNamed('reclaim', given)
  const nothingMs = await measureNothing(reclaim)
  const blocks = await fragment(wanted)
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  const timer = setInterval(allocate, 1)
  delays.enable()
  await sleep(500)
  await beginAgain(delays)
  await sleep(QUIET_MS)
  const quiet = figuresOf(delays)

  const beforeBytes = residentBytes('self')
  await sleep(50)
  await beginAgain(delays)
  const startMs = performance.now()
  const report = await reclaim()
  const tookMs = performance.now() - startMs
  // The tick that came late is recorded when it comes.
  await sleep(2 * RESOLUTION_MS)
  delays.disable()
  const during = figuresOf(delays)
  clearInterval(timer)
  const afterBytes = residentBytes('self')
  if (blocks.at(-1) === undefined) throw new Error('the blocks in use are gone')
  return {
    quiet,
    reclaim: during,
    nothingMs,
    tookMs,
    saysPauseMs: report?.longestPauseMs,
    beforeBytes,
    afterBytes,
  }
}

const [, , caseText, givenText] = process.argv
const given = givenText === undefined ? undefined : JSON.parse(givenText)
console.log(JSON.stringify(await measure(JSON.parse(caseText), given)))
