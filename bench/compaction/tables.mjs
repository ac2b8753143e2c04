/** The tables of `bench:compaction`, in Markdown. */
import { median } from './measures/measuring.mjs'

/** @import { Results, Row } from './main.mjs' */
/** @import { Access } from './measures/access.mjs' */
/** @import { Break } from './measures/break.mjs' */
/** @import { Cache } from './measures/cache.mjs' */
/** @import { LowPoint } from './measures/recording.mjs' */
/** @import { Sparse } from './measures/sparse.mjs' */

/**
 * What was asked for on the command line.
 * @typedef {{ rounds: number, mib: number, count: number }} Asked
 */

const MIB = 2 ** 20

/**
 * @param {string} title
 * @param {string[]} head
 * @param {(string | number)[][]} rows
 */
function table(title, head, rows) {
  const lines = [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`)
  return `${title}\n\n${lines.join('\n')}`
}

/**
 * The median of a figure, and the lowest and the highest round if there are more.
 * @param {number[]} values
 * @param {number} digits after the point
 */
function spread(values, digits) {
  const middle = median(values).toFixed(digits)
  if (values.length === 1) return middle
  return `${middle} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`
}

/** @param {number} bytes */
const mib = bytes => (bytes / MIB).toFixed(1)

/** @param {Row<Sparse>[]} rows @param {Asked} asked */
function sparse(rows, asked) {
  return table(
    `Records kept of ${asked.mib} MiB, median (lowest–highest) of ${asked.rounds} rounds`,
    [
      'kept',
      'live, MiB',
      'resident / live before',
      'after',
      'after, `trim()`',
      'moved / live',
      'CPU a record, in alloc + free',
      'CPU a page freed, in first touches',
      'longest slice, CPU ms',
    ],
    rows.map(({ name, rounds }) => {
      /** @param {(round: Sparse) => number} figure @param {number} digits */
      const exact = (figure, digits) => median(rounds.map(figure)).toFixed(digits)
      return [
        name,
        mib(rounds[0].liveBytes),
        exact(round => round.before, 2),
        `**${exact(round => round.after, 3)}**`,
        exact(round => round.afterTrim, 3),
        exact(round => round.moved, 2),
        spread(
          rounds.map(round => round.overAllocFree),
          1,
        ),
        spread(
          rounds.map(round => round.touchesOfPage),
          1,
        ),
        spread(
          rounds.map(round => round.longestSliceMs),
          1,
        ),
      ]
    }),
  )
}

/** @param {Row<Sparse>[]} rows @param {Asked} asked */
function stays(rows, asked) {
  return table(
    `What stays; ${asked.mib} MiB filled`,
    ['kept', 'live, MiB', 'resident / live before', 'after', 'after, `trim()`', 'moved / live'],
    rows.map(({ name, rounds: [round] }) => [
      name,
      mib(round.liveBytes),
      round.before.toFixed(2),
      round.after.toFixed(2),
      round.afterTrim.toFixed(2),
      round.moved.toFixed(2),
    ]),
  )
}

/** @param {Row<LowPoint[]>[]} rows */
function recordings(rows) {
  return table(
    'Recordings behind their peak: where least lives, and where most is wasted',
    [
      'recording',
      'live, MiB',
      'of its peak',
      'used / live before',
      'after',
      'after, `trim()`',
      'moved / live (`trim()`)',
    ],
    rows.flatMap(({ name, rounds: [points] }) =>
      points.length === 0
        ? [[name, 'never comes down', '', '', '', '', '']]
        : points.map(point => [
            `${name}, ${point.at === 'low' ? 'least' : 'most waste'}`,
            mib(point.liveBytes),
            point.ofPeak.toFixed(2),
            point.before.toFixed(2),
            `**${point.after.toFixed(2)}**`,
            point.afterTrim.toFixed(2),
            `${point.moved.toFixed(2)} (${point.movedByTrim.toFixed(2)})`,
          ]),
    ),
  )
}

/** @param {Row<Break>[]} rows @param {Asked} asked */
function breaks(rows, asked) {
  return table(
    `The program break, in MiB above where it was found; ${asked.mib} MiB filled`,
    ['kept', 'live', 'full', 'free pages given back', 'compacted', 'compacted / live'],
    rows.map(({ name, rounds: [{ liveBytes, fullBytes, beforeBytes, afterBytes }] }) => [
      name,
      (liveBytes / MIB).toFixed(2),
      mib(fullBytes),
      mib(beforeBytes),
      `**${(afterBytes / MIB).toFixed(2)}**`,
      (afterBytes / liveBytes).toFixed(2),
    ]),
  )
}

/** @param {Row<Cache>[]} rows @param {Asked} asked */
function cache(rows, asked) {
  const store = rows[0].rounds
  return table(
    `A cache of ${asked.count} values, ${mib(store[0].payloadBytes)} MiB; over the store, median (lowest–highest) of ${asked.rounds} rounds`,
    ['values in', '`Rss`, MiB', '`Rss`', 'time of garbage collections', 'CPU an operation'],
    rows.map(({ name, rounds }) => {
      /** @param {(round: Cache) => number} figure */
      const over = figure =>
        spread(
          rounds.map((round, index) => figure(round) / figure(store[index])),
          2,
        )
      return [
        name,
        mib(median(rounds.map(round => round.rssBytes))),
        over(round => round.rssBytes),
        over(round => round.gcMs),
        over(round => round.cpuUs),
      ]
    }),
  )
}

/** @param {Row<Access[]>[]} rows */
function access([{ rounds }]) {
  return table(
    'One use of a record of 256 B, in CPU time over that of the same use of a Buffer of an arena',
    ['', 'store / arena'],
    rounds[0].map(({ name, ratio }) => [name, ratio.toFixed(2)]),
  )
}

/** @type {Record<keyof Results, (rows: Row<any>[], asked: Asked) => string>} */
export const PRINTERS = { sparse, stays, recordings, break: breaks, cache, access }
