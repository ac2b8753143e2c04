/**
 * `npm run bench:heap`: our heap, four C allocators and `@thi.ng/malloc` on the same recordings in one run.
 * Ends with status 1 where our heap or a C peer did not complete a recording or our heap broke a promise.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { InputError } from '#compiled/replay/errors.js'
import { fingerprintBuild } from './build.mjs'
import { describeMachine } from './machine.mjs'
import { readOptions, USAGE, UsageError } from './options.mjs'
import { findPeers } from './peers.mjs'
import { buildReplayer } from './replayer.mjs'
import { renderHeader, renderResult } from './report.mjs'
import { contestants, runLatency, runRounds } from './runner.mjs'
import { findFaults, summarizeLatency, summarizeMeans, summarizeTrace } from './summary.mjs'
import { findTraces, prepareTrace } from './traces.mjs'

/** @import { Machine } from './machine.mjs' */
/** @import { Options } from './options.mjs' */
/** @import { Peer } from './peers.mjs' */
/** @import { LatencyResult, Means, TraceResult } from './summary.mjs' */

/**
 * What is known before anything is measured: what the header shows.
 * @typedef {{ machine: Machine, build: string, options: Options, peers: Peer[] }} Run
 */

/**
 * What `--json` writes beside that. `latency` is there with `--latency`.
 * @typedef {object} Outcome
 * @property {number[]} loadAverageAtEnd
 * @property {string[]} missingPeers
 * @property {TraceResult[]} traces
 * @property {Means} geometricMeans
 * @property {LatencyResult} [latency]
 * @property {string[]} faults why the command fails; none if all is well
 */

const REBUILT = 'dist was rebuilt during the run: the figures of offheap are of two builds'

/**
 * Everything measured, as `--json` writes it.
 * @param {Run} run
 * @param {string} scratch a directory for the recordings
 * @returns {Promise<Run & Outcome>}
 */
async function benchmark(run, scratch) {
  const { options, peers } = run
  const paths = findTraces(options.directory, options.names)
  const recordings = []
  for (const [index, path] of paths.entries()) recordings.push(await prepareTrace(path, scratch, index))
  const entries = contestants(peers)
  const samples = await runRounds(recordings, entries, await buildReplayer(), options, showProgress)
  const latency = options.hasLatency ? summarizeLatency(await runLatency(options, showProgress)) : undefined
  showProgress('')
  const peerNames = entries.filter(({ kind }) => kind === 'c').map(({ name }) => name)
  const traces = recordings.map((recording, index) => summarizeTrace(recording, samples[index], peerNames))
  const names = entries.map(({ name }) => name)
  return {
    ...run,
    loadAverageAtEnd: loadavg(),
    missingPeers: peers.filter(peer => peer.library === undefined).map(peer => peer.name),
    traces,
    geometricMeans: summarizeMeans(traces, names),
    ...(latency && { latency }),
    faults: [...findFaults(traces), ...(fingerprintBuild() === run.build ? [] : [REBUILT])],
  }
}

/**
 * One line that overwrites itself, on a terminal only.
 * @param {string} text
 */
function showProgress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

async function main() {
  const options = readOptions(process.argv.slice(2))
  if (options.isHelp) return console.log(USAGE)
  // JSON on stdout must be all there is.
  const print = options.json === '-' ? console.error : console.log
  const run = {
    machine: describeMachine(),
    build: fingerprintBuild(),
    options,
    peers: findPeers(options.libraries),
  }
  print(renderHeader(run))
  const scratch = mkdtempSync(join(tmpdir(), 'offheap-bench-'))
  try {
    const result = await benchmark(run, scratch)
    print(`\n${renderResult(result)}`)
    for (const fault of result.faults) console.error(`FAULT: ${fault}`)
    if (result.faults.length > 0) process.exitCode = 1
    const json = `${JSON.stringify(result, null, 2)}\n`
    if (options.json === '-') process.stdout.write(json)
    else if (options.json !== undefined) writeFileSync(options.json, json)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

try {
  await main()
} catch (error) {
  const isOurs = error instanceof UsageError || error instanceof InputError
  if (isOurs) console.error(error.message)
  else console.error(error instanceof Error ? (error.stack ?? error) : error)
  process.exitCode = isOurs ? 2 : 1
}
