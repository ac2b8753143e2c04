/**
 * From samples to the result that is printed and written as JSON.
 *
 * 1. A ratio is ours over the best C peer's on the same recording. In nanoseconds lower is better and so is a ratio below
 *    1; in utilisation higher is better and so is a ratio above 1.
 * 2. A geometric mean is over recordings that the allocator completed, and says over how many.
 */
import { geometricMean, spread } from './statistics.mjs'

/** @import { LatencyFigures, Percentiles } from './latency.mjs' */
/** @import { Spread } from './statistics.mjs' */
/** @import { Recording } from './traces.mjs' */

/**
 * What one process measured in `speed` mode.
 * @typedef {object} SpeedFigures
 * @property {number} nsPerOperation the median of its passes
 * @property {number} passes
 * @property {boolean} [endsWhole] ours only: whether the whole capacity was one block again once everything was freed
 */

/**
 * What one process measured in `memory` mode.
 * @typedef {object} MemoryFigures
 * @property {number} peakResidentBytes the most that the allocator held
 * @property {number} [metadataBytes] ours only: its books
 * @property {boolean} [endsWhole] ours only, as above
 * @property {number} [checks] ours only: how often the books were walked
 */

/**
 * Figures of one contestant on one recording, in the order of the rounds. `failure`: why it did not go on.
 * @typedef {{ speed: SpeedFigures[], memory: MemoryFigures[], failure?: string }} Samples
 */

/**
 * Our books. `metadataShare`: over the most that the heap held.
 * @typedef {object} Books
 * @property {number} [metadataBytes]
 * @property {number} [metadataShare]
 * @property {number} [utilisationWithMetadata] with the books counted as held
 * @property {number | undefined} [checks] how often they were walked
 */

/**
 * One contestant on one recording. A figure that was not measured is left out.
 * @typedef {object} Measured
 * @property {string} [failure] why it did not complete the recording
 * @property {Spread} [nsPerOperation]
 * @property {number[]} [passes] of each round
 * @property {Spread} [utilisation] peak live bytes over peak bytes held
 * @property {number} [peakResidentBytes]
 * @property {boolean} [endsWhole] whether it was so in all rounds
 */

/** @typedef {Measured & Books} Result */

/**
 * Ours over the best peer's. `ratioByRound`: taken in each round.
 * @typedef {{ bestPeer: string, ratio: number, ratioByRound: Spread }} SpeedComparison
 */

/**
 * Ours over the best peer's. `ratioWithMetadata`: with our books counted as held.
 * @typedef {{ bestPeer: string, ratio: number, ratioWithMetadata: number }} UtilisationComparison
 */

/** @typedef {ReturnType<typeof summarizeTrace>} TraceResult */
/** @typedef {ReturnType<typeof summarizeMeans>} Means */
/** @typedef {ReturnType<typeof summarizeLatency>} LatencyResult */

/**
 * `result.traces[n]`: one recording, every contestant's figures on it, and ours against the best peer's.
 * @param {Recording} recording
 * @param {Map<string, Samples>} samples by the contestant's name
 * @param {string[]} peerNames the C peers
 */
export function summarizeTrace(recording, samples, peerNames) {
  const { name, operationCount, allocationCount, resizeCount, freeCount, peakLiveBytes } = recording
  /** @type {Record<string, Result>} */
  const results = Object.fromEntries(
    [...samples].map(([contestant, kept]) => [contestant, summarizeSamples(kept, peakLiveBytes)]),
  )
  return {
    name,
    operationCount,
    allocationCount,
    resizeCount,
    freeCount,
    peakLiveBytes,
    results,
    speed: compareSpeed(results, samples, peerNames),
    utilisation: compareUtilisation(results, peerNames),
  }
}

/**
 * @param {Samples} samples
 * @param {number} peakLiveBytes
 */
function summarizeSamples({ speed, memory, failure }, peakLiveBytes) {
  /** @type {Result} */
  const result = {}
  if (failure !== undefined) result.failure = failure
  if (speed.length > 0) {
    result.nsPerOperation = spread(speed.map(figures => figures.nsPerOperation))
    result.passes = speed.map(figures => figures.passes)
  }
  if (memory.length > 0) {
    const peaks = memory.map(figures => figures.peakResidentBytes)
    result.utilisation = spread(peaks.map(bytes => peakLiveBytes / bytes))
    result.peakResidentBytes = spread(peaks).median
    Object.assign(result, summarizeBooks(memory[0], peakLiveBytes))
  }
  const wholes = [...speed, ...memory].filter(figures => figures.endsWhole !== undefined)
  if (wholes.length > 0) result.endsWhole = wholes.every(figures => figures.endsWhole)
  return result
}

/**
 * Our books lie outside the managed space; the C peers' are in what the kernel counts, so both figures are given.
 * @param {MemoryFigures} figures
 * @param {number} peakLiveBytes
 * @returns {Books}
 */
