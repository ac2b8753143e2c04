/**
 * Runs every (recording, allocator) in a process of its own, one at a time, interleaved: a round measures each allocator
 * once on each recording, so that whatever else the machine does in that time meets all of them alike.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { processError, replayPeer } from './replayer.mjs'

/** @import { LatencyTask, ReplayTask } from './child.mjs' */
/** @import { LatencyFigures } from './latency.mjs' */
/** @import { Options } from './options.mjs' */
/** @import { Peer } from './peers.mjs' */
/** @import { MemoryFigures, Samples, SpeedFigures } from './summary.mjs' */
/** @import { Recording } from './traces.mjs' */

/**
 * Ours and `@thi.ng/malloc` in JavaScript, the peers in C, and the bare loop of either side.
 * @typedef {{ name: 'offheap' | 'thi.ng', kind: 'js' } | { name: string, kind: 'c', peer: Peer }
 *   | { name: string, kind: 'bare-js' | 'bare-c' }} Contestant
 */

/**
 * Why there are no figures.
 * @typedef {{ failure: string }} Failed
 */

/**
 * Is called with a line that says what is done next.
 * @typedef {(text: string) => void} OnProgress
 */

const run = promisify(execFile)

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
// What is resident hardly differs from round to round: at most this many rounds read it.
const MEMORY_ROUNDS = 3
// Starting Node, loading the recording and warming up are not part of what a time limit is for.
const START_MS = 10_000

/**
 * The order of a round. The bare loops are no allocators: what the replay itself costs.
 * @param {Peer[]} peers
 * @returns {Contestant[]}
 */
export function contestants(peers) {
  return [
    { name: 'offheap', kind: 'js' },
    ...peers.filter(peer => peer.library !== undefined).map(contestantOf),
    { name: 'thi.ng', kind: 'js' },
    { name: 'bare-js', kind: 'bare-js' },
    { name: 'bare-c', kind: 'bare-c' },
  ]
}

/**
 * @param {Peer} peer
 * @returns {Contestant}
 */
function contestantOf(peer) {
  return { name: peer.name, kind: 'c', peer }
}

/**
 * Runs a task for `child.mjs`. Returns what it prints.
 * @template Figures what it prints for a task of this mode
 * @param {ReplayTask | LatencyTask} task
 * @returns {Promise<Figures | Failed>}
 */
async function runChild(task) {
  const { timeLimitMs, warmUpMs, maxMs } = task.options
  const timeout = START_MS + 2 * timeLimitMs + warmUpMs + maxMs
  try {
    const { stdout } = await run(process.execPath, [CHILD, JSON.stringify(task)], {
      timeout,
      killSignal: 'SIGKILL',
    })
    return JSON.parse(stdout)
  } catch (error) {
    return failed(error, timeout)
  }
}

/**
 * @param {unknown} error
 * @param {number} limitMs after which the process was killed
 * @returns {Failed}
 */
function failed(error, limitMs) {
  const { killed, stderr, message } = processError(error)
  return { failure: killed ? `over ${limitMs / 1000} s` : (stderr || message).trim() }
}

/**
 * @param {Contestant} contestant
 * @param {'speed' | 'memory'} mode
 * @param {Recording} recording
 * @param {string} replayer the path of the C replayer
 * @param {Options} options
 * @returns {Promise<SpeedFigures | MemoryFigures | Failed>}
 */
async function measure(contestant, mode, recording, replayer, options) {
  if (contestant.kind === 'js' || contestant.kind === 'bare-js') {
    const allocator = contestant.kind === 'js' ? contestant.name : 'bare'
    return runChild({ mode, allocator, columnsPath: recording.columnsPath, options })
  }
  const isBare = contestant.kind === 'bare-c'
  const peer = contestant.kind === 'c' ? contestant.peer : { name: contestant.name, library: '' }
  try {
    return await replayPeer(replayer, peer, isBare ? 'bare' : mode, recording.textPath, options)
  } catch (error) {
    return failed(error, options.timeLimitMs)
  }
}

/**
 * What one round measures of a contestant.
 * @param {Contestant} contestant
 * @param {number} round from 0
 * @returns {('speed' | 'memory')[]}
 */
function modesOf({ kind }, round) {
  return kind.startsWith('bare') || round >= MEMORY_ROUNDS ? ['speed'] : ['speed', 'memory']
}

/**
 * @param {Recording[]} recordings
 * @param {Contestant[]} entries
 * @param {string} replayer the path of the C replayer
 * @param {Options} options
 * @param {OnProgress} onProgress
 * @returns {Promise<Map<string, Samples>[]>} for each recording, by the contestant's name
 */
export async function runRounds(recordings, entries, replayer, options, onProgress) {
  const samples = recordings.map(() => new Map(entries.map(({ name }) => [name, noSamples()])))
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, recording] of recordings.entries()) {
      onProgress(`round ${round + 1} of ${options.rounds}: ${recording.name}`)
      for (const contestant of entries) {
        const kept = samples[index].get(contestant.name) ?? noSamples()
        for (const mode of modesOf(contestant, round)) {
          // What failed once is not tried again: the failure is the result.
          if (kept.failure !== undefined) break
          const figures = await measure(contestant, mode, recording, replayer, options)
          keep(kept, figures)
        }
      }
    }
  }
  return samples
}

/** @returns {Samples} */
function noSamples() {
  return { speed: [], memory: [] }
}

/**
 * Adds what one process measured to the samples.
 * @param {Samples} samples
 * @param {SpeedFigures | MemoryFigures | Failed} figures
 */
function keep(samples, figures) {
  if ('failure' in figures) samples.failure = figures.failure
  else if ('nsPerOperation' in figures) samples.speed.push(figures)
  else samples.memory.push(figures)
}

const LIVE_COUNTS = [10_000, 1_000_000]

/**
 * Single operations beside few and many live blocks, interleaved; for each count, the figures of each round.
 * @param {Options} options
 * @param {OnProgress} onProgress
 */
export async function runLatency(options, onProgress) {
  /** @type {LatencyFigures[][]} */
  const rounds = LIVE_COUNTS.map(() => [])
  for (let round = 0; round < options.rounds; round++) {
    onProgress(`round ${round + 1} of ${options.rounds}: single operations`)
    for (const [index, liveBlocks] of LIVE_COUNTS.entries()) {
      /** @type {LatencyFigures | Failed} */
      const figures = await runChild({ mode: 'latency', liveBlocks, options })
      if ('failure' in figures) throw new Error(`latency: ${figures.failure}`)
      rounds[index].push(figures)
    }
  }
  return rounds
}
