/** One measurement: a new server, a new load, then idle. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { peakBytes, residentBytes } from './memory.mjs'
import { environmentOf } from './variants.mjs'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { Load } from '../http-load.mjs' */
/** @import { Body, Variant } from './variants.mjs' */

/**
 * Resident bytes: `start` once the server listens and before the first request, `peak` the most until the last answer, `idle` two seconds
 * after the load has ended.
 * @typedef {{ startBytes: number, peakBytes: number, idleBytes: number } & Load} Measurement
 */

/**
 * `node`: the binary that runs the server. `given`: what stands in for `offheap`.
 * @typedef {{ seconds: number, node: string, given: string | undefined }} How
 */

const SERVER = fileURLToPath(new URL('server.mjs', import.meta.url))
const LOAD = fileURLToPath(new URL('load.mjs', import.meta.url))
const CONNECTIONS = 32
const IDLE_MS = 2000
/** From here on a server is taken not to start, or a load not to end. */
const LATE_MS = 60_000

/**
 * @param {Variant} variant
 * @param {Body} body
 * @param {How} how
 * @returns {Promise<Measurement>}
 */
export async function measure(variant, body, { seconds, node, given }) {
  const args = given === undefined ? [] : [given]
  const { child, ended } = startServer(variant, node, [SERVER, variant, ...args])
  const pid = child.pid ?? Number.NaN
  try {
    const port = await Promise.race([portOf(child), ended])
    // What the start leaves to be done in later turns is part of the start.
    await Promise.race([sleep(200), ended])
    const startBytes = residentBytes(pid)
    const url = `http://127.0.0.1:${port}/`
    const load = await Promise.race([runLoad({ url, body, connections: CONNECTIONS, seconds }), ended])
    const peak = peakBytes(pid)
    await Promise.race([sleep(IDLE_MS), ended])
    return { startBytes, peakBytes: peak, idleBytes: residentBytes(pid), ...load }
  } finally {
    child.kill('SIGKILL')
    // Its memory is to be gone before the next one starts.
    await ended.catch(() => {})
  }
}

/**
 * Starts a server in a process of its own: a program, and its arguments, which it gets as JSON. `ended` rejects when the server has ended.
 * @param {Variant} variant
 * @param {string} node
 * @param {[program: string, ...args: unknown[]]} command
 */
export function startServer(variant, node, [program, ...args]) {
  const texts = args.map(arg => JSON.stringify(arg))
  const child = spawn(node, [program, ...texts], {
    env: environmentOf(variant, process.env),
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  /** @type {Promise<never>} */
  const ended = new Promise((_, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) =>
      reject(new Error(`the server (${variant.name}) ended: ${signal ?? code}\n${stderr}`)),
    )
  })
  return { child, ended }
}

/**
 * The port that a server tells.
 * @param {ChildProcess} child
 * @returns {Promise<number>}
 */
export async function portOf(child) {
  const [{ address }] = await once(child, 'message', { signal: AbortSignal.timeout(LATE_MS) })
  return address.port
}

/**
 * @param {import('./load.mjs').Task} task
 * @returns {Promise<Load>}
 */
async function runLoad(task) {
  const { stdout } = await promisify(execFile)(process.execPath, [LOAD, JSON.stringify(task)], {
    timeout: 1000 * task.seconds + LATE_MS,
  })
  return JSON.parse(stdout)
}
