/** `replay.c`: compiled when it is first needed, run with an allocator preloaded. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** @import { Options } from './options.mjs' */
/** @import { Peer } from './peers.mjs' */
/** @import { MemoryFigures, SpeedFigures } from './summary.mjs' */

const run = promisify(execFile)

/**
 * An error, with what a failed process adds to it: why it did not start, what it wrote to stderr, and whether we ended it.
 * @typedef {Error & { code?: string | number, stderr?: string, killed?: boolean }} ProcessError
 */

/**
 * @param {unknown} error as it was caught
 * @returns {ProcessError}
 */
export function processError(error) {
  return error instanceof Error ? error : new Error(String(error))
}

const SOURCE = fileURLToPath(new URL('replay.c', import.meta.url))
const CACHE = fileURLToPath(new URL('../.cache/', import.meta.url))
// The compiler must not reason about malloc: it is another one at run time.
const FLAGS = ['-O2', '-Wall', '-fno-builtin-malloc', '-fno-builtin-realloc', '-fno-builtin-free']

/**
 * The path of the compiled replayer, named after its source and flags, so that a changed one is compiled anew.
 * Throws an `Error` that says what to install where there is no compiler.
 */
export async function buildReplayer() {
  const compiler = process.env.CC || 'cc'
  const key = createHash('sha256')
    .update(readFileSync(SOURCE))
    .update([compiler, ...FLAGS].join('\0'))
  const path = `${CACHE}replay-${key.digest('hex').slice(0, 16)}`
  if (existsSync(path)) return path
  mkdirSync(CACHE, { recursive: true })
  // Under a name of its own until it is whole: two runs may compile at once.
  const unfinished = `${path}.${process.pid}`
  try {
    await run(compiler, [...FLAGS, '-o', unfinished, SOURCE, '-ldl'])
  } catch (error) {
    const { code, stderr } = processError(error)
    if (code !== 'ENOENT') throw new Error(`${compiler} could not compile ${SOURCE}:\n${stderr}`)
    throw new Error(
      `no C compiler: the C allocators are replayed by a small C program, compiled by "${compiler}", which is not ` +
        'there. Install one (apt-get install gcc) or name one in CC',
    )
  }
  renameSync(unfinished, path)
  return path
}

/**
 * One measurement of one peer: the replayer's figures.
 * Throws where it failed, took too long, or ran on another allocator than the one asked for.
 * @param {string} replayer the path of the program
 * @param {Pick<Peer, 'name' | 'library'>} peer
 * @param {'speed' | 'memory' | 'bare'} mode `bare`: the speed of the loop alone, without an allocator
 * @param {string} path of the recording, as text
 * @param {Options} options
 * @returns {Promise<SpeedFigures | MemoryFigures>} speed, but for `memory`
 */
export async function replayPeer(replayer, peer, mode, path, options) {
  const args = [mode, path, String(options.minPasses), String(options.minMs)]
  const env = { ...process.env }
  delete env.LD_PRELOAD
  if (peer.library) env.LD_PRELOAD = peer.library
  const { stdout } = await run(replayer, args, { env, timeout: options.timeLimitMs, killSignal: 'SIGKILL' })
  /** @type {(SpeedFigures | MemoryFigures) & { library: string }} */
  const figures = JSON.parse(stdout)
  if (!isFrom(figures.library, peer)) {
    throw new Error(`${peer.name} was preloaded, but malloc came from ${figures.library}`)
  }
  return figures
}

/**
 * @param {string} library the file that malloc came from
 * @param {Pick<Peer, 'library'>} peer
 */
function isFrom(library, peer) {
  return peer.library ? realpathSync(library) === peer.library : /\blibc[.-]/.test(library)
}
