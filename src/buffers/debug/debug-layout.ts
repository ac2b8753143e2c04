/**
 * How a block lies in its memory while `debug` is on: how much of it the heap gives out, and what surrounds the user's bytes.
 *
 * Shorter than a page: the bytes, then slack of 16 to 31 bytes. A page and more: whole pages and a page behind them, the
 * *guard*; the bytes end right before it, as far as their alignment allows, and slack lies before them.
 */
import { GRANULE_BYTES, MAX_SPACE_BYTES } from '../../base/units.js'

const { ceil, floor } = Math

export interface DebugLayout {
  /** Bytes of the block, guard and all. */
  readonly heldBytes: number
  /** What the block's start must be a multiple of. */
  readonly alignBytes: number
  /** Where in the block the user's bytes begin. */
  readonly startBytes: number
  /** Whether the last page of the block is a guard. */
  readonly hasGuard: boolean
}

/** `alignBytes`: a power of two from 16 to `pageBytes`. */
export function debugLayoutOf(sizeBytes: number, alignBytes: number, pageBytes: number): DebugLayout {
  if (sizeBytes < pageBytes) {
    return { heldBytes: sizeBytes + GRANULE_BYTES, alignBytes, startBytes: 0, hasGuard: false }
  }
  const roomBytes = ceil(sizeBytes / pageBytes) * pageBytes
  const startBytes = floor((roomBytes - sizeBytes) / alignBytes) * alignBytes
  // The one size that takes all the space there is goes without.
  const hasGuard = roomBytes + pageBytes <= MAX_SPACE_BYTES
  return {
    heldBytes: hasGuard ? roomBytes + pageBytes : roomBytes,
    alignBytes: pageBytes,
    startBytes,
    hasGuard,
  }
}
