/** The errors of pools. A message has the form `arena 'name': method(): what is wrong. What to do`. */
import { ArenaError } from '../base/errors.js'
import {
  type ArenaIdentity,
  blockOf,
  epochOf,
  IDLE,
  isOwner,
  type PoolState,
  poolStateOf,
  SPENT,
  USED,
} from '../buffers/owner.js'
import type { PoolHost } from './pool-host.js'

/** The error of a call that would end a block, or change it, behind the back of the pool it belongs to. */
export function pooledError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_POOLED',
    `arena '${arena.name}': ${method}(): this Buffer belongs to a pool. Call release() of the pool that handed it out`,
  )
}

/** The error of `release()` within `use()`. */
function inUseError(arena: ArenaIdentity): ArenaError {
  return new ArenaError(
    'ERR_ARENA_POOLED',
    `arena '${arena.name}': release(): use() has handed this Buffer out, and releases it by itself. Do not call release() then`,
  )
}

/** The error of a second `release()`. */
export function releasedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DOUBLE_FREE',
    `arena '${arena.name}': ${method}(): this Buffer was released before, and waits in its pool. Do not use a Buffer after ` +
      'release()',
  )
}

/**
 * Returns the error that says why `buffer` cannot be released to the pool in which it would be in the state `acquired`.
 */
export function releaseMisuse(host: PoolHost, acquired: PoolState, method: string, buffer: unknown): Error {
  const { arena } = host
  if (!isOwner(buffer) || blockOf(buffer) === SPENT || host.isArenaClosed())
    return host.misuse(method, buffer)
  const state = poolStateOf(buffer)
  if (state === (acquired | IDLE)) return releasedError(arena, method)
  if (state === (acquired | USED)) return inUseError(arena)
  const epoch = epochOf(buffer)
  const isPooled = epoch.pool?.within === host.epoch()
  if (!isPooled && epoch !== host.epoch()) return host.misuse(method, buffer)
  const whose = isPooled
    ? 'is of another pool. Call release() of that pool'
    : 'is of no pool. Call arena.free()'
  return new ArenaError(
    'ERR_ARENA_FOREIGN_BUFFER',
    `arena '${arena.name}': ${method}(): this Buffer ${whose}`,
  )
}

export function poolClosedError(arena: ArenaIdentity, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_POOL_CLOSED',
    `arena '${arena.name}': ${method}(): the pool is closed. Close a pool only after its last acquire()`,
  )
}
