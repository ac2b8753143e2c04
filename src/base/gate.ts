/**
 * Lets one change of an arena's books in at a time.
 *
 * Script may run in the middle of a change: a replaced function that the runtime calls, or a clock or timer
 * of a test. If that script asks the same arena for something, the gate refuses before anything is touched.
 *
 * A change may also be interrupted: it never ends if the execution of script is terminated. Within the same
 * turn of the event loop nothing tells a change that is under way from one that was interrupted. In the next
 * turn no change can be under way, so the gate opens again.
 *
 * At the end of a change `isDone` is set before `changes` is counted. This order lets the next change see
 * that one was interrupted.
 */
import type { Deferral } from './deferral.js'

export class Gate {
  readonly #deferral: Deferral
  /**
   * Counts each begin and each end of a change, so it is odd while one is under way. The code that ends a
   * change adds 1 here and calls nothing for it, because the stack may be full.
   */
  changes = 0
  /** Whether the last change came to its end. Its last step sets this. */
  isDone = true
  /** Whether a change was interrupted since this was last cleared. */
  wasInterrupted = false

  constructor(deferral: Deferral) {
    this.#deferral = deferral
  }

  /** Whether a change is under way, or was interrupted and the gate has not opened yet. */
  get isTaken(): boolean {
    return this.changes % 2 === 1
  }

  /**
   * Begins a change. Returns false if `isTaken`; then the gate looks again in the next turn of the event
   * loop.
   */
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

  /**
   * Runs `change` as a change. Returns false, and does not run it, if `isTaken`. Throws the error that
   * `change` throws.
   */
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
