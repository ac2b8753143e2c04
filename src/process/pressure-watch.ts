/**
 * Looks for memory pressure now and then. If there is pressure, it has every arena of this thread give back
 * what is free, then calls the listeners, so that a service can shrink its caches before it is killed.
 *
 * It looks while it has a listener or an arena has something to give back. Then one unref'd timer is due.
 *
 * Invariant, checked by `check()`:
 *  1. while there is a listener and something to read, a look is due
 */
import { readFileSync } from 'node:fs'
import { invariant } from '../base/assert.js'
import { type Deferral, soon, type Timer } from '../base/deferral.js'
import { publishPressure } from '../notices/notices.js'
import { Pressure, type PressureSource, type Shortage } from '../release/pressure.js'
import type { FileReader } from '../release/pressure-files.js'
import type { ArenaGroup } from './arena-group.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max } = Math

/** What listeners of `onPressure` are told. */
export interface PressureEvent {
  /** Which files of the kernel told of the pressure. */
  source: PressureSource
  /**
   * Why there is pressure. `'near-limit'`: the container uses 90 % of its limit. `'held-up'`: the kernel
   * throttled it or reclaimed from it, and it uses at least 75 %. `'stalled'`: tasks waited for memory for a
   * tenth of the time.
   */
  reason: Shortage['reason']
  /** The limit, in bytes, of the container that is nearest to its limit; `Infinity` if there is none. */
  limitBytes: number
  /** Bytes that were in use before the arenas gave anything back. */
  usedBytes: number
  /** Bytes that the arenas of this thread have just given back. */
  releasedBytes: number
  /**
   * Bytes that are still missing to end the pressure: free that much, or more. 0 if enough was given back, or
   * if the kernel's files do not tell.
   */
  missingBytes: number
}

/** Is called under memory pressure; see `onPressure`. */
export type PressureListener = (event: PressureEvent) => void

const LOOK_EVERY_MS = 500
/** While the pressure lasts, listeners are called again after this time. */
const TELL_AGAIN_MS = 5_000

/** Returns the text of one of the kernel's files, or undefined if it cannot be read. */
export const readKernelFile: FileReader = path => {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // The file is absent, forbidden, or gone with its cgroup. That is an answer, too.
    return undefined
  }
}

export class PressureWatch {
  readonly #group: ArenaGroup
  readonly #deferral: Deferral
  readonly #now: () => number
  readonly #read: FileReader
  #pressure: Pressure | null = null
  #listeners: readonly PressureListener[] = []
  /** Those for whom alone it does not look. */
  #hearers: readonly PressureListener[] = []
  #timer: Timer | null = null
  /** When listeners were last called; -Infinity while there is no pressure. */
  #toldMs = Number.NEGATIVE_INFINITY

  constructor(group: ArenaGroup, deferral: Deferral, now: () => number, read: FileReader = readKernelFile) {
    this.#group = group
    this.#deferral = deferral
    this.#now = now
    this.#read = read
  }

  /** For arenas to call when something can be given back. */
  readonly onArmed = (): void => this.wake()

  get source(): PressureSource {
    return this.#source.source
  }

  /** The files are looked for at first use. */
  get #source(): Pressure {
    this.#pressure ??= new Pressure(this.#read, this.#now())
    return this.#pressure
  }

  add(listener: PressureListener): () => void {
    // Each call makes an entry of its own, even if a listener is added twice.
    const entry: PressureListener = event => listener(event)
    this.#listeners = [...this.#listeners, entry]
    this.wake()
    return () => {
      this.#listeners = this.#listeners.filter(other => other !== entry)
      this.#sleepIfIdle()
    }
  }

  /**
   * Has `listener` called like the others, but does not look for its sake. So it needs no timer. Returns a function
   * that removes the listener.
   */
  hear(listener: PressureListener): () => void {
    const entry: PressureListener = event => listener(event)
    this.#hearers = [...this.#hearers, entry]
    return () => {
      this.#hearers = this.#hearers.filter(other => other !== entry)
    }
  }

  /** Makes sure that a look is due, because an arena has something to give back or there is a listener. */
  wake(): void {
    if (this.#timer !== null || this.source === 'none') return
    this.#timer = this.#deferral.after(LOOK_EVERY_MS, () => this.#look())
  }

  #look(): void {
    this.#timer = null
    const nowMs = this.#now()
    const shortage = this.#source.look(nowMs)
    try {
      if (shortage === null) this.#toldMs = Number.NEGATIVE_INFINITY
      else this.#relieve(shortage, nowMs)
    } finally {
      this.#sleepIfIdle()
      if (this.#listeners.length > 0 || this.#group.hasDirty) this.wake()
    }
  }

  #sleepIfIdle(): void {
    if (this.#listeners.length > 0 || this.#group.hasDirty) return
    this.#timer?.cancel()
    this.#timer = null
  }

  #relieve(shortage: Shortage, nowMs: number): void {
    const releasedBytes = this.#group.giveBack('pressure')
    if (nowMs - this.#toldMs < TELL_AGAIN_MS) return
    this.#toldMs = nowMs
    const { reason, limitBytes, usedBytes } = shortage
    const missingBytes = max(0, shortage.missingBytes - releasedBytes)
    const event = { source: this.source, reason, limitBytes, usedBytes, releasedBytes, missingBytes }
    publishPressure(event)
    // Each listener is called in a task of its own. If it throws, that is an uncaught exception, and the
    // other listeners are called all the same.
    for (const listener of [...this.#listeners, ...this.#hearers]) soon(() => listener({ ...event }))
  }

  check(): void {
    this.#source.check()
    invariant(
      this.#timer !== null || this.#listeners.length === 0 || this.source === 'none',
      '1: a look is due while somebody listens',
    )
  }
}
