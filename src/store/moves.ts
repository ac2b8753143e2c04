/**
 * The queue of moves: records whose new block is taken and whose bytes are not copied yet. A slice of a compaction ends
 * with the queue empty, so a record is in one place whenever script runs.
 *
 * Each queued move has one block that no record has, its *spare*: the new block before the slot is pointed to it, and the
 * old one after that. So every record is whole wherever the work ends early, and `abandon` gives back what is left,
 * whatever has become of the records meanwhile. If the copy throws, the new blocks are given back, and nothing else has
 * changed.
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
  readonly #spares = new Int32Array(MAX_MOVES)
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
    this.#spares[this.#count] = to
    this.#count++
    this.#granules += granules
  }

  /** Carries all moves out. Throws what the copy throws; then no record has moved. */
  flush(): void {
    const count = this.#count
    if (count === 0) return
    const granules = this.#granules
    try {
      this.#records.move(this.#moves, count)
    } catch (error) {
      this.abandon()
      throw error
    }
    for (let i = 0; i < count; i++) {
      const ref = this.#refs[i]
      const from = this.#moves[3 * i]
      const to = this.#moves[3 * i + 1]
      const sizeBytes = this.#slots.sizeOf(ref)
      this.#records.noteMoved(from, to, this.#moves[3 * i + 2])
      this.#slots.set(ref, to, sizeBytes)
      // Nothing interrupts between the end of that call and this.
      this.#spares[i] = from
    }
    this.abandon()
    this.movedRecords += count
    this.movedBytes += granules * GRANULE_BYTES
  }

  /** Gives back the spare of each queued move, and empties the queue. */
  abandon(): void {
    this.#granules = 0
    while (this.#count > 0) {
      // First: a spare that is given back twice may be the block of another record by then. At worst, one is lost.
      this.#count--
      this.#heap.giveUp(this.#spares[this.#count])
    }
  }
}
