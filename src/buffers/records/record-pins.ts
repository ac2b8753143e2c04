/**
 * Pins and loans of records, by the ref that names each. A pinned record does not move, and its Buffer stays as it is.
 * If the record is freed meanwhile, it ends at the last unpin.
 *
 * Invariants, checked by `check()`:
 *  1. Every entry counts at least one pin or loan (`PinCounts`).
 *  2. The block of an entry is live in the heap, and no other entry has it.
 */
import { invariant } from '../../base/assert.js'
import { lengthOf, SafeMap } from '../../base/primordials.js'
import type { Block } from '../../base/units.js'
import type { ArenaBuffer } from '../owner.js'
import { type PinCount, PinCounts } from '../pin-counts.js'
import { lostError, notPinnedError } from './record-errors.js'
import type { PinnedMemory, Records } from './records.js'

/** What names a record. It is only compared here. */
type Ref = number

interface RecordPin extends PinCount {
  readonly block: Block
  readonly sizeBytes: number
  readonly memory: PinnedMemory
  /** The record was freed: it ends at the last unpin. */
  isEnding: boolean
}

export class RecordPins {
  readonly #records: Pick<Records, 'openPin' | 'closePin'>
  readonly #storeName: string
  readonly #endRecord: (ref: Ref, block: Block, sizeBytes: number) => void
  readonly #counts: PinCounts<Ref, RecordPin>
  /** The pins that come to their end, until all of that is done. What is left here was interrupted. */
  readonly #leaving = new SafeMap<Ref, RecordPin>()
  readonly #refOf = new SafeMap<Block, Ref>()

  /**
   * `endRecord` ends a record whose end was put off. Until then its ref must not name another record. If it was interrupted,
   * it is called again. It refers to the store, which is kept alive while records are pinned. `nextTurn`: see `PinCounts`.
   */
  constructor(
    records: Pick<Records, 'openPin' | 'closePin'>,
    storeName: string,
    nextTurn: (run: () => void) => void,
    endRecord: (ref: Ref, block: Block, sizeBytes: number) => void,
  ) {
    this.#records = records
    this.#storeName = storeName
    this.#endRecord = endRecord
    this.#counts = new PinCounts(
      nextTurn,
      (ref, pin) => this.#unpinned(ref, pin),
      (ref, pin) => this.#leaving.set(ref, pin),
    )
  }

  /** How many times a record came to its last unpin, or to the end of its last loan, ever. */
  endedCount = 0

  /** The number of pinned and lent records. */
  get count(): number {
    this.#mend()
    return this.#counts.size
  }

  /** Whether a record is pinned or lent. */
  has(ref: Ref): boolean {
    return this.#counts.get(ref) !== undefined
  }

  /** Whether the record of this block is pinned or lent. */
  isPinned(block: Block): boolean {
    return this.#refOf.size > 0 && this.#refOf.has(block) && this.#isEntered(block)
  }

  /** Whether a block is that of an entry. If not, an interrupted call left it here. */
  #isEntered(block: Block): boolean {
    const ref = this.#refOf.get(block)
    if (ref !== undefined && this.#counts.get(ref)?.block === block) return true
    this.#refOf.delete(block)
    return false
  }

  /** Calls `visit` for each pinned or lent record. */
  forEach(visit: (block: Block, sizeBytes: number, ref: Ref) => void): void {
    this.#mend()
    this.#counts.forEach(({ block, sizeBytes }, ref) => {
      visit(block, sizeBytes, ref)
    })
  }

  /**
   * Adds a pin to a live record. Returns the Buffer of its pins, which is the same for all of them. Throws
   * `ERR_ARENA_DETACHED` where other code took the memory of the record away, and the errors of `PageSource.wrap`;
   * nothing is pinned then.
   */
  pin(ref: Ref, block: Block, sizeBytes: number): ArenaBuffer {
    this.#mend()
    const pin = this.#entry(ref, block, sizeBytes)
    pin.pinCount++
    return pin.memory.buffer
  }

  /** Removes a pin. Throws `ERR_ARENA_NOT_PINNED`, and changes nothing, if there is none. */
  unpin(ref: Ref): void {
    this.#mend()
    if (!this.#counts.remove(ref)) throw notPinnedError(this.#storeName, this.has(ref))
  }

  /**
   * Calls `use` with the Buffer of a live record, and pins the record for as long as that takes: until the promise that
   * `use` returned is settled, else until it returned. Throws what `pin` and `use` throw.
   */
  lend<T>(ref: Ref, block: Block, sizeBytes: number, use: (bytes: ArenaBuffer) => T): T {
    this.#mend()
    return this.#counts.lend(
      ref,
      () => this.#entry(ref, block, sizeBytes),
      ({ memory }) => use(memory.buffer),
    )
  }

  /** The pin of a record, of which `isEnding` puts the end of the record off; undefined if it is not pinned. */
  of(ref: Ref): { isEnding: boolean } | undefined {
    return this.#counts.get(ref)
  }

  /** Puts off the ends of all pinned records. Returns their blocks, each with the size of its record. */
  deferAll(): Map<Block, number> {
    this.#mend()
    const sizes = new Map<Block, number>()
    this.#counts.forEach(pin => {
      pin.isEnding = true
      sizes.set(pin.block, pin.sizeBytes)
    })
    return sizes
  }

  /** Whether the record was freed and ends at the last unpin. */
  isEnding(ref: Ref): boolean {
    return this.#counts.get(ref)?.isEnding === true
  }

  /** Calls `run` as soon as nothing is pinned, perhaps now. A later call replaces a `run` that still waits. */
  whenNone(run: () => void): void {
    this.#mend()
    this.#counts.whenNone(run)
  }

  #entry(ref: Ref, block: Block, sizeBytes: number): RecordPin {
    const known = this.#counts.get(ref)
    if (known !== undefined) {
      if (lengthOf(known.memory.buffer) === 0) throw lostError(this.#storeName, known.memory.wrap === null)
      return known
    }
    const memory = this.#records.openPin(block, sizeBytes)
    this.#refOf.set(block, ref)
    return this.#counts.begin(ref, { block, sizeBytes, memory, pinCount: 0, loanCount: 0, isEnding: false })
  }

  #unpinned(ref: Ref, pin: RecordPin): void {
    this.endedCount++
    this.#refOf.delete(pin.block)
    this.#finish(ref, pin)
  }

  #finish(ref: Ref, { block, sizeBytes, memory, isEnding }: RecordPin): void {
    this.#records.closePin(block, sizeBytes, memory)
    if (isEnding) this.#endRecord(ref, block, sizeBytes)
    this.#leaving.delete(ref)
  }

  /** Finishes what an interrupted end of a pin left undone. */
  #mend(): void {
    if (this.#leaving.size > 0) {
      this.#leaving.forEach((pin, ref) => {
        // If its entry is still there, that ends first.
        if (this.#counts.get(ref) !== pin) this.#finish(ref, pin)
      })
    }
    this.#counts.mend()
  }

  check(isLive: (block: Block) => boolean): void {
    this.#mend()
    this.#counts.check()
    invariant(this.#leaving.size === 0, '1: what ended is done')
    this.#refOf.forEach((_, block) => {
      this.#isEntered(block)
    })
    this.#counts.forEach(({ block }, ref) => {
      invariant(isLive(block), `2: the block ${block} of a pinned record is live`)
      invariant(this.#refOf.get(block) === ref, `2: block ${block} is pinned once`)
    })
    invariant(this.#refOf.size === this.#counts.size, '2: as many blocks as entries')
  }
}
