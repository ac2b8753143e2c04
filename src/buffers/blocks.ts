/**
 * The life of a block: it is taken from the heap, gets its Buffer, and ends. Two classes implement it:
 * `BlockBuffers`, and `DebugBuffers` for arenas with `debug`. Blocks are taken from the heap and given back
 * only in these two files and here; a test enforces that. The only exception is the warm path of
 * `Arena.allocUnsafe`, which asks the heap itself.
 *
 * `Blocks` has nothing for `debug` alone. What only an arena with `debug` has is `Debugging`; other arenas have
 * none.
 */
import { invariant } from '../base/assert.js'
import { lengthOf } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, type PageCount } from '../base/units.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { LongGaps } from '../heap/lowest.js'
import type { WrapId } from '../memory/runtime.js'
import type { Segment } from '../memory/segment.js'
import type { ArenaBuffer, Epoch } from './owner.js'
import type { ViewReach } from './view-reach.js'
import type { Reach } from './windows.js'

export interface Blocks {
  // ---- taking ---------------------------------------------------------------------------------------------

  /** The most pages that a block of `sizeBytes` at a multiple of `alignBytes` needs. */
  pagesFor(sizeBytes: number, alignBytes: number): PageCount
  /** The length of a run, in pages, that certainly has room for such a block. */
  runPagesFor(sizeBytes: number, alignBytes: number): PageCount
  /** Takes a block from the heap. Returns NONE if there is none; `refusal` of the heap then says why. */
  take(sizeBytes: number, alignBytes: number): Block
  /**
   * Makes the owner of a live block. Returns null where other code can reach the block's memory: the block is
   * then set aside, and the caller takes another one. `alignBytes` is the alignment that was asked for.
   * Throws the error of the runtime where it cannot make the buffer; the block is then as before.
   */
  makeOwner(block: Block, sizeBytes: number, epoch: Epoch, alignBytes: number): ArenaBuffer | null
  /** Gives back a block for which `makeOwner` threw. */
  takeBack(block: Block): void
  /**
   * Purges the pages of a block, all of which were clean before it was taken, so that they read as zero.
   * Returns whether all of them do.
   */
  renew(block: Block, sizeBytes: number): boolean
  /** The wrap that holds the memory of a block which was handed out just now. */
  wrapIdOf(block: Block, sizeBytes: number): WrapId

  // ---- resizing -------------------------------------------------------------------------------------------

  /** What resizes blocks in place, or null where every block moves. */
  readonly resizing: Resizing | null

  // ---- moving ---------------------------------------------------------------------------------------------

  /** What moves blocks to lower places, or null where each move goes to any place. */
  readonly moving: Moving | null

  // ---- ending ---------------------------------------------------------------------------------------------

  /**
   * Is called when the Buffer of a live block has length 0: other code took its `ArrayBuffer` away. Marks
   * what was taken.
   */
  notice(block: Block, sizeBytes: number): void
  /**
   * Ends a block whose owner is spent: gives it back, or sets it aside. `sizeBytes` is the size that its
   * owner was made with.
   */
  end(block: Block, sizeBytes: number): void
  /**
   * Is called when the owner of a block was collected. Views of the block may be left, so the block is given
   * back only when the buffer of `wrapId` is gone. `wrapId` is what `wrapIdOf` returned when the block was
   * handed out.
   */
  forget(block: Block, sizeBytes: number, wrapId: WrapId): void
  /**
   * Ends every block at once except those in `staying`, a map from block to the size that its owner was made
   * with. Gives back all that need not wait, and what an interrupted call left behind.
   */
  endAll(staying: ReadonlyMap<Block, number>): void

  // ---- waiting --------------------------------------------------------------------------------------------

  /** The number of blocks that ended, or were forgotten, and are not free yet. */
  readonly setAsideBlocks: number
  /** Whether a block has ended and is not free yet. */
  isSetAside(block: Block): boolean
  /**
   * Is called when waiting blocks may be free within two turns of the event loop. It must not refer to an
   * arena.
   */
  onCollected: (() => void) | null
  /** Gives back the blocks whose wait is over. */
  recoverSetAside(): void
  /**
   * Is called when the arena's memory will not be used again: removes the blocks that wait from the books.
   */
  abandonSetAside(): void

  // ---- buffers and segments -------------------------------------------------------------------------------

