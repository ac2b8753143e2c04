/**
 * The errors of misuse of an arena. A message has the form `arena 'name': method(): what is wrong. What to do`.
 */
import { ArenaError, invalidArgType } from '../base/errors.js'
import { type ArenaIdentity, epochOf, isOwner } from '../buffers/owner.js'

export function closedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `arena '${arena.name}': ${method}(): the arena is closed. Close an arena only after its last use`,
  )
}

/** The error of a call in the middle of a change of the same arena. */
export function busyError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BUSY',
    `arena '${arena.name}': ${method}(): another call of this arena has not finished. If a function that this process replaced ` +
      'made this call (a method of a prototype, a timer, a formatter of stacks), make it later. If the other call was ' +
      'terminated (by the timeout of node:vm, or an inspector), try again after the next turn of the event loop',
  )
}

/** The error of a call after `closeWhenIdle()`, while it waits for pinned blocks. */
export function closingError(arena: ArenaIdentity, method: string, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `arena '${arena.name}': ${method}(): after closeWhenIdle() the arena gives no new blocks. It waits for ` +
      `${blocks(pinnedBlocks)}, then it closes. Use another arena`,
  )
}

/** The error of `close()` while blocks are pinned, so that their memory is in use. */
export function closePinnedError(arena: ArenaIdentity, pinnedBlocks: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `arena '${arena.name}': close(): the arena has ${blocks(pinnedBlocks)}. Call unpin() first, or call ` +
      'closeWhenIdle(), which closes at the last unpin()',
  )
}

/** The error of `realloc()` of a pinned block: its bytes are in use where they are. */
export function reallocPinnedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `arena '${arena.name}': realloc(): the Buffer is pinned, so its bytes must stay where they are. Call unpin() ` +
      'first, or allocate another block and copy the bytes',
  )
}

export function notPinnedError(arena: ArenaIdentity, isLent: boolean): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_PINNED',
    `arena '${arena.name}': unpin(): the Buffer is not pinned by pin(). Call unpin() once for each pin()` +
      (isLent ? '. lend() ends its own pin' : '. The last unpin() may have ended the block'),
  )
}

function blocks(pinnedBlocks: number): string {
  return pinnedBlocks === 1 ? '1 pinned block' : `${pinnedBlocks} pinned blocks`
}

/** The error of a call that needs the contents of a block whose `ArrayBuffer` other code took away. */
export function detachedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DETACHED',
    `arena '${arena.name}': ${method}(): other code transferred or detached the ArrayBuffer of this Buffer, and the ` +
      'bytes went with it. Call free() with this Buffer',
  )
}

/** The error of a stream one of whose blocks other code took away before its bytes were consumed. */
export function streamDetachedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DETACHED',
    `arena '${arena.name}': stream(): other code transferred or detached the ArrayBuffer of a block that is being streamed, and ` +
      'the bytes went with it. Give that code a copy: Uint8Array.from(buffer)',
  )
}

/** The error of `ownerOf()` of a view in an arena that does not hold its Buffers. */
export function untrackedError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `arena '${arena.name}': ownerOf(): the argument is a view, and this arena does not hold its Buffers. Make the arena ` +
      'with trackOwners: true, or store the Buffer that alloc() returned together with the view',
  )
}

/** The error of `trim()` and `trimAsync()` if the kernel did not take pages back. */
export function purgeError(arena: ArenaIdentity, method: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PURGE_FAILED',
    `arena '${arena.name}': ${method}(): the kernel refused to take pages back; cause says why. The pages stay free. ` +
      'The timer, or the next trim(), tries again',
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
          `${where}: this Buffer was freed before (by free(), realloc(), relocate(), stream(), reset() or the end of a scope)` +
            `${history === undefined ? '' : '; cause says where'}. Do not use a Buffer after that`,
          history === undefined ? undefined : { cause: history },
        )
      : new ArenaError(
          'ERR_ARENA_FOREIGN_BUFFER',
          `${where}: this Buffer is of arena '${other.name}'. Call ${method}() of that arena`,
        )
  }
  if (isOurs(buffer.buffer)) {
    return new ArenaError(
      'ERR_ARENA_NOT_OWNER',
      `${where}: the argument is a view (${buffer.byteLength} bytes) of a block. Pass the Buffer itself that the arena returned`,
    )
  }
  return new ArenaError(
    'ERR_ARENA_FOREIGN_BUFFER',
    `${where}: no arena allocated this Buffer (${buffer.byteLength} bytes). Pass only Buffers of this arena; the garbage ` +
      'collector frees all others',
  )
}
