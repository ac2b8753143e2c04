/** What an arena needs of the world: injected, so that tests can count, fail or hold still what really runs. */

import { ArenaGroup } from './arena-group.js'
import { type Deferral, eventLoop, now } from './base/deferral.js'
import { loadKernel, loadLedger } from './memory/addon.js'
import type { Kernel } from './memory/kernel.js'
import type { Ledger } from './memory/ledger.js'
import { PressureWatch } from './pressure-watch.js'

export interface Environment {
  readonly kernel: Kernel
  readonly deferral: Deferral
  /** Milliseconds of a clock that never goes back. */
  now(): number
  /** The process's limit, and the arenas of this thread; an arena without them is on its own. */
  readonly ledger?: Ledger
  readonly group?: ArenaGroup
  /** Looks for memory pressure while an arena has something to give back. */
  readonly watch?: PressureWatch
}

/** The arenas of this thread. */
export const group = new ArenaGroup()

/** The pressure that they and the listeners of this thread are told of. */
export const watch = new PressureWatch(group, eventLoop, now)

/** The real one. Loads the addon at first use; throws what `loadKernel` throws. */
export function realEnvironment(): Environment {
  return {
    kernel: loadKernel(),
    deferral: eventLoop,
    now,
    ledger: loadLedger(),
    group,
    watch,
  }
}
