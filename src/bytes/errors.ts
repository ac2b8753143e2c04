/** The errors of bytes that come from outside. */
import { ArenaError, isLimit, isOutOfMemory } from '../base/errors.js'
import { MAX_SIZE_BYTES } from '../buffers/size.js'

/** Whether an error says that memory was refused. */
export function isRefusal(error: unknown): boolean {
  return isLimit(error) || isOutOfMemory(error)
}

/** The error of bytes that are more than the `mostBytes` that a call may read. */
export function tooLargeError(arenaName: string, method: string, mostBytes: number): ArenaError {
  const advice =
    mostBytes < MAX_SIZE_BYTES
      ? 'Refuse this input, or raise maxBytes'
      : 'No block can be longer. Read the input in parts'
  return new ArenaError(
    'ERR_ARENA_TOO_LARGE',
    `arena '${arenaName}': ${method}(): the input has more than ${mostBytes} bytes. ${advice}`,
  )
}

/** The error of a stream that closed before its end, as Node makes it. */
export function prematureCloseError(): Error {
  return Object.assign(new Error('Premature close'), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
}

/** The error of a call whose signal was aborted, as Node makes it. */
export function abortError(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason })
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' })
}
