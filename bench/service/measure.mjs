/** The measurements: each with a new server and a new load, waves, and idle after each. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { portOf, startServer } from '../process/measure.mjs'
import { countedBytes, peakBytes, processorMs, residentBytes } from '../process/memory.mjs'
import { rowsFor } from '../process/variants.mjs'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { Load } from '../http-load.mjs' */
/** @import { Variant } from '../process/variants.mjs' */
/** @import { Options } from './options.mjs' */
/** @import { Collected } from './server.mjs' */
/** @import { Service } from './services.mjs' */
/** @import { Row } from './summary.mjs' */

/**
 * `idleBytes`: resident two seconds after the wave. `processorMs`: of all threads of the server, for each request. Collections are those during
 * the wave.
 * @typedef {Load & Collected & { idleBytes: number, processorMs: number }} Wave
 */

/**
 * Resident bytes: `start` once the server listens and before the first request, `peak` the most of all waves. `samples`: seconds since the
 * start, and resident bytes then.
 * @typedef {object} Measurement
 * @property {number} startBytes
 * @property {number} peakBytes
 * @property {Wave[]} waves
 * @property {[number, number][]} samples
 */

/** `node`: the binary that runs the server. @typedef {{ seconds: number, waves: number, node: string }} How */

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url))
const LOAD = fileURLToPath(new URL('load.mjs', import.meta.url))
const IDLE_MS = 2000
const SAMPLE_MS = 100
/** From here on a process is taken not to answer. */
const LATE_MS = 60_000

/**
 * All rounds of a service, with the variants interleaved.
 * @param {Service} service
 * @param {Options} options
 * @returns {Promise<Row[]>}
 */
export async function measureService(service, options) {
  /** @type {Row[]} */
  const rows = await rowsFor(options.variants, options.isChosen)
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, variant] of options.variants.entries()) {
      const { reason, measurements } = rows[index]
      if (reason === undefined) measurements.push(await measure(service, variant, options))
    }
  }
  return rows
}

/**
 * @param {Service} service
 * @param {Variant} variant
 * @param {How} how
 * @returns {Promise<Measurement>}
 */
export async function measure(service, variant, { seconds, waves, node }) {
  const load = startServer({ name: 'the load', holds: 'buffers' }, process.execPath, [LOAD, service, seconds])
  const started = [load]
  try {
    const storagePort = await Promise.race([portOf(load.child), load.ended])
    const upstream = `http://127.0.0.1:${storagePort}/`
    const server = startServer(variant, node, [SERVER, variant, service, upstream])
    started.push(server)
    const all = runWaves(server.child, load.child, { seconds, waves })
    return await Promise.race([all, load.ended, server.ended])
  } finally {
    for (const { child } of started) child.kill('SIGKILL')
    // Their memory is to be gone before the next ones start.
    await Promise.allSettled(started.map(({ ended }) => ended))
  }
}

/**
 * @param {ChildProcess} server
 * @param {ChildProcess} load
 * @param {{ seconds: number, waves: number }} how
 * @returns {Promise<Measurement>}
 */
async function runWaves(server, load, { seconds, waves }) {
  const pid = server.pid ?? Number.NaN
  const url = `http://127.0.0.1:${await portOf(server)}/`
  // What the start leaves to be done in later turns is part of the start.
  await sleep(200)
  const startBytes = residentBytes(pid)
  const startMs = performance.now()
  /** @type {[number, number][]} */
  const samples = []
  const sampling = setInterval(() => {
    samples.push([(performance.now() - startMs) / 1000, countedBytes(pid)])
  }, SAMPLE_MS)
  try {
    /** @type {Wave[]} */
    const measured = []
    for (let wave = 0; wave < waves; wave++) measured.push(await runWave(server, load, url, seconds))
    return { startBytes, peakBytes: peakBytes(pid), waves: measured, samples }
  } finally {
    clearInterval(sampling)
  }
}

/**
 * @param {ChildProcess} server
 * @param {ChildProcess} load
 * @param {string} url
 * @param {number} seconds
 * @returns {Promise<Wave>}
 */
async function runWave(server, load, url, seconds) {
  const pid = server.pid ?? Number.NaN
  const beginMs = processorMs(pid)
  /** @type {Collected} */
  const before = await answerOf(server, 'collected', LATE_MS)
  /** @type {Load} */
  const requests = await answerOf(load, url, 1000 * seconds + LATE_MS)
  const endMs = processorMs(pid)
  /** @type {Collected} */
  const after = await answerOf(server, 'collected', LATE_MS)
  await sleep(IDLE_MS)
  return {
    ...requests,
    collections: after.collections - before.collections,
    pauseMs: after.pauseMs - before.pauseMs,
    longestPauseMs: after.longestPauseMs,
    processorMs: (endMs - beginMs) / requests.requests,
    idleBytes: residentBytes(pid),
  }
}

/**
 * @param {ChildProcess} child
 * @param {string} question
 * @param {number} withinMs
 */
async function answerOf(child, question, withinMs) {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(withinMs) })
  child.send(question)
  const [said] = await answer
  return said
}
