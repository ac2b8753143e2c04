/** The errors about the program break. Each says what happened, why, and what to do. */
import { ArenaError } from '../base/errors.js'
import type { BreakInUse, MappingId, OwnerId, ProgramBreak } from './kernel.js'

/**
 * Makes an arena the owner of the break; `owner` is its number in reports. Throws `ERR_ARENA_BREAK_IN_USE` or `ERR_ARENA_BREAK_UNAVAILABLE`.
 */
export function takeBreak(programBreak: ProgramBreak, arenaName: string, owner: OwnerId): MappingId {
  try {
    return programBreak.take(arenaName, owner)
  } catch (cause) {
    const { code, owner, message } = cause as BreakInUse
    if (code === 'EBUSY') {
      throw new ArenaError(
        'ERR_ARENA_BREAK_IN_USE',
        `arena '${arenaName}': the program break belongs to arena '${owner}'. All threads of a process share one ` +
          "program break. Call close() of that arena first, or leave out source: 'sbrk'",
        { cause },
      )
    }
    throw new ArenaError(
      'ERR_ARENA_BREAK_UNAVAILABLE',
      `arena '${arenaName}': the program break cannot be moved here (${message}). musl never moves it. A filter ` +
        '(seccomp) or a limit (RLIMIT_DATA) may forbid it. Or something is mapped right above it. Leave out ' +
        "source: 'sbrk'",
      { cause },
    )
  }
}

/** The error where the arena needs more pages, but other code has moved the break. */
export function lostError(): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BREAK_UNAVAILABLE',
    'other code moved the program break, so this arena does not move it any more. The arena uses the memory that it has, ' +
      "and gives pages back by madvise. Leave out source: 'sbrk' if other code moves the break",
  )
}

/**
 * The error where the arena needs more pages, but other code has moved an `ArrayBuffer` of the segment away.
 */
export function movedBufferError(): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BREAK_UNAVAILABLE',
    'an ArrayBuffer over this memory was transferred away (by transfer() or a byte stream), perhaps to another thread. So ' +
      'the program break must not move. Copy a block and transfer the copy, or leave out ' +
      "source: 'sbrk'",
  )
}
