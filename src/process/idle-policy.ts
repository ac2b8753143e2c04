/**
 * When a process that was busy has become idle, so that it should give memory back: pure decisions over counts
 * and a clock that the caller reads. `reclaim-when-idle` carries them out.
 *
 * The policy is in one of three states. *Asleep*: nothing is due, and no timer is set. The caller wakes it when
 * the event loop was active for `WAKE_ACTIVE_MS`. *Awake*: the caller looks at the times that the policy says.
 * *Reclaiming*: a reclaim runs.
 *
 * Awake, it waits until all looks of `afterMs` were quiet. Then it has the caller reclaim, if there is something
 * new to give back, and not too soon after the last reclaim. Either way it falls asleep.
 *
 * Invariants, checked by `check()`:
 *  1. quiet time is counted only while awake, and is never negative
 *  2. no reclaim began after now
 */
import { invariant } from '../base/assert.js'
import { MIB } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

/**
 * The event loop is quiet if it is active for less than this share of the time. A service that answers in 2 ms is
 * quiet below ten requests a second. At that rate a reclaim that takes 10 ms of the loop delays one request with a
 * chance of one in ten, at most once in `minIntervalMs`. And faulting 36 MiB in again takes about 18 ms, as much as the
 * traffic of one second. Above it, memory is in use again before it could have been of use to anybody else.
 */
export const QUIET_SHARE = 0.02
/** How many looks make up `afterMs`. More of them see shorter bursts; each wakes the process. */
const LOOKS = 4
/** A look itself takes some 0.1 ms. So looks are not so close that they would disturb each other's result. */
const MIN_STEP_MS = 25
/**
 * A look that comes later than this many steps counts as if it came then. Nobody saw what happened: the process
 * may have been stopped, or the machine suspended, and what it waited for comes now.
 */
const LATE_STEPS = 2
/** A loop that was active for less has hardly allocated anything. Short requests now and then do not wake it. */
export const WAKE_ACTIVE_MS = 20
/**
 * The least growth that a reclaim is worth, in bytes. It is above what the kernel's count of resident pages may
 * lag behind on a machine with a few CPUs.
 */
export const WORTH_BYTES = 4 * MIB
/** A reclaim keeps the loop waiting for at most this share of the time, however long it takes. */
const PAUSE_SHARE = 0.01
/** The least time between a reclaim and one because of pressure. */
export const PRESSURE_INTERVAL_MS = 5_000

export interface IdleSettings {
  readonly afterMs: number
  readonly minIntervalMs: number
}

/** What can be known cheaply of the memory of this process. */
export interface MemoryCounts {
  /** `Rss`. What can be given back now and could not be before was touched meanwhile, so `Rss` has grown. */
  readonly residentBytes: number
  /**
   * Memory that V8 holds: its heap and its `ArrayBuffer`s. If it falls, memory came free that was in use at the
   * last reclaim. `Rss` does not show that.
   */
  readonly heldBytes: number
}

/** What to do: reclaim now, look again after `afterMs`, or sleep until the loop was active. */
export type Decision =
  | { readonly kind: 'reclaim' }
  | { readonly kind: 'look'; readonly afterMs: number }
  | { readonly kind: 'sleep' }

type State = 'asleep' | 'awake' | 'reclaiming'

const SLEEP: Decision = { kind: 'sleep' }
const RECLAIM: Decision = { kind: 'reclaim' }

export class IdlePolicy {
  readonly #afterMs: number
  readonly #minIntervalMs: number
  readonly #stepMs: number
  #state: State = 'asleep'
  #lookedMs = 0
  #lookedActiveMs = 0
  #quietMs = 0
  /** When the last reclaim began; -Infinity before the first. */
  #beganMs = Number.NEGATIVE_INFINITY
  /** The least time from then to the next. */
  #intervalMs = 0
  /** What there was after the last reclaim; null before the first. */
  #memory: MemoryCounts | null = null

  constructor({ afterMs, minIntervalMs }: IdleSettings) {
    this.#afterMs = afterMs
    this.#minIntervalMs = minIntervalMs
    this.#stepMs = max(MIN_STEP_MS, afterMs / LOOKS)
  }

