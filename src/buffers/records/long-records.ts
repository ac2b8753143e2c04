/**
 * The `ArrayBuffer`s of records above 64 KiB: each has one of its own, made when the record is first looked at, and
 * kept until the record ends. `OwnBuffers` has them; this adds what is needed without owners.
 *
 * No buffer is idle, but those that interrupted calls left. Their records have ended, or will.
 *
 * Invariant, checked by `check()`:
 *  1. A `DataView` is of the buffer that its record has.
 */
import { invariant } from '../../base/assert.js'
import { byteLengthOf, SafeMap } from '../../base/primordials.js'
import type { Block } from '../../base/units.js'
import type { PageSource } from '../../memory/page-source.js'
import type { WrapId } from '../../memory/runtime.js'
import type { Segment } from '../../memory/segment.js'
import { OwnBuffers } from '../own-buffers.js'
import { type ArenaBuffer, NodeBuffer } from '../owner.js'
import type { Reach } from '../windows.js'
import { lostError, memoryError, recordRefusal } from './record-errors.js'

const View = DataView

export class LongRecords {
  readonly #source: PageSource
  readonly #storeName: string
  readonly #own: OwnBuffers
  readonly #data = new SafeMap<Block, DataView>()

  constructor(source: PageSource, storeName: string) {
    this.#source = source
    this.#storeName = storeName
    this.#own = new OwnBuffers(source, recordRefusal(storeName))
  }

  view(block: Block, sizeBytes: number): ArenaBuffer {
    return new NodeBuffer(this.#memoryOf(block, sizeBytes), 0, sizeBytes)
  }

  dataOf(block: Block, sizeBytes: number): DataView {
    const known = this.#data.get(block)
    if (known !== undefined && !this.#own.isTaken(block)) return known
    const data = new View(this.#memoryOf(block, sizeBytes))
    this.#data.set(block, data)
    return data
  }

  #memoryOf(block: Block, sizeBytes: number): ArrayBuffer {
    const known = this.#own.bufferOf(block)
    if (known !== undefined && byteLengthOf(known) > 0) return known
    if (this.isLost(block)) throw lostError(this.#storeName, !this.#source.sharesMemory)
    this.#discard(block)
    try {
      return this.#own.open(block, sizeBytes)
    } catch (cause) {
      throw memoryError(this.#storeName, cause)
    }
  }

  #discard(block: Block): void {
    this.#data.delete(block)
    this.#own.discard(block)
  }

  /** Whether other code took the buffer of a record, and can still reach its bytes or has the only ones. */
  isLost(block: Block): boolean {
    if (!this.#own.isTakenByOthers(block)) return false
    this.#data.delete(block)
    return !this.#source.sharesMemory || this.#source.isWrapped(this.#own.wrapIdOf(block))
  }

  /**
   * Ends a record. Returns null, or the wrap through which other code still reaches its memory: the block is then set
   * aside until the finalizer of that wrap has run.
   */
  end(block: Block): WrapId | null {
    if (this.#own.bufferOf(block) === undefined) return null
    this.#data.delete(block)
    return this.#own.discard(block)
  }

  /**
   * Detaches all buffers but those for which `stays` is true, and makes them again, over the same memory. It is for
   * sources whose wraps have memory of their own.
   */
  detachAll(stays: (block: Block) => boolean): void {
    const blocks: Block[] = []
    this.#own.forEach(block => {
      blocks[blocks.length] = block
    })
    for (let i = 0; i < blocks.length; i++) if (!stays(blocks[i])) this.#renew(blocks[i])
  }

  #renew(block: Block): void {
    if (byteLengthOf(this.#own.bufferOf(block) as ArrayBuffer) === 0) return
    this.#data.delete(block)
    this.#own.renew(block)
  }

  /**
   * Is called when every record ends except those for which `stays` is true. Detaches the buffers of all others. Calls
   * `taken` for each block whose memory other code can still reach.
   */
  clear(stays: (block: Block) => boolean, taken: (block: Block, wrapId: WrapId) => void): void {
    this.#data.clear()
    this.#own.clear(stays, taken)
  }

  removeSegment(segment: Segment): void {
    this.#data.clear()
    this.#own.removeSegment(segment)
  }

  recount(): void {
    this.#own.revive()
  }

  get reaches(): Reach[] {
    return this.#own.reaches
  }

  check(): void {
    this.#own.check(this.#own.liveBlocks)
    this.#data.forEach((data, block) => {
      invariant(data.buffer === this.#own.bufferOf(block), `1: the data of block ${block}`)
    })
  }
}
