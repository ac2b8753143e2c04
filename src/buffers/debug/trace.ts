/**
 * A place in the user's code: a stack, kept as text. V8's own form of a stack refers to the receivers of the
 * calls, an arena among them, and would keep them alive as long as the trace.
 */
import { isOwnFrame } from '../../base/own-folder.js'

const { max } = Math

/**
 * Frames of this package between the user's code and `Trace`. They are not shown, so this many more are
 * captured.
 */
const OWN_FRAMES = 8

export class Trace {
  readonly #stack: string

  constructor() {
    const limit = Error.stackTraceLimit
    // `Reflect.set` returns false in a process whose intrinsics are frozen. An assignment would throw there.
    const isRaised = typeof limit === 'number' && Reflect.set(Error, 'stackTraceLimit', limit + OWN_FRAMES)
    this.#stack = textOf(new Error())
    if (isRaised) Reflect.set(Error, 'stackTraceLimit', limit)
  }

  /** The frames from the user's innermost one on, one on each line, as in the `stack` of an error. */
  get frames(): string {
    const lines = this.#stack.split('\n').filter(line => line.startsWith('    at '))
    const first = lines.findIndex(line => !isOwnFrame(line))
    // In a bundle with other code no frame can be told from the user's. Then all are shown.
    return lines.slice(max(0, first)).join('\n')
  }

  /** Makes an `Error` with this stack, to be the `cause` of another. */
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
    // The program's own `Error.prepareStackTrace` ran just now and threw.
    return `    at (unknown: Error.prepareStackTrace threw ${String(error)})`
  }
}
