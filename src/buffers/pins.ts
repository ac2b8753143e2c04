/**
 * Pins: the blocks that code outside of JavaScript uses, and what waits until it has finished.
 *
 * A read of a file, a compression or another thread holds an address, and detaching does not take it away. A
 * pinned block stays live in the heap, so its pages are not purged, its bytes are not used again, and its
 * buffer stays attached. A call that would end the block (`free`, `reset`, the end of a scope) spends its
 * owner at once. The memory ends at the last unpin. `PinCounts` says what is counted.
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
import type { Block } from '../base/units.js'
import {
  ACQUIRED,
  blockOf,
  EMPTY,
  NO_POOL,
  type Owner,
  PINNED,
  poolStateOf,
  SPENT,
  setPoolState,
  sizeOf,
  spend,
  watch,
  watchedBlock,
} from './owner.js'
import { type Loan, type PinCount, PinCounts } from './pin-counts.js'

type OwnerBuffer = Uint8Array & Owner

export interface Pin extends PinCount {
  readonly block: Block
  /** The owner is spent: the block ends at the last unpin. */
  isEnding: boolean
}

/** A loan of a block, which lasts until `endLoan`. */
export type BlockLoan = Loan<Uint8Array, Pin>

export class Pins {
  readonly #counts: PinCounts<Uint8Array, Pin>

  /**
   * `endBlock` ends a block that was put off. `owner` is spent, and nobody uses `block` (or `EMPTY`) any
   * more. `nextTurn`: see `PinCounts`.
   */
  constructor(nextTurn: (run: () => void) => void, endBlock: (owner: OwnerBuffer, block: Block) => void) {
    this.#counts = new PinCounts(nextTurn, (buffer, { block, isEnding }) => {
      if (isEnding) endBlock(buffer as OwnerBuffer, block)
    })
  }

  /** The number of pinned blocks, empty ones included. */
  get blockCount(): number {
    return this.#counts.size
  }

  has(buffer: Uint8Array): boolean {
    return this.#counts.get(buffer) !== undefined
  }

  /** Whether the end of a block waits for an unpin. The block must not be `EMPTY`. */
  isEnding(block: Block): boolean {
    let isEnding = false
    this.#counts.forEach(pin => {
      if (pin.block === block && pin.isEnding) isEnding = true
    })
    return isEnding
  }

  /** Whether loans hold this Buffer, and no pins. */
  isLent(buffer: Uint8Array): boolean {
    return this.#counts.get(buffer)?.pinCount === 0
  }

  /** Adds a pin to a live owner. */
  add(owner: OwnerBuffer): void {
    this.#entry(owner).pinCount++
  }

  /** Removes a pin. Returns false, and changes nothing, if there is none. */
  remove(buffer: Uint8Array): boolean {
    return this.#counts.remove(buffer)
  }

  /**
   * Calls `use` with a loan of a live owner. If `use` returns a promise, the loan ends when it is settled;
   * otherwise at once.
   */
  lend<T>(owner: OwnerBuffer, use: () => T): T {
    return this.#counts.lend(owner, () => this.#entry(owner), use)
  }

  /**
   * Begins a loan of a live owner. No `unpin` ends it, but `endLoan` does. Unless `keepLoan` is called in the same turn, it ends by
   * itself in a later one.
   */
  beginLoan(owner: OwnerBuffer): BlockLoan {
    return this.#counts.beginLoan(owner, () => this.#entry(owner))
  }

  keepLoan(loan: BlockLoan): void {
    this.#counts.keepLoan(loan)
  }

  /** Ends a loan. A second call does nothing. */
  endLoan(loan: BlockLoan): void {
    this.#counts.endLoan(loan)
  }

  /**
   * Puts off the end of an owner until it is not pinned any more, and spends it. Returns false if it is not
   * pinned.
   */
  defer(owner: OwnerBuffer): boolean {
    const pin = this.#counts.get(owner)
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
    this.#counts.forEach(({ block }, owner) => {
      this.defer(owner as OwnerBuffer)
      if (block !== EMPTY) sizes.set(block, sizeOf(owner as OwnerBuffer))
    })
    return sizes
  }

  /**
   * Calls `run` as soon as nothing is pinned, perhaps now. A later call replaces a `run` that still waits.
   */
  whenNone(run: () => void): void {
    this.#counts.whenNone(run)
  }

  #entry(owner: OwnerBuffer): Pin {
    const known = this.#counts.get(owner)
    if (known !== undefined) return known
    const pin = { block: watchedBlock(blockOf(owner)), pinCount: 0, loanCount: 0, isEnding: false }
    // This is first: so a pinned owner is always watched, whatever interrupts this.
    watch(owner)
    const state = poolStateOf(owner)
    if (state !== NO_POOL && (state & 3) === ACQUIRED) setPoolState(owner, state | PINNED)
    return this.#counts.begin(owner, pin)
  }

  check(isLive: (block: Block) => boolean): void {
    this.#counts.check()
    this.#counts.forEach(({ block, isEnding }, owner) => {
      invariant(block === EMPTY || isLive(block), `2: pinned block ${block} is live`)
      const held = blockOf(owner as OwnerBuffer)
      const isWatched = held === EMPTY || held !== watchedBlock(held)
      invariant(
        isEnding ? held === SPENT : watchedBlock(held) === block && isWatched,
        `3: the owner of pinned block ${block} holds ${held}`,
      )
    })
  }
}
