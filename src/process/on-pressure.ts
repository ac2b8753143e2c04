/** Memory pressure, as users ask and hear about it. */
import { requireFunction } from '../base/arguments.js'
import type { PressureSource } from '../release/pressure.js'
import { watch } from './environment.js'
import type { PressureListener } from './pressure-watch.js'

/**
 * Calls `listener` when memory gets short around this process: its container nears its limit, or tasks wait for memory.
 * Every arena of this thread has given back what is free by then; the event says how much that was and how much is still
 * missing, so that a service can shed its caches before it is killed. While the pressure lasts, it is called again every
 * five seconds. Returns what ends it. Keeps no process alive. Where nothing can be read (`pressureSource()` is `'none'`)
 * it is never called.
 *
 * Throws `ERR_INVALID_ARG_TYPE` for what is no function.
 *
 * ```ts
 * const stop = onPressure(({ missingBytes }) => cache.evictBytes(missingBytes))
 * ```
 */
export function onPressure(listener: PressureListener): () => void {
  requireFunction('listener', listener)
  return watch.add(listener)
}

/** What tells of pressure here; `'none'` where nothing can be read, and pressure is not noticed. */
export function pressureSource(): PressureSource {
  return watch.source
}
