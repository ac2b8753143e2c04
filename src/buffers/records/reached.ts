/**
 * Live records whose memory other code can reach through an `ArrayBuffer` that this library gave out and could not take
 * back: other code moved it, or the runtime refused to detach it. Such a record must not move. When it ends, its block
 * is set aside.
 */
import { SafeMap } from '../../base/primordials.js'
import { type Block, GRANULE_BYTES } from '../../base/units.js'
import type { PageSource } from '../../memory/page-source.js'
import type { WrapId } from '../../memory/runtime.js'
import type { Reach } from '../windows.js'

export class Reached {
  readonly #source: PageSource
  readonly #wrapIds = new SafeMap<Block, readonly WrapId[]>()

  constructor(source: PageSource) {
    this.#source = source
  }

  get size(): number {
    return this.#wrapIds.size
  }

  has(block: Block): boolean {
    return this.#wrapIds.has(block)
  }

  add(block: Block, wrapId: WrapId): void {
    this.#wrapIds.set(block, [...(this.#wrapIds.get(block) ?? []), wrapId])
  }

  /** Removes a block whose record ends. Returns the wraps through which it can still be reached. */
  take(block: Block): readonly WrapId[] {
    const wrapIds = this.#wrapIds.get(block) ?? []
    this.#wrapIds.delete(block)
    return wrapIds.filter(wrapId => this.#source.isWrapped(wrapId))
  }

  /** Forgets the wraps whose finalizers have run. */
  recover(): void {
    this.#wrapIds.forEach((wrapIds, block) => {
      const left = wrapIds.filter(wrapId => this.#source.isWrapped(wrapId))
      if (left.length === 0) this.#wrapIds.delete(block)
      else this.#wrapIds.set(block, left)
    })
  }

  forEach(visit: (block: Block) => void): void {
    this.#wrapIds.forEach((_, block) => {
      visit(block)
    })
  }

  get reaches(): Reach[] {
    return [...this.#wrapIds].flatMap(([block, wrapIds]) =>
      wrapIds.map(wrapId => ({ startBytes: block * GRANULE_BYTES, wrapId })),
    )
  }
}
