/**
 * The changes of an arena's books, one at a time. Each begins by finishing what interrupted ones left undone.
 * After a change in which something may come free, the releaser is told, once the gate is open again.
 */
import type { Gate } from '../base/gate.js'
import type { ArenaIdentity } from '../buffers/owner.js'
import type { Releaser } from '../release/releaser.js'
import { busyError } from './errors.js'

/** Makes the error of a call in the middle of a change. */
type MakeBusy = (arena: ArenaIdentity, method: string) => Error

/** Begins and ends each change of an arena. */
export class Changes {
  readonly #arena: ArenaIdentity
  readonly #gate: Gate
  readonly #releaser: Releaser
  readonly #endAll: () => void
  readonly #busy: MakeBusy
  /** Whether the end of all blocks has begun and is not done yet. `endAll` itself sets and clears it. */
  isEnding = false

  /** `endAll` ends all blocks. If it is interrupted, it is called again. */
  constructor(
    arena: ArenaIdentity,
    gate: Gate,
    releaser: Releaser,
    endAll: () => void,
    busy: MakeBusy = busyError,
  ) {
    this.#arena = arena
    this.#gate = gate
    this.#releaser = releaser
    this.#endAll = endAll
    this.#busy = busy
  }

  /**
   * Begins a change. Throws `ERR_ARENA_BUSY` in the middle of another one. The caller ends the change as
   * `Gate` says.
   */
  enter(method: string): void {
    if (!this.#gate.enter()) throw this.#busy(this.#arena, method)
  }

  /**
   * Finishes what interrupted changes left undone, before anything else in a change. Returns whether there
   * was something.
   */
  finish(): boolean {
    if (!this.isEnding && !this.#releaser.isUnfinished) return false
    if (this.isEnding) this.#endAll()
    this.#releaser.mend()
    return true
  }

  /** Runs a change. Throws `ERR_ARENA_BUSY` in the middle of another one. */
  run<T>(method: string, change: () => T): T {
    this.enter(method)
    try {
      this.finish()
      const result = change()
      this.#gate.isDone = true
      return result
    } finally {
      this.#gate.changes++
    }
  }

  /** Does what `run` does, for a change in which something comes free. */
  runFreeing(method: string, change: () => void): void {
    this.run(method, change)
    this.#releaser.noteFree()
  }

  /** Runs a change. Returns false, and does not run it, in the middle of another one. */
  attempt(change: () => void): boolean {
    return this.#gate.attempt(() => {
      this.finish()
      change()
    })
  }

  /**
   * Runs a change that may come in the middle of another one. If the gate is open, it is taken, so that calls
   * of the arena are refused meanwhile. If not, it stays as it is.
   */
  runAnyway(change: () => void): void {
    if (!this.#gate.attempt(change)) change()
  }
}
