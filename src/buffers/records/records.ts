/**
 * The memory of records, as a store sees it. A *record* is a live block of the heap for which `sizeBytes`, at least 1,
 * were asked. Two classes implement this: `RecordBuffers`, and `DebugRecordBuffers` for stores with `debug`.
 *
 * The size of a record is the caller's to remember. It may change only together with the block.
 */
import type { Block } from '../../base/units.js'
import type { WrapId } from '../../memory/runtime.js'
import type { Segment } from '../../memory/segment.js'
import type { LeftBlocks, SuppliedBlocks } from '../blocks.js'
import type { ArenaBuffer } from '../owner.js'

/** The memory of a pinned record. */
export interface PinnedMemory {
  readonly buffer: ArenaBuffer
  /** The wrap that is there for the pin alone; null where the record has only one. */
  readonly wrap: OwnWrap | null
}

/** A wrap over exactly one record. */
export interface OwnWrap {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
  /** This library is detaching it. So it is not taken for one that other code took, if that is interrupted. */
  isEnding: boolean
}

export interface Records extends SuppliedBlocks, LeftBlocks {
  readonly resizing: null

  // ---- reading --------------------------------------------------------------------------------------------

  /**
   * A Buffer over a record. It is good until the record moves or ends. Throws `ERR_ARENA_DETACHED` where other code took
   * the memory away, and `ERR_ARENA_OUT_OF_MEMORY`; the record is as before then.
   */
  view(block: Block, sizeBytes: number): ArenaBuffer
  /**
   * Does what `view` does for a block that was taken just now. Returns null where other code can reach its memory: the
   * block is then set aside, and the caller takes another one.
   */
  viewNew(block: Block, sizeBytes: number): ArenaBuffer | null
  /**
   * A `DataView` of the memory around a record, which begins in it at `offsetIn(block, sizeBytes)`. It must not be given
   * out, nor kept. Throws as `view` does. If an access throws, other code may have taken the memory away: throw what
   * `faultOf` returns.
   */
  dataOf(block: Block, sizeBytes: number): DataView
  offsetIn(block: Block, sizeBytes: number): number
  /** The error to throw when an access through `dataOf` threw `error`. */
  faultOf(error: unknown, block: Block, sizeBytes: number): unknown
  /**
   * Is called before a change of the store. Views that were given out end here in a store with `debug`; otherwise it
   * does nothing.
   */
  detachViews(): void

  /**
   * Fills a short record that was made just now with zeros, without a view of it. Returns false if it has not: then ask for a
   * view by `viewNew`, and fill that.
   */
  zero(block: Block, sizeBytes: number): boolean

  // ---- moving ---------------------------------------------------------------------------------------------

  /**
   * Whether a record may move: false where other code may reach its memory. It is called before the record moves, and
   * detaches the buffer that a record above 64 KiB has.
   */
  mayMove(block: Block, sizeBytes: number): boolean
  /**
   * Copies `count` records. `moves[3 * i]` is the first granule of the source of move `i`, `moves[3 * i + 1]` that of its
   * target, and `moves[3 * i + 2]` the number of granules; at most 256 moves. Throws before anything was copied.
   */
  move(moves: Int32Array, count: number): void
  /** Notes that a record of `granules` granules moved. */
  noteMoved(from: Block, to: Block, granules: number): void
  /**
   * Ends a slice of moves: detaches the buffer of each window from or to which a record moved since, if a view was
   * given out over it. Such views have length 0 from then on.
   */
  detachMoved(): void

  // ---- ending ---------------------------------------------------------------------------------------------

  /** Ends a record: gives its block back to the heap, or sets it aside where other code can reach its memory. */
  end(block: Block, sizeBytes: number): void
  /**
   * Ends every record at once except those in `staying`, a map from block to size. These are pinned. Detaches all
   * buffers but those of pins. Gives back all blocks that need not wait, and what an interrupted call left behind.
   */
  endAll(staying: ReadonlyMap<Block, number>): void

  // ---- pins -----------------------------------------------------------------------------------------------

  /**
   * Makes the memory of a pin: a Buffer over exactly the record, in an `ArrayBuffer` of its own. Where wraps do not share
   * memory, it is a view like any other, and the window stays attached. Throws as `view` does.
   */
  openPin(block: Block, sizeBytes: number): PinnedMemory
  /**
   * Ends the memory of a pin. Where other code took it, the record does not move any more, and waits when it ends. If it
   * is interrupted, it is called again.
   */
  closePin(block: Block, sizeBytes: number, memory: PinnedMemory): void

  // ---- what other code took -------------------------------------------------------------------------------

  /** Whether records cannot be read now. No record should move then. Call `noticeTaken` and `recoverSetAside` before. */
  readonly hasLost: boolean
  /** Whether a record cannot be read, because other code took its memory away. */
  isLost(block: Block, sizeBytes: number): boolean
  /**
   * Sets a block aside that was taken just now, if other code can reach its memory. Returns whether it is set aside. It
   * need only be called while `hasLost` is true.
   */
  setAsideIfReached(block: Block, sizeBytes: number): boolean
  /** Calls `visit` for each block that must not move: it is set aside, or `mayMove` is false for it. Perhaps twice. */
  forEachFixed(visit: (block: Block) => void): void

  // ---- buffers and segments -------------------------------------------------------------------------------

  readonly hasIdle: boolean
  /** Waiting blocks are found by time alone: there are no owners here that the collector could tell of. */
  onCollected: (() => void) | null
  dropIdle(): void
  addSegment(segment: Segment): void
  removeSegment(segment: Segment): void
  recount(): void
  isSetAside(block: Block): boolean
  /** Throws an `Error` that names the first broken invariant. */
  check(): void
}
