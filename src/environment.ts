/** What an arena needs of the world: injected, so that tests can count, fail or hold still what really runs. */
import { type Deferral, eventLoop } from './base/deferral.js'
import { loadKernel } from './memory/addon.js'
import type { Kernel } from './memory/kernel.js'

export interface Environment {
  readonly kernel: Kernel
  readonly deferral: Deferral
  /** Milliseconds of a clock that never goes back. */
  now(): number
}

/** The real one. Loads the addon at first use; throws what `loadKernel` throws. */
export function realEnvironment(): Environment {
  return { kernel: loadKernel(), deferral: eventLoop, now: () => performance.now() }
}