function summarizeBooks({ peakResidentBytes, metadataBytes, checks }, peakLiveBytes) {
  if (metadataBytes === undefined) return {}
  return {
    metadataBytes,
    metadataShare: metadataBytes / peakResidentBytes,
    utilisationWithMetadata: peakLiveBytes / (peakResidentBytes + metadataBytes),
    checks,
  }
}

/**
 * The median of a figure; NaN where it was not measured.
 * @param {Spread | undefined} spread
 */
function medianOf(spread) {
  return spread?.median ?? Number.NaN
}

/**
 * @param {Record<string, Result>} results
 * @param {Map<string, Samples>} samples
 * @param {string[]} peerNames
 * @returns {SpeedComparison | undefined} undefined if there is nothing to compare
 */
function compareSpeed(results, samples, peerNames) {
  const timed = peerNames.filter(name => results[name]?.nsPerOperation && results[name].failure === undefined)
  if (timed.length === 0 || !results.offheap.nsPerOperation) return undefined
  /** @param {string} name */
  const of = name => medianOf(results[name].nsPerOperation)
  /** @param {string} name */
  const roundsOf = name => samples.get(name)?.speed ?? []
  const best = timed.reduce((a, b) => (of(b) < of(a) ? b : a))
  const theirs = roundsOf(best)
  const perRound = roundsOf('offheap').map(
    (ours, round) => ours.nsPerOperation / theirs[round].nsPerOperation,
  )
  return {
    bestPeer: best,
    ratio: of('offheap') / of(best),
    ratioByRound: spread(perRound.filter(Number.isFinite)),
  }
}

/**
 * @param {Record<string, Result>} results
 * @param {string[]} peerNames
 * @returns {UtilisationComparison | undefined} undefined if there is nothing to compare
 */
function compareUtilisation(results, peerNames) {
  const measured = peerNames.filter(name => results[name]?.utilisation && results[name].failure === undefined)
  if (measured.length === 0 || !results.offheap.utilisation) return undefined
  /** @param {string} name */
  const of = name => medianOf(results[name].utilisation)
  const best = measured.reduce((a, b) => (of(b) > of(a) ? b : a))
  return {
    bestPeer: best,
    ratio: of('offheap') / of(best),
    ratioWithMetadata: (results.offheap.utilisationWithMetadata ?? Number.NaN) / of(best),
  }
}

/**
 * `result.geometricMeans`: by contestant, and of the ratios.
 * @param {TraceResult[]} traces
 * @param {string[]} names the contestants
 */
export function summarizeMeans(traces, names) {
  /** @type {Record<string, { nsPerOperation: number | undefined, utilisation: number | undefined, traces: number }>} */
  const means = {}
  for (const name of names) {
    const results = traces.map(trace => trace.results[name])
    const completed = results.filter(result => result.failure === undefined)
    means[name] = {
      nsPerOperation: geometricMean(completed.map(result => medianOf(result.nsPerOperation))),
      utilisation: geometricMean(completed.flatMap(result => result.utilisation?.median ?? [])),
      traces: completed.length,
    }
  }
  return {
    results: means,
    speedRatio: geometricMean(traces.flatMap(trace => trace.speed?.ratio ?? [])),
    utilisationRatio: geometricMean(traces.flatMap(trace => trace.utilisation?.ratio ?? [])),
    utilisationRatioWithMetadata: geometricMean(
      traces.flatMap(trace => trace.utilisation?.ratioWithMetadata ?? []),
    ),
    metadataShare: geometricMean(traces.flatMap(trace => trace.results.offheap.metadataShare ?? [])),
  }
}

/**
 * For each number of live blocks, the median of every figure over the rounds.
 * @param {LatencyFigures[][]} rounds for each number of live blocks, the figures of each round
 */
export function summarizeLatency(rounds) {
  return rounds.map(figures => {
    /** @param {(one: LatencyFigures) => number} pick */
    const median = pick => spread(figures.map(pick)).median
    /**
     * @param {'allocate' | 'free' | 'clock'} kind
     * @returns {Percentiles}
     */
    const percentiles = kind => ({
      p50Ns: median(one => one[kind].p50Ns),
      p99Ns: median(one => one[kind].p99Ns),
      p999Ns: median(one => one[kind].p999Ns),
    })
    return {
      liveBlocks: figures[0].liveBlocks,
      samples: figures[0].samples,
      rounds: figures.length,
      meanNs: median(one => one.meanNs),
      allocate: percentiles('allocate'),
      free: percentiles('free'),
      clock: percentiles('clock'),
    }
  })
}

/**
 * What went wrong that must not: of our heap, or of a C peer. What `@thi.ng/malloc` cannot do is a result.
 * @param {TraceResult[]} traces
 * @returns {string[]}
 */
export function findFaults(traces) {
  return traces.flatMap(({ name, results }) => [
    ...Object.entries(results)
      .filter(([contestant, result]) => result.failure !== undefined && contestant !== 'thi.ng')
      .map(([contestant, result]) => `${name}: ${contestant}: ${result.failure}`),
    ...(results.offheap.endsWhole === false
      ? [`${name}: after everything was freed, the whole capacity could not be allocated as one block`]
      : []),
  ])
}
