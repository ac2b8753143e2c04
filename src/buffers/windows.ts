/**
 * Windows: the `ArrayBuffer`s that small blocks share.
 *
 * A window lies over one stride of the page-number space, and over as many bytes after it as the largest
 * block that it serves. So no block crosses the end of its window. Neighbouring windows overlap, which is
 * legal on every supported Node line. A window is wrapped when the first block in it is handed out. It is
 * dropped when no block lives in it and its pages were given back. So a clone of a view copies at most one
 * window, and `external` memory follows the use.
 *
 * Other code may take the `ArrayBuffer` of a window away; a byte stream moves it as a whole. The buffer is
 * then *lost*: the blocks in it can be freed, but no new block is placed over its memory until its finalizer
 * has run. The library also *gives up* the buffer of a window, and wraps the same window anew. It does so for
 * a forgotten block, because only the collection of the buffer proves that no view of the block is left.
 *
 * Invariants, checked by `check()`:
 *  1. A window with live blocks is wrapped, or its buffer was lost or given up and it was not wrapped again
 *     since.
 *  2. `#live` of a window counts the blocks that were handed out and start in it. `idleCount` counts the
 *     wrapped windows whose `#live` is 0.
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, copyBytes, copyElements, lengthOf, SafeMap, SafeSet } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, GRANULE_SHIFT, KIB, NONE, type PageNumber } from '../base/units.js'
import { type PageSource, SEGMENT_ALIGN_BYTES, type Wrap } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import { endOf, type Segment } from '../memory/segment.js'
import { tryDetach } from './detach.js'
import { type ArenaBuffer, type Epoch, makeOwner } from './owner.js'
import type { Refusal } from './transfer-refusal.js'

const { ceil, clz32, max, min } = Math

/** Bytes from the start of one window to the start of the next. Every segment begins at a multiple of it. */
export const WINDOW_STRIDE_BYTES = SEGMENT_ALIGN_BYTES
/** Bytes that a window reaches into the next stride: the size of the largest block that a window serves. */
export const WINDOW_OVERLAP_BYTES = 64 * KIB

// Read once at load, so that a replacement made later by a program does not run within a change.
const Counts = Int32Array
const Bytes = Uint8Array
/** `block >>> WINDOW_SHIFT` is the index of the window in which the block starts. */
export const WINDOW_SHIFT = 31 - clz32(WINDOW_STRIDE_BYTES) - GRANULE_SHIFT
/** The granules from the start of its window to a block. */
export const WINDOW_GRANULES_MASK = (1 << WINDOW_SHIFT) - 1
const NOT_WRAPPED: WrapId = 0

/** Memory that a wrap shows, as its first byte in the page-number space. It ends in the same segment. */
export interface Reach {
  readonly startBytes: number
  readonly wrapId: WrapId
}

/** A buffer that a window had. */
export interface WindowBuffer {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
  /** The first byte of the buffer in the page-number space. */
  readonly startBytes: number
}

export class Windows {
  readonly #source: PageSource
  readonly #refuseTransfer: Refusal
  #buffers: (ArrayBuffer | null)[] = []
  #live: Int32Array = new Int32Array(0)
  #wrapIds: WrapId[] = []
  /**
   * Wraps of lost buffers, each with the index of its window. An entry goes when the finalizer of its wrap
   * has run.
   */
  readonly #lost = new SafeMap<WrapId, number>()
  /**
   * Windows whose buffer was lost or given up while blocks lived there, and that were not wrapped again
   * since.
   */
  readonly #bare = new SafeSet<number>()
  /** The number of lost buffers. It is nearly always 0. */
  lostCount = 0
  /** The number of wrapped windows in which no block lives. */
  idleCount = 0

  /**
   * The buffer that this class detached last, and its window. So it is not taken for a lost one if the change is
   * interrupted.
   */
  #detached: ArrayBuffer | null = null
  #detachedFrom = 0

  constructor(source: PageSource, refuseTransfer: Refusal) {
    this.#source = source
    this.#refuseTransfer = refuseTransfer
  }

