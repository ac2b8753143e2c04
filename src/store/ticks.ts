/**
 * Compaction by timer: looks when the policy says so, begins rounds, and runs their slices. At most one timer is due, and
 * none while there is nothing to look at. No timer keeps the process alive.
 *
 * Invariant, checked by `check()`:
 *  1. while the policy says that a tick is needed, one is due
 */
import { invariant } from '../base/assert.js'
import type { Deferral, Timer } from '../base/deferral.js'
import { isOutOfMemory } from '../base/errors.js'
import type { Gate } from '../base/gate.js'
import { PAUSE_MS, SLICE_MS } from '../base/timer-queue.js'
import { NONE } from '../base/units.js'
import { type CompactionCounts, type CompactionPolicy, GAIN_BY_TIMER } from '../release/compaction-policy.js'
import type { Compactor } from './compactor.js'

/** What ticks need from the store. None of it refers to the store. */
export interface TickParts {
  readonly policy: CompactionPolicy
  readonly compactor: Compactor
  readonly gate: Pick<Gate, 'attempt'>
  readonly deferral: Deferral
  now(): number
  counts(): CompactionCounts
  /** Finishes what an interrupted change left undone. */
  mend(): void
  /** Gives up the blocks that the heap keeps. Their pages count as used until then. */
  flush(): void
  /** Is called when nothing more is to be looked at. */
  rest(): void
}

export class Ticks {
  readonly #parts: TickParts
  /** Made at first use: V8 keeps the target of a new WeakRef until the end of the task. */
  #weakSelf: WeakRef<Ticks> | undefined
  #timer: Timer | null = null
  #isStopped = false
  /** Whether nothing is to be done when something comes free: a tick is due already, or none ever is. */
  isSettled: boolean
  /** Milliseconds that slices took, ever, and the longest one. */
  compactMs = 0
  longestMs = 0

  constructor(parts: TickParts, isManual: boolean) {
    this.#parts = parts
    this.#isStopped = isManual || !parts.policy.isTimed
    this.isSettled = this.#isStopped
  }

  /** Notes that something came free, or may have. */
  noteFree(): void {
    if (this.#timer !== null || this.#isStopped) return
    this.#parts.policy.watch(this.#parts.counts().usedPages)
    this.#arm()
  }

  /** Begins a round on the next turn of the event loop, because memory is short. */
  startSoon(gain: number): void {
    const { compactor } = this.#parts
    if (compactor.isActive) return
    this.attempt(() => {
      shortageIn(() => compactor.begin(gain))
    })
    if (compactor.isActive) this.#goOnSoon()
  }

  /** Goes on with a round that no policy has begun, a slice a turn. */
  #goOnSoon(): void {
    const self = this.#self
    this.#parts.deferral.after(PAUSE_MS, () => self.deref()?.goOn())
  }

  /** Runs a slice of a round that `startSoon` began. */
  private goOn(): void {
    const { compactor, policy, now, counts } = this.#parts
    let isDone = false
    const hasRun = this.attempt(() => {
      shortageIn(() => {
        isDone = this.run(now() + SLICE_MS)
      })
      if (isDone) policy.compacted(counts())
    })
    if ((!hasRun || !isDone) && compactor.isActive) this.#goOnSoon()
  }

  /** Runs a slice of a round until `untilMs`, and measures it. Returns whether the round has ended. */
  run(untilMs: number): boolean {
    const { compactor, now } = this.#parts
    const startMs = now()
    try {
      return compactor.run(untilMs)
    } finally {
      const tookMs = now() - startMs
      this.compactMs += tookMs
      if (tookMs > this.longestMs) this.longestMs = tookMs
    }
  }

  /** Runs a change of its own. Returns false, and does nothing, in the middle of another one. */
  attempt(change: () => void): boolean {
    const { gate, mend } = this.#parts
    return gate.attempt(() => {
      mend()
      change()
    })
  }

  /** Ends all ticks, for ever. */
  stop(): void {
    this.#isStopped = true
    this.isSettled = true
    this.#timer?.cancel()
    this.#timer = null
  }

  get #self(): WeakRef<Ticks> {
    this.#weakSelf ??= new WeakRef(this)
    return this.#weakSelf
  }

  #arm(): void {
    const delayMs = this.#parts.policy.delayMs()
    this.isSettled = false
    if (delayMs === NONE) {
      this.#parts.rest()
      return
    }
    this.#armIn(delayMs)
    // Last: if this is interrupted, the next `free` arms a tick.
    this.isSettled = true
  }

  /** Arms a tick if none is due. An interrupted call may have ended before it did so. */
  rearm(): void {
    if (this.#timer === null) this.noteFree()
  }

  #armIn(delayMs: number): void {
    const self = this.#self
    this.#timer = this.#parts.deferral.after(delayMs, turnStartMs => self.deref()?.tick(turnStartMs))
  }

  /** Looks, begins a round or runs a slice of one. */
  private tick(turnStartMs: number): void {
    this.#timer = null
    if (this.#isStopped) return
    this.isSettled = false
    try {
      // If timers that are not ours run this in the middle of a change, it waits for a pause.
      if (!this.attempt(() => this.#tick(turnStartMs))) this.#armIn(PAUSE_MS)
    } finally {
      if (this.#timer === null) this.#arm()
    }
  }

  #tick(turnStartMs: number): void {
    const { policy, compactor, counts } = this.#parts
    policy.observe(counts())
    if (!policy.isCompacting && compactor.isActive) return
    if (policy.isStartDue) {
      this.#parts.flush()
      policy.observe(counts())
    }
    if (policy.isStartDue) {
      policy.begin()
      // What cannot be begun ends below as a round in vain.
      shortageIn(() => compactor.begin(GAIN_BY_TIMER, this.#judgeOf(policy)))
    }
    if (!policy.isCompacting || !policy.mayWork(turnStartMs)) return
    this.#slice(turnStartMs)
  }

  #slice(turnStartMs: number): void {
    const { policy, now, counts } = this.#parts
    const startMs = now()
    try {
      const isDone = this.run(turnStartMs + SLICE_MS * 0.75)
      policy.sliced(now() - startMs, counts())
      // It ended because records cannot be read now.
      if (isDone && policy.isCompacting) policy.failed()
      // The end of the source is lowered after the round.
      if (!isDone && !policy.isCompacting) this.#goOnSoon()
    } catch (error) {
      if (policy.isCompacting) policy.failed()
      // Nobody can catch it here. After the wait it is tried again.
      if (!isOutOfMemory(error)) throw error
    }
  }

  #judgeOf(policy: CompactionPolicy) {
    const { counts } = this.#parts
    return {
      surveyed: (promisedPages: number) => {
        policy.sliced(0, counts())
        return policy.surveyed(promisedPages)
      },
      passed: () => {
        policy.sliced(0, counts())
        return policy.passed()
      },
    }
  }

  check(): void {
    const { policy, counts } = this.#parts
    policy.check()
    invariant(
      this.#isStopped || this.#timer !== null || !policy.isTickNeeded(counts()),
      '1: what is sparse is looked at',
    )
  }
}

/** Does `work`. Returns null, or the error that says that there was no memory for it: then it had no effect. */
export function shortageIn(work: () => void): unknown {
  try {
    work()
    return null
  } catch (error) {
    if (isOutOfMemory(error)) return error
    throw error
  }
}