  /** Whether a buffer lies over memory of this arena. */
  has(memory: ArrayBufferLike): boolean
  /**
   * Returns the live block that holds all bytes of a view, or NONE. A view of 0 bytes must begin inside the
   * block.
   */
  blockUnder(reach: ViewReach): Block
  /** All wraps through which the memory of this arena may be reached. */
  readonly reaches: Reach[]
  /** Whether `dropIdle` or `recoverSetAside` may have work: idle buffers exist, or blocks wait. */
  readonly hasIdle: boolean
  /** Drops the idle buffers whose pages were given back. */
  dropIdle(): void
  /** Finds buffers that other code took away. It runs before memory under idle buffers changes. */
  noticeTaken(): void
  /** Is called before pages of a new segment are added to the heap. */
  addSegment(segment: Segment): void
  /** Is called before a segment without a live block goes. */
  removeSegment(segment: Segment): void
  /** Counts everything anew, after a change that was interrupted. */
  recount(): void
  /** Checks the invariants. `liveBlocks`: the number of blocks that have an owner. */
  check(liveBlocks: number): void
}

/** What supplies blocks needs of them. */
export type SuppliedBlocks = Pick<
  Blocks,
  'pagesFor' | 'runPagesFor' | 'take' | 'resizing' | 'noticeTaken' | 'addSegment' | 'removeSegment'
>

/** What is needed of the blocks of an arena that was collected. */
export type LeftBlocks = Pick<
  Blocks,
  'noticeTaken' | 'recoverSetAside' | 'setAsideBlocks' | 'reaches' | 'abandonSetAside'
>

/** Resizes blocks in place. */
export interface Resizing {
  /** Does what `take` does, for a block of whole pages with room behind it. */
  takeWithRoom(sizeBytes: number): Block
  /**
   * Whether a live block of `oldBytes` may be resized in place to `sizeBytes`. Its Buffer must still have its
   * length.
   */
  mayResizeTo(block: Block, oldBytes: number, sizeBytes: number): boolean
  /**
   * Changes the length of a live block where it is, in the heap. Returns false, and changes nothing, if it
   * has to move; `refusal` of the heap then says why.
   */
  resize(block: Block, sizeBytes: number): boolean
  /**
   * Makes a new owner, of another size, for a live block that was resized in place; `mayResizeTo` must have
   * allowed it. The old owner ends. Throws as `makeOwner` does; then nothing has changed.
   */
  replaceOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer
}

/** Moves blocks that are no whole pages. */
export interface Moving {
  /**
   * Takes the lowest place for `size` granules wholly below the granule `below`. Returns NONE if there is none; `refusal`
   * of the heap then says why. `gaps` comes from a survey of the heap.
   */
  takeLowest(gaps: LongGaps, size: number, below: number): Block
  /** Does what `end` does, for a block whose bytes have moved. Its memory is free at once, and not kept for its size. */
  endMoved(block: Block, sizeBytes: number): void
}

/**
 * What only an arena with `debug` has: the stacks of calls, and blocks in quarantine. The three `note…` are
 * called before the books change, because a formatter of stacks is script.
 */
export interface Debugging {
  /** Is called before a block is allocated. */
  noteAllocation(): void
  /** Is called before a block ends or its end is put off. */
  noteEnd(block: Block): void
  /** Is called before all blocks end. */
  noteEndOfAll(): void
  /** What is known of the life of a Buffer: an error to be the `cause` of an error about this Buffer. */
  historyOf(buffer: unknown): Error | undefined
  readonly quarantinedBlocks: number
  /** The bytes that were asked for, summed over the blocks in quarantine. */
  readonly quarantinedBytes: number
  /** Ends the quarantine of all blocks. Returns how many there were. */
  emptyQuarantine(): number
}

/** Takes a block of `heldBytes` from the heap. Returns NONE if there is none. */
export function takeFrom(heap: BlockHeap, heldBytes: number, alignBytes: number): Block {
  invariant(!heap.isOver, 'blocks come from arenas that are open')
  return alignBytes === GRANULE_BYTES ? heap.allocate(heldBytes) : heap.allocateAligned(heldBytes, alignBytes)
}

/** Gives every live block back to the heap except those for which `stays` is true. */
export function giveBackAll(heap: BlockHeap, stays: (block: Block) => boolean): void {
  const blocks = heap.listLive()
  const count = lengthOf(blocks)
  for (let i = 0; i < count; i++) if (!stays(blocks[i])) heap.free(blocks[i])
  heap.flush()
}
