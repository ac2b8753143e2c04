/**
 * A heap whose blocks are overwritten with zeros before they are free. Every end of a block comes by here: `free`, `reset`,
 * the move of a `realloc`, the last unpin, what leaves a quarantine, what the collector found. Who shrinks a block in place
 * leaves its tail as it was: whoever wants that wiped must move it.
 */
import type { Block } from '../base/units.js'
import { BlockHeap } from './block-heap.js'

type BlockHeapOptions = ConstructorParameters<typeof BlockHeap>[1]

export class WipingHeap extends BlockHeap {
  readonly #wipe: (block: Block, sizeBytes: number) => void
  #isWiping = true

  /** `wipe` fills a block's bytes with zeros. */
  constructor(pageBytes: number, options: BlockHeapOptions, wipe: (block: Block, sizeBytes: number) => void) {
    super(pageBytes, options)
    this.#wipe = wipe
  }

  override free(block: Block): boolean {
    if (this.#isWiping && this.isLive(block)) this.#wipe(block, this.sizeOf(block))
    return super.free(block)
  }

  override stopWiping(): void {
    this.#isWiping = false
  }

  override get isWiping(): boolean {
    return this.#isWiping
  }
}
