/**
 * `offheap/testing`: what integration tests and benchmarks ask about memory.
 *
 * @packageDocumentation
 */
export { collectGarbage } from './garbage.js'
export { assertNoLiveBlocks, type LiveBlocksOptions } from './live-blocks.js'
export { assertResidentBelow, type ResidentOptions, rssBytes } from './resident.js'
