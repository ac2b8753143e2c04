/**
 * What an arena needs from the outside. It is injected, so that tests can count calls, make them fail or hold
 * the clock still.
 */

import { isMainThread } from 'node:worker_threads'
import { type Deferral, eventLoop, now } from '../base/deferral.js'
import { ArenaError } from '../base/errors.js'
import { REGION_BYTES } from '../heap/layout.js'
import { loadAddon, loadLedger, threadLedger } from '../memory/addon.js'
import { BookRegions } from '../memory/book-regions.js'
import type { Ledger } from '../memory/ledger.js'
import type { Bells, MallocRelease } from '../memory/malloc.js'
import type { SourceName } from '../memory/page-source.js'
import type { Addon } from '../memory/runtime.js'
import { ArenaGroup } from './arena-group.js'
import { collectGarbage } from './collect-garbage.js'
import { PressureWatch, readKernelFile } from './pressure-watch.js'
import { Reclaimer } from './reclaimer.js'
import { residentBytes } from './resident.js'

export interface Surroundings {
  /** Missing where pages come from the heap of the runtime: such an arena needs no addon. */
  readonly addon?: Addon
  readonly deferral: Deferral
  /** Returns the milliseconds of a clock that never goes back. */
  now(): number
  /**
   * The ledger of the process's limit, and the arenas of this thread. Without them an arena has only its own
   * limits.
   */
  readonly ledger?: Ledger
  readonly group?: ArenaGroup
  /**
   * Whether arenas begin with a small segment. That suits many arenas; a single one maps less often without
   * it.
   */
  readonly startsSmall?: boolean
  /** Memory for the books of all arenas of this thread. Without it each arena has its own. */
  readonly bookRegions?: BookRegions
  /** Looks for memory pressure while an arena has something to give back. */
  readonly watch?: PressureWatch
}

/** Surroundings with the addon, for pages from any source. */
export interface Environment extends Surroundings {
  readonly addon: Addon
}

/** The arenas of this thread. */
export const group = new ArenaGroup()

/** The watch that tells the arenas and the listeners of this thread of memory pressure. */
export const watch = new PressureWatch(
  group,
  eventLoop,
  now,
  // Only Linux has these files.
  process.platform === 'linux' ? readKernelFile : () => undefined,
)

/** The reclaimer of this thread. */
export const reclaimer = new Reclaimer({
  group,
  deferral: eventLoop,
  now,
  residentBytes,
  collectGarbage,
  malloc: availableAddon,
  isMainThread,
})

/** The addon, or undefined on a platform that has none. */
function availableAddon(): (MallocRelease & Bells) | undefined {
  try {
    return loadAddon()
  } catch (error) {
    if (error instanceof ArenaError) return undefined
    throw error
  }
}

let real: Environment | undefined

/** The surroundings of real arenas whose pages come from the heap of the runtime. Loads no addon. */
const withoutAddon: Surroundings = {
  deferral: eventLoop,
  now,
  ledger: threadLedger,
  group,
  watch,
  startsSmall: true,
}

/**
 * Returns the surroundings of real arenas with pages from `source`. `nativeBinding` is the path of the addon's
 * binary, if the program names one. Throws what `realEnvironment` throws if
 * the source needs the addon.
 */
export function surroundingsFor(source: SourceName, nativeBinding?: string): Surroundings {
  return source === 'heap' ? withoutAddon : realEnvironment(nativeBinding)
}

/**
 * Returns the environment of real arenas. Loads the addon at first use, and throws what `loadAddon` throws.
 */
export function realEnvironment(nativeBinding?: string): Environment {
  const addon = loadAddon(nativeBinding)
  if (real !== undefined) return real
  real = {
    addon,
    deferral: eventLoop,
    now,
    ledger: loadLedger(),
    group,
    watch,
    startsSmall: true,
    bookRegions: new BookRegions(addon, eventLoop, REGION_BYTES),
  }
  reclaimer.listen(addon)
  return real
}
