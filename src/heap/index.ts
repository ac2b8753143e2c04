/** `offheap/heap`: the bookkeeping without the addon. */
export { ArenaError, type ArenaErrorCode } from '../base/errors.js'
export type { Block } from '../base/units.js'
export { Heap, type HeapOptions, type HeapStats } from './heap.js'
