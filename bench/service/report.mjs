/** The result as text and as a picture. Nothing here measures. */
import { cell, renderBars } from '../process/report.mjs'
import { lineCharts } from '../release/chart.mjs'
import { figuresOf } from './summary.mjs'

/** @import { Bar } from '../process/summary.mjs' */
/** @import { Row } from './summary.mjs' */

const MIB = 2 ** 20
const HEAD = [
  'start, MiB',
  'idle, MiB',
  'idle growth, MiB',
  'peak growth, MiB',
  'requests/s',
  'p50, ms',
  'p99, ms',
  'CPU a request, ms',
  'collections',
  'pauses, ms',
  'longest, ms',
]

/** @param {string[]} cells */
const line = cells => `| ${cells.join(' | ')} |`

/**
 * A table in Markdown, with a line for each variant; then its bars.
 * @param {string} serviceName
 * @param {Row[]} rows
 * @param {Bar[]} bars
 */
export function renderService(serviceName, rows, bars) {
  const measured = rows.filter(({ measurements }) => measurements.length > 0)
  const lines = measured.map(({ name, measurements }) => {
    const figures = figuresOf(measurements)
    return line([
      `\`${name}\``,
      cell(figures.startBytes, 0, MIB),
      cell(figures.idleBytes, 0, MIB),
      cell(figures.idleGrowthBytes, 1, MIB),
      cell(figures.peakGrowthBytes, 1, MIB),
      cell(figures.requestsPerSecond, 0),
      cell(figures.p50Ms, 1),
      cell(figures.p99Ms, 1),
      cell(figures.processorMs, 3),
      cell(figures.collections, 0),
      cell(figures.pauseMs, 0),
      cell(figures.longestPauseMs, 0),
    ])
  })
  const reasons = rows.flatMap(({ name, reason }) =>
    reason === undefined ? [] : [`not measured: ${name}: ${reason}`],
  )
  return [
    line([serviceName, ...HEAD]),
    `|${' --- |'.repeat(HEAD.length + 1)}`,
    ...lines,
    '',
    ...reasons,
    ...renderBars(bars),
  ].join('\n')
}

/**
 * Resident memory over time, in the first round: a chart for each service.
 * @param {{ service: string, rows: Row[] }[]} parts
 * @returns {Promise<string>} an SVG
 */
export function plotServices(parts) {
  return lineCharts(
    parts.map(({ service, rows }) => ({
      title: `${service}: resident memory, with a load in waves`,
      x: 's',
      y: 'MiB',
      lines: rows.flatMap(({ name, measurements: [first] }) =>
        first === undefined ? [] : [{ name, points: first.samples.map(([s, bytes]) => [s, bytes / MIB]) }],
      ),
      height: 200,
    })),
  )
}
