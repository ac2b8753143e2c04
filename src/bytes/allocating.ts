/** What the functions of this room need of the arena or the scope that hands out their blocks. */
import { lengthOf } from '../base/primordials.js'
import type { ArenaBuffer } from '../buffers/owner.js'

export interface Allocating {
  /** The name of the arena, for messages. */
  readonly name: string
  allocUnsafe(sizeBytes: number): ArenaBuffer
  realloc(buffer: Uint8Array, sizeBytes: number): ArenaBuffer
  free(buffer: Uint8Array): void
  lend<B extends Uint8Array, T>(buffer: B, use: (buffer: B) => T): T
  /** Throws the error of `allocUnsafe` if blocks are not handed out any more. */
  requireGiving(method: string): void
  isLive(buffer: Uint8Array): boolean
  /** Throws the error of `free` if `buffer` is not a live owner, or that of a scope that has ended. */
  requireLive(method: string, buffer: Uint8Array): void
}

/** Ends a block that nobody else has seen, unless it has ended meanwhile. */
export function discard(allocating: Allocating, block: Uint8Array): void {
  if (allocating.isLive(block)) allocating.free(block)
}

/**
 * Gives a block its last length. If that fails, the block ends. Its bytes are there already, so this allocates only if
 * the block has to move.
 */
export function trimmed(allocating: Allocating, block: ArenaBuffer, sizeBytes: number): ArenaBuffer {
  if (sizeBytes === lengthOf(block)) return block
  try {
    return allocating.realloc(block, sizeBytes)
  } catch (error) {
    discard(allocating, block)
    throw error
  }
}
