/**
 * Carries out what `idle-policy` decides: looks at the event loop by timer while the process is busy, reclaims when
 * it has become idle, and then sleeps without a timer. What a reclaim is comes from outside.
 *
 * Invariant, checked by `check()`:
 *  1. until its end, it has exactly one of: a timer, a sleep, a reclaim that runs
 */

import { getHeapStatistics } from 'node:v8'
import { requireNumber } from '../base/arguments.js'
import { invariant } from '../base/assert.js'
import { type Deferral, eventLoop, now, type Timer } from '../base/deferral.js'
import { outOfRange } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { MIB } from '../base/units.js'
import { makeLoopWatch } from '../memory/addon.js'
import type { Collection } from './collect-garbage.js'
import { reclaimer, watch } from './environment.js'
import {
  type Decision,
  IdlePolicy,
  type IdleSettings,
  type MemoryCounts,
  WAKE_ACTIVE_MS,
} from './idle-policy.js'
import { LoopActivity, loopActiveMs } from './loop-activity.js'
import type { PressureWatch } from './pressure-watch.js'
import { requireCollection } from './reclaim.js'

/** What can be set in `reclaimWhenIdle`. */
export interface ReclaimWhenIdleOptions {
  /** How long the event loop must have been idle, in milliseconds. 1,000 unless it is set. */
  afterMs?: number
  /**
   * Which of V8's garbage to collect, as in `reclaim`. Unless it is set: `'major'` while V8 uses less than 64 MiB of heap
   * in this thread, which takes some 50 ms, and `'minor'` above that.
   */
  collectGarbage?: 'none' | 'minor' | 'major'
  /**
   * The least time from the start of one reclaim to the next, in milliseconds. 2,000 unless it is set. `Infinity`:
   * it reclaims once, and then only under pressure.
   */
  minIntervalMs?: number
}

/**
 * Gives memory back. Resolves with how long that kept the event loop waiting in one go, at most. `reclaim` is one.
 */
export type Reclaim = (options: {
  collectGarbage: 'none' | Collection
}) => Promise<{ readonly longestPauseMs: number }>

/** What a reclaimer needs from the outside. It is injected, so that tests can hold the clock still. */
export interface IdleSurroundings {
  readonly deferral: Deferral
  now(): number
  /** How long the event loop ever was active, in milliseconds. */
  activeMs(): number
  readonly activity: Pick<LoopActivity, 'sleep'>
  readonly pressure: Pick<PressureWatch, 'add' | 'hear'>
  readMemory(): MemoryCounts
  /** What V8 uses of its heap, in bytes. */
  heapBytes(): number
  warn(error: unknown): void
  readonly reclaim: Reclaim
}

/** As long as timers can wait. */
const MAX_MS = 2 ** 31 - 1
const DEFAULT_AFTER_MS = 1_000
/**
 * What a reclaim gives back is faulted in again with the next traffic: 36 MiB are 9,216 faults of about 2 µs. Once in
 * two seconds that is 1 % of the time.
 */
const DEFAULT_MIN_INTERVAL_MS = 2_000
/** Up to here V8 collects all garbage within some 50 ms. Who comes meanwhile waits no longer. */
const MAJOR_HEAP_BYTES = 64 * MIB

const KNOWN_OPTIONS = keysOf<ReclaimWhenIdleOptions>({
  afterMs: true,
  collectGarbage: true,
  minIntervalMs: true,
})

interface Settings extends IdleSettings {
  /** Undefined: what the size of V8's heap suggests. */
  readonly collectGarbage: 'none' | Collection | undefined
}

/**
 * Checks the options and fills in the defaults. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` or
 * `ERR_INVALID_ARG_VALUE`.
 */
export function resolveIdleOptions(options: ReclaimWhenIdleOptions): Settings {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { afterMs = DEFAULT_AFTER_MS, collectGarbage, minIntervalMs = DEFAULT_MIN_INTERVAL_MS } = options
  requireNumber('options.afterMs', afterMs, Number.POSITIVE_INFINITY)
  if (afterMs > MAX_MS) throw outOfRange('options.afterMs', `>= 0 and <= ${MAX_MS}`, afterMs)
  requireNumber('options.minIntervalMs', minIntervalMs, MAX_MS)
  if (collectGarbage !== undefined) requireCollection(collectGarbage)
  return { afterMs, collectGarbage, minIntervalMs }
}

/** The reclaim that was begun last in this thread, by any reclaimer. It never rejects. */
let last: Promise<unknown> = Promise.resolve()

export class IdleReclaimer {
  readonly #settings: Settings
  readonly #surroundings: IdleSurroundings
  readonly #policy: IdlePolicy
  #timer: Timer | null = null
  #endSleep: (() => void) | null = null
  #endPressure: (() => void) | null = null
  #hasWarned = false
  #hasEnded = false

  constructor(settings: Settings, surroundings: IdleSurroundings) {
    this.#settings = settings
    this.#surroundings = surroundings
    this.#policy = new IdlePolicy(settings)
    this.#sleep()
  }

  /** Ends it: no reclaim begins from now on. One that runs comes to its end. */
  readonly end = (): void => {
    this.#hasEnded = true
    this.#rest()
  }

