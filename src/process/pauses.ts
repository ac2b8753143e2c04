/** Runs pieces of work on the event loop and between its turns, and remembers the longest of them. */
import type { Deferral } from '../base/deferral.js'

export class Pauses {
  readonly #deferral: Deferral
  /** The clock, in milliseconds. */
  readonly now: () => number
  /** How long the longest piece held the event loop up, in milliseconds. */
  longestMs = 0

  constructor(deferral: Deferral, now: () => number) {
    this.#deferral = deferral
    this.now = now
  }

  /** Runs one piece, gives it the time at which it starts, and returns what it returns. */
  run<Result>(piece: (startMs: number) => Result): Result {
    const startMs = this.now()
    try {
      return piece(startMs)
    } finally {
      this.longestMs = Math.max(this.longestMs, this.now() - startMs)
    }
  }

  /** Resolves on the next turn of the event loop. The process stays alive until then. */
  turn(): Promise<void> {
    return new Promise(resolve => this.#deferral.awaitedTurn(resolve))
  }
}
