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

/** A loan: that of one `lend`, or one that `beginLoan` began. */
export interface Loan<K, P> {
  readonly key: K
  /** Null before the loan is counted. */
  pin: P | null
  /** What the `use` of a `lend` returned. */
  result: unknown
  /** It is counted no more. */
  isOver: boolean
}

export class PinCounts<K, P extends PinCount> {
  readonly #entries = new SafeMap<K, P>()
  readonly #onUnpinned: (key: K, pin: P) => void
  readonly #onLast: ((key: K, pin: P) => void) | null
  readonly #nextTurn: (run: () => void) => void
  #onNone: (() => void) | null = null
  /** A pin or a loan is ending, or its end was interrupted: then at most one entry counts nothing. */
  #isUnfinished = false
  /**
   * The loans whose `lend` has not returned, and those that nobody keeps yet. In the next turn of the event loop, these are the
   * ones of calls that were terminated.
   */
  readonly #open = new SafeSet<Loan<K, P>>()
  #isLooking = false

  /**
   * `onUnpinned` is called when nothing holds the thing of `key` any more. Its entry is gone then. It is called once, also
   * where it is interrupted. `onLast` is called before, while the entry is there; where that is interrupted, it is called
   * again. `nextTurn` calls `run` in the next turn of the event loop, while no script is on the stack.
   */
  constructor(
    nextTurn: (run: () => void) => void,
    onUnpinned: (key: K, pin: P) => void,
    onLast: ((key: K, pin: P) => void) | null = null,
  ) {
    this.#nextTurn = nextTurn
    this.#onUnpinned = onUnpinned
    this.#onLast = onLast
  }

  /** The number of things that are pinned or lent. */
  get size(): number {
    this.mend()
    return this.#entries.size
  }

  get(key: K): P | undefined {
    return this.#entries.get(key)
  }

  forEach(visit: (pin: P, key: K) => void): void {
    this.mend()
    this.#entries.forEach((pin, key) => {
      visit(pin, key)
    })
  }

  /** Adds an entry for a key that has none. Its caller adds a pin or a loan at once, and calls nothing before. */
  begin(key: K, pin: P): P {
    if (this.#entries.size === 0) inUse.add(this)
    this.#entries.set(key, pin)
    return pin
  }

  /** Removes a pin. Returns false, and changes nothing, if there is none. */
  remove(key: K): boolean {
    this.mend()
    const pin = this.#entries.get(key)
    if (pin === undefined || pin.pinCount === 0) return false
    // What follows may be interrupted anywhere. From here on `mend` ends what has begun.
    this.#isUnfinished = true
    pin.pinCount--
    this.#endIfUnpinned(key, pin)
    return true
  }

  /**
   * Begins a loan for the entry of a key, which `entry` finds or begins. `endLoan` ends it. Unless `keepLoan` is called in the
   * same turn, it ends by itself in a later one: then its caller was terminated.
   */
  beginLoan(key: K, entry: () => P): Loan<K, P> {
    this.mend()
    const loan: Loan<K, P> = { key, pin: null, result: undefined, isOver: false }
    this.#open.add(loan)
    const pin = entry()
    // No call comes between: the loan says that it is counted exactly if it is.
    loan.pin = pin
    pin.loanCount++
    return loan
  }

  /** Has a loan last until `endLoan`. */
  keepLoan(loan: Loan<K, P>): void {
    this.#open.delete(loan)
  }

  /** Ends a loan. A second call does nothing, and so it is safe to call this again where it was interrupted. */
  endLoan(loan: Loan<K, P>): void {
    this.mend()
    const { key, pin } = loan
    if (pin !== null && !loan.isOver) {
      this.#isUnfinished = true
      loan.isOver = true
      pin.loanCount--
      this.#endIfUnpinned(key, pin)
    }
    this.#open.delete(loan)
  }

  /**
   * Calls `use` with a loan for the entry of a key, which `entry` finds or begins. If `use` returns a promise, the loan
   * ends when it is settled; otherwise at once. If this is terminated, the loan ends in a later turn.
   */
  lend<T>(key: K, entry: () => P, use: (pin: P) => T): T {
    const loan = this.beginLoan(key, entry)
    const pin = loan.pin as P
    let isPending = false
    try {
      const result = use(pin)
      loan.result = result
      if (!isThenable(result)) return result
      isPending = true
      return this.#lendUntil(loan, result) as T
    } finally {
      if (!isPending) {
        // No call comes before: the stack may be full.
        this.#isUnfinished = true
        loan.isOver = true
        pin.loanCount--
        this.#endIfUnpinned(key, pin)
        this.#open.delete(loan)
      }
    }
  }

  /**
   * Calls `run` as soon as nothing is pinned, perhaps now. A later call replaces a `run` that still waits.
   */
  whenNone(run: () => void): void {
    this.mend()
    if (this.#entries.size === 0) run()
    else this.#onNone = run
  }

  async #lendUntil(loan: Loan<K, P>, result: PromiseLike<unknown>): Promise<unknown> {
    this.keepLoan(loan)
    try {
      return await result
    } finally {
      this.endLoan(loan)
    }
  }

  #endIfUnpinned(key: K, pin: P): void {
    if (pin.pinCount + pin.loanCount === 0) {
      this.#onLast?.(key, pin)
      this.#entries.delete(key)
      this.#onUnpinned(key, pin)
      this.#settle()
    }
    this.#isUnfinished = false
  }

  /** Does what is due once nothing is pinned. */
  #settle(): void {
    if (this.#entries.size > 0) return
    inUse.delete(this)
    const run = this.#onNone
    this.#onNone = null
    run?.()
  }

  /**
   * Finishes the end of a pin or a loan that was interrupted. If loans are under way, it looks in the next turn whether one
   * of them was terminated.
   */
  mend(): void {
    if (this.#isUnfinished) this.#finish()
    if (this.#open.size === 0 || this.#isLooking) return
    this.#nextTurn(() => this.#endTerminated())
    this.#isLooking = true
  }

  #finish(): void {
    this.#entries.forEach((pin, key) => {
      if (pin.pinCount + pin.loanCount === 0) this.#endIfUnpinned(key, pin)
    })
    this.#settle()
    this.#isUnfinished = false
  }

  /** Ends the loans whose caller was terminated. No script is on the stack, so none of them is under way. */
  #endTerminated(): void {
    this.#isLooking = false
    this.#open.forEach(loan => {
      // Nobody has the promise that this makes.
      if (isThenable(loan.result)) this.#lendUntil(loan, loan.result).catch(() => {})
      else this.endLoan(loan)
    })
  }

  check(): void {
    this.mend()
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
