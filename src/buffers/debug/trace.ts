/**
 * Where in the user's code something happened. Kept as text: V8's own form of a stack refers to the receivers of the calls, an
 * arena among them, and would hold them for as long as the trace.
 */
import { fileURLToPath } from 'node:url'
import { OWN_FOLDER_URL } from '../../base/own-folder.js'

const { max } = Math

/** Frames of our own between the user's and `Trace`, which are not shown: so many more are captured. */
const OWN_FRAMES = 8
const OWN_FOLDER = OWN_FOLDER_URL.startsWith('file:') ? fileURLToPath(OWN_FOLDER_URL) : OWN_FOLDER_URL

export class Trace {
  readonly #stack: string

  constructor() {
    const limit = Error.stackTraceLimit
    // `set` returns false, where an assignment would throw, in a process whose intrinsics are frozen.
    const isRaised = typeof limit === 'number' && Reflect.set(Error, 'stackTraceLimit', limit + OWN_FRAMES)
    this.#stack = textOf(new Error())
    if (isRaised) Reflect.set(Error, 'stackTraceLimit', limit)
  }

  /** The frames, a line each, as in a `stack`, from the user's innermost on. */
  get frames(): string {
    const lines = this.#stack.split('\n').filter(line => line.startsWith('    at '))
    const first = lines.findIndex(line => !line.includes(OWN_FOLDER) && !line.includes(OWN_FOLDER_URL))
    // Where all of them look like ours, user and library are one bundle.
    return lines.slice(max(0, first)).join('\n')
  }

  /** An `Error` with this stack: for the `cause` of another. */
  toError(message: string, cause?: Error): Error {
    const error = cause === undefined ? new Error(message) : new Error(message, { cause })
    error.stack = `Error: ${message}\n${this.frames}`
    return error
  }
}

function textOf(captured: Error): string {
  try {
    return String(captured.stack)
  } catch (error) {
    // The user's own `Error.prepareStackTrace` ran just now, and threw.
    return `    at (unknown: Error.prepareStackTrace threw ${String(error)})`
  }
}
