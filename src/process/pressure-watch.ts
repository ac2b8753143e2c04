/**
 * Looks for memory pressure now and then, has every arena of this thread give back what is free, then tells listeners,
 * so that a service can shed its caches before it is killed.
 *
 * It looks while somebody listens or while an arena has something to give back; then, one unref'd timer is due.
 *
 * Invariant, checked by `check()`:
 *  1. while somebody listens and there is something to read, a look is due
 */
import { readFileSync } from 'node:fs'
import { invariant } from '../base/assert.js'
import { type Deferral, soon, type Timer } from '../base/deferral.js'
import { publishPressure } from '../notices/notices.js'
import { Pressure, type PressureSource, type Shortage } from '../release/pressure.js'
import type { FileReader } from '../release/pressure-files.js'
import type { ArenaGroup } from './arena-group.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max } = Math

/** What listeners are told. */
export interface PressureEvent {
  /** Where the news comes from. */
  source: PressureSource
  /**
   * `'near-limit'`: the container uses 90 % of its limit. `'held-up'`: the kernel throttled it or reclaimed from it, at 75 %
   * and above. `'stalled'`: tasks waited for memory for a tenth of the time.
   */
  reason: Shortage['reason']
  /** The limit nearest to being reached; `Infinity` where there is none. */
  limitBytes: number
  /** What was in use before anything was given back. */
  usedBytes: number
  /** What the arenas of this thread gave back just now. */
  releasedBytes: number
  /** What is still missing for the pressure to end: shed that much, or more. 0 where enough was given back, or nobody knows. */
  missingBytes: number
}

export type PressureListener = (event: PressureEvent) => void

const LOOK_EVERY_MS = 500
/** While the pressure lasts, listeners are told again after so long. */
const TELL_AGAIN_MS = 5_000

/** The text of one of the kernel's files, or undefined where it cannot be read. */
export const readKernelFile: FileReader = path => {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // Absent, forbidden, or gone with its cgroup: nothing to read is an answer.
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
  #timer: Timer | null = null
  /** When listeners were last told; -Infinity while there is no pressure. */
  #toldMs = Number.NEGATIVE_INFINITY

  constructor(group: ArenaGroup, deferral: Deferral, now: () => number, read: FileReader = readKernelFile) {
    this.#group = group
    this.#deferral = deferral
    this.#now = now
    this.#read = read
  }

  /** For arenas: something can be given back. */
  readonly onArmed = (): void => this.wake()

  get source(): PressureSource {
    return this.#source.source
  }

  /** Files are looked for at first use. */
  get #source(): Pressure {
    this.#pressure ??= new Pressure(this.#read, this.#now())
    return this.#pressure
  }

  add(listener: PressureListener): () => void {
    // One entry for each call, also where a listener is added twice.
    const entry: PressureListener = event => listener(event)
    this.#listeners = [...this.#listeners, entry]
    this.wake()
    return () => {
      this.#listeners = this.#listeners.filter(other => other !== entry)
      this.#settle()
    }
  }

  /** An arena has something to give back, or somebody listens. */
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
      this.#settle()
      if (this.#listeners.length > 0 || this.#group.hasDirty) this.wake()
    }
  }

  #settle(): void {
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
    // Each in a task of its own: what one throws is an uncaught exception, and keeps the others from nothing.
    for (const listener of this.#listeners) soon(() => listener({ ...event }))
  }

  check(): void {
    this.#source.check()
    invariant(
      this.#timer !== null || this.#listeners.length === 0 || this.source === 'none',
      '1: a look is due while somebody listens',
    )
  }
}
