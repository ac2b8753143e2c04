/**
 * Pins: the blocks that code outside of JavaScript uses, and what waits until it has finished.
 *
 * A read of a file, a compression or another thread holds an address, and detaching does not take it away. A
 * pinned block stays live in the heap, so its pages are not purged, its bytes are not used again, and its
 * buffer stays attached. A call that would end the block (`free`, `reset`, the end of a scope) spends its
 * owner at once. The memory ends at the last unpin.
 *
 * Each block has two counts. A caller takes pins and gives them up. A loan ends only with its `lend`. So one
 * `unpin` too many never ends a block under a loan.
 *
 * A pinned owner is watched (see `owner.ts`). It stays watched after the last unpin, because it may be
 * sampled, too (see `leaks.ts`).
 *
 * Invariants, checked by `check()`:
 *  1. Every entry counts at least one pin or loan.
 *  2. The block of an entry is live in the heap, or is `EMPTY`.
 *  3. An owner is spent exactly if its end waits. Otherwise it holds the block of the entry, and is watched.
 */
import { invariant } from '../base/assert.js'
import { SafeMap, SafeSet } from '../base/primordials.js'
import type { Block } from '../base/units.js'
import { blockOf, EMPTY, type Owner, SPENT, sizeOf, spend, watch, watchedBlock } from './owner.js'

type OwnerBuffer = Uint8Array & Owner

export interface Pin {
  readonly block: Block
  pinCount: number
  loanCount: number
  /** The owner is spent: the block ends at the last unpin. */
  isEnding: boolean
}

/**
 * The `Pins` that have pinned blocks. This set keeps their arenas alive, so that an arena which the program
 * drops is not collected and unmapped while code outside of JavaScript uses its memory.
 */
const inUse = new SafeSet<Pins>()

export class Pins {
  readonly #byOwner = new SafeMap<Uint8Array, Pin>()
  readonly #endBlock: (owner: OwnerBuffer, block: Block) => void
  #onNone: (() => void) | null = null

  /**
   * `endBlock` ends a block that was put off. `owner` is spent, and nobody uses `block` (or `EMPTY`) any
   * more.
   */
  constructor(endBlock: (owner: OwnerBuffer, block: Block) => void) {
    this.#endBlock = endBlock
  }

  /** The number of pinned blocks, empty ones included. */
  get blockCount(): number {
    return this.#byOwner.size
  }

  has(buffer: Uint8Array): boolean {
    return this.#byOwner.has(buffer)
  }

  /** Whether the end of a block waits for an unpin. The block must not be `EMPTY`. */
  isEnding(block: Block): boolean {
    for (const pin of this.#byOwner.values()) if (pin.block === block) return pin.isEnding
    return false
  }

  /** Whether loans hold this Buffer, and no pins. */
  isLent(buffer: Uint8Array): boolean {
    return this.#byOwner.get(buffer)?.pinCount === 0
  }

  /** Adds a pin to a live owner. */
  add(owner: OwnerBuffer): void {
    this.#entry(owner).pinCount++
  }

  /** Removes a pin. Returns false, and changes nothing, if there is none. */
  remove(buffer: Uint8Array): boolean {
    const pin = this.#byOwner.get(buffer)
    if (pin === undefined || pin.pinCount === 0) return false
    this.#forgetLast(buffer, pin)
    pin.pinCount--
    this.#endIfUnpinned(buffer as OwnerBuffer, pin)
    return true
  }

  /**
   * Calls `use` with a loan of a live owner. If `use` returns a promise, the loan ends when it is settled;
   * otherwise at once.
   */
  lend<T>(owner: OwnerBuffer, use: () => T): T {
    const pin = this.#entry(owner)
    pin.loanCount++
    let isPending = false
    try {
      const result = use()
      if (!isThenable(result)) return result
      isPending = true
      return this.#lendUntil(owner, pin, result) as T
    } finally {
      if (!isPending) this.#endLoan(owner, pin)
    }
  }

  /**
   * Puts off the end of an owner until it is not pinned any more, and spends it. Returns false if it is not
   * pinned.
   */
  defer(owner: OwnerBuffer): boolean {
    const pin = this.#byOwner.get(owner)
    if (pin === undefined) return false
    spend(owner)
    pin.isEnding = true
    return true
  }

  /**
   * Calls `defer` for all pinned owners. Returns their blocks, except `EMPTY`, each with the bytes that were
   * asked for.
   */
  deferAll(): Map<Block, number> {
    const sizes = new Map<Block, number>()
    for (const owner of this.#byOwner.keys()) {
      const { block } = this.#byOwner.get(owner) as Pin
      this.defer(owner as OwnerBuffer)
      if (block !== EMPTY) sizes.set(block, sizeOf(owner as OwnerBuffer))
    }
    return sizes
  }

  /**
   * Calls `run` as soon as nothing is pinned, perhaps now. A later call replaces a `run` that still waits.
   */
  whenNone(run: () => void): void {
    if (this.#byOwner.size === 0) run()
    else this.#onNone = run
  }

  async #lendUntil(owner: OwnerBuffer, pin: Pin, result: PromiseLike<unknown>): Promise<unknown> {
    try {
      return await result
    } finally {
      this.#endLoan(owner, pin)
    }
  }

  #endLoan(owner: OwnerBuffer, pin: Pin): void {
    this.#forgetLast(owner, pin)
    pin.loanCount--
    this.#endIfUnpinned(owner, pin)
  }

  #entry(owner: OwnerBuffer): Pin {
    const known = this.#byOwner.get(owner)
    if (known !== undefined) return known
    const pin = { block: watchedBlock(blockOf(owner)), pinCount: 0, loanCount: 0, isEnding: false }
    if (this.#byOwner.size === 0) inUse.add(this)
    // This is first: so a pinned owner is always watched, whatever interrupts this.
    watch(owner)
    this.#byOwner.set(owner, pin)
    return pin
  }

  /**
   * Is called before a count goes down. So every entry counts at least one pin or loan, whatever interrupts
   * this.
   */
  #forgetLast(owner: Uint8Array, pin: Pin): void {
    if (pin.pinCount + pin.loanCount === 1) this.#byOwner.delete(owner)
  }

  /**
   * Is called after a count went down. Ends the block if its end was put off and nothing holds it any more.
   */
  #endIfUnpinned(owner: OwnerBuffer, pin: Pin): void {
    if (pin.pinCount + pin.loanCount > 0) return
    if (this.#byOwner.size === 0) inUse.delete(this)
    if (pin.isEnding) this.#endBlock(owner, pin.block)
    if (this.#byOwner.size > 0 || this.#onNone === null) return
    const run = this.#onNone
    this.#onNone = null
    run()
  }

  check(isLive: (block: Block) => boolean): void {
    for (const [owner, { block, pinCount, loanCount, isEnding }] of this.#byOwner) {
      invariant(pinCount >= 0 && loanCount >= 0 && pinCount + loanCount > 0, `1: block ${block} is pinned`)
      invariant(block === EMPTY || isLive(block), `2: pinned block ${block} is live`)
      const held = blockOf(owner as OwnerBuffer)
      const isWatched = held === EMPTY || held !== watchedBlock(held)
      invariant(
        isEnding ? held === SPENT : watchedBlock(held) === block && isWatched,
        `3: the owner of pinned block ${block} holds ${held}`,
      )
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return typeof (value as { then?: unknown }).then === 'function'
}
