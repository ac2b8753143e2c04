/** The errors about the program break. Each says what happened, why, and what to do. */
import { ArenaError } from '../base/errors.js'
import type { BreakInUse, MappingId, ProgramBreak } from './kernel.js'

/**
 * Makes an arena the owner of the break. Throws `ERR_ARENA_BREAK_IN_USE` or `ERR_ARENA_BREAK_UNAVAILABLE`.
 */
export function takeBreak(programBreak: ProgramBreak, arenaName: string): MappingId {
  try {
    return programBreak.take(arenaName)
  } catch (cause) {
    const { code, owner, message } = cause as BreakInUse
    if (code === 'EBUSY') {
      throw new ArenaError(
        'ERR_ARENA_BREAK_IN_USE',
        `arena '${arenaName}': the program break belongs to arena '${owner}', and a process has one for all its ` +
          "threads. close() that arena first, or leave out source: 'sbrk'",
        { cause },
      )
    }
    throw new ArenaError(
      'ERR_ARENA_BREAK_UNAVAILABLE',
      `arena '${arenaName}': the program break cannot be moved here (${message}): musl never moves it, a filter ` +
        '(seccomp) or a limit (RLIMIT_DATA) may forbid it, and something may be mapped right above it. Leave out ' +
        "source: 'sbrk'",
      { cause },
    )
  }
}

/** The error where the arena needs more pages, but other code has moved the break. */
export function lostError(): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BREAK_UNAVAILABLE',
    'somebody else moved the program break, so this arena moves it no more: it serves what it holds, and gives pages ' +
      "back by madvise. Leave out source: 'sbrk' where other code moves the break",
  )
}

/**
 * The error where the arena needs more pages, but other code has moved an `ArrayBuffer` of the segment away.
 */
export function movedBufferError(): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BREAK_UNAVAILABLE',
    'an ArrayBuffer over this memory was transferred away (transfer(), a byte stream), perhaps to another thread, and the ' +
      "program break must not move under it. Copy blocks before they are transferred, or leave out source: 'sbrk'",
  )
}
