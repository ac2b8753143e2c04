/** `offheap`: off-heap memory for Node services that goes back to the operating system when it is freed. */
export { Arena } from './arena.js'
export { ArenaError, type ArenaErrorCode } from './base/errors.js'
export type { AllocOptions } from './misuse.js'
export type { ArenaOptions } from './options.js'
export type { ArenaStats } from './stats.js'
