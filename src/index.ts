/** `offheap`: off-heap memory for Node services that goes back to the operating system when it is freed. */
export { Arena } from './arena.js'
export { type ArenaTotals, arenas, totals } from './arenas.js'
export { ArenaError, type ArenaErrorCode } from './base/errors.js'
export type { DamageMessage } from './buffers/debug-reports.js'
export type { LeakMode } from './buffers/leaks.js'
export type { ArenaBuffer } from './buffers/owner.js'
export type { AllocOptions } from './misuse.js'
export type {
  GrowMessage,
  LeakMessage,
  LimitListener,
  LimitMessage,
  PurgeMessage,
  PurgeReason,
  PurgeRefusedMessage,
} from './notices.js'
export { onPressure, pressureSource } from './on-pressure.js'
export type { ArenaOptions, DebugOptions } from './options.js'
export type { PressureEvent, PressureListener } from './pressure-watch.js'
export { processLimit, setProcessLimit } from './process-limit.js'
export type { PressureSource } from './release/pressure.js'
export type { Scope } from './scope.js'
export type { ArenaStats } from './stats.js'
