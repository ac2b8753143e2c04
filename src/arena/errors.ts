/** The errors of misuse of an arena. A message says what was passed, what is allowed and what to do. */
import { ArenaError, invalidArgType } from '../base/errors.js'
import { type ArenaIdentity, epochOf, isOwner } from '../buffers/owner.js'

export function closedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError('ERR_ARENA_CLOSED', `arena '${arena.name}': ${method}() after close()`)
}

/** The error of a call in the middle of a change of the same arena. */
export function busyError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BUSY',
    `arena '${arena.name}': ${method}() in the middle of another call, which something replaced in this process made (a method of a ` +
      'prototype, a timer, a formatter of stacks): call it afterwards. Or that call was terminated (by the timeout of node:vm, or ' +
      'an inspector): the arena works again after the next turn of the event loop',
  )
}

/** The error of a call after `closeWhenIdle()`, while it waits for pinned blocks. */
export function closingError(arena: ArenaIdentity, method: string, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `arena '${arena.name}': ${method}() after closeWhenIdle(), which waits for ${blocks(pinnedBlocks)} and gives out ` +
      'no new ones',
  )
}

/** The error of `close()` while blocks are pinned, so that their memory is in use. */
export function closePinnedError(arena: ArenaIdentity, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `arena '${arena.name}': close() with ${blocks(pinnedBlocks)}: unpin() them first, or call closeWhenIdle(), which ` +
      'closes at the last unpin()',
  )
}

/** The error of `realloc()` of a pinned block: its bytes are in use where they are. */
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

/** The error of a call that needs the contents of a block whose `ArrayBuffer` other code took away. */
export function detachedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DETACHED',
    `arena '${arena.name}': ${method}() of a Buffer whose ArrayBuffer was transferred or detached by somebody else: ` +
      'its bytes went with it. free() it',
  )
}

/** The error of `ownerOf()` of a view in an arena that does not hold its Buffers. */
export function untrackedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `arena '${arena.name}': ownerOf() of a view: the arena does not hold its Buffers: make it with trackOwners: true, or ` +
      'keep the Buffer that alloc() returned beside the view',
  )
}

/** The error of `trim()` and `trimAsync()` if the kernel did not take pages back. */
export function purgeError(arena: ArenaIdentity, method: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PURGE_FAILED',
    `arena '${arena.name}': ${method}(): the kernel refused to take pages back; they stay free, and are tried again ` +
      'by the timer or the next trim()',
    { cause },
  )
}

/**
 * Returns the error that says why `buffer` is not a live owner of this arena. `isOurs` says whether an
 * `ArrayBuffer` lies over the arena's memory. `history` says where the block was allocated and first freed,
 * if that is known.
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
