/** Checks of arguments that several rooms share. `name` is the name of the argument in error messages. */
import { invalidArgType, outOfRange } from './errors.js'

/**
 * Accepts a number from 0 to `max`, or Infinity. Throws `ERR_INVALID_ARG_TYPE` for a value that is not a
 * number, and `ERR_OUT_OF_RANGE` for any other number, also for NaN.
 */
export function requireNumber(name: string, value: unknown, max: number): void {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value)
  if (value === Number.POSITIVE_INFINITY || (value >= 0 && value <= max)) return
  throw outOfRange(name, max === Number.POSITIVE_INFINITY ? '>= 0' : `>= 0 and <= ${max}, or Infinity`, value)
}

/** Throws `ERR_INVALID_ARG_TYPE` for a value that is neither true nor false. */
export function requireBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw invalidArgType(name, 'of type boolean', value)
}

/** Throws `ERR_INVALID_ARG_TYPE` for a value that is not a function. */
export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw invalidArgType(name, 'of type function', value)
}
