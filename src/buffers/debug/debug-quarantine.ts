/**
 * The quarantine: while `debug` is on, freed blocks wait here before their memory is used again. The first
 * block in is the first out. The number of blocks and of bytes is bounded. This file touches no memory: its
 * caller looks at the blocks that leave, and frees them.
 *
 * Invariants, checked by `check()`:
 *  1. `blocks` and `bytes` count the blocks that wait, and are within their bounds.
 *  2. No more blocks have aged than wait.
 */
import { invariant } from '../../base/assert.js'
import { SafeMap } from '../../base/primordials.js'
import type { Block } from '../../base/units.js'

export interface Quarantined {
  readonly block: Block
  /** Bytes that were asked for. The bound counts these. */
  readonly sizeBytes: number
}

export interface QuarantineBounds {
  /** The most blocks that wait. */
  readonly quarantineBlocks: number
  /** The most bytes of all blocks that wait, as asked for. */
  readonly quarantineBytes: number
}

export class Quarantine<T extends Quarantined> {
  readonly #bounds: QuarantineBounds
  /** The waiting blocks, in the order in which they came. */
  readonly #waiting = new SafeMap<Block, T>()
  #bytes = 0
  /** How many of the waiting blocks, the oldest ones, waited already at the last `takeAged`. */
  #agedBlocks = 0

  constructor(bounds: QuarantineBounds) {
    this.#bounds = bounds
  }

  get blocks(): number {
    return this.#waiting.size
  }

  get bytes(): number {
    return this.#bytes
  }

  has(block: Block): boolean {
    return this.#waiting.has(block)
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#waiting.values()
  }

  /** Whether a block of that many bytes may wait at all. */
  accepts(sizeBytes: number): boolean {
    return this.#bounds.quarantineBlocks > 0 && sizeBytes <= this.#bounds.quarantineBytes
  }

  /**
   * For blocks that end together: the first index from which all further ones have room in an empty
   * quarantine.
   */
  firstFitting(ending: readonly T[]): number {
    const { quarantineBlocks, quarantineBytes } = this.#bounds
    let index = ending.length
    let bytes = 0
    while (index > 0 && ending.length - index < quarantineBlocks) {
      bytes += ending[index - 1].sizeBytes
      if (bytes > quarantineBytes) break
      index--
    }
    return index
  }

  /** Adds a block that `accepts` allows. Returns the blocks that must leave for it, the oldest first. */
  add(entry: T): T[] {
    const { quarantineBlocks, quarantineBytes } = this.#bounds
    const leaving: T[] = []
    for (const oldest of this.#waiting.values()) {
      const isWithin =
        this.#waiting.size < quarantineBlocks && this.#bytes + entry.sizeBytes <= quarantineBytes
      if (isWithin) break
      this.#remove(oldest)
      leaving.push(oldest)
    }
    this.#waiting.set(entry.block, entry)
    this.#bytes += entry.sizeBytes
    return leaving
  }

  /** Removes and returns the blocks that waited already at the previous call. */
  takeAged(): T[] {
    const aged = this.#take(this.#agedBlocks)
    this.#agedBlocks = this.#waiting.size
    return aged
  }

  takeAll(): T[] {
    return this.#take(this.#waiting.size)
  }

  #take(count: number): T[] {
    const taken = [...this.#waiting.values()].slice(0, count)
    for (const entry of taken) this.#remove(entry)
    return taken
  }

  #remove(oldest: T): void {
    this.#waiting.delete(oldest.block)
    this.#bytes -= oldest.sizeBytes
    if (this.#agedBlocks > 0) this.#agedBlocks--
  }

  check(): void {
    const { quarantineBlocks, quarantineBytes } = this.#bounds
    let bytes = 0
    for (const { sizeBytes } of this.#waiting.values()) bytes += sizeBytes
    invariant(bytes === this.#bytes, `1: ${this.#bytes} bytes in quarantine, found ${bytes}`)
    invariant(
      this.blocks <= quarantineBlocks && bytes <= quarantineBytes,
      '1: the quarantine is within its bounds',
    )
    invariant(this.#agedBlocks <= this.blocks, '2: what has aged is there')
  }
}
