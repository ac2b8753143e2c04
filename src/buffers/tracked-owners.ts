/**
 * The owners of an arena by their blocks, so that an owner can be found from a view. An arena has this only
 * with `trackOwners`. The owners are held strongly: a program that has only a view has nothing else that
 * holds the owner.
 *
 * A call that frees a block changes nothing here, because an owner itself says whether it is spent. Spent
 * owners stay until other owners take their places, or until there are as many spent as live ones.
 *
 * Invariant, checked by `check()`:
 *  1. It holds fewer owners than `FORGET_FROM_COUNT`, or than twice those that were live when it last forgot
 *     spent ones.
 */
import { invariant } from '../base/assert.js'
import type { Block } from '../base/units.js'
import type { ArenaBuffer } from './owner.js'

// Read once at load, so that a later replacement does not run in the middle of a change.
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

  /** The live owner of a block, or undefined. */
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
