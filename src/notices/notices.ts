/**
 * What an arena tells the outside, by the channels of `node:diagnostics_channel` and by the listeners of the
 * arena. No message is made if nobody listens. Every message goes out after the call that caused it, never
 * within it. So a listener that calls the arena does so between two calls.
 */
import { channel } from 'node:diagnostics_channel'
import { soon } from '../base/deferral.js'

/**
 * Why pages went back to the kernel:
 * - `'timer'`: their time was over
 * - `'free'`: they came free, with `releaseAfterMs: 0`
 * - `'trim'`: `trim()` or `trimAsync()` was called
 * - `'limit'`: a limit was reached
 * - `'pressure'`: memory was short around the process
 * - `'reclaim'`: `reclaim()` was called, or `reclaimWhenIdle()` called it
 * - `'growth'`: the arena needed more memory, and too much of what it held was free
 * - `'compact'`: a store moved its records together
 */
export type PurgeReason = 'timer' | 'free' | 'trim' | 'limit' | 'pressure' | 'reclaim' | 'growth' | 'compact'

/** The message on `offheap:purge`: pages went back to the kernel. */
export interface PurgeMessage {
  /** The arena's name. */
  arena: string
  /** Bytes of pages that went back. */
  bytes: number
  /** Calls that gave the pages back, a count. One call gives back many stretches of pages. */
  calls: number
  /** Why they went back. */
  reason: PurgeReason
}

/** The message on `offheap:grow`: an arena mapped a segment. */
export interface GrowMessage {
  /** The arena's name. */
  arena: string
  /** The length of the new segment, in bytes. */
  bytes: number
  /** The bytes of all segments, the new one included. */
  mappedBytes: number
}

/**
 * The message on `offheap:limit`, and for listeners of `'limit'`: an arena crossed its soft limit, or was
 * refused more memory.
 */
export interface LimitMessage {
  /** The arena's name. */
  arena: string
  /**
   * Which limit it was. `'soft'`: `softLimitBytes` was crossed after all free pages went back. `'arena'`:
   * `limitBytes` refused an allocation. `'process'`: the limit of `setProcessLimit()` refused one.
   */
  kind: 'soft' | 'arena' | 'process'
  /** That limit, in bytes. */
  limitBytes: number
  /** Bytes of pages that the arena holds, used and dirty. */
  committedBytes: number
}

/**
 * The message on `offheap:leak`: the Buffer or the arena that could free this memory was garbage-collected.
 */
export interface LeakMessage {
  /** The arena's name. */
  arena: string
  /**
   * `'block'`: a Buffer was collected without `free`. `'arena'`: an arena was collected without `close`, with
   * live blocks in it. `'store'`: a store was collected without `close`, with records in it.
   */
  kind: 'block' | 'arena' | 'store'
  /** Live blocks: 1 for a block, all blocks of an arena, all records of a store. */
  blocks: number
  /** For a block, the bytes that were asked for. For an arena or a store, the bytes of its pages in use. */
  bytes: number
  /** Where the block was allocated: the lines of a stack. Empty for an arena or a store. */
  stack: string
}

/** The message on `offheap:purge-refused`: the kernel has refused again and again to take pages back. */
export interface PurgeRefusedMessage {
  /** The arena's name. */
  arena: string
  /** Bytes of free pages that the arena still holds. */
  bytes: number
  /** The system error, with `code`, `errno` and `syscall`. */
  error: unknown
  /** A likely reason, and what to do about it. */
  advice: string
}

/** Is called for the event `'limit'` of an arena; see `arena.on`. */
export type LimitListener = (message: LimitMessage) => void

const channels = {
  purge: channel('offheap:purge'),
  grow: channel('offheap:grow'),
  limit: channel('offheap:limit'),
  pressure: channel('offheap:pressure'),
  leak: channel('offheap:leak'),
  refused: channel('offheap:purge-refused'),
}

let hasWarned = false
let hasWarnedOfRefusal = false

/**
 * Publishes `message` on `offheap:leak`. For the first leak of this thread it also emits a process warning.
 * It does so at once: the caller is never in the middle of a call of an arena.
 */
export function publishLeak(message: LeakMessage): void {
  if (channels.leak.hasSubscribers) channels.leak.publish(message)
  if (hasWarned) return
  hasWarned = true
  process.emitWarning(leakWarning(message), {
    code: 'OFFHEAP_LEAK',
    detail:
      `${message.stack === '' ? '' : `Allocated\n${message.stack}\n`}` +
      `${message.kind === 'store' ? 'Call close() before you drop a store' : 'Call free() for each Buffer, or end its scope'}. ` +
      'Only the first leak of a thread causes a warning. To be told of each leak ' +
      "that is found, subscribe to the diagnostics channel 'offheap:leak'. new Arena({ leaks: 'all' }) finds every leak, " +
      "leaks: 'off' finds none.",
  })
}

