/**
 * Every error this library throws is made here: one class for its own conditions, Node's own classes and codes for bad
 * arguments. The code is the contract; messages say what came, what is allowed and what to do, and may improve.
 */
import { inspect } from 'node:util'

/** The stable codes of `ArenaError`. */
export type ArenaErrorCode =
  | 'ERR_ARENA_BREAK_IN_USE'
  | 'ERR_ARENA_BREAK_UNAVAILABLE'
  | 'ERR_ARENA_BUSY'
  | 'ERR_ARENA_CLOSED'
  | 'ERR_ARENA_DETACHED'
  | 'ERR_ARENA_DOUBLE_FREE'
  | 'ERR_ARENA_FOREIGN_BUFFER'
  | 'ERR_ARENA_LIMIT'
  | 'ERR_ARENA_NOT_OWNER'
  | 'ERR_ARENA_NOT_PINNED'
  | 'ERR_ARENA_NOT_SUPPORTED'
  | 'ERR_ARENA_NOT_TRANSFERABLE'
  | 'ERR_ARENA_OUT_OF_MEMORY'
  | 'ERR_ARENA_PINNED'
  | 'ERR_ARENA_PURGE_FAILED'
  | 'ERR_ARENA_SCOPE_ENDED'

/**
 * A condition of an arena: it is closed, at its limit, was handed a buffer that is not a live block of its own, …
 * `code` is stable; `cause` is the system error where the kernel refused.
 */
export class ArenaError extends Error {
  readonly code: ArenaErrorCode

  constructor(code: ArenaErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  // As in Node's own errors: the name in the stack carries the code, the property does not.
  override get name(): string {
    return 'ArenaError'
  }
}

type Coded<E extends Error> = E & { code: string }

function withCode<E extends Error>(error: E, code: string): Coded<E> {
  return Object.assign(error, { code })
}

/** A value in the words of an error message, whatever it is. */
export function show(value: unknown): string {
  return inspect(value, { depth: 0 }).slice(0, 80)
}

function received(value: unknown): string {
  if (value === null || value === undefined) return `Received ${value}`
  if (typeof value === 'function') return `Received function ${value.name}`
  if (typeof value === 'object') {
    const name = value.constructor?.name
    return name ? `Received an instance of ${name}` : `Received ${inspect(value, { depth: -1 })}`
  }
  return `Received type ${typeof value} (${inspect(value).slice(0, 30)})`
}

/** `ERR_INVALID_ARG_TYPE`, a `TypeError`: `name` must be `expected` ("of type number"). */
export function invalidArgType(name: string, expected: string, value: unknown): Coded<TypeError> {
  return withCode(
    new TypeError(`The "${name}" argument must be ${expected}. ${received(value)}`),
    'ERR_INVALID_ARG_TYPE',
  )
}

/** `ERR_OUT_OF_RANGE`, a `RangeError`: `name` must be `allowed` (">= 0 && <= 9"). */
export function outOfRange(name: string, allowed: string, value: unknown): Coded<RangeError> {
  return withCode(
    new RangeError(
      `The value of "${name}" is out of range. It must be ${allowed}. Received ${inspect(value)}`,
    ),
    'ERR_OUT_OF_RANGE',
  )
}

/** `ERR_INVALID_ARG_VALUE`, a `TypeError`: `name` has the right type but `reason`. */
export function invalidArgValue(name: string, reason: string, value: unknown): Coded<TypeError> {
  return withCode(
    new TypeError(`The argument "${name}" ${reason}. Received ${inspect(value)}`),
    'ERR_INVALID_ARG_VALUE',
  )
}

/**
 * `ERR_INVALID_ARG_VALUE`, a `TypeError`: `options` has a key that is none of `known`. `nearest` is the one that was probably
 * meant.
 */
export function unknownOption(
  options: string,
  key: string,
  nearest: string | undefined,
  known: Iterable<string>,
): Coded<TypeError> {
  const meant = nearest === undefined ? '.' : `; did you mean '${nearest}'?`
  return withCode(
    new TypeError(
      `The property ${inspect(`${options}.${key}`.slice(0, 80))} is not a known option${meant} ` +
        `Known are: ${[...known].join(', ')}`,
    ),
    'ERR_INVALID_ARG_VALUE',
  )
}
