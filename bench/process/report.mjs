/** The result as text. Nothing here measures. */
import { table } from '../heap/report.mjs'
import { spread } from '../heap/statistics.mjs'
import { figuresOf } from './summary.mjs'

/** @import { Spread } from '../heap/statistics.mjs' */
/** @import { DelayFigures } from './delay.mjs' */
/** @import { Bar, Row } from './summary.mjs' */

const MIB = 2 ** 20

/**
 * @param {Spread} figure
 * @param {number} digits after the point
 * @param {number} unit what the values are divided by
 */
export function cell({ median, min, max, rounds }, digits, unit = 1) {
  const [middle, low, high] = [median, min, max].map(value => (value / unit).toFixed(digits))
  return rounds === 1 ? middle : `${middle} (${low}–${high})`
}

/**
 * @param {string} bodyName
 * @param {Row[]} rows
 * @param {Bar[]} bars
 */
export function renderBody(bodyName, rows, bars) {
  const head = [bodyName, 'start', 'peak growth', 'idle growth', 'requests/s', 'p50 ms', 'p99 ms']
  const measured = rows
    .filter(({ reason }) => reason === undefined)
    .map(({ name, measurements }) => {
      const figures = figuresOf(measurements)
      return [
        name,
        cell(figures.startBytes, 1, MIB),
        cell(figures.peakGrowthBytes, 1, MIB),
        cell(figures.idleGrowthBytes, 1, MIB),
        cell(figures.requestsPerSecond, 0),
        cell(figures.p50Ms, 1),
        cell(figures.p99Ms, 1),
      ]
    })
  return [table([head, ...measured]), ...notMeasured(rows), ...renderBars(bars)].join('\n')
}

/** @param {Row[]} rows */
function notMeasured(rows) {
  return rows.flatMap(({ name, reason }) =>
    reason === undefined ? [] : [`not measured: ${name}: ${reason}`],
  )
}

/** @param {Bar[]} bars */
export function renderBars(bars) {
  return bars.map(({ what, figures, holds }) => `${holds ? 'yes' : 'NO '}  ${what}: ${figures}`)
}

/**
 * @param {{ name: string, rounds: DelayFigures[] }[]} cases
 * @param {Bar[]} bars
 */
export function renderDelay(cases, bars) {
  const head = [
    '',
    'ticks',
    'p50 ms',
    'p99 ms',
    'max ms',
    'allocation max ms',
    'took ms',
    'given back MiB',
    'loop, with nothing to give back, ms',
  ]
  const rows = cases.flatMap(({ name, rounds }) => {
    /** @param {(one: DelayFigures) => number} value */
    const over = (value, digits = 2) => cell(spread(rounds.map(value)), digits)
    /** @param {'quiet' | 'reclaim'} part */
    const delays = part => [
      over(one => one[part].ticks, 0),
      over(one => one[part].p50Ms),
      over(one => one[part].p99Ms),
      over(one => one[part].maxMs),
      over(one => one[part].allocationMaxMs),
    ]
    return [
      [`${name}, nothing done`, ...delays('quiet'), '', '', ''],
      [
        `${name}, reclaim()`,
        ...delays('reclaim'),
        over(({ tookMs }) => tookMs, 0),
        over(({ beforeBytes, afterBytes }) => (beforeBytes - afterBytes) / MIB, 0),
        over(({ nothingMs }) => nothingMs),
      ],
    ]
  })
  return [table([head, ...rows]), ...renderBars(bars)].join('\n')
}