  /** Makes room for the windows of a new segment. */
  addSegment(segment: Segment): void {
    const end = this.#endOf(segment)
    // `#buffers` grows last. Code that walks it reads the other columns too, and an interruption may come
    // anywhere here.
    const length = lengthOf(this.#live)
    if (length < end) {
      const live = new Counts(max(end, length * 2))
      copyElements(live, this.#live, 0)
      this.#live = live
    }
    while (this.#wrapIds.length < end) this.#wrapIds[this.#wrapIds.length] = NOT_WRAPPED
    while (this.#buffers.length < end) this.#buffers[this.#buffers.length] = null
  }

  /**
   * Makes the owner of a block. Returns null where the window is not wrapped: call `open`, then try again.
   * Throws a `TypeError` where other code took the window's buffer away: call `lose`.
   */
  makeOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    const window = block >>> WINDOW_SHIFT
    const memory = this.#buffers[window]
    if (memory === null) return null
    const buffer = makeOwner(memory, (block & WINDOW_GRANULES_MASK) << GRANULE_SHIFT, sizeBytes, epoch, block)
    if (this.#live[window]++ === 0) this.idleCount--
    return buffer
  }

  /** Is called when the owner of a block is gone. */
  leave(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    if (--this.#live[window] === 0 && this.#buffers[window] !== null) this.idleCount++
  }

  /**
   * Wraps the window of a block. No lost buffer may reach the block. Throws the errors of `PageSource.wrap`.
   */
  open(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    const { buffer, wrapId } = this.#wrap(window)
    this.#buffers[window] = buffer
    this.#wrapIds[window] = wrapId
    if (this.#live[window] === 0) this.idleCount++
    this.#bare.delete(window)
  }

  #wrap(window: number): Wrap {
    const start = window * WINDOW_STRIDE_BYTES
    const segment = this.#source.segmentOf(start / this.#source.pageBytes)
    const end = this.#source.reachOf(segment) * this.#source.pageBytes
    const length = min(WINDOW_STRIDE_BYTES + WINDOW_OVERLAP_BYTES, end - start)
    const wrap = this.#source.wrap(start, length)
    this.#refuseTransfer(wrap.buffer)
    return wrap
  }

  /**
   * Gives the block's window, which is wrapped, another buffer with the same bytes, and detaches the old one. Returns
   * false, and changes nothing, where the runtime refuses. It is for sources whose wraps have memory of their own:
   * wherever this is interrupted, the buffer of the window has the bytes. Throws as `open` does.
   */
  renew(block: Block): boolean {
    const window = block >>> WINDOW_SHIFT
    const old = this.#buffers[window] as ArrayBuffer
    const oldWrapId = this.#wrapIds[window]
    const { buffer, wrapId } = this.#wrap(window)
    copyBytes(new Bytes(buffer), new Bytes(old))
    this.#buffers[window] = buffer
    this.#wrapIds[window] = wrapId
    if (tryDetach(this.#source, old, true)) return true
    this.#buffers[window] = old
    this.#wrapIds[window] = oldWrapId
    return false
  }

  /**
   * Whether the window of the block has a buffer that was detached, mostly because other code took it away.
   */
  isTaken(block: Block): boolean {
    return isTaken(this.#buffers[block >>> WINDOW_SHIFT])
  }

  /** Gives up the buffer of the block's window, which other code took away. */
  lose(block: Block): void {
    this.#lose(block >>> WINDOW_SHIFT)
  }

  /**
   * Marks as lost a buffer that the window at `startBytes` gave up earlier: other code may reach its memory.
   */
  loseGivenUp(startBytes: number, wrapId: WrapId): void {
    this.#lost.set(wrapId, startBytes / WINDOW_STRIDE_BYTES)
    this.lostCount = this.#lost.size
  }

  /** Whether a buffer that the block's window had is lost. */
  isLost(block: Block): boolean {
    if (this.lostCount === 0) return false
    for (const window of this.#lost.values()) if (window === block >>> WINDOW_SHIFT) return true
    return false
  }

  /** The buffer of the block's window, or null where the window is not wrapped. */
  bufferOf(block: Block): ArrayBuffer | null {
    return this.#buffers[block >>> WINDOW_SHIFT]
  }

  /**
   * Detaches the buffer of the block's window, which other code did not take. The window is not wrapped then.
   * Returns false, and changes nothing, where the runtime refuses.
   */
  detach(block: Block): boolean {
    const window = block >>> WINDOW_SHIFT
    const buffer = this.#buffers[window] as ArrayBuffer
    this.#noteDetach(window, buffer)
    if (!tryDetach(this.#source, buffer)) return false
    this.#forget(window)
    return true
  }

  /** The wrap of the block's window, or 0 where the window is not wrapped. */
  wrapIdOf(block: Block): WrapId {
    return this.#wrapIds[block >>> WINDOW_SHIFT]
  }

  /** All wraps through which windows may be reached, each with the first byte of its window. */
  get reaches(): Reach[] {
    const wrapped = [
      ...this.#wrapIds.entries(),
      ...[...this.#lost].map(([wrapId, window]) => [window, wrapId]),
    ]
    return wrapped
      .filter(([, wrapId]) => wrapId !== NOT_WRAPPED)
      .map(([window, wrapId]) => ({ startBytes: window * WINDOW_STRIDE_BYTES, wrapId }))
  }

  /**
   * Gives up the buffer of the block's window, which must be wrapped. The buffer lives as long as its views
   * do.
   */
  giveUp(block: Block): WindowBuffer {
    const window = block >>> WINDOW_SHIFT
    const buffer = this.#buffers[window] as ArrayBuffer
    const wrapId = this.#wrapIds[window]
    this.#forget(window)
    return { buffer, wrapId, startBytes: window * WINDOW_STRIDE_BYTES }
  }

  /** Marks as lost every buffer that other code took away and that was not noticed yet. */
  noticeTaken(): void {
    for (let window = 0; window < this.#buffers.length; window++) {
      if (isTaken(this.#buffers[window])) this.#lose(window)
    }
  }

  /** Forgets the lost buffers whose finalizers have run. */
  recover(): void {
    for (const wrapId of this.#lost.keys()) {
      if (!this.#source.isWrapped(wrapId)) this.#lost.delete(wrapId)
    }
    this.lostCount = this.#lost.size
  }

  /**
   * Returns the wrap of a lost buffer that reaches into the `sizeBytes` bytes from `block` on, or null. A
   * window reaches into the next stride, and a block may be many strides long.
   */
  lostWrapOver(block: Block, sizeBytes: number): WrapId | null {
    const start = block * GRANULE_BYTES
    for (const [wrapId, window] of this.#lost) {
      const lostStart = window * WINDOW_STRIDE_BYTES
      const lostEnd = lostStart + WINDOW_STRIDE_BYTES + WINDOW_OVERLAP_BYTES
      if (start < lostEnd && start + sizeBytes > lostStart) return wrapId
    }
    return null
  }

  /** Whether this buffer is the current buffer of a window, as under a `subarray` of a small block. */
  has(memory: ArrayBufferLike): boolean {
    return this.#buffers.includes(memory as ArrayBuffer)
  }

  /** The first byte, in the page-number space, of the window with this buffer; NONE if no window has it. */
  startOf(memory: ArrayBufferLike): number {
    const window = this.#buffers.indexOf(memory as ArrayBuffer)
    return window < 0 ? NONE : window * WINDOW_STRIDE_BYTES
  }

  /** Drops every idle window for whose stride `isCold(firstPage, pageCount)` is true. */
  dropIdle(isCold: (firstPage: PageNumber, pageCount: number) => boolean): void {
    if (this.idleCount === 0) return
    const pageCount = WINDOW_STRIDE_BYTES / this.#source.pageBytes
    for (let window = 0; window < this.#buffers.length; window++) {
      if (
        this.#buffers[window] !== null &&
        this.#live[window] === 0 &&
        isCold(window * pageCount, pageCount)
      ) {
        this.#drop(window, true)
      }
    }
  }

  /** Drops the windows of a segment in which no block lives. */
  removeSegment(segment: Segment): void {
    for (let window = this.#startOf(segment); window < this.#endOf(segment); window++) {
      if (this.#buffers[window] !== null) this.#drop(window, true)
      this.#bare.delete(window)
    }
    for (const [wrapId, window] of this.#lost) {
      if (window >= this.#startOf(segment) && window < this.#endOf(segment)) this.#lost.delete(wrapId)
    }
    this.lostCount = this.#lost.size
  }

  /**
   * Is called when every block ends except those in `staying`. Detaches the buffer of every window in which
   * none of these lies, so that no old view can see the bytes of later blocks.
   */
  clear(staying: Iterable<Block>): void {
    this.#live.fill(0)
    for (const block of staying) this.#live[block >>> WINDOW_SHIFT]++
    for (let window = 0; window < this.#buffers.length; window++) {
      const buffer = this.#buffers[window]
      if (buffer !== null && (this.#live[window] === 0 || isTaken(buffer))) this.#drop(window, false)
    }
    this.idleCount = 0
  }

  #drop(window: number, isCold: boolean): void {
    const buffer = this.#buffers[window] as ArrayBuffer
    if (!isTaken(buffer)) {
      this.#noteDetach(window, buffer)
      tryDetach(this.#source, buffer, isCold)
    }
    this.#lose(window)
  }

  /** Notes which buffer is detached next. If the last one was detached and is still here, that was interrupted. */
  #noteDetach(window: number, buffer: ArrayBuffer): void {
    const earlier = this.#buffers[this.#detachedFrom]
    if (earlier === this.#detached && isTaken(earlier)) this.#forget(this.#detachedFrom)
    this.#detached = buffer
    this.#detachedFrom = window
  }

  /**
   * Takes the buffer from a window. If this class did not detach the buffer, other code can still reach its
   * memory, and it is lost: other code took it, or the runtime refused to detach it.
   */
  #lose(window: number): void {
    if (this.#buffers[window] === this.#detached && isTaken(this.#detached)) {
      this.#forget(window)
      return
    }
    this.#lost.set(this.#wrapIds[window], window)
    this.lostCount = this.#lost.size
    this.#source.keepForGood((window * WINDOW_STRIDE_BYTES) / this.#source.pageBytes)
    this.#forget(window)
  }

  #forget(window: number): void {
    if (this.#live[window] > 0) this.#bare.add(window)
    else this.idleCount--
    this.#buffers[window] = null
    this.#wrapIds[window] = NOT_WRAPPED
  }

  #startOf(segment: Segment): number {
    return (segment.firstPage * this.#source.pageBytes) / WINDOW_STRIDE_BYTES
  }

  #endOf(segment: Segment): number {
    return ceil((endOf(segment) * this.#source.pageBytes) / WINDOW_STRIDE_BYTES)
  }

  /**
   * `liveBlocks`: the number of blocks that the caller knows to lie in windows. The windows may count more of
   * them, if a call that ended a block was interrupted.
   */
  check(liveBlocks: number): void {
    let live = 0
    let idle = 0
    for (let window = 0; window < this.#buffers.length; window++) {
      live += this.#live[window]
      invariant(this.#live[window] >= 0, `2: window ${window} counts its blocks`)
      if (this.#buffers[window] !== null && this.#live[window] === 0) idle++
      invariant(
        this.#live[window] === 0 || this.#buffers[window] !== null || this.#bare.has(window),
        `1: window ${window} is wrapped while blocks live in it`,
      )
    }
    invariant(live >= liveBlocks, `2: windows count ${live} blocks of ${liveBlocks}`)
    invariant(idle === this.idleCount, `2: ${this.idleCount} idle windows, found ${idle}`)
  }
}

/** Whether the buffer exists and is detached. */
function isTaken(buffer: ArrayBuffer | null | undefined): boolean {
  return buffer != null && byteLengthOf(buffer) === 0
}
