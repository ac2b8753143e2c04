/**
 * The order in which freed blocks wait before their memory is used again, while `debug` is on: first in, first out, and
 * no more than so many blocks and bytes. Knows no memory: whoever asks checks and frees what leaves.
 *
 * Invariants, checked by `check()`:
 *  1. `blocks` and `bytes` count what waits, and are within their bounds
 *  2. no more have aged than wait
 */
import { invariant } from '../../base/assert.js'
import { SafeMap } from '../../base/primordials.js'
import type { Block } from '../../base/units.js'

export interface Quarantined {
  readonly block: Block
  /** What counts towards the bound: bytes asked for. */
  readonly sizeBytes: number
}

export interface QuarantineBounds {
  /** Most blocks that wait. */
  readonly quarantineBlocks: number
  /** Most bytes of them: what was asked for. */
  readonly quarantineBytes: number
}

export class Quarantine<T extends Quarantined> {
  readonly #bounds: QuarantineBounds
  /** In the order in which they came. */
  readonly #waiting = new SafeMap<Block, T>()
  #bytes = 0
  /** How many, the oldest, were there at the last `takeAged`. */
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

  /** Of blocks that end together, the first index from which on all have room, were nothing else there. */
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

  /** Adds a block that is accepted. Returns those that have to leave for it, the oldest first. */
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

  /** Takes out those that were there at the last call of this already. */
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
