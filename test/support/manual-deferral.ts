/** A clock and an event loop that stand still until a test moves them. */
import type { Deferral, Timer } from '../../src/base/deferral.js'

interface Entry {
  readonly dueMs: number
  readonly run: (sliceStartMs: number) => void
}

export class ManualDeferral implements Deferral {
  nowMs = 0
  /** How far the clock moves each time somebody reads it: work that takes time. */
  readCostMs = 0
  #turns: (() => void)[] = []
  #timers: Entry[] = []

  /** The clock of an arena's environment. */
  readonly now = (): number => {
    this.nowMs += this.readCostMs
    return this.nowMs
  }

  nextTurn(run: () => void): void {
    this.#turns.push(run)
  }

  awaitedTurn(run: () => void): void {
    this.#turns.push(run)
  }

  after(delayMs: number, run: (sliceStartMs: number) => void): Timer {
    // As in Node, where a timer takes a millisecond at least.
    const entry: Entry = { dueMs: this.nowMs + Math.max(1, delayMs), run }
    this.#timers.push(entry)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter(other => other !== entry)
      },
    }
  }

  get pendingTurns(): number {
    return this.#turns.length
  }

  get pendingTimers(): number {
    return this.#timers.length
  }

  /** Milliseconds until the next timer, or `Infinity`. */
  get nextTimerInMs(): number {
    return Math.min(...this.#timers.map(timer => timer.dueMs)) - this.nowMs
  }

  /** One turn: runs what was put off to it, but nothing that is put off meanwhile. */
  runTurn(): void {
    const turns = this.#turns
    this.#turns = []
    for (const run of turns) run()
  }

  /** Moves the clock to the next timer, if there is one, and runs that. */
  runTimer(): void {
    const next = this.#takeNext(Number.POSITIVE_INFINITY)
    next?.()
  }

  /** Moves the clock forward and runs every timer that comes due on the way, in order. */
  advance(ms: number): void {
    const endMs = this.nowMs + ms
    for (let run = this.#takeNext(endMs); run !== undefined; run = this.#takeNext(endMs)) run()
    this.nowMs = Math.max(this.nowMs, endMs)
  }

  #takeNext(endMs: number): (() => void) | undefined {
    this.#timers.sort((a, b) => a.dueMs - b.dueMs)
    if (this.#timers.length === 0 || this.#timers[0].dueMs > endMs) return undefined
    const { dueMs, run } = this.#timers.shift() as Entry
    this.nowMs = Math.max(this.nowMs, dueMs)
    return () => run(this.nowMs)
  }
}
