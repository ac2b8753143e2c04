/**
 * Runs every (recording, allocator) in a process of its own, one at a time, interleaved: a round measures each allocator
 * once on each recording, so that whatever else the machine does in that time meets all of them alike.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { replayPeer } from './replayer.mjs'

const run = promisify(execFile)

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
// What is resident hardly differs from round to round: at most this many rounds read it.
const MEMORY_ROUNDS = 3
// Starting Node, loading the recording and warming up are not part of what a time limit is for.
const START_MS = 10_000

/** The order of a round. The bare loops are no allocators: what the replay itself costs. */
export function contestants(peers) {
  return [
    { name: 'offheap', kind: 'js' },
    ...peers.filter(peer => peer.library !== undefined).map(peer => ({ name: peer.name, kind: 'c', peer })),
    { name: 'thi.ng', kind: 'js' },
    { name: 'bare-js', kind: 'bare-js' },
    { name: 'bare-c', kind: 'bare-c' },
  ]
}

/** A task for `child.mjs`; its figures, or `{ failure }`. */
export async function runChild(task, { timeLimitMs, warmUpMs, maxMs }) {
  const timeout = START_MS + 2 * timeLimitMs + warmUpMs + maxMs
  try {
    const { stdout } = await run(process.execPath, [CHILD, JSON.stringify(task)], {
      timeout,
      killSignal: 'SIGKILL',
    })
    return JSON.parse(stdout)
  } catch (error) {
    return { failure: error.killed ? `over ${timeout / 1000} s` : reasonOf(error) }
  }
}

function reasonOf(error) {
  return (error.stderr || error.message).trim()
}

async function measure(contestant, mode, recording, replayer, options) {
  if (contestant.kind === 'js' || contestant.kind === 'bare-js') {
    const allocator = contestant.kind === 'js' ? contestant.name : 'bare'
    return runChild({ mode, allocator, columnsPath: recording.columnsPath, options }, options)
  }
  const isBare = contestant.kind === 'bare-c'
  const peer = contestant.peer ?? { name: contestant.name, library: '' }
  try {
    return await replayPeer(replayer, peer, isBare ? 'bare' : mode, recording.textPath, options)
  } catch (error) {
    return { failure: error.killed ? `over ${options.timeLimitMs / 1000} s` : reasonOf(error) }
  }
}

/** What one round measures of a contestant. */
function modesOf({ kind }, round) {
  return kind.startsWith('bare') || round >= MEMORY_ROUNDS ? ['speed'] : ['speed', 'memory']
}

/**
 * @typedef {{ speed: object[], memory: object[], failure?: string }} Samples figures in the order of the rounds
 * @returns {Promise<Map<string, Samples>[]>} for each recording, by the contestant's name
 */
export async function runRounds(recordings, entries, replayer, options, onProgress) {
  const samples = recordings.map(() => new Map(entries.map(({ name }) => [name, { speed: [], memory: [] }])))
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, recording] of recordings.entries()) {
      onProgress(`round ${round + 1} of ${options.rounds}: ${recording.name}`)
      for (const contestant of entries) {
        const kept = samples[index].get(contestant.name)
        for (const mode of modesOf(contestant, round)) {
          // What failed once is not tried again: the failure is the result.
          if (kept.failure !== undefined) break
          const figures = await measure(contestant, mode, recording, replayer, options)
          if (figures.failure !== undefined) kept.failure = figures.failure
          else kept[mode].push(figures)
        }
      }
    }
  }
  return samples
}

const LIVE_COUNTS = [10_000, 1_000_000]

/** Single operations beside few and many live blocks, interleaved; for each count, the figures of each round. */
export async function runLatency(options, onProgress) {
  const rounds = LIVE_COUNTS.map(() => [])
  for (let round = 0; round < options.rounds; round++) {
    onProgress(`round ${round + 1} of ${options.rounds}: single operations`)
    for (const [index, liveBlocks] of LIVE_COUNTS.entries()) {
      const figures = await runChild({ mode: 'latency', liveBlocks, options }, options)
      if (figures.failure !== undefined) throw new Error(`latency: ${figures.failure}`)
      rounds[index].push(figures)
    }
  }
  return rounds
}
