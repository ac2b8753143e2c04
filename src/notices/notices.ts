/**
 * What an arena tells the outside: the channels of `node:diagnostics_channel` and the listeners of an arena. Nothing is
 * made where nobody listens. Everything is told after the call that caused it, never within it: whatever a listener
 * does to the arena, it does between two calls.
 */
import { channel } from 'node:diagnostics_channel'
import { soon } from '../base/deferral.js'

/** Why pages went back. `'growth'`: more memory was needed, and too much of what the arena had was free. */
export type PurgeReason = 'timer' | 'free' | 'trim' | 'limit' | 'pressure' | 'growth'

/** On `offheap:purge`: pages went back to the kernel. */
export interface PurgeMessage {
  /** The arena's name. */
  arena: string
  bytes: number
  /** System calls made for it, a count. */
  calls: number
  reason: PurgeReason
}

/** On `offheap:grow`: an arena mapped a segment. */
export interface GrowMessage {
  arena: string
  /** Of the new segment. */
  bytes: number
  /** Of all segments, this one included. */
  mappedBytes: number
}

/** On `offheap:limit`, and for listeners of `'limit'`: an arena holds more than its soft limit, or was refused more. */
export interface LimitMessage {
  arena: string
  /** Which limit: `'soft'` was crossed, after all that is free went back; the others refused an allocation. */
  kind: 'soft' | 'arena' | 'process'
  limitBytes: number
  /** Bytes of pages that the arena holds. */
  committedBytes: number
}

/** On `offheap:leak`: nobody can free this memory any more, because what it was to be freed by was collected. */
export interface LeakMessage {
  arena: string
  /**
   * `'block'`: the Buffer that the arena returned was collected unfreed. `'arena'`: the arena was, unclosed and with live
   * blocks.
   */
  kind: 'block' | 'arena'
  /** Live blocks: 1, or all of the arena's. */
  blocks: number
  /** Of a block: what was asked for. Of an arena: its pages in use. */
  bytes: number
  /** Where the block was allocated, the lines of a stack; empty for an arena. */
  stack: string
}

/** On `offheap:purge-refused`: the kernel refuses to take pages back, again and again. */
export interface PurgeRefusedMessage {
  /** The arena's name. */
  arena: string
  /** Bytes of free pages that stay. */
  bytes: number
  /** What the kernel said: `code`, `errno` and `syscall`. */
  error: unknown
  /** Why that may be, and what to do. */
  advice: string
}

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
 * Tells `offheap:leak`, and, for the first leak of this thread, whoever listens to the process's warnings. The caller stands
 * between two calls already.
 */
export function publishLeak(message: LeakMessage): void {
  if (channels.leak.hasSubscribers) channels.leak.publish(message)
  if (hasWarned) return
  hasWarned = true
  process.emitWarning(leakWarning(message), {
    code: 'OFFHEAP_LEAK',
    detail:
      `${message.stack === '' ? '' : `Allocated\n${message.stack}\n`}` +
      "No other leak is warned of: subscribe to the diagnostics channel 'offheap:leak' to hear of all that are found; " +
      "new Arena({ leaks: 'all' }) finds every one, leaks: 'off' none.",
  })
}

function leakWarning({ arena, kind, blocks, bytes }: LeakMessage): string {
  return kind === 'block'
    ? `arena '${arena}': a Buffer of ${bytes} bytes was garbage-collected without free()`
    : `arena '${arena}' was garbage-collected without close(), with ${blocks} live blocks on ${bytes} bytes of pages`
}

/** Why a kernel may refuse, and what to do. */
function adviceOn(error: unknown): string {
  const { code } = error as { code?: string }
  if (code === 'EINVAL')
    return (
      'The memory is locked (mlockall, mlock), which Linux before 5.18 gives back only once it is unlocked: ' +
      'call munlockall(), or do without releasing (releaseAfterMs: Infinity)'
    )
  if (code === 'EPERM' || code === 'EACCES' || code === 'ENOSYS')
    return 'A filter (seccomp) forbids madvise(MADV_DONTNEED): allow it, or do without releasing (releaseAfterMs: Infinity)'
  return 'The kernel may be short of memory for its own tables, or of mappings (vm.max_map_count)'
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
        'It is asked again, ever more rarely, once a minute in the end. No other arena of this thread warns of that: ' +
        "subscribe to the diagnostics channel 'offheap:purge-refused'.",
    },
  )
}

/** Tells `offheap:pressure`; the caller stands between two calls already. */
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

  /** The kernel refuses to take pages back, and is asked ever more rarely. */
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
    // Each in a task of its own: what one throws is an uncaught exception, and keeps the others from nothing.
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
