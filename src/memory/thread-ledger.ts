/**
 * The ledger of this thread. It keeps the sums itself while there is no addon, so that limits work on every
 * platform. Once the addon is loaded, the sums are those of the process, in all threads: what this thread has
 * taken is taken there, too.
 */
import type { Ledger } from './ledger.js'

export class ThreadLedger implements Ledger {
  #process: Ledger | null = null
  #limitBytes = Number.POSITIVE_INFINITY
  #takenBytes = 0

  get limitBytes(): number {
    return this.#process?.limitBytes ?? this.#limitBytes
  }

  set limitBytes(limitBytes: number) {
    if (this.#process === null) this.#limitBytes = limitBytes
    else this.#process.limitBytes = limitBytes
  }

  get takenBytes(): number {
    return this.#process?.takenBytes ?? this.#takenBytes
  }

  take(lengthBytes: number): boolean {
    if (this.#process !== null) return this.#process.take(lengthBytes)
    if (this.#takenBytes + lengthBytes > this.#limitBytes) return false
    this.#takenBytes += lengthBytes
    return true
  }

  give(lengthBytes: number): void {
    if (this.#process === null) this.#takenBytes -= lengthBytes
    else this.#process.give(lengthBytes)
  }

  /**
   * From now on the sums are those of `ledger`, which may count for other threads already. Does nothing if
   * this ledger has joined one before.
   */
  join(ledger: Ledger): void {
    if (this.#process !== null) return
    if (this.#limitBytes !== Number.POSITIVE_INFINITY) ledger.limitBytes = this.#limitBytes
    if (!ledger.take(this.#takenBytes)) {
      // What is held must be counted, also beyond the limit.
      const { limitBytes } = ledger
      ledger.limitBytes = Number.POSITIVE_INFINITY
      ledger.take(this.#takenBytes)
      ledger.limitBytes = limitBytes
    }
    this.#process = ledger
  }
}