  /** Ends the timer, the sleep and the listening to pressure. */
  #rest(): void {
    this.#timer?.cancel()
    this.#endSleep?.()
    this.#endPressure?.()
    this.#timer = null
    this.#endSleep = null
    this.#endPressure = null
  }

  /**
   * Asleep it hears of pressure only if somebody else has it looked for, since looking needs a timer. Then there is
   * hardly anything to give back, unless other listeners free something now.
   */
  #sleep(): void {
    const { activity, pressure } = this.#surroundings
    this.#rest()
    this.#endSleep = activity.sleep(WAKE_ACTIVE_MS, () => this.#wake())
    this.#endPressure = pressure.hear(() => this.#relieve())
  }

  #wake(): void {
    const { pressure, activeMs, now } = this.#surroundings
    this.#rest()
    this.#endPressure = pressure.add(() => this.#relieve())
    this.#do(this.#policy.wake(now(), activeMs()))
  }

  /** There is pressure. The event may be on its way still when this has ended. */
  #relieve(): void {
    if (!this.#hasEnded && this.#policy.allowsUnderPressure(this.#surroundings.now())) this.#reclaim()
  }

  #look(): void {
    const { activeMs, now, readMemory } = this.#surroundings
    this.#timer = null
    this.#do(this.#policy.look(now(), activeMs(), readMemory))
  }

  #do(decision: Decision): void {
    if (decision.kind === 'sleep') this.#sleep()
    else if (decision.kind === 'reclaim') this.#reclaim()
    else this.#timer = this.#surroundings.deferral.after(decision.afterMs, () => this.#look())
  }

  #reclaim(): void {
    this.#rest()
    this.#policy.begin(this.#surroundings.now())
    // One after the other: each may collect something else.
    last = last.then(() => this.#run())
  }

  /** Never rejects: an error becomes a warning. */
  async #run(): Promise<void> {
    const { reclaim, readMemory, heapBytes, warn } = this.#surroundings
    let pauseMs = 0
    try {
      const collectGarbage =
        this.#settings.collectGarbage ?? (heapBytes() < MAJOR_HEAP_BYTES ? 'major' : 'minor')
      if (!this.#hasEnded) pauseMs = (await reclaim({ collectGarbage })).longestPauseMs
    } catch (error) {
      if (!this.#hasWarned) warn(error)
      this.#hasWarned = true
    }
    if (this.#hasEnded) return
    this.#policy.end(readMemory(), pauseMs)
    this.#sleep()
  }

  check(): void {
    this.#policy.check(this.#surroundings.now())
    const states = [this.#timer !== null, this.#endSleep !== null, this.#policy.state === 'reclaiming']
    const count = states.filter(Boolean).length
    invariant(this.#hasEnded || count === 1, '1: a timer, a sleep or a reclaim')
  }
}

/** The sleepers of this thread. */
const activity = new LoopActivity(eventLoop, loopActiveMs, makeLoopWatch)

const { memoryUsage } = process

/** What cannot be read, for want of a file descriptor, counts as a memory that nothing is to be had from. */
const UNKNOWN: MemoryCounts = { residentBytes: 0, heldBytes: Number.POSITIVE_INFINITY }

function readMemory(): MemoryCounts {
  try {
    const { rss, heapTotal, external } = memoryUsage()
    return { residentBytes: rss, heldBytes: heapTotal + external }
  } catch {
    return UNKNOWN
  }
}

function warn(error: unknown): void {
  const { message = String(error) } = Object(error) as Partial<Error>
  process.emitWarning(`reclaimWhenIdle: memory could not be given back (${message})`, {
    code: 'OFFHEAP_RECLAIM_FAILED',
    detail:
      'It is tried again after the next busy time. Only the first failure of a call of reclaimWhenIdle() causes a warning.',
  })
}

const heapBytes = (): number => getHeapStatistics().used_heap_size

/** Starts a reclaimer of this thread. Returns a function that ends it. Throws what `resolveIdleOptions` throws. */
export function startReclaiming(options: ReclaimWhenIdleOptions, reclaim: Reclaim): () => void {
  const settings = resolveIdleOptions(options)
  const real = { deferral: eventLoop, now, activeMs: loopActiveMs, activity, pressure: watch }
  return new IdleReclaimer(settings, { ...real, readMemory, heapBytes, warn, reclaim }).end
}

/**
 * Runs `reclaim` each time this thread has become idle after a busy time: its event loop was active for less than 2 % of
 * `afterMs`. It runs once, and not again before there is something new to give back. Under memory pressure it runs at
 * once. Returns a function that ends this; a run that has begun comes to its end.
 *
 * It sets no timer while nothing happens, and does not keep the process alive. Unless told otherwise it also collects
 * the garbage of V8, because a process that is idle collects none by itself: see `collectGarbage`. docs/process.md says what that
 * costs. A reclaim that fails is a process warning (`OFFHEAP_RECLAIM_FAILED`), the first time.
 *
 * Call it once in each thread that serves requests. Two calls work side by side, each with its own options.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad options.
 *
 * ```ts
 * const stop = reclaimWhenIdle()
 * ```
 */
export function reclaimWhenIdle(options: ReclaimWhenIdleOptions = {}): () => void {
  return startReclaiming(options, ({ collectGarbage }) => reclaimer.reclaim(collectGarbage))
}
