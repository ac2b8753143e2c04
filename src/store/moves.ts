/**
 * The queue of moves: records whose new block is taken and whose bytes are not copied yet. A slice of a compaction ends
 * with the queue empty, so a record is in one place whenever script runs.
 *
 * The order of the steps keeps every record whole wherever they end early: all are copied, *then* their slots are pointed
 * to the new blocks, *then* the old blocks are given back. If the copy throws, the new blocks are given back, and nothing
 * else has changed.
 */
import type { Block } from '../base/units.js'
import { GRANULE_BYTES } from '../base/units.js'
import type { Records } from '../buffers/records/records.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { Ref, Slots } from './slots.js'

/** The most moves of one native call. */
const MAX_MOVES = 128
/**
 * The most granules of one native call: 32 KiB. Copying to pages that were never touched takes some microseconds for each,
 * and the clock is read only between two calls.
 */
const MAX_GRANULES = 2048

export class Moves {
  readonly #heap: BlockHeap
  readonly #records: Records
  readonly #slots: Slots
  /** For each move: the old block, the new block, and the granules. */
  readonly #moves = new Int32Array(3 * MAX_MOVES)
  readonly #refs: Ref[] = []
  #count = 0
  #granules = 0
  /** Records and bytes moved, ever. */
  movedRecords = 0
  movedBytes = 0

  constructor(heap: BlockHeap, records: Records, slots: Slots) {
    this.#heap = heap
    this.#records = records
    this.#slots = slots
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  get isFull(): boolean {
    return this.#count === MAX_MOVES || this.#granules >= MAX_GRANULES
  }

  /** Queues the move of a live record of `granules` granules from its block to the block `to`, which is live too. */
  add(ref: Ref, from: Block, to: Block, granules: number): void {
    const at = 3 * this.#count
    this.#moves[at] = from
    this.#moves[at + 1] = to
    this.#moves[at + 2] = granules
    this.#refs[this.#count] = ref
    this.#count++
    this.#granules += granules
  }

  /** Carries all moves out. Throws what the copy throws; then no record has moved. */
  flush(): void {
    const count = this.#count
    if (count === 0) return
    try {
      this.#records.move(this.#moves, count)
    } catch (error) {
      this.abandon()
      throw error
    }
    for (let i = 0; i < count; i++) {
      const ref = this.#refs[i]
      this.#slots.set(ref, this.#moves[3 * i + 1], this.#slots.sizeOf(ref))
    }
    for (let i = 0; i < count; i++) {
      this.#records.noteMoved(this.#moves[3 * i], this.#moves[3 * i + 1], this.#moves[3 * i + 2])
      this.#heap.giveUp(this.#moves[3 * i])
    }
    this.movedRecords += count
    this.movedBytes += this.#granules * GRANULE_BYTES
    this.#count = 0
    this.#granules = 0
  }

  /**
   * Gives up what is queued. After an interrupted `flush`, some records were pointed to their new blocks already: of each
   * pair of blocks, the one that no slot has is given back.
   */
  abandon(): void {
    const count = this.#count
    for (let i = 0; i < count; i++) {
      const from = this.#moves[3 * i]
      const to = this.#moves[3 * i + 1]
      const isMoved = this.#slots.blockOf(this.#refs[i]) === to
      if (isMoved) this.#records.noteMoved(from, to, this.#moves[3 * i + 2])
      const left = isMoved ? from : to
      if (this.#heap.isLive(left)) this.#heap.giveUp(left)
    }
    this.#count = 0
    this.#granules = 0
  }
}
