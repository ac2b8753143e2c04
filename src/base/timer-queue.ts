/**
 * Many timers over one timer of the event loop. Due entries run in order of time, for at most a millisecond
 * in one turn of the event loop. The rest runs in a later turn, so that a thousand arenas that are due
 * together stall no other work.
 *
 * The queue does not know what runs or for whom. Clock and event loop are given to it. A program may end the
 * timer of the event loop, or the event loop may refuse it. Nothing is lost: the next call that adds or
 * cancels an entry finds it overdue or missing, and sets another.
 *
 * Invariants, checked by `check()`:
 *  1. entries are in order of the time they are due
 *  2. while there are entries, the event loop's timer is set for the first of them or earlier, unless it was
 *     refused; without entries it is not set
 */
import { invariant } from './assert.js'
import { indexIn, spliced } from './primordials.js'

const { ceil, max } = Math

/** The most milliseconds of work in one turn of the event loop, for all entries of a queue together. */
export const SLICE_MS = 1
/** The milliseconds between two slices of work, in which the event loop has its turn. */
export const PAUSE_MS = 1
/**
 * A timer that is late by more milliseconds has been ended, or the thread has been busy. In the second case
 * another timer does no harm.
 */
const OVERDUE_MS = 1_000

/**
 * Sets a timer of the event loop that keeps nothing alive. Returns a function that ends it. Throws if the
 * event loop refuses.
 */
export type SetTimer = (delayMs: number, run: () => void) => () => void

interface Entry {
  readonly dueMs: number
  readonly run: (sliceStartMs: number) => void
}

export class TimerQueue {
  readonly #now: () => number
  readonly #set: SetTimer
  /**
   * All entries, the next one last, so that it is taken off in O(1). Many arenas share this array. So it is
   * replaced in one step, by functions that script cannot replace.
   */
  #entries: Entry[] = []
  /** Ends the event loop's timer; null while none is set. */
  #clear: (() => void) | null = null
  /** The time for which the event loop's timer was set, in milliseconds. Valid while it is set. */
  #dueMs = 0
  /**
   * The time at which the event loop's timer should run, in milliseconds: about `#dueMs`, or a millisecond
   * after it was set if `#dueMs` had passed by then. Valid while the timer is set.
   */
  #expectedMs = 0

  constructor(now: () => number, set: SetTimer) {
    this.#now = now
    this.#set = set
  }

  /** The number of entries. */
  get size(): number {
    return this.#entries.length
  }

  /**
   * Runs `run` after `delayMs` milliseconds, with the time at which its slice began. Returns an object that
   * cancels it.
   */
  add(delayMs: number, run: (sliceStartMs: number) => void): { cancel(): void } {
    const entry: Entry = { dueMs: this.#now() + delayMs, run }
    this.#entries = spliced(this.#entries, this.#placeOf(entry.dueMs), 0, entry)
    this.#rearm()
    return { cancel: () => this.#remove(entry) }
  }

  /** Removes an entry, if it has not run. */
  #remove(entry: Entry): void {
    const at = indexIn(this.#entries, entry)
    if (at < 0) return
    this.#entries = spliced(this.#entries, at, 1)
    this.#rearm()
  }

  /** The index for a new entry. Entries that are due at the same time lie behind it, and so run before it. */
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

  /**
   * Sets the event loop's timer anew if it is missing, too late or overdue. A timer that is too early stays:
   * it finds nothing due and is set again.
   */
  #rearm(): void {
    const next = this.#next
    if (this.#clear !== null && (next === undefined || next.dueMs < this.#dueMs || this.#isOverdue)) {
      const clear = this.#clear
      this.#clear = null
      clear()
    }
    if (next !== undefined && this.#clear === null) this.#arm(next.dueMs)
  }

  /** Whether the event loop's timer should have run long ago. */
  get #isOverdue(): boolean {
    return this.#now() - this.#expectedMs > OVERDUE_MS
  }

  /**
   * Sets the event loop's timer. If the event loop refuses, the next call tries again. No error is thrown,
   * because the caller may be in the middle of a change.
   */
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

  /** Runs due entries until the slice of time is used up. */
  #run(): void {
    this.#clear = null
    const startMs = this.#now()
    try {
      for (let entry = this.#takeDue(startMs); entry !== undefined; entry = this.#takeDue(startMs)) {
        entry.run(startMs)
      }
    } finally {
      // Comes here also when an entry has thrown. The error is the process's, and the others still run.
      const next = this.#next
      if (next !== undefined && this.#clear === null) {
        this.#arm(max(next.dueMs, startMs + PAUSE_MS))
      }
    }
  }

  /**
   * Takes off the next entry that was due when the slice began. Returns undefined if there is none, or if the
   * slice is used up.
   */
  #takeDue(startMs: number): Entry | undefined {
    const next = this.#next
    if (next === undefined || next.dueMs > startMs || this.#now() - startMs >= SLICE_MS) return undefined
    this.#entries.length--
    return next
  }

  /** The entry that is due first. */
  get #next(): Entry | undefined {
    return this.#entries[this.#entries.length - 1]
  }

  /** Throws an `Error` if an invariant does not hold. */
  check(): void {
    for (let i = 1; i < this.#entries.length; i++) {
      invariant(this.#entries[i - 1].dueMs >= this.#entries[i].dueMs, '1: timers in order')
    }
    invariant(this.#clear === null || this.#entries.length > 0, '2: a timer is set while something is due')
  }
}
