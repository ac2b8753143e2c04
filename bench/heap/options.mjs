/** The command line of the heap benchmark. */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const TRACES = fileURLToPath(new URL('../traces', import.meta.url))

export const USAGE = `usage: npm run bench:heap -- [options] [TRACE...]

Replays recordings on offheap/heap, on glibc, jemalloc, mimalloc and tcmalloc, and on @thi.ng/malloc, in one run.

  TRACE, --trace NAME  only this recording: a name in the directory, or a path; any number of them
  --traces DIR         the directory of recordings (default: bench/traces)
  --rounds N           measure everything N times, interleaved (default 5)
  --quick              one round of short passes: to see that it works, not for figures
  --check              walk the heap's books at 100 points of every recording as well
  --latency            also single operations beside ten thousand and a million live blocks
  --json FILE          also write the figures as JSON; "-" writes them to stdout and the table to stderr
  --libraries DIR      look for the peers' libraries in DIR only, not where the system has them
  --help               this text`

/** A fault in what the user gave us; shown without a stack. */
export class UsageError extends Error {}

/**
 * How long to measure.
 * @typedef {object} Effort
 * @property {number} rounds
 * @property {number} warmUpMs of one process
 * @property {number} minPasses of one process
 * @property {number} minMs of one process
 * @property {number} maxMs when an allocator so slow that a pass takes seconds may stop short of `minPasses`
 * @property {number} timeLimitMs when a process is given up
 * @property {number} latencySamples operations of each kind
 */

/** @type {Effort} */
const THOROUGH = {
  rounds: 5,
  warmUpMs: 1000,
  minPasses: 5,
  minMs: 200,
  maxMs: 4000,
  timeLimitMs: 30_000,
  latencySamples: 400_000,
}
/** @type {Effort} */
const QUICK = {
  rounds: 1,
  warmUpMs: 50,
  minPasses: 5,
  minMs: 20,
  maxMs: 1000,
  timeLimitMs: 5000,
  latencySamples: 40_000,
}

/**
 * `directory`: of the recordings; `names`: those to replay, all if there are none. `json`: a path, or `-` for stdout.
 * `libraries`: the only directory to look for the peers in.
 * @typedef {Effort & {
 *   isQuick: boolean, hasCheck: boolean, hasLatency: boolean, isHelp: boolean,
 *   directory: string, names: string[], json: string | undefined, libraries: string | undefined
 * }} Options
 */

/**
 * Throws `UsageError`.
 * @param {string[]} args
 * @returns {Options}
 */
export function readOptions(args) {
  const { values, positionals } = parse(args)
  const preset = values.quick ? QUICK : THOROUGH
  return {
    ...preset,
    rounds: values.rounds === undefined ? preset.rounds : roundsOf(values.rounds),
    isQuick: values.quick === true,
    hasCheck: values.check === true,
    hasLatency: values.latency === true,
    isHelp: values.help === true,
    directory: values.traces ?? TRACES,
    names: [...(values.trace ?? []), ...positionals],
    json: values.json,
    libraries: values.libraries,
  }
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        trace: { type: 'string', multiple: true },
        traces: { type: 'string' },
        rounds: { type: 'string' },
        quick: { type: 'boolean' },
        check: { type: 'boolean' },
        latency: { type: 'boolean' },
        json: { type: 'string' },
        libraries: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
  }
}

/** @param {string} text */
function roundsOf(text) {
  const rounds = Number(text)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) {
    throw new UsageError(`--rounds must be a whole number from 1 to 1000; got "${text}"`)
  }
  return rounds
}
