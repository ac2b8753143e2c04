/** Names for wraps: one sequence for all arenas of a thread, because the kernel interface knows no arenas. */
import type { WrapId } from './kernel.js'

let last: WrapId = 0

/** An id never returned before in this thread, above 0. */
export function nextWrapId(): WrapId {
  last++
  return last
}
