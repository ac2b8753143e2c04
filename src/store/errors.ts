/** The errors of misuse of a store. A message has the form `store 'name': method(): what is wrong. What to do`. */
import { ArenaError, invalidArgType, show } from '../base/errors.js'

/** The error of a ref that names no live record. `wasUsed`: a record had its slot once. */
export function refError(storeName: string, method: string, ref: unknown, wasUsed: boolean): Error {
  if (typeof ref !== 'number') {
    return invalidArgType('ref', `a ref that store '${storeName}' returned`, ref)
  }
  const where = `store '${storeName}': ${method}()`
  return new ArenaError(
    'ERR_ARENA_DOUBLE_FREE',
    wasUsed
      ? `${where}: ref ${show(ref)} names no record any more: it was freed, by free(), sweep() or reset(), or it is a ref of another store. Drop a ref when you free its record`
      : `${where}: ${show(ref)} is no ref of this store. Pass what put(), alloc() or allocUnsafe() returned`,
  )
}

export function closedError(storeName: string, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `store '${storeName}': ${method}(): the store is closed. Close a store only after its last use`,
  )
}

export function closingError(storeName: string, method: string, pinnedRecords: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_CLOSED',
    `store '${storeName}': ${method}(): after closeWhenIdle() the store takes no new records. It waits for ` +
      `${records(pinnedRecords)}, then it closes. Use another store`,
  )
}

/** The error of `close()` while records are pinned. */
export function closePinnedError(storeName: string, pinnedRecords: number): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `store '${storeName}': close(): the store has ${records(pinnedRecords)}. Call unpin() first, or call ` +
      'closeWhenIdle(), which closes at the last unpin()',
  )
}

export function reallocPinnedError(storeName: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PINNED',
    `store '${storeName}': realloc(): the record is pinned, so its bytes must stay where they are. Call unpin() first, ` +
      'or put() another record',
  )
}

export function busyError(storeName: string, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BUSY',
    `store '${storeName}': ${method}(): another call of this store has not finished. Make this call after it, or, if ` +
      'the other one was terminated, after the next turn of the event loop',
  )
}

export function purgeError(storeName: string, method: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_PURGE_FAILED',
    `store '${storeName}': ${method}(): the kernel refused to take pages back; cause says why. The pages stay free. ` +
      'The timer, or the next trim(), tries again',
    { cause },
  )
}

/** The error of a compaction for which the kernel, or the runtime, had no memory. No record was harmed. */
export function compactMemoryError(storeName: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_OUT_OF_MEMORY',
    `store '${storeName}': there is no memory to move records with; cause says why. No record has changed. Free records, ` +
      'or give the process more memory',
    { cause },
  )
}

function records(count: number): string {
  return count === 1 ? '1 pinned record' : `${count} pinned records`
}
