/**
 * `offheap`: off-heap memory for Node services that goes back to the operating system when it is freed.
 *
 * @packageDocumentation
 */
export { Arena } from './arena/arena.js'
export { type ArenaTotals, arenas, totals } from './arena/arenas.js'
export type { AllocOptions } from './arena/arguments.js'
export type { ArenaOptions, DebugOptions, SourceName } from './arena/options.js'
export type { Scope } from './arena/scope.js'
export type { ArenaStats } from './arena/stats.js'
export { ArenaError, type ArenaErrorCode } from './base/errors.js'
export type { LeakMode } from './buffers/leaks.js'
export type { ArenaBuffer } from './buffers/owner.js'
export type { BytesLike } from './bytes/bytes-in.js'
export type { ReadableFile } from './bytes/open-file.js'
export type { CollectOptions, ReadFileOptions } from './bytes/options.js'
export type { ByteStream, BytesChunk, WebStream, WebStreamReader } from './bytes/sources.js'
export type { DamageMessage } from './notices/damage.js'
export type {
  GrowMessage,
  LeakMessage,
  LimitListener,
  LimitMessage,
  PurgeMessage,
  PurgeReason,
  PurgeRefusedMessage,
} from './notices/notices.js'
export type { PoolOptions } from './pools/options.js'
export type { BufferPool, PoolStats } from './pools/pool.js'
export { onPressure, pressureSource } from './process/on-pressure.js'
export type { PressureEvent, PressureListener } from './process/pressure-watch.js'
export { processLimit, setProcessLimit } from './process/process-limit.js'
export { type ReclaimOptions, type ReclaimReport, reclaim } from './process/reclaim.js'
export { type ReclaimWhenIdleOptions, reclaimWhenIdle } from './process/reclaim-when-idle.js'
export type { PressureSource } from './release/pressure.js'
export {
  type ArenaPart,
  type ArenasPart,
  type MallocName,
  type MallocPart,
  type MemoryPart,
  type MemoryReport,
  memoryReport,
  type V8Part,
  type V8Space,
} from './report/memory-report.js'
export type { StoreOptions } from './store/options.js'
export type { OldRecord } from './store/samples.js'
export type { Ref } from './store/slots.js'
export type { CompactReport, StoreStats } from './store/stats.js'
export { type CompactOptions, Store } from './store/store.js'