  get state(): State {
    return this.#state
  }

  /**
   * The event loop was active. `activeMs` is how long it ever was. Returns when to look. Does nothing unless
   * asleep.
   */
  wake(nowMs: number, activeMs: number): Decision {
    if (this.#state === 'asleep') {
      this.#state = 'awake'
      this.#startQuiet(nowMs, activeMs)
    }
    return this.#lookAfter(this.#stepMs)
  }

  /**
   * Looks at the time, at how long the loop ever was active, and, if that says idle, at memory. After `'reclaim'`
   * the caller calls `begin`. To be called only while awake.
   */
  look(nowMs: number, activeMs: number, readMemory: () => MemoryCounts): Decision {
    const elapsedMs = nowMs - this.#lookedMs
    const usedMs = activeMs - this.#lookedActiveMs
    this.#lookedMs = nowMs
    this.#lookedActiveMs = activeMs
    this.#mendClock(nowMs)
    const isQuiet = elapsedMs > 0 && usedMs < QUIET_SHARE * elapsedMs
    this.#quietMs = isQuiet ? this.#quietMs + min(elapsedMs, LATE_STEPS * this.#stepMs) : 0
    if (this.#quietMs < this.#afterMs || !isQuiet) return this.#lookAfter(this.#stepMs)
    if (!this.#isWorthIt(readMemory())) return this.#sleep()
    const earlyMs = this.#beganMs + this.#intervalMs - nowMs
    if (earlyMs <= 0) return RECLAIM
    // What there is to give back has to wait. From `afterMs` before that time on, it looks as usual.
    this.#quietMs = 0
    return this.#lookAfter(max(this.#stepMs, earlyMs - this.#afterMs))
  }

  /** There is memory pressure. Returns whether to reclaim now, asleep or awake. */
  allowsUnderPressure(nowMs: number): boolean {
    this.#mendClock(nowMs)
    return this.#state !== 'reclaiming' && nowMs - this.#beganMs >= PRESSURE_INTERVAL_MS
  }

  /** A reclaim begins. */
  begin(nowMs: number): void {
    this.#state = 'reclaiming'
    this.#quietMs = 0
    this.#beganMs = nowMs
    this.#intervalMs = this.#minIntervalMs
  }

  /**
   * The reclaim ended, or failed. `pauseMs` is the longest that it kept the loop waiting, and `memory` is what there
   * is now. What was allocated meanwhile counts as looked at. The policy is asleep from now on.
   */
  end(memory: MemoryCounts, pauseMs: number): void {
    this.#memory = memory
    this.#intervalMs = max(this.#minIntervalMs, pauseMs / PAUSE_SHARE)
    this.#sleep()
  }

  #isWorthIt(memory: MemoryCounts): boolean {
    const last = this.#memory
    if (last === null) return true
    return (
      memory.residentBytes >= last.residentBytes + WORTH_BYTES ||
      memory.heldBytes <= last.heldBytes - WORTH_BYTES
    )
  }

  #startQuiet(nowMs: number, activeMs: number): void {
    this.#lookedMs = nowMs
    this.#lookedActiveMs = activeMs
    this.#quietMs = 0
  }

  /** A clock that went back must not put the next reclaim off for as long as it went back. */
  #mendClock(nowMs: number): void {
    if (this.#beganMs > nowMs) this.#beganMs = nowMs
    if (this.#lookedMs > nowMs) this.#lookedMs = nowMs
  }

  /** A time that never comes needs no timer. */
  #lookAfter(afterMs: number): Decision {
    return afterMs === Number.POSITIVE_INFINITY ? this.#sleep() : { kind: 'look', afterMs }
  }

  #sleep(): Decision {
    this.#state = 'asleep'
    this.#quietMs = 0
    return SLEEP
  }

  check(nowMs: number): void {
    invariant(this.#quietMs >= 0 && (this.#quietMs === 0 || this.#state === 'awake'), '1: quiet only awake')
    invariant(this.#beganMs <= nowMs, '2: the last reclaim is in the past')
  }
}
