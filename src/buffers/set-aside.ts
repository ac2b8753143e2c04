/**
 * Blocks that ended while other code could still reach their memory: it moved their `ArrayBuffer`, or the
 * runtime refused to detach it. Each stays allocated in the heap until the finalizer of that `ArrayBuffer`
 * has run.
 */
import { SafeMap } from '../base/primordials.js'
import { type Block, GRANULE_BYTES } from '../base/units.js'
import type { PageSource } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import type { Reach } from './windows.js'

export class SetAside {
  readonly #source: PageSource
  /** The wrap whose finalizer each block waits for. */
  readonly #wrapIds = new SafeMap<Block, WrapId>()

  constructor(source: PageSource) {
    this.#source = source
  }

  get size(): number {
    return this.#wrapIds.size
  }

  has(block: Block): boolean {
    return this.#wrapIds.has(block)
  }

  /** Calls `visit` for each block that waits. */
  forEach(visit: (block: Block) => void): void {
    this.#wrapIds.forEach((_, block) => {
      visit(block)
    })
  }

  /** Adds a block. It waits for the finalizer of `wrapId`. */
  add(block: Block, wrapId: WrapId): void {
    this.#wrapIds.set(block, wrapId)
  }

  /** The wraps through which these blocks may be reached, each with the first byte of its block. */
  get reaches(): Reach[] {
    return [...this.#wrapIds].map(([block, wrapId]) => ({ startBytes: block * GRANULE_BYTES, wrapId }))
  }

  /** Removes the blocks whose wait is over, and calls `free` for each. */
  recover(free: (block: Block) => void): void {
    for (const [block, wrapId] of this.#wrapIds) {
      if (this.#source.isWrapped(wrapId)) continue
      this.#wrapIds.delete(block)
      free(block)
    }
  }

  /** Removes all blocks, and calls `free` for each. Their memory is not used again. */
  abandon(free: (block: Block) => void): void {
    for (const block of this.#wrapIds.keys()) free(block)
    this.#wrapIds.clear()
  }
}
