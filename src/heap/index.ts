/**
 * `offheap/heap`: the bookkeeping alone, without the addon.
 *
 * @packageDocumentation
 */
export { ArenaError, type ArenaErrorCode } from '../base/errors.js'
export type { Block } from '../base/units.js'
export { Heap } from './heap.js'
export type {
  HeapAllocateOptions,
  HeapCompactOptions,
  HeapMove,
  HeapOptions,
  HeapStats,
} from './heap-options.js'
export type { SavedHeap } from './saved-heap.js'
