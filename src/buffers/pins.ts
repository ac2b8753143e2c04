/**
 * Pins: which blocks somebody outside JavaScript uses, and what waits for them to finish.
 *
 * A read of a file, a compression, another thread hold an address that no detaching takes from them. As long as such a
 * block is pinned it stays live in the heap, so its pages are not purged and its bytes not reused, and its buffer stays
 * attached. What would have ended it (`free`, `reset`, the end of a scope) spends its owner at once and is done with the
 * memory at the last unpin.
 *
 * Two counts a block: pins, which a caller takes and gives up, and loans, which only the end of `lend` gives up. So an
 * unpin too many never takes the block from under a loan.
 *
 * A pinned owner is watched (see `owner.ts`), and stays so: others may have something to do when it ends, too.
 *
 * Invariants, checked by `check()`:
 *  1. every entry counts a pin or a loan
 *  2. an entry's block is live in the heap, or EMPTY
 *  3. an owner is spent exactly if its end waits; if not, it holds the entry's block, and is watched
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
  /** Its owner is spent: the block ends at the last unpin. */
  isEnding: boolean
}

/**
 * What has pinned blocks: held, so that an arena that the program drops is not collected and unmapped while somebody outside
 * uses its memory.
 */
const inUse = new SafeSet<Pins>()

export class Pins {
  readonly #byOwner = new SafeMap<Uint8Array, Pin>()
  readonly #endBlock: (owner: OwnerBuffer, block: Block) => void
  #onNone: (() => void) | null = null

  /** `endBlock` does what was put off: `owner` is spent, and nobody uses `block` (or EMPTY) any more. */
  constructor(endBlock: (owner: OwnerBuffer, block: Block) => void) {
    this.#endBlock = endBlock
  }

  /** Pinned blocks, empty ones included. */
  get blockCount(): number {
    return this.#byOwner.size
  }

  has(buffer: Uint8Array): boolean {
    return this.#byOwner.has(buffer)
  }

  /** Whether the end of a block, not EMPTY, waits for an unpin. */
  isEnding(block: Block): boolean {
    for (const pin of this.#byOwner.values()) if (pin.block === block) return pin.isEnding
    return false
  }

  /** Whether only loans hold it. */
  isLent(buffer: Uint8Array): boolean {
    return this.#byOwner.get(buffer)?.pinCount === 0
  }

  /** One pin more of a live owner. */
  add(owner: OwnerBuffer): void {
    this.#entry(owner).pinCount++
  }

  /** One pin less. Returns false, and changes nothing, where there is none. */
  remove(buffer: Uint8Array): boolean {
    const pin = this.#byOwner.get(buffer)
    if (pin === undefined || pin.pinCount === 0) return false
    this.#forgetLast(buffer, pin)
    pin.pinCount--
    this.#settle(buffer as OwnerBuffer, pin)
    return true
  }

  /** Calls `use` with a live owner that is on loan until what it returns has settled, or at once where that is no promise. */
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

  /** Puts the end of an owner off until it is not pinned any more, and spends it. Returns false where it is not pinned. */
  defer(owner: OwnerBuffer): boolean {
    const pin = this.#byOwner.get(owner)
    if (pin === undefined) return false
    spend(owner)
    pin.isEnding = true
    return true
  }

  /** `defer` of all. Returns their blocks, without EMPTY ones, and the bytes asked for each. */
  deferAll(): Map<Block, number> {
    const sizes = new Map<Block, number>()
    for (const owner of this.#byOwner.keys()) {
      const { block } = this.#byOwner.get(owner) as Pin
      this.defer(owner as OwnerBuffer)
      if (block !== EMPTY) sizes.set(block, sizeOf(owner as OwnerBuffer))
    }
    return sizes
  }

  /** Calls `run` as soon as nothing is pinned, maybe now. The last caller's is the one that counts. */
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
    this.#settle(owner, pin)
  }

  #entry(owner: OwnerBuffer): Pin {
    const known = this.#byOwner.get(owner)
    if (known !== undefined) return known
    const pin = { block: watchedBlock(blockOf(owner)), pinCount: 0, loanCount: 0, isEnding: false }
    if (this.#byOwner.size === 0) inUse.add(this)
    // First: a pinned owner is always watched, whatever interrupts this.
    watch(owner)
    this.#byOwner.set(owner, pin)
    return pin
  }

  /** Before a count goes down: an entry that is known always counts something, whatever interrupts this. */
  #forgetLast(owner: Uint8Array, pin: Pin): void {
    if (pin.pinCount + pin.loanCount === 1) this.#byOwner.delete(owner)
  }

  /** After a count went down. */
  #settle(owner: OwnerBuffer, pin: Pin): void {
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
