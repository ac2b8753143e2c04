/** The checks of what users pass to an arena or a scope. Each throws before anything has changed. */
import { requireFunction } from '../base/arguments.js'
import { invalidArgType, invalidArgValue, outOfRange } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { GRANULE_BYTES, isPowerOfTwo } from '../base/units.js'

/** The options of one allocation. */
export interface AllocOptions {
  /**
   * The block's address is a multiple of this number of bytes: a power of two, from 1 up to the page size.
   * Default 16.
   */
  align?: number
}

const KNOWN_OPTIONS = keysOf<AllocOptions>({ align: true })

/**
 * Reads the options once and returns plain ones, so that reading those runs no script. The value of `align`
 * is not checked yet.
 */
export function readOptions(options: AllocOptions): AllocOptions {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { align } = options
  return align === undefined ? {} : { align }
}

/**
 * Returns the alignment that `options` ask for, in bytes, and at least `GRANULE_BYTES`, which every block
 * has. Returns `otherwise` if they ask for none.
 */
export function requireAlign(
  options: AllocOptions | undefined,
  pageBytes: number,
  otherwise = GRANULE_BYTES,
): number {
  if (options === undefined) return otherwise
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { align } = options
  if (align === undefined) return otherwise
  if (typeof align !== 'number') throw invalidArgType('options.align', 'of type number', align)
  if (!isPowerOfTwo(align) || align > pageBytes) {
    throw outOfRange('options.align', `a power of two from 1 to the page size, ${pageBytes}`, align)
  }
  return Math.max(GRANULE_BYTES, align)
}

export function requireListener(event: unknown, listener: unknown): void {
  if (event !== 'limit') throw invalidArgValue('event', "must be 'limit'", event)
  requireFunction('listener', listener)
}
