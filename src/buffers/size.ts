/** The sizes that a block may have. */
import { constants } from 'node:buffer'
import { invalidArgType, outOfRange } from '../base/errors.js'
import { MAX_SPACE_BYTES } from '../base/units.js'

/**
 * The longest block, in bytes: the longest Buffer that this Node can make (4 GiB on Node 20), or the space of
 * an arena if that is less.
 */
export const MAX_SIZE_BYTES = Math.min(constants.MAX_LENGTH, MAX_SPACE_BYTES)

/** Accepts an integer from 0 to `MAX_SIZE_BYTES`. `name` is the name of the argument in error messages. */
export function requireSize(sizeBytes: unknown, name = 'sizeBytes'): asserts sizeBytes is number {
  if (typeof sizeBytes !== 'number') throw invalidArgType(name, 'of type number', sizeBytes)
  if (!Number.isInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > MAX_SIZE_BYTES) {
    throw outOfRange(name, `an integer >= 0 and <= ${MAX_SIZE_BYTES}`, sizeBytes)
  }
}

/** Accepts what `requireSize` accepts, but for 0: a Buffer of 0 bytes has no memory that could be used again. */
export function requirePoolSize(sizeBytes: unknown): asserts sizeBytes is number {
  if (sizeBytes === 0) throw outOfRange('sizeBytes', `an integer >= 1 and <= ${MAX_SIZE_BYTES}`, sizeBytes)
  requireSize(sizeBytes)
}
