/** The options of what reads bytes from outside. */
import { requireNumber } from '../base/arguments.js'
import { invalidArgType } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'

const { floor } = Math
const NO_MOST = Number.POSITIVE_INFINITY

/** The options of `collect`. An option that does not exist is refused. */
export interface CollectOptions {
  /**
   * The most bytes that the source may have. Required: a source without a limit can fill the memory. `Infinity` allows as
   * many as a block can have.
   */
  maxBytes: number
  /**
   * How many bytes will probably come, such as `Number(request.headers['content-length'])`. If this is right, the block
   * grows seldom, and not too far. It is only a hint: memory is not taken before bytes have come, and then for 64 KiB, or
   * for 16 times as many bytes as have come. Default `NaN`: not known.
   */
  sizeHint?: number | undefined
  /** Ends the call when it is aborted. */
  signal?: AbortSignal | undefined
}

/** The options of `readFile`. An option that does not exist is refused. */
export interface ReadFileOptions {
  /** The most bytes that the file may have. Default `Infinity`: as many as a block can have. */
  maxBytes?: number | undefined
  /** Ends the call when it is aborted. */
  signal?: AbortSignal | undefined
}

export interface Resolved {
  readonly maxBytes: number
  readonly sizeHint: number
  readonly signal: AbortSignal | undefined
}

const COLLECT_KEYS = keysOf<CollectOptions>({ maxBytes: true, sizeHint: true, signal: true })
const READ_FILE_KEYS = keysOf<ReadFileOptions>({ maxBytes: true, signal: true })

/** Reads each option once, and checks it. */
export function resolveCollect(options: CollectOptions): Resolved {
  requireKnownKeys('options', options, COLLECT_KEYS)
  const { maxBytes, sizeHint = Number.NaN, signal } = options
  if (maxBytes === undefined) {
    const expected = 'of type number: the most bytes that you accept from the source, or Infinity'
    throw invalidArgType('options.maxBytes', expected, maxBytes)
  }
  requireNumber('options.maxBytes', maxBytes, NO_MOST)
  if (!Number.isNaN(sizeHint)) requireNumber('options.sizeHint', sizeHint, NO_MOST)
  requireSignal(signal)
  return { maxBytes: floor(maxBytes), sizeHint: floor(sizeHint) || 0, signal }
}

/** Reads each option once, and checks it. */
export function resolveReadFile(options: ReadFileOptions): Resolved {
  requireKnownKeys('options', options, READ_FILE_KEYS)
  const { maxBytes = NO_MOST, signal } = options
  requireNumber('options.maxBytes', maxBytes, NO_MOST)
  requireSignal(signal)
  return { maxBytes: floor(maxBytes), sizeHint: 0, signal }
}

/** Accepts what Node accepts as a signal, which may be of another realm or a polyfill. */
function requireSignal(signal: unknown): void {
  if (signal === undefined) return
  if (typeof signal === 'object' && signal !== null && 'aborted' in signal) return
  throw invalidArgType('options.signal', 'an instance of AbortSignal', signal)
}
