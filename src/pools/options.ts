/** The options of a pool. They are checked once, here, and are complete afterwards. */
import { requireNumber } from '../base/arguments.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'

const { floor, min } = Math

/** The options of `arena.pool()`. All are optional. An option that does not exist is refused. */
export interface PoolOptions {
  /**
   * Most Buffers that wait in the pool at once, a count. A Buffer that is released beyond that is freed. Default: as many as
   * recent traffic needs.
   */
  maxIdle?: number
  /**
   * The address of each Buffer is a multiple of this number of bytes: a power of two, from 1 up to the page size. Default 16.
   */
  align?: number
}

const KNOWN_OPTIONS = keysOf<PoolOptions>({ maxIdle: true, align: true })
/** More Buffers than any arena has room for. It is a small integer, as the counts are that are compared with it. */
const NO_LIMIT = 2 ** 30

/**
 * Reads the options once, so that reading those which are returned runs no script. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE`. The value of `align` is not checked yet.
 */
export function resolvePoolOptions(options: PoolOptions): { maxIdle: number; align: number | undefined } {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { maxIdle = Number.POSITIVE_INFINITY, align } = options
  requireNumber('options.maxIdle', maxIdle, Number.POSITIVE_INFINITY)
  return { maxIdle: floor(min(NO_LIMIT, maxIdle)), align }
}
