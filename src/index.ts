/** `offheap`: off-heap memory for Node services that goes back to the operating system when it is freed. */
export { Arena } from './arena.js'
export { ArenaError, type ArenaErrorCode } from './base/errors.js'
export type { AllocOptions } from './misuse.js'
export type { GrowMessage, LimitListener, LimitMessage, PurgeMessage, PurgeReason } from './notices.js'
export type { ArenaOptions } from './options.js'
export { processLimit, setProcessLimit } from './process-limit.js'
export type { ArenaStats } from './stats.js'
