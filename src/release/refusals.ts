/**
 * How long to wait before a kernel that refused to take pages back is asked again: the usual time after the
 * first refusal, twice as long after each further one, up to a minute. The usual time counts again once the
 * kernel took some pages.
 *
 * Invariant, checked by `check()`:
 *  1. the wait is never shorter than the usual time
 */
import { invariant } from '../base/assert.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

const MAX_MS = 60_000
/** From this many refusals in a row on they count as lasting. Fewer may be a shortage that passes. */
const LASTING = 3

export class Refusals {
  /** Refusals since the kernel last took something. */
  #count = 0

  /** Notes that the kernel took nothing. */
  refused(): void {
    this.#count++
  }

  worked(): void {
    this.#count = 0
  }

  /** Whether the kernel has refused so often that the cause is likely to last. */
  get isLasting(): boolean {
    return this.#count >= LASTING
  }

  /** Returns the milliseconds to wait. `usualMs` is the wait if nothing was refused. */
  delayMs(usualMs: number): number {
    return this.#count === 0 ? usualMs : max(usualMs, min(MAX_MS, usualMs * 2 ** (this.#count - 1)))
  }

  check(): void {
    invariant(this.#count >= 0 && this.delayMs(1) >= 1, '1: never shorter than usual')
  }
}
