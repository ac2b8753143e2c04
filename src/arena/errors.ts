/** The errors of misuse of an arena: what came, what is allowed, what to do. */
import { ArenaError, invalidArgType } from '../base/errors.js'
import { type ArenaIdentity, epochOf, isOwner } from '../buffers/owner.js'

export function closedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError('ERR_ARENA_CLOSED', `arena '${arena.name}': ${method}() after close()`)
}

/** A change of the arena is under way. */
export function busyError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BUSY',
    `arena '${arena.name}': ${method}() in the middle of another call, which something replaced in this process made (a method of a ` +
      'prototype, a timer, a formatter of stacks): call it afterwards. Or that call was terminated (by the timeout of node:vm, or ' +
      'an inspector): the arena works again after the next turn of the event loop',
  )
}

/** `closeWhenIdle()` was called, and pinned blocks are still waited for. */
export function closingError(arena: ArenaIdentity, method: string, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `arena '${arena.name}': ${method}() after closeWhenIdle(), which waits for ${blocks(pinnedBlocks)} and gives out ` +
      'no new ones',
  )
}

/** The arena cannot be closed under those who use its memory. */
export function closePinnedError(arena: ArenaIdentity, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `arena '${arena.name}': close() with ${blocks(pinnedBlocks)}: unpin() them first, or call closeWhenIdle(), which ` +
      'closes at the last unpin()',
  )
}

/** The bytes of a pinned block are being used where they are. */
export function reallocPinnedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `arena '${arena.name}': realloc() of a pinned Buffer, whose bytes somebody is using where they are: unpin() it ` +
      'first, or allocate another and copy',
  )
}

export function notPinnedError(arena: ArenaIdentity, isLent: boolean): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_PINNED',
    `arena '${arena.name}': unpin() of a Buffer that is not pinned: call it once for each pin(); ` +
      (isLent ? 'lend() gives up its own hold' : 'its last unpin() may have ended it'),
  )
}

function blocks(pinnedBlocks: number): string {
  return pinnedBlocks === 1 ? '1 pinned block' : `${pinnedBlocks} pinned blocks`
}

/** A block's memory is no longer behind its Buffer, so its contents cannot be moved. */
export function detachedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DETACHED',
    `arena '${arena.name}': ${method}() of a Buffer whose ArrayBuffer was transferred or detached by somebody else: ` +
      'its bytes went with it. free() it',
  )
}

/** The arena holds no owners. */
export function untrackedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `arena '${arena.name}': ownerOf() of a view: the arena does not hold its Buffers: make it with trackOwners: true, or ` +
      'keep the Buffer that alloc() returned beside the view',
  )
}

/** The kernel did not take pages back. */
export function purgeError(arena: ArenaIdentity, method: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PURGE_FAILED',
    `arena '${arena.name}': ${method}(): the kernel refused to take pages back; they stay free, and are tried again ` +
      'by the timer or the next trim()',
    { cause },
  )
}

/**
 * Why `buffer` is not a live owner of this arena. `isOurs` tells whether an `ArrayBuffer` is over the arena's memory,
 * `history` where the block was allocated and first freed, if that is known.
 */
export function bufferMisuse(
  arena: ArenaIdentity,
  method: string,
  buffer: unknown,
  isOurs: (memory: ArrayBufferLike) => boolean,
  history: Error | undefined,
): Error {
  if (!ArrayBuffer.isView(buffer)) {
    return invalidArgType('buffer', `a Buffer that arena '${arena.name}' allocated`, buffer)
  }
  const where = `arena '${arena.name}': ${method}()`
  if (isOwner(buffer)) {
    const other = epochOf(buffer).arena
    return other === arena
      ? new ArenaError(
          'ERR_ARENA_DOUBLE_FREE',
          `${where} of a Buffer that was freed before${history === undefined ? '' : '; cause says where'}`,
          history === undefined ? undefined : { cause: history },
        )
      : new ArenaError(
          'ERR_ARENA_FOREIGN_BUFFER',
          `${where} of a Buffer of arena '${other.name}': call ${method}() there`,
        )
  }
  if (isOurs(buffer.buffer)) {
    return new ArenaError(
      'ERR_ARENA_NOT_OWNER',
      `${where} of a view (${buffer.byteLength} bytes) into a block: pass the very Buffer that the arena returned`,
    )
  }
  return new ArenaError(
    'ERR_ARENA_FOREIGN_BUFFER',
    `${where} of a Buffer that no arena allocated (${buffer.byteLength} bytes); those are left to the garbage collector`,
  )
}
