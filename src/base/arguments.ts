/** Checks of arguments that several rooms share. `name` is what messages call the argument. */
import { invalidArgType, outOfRange } from './errors.js'

/**
 * A number from 0 to `max`, or Infinity. Throws `ERR_INVALID_ARG_TYPE` for what is no number, `ERR_OUT_OF_RANGE` for one
 * outside (NaN is).
 */
export function requireNumber(name: string, value: unknown, max: number): void {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value)
  if (value === Number.POSITIVE_INFINITY || (value >= 0 && value <= max)) return
  throw outOfRange(name, max === Number.POSITIVE_INFINITY ? '>= 0' : `>= 0 and <= ${max}, or Infinity`, value)
}

/** Throws `ERR_INVALID_ARG_TYPE` for what is neither true nor false. */
export function requireBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw invalidArgType(name, 'of type boolean', value)
}

/** Throws `ERR_INVALID_ARG_TYPE` for what cannot be called. */
export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw invalidArgType(name, 'of type function', value)
}
