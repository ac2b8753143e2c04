/**
 * Many timers over one of the event loop's. What is due runs in order of time, for a millisecond in one turn at most;
 * what is left runs in the next, so that a thousand arenas that come due together stall nobody.
 *
 * It knows neither what runs nor for whom; clock and event loop are given. A timer of the event loop may be taken away by somebody,
 * or be refused: nothing is lost by that, for whoever adds the next entry finds it overdue and sets another.
 *
 * Invariants, checked by `check()`:
 *  1. entries are in order of the time they are due
 *  2. while there are entries, the event loop's timer is set, for the first of them or earlier, unless it was refused; else it is not
 */
import { invariant } from './assert.js'
import { indexIn, spliced } from './primordials.js'

const { ceil, max } = Math

/** Longest stretch of work in one turn of the event loop, for everything in a queue together. */
export const SLICE_MS = 1
/** Pause between two slices: the event loop has its turn. */
export const PAUSE_MS = 1
/** A timer so late was taken away, or the thread has been busy: then another does no harm. */
const OVERDUE_MS = 1_000

/** Sets a timer of the event loop that keeps nothing alive, and returns what clears it. Throws where the event loop refuses. */
export type SetTimer = (delayMs: number, run: () => void) => () => void

interface Entry {
  readonly dueMs: number
  readonly run: (sliceStartMs: number) => void
}

export class TimerQueue {
  readonly #now: () => number
  readonly #set: SetTimer
  /**
   * The next one last, where it is taken off in O(1). Replaced in one step, by nothing that script can replace: many arenas
   * share it.
   */
  #entries: Entry[] = []
  #clear: (() => void) | null = null
  /** When the event loop's timer is due; valid while it is set. */
  #dueMs = 0
  /** When it ought to run: then, or as soon as it can where that had passed when it was set. */
  #expectedMs = 0

  constructor(now: () => number, set: SetTimer) {
    this.#now = now
    this.#set = set
  }

  /** How many are due later. */
  get size(): number {
    return this.#entries.length
  }

  add(delayMs: number, run: (sliceStartMs: number) => void): { cancel(): void } {
    const entry: Entry = { dueMs: this.#now() + delayMs, run }
    this.#entries = spliced(this.#entries, this.#placeOf(entry.dueMs), 0, entry)
    this.#rearm()
    return { cancel: () => this.#remove(entry) }
  }

  #remove(entry: Entry): void {
    const at = indexIn(this.#entries, entry)
    if (at < 0) return
    this.#entries = spliced(this.#entries, at, 1)
    this.#rearm()
  }

  /** Before the entries that are due at the same time: those run first. */
  #placeOf(dueMs: number): number {
    let low = 0
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#entries[middle].dueMs > dueMs) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A timer that is set too early stays: it finds nothing due, and is set anew. */
  #rearm(): void {
    const next = this.#next
    if (this.#clear !== null && (next === undefined || next.dueMs < this.#dueMs || this.#isOverdue)) {
      const clear = this.#clear
      this.#clear = null
      clear()
    }
    if (next !== undefined && this.#clear === null) this.#arm(next.dueMs)
  }

  get #isOverdue(): boolean {
    return this.#now() - this.#expectedMs > OVERDUE_MS
  }

  /** Where the event loop refuses, the next call tries again: who adds an entry is in the middle of something. */
  #arm(dueMs: number): void {
    const nowMs = this.#now()
    const delayMs = max(1, ceil(dueMs - nowMs))
    const set = { isCurrent: false }
    try {
      const clear = this.#set(delayMs, () => {
        if (set.isCurrent) this.#run()
      })
      this.#dueMs = dueMs
      this.#expectedMs = nowMs + delayMs
      set.isCurrent = true
      this.#clear = () => {
        set.isCurrent = false
        clear()
      }
    } catch {
      this.#clear = null
    }
  }

  #run(): void {
    this.#clear = null
    const startMs = this.#now()
    try {
      for (let entry = this.#takeDue(startMs); entry !== undefined; entry = this.#takeDue(startMs)) {
        entry.run(startMs)
      }
    } finally {
      // After one that threw too: the error is the process's, the others still run.
      const next = this.#next
      if (next !== undefined && this.#clear === null) {
        this.#arm(max(next.dueMs, startMs + PAUSE_MS))
      }
    }
  }

  /** The next one that was due when the slice began, unless its time is up. */
  #takeDue(startMs: number): Entry | undefined {
    const next = this.#next
    if (next === undefined || next.dueMs > startMs || this.#now() - startMs >= SLICE_MS) return undefined
    this.#entries.length--
    return next
  }

  get #next(): Entry | undefined {
    return this.#entries[this.#entries.length - 1]
  }

  check(): void {
    for (let i = 1; i < this.#entries.length; i++) {
      invariant(this.#entries[i - 1].dueMs >= this.#entries[i].dueMs, '1: timers in order')
    }
    invariant(this.#clear === null || this.#entries.length > 0, '2: a timer is set while something is due')
  }
}
