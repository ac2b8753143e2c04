/**
 * Numbers for wraps. All arenas of a thread share one sequence, because the runtime knows no arenas.
 */
import type { WrapId } from './runtime.js'

let last: WrapId = 0

/** Returns a number above 0 that was never returned before in this thread. */
export function nextWrapId(): WrapId {
  last++
  return last
}
