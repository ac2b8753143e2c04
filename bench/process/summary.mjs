/** Figures over all rounds, and what they are held against. Nothing here measures. */
import { quantile, spread } from '../heap/statistics.mjs'

/** @import { Spread } from '../heap/statistics.mjs' */
/** @import { Measurement } from './measure.mjs' */
/** @import { DelayFigures } from './delay.mjs' */

/** Bytes, requests per second, and milliseconds. @typedef {Record<'startBytes' | 'peakGrowthBytes' | 'idleGrowthBytes' | 'requestsPerSecond' | 'p50Ms' | 'p99Ms', Spread>} Figures */

/** What was measured of one variant with one body, round by round; or why nothing was. @typedef {{ name: string, reason?: string, measurements: Measurement[] }} Row */

/** One promise, with the figures that it was held against. @typedef {{ what: string, figures: string, holds: boolean }} Bar */

const MIB = 2 ** 20
/** Growth may be at most that of plain Buffers, divided by this. */
const GROWTH_DIVISOR = 3
/** For these bodies. */
const GROWTH_BODIES = ['64k', '1m']
/** Below this share of plain Buffers' requests per second it is no longer noise. */
const NOISE = 0.97
/** What is held against plain Buffers. */
const JUDGED = ['buffers+idle', 'buffers+idle-major', 'arena+idle']
const PRELOADED = ['jemalloc', 'jemalloc-thread', 'mimalloc', 'tcmalloc']
const DELAY_P99_MS = 2
const NOTHING_MS = 1
const DELAY_MAX_MS = 10

/**
 * @param {Measurement[]} measurements
 * @returns {Figures}
 */
export function figuresOf(measurements) {
  /** @param {(one: Measurement) => number} value */
  const over = value => spread(measurements.map(value))
  return {
    startBytes: over(({ startBytes }) => startBytes),
    peakGrowthBytes: over(({ startBytes, peakBytes }) => peakBytes - startBytes),
    idleGrowthBytes: over(({ startBytes, idleBytes }) => idleBytes - startBytes),
    requestsPerSecond: over(({ requestsPerSecond }) => requestsPerSecond),
    p50Ms: over(({ p50Ms }) => p50Ms),
    p99Ms: over(({ p99Ms }) => p99Ms),
  }
}

/** @param {number} bytes */
const mib = bytes => `${(bytes / MIB).toFixed(1)} MiB`

/**
 * Holds the variants that give back against plain Buffers and preloaded allocators, as far as these were measured.
 * @param {string} bodyName
 * @param {Row[]} rows
 * @returns {Bar[]}
 */
export function barsOf(bodyName, rows) {
  const measured = new Map(rows.filter(({ reason }) => reason === undefined).map(row => [row.name, row]))
  const plain = measured.get('buffers')
  const peers = PRELOADED.flatMap(name => measured.get(name) ?? [])
  return JUDGED.flatMap(name => {
    const row = measured.get(name)
    if (row === undefined) return []
    return [
      ...(plain !== undefined && GROWTH_BODIES.includes(bodyName)
        ? [growthBar(row, plain, GROWTH_DIVISOR)]
        : []),
      ...(peers.length > 0 ? [preloadedBar(row, peers)] : []),
      ...(plain !== undefined ? [requestsBar(row, plain), p99Bar(row, plain)] : []),
    ]
  })
}

/** @param {Row} row */
const growthOf = row => figuresOf(row.measurements).idleGrowthBytes.median

/**
 * @param {Row} row
 * @param {Row} plain
 * @param {2 | 3} divisor
 * @returns {Bar}
 */
export function growthBar(row, plain, divisor) {
  const bound = growthOf(plain) / divisor
  return {
    what: `${row.name}: idle growth at most a ${divisor === 2 ? 'half' : 'third'} of plain Buffers'`,
    figures: `${mib(growthOf(row))} against ${mib(growthOf(plain))} / ${divisor} = ${mib(bound)}`,
    holds: growthOf(row) <= bound,
  }
}

/**
 * @param {Row} row
 * @param {Row[]} peers
 * @returns {Bar}
 */
function preloadedBar(row, peers) {
  const figures = peers.map(peer => `${peer.name} ${mib(growthOf(peer))}`)
  return {
    what: `${row.name}: idle growth below that of each preloaded allocator`,
    figures: `${mib(growthOf(row))} against ${figures.join(', ')}`,
    holds: peers.every(peer => growthOf(row) < growthOf(peer)),
  }
}

/**
 * Round by round: what else the machine does changes more slowly than a round takes.
 * @param {Row} row
 * @param {Row} plain
 * @returns {Bar}
 */
export function requestsBar(row, plain) {
  const ratios = row.measurements.map(
    ({ requestsPerSecond }, round) => requestsPerSecond / plain.measurements[round].requestsPerSecond,
  )
  const { median, min, max } = spread(ratios)
  return {
    what: `${row.name}: requests per second at least ${NOISE} of plain Buffers'`,
    figures: `${median.toFixed(3)} (${min.toFixed(3)}–${max.toFixed(3)})`,
    holds: median >= NOISE,
  }
}

/**
 * Noise is what plain Buffers' own rounds differ by, and at least what it is for requests per second.
 * @param {Row} row
 * @param {Row} plain
 * @returns {Bar}
 */
export function p99Bar(row, plain) {
  const own = figuresOf(row.measurements).p99Ms
  const other = figuresOf(plain.measurements).p99Ms
  const bound = Math.max(other.max, other.median / NOISE)
  return {
    what: `${row.name}: p99 not above plain Buffers' beyond noise`,
    figures: `${own.median.toFixed(1)} ms against ${other.median.toFixed(1)} ms, at most ${bound.toFixed(1)} ms`,
    holds: own.median <= bound,
  }
}

/**
 * @param {string} name of the case
 * @param {DelayFigures[]} rounds
 * @returns {Bar[]}
 */
export function delayBarsOf(name, rounds) {
  const p99Ms = quantile(
    rounds.map(({ reclaim }) => reclaim.p99Ms),
    0.5,
  )
  const maxMs = Math.max(...rounds.map(({ reclaim }) => reclaim.maxMs))
  const nothingMs = quantile(
    rounds.map(one => one.nothingMs),
    0.5,
  )
  return [
    {
      what: `${name}: p99 of the delay below ${DELAY_P99_MS} ms (median of the rounds)`,
      figures: `${p99Ms.toFixed(2)} ms`,
      holds: p99Ms < DELAY_P99_MS,
    },
    {
      what: `${name}: most delay below ${DELAY_MAX_MS} ms (highest round)`,
      figures: `${maxMs.toFixed(2)} ms`,
      holds: maxMs < DELAY_MAX_MS,
    },
    {
      what: `${name}: the loop is active for less than ${NOTHING_MS} ms if there is nothing to give back (median of the rounds)`,
      figures: `${nothingMs.toFixed(2)} ms`,
      holds: nothingMs < NOTHING_MS,
    },
  ]
}
