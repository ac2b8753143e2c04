/** The result as text: aligned tables, each with a line that says what is in it. */
import { isLoadHigh } from './machine.mjs'

/** @import { LatencyResult, Means, Result, TraceResult } from './summary.mjs' */
/** @import { Outcome, Run } from './main.mjs' */

/**
 * How well ours uses memory, over the best peer: of one recording, or the mean of all, which has no best peer.
 * @typedef {{ bestPeer?: string, ratio: number | undefined, ratioWithMetadata: number | undefined }} Ratios
 */

/** @type {Record<string, string>} */
const TITLES = { 'thi.ng': '@thi.ng', 'bare-js': 'bare JS', 'bare-c': 'bare C' }
/** @type {('allocate' | 'free' | 'clock')[]} */
const OPERATIONS = ['allocate', 'free', 'clock']
const ABSENT = '–'

/**
 * @param {number | undefined} value
 * @param {number} digits after the point
 */
const figure = (value, digits) => (value === undefined ? ABSENT : value.toFixed(digits))
/** @param {number | undefined} value */
const nanoseconds = value => figure(value, value !== undefined && value >= 1000 ? 0 : 1)
/** @param {number | undefined} value from 0 to 1 */
const percent = value => (value === undefined ? ABSENT : `${(100 * value).toFixed(2)} %`)
/**
 * @param {number} count
 * @param {string} what in the singular
 */
const counted = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`

/**
 * Columns as wide as their longest cell, the first one to the left, the others to the right.
 * @param {string[][]} rows the cells of each
 */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => row[column].length)))
  /** @param {string[]} row */
  const line = row =>
    row.map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[0]))).join('  ')
  return rows.map(line).join('\n')
}

/**
 * What is printed before anything is measured.
 * @param {Run} run
 */
export function renderHeader({ machine, build, options, peers }) {
  const { cpu, cpuCount, memoryBytes, arch, kernel, libc, node, date, loadAverage } = machine
  const lines = [
    `offheap heap benchmark, ${date}`,
    `${counted(cpuCount, 'CPU')} ${cpu}, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB, ${arch}; Linux ${kernel}, glibc ${libc}; Node ${node}`,
    `load average ${loadAverage.map(load => load.toFixed(2)).join(' ')}; ${counted(options.rounds, 'round')}${options.isQuick ? ', quick: not for figures' : ''}; heap build ${build}`,
  ]
  if (isLoadHigh(machine)) {
    lines.push(
      'WARNING: the load average is high: something else was running. Trust the ratios more than the times',
    )
  }
  for (const { name, package: from, library } of peers) {
    if (library === undefined)
      lines.push(`MISSING: ${name} is not installed (Debian package ${from}); not measured`)
    else if (library) lines.push(`${name}: ${library}`)
  }
  return lines.join('\n')
}

/**
 * Everything that was measured.
 * @param {Run & Outcome} result
 */
export function renderResult(result) {
  const names = Object.keys(result.geometricMeans.results)
  const sections = [renderSpeed(result, names), renderSpread(result, names), renderUtilisation(result, names)]
  sections.push(renderVerification(result))
  const failures = renderFailures(result.traces)
  if (failures) sections.push(failures)
  if (result.latency) sections.push(renderLatency(result.latency))
  return sections.join('\n\n')
}

/**
 * @param {Outcome} result
 * @param {string[]} names the contestants
 */
function renderSpeed({ traces, geometricMeans }, names) {
  const head = ['ns/operation', ...names.map(titleOf), 'ours / best', 'by round', 'best']
  const rows = traces.map(({ name, results, speed }) => [
    name,
    ...names.map(entry =>
      results[entry].failure ? 'failed' : nanoseconds(results[entry].nsPerOperation?.median),
    ),
    figure(speed?.ratio, 2),
    speed ? `${figure(speed.ratioByRound.min, 2)}–${figure(speed.ratioByRound.max, 2)}` : ABSENT,
    speed?.bestPeer ?? ABSENT,
  ])
  const means = names.map(entry => meanCell(geometricMeans.results[entry], traces.length))
  rows.push(['geometric mean', ...means, figure(geometricMeans.speedRatio, 2), '', ''])
  return `Warm passes, median of the rounds; a ratio below 1 is faster than the best C peer. The bare loops make no