function leakWarning({ arena, kind, blocks, bytes }: LeakMessage): string {
  if (kind === 'block')
    return `arena '${arena}': a Buffer of ${bytes} bytes was garbage-collected without free()`
  const contents = kind === 'store' ? 'records' : 'live blocks'
  return `${kind} '${arena}' was garbage-collected without close(), with ${blocks} ${contents} in ${bytes} bytes of pages`
}

/** Returns why the kernel may refuse, and what to do about it. */
function adviceOn(error: unknown): string {
  const { code } = error as { code?: string }
  if (code === 'EINVAL')
    return (
      'The memory is locked (mlockall, mlock). Linux before 5.18 takes it back only after it was unlocked. ' +
      'Call munlockall(), or turn releasing off (releaseAfterMs: Infinity)'
    )
  if (code === 'EPERM' || code === 'EACCES' || code === 'ENOSYS')
    return 'A filter (seccomp) forbids madvise(MADV_DONTNEED). Allow it, or turn releasing off (releaseAfterMs: Infinity)'
  return 'The kernel may lack memory for its own tables, or mappings. Free memory, or raise vm.max_map_count'
}

function warnOfRefusal({ arena, bytes, error, advice }: PurgeRefusedMessage): void {
  if (hasWarnedOfRefusal) return
  hasWarnedOfRefusal = true
  const { message } = error as Error
  process.emitWarning(
    `arena '${arena}': the kernel does not take back ${bytes} free bytes (${message}). ${advice}`,
    {
      code: 'OFFHEAP_PURGE_REFUSED',
      detail:
        'The arena asks again, less and less often, and in the end once a minute. Only the first refusal of a thread causes a ' +
        "warning. To be told of each arena, subscribe to the diagnostics channel 'offheap:purge-refused'.",
    },
  )
}

/**
 * Publishes `message` on `offheap:pressure`. It does so at once: the caller is never in the middle of a call
 * of an arena.
 */
export function publishPressure(message: object): void {
  if (channels.pressure.hasSubscribers) channels.pressure.publish(message)
}

export class Notices {
  readonly #arenaName: string
  #limitListeners: readonly LimitListener[] = []

  constructor(arenaName: string) {
    this.#arenaName = arenaName
  }

  addLimitListener(listener: LimitListener): void {
    this.#limitListeners = [...this.#limitListeners, listener]
  }

  removeLimitListener(listener: LimitListener): void {
    const at = this.#limitListeners.lastIndexOf(listener)
    if (at >= 0) this.#limitListeners = this.#limitListeners.toSpliced(at, 1)
  }

  purged(bytes: number, calls: number, reason: PurgeReason): void {
    if (calls === 0 || !channels.purge.hasSubscribers) return
    const message: PurgeMessage = { arena: this.#arenaName, bytes, calls, reason }
    soon(() => channels.purge.publish(message))
  }

  /** The kernel keeps refusing to take pages back. It is asked ever more rarely from now on. */
  purgeRefused(error: unknown, bytes: number): void {
    const message: PurgeRefusedMessage = { arena: this.#arenaName, bytes, error, advice: adviceOn(error) }
    soon(() => {
      if (channels.refused.hasSubscribers) channels.refused.publish(message)
      warnOfRefusal(message)
    })
  }

  grew(bytes: number, mappedBytes: number): void {
    if (!channels.grow.hasSubscribers) return
    const message: GrowMessage = { arena: this.#arenaName, bytes, mappedBytes }
    soon(() => channels.grow.publish(message))
  }

  /** The soft limit was crossed. */
  crossed(limitBytes: number, committedBytes: number): void {
    const message: LimitMessage = { arena: this.#arenaName, kind: 'soft', limitBytes, committedBytes }
    // Each listener is called in a task of its own. If it throws, that is an uncaught exception, and the
    // other listeners are called all the same.
    for (const listener of this.#limitListeners) soon(() => listener(message))
    this.#publishLimit(message)
  }

  refused(kind: 'arena' | 'process', limitBytes: number, committedBytes: number): void {
    if (channels.limit.hasSubscribers)
      this.#publishLimit({ arena: this.#arenaName, kind, limitBytes, committedBytes })
  }

  #publishLimit(message: LimitMessage): void {
    if (channels.limit.hasSubscribers) soon(() => channels.limit.publish(message))
  }
}
