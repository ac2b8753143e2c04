/** Memory pressure, as users ask and hear about it. */
import { requireFunction } from '../base/arguments.js'
import type { PressureSource } from '../release/pressure.js'
import { watch } from './environment.js'
import type { PressureListener } from './pressure-watch.js'

/**
 * Calls `listener` when memory gets short around this process: its container nears its memory limit, or tasks
 * wait for memory. Every arena of this thread has given back its free pages by then. The event says how many
 * bytes went back and how many are still missing, so that a service can shrink its caches before it is
 * killed. While the pressure lasts, `listener` is called again every five seconds.
 *
 * Returns a function that removes the listener. Listening does not keep the process alive. If nothing can be
 * read (`pressureSource()` is `'none'`), `listener` is never called.
 *
 * Throws `ERR_INVALID_ARG_TYPE` if `listener` is no function.
 *
 * ```ts
 * const stop = onPressure(({ missingBytes }) => cache.evictBytes(missingBytes))
 * ```
 */
export function onPressure(listener: PressureListener): () => void {
  requireFunction('listener', listener)
  return watch.add(listener)
}

/**
 * Returns which files of the kernel tell of memory pressure here: `'cgroup'` (use, limits and events of the
 * container), `'poll'` (use and limits only) or `'psi'` (waiting times only). `'none'` means that nothing can
 * be read, and pressure is not noticed.
 *
 * ```ts
 * if (pressureSource() === 'none') log.warn('memory pressure is not noticed here')
 * ```
 */
export function pressureSource(): PressureSource {
  return watch.source
}