allocator calls: what the replay itself costs, contained in every figure of its side.\n\n${table([head, ...rows])}`
}

/**
 * A mean over some of the recordings only is marked with their number.
 * @param {Means['results'][string]} mean
 * @param {number} traceCount
 */
function meanCell({ nsPerOperation, traces }, traceCount) {
  const suffix = traces < traceCount && traces > 0 ? ` (${traces})` : ''
  return nanoseconds(nsPerOperation) + suffix
}

/**
 * @param {Outcome} result
 * @param {string[]} names the contestants
 */
function renderSpread({ traces }, names) {
  /** @param {Result} result */
  const cell = result =>
    result.nsPerOperation && !result.failure
      ? `${nanoseconds(result.nsPerOperation.min)}–${nanoseconds(result.nsPerOperation.max)}`
      : ABSENT
  const rows = traces.map(({ name, results }) => [name, ...names.map(entry => cell(results[entry]))])
  return `The same, lowest and highest round\n\n${table([['ns/operation', ...names.map(titleOf)], ...rows])}`
}

/**
 * @param {Outcome} result
 * @param {string[]} allNames the contestants
 */
function renderUtilisation({ traces, geometricMeans }, allNames) {
  const names = allNames.filter(name => !name.startsWith('bare'))
  const head = [
    'utilisation',
    ...names.map(titleOf),
    'ours / best',
    'best',
    'books',
    'with books',
    'ours / best',
  ]
  /**
   * @param {string} name
   * @param {string[]} cells one for each contestant
   * @param {Ratios | undefined} comparison
   * @param {{ metadataShare?: number | undefined, utilisationWithMetadata?: number }} ours
   * @returns {string[]}
   */
  const row = (name, cells, comparison, ours) => [
    name,
    ...cells,
    figure(comparison?.ratio, 3),
    comparison?.bestPeer ?? '',
    percent(ours?.metadataShare),
    figure(ours?.utilisationWithMetadata, 3),
    figure(comparison?.ratioWithMetadata, 3),
  ]
  const rows = traces.map(({ name, results, utilisation }) => {
    const cells = names.map(entry => figure(results[entry].utilisation?.median, 3))
    return row(name, cells, utilisation, results.offheap)
  })
  const { results, utilisationRatio, utilisationRatioWithMetadata, metadataShare } = geometricMeans
  const ratios = { ratio: utilisationRatio, ratioWithMetadata: utilisationRatioWithMetadata }
  const means = names.map(name => figure(results[name].utilisation, 3))
  rows.push(row('geometric mean', means, ratios, { metadataShare }))
  return `Peak live bytes over peak bytes held; a ratio above 1 wastes less than the best C peer. C: growth of resident memory,
the allocator's books included. offheap: peak committed bytes; its books lie outside, as a share of that, and
counted in. @thi.ng: up to the highest byte handed out.\n\n${table([head, ...rows])}`
}

/** @param {Run & Outcome} result */
function renderVerification({ traces, options }) {
  const whole = traces.filter(({ results }) => results.offheap.endsWhole).length
  const checks = traces.reduce((sum, { results }) => sum + (results.offheap.checks ?? 0), 0)
  const how = options.hasCheck
    ? 'at 100 points of each recording and at its end'
    : 'at the end of each recording'
  return `After everything was freed, the whole capacity was one block again: ${whole} of ${counted(traces.length, 'recording')}.
The books held (${counted(checks, 'walk')}, ${how}).`
}

/** @param {TraceResult[]} traces */
function renderFailures(traces) {
  const lines = traces.flatMap(({ name, results }) =>
    Object.entries(results)
      .filter(([, result]) => result.failure !== undefined)
      .map(([contestant, result]) => `  ${name}: ${titleOf(contestant)}: ${result.failure}`),
  )
  return lines.length > 0 ? `Not completed:\n${lines.join('\n')}` : ''
}

/** @param {LatencyResult} latency */
function renderLatency(latency) {
  const head = ['live blocks', 'operation', 'p50', 'p99', 'p99.9', 'mean, no clock']
  const rows = latency.flatMap(entry =>
    OPERATIONS.map(kind => [
      entry.liveBlocks.toLocaleString('en'),
      kind === 'clock' ? '(clock alone)' : kind,
      ...[entry[kind].p50Ns, entry[kind].p99Ns, entry[kind].p999Ns].map(nanoseconds),
      kind === 'clock' ? '' : nanoseconds(entry.meanNs),
    ]),
  )
  return `Single operations of offheap in ns, sizes from 16 B to 64 KiB, a random block freed and one allocated in turn. Each has two
readings of performance.now() around it; what they show with nothing between them is "clock alone", contained in the
figures above it. The mean is of both operations, without a clock between them.\n\n${table([head, ...rows])}`
}

/** @param {string} name of a contestant */
function titleOf(name) {
  return TITLES[name] ?? name
}
