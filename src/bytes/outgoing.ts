/**
 * Blocks on their way out of an arena, in order. A stream took them over: their owners are spent, and a loan
 * holds each of them. A block ends when its last byte was given away and nobody looks at a view of it any more.
 *
 * Bytes leave in two ways:
 *  - as a *copy*, for code of which nothing is known. The block is not needed for it after that.
 *  - as a *lent view*, for code that says when it needs the bytes no longer. The block stays until it has said so.
 *
 * Nothing here refers to the stream. So a stream that the program drops is collected, and `abandon` ends what
 * is left.
 */
import { bufferOf, byteOffsetOf, copyBytes, lengthOf } from '../base/primordials.js'
import { NodeBuffer } from '../buffers/owner.js'
import type { BlockLoan } from '../buffers/pins.js'

const { min } = Math

/** The most bytes of one copy. A copy holds the bytes of several short blocks. */
const COPY_BYTES = 64 * 1024
/** A block of which no more than this is left is copied, together with the next ones, even where views may be lent: each write costs more than the copy. */
const COPIED_REST_BYTES = 4 * 1024
/** The most bytes of one lent view. So a destination is asked now and then whether it can take more. */
const VIEW_BYTES = 2 ** 20

/** What takes blocks over from an arena, and ends them. */
export interface BlockTaker {
  /**
   * Takes over all of these blocks, or none: their owners are spent from then on, and their memory stays valid
   * until `end`. Throws the error of `pin` if one of them is not a live owner.
   */
  takeOver(buffers: readonly Uint8Array[]): TakenBlock[]
  /**
   * Says that somebody will call `end` for these. Those for which nobody has said so end in the next turn: then the call that
   * took them over was terminated.
   */
  keep(taken: readonly TakenBlock[]): void
  /** Ends a block that was taken over. A second call does nothing. */
  end(taken: TakenBlock): void
  /** Makes the error that says that other code took the `ArrayBuffer` of a block away. */
  detachedError(): Error
}

/** A block that was taken over. */
export interface TakenBlock {
  readonly buffer: Uint8Array
  readonly sizeBytes: number
  readonly loan: BlockLoan
  /** Reports the block as a leak, with the place of its allocation; null if its owner was not sampled. */
  readonly reportLeak: (() => void) | null
}

/** Bytes of a block that the receiver looks at until `done` is called. A second call does nothing. */
export interface LentView {
  readonly view: Buffer
  readonly done: () => void
}

interface OutgoingBlock {
  readonly taken: TakenBlock
  /** Bytes that were copied or lent, from the start on. */
  givenBytes: number
  /** Views of it that are lent. */
  viewCount: number
  hasEnded: boolean
}

export class Outgoing {
  /** Null when every block has ended: a stream that is kept after its end holds no arena. */
  #taker: BlockTaker | null
  #blocks: OutgoingBlock[] = []
  /** The first block that has bytes to give. */
  #next = 0
  #leftBytes = 0
  #liveCount = 0
  /** Nobody wants the rest. */
  #isGivenUp = false

  constructor(taker: BlockTaker) {
    this.#taker = taker
  }

  /** Adds blocks that were taken over. It is called once. Those of zero bytes end at once. */
  fill(taken: readonly TakenBlock[]): void {
    for (const block of taken) {
      this.#blocks[this.#liveCount++] = { taken: block, givenBytes: 0, viewCount: 0, hasEnded: false }
      this.#leftBytes += block.sizeBytes
    }
    for (const block of this.#blocks) this.#endIfGiven(block)
    this.#pass()
    if (taken.length === 0) this.#taker = null
  }

  /** Whether every block has ended. */
  get isOver(): boolean {
    return this.#liveCount === 0
  }

  /** Returns a copy of the next bytes, or null if there are none. Throws if other code took their memory away. */
  copyNext(): Buffer | null {
    this.#pass()
    if (this.#leftBytes === 0) return null
    // With an `ArrayBuffer` of its own, because some receivers take it over.
    const copy = Buffer.allocUnsafeSlow(min(COPY_BYTES, this.#leftBytes))
    for (let filled = 0; filled < copy.length; ) {
      const view = this.#viewOfNext(copy.length - filled)
      copyBytes(new NodeBuffer(bufferOf(copy), filled, view.length), view)
      filled += view.length
      this.#give(view.length)
    }
    return copy
  }

  /**
   * Returns the next bytes for a receiver that calls `done`, or null if there are none. Throws if other code took
   * their memory away.
   */
  lendNext(): LentView | null {
    this.#pass()
    if (this.#leftBytes === 0) return null
    const block = this.#blocks[this.#next]
    if (block.taken.sizeBytes - block.givenBytes <= COPIED_REST_BYTES) {
      return { view: this.copyNext() as Buffer, done: () => {} }
    }
    const view = this.#viewOfNext(VIEW_BYTES)
    block.viewCount++
    this.#give(view.length)
    let isDone = false
    const done = (): void => {
      if (isDone) return
      isDone = true
      block.viewCount--
      this.#endIfGiven(block)
    }
    return { view, done }
  }

  /**
   * Gives nothing more. Blocks with a lent view end with the last one of these, all others now, also those whose end was
   * interrupted.
   */
  endRest(): void {
    this.#isGivenUp = true
    this.#leftBytes = 0
    const blocks = this.#blocks
    for (const block of blocks) {
      block.givenBytes = block.taken.sizeBytes
      this.#endIfGiven(block)
    }
    this.#next = blocks.length
  }

  /**
   * Ends every block: the stream was collected, and so was everything that could call `done`. Reports the blocks
   * as leaks, unless `endRest` was called before: then only their end was interrupted.
   */
  abandon(): void {
    for (const block of this.#blocks) {
      if (block.hasEnded) continue
      this.#end(block)
      // This is last, because a listener may do anything.
      if (!this.#isGivenUp) block.taken.reportLeak?.()
    }
  }

  #viewOfNext(mostBytes: number): Buffer {
    const { taken, givenBytes } = this.#blocks[this.#next]
    const { buffer, sizeBytes } = taken
    if (lengthOf(buffer) === 0) throw (this.#taker as BlockTaker).detachedError()
    return new NodeBuffer(
      bufferOf(buffer),
      byteOffsetOf(buffer) + givenBytes,
      min(mostBytes, sizeBytes - givenBytes),
    )
  }

  #give(bytes: number): void {
    this.#blocks[this.#next].givenBytes += bytes
    this.#leftBytes -= bytes
    this.#pass()
  }

  /** Passes over blocks that have nothing left to give. */
  #pass(): void {
    const blocks = this.#blocks
    while (this.#next < blocks.length) {
      const at = this.#next
      const block = blocks[at]
      if (block.givenBytes < block.taken.sizeBytes) return
      this.#endIfGiven(block)
      // The end of a block may run script, which may have come here, too.
      if (this.#next === at) this.#next = at + 1
    }
  }

  #endIfGiven(block: OutgoingBlock): void {
    if (block.viewCount === 0 && block.givenBytes === block.taken.sizeBytes) this.#end(block)
  }

  #end(block: OutgoingBlock): void {
    if (block.hasEnded) return
    // Noted after it: where this is interrupted, a later call ends the block.
    const taker = this.#taker as BlockTaker
    taker.end(block.taken)
    // It may have run script, which came here, too.
    if (block.hasEnded) return
    block.hasEnded = true
    this.#liveCount--
    if (this.#liveCount === 0) {
      this.#blocks = []
      this.#taker = null
    }
  }
}
