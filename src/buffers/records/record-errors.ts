/** The errors about the memory of records. A message has the form `store 'name': what is wrong. What to do`. */
import { ArenaError, isOverflow } from '../../base/errors.js'
import { type Refusal, refusalOf } from '../transfer-refusal.js'

/**
 * The error of a call that needs the bytes of a record whose `ArrayBuffer` other code took away. `areGone`: the bytes
 * went with it; otherwise they can be read again later.
 */
export function lostError(storeName: string, areGone: boolean): ArenaError {
  return new ArenaError(
    'ERR_ARENA_DETACHED',
    `store '${storeName}': other code took the ArrayBuffer of a view away, with this record in it, as byte streams and a ` +
      `transfer do. ${areGone ? 'The bytes are gone: free the record' : 'The record can be read again when that ArrayBuffer was collected'}. ` +
      'Give such code copies of records: copy(ref)',
  )
}

/**
 * The error of a call that needs an `ArrayBuffer` over a record, for which the runtime has thrown `cause`. The record is
 * as before. What does not come of a lack of memory is thrown as it is.
 */
export function memoryError(storeName: string, cause: unknown): unknown {
  if (cause instanceof ArenaError || isOverflow(cause)) return cause
  return new ArenaError(
    'ERR_ARENA_OUT_OF_MEMORY',
    `store '${storeName}': the runtime has no memory for an ArrayBuffer over the record; cause says why. The record has not ` +
      'changed. Free records, or give the process more memory',
    { cause },
  )
}

export function notPinnedError(storeName: string, isLent: boolean): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_PINNED',
    `store '${storeName}': unpin(): the record is not pinned by pin(). Call unpin() once for each pin()` +
      (isLent ? '. lend() ends its own pin' : '. The last unpin() may have ended the record'),
  )
}

/** Returns the `Refusal` for the buffers over records of the store with that name. */
export function recordRefusal(storeName: string): Refusal {
  return refusalOf(
    method =>
      new ArenaError(
        'ERR_ARENA_NOT_TRANSFERABLE',
        `store '${storeName}': ${method}(): this ArrayBuffer is memory of the store, which it needs for records. ${method}() ` +
          'would take them away. Copy the bytes: copy(ref), or Uint8Array.from(view).buffer',
      ),
  )
}
