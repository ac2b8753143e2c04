/**
 * Counts the pins and loans of things outside of JavaScript's sight: of blocks by their owners (`Pins`), of
 * records by their refs. Each thing has two counts. A caller takes pins and gives them up. A loan ends only with
 * its `lend`. So one `remove` too many never ends a thing under a loan.
 *
 * Invariant, checked by `check()`:
 *  1. Every entry counts at least one pin or loan.
 */
import { invariant } from '../base/assert.js'
import { SafeMap, SafeSet } from '../base/primordials.js'

export interface PinCount {
  pinCount: number
  loanCount: number
}

/**
 * The `PinCounts` that count something. This set keeps what their callbacks refer to alive, so that an arena which
 * the program drops is not collected and unmapped while code outside of JavaScript uses its memory.
 */
const inUse = new SafeSet<unknown>()

export class PinCounts<K, P extends PinCount> {
  readonly #entries = new SafeMap<K, P>()
  readonly #onUnpinned: (key: K, pin: P) => void
  #onNone: (() => void) | null = null

  /** `onUnpinned` is called when nothing holds the thing of `key` any more. Its entry is gone then. */
  constructor(onUnpinned: (key: K, pin: P) => void) {
    this.#onUnpinned = onUnpinned
  }

  /** The number of things that are pinned or lent. */
  get size(): number {
    return this.#entries.size
  }

  get(key: K): P | undefined {
    return this.#entries.get(key)
  }

  forEach(visit: (pin: P, key: K) => void): void {
    this.#entries.forEach((pin, key) => {
      visit(pin, key)
    })
  }

  /** Adds an entry for a key that has none. `pin` counts nothing yet: call `pin` or `lend` next. */
  begin(key: K, pin: P): P {
    if (this.#entries.size === 0) inUse.add(this)
    this.#entries.set(key, pin)
    return pin
  }

  /** Removes a pin. Returns false, and changes nothing, if there is none. */
  remove(key: K): boolean {
    const pin = this.#entries.get(key)
    if (pin === undefined || pin.pinCount === 0) return false
    this.#forgetLast(key, pin)
    pin.pinCount--
    this.#endIfUnpinned(key, pin)
    return true
  }

  /** Begins a loan for an entry. `endLoan` ends it. */
  beginLoan(pin: P): void {
    pin.loanCount++
  }

  /** Ends a loan that `beginLoan` began. */
  endLoan(key: K, pin: P): void {
    this.#forgetLast(key, pin)
    pin.loanCount--
    this.#endIfUnpinned(key, pin)
  }

  /**
   * Calls `use` with a loan for an entry. If `use` returns a promise, the loan ends when it is settled; otherwise at
   * once.
   */
  lend<T>(key: K, pin: P, use: () => T): T {
    this.beginLoan(pin)
    let isPending = false
    try {
      const result = use()
      if (!isThenable(result)) return result
      isPending = true
      return this.#lendUntil(key, pin, result) as T
    } finally {
      if (!isPending) this.endLoan(key, pin)
    }
  }

  /**
   * Calls `run` as soon as nothing is pinned, perhaps now. A later call replaces a `run` that still waits.
   */
  whenNone(run: () => void): void {
    if (this.#entries.size === 0) run()
    else this.#onNone = run
  }

  async #lendUntil(key: K, pin: P, result: PromiseLike<unknown>): Promise<unknown> {
    try {
      return await result
    } finally {
      this.endLoan(key, pin)
    }
  }

  /**
   * Is called before a count goes down. So every entry counts at least one pin or loan, whatever interrupts
   * this.
   */
  #forgetLast(key: K, pin: P): void {
    if (pin.pinCount + pin.loanCount === 1) this.#entries.delete(key)
  }

  #endIfUnpinned(key: K, pin: P): void {
    if (pin.pinCount + pin.loanCount > 0) return
    if (this.#entries.size === 0) inUse.delete(this)
    this.#onUnpinned(key, pin)
    if (this.#entries.size > 0 || this.#onNone === null) return
    const run = this.#onNone
    this.#onNone = null
    run()
  }

  check(): void {
    this.#entries.forEach(({ pinCount, loanCount }) => {
      invariant(
        pinCount >= 0 && loanCount >= 0 && pinCount + loanCount > 0,
        '1: an entry counts a pin or a loan',
      )
    })
  }
}

/** Whether a value is a promise, or acts as one. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return typeof (value as { then?: unknown }).then === 'function'
}
