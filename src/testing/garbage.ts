/** Collects garbage on demand, also in a process that was started without `--expose-gc`. */
import { setImmediate } from 'node:timers'
import { ArenaError } from '../base/errors.js'
import { findGc } from '../base/gc.js'

// Copied at load: a test may put other timers in the place of Node's.
const startImmediate = setImmediate

/** What is weakly held may need a second collection, and finalizers run in turns after each of them. */
const ROUNDS = 3

/** Resolves on the next turn of the event loop. */
function turn(): Promise<void> {
  return new Promise(resolve => startImmediate(resolve))
}

/**
 * Collects the garbage of this thread, and resolves once finalizers have run. Use it before you measure
 * memory, so that garbage of V8's does not count. It works without `--expose-gc` too. It stops the thread for
 * some milliseconds, more with a large heap: it is for tests and benchmarks.
 *
 * Rejects with `ERR_ARENA_NOT_SUPPORTED` if the runtime gives no access to its collector.
 *
 * ```ts
 * await collectGarbage()
 * const before = rssBytes()
 * ```
 */
export async function collectGarbage(): Promise<void> {
  const gc = findGc()
  if (gc === undefined) {
    throw new ArenaError(
      'ERR_ARENA_NOT_SUPPORTED',
      'collectGarbage(): this runtime gives no access to its garbage collector. Run node with --expose-gc',
    )
  }
  for (let i = 0; i < ROUNDS; i++) {
    gc()
    await turn()
    await turn()
  }
}
