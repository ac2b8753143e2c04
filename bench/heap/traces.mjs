/**
 * Reads the recordings once and writes each twice for the processes that replay it: as text for the C replayer, as columns
 * for ours. Both have the blocks renumbered to the smallest numbers that tell the live ones apart, so that on either side
 * the replay's own table of blocks is as short as it can be, and the same.
 */
import { createWriteStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { deserialize, serialize } from 'node:v8'
import { readTrace } from '#compiled/replay/trace-file.js'
import { UsageError } from './options.mjs'

const SUFFIX = /\.(trace|txt)(\.gz)?$/
const LETTERS = 'arf'
const LINES_A_PIECE = 50_000

/** @import { Trace } from '#compiled/replay/trace.js' */

/**
 * What a recording has, as `Trace` counts it.
 * @typedef {'operationCount' | 'allocationCount' | 'resizeCount' | 'freeCount' | 'peakLiveBytes'} Counts
 */

/**
 * `textPath`, `columnsPath`: its two forms, for the C replayer and for ours.
 * @typedef {{ name: string, textPath: string, columnsPath: string } & Pick<Trace, Counts>} Recording
 */

/**
 * The paths of the recordings asked for: all of the directory, or those named. Throws `UsageError`.
 * @param {string} directory
 * @param {string[]} names
 */
export function findTraces(directory, names) {
  if (names.length > 0) return names.map(name => findTrace(directory, name))
  const files = existsSync(directory) ? readdirSync(directory) : []
  const found = files.filter(file => SUFFIX.test(file)).sort()
  if (found.length === 0) throw new UsageError(`there is no recording (*.trace, *.trace.gz) in ${directory}`)
  return found.map(file => join(directory, file))
}

/**
 * @param {string} directory
 * @param {string} name in the directory, with or without its suffix, or a path
 */
function findTrace(directory, name) {
  const candidates = [
    join(directory, name),
    ...['.trace.gz', '.trace'].map(end => join(directory, name + end)),
    name,
  ]
  const found = candidates.find(path => existsSync(path))
  if (found === undefined) throw new UsageError(`no recording "${name}" in ${directory}, nor at that path`)
  return found
}

/**
 * Reads the recording at `path` and writes its two forms into `scratch` under a name that begins with `index`.
 * Throws `TraceError` where it breaks the format.
 * @param {string} path
 * @param {string} scratch a directory
 * @param {number} index
 * @returns {Promise<Recording>}
 */
export async function prepareTrace(path, scratch, index) {
  const trace = await readTrace(path)
  const name = basename(path).replace(SUFFIX, '')
  const stem = join(scratch, `${index}-${name}`)
  writeFileSync(`${stem}.columns`, serialize(trace))
  await pipeline(Readable.from(linesOf(trace)), createWriteStream(`${stem}.txt`))
  const { operationCount, allocationCount, resizeCount, freeCount, peakLiveBytes } = trace
  return {
    name,
    textPath: `${stem}.txt`,
    columnsPath: `${stem}.columns`,
    operationCount,
    allocationCount,
    resizeCount,
    freeCount,
    peakLiveBytes,
  }
}

/**
 * The recording as text, in pieces of many lines.
 * @param {Trace} trace
 */
function* linesOf({ operations, slots, sizes, operationCount }) {
  for (let from = 0; from < operationCount; from += LINES_A_PIECE) {
    let text = ''
    for (let index = from; index < Math.min(from + LINES_A_PIECE, operationCount); index++) {
      const letter = LETTERS[operations[index]]
      text += letter === 'f' ? `f ${slots[index]}\n` : `${letter} ${slots[index]} ${sizes[index]}\n`
    }
    yield text
  }
}

/**
 * What `prepareTrace` wrote.
 * @param {string} columnsPath
 * @returns {Trace}
 */
export function loadTrace(columnsPath) {
  return deserialize(readFileSync(columnsPath))
}
