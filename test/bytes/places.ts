/** Where blocks can come from in these tests: arenas and scopes, with each option that changes what becomes of a block. */
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { Scope } from '../../src/arena/scope.js'
import { open } from '../support/world.js'

export interface Place {
  readonly arena: Arena
  /** The arena, or a scope of it. */
  readonly by: Arena | Scope
}

const OPTIONS: Record<string, ArenaOptions> = {
  'an arena': {},
  'with debug': { debug: true },
  'with leaks: all': { leaks: 'all' },
  'with trackOwners': { trackOwners: true, leaks: 'off' },
  'with wipeOnFree, all detached': { wipeOnFree: true, detachFromBytes: 0 },
  'over ordinary memory': { source: 'heap' },
}

/** Each kind of arena, and a scope of it. */
export const PLACES: [string, (options?: ArenaOptions) => Place][] = Object.entries(OPTIONS).flatMap(
  ([name, options]): [string, (options?: ArenaOptions) => Place][] => [
    [
      name,
      more => {
        const { arena } = open({ ...options, ...more })
        return { arena, by: arena }
      },
    ],
    [
      `${name}, in a scope`,
      more => {
        const { arena } = open({ ...options, ...more })
        return { arena, by: arena.scope() }
      },
    ],
  ],
)

/** What ends blocks in the middle of a call, and the code of the error that this call then throws. */
export const ENDS: [string, (place: Place) => void, string][] = [
  ['resets the arena', ({ arena }) => arena.reset(), 'ERR_ARENA_DOUBLE_FREE'],
  ['closes the arena', ({ arena }) => arena.close(), 'ERR_ARENA_CLOSED'],
]

/** That the arena is whole, and has so many live blocks. */
export function liveBlocksOf(arena: Arena): number {
  arena.check()
  return arena.stats().liveBlocks
}

/** What a promise rejects with, or undefined. */
export async function rejectionOf(
  promise: Promise<unknown>,
): Promise<(Error & { code?: string; cause?: unknown }) | undefined> {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  return undefined
}
