/**
 * How long to wait before a kernel that refuses to take pages back is asked again: as long as ever after the first refusal,
 * twice as long after each further one, up to a minute. One answer that it took some ends that.
 *
 * Invariant, checked by `check()`:
 *  1. the wait is never shorter than usual
 */
import { invariant } from '../base/assert.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max, min } = Math

const LONGEST_MS = 60_000
/** A refusal or two may be a shortage that passes. */
const LASTING = 3

export class Refusals {
  /** Since the kernel last took something. */
  #count = 0

  /** It took nothing. */
  refused(): void {
    this.#count++
  }

  worked(): void {
    this.#count = 0
  }

  /** It has refused so often that the cause is one that lasts. */
  get isLasting(): boolean {
    return this.#count >= LASTING
  }

  /** `usualMs`: how long to wait where nothing was refused. */
  delayMs(usualMs: number): number {
    return this.#count === 0 ? usualMs : max(usualMs, min(LONGEST_MS, usualMs * 2 ** (this.#count - 1)))
  }

  check(): void {
    invariant(this.#count >= 0 && this.delayMs(1) >= 1, '1: never shorter than usual')
  }
}
