/**
 * Makes every error that this library throws. Conditions of an arena have a class of their own. Bad arguments
 * get Node's own classes and codes. The code of an error is its contract. The message says what was received,
 * what is allowed and what to do, and may improve.
 */
import { inspect } from 'node:util'

/**
 * The stable codes of `ArenaError`:
 *
 * | code | thrown when |
 * |---|---|
 * | `ERR_ARENA_BREAK_IN_USE` | `source: 'sbrk'` while another arena has the program break |
 * | `ERR_ARENA_BREAK_UNAVAILABLE` | `source: 'sbrk'`, but the break cannot be moved (musl, a limit, a filter); `cause` is the system error |
 * | `ERR_ARENA_BUSY` | a method was called in the middle of another call of the same arena or heap, or in the same turn after a call that was terminated |
 * | `ERR_ARENA_CLOSED` | the arena is closed, or waits for pinned blocks to close |
 * | `ERR_ARENA_DETACHED` | `realloc`, `pin`, `lend` or `stream` of a Buffer whose `ArrayBuffer` was transferred away |
 * | `ERR_ARENA_DOUBLE_FREE` | the Buffer was freed before, or its arena was reset |
 * | `ERR_ARENA_FOREIGN_BUFFER` | the Buffer is of another arena, or of no arena |
 * | `ERR_ARENA_LIMIT` | the block does not fit below `limitBytes` or `setProcessLimit()`, even after all free pages went back |
 * | `ERR_ARENA_NOT_OWNER` | the argument is a `subarray` or another view of a block |
 * | `ERR_ARENA_NOT_PINNED` | `unpin` of a block that is not pinned |
 * | `ERR_ARENA_NOT_SUPPORTED` | this version cannot do it, the addon's binary cannot be loaded, or `ownerOf` got a view and `trackOwners` is off |
 * | `ERR_ARENA_NOT_TRANSFERABLE` | `transfer()` of an `ArrayBuffer` that other blocks share |
 * | `ERR_ARENA_OUT_OF_MEMORY` | the kernel or V8 refused memory; `cause` is the system error |
 * | `ERR_ARENA_PINNED` | `close` while blocks are pinned, or `realloc` of a pinned block |
 * | `ERR_ARENA_POOLED` | `free`, `realloc` or `relocate` of a Buffer that belongs to a pool, or `release` of one that `use` has |
 * | `ERR_ARENA_POOL_CLOSED` | `acquire` and the like after `close` of the pool |
 * | `ERR_ARENA_PURGE_FAILED` | `trim`, `trimAsync`: the kernel refused to take pages back; the arena tries again later |
 * | `ERR_ARENA_SCOPE_ENDED` | a call of a scope after its end |
 * | `ERR_ARENA_TOO_LARGE` | `collect`, `readFile`: there are more bytes than `maxBytes`, or than a block can have |
 * | `ERR_ARENA_UNSUPPORTED_PLATFORM` | the addon cannot work on this system, CPU or runtime; `source: 'heap'` does |
 */
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
  | 'ERR_ARENA_POOLED'
  | 'ERR_ARENA_POOL_CLOSED'
  | 'ERR_ARENA_PURGE_FAILED'
  | 'ERR_ARENA_SCOPE_ENDED'
  | 'ERR_ARENA_TOO_LARGE'
  | 'ERR_ARENA_UNSUPPORTED_PLATFORM'

/**
 * A condition of an arena: it is closed, it is at its limit, it was handed a buffer that is not a live block
 * of its own, and so on. `code` is stable. If the kernel refused, `cause` is the system error.
 */
export class ArenaError extends Error {
  /** What happened, as a stable code. Compare this one, not the message: messages may improve. */
  readonly code: ArenaErrorCode

  /**
   * Makes an error of this library. Programs need this only to imitate one in a test. `options.cause` is the
   * error behind it.
   */
  constructor(code: ArenaErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  /** Always `'ArenaError'`. */
  // As in Node's own errors, the stack shows the code with the name, and the property `name` has the class
  // alone.
  override get name(): string {
    return 'ArenaError'
  }
}

/** Whether this is the refusal of a limit. */
export function isLimit(error: unknown): boolean {
  return error instanceof ArenaError && error.code === 'ERR_ARENA_LIMIT'
}

/** Whether this is the error of an allocation for which the kernel, or the runtime, had no memory. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof ArenaError && error.code === 'ERR_ARENA_OUT_OF_MEMORY'
}

/** Returns undefined if `error` says that memory was refused. Throws it otherwise. */
export function undefinedIfRefused(error: unknown): undefined {
  if (!isOutOfMemory(error) && !isLimit(error)) throw error
  return undefined
}

/** Whether an error says that the stack is full, which may come from any call. */
export function isOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message === 'Maximum call stack size exceeded'
}

type Coded<E extends Error> = E & { code: string }

function withCode<E extends Error>(error: E, code: string): Coded<E> {
  return Object.assign(error, { code })
}

/** Any value, as text for an error message. */
export function show(value: unknown): string {
  return inspect(value, { depth: 0 }).slice(0, 80)
}

/** What a message says of the received value, as Node says it. */
function received(value: unknown): string {
  if (value === null || value === undefined) return `Received ${value}`
  if (typeof value === 'function') return `Received function ${value.name}`
  if (typeof value === 'object') {
    const name = value.constructor?.name
    return name ? `Received an instance of ${name}` : `Received ${inspect(value, { depth: -1 })}`
  }
  return `Received type ${typeof value} (${inspect(value).slice(0, 30)})`
}

/** Makes a `TypeError` with code `ERR_INVALID_ARG_TYPE`: `name` must be `expected` ("of type number"). */
export function invalidArgType(name: string, expected: string, value: unknown): Coded<TypeError> {
  return withCode(
    new TypeError(`The "${name}" argument must be ${expected}. ${received(value)}`),
    'ERR_INVALID_ARG_TYPE',
  )
}

/** Makes a `RangeError` with code `ERR_OUT_OF_RANGE`: `name` must be `allowed` (">= 0 && <= 9"). */
export function outOfRange(name: string, allowed: string, value: unknown): Coded<RangeError> {
  return withCode(
    new RangeError(
      `The value of "${name}" is out of range. It must be ${allowed}. Received ${inspect(value)}`,
    ),
    'ERR_OUT_OF_RANGE',
  )
}

/**
 * Makes a `TypeError` with code `ERR_INVALID_ARG_VALUE`: `name` has the right type, but is wrong for
 * `reason`.
 */
export function invalidArgValue(name: string, reason: string, value: unknown): Coded<TypeError> {
  return withCode(
    new TypeError(`The argument "${name}" ${reason}. Received ${inspect(value)}`),
    'ERR_INVALID_ARG_VALUE',
  )
}

/**
 * Makes a `TypeError` with code `ERR_INVALID_ARG_VALUE`: `options` has the key `key`, which is not in
 * `known`. `nearest` is the key that was probably meant.
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
        `Known options: ${[...known].join(', ')}`,
    ),
    'ERR_INVALID_ARG_VALUE',
  )
}
