/** Figures over all rounds, and what they are held against. Nothing here measures. */
import { quantile, spread } from '../heap/statistics.mjs'
import { growthBar, p99Bar, requestsBar } from '../process/summary.mjs'

/** @import { Spread } from '../heap/statistics.mjs' */
/** @import { Bar, Row as Judged } from '../process/summary.mjs' */
/** @import { Measurement } from './measure.mjs' */

/** What was measured of one variant of one service, round by round; or why nothing was. @typedef {{ name: string, reason?: string, measurements: Measurement[] }} Row */

/** Growth may be at most that of plain Buffers, divided by this. @type {[name: string, divisor: 2 | 3][]} */
const JUDGED = [
  ['arena', 2],
  ['arena+idle', 3],
]

/**
 * One round in one line. `idleBytes` is the mean of what was resident after each wave, percentiles are medians over the waves.
 * @param {Measurement} measurement
 */
export function roundOf({ startBytes, peakBytes, waves }) {
  /** @param {(wave: Measurement['waves'][number]) => number} value */
  const sum = value => waves.reduce((total, wave) => total + value(wave), 0)
  /** @param {(wave: Measurement['waves'][number]) => number} value */
  const median = value => quantile(waves.map(value), 0.5)
  const requests = sum(wave => wave.requests)
  return {
    startBytes,
    peakBytes,
    idleBytes: sum(({ idleBytes }) => idleBytes) / waves.length,
    requests,
    requestsPerSecond: requests / sum(wave => wave.requests / wave.requestsPerSecond),
    p50Ms: median(({ p50Ms }) => p50Ms),
    p99Ms: median(({ p99Ms }) => p99Ms),
    processorMs: sum(wave => wave.processorMs * wave.requests) / requests,
    collections: sum(({ collections }) => collections),
    pauseMs: sum(({ pauseMs }) => pauseMs),
    longestPauseMs: Math.max(...waves.map(({ longestPauseMs }) => longestPauseMs)),
  }
}

/**
 * @param {Measurement[]} measurements
 */
export function figuresOf(measurements) {
  const rounds = measurements.map(roundOf)
  /** @param {(round: ReturnType<typeof roundOf>) => number} value @returns {Spread} */
  const over = value => spread(rounds.map(value))
  return {
    startBytes: over(({ startBytes }) => startBytes),
    idleBytes: over(({ idleBytes }) => idleBytes),
    peakGrowthBytes: over(({ startBytes, peakBytes }) => peakBytes - startBytes),
    idleGrowthBytes: over(({ startBytes, idleBytes }) => idleBytes - startBytes),
    requestsPerSecond: over(({ requestsPerSecond }) => requestsPerSecond),
    p50Ms: over(({ p50Ms }) => p50Ms),
    p99Ms: over(({ p99Ms }) => p99Ms),
    processorMs: over(({ processorMs }) => processorMs),
    collections: over(({ collections }) => collections),
    pauseMs: over(({ pauseMs }) => pauseMs),
    longestPauseMs: over(({ longestPauseMs }) => longestPauseMs),
  }
}

/**
 * Holds the variants with an arena against plain Buffers, as far as these were measured.
 * @param {Row[]} rows of one service
 * @returns {Bar[]}
 */
export function barsOf(rows) {
  /** @type {Map<string, Judged>} */
  const judged = new Map(
    rows
      .filter(({ measurements }) => measurements.length > 0)
      .map(({ name, measurements }) => [name, { name, measurements: measurements.map(roundOf) }]),
  )
  const plain = judged.get('buffers')
  if (plain === undefined) return []
  return JUDGED.flatMap(([name, divisor]) => {
    const row = judged.get(name)
    if (row === undefined) return []
    return [growthBar(row, plain, divisor), requestsBar(row, plain), p99Bar(row, plain)]
  })
}
