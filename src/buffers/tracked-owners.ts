/**
 * The owners of an arena by their blocks: the way back from a view. Kept where an arena is asked to (`trackOwners`), and
 * held, for who has only a view left has nothing else that would hold the owner.
 *
 * What frees a block tells nothing here: an owner says itself whether it is spent. So spent ones stay until others
 * take their place, or until as many are spent as live.
 *
 * Invariant, checked by `check()`:
 *  1. it holds at most twice the live owners and a few
 */
import { invariant } from '../base/assert.js'
import type { Block } from '../base/units.js'
import type { ArenaBuffer } from './owner.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max } = Math

const FORGET_FROM_COUNT = 256

export class TrackedOwners {
  readonly #byBlock = new Map<Block, ArenaBuffer>()
  readonly #isLive: (owner: ArenaBuffer) => boolean
  #forgetAtCount = FORGET_FROM_COUNT

  constructor(isLive: (owner: ArenaBuffer) => boolean) {
    this.#isLive = isLive
  }

  add(block: Block, owner: ArenaBuffer): void {
    this.#byBlock.set(block, owner)
    if (this.#byBlock.size >= this.#forgetAtCount) this.#forgetSpent()
  }

  /** The live owner of a block. */
  of(block: Block): ArenaBuffer | undefined {
    const owner = this.#byBlock.get(block)
    return owner !== undefined && this.#isLive(owner) ? owner : undefined
  }

  clear(): void {
    this.#byBlock.clear()
    this.#forgetAtCount = FORGET_FROM_COUNT
  }

  #forgetSpent(): void {
    for (const [block, owner] of this.#byBlock) if (!this.#isLive(owner)) this.#byBlock.delete(block)
    this.#forgetAtCount = max(FORGET_FROM_COUNT, 2 * this.#byBlock.size)
  }

  check(): void {
    invariant(this.#byBlock.size < this.#forgetAtCount, '1: spent owners are forgotten')
  }
}
