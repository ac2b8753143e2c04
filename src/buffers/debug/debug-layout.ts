/**
 * The layout of a block while `debug` is on: how many bytes the heap allocates, and what lies around the
 * user's bytes.
 *
 * - A block shorter than a page: the user's bytes, then 16 to 31 bytes of slack.
 * - A longer block: whole pages, and one page behind them, the *guard*. The user's bytes end at the guard, as
 *   closely as their alignment allows. Slack lies before them.
 */
import { GRANULE_BYTES, MAX_SPACE_BYTES } from '../../base/units.js'

const { ceil, floor } = Math

export interface DebugLayout {
  /** Bytes of the block, with its guard. */
  readonly heldBytes: number
  /** The block must start at a multiple of this many bytes. */
  readonly alignBytes: number
  /** The first byte of the user's bytes, counted from the block's start. */
  readonly startBytes: number
  /** Whether the last page of the block is a guard. */
  readonly hasGuard: boolean
}

/** Returns the layout of a block. `alignBytes` is a power of two from 16 to `pageBytes`. */
export function debugLayoutOf(sizeBytes: number, alignBytes: number, pageBytes: number): DebugLayout {
  if (sizeBytes < pageBytes) {
    return { heldBytes: sizeBytes + GRANULE_BYTES, alignBytes, startBytes: 0, hasGuard: false }
  }
  const roomBytes = ceil(sizeBytes / pageBytes) * pageBytes
  const startBytes = floor((roomBytes - sizeBytes) / alignBytes) * alignBytes
  // A block that takes all the space there is has no guard.
  const hasGuard = roomBytes + pageBytes <= MAX_SPACE_BYTES
  return {
    heldBytes: hasGuard ? roomBytes + pageBytes : roomBytes,
    alignBytes: pageBytes,
    startBytes,
    hasGuard,
  }
}
