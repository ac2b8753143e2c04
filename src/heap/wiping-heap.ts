/**
 * A heap that overwrites blocks with zeros before they are free. Each way in which a block ends calls `free`:
 * `free` and `reset` of the arena, the move of a `realloc`, the last unpin, the end of a quarantine, and the
 * collection of a forgotten block. A block that shrinks in place leaves its tail as it was. A caller that
 * wants the tail wiped must move the block.
 */
import type { Block } from '../base/units.js'
import { BlockHeap, type BlockHeapOptions } from './block-heap.js'

/** A `BlockHeap` that calls `wipe` before a block is free. */
export class WipingHeap extends BlockHeap {
  readonly #wipe: (block: Block, sizeBytes: number) => void
  #isWiping = true

  /** `wipe` fills the bytes of a block with zeros. */
  constructor(pageBytes: number, options: BlockHeapOptions, wipe: (block: Block, sizeBytes: number) => void) {
    super(pageBytes, options)
    this.#wipe = wipe
  }

  override free(block: Block): boolean {
    if (this.#isWiping && this.isLive(block)) this.#wipe(block, this.sizeOf(block))
    return super.free(block)
  }

  override giveUp(block: Block): void {
    if (this.#isWiping && this.isLive(block)) this.#wipe(block, this.sizeOf(block))
    super.giveUp(block)
  }

  override stopWiping(): void {
    this.#isWiping = false
  }

  override get isWiping(): boolean {
    return this.#isWiping
  }
}
