/**
 * From samples to the result that is printed and written as JSON.
 *
 * 1. A ratio is ours over the best C peer's on the same recording. In nanoseconds lower is better and so is a ratio below
 *    1; in utilisation higher is better and so is a ratio above 1.
 * 2. A geometric mean is over recordings that the allocator completed, and says over how many.
 */
import { geometricMean, spread } from './statistics.mjs'

/** `result.traces[n]`: one recording, every contestant's figures on it, and ours against the best peer's. */
export function summarizeTrace(recording, samples, peerNames) {
  const { name, operationCount, allocationCount, resizeCount, freeCount, peakLiveBytes } = recording
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

function summarizeSamples({ speed, memory, failure }, peakLiveBytes) {
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

/** Our books lie outside the managed space; the C peers' are in what the kernel counts, so both figures are given. */
function summarizeBooks({ peakResidentBytes, metadataBytes, checks }, peakLiveBytes) {
  if (metadataBytes === undefined) return {}
  return {
    metadataBytes,
    metadataShare: metadataBytes / peakResidentBytes,
    utilisationWithMetadata: peakLiveBytes / (peakResidentBytes + metadataBytes),
    checks,
  }
}

function compareSpeed(results, samples, peerNames) {
  const timed = peerNames.filter(name => results[name]?.nsPerOperation && results[name].failure === undefined)
  if (timed.length === 0 || !results.offheap.nsPerOperation) return undefined
  const best = timed.reduce((a, b) => (medianNs(results, b) < medianNs(results, a) ? b : a))
  const perRound = samples.get('offheap').speed.map((ours, round) => {
    const theirs = samples.get(best).speed[round]
    return ours.nsPerOperation / theirs.nsPerOperation
  })
  return {
    bestPeer: best,
    ratio: medianNs(results, 'offheap') / medianNs(results, best),
    ratioByRound: spread(perRound.filter(Number.isFinite)),
  }
}

function medianNs(results, name) {
  return results[name].nsPerOperation.median
}

function compareUtilisation(results, peerNames) {
  const measured = peerNames.filter(name => results[name]?.utilisation && results[name].failure === undefined)
  if (measured.length === 0 || !results.offheap.utilisation) return undefined
  const of = name => results[name].utilisation.median
  const best = measured.reduce((a, b) => (of(b) > of(a) ? b : a))
  return {
    bestPeer: best,
    ratio: of('offheap') / of(best),
    ratioWithMetadata: results.offheap.utilisationWithMetadata / of(best),
  }
}

/** `result.geometricMeans`: by contestant, and of the ratios. */
export function summarizeMeans(traces, names) {
  const means = {}
  for (const name of names) {
    const results = traces.map(trace => trace.results[name])
    const completed = results.filter(result => result.failure === undefined)
    means[name] = {
      nsPerOperation: geometricMean(completed.map(result => result.nsPerOperation.median)),
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

/** For each number of live blocks, the median of every figure over the rounds. */
export function summarizeLatency(rounds) {
  return rounds.map(figures => {
    const median = pick => spread(figures.map(pick)).median
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

/** What went wrong that must not: of our heap, or of a C peer. What `@thi.ng/malloc` cannot do is a result. */
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
