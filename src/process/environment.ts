/** What an arena needs of the world: injected, so that tests can count, fail or hold still what really runs. */

import { type Deferral, eventLoop, now } from '../base/deferral.js'
import { REGION_BYTES } from '../heap/layout.js'
import { loadKernel, loadLedger } from '../memory/addon.js'
import { BookRegions } from '../memory/book-regions.js'
import type { Kernel } from '../memory/kernel.js'
import type { Ledger } from '../memory/ledger.js'
import { ArenaGroup } from './arena-group.js'
import { PressureWatch } from './pressure-watch.js'

export interface Environment {
  readonly kernel: Kernel
  readonly deferral: Deferral
  /** Milliseconds of a clock that never goes back. */
  now(): number
  /** The process's limit, and the arenas of this thread; an arena without them is on its own. */
  readonly ledger?: Ledger
  readonly group?: ArenaGroup
  /** Whether arenas begin with a small segment, which suits many of them; one alone maps less often without. */
  readonly startsSmall?: boolean
  /** Memory for the books of all arenas of this thread; without it each has its own. */
  readonly bookRegions?: BookRegions
  /** Looks for memory pressure while an arena has something to give back. */
  readonly watch?: PressureWatch
}

/** The arenas of this thread. */
export const group = new ArenaGroup()

/** The pressure that they and the listeners of this thread are told of. */
export const watch = new PressureWatch(group, eventLoop, now)

let real: Environment | undefined

/** The real one. Loads the addon at first use; throws what `loadKernel` throws. */
export function realEnvironment(): Environment {
  if (real !== undefined) return real
  const kernel = loadKernel()
  real = {
    kernel,
    deferral: eventLoop,
    now,
    ledger: loadLedger(),
    group,
    watch,
    startsSmall: true,
    bookRegions: new BookRegions(kernel, eventLoop, REGION_BYTES),
  }
  return real
}
