/**
 * Lets one change of an arena's books in at a time.
 *
 * Script may run in the middle of a change: a patch of something that the runtime calls, a clock or timers of a test. What it
 * asks of the same arena is refused before anything is touched. And a change may never come to its end, where the execution of
 * script is terminated. Nothing tells one from the other within the turn. In the next turn of the event loop no change can be
 * under way any more: then the gate opens again.
 *
 * The order at the end of a change, `isDone` and then `changes`, is what makes an interrupted one known to the next.
 */
import type { Deferral } from './deferral.js'

export class Gate {
  readonly #deferral: Deferral
  /**
   * Changes begun and ended: odd while one is under way. Whoever ends one adds 1, and calls nothing for it: the stack may be
   * full.
   */
  changes = 0
  /** The last change came to its end. Set by its last step. */
  isDone = true
  /** A change did not come to its end since this was last cleared. */
  wasInterrupted = false

  constructor(deferral: Deferral) {
    this.#deferral = deferral
  }

  /** Whether a change is under way, or never ended. */
  get isTaken(): boolean {
    return this.changes % 2 === 1
  }

  /** Begins a change. Returns false where another is under way, or never ended. */
  enter(): boolean {
    const count = this.changes
    if (!this.isTaken) {
      if (!this.isDone) this.wasInterrupted = true
      this.isDone = false
      this.changes++
      return true
    }
    this.#deferral.nextTurn(() => {
      if (this.changes !== count) return
      this.wasInterrupted = true
      this.changes++
    })
    return false
  }

  /** Makes a change. Returns false, and does not, where another is under way, or never ended. Throws what it throws. */
  attempt(change: () => void): boolean {
    if (!this.enter()) return false
    try {
      change()
      this.isDone = true
    } finally {
      this.changes++
    }
    return true
  }
}
