/**
 * Windows: the `ArrayBuffer`s that small blocks share.
 *
 * A window lies over one stride of the page-number space and as many bytes more as the largest block it serves, so that
 * no block straddles its end; windows overlap there, which is legal on every supported line. A window is wrapped when
 * the first block in it is handed out and dropped when none has been there for as long as its pages take to be given
 * back: a clone of a view copies one window at most, and `external` follows what is used.
 *
 * Somebody may take a window's `ArrayBuffer` away (a byte stream moves it as a whole). The window is then *lost*: what
 * still lives there can be freed, but nothing new is placed in it until that buffer's finalizer ran. And we give a buffer
 * up ourselves, to wrap the same window anew, where only its collection can tell that no view of a forgotten block is left.
 *
 * Invariants, checked by `check()`:
 *  1. a window with live blocks is wrapped, or was lost or given up and not wrapped again since
 *  2. `live` of a window = blocks handed out that start in it; `idleCount` = wrapped windows where it is zero
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, copyElements, lengthOf, SafeMap, SafeSet } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, GRANULE_SHIFT, MIB, NONE, type PageNumber } from '../base/units.js'
import type { WrapId } from '../memory/kernel.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { tryDetach } from './detach.js'
import { type ArenaBuffer, type Epoch, makeOwner } from './owner.js'
import type { Refusal } from './transfer-refusal.js'

const { ceil, clz32, max, min } = Math

/** Bytes from one window's start to the next's. Segments begin at multiples of it. */
export const WINDOW_STRIDE_BYTES = MIB
/** How far a window reaches into the next: the largest block that a window serves. */
export const WINDOW_OVERLAP_BYTES = 64 * 1024

// Taken once, so that whoever replaces it in the process does not run within a change.
const Counts = Int32Array
/** `block >>> WINDOW_SHIFT` is the window that the block starts in. */
const WINDOW_SHIFT = 31 - clz32(WINDOW_STRIDE_BYTES) - GRANULE_SHIFT
const WINDOW_GRANULES_MASK = (1 << WINDOW_SHIFT) - 1
const NOT_WRAPPED: WrapId = 0

/** Memory that a wrap shows: its first byte in the page-number space. It ends in the same segment. */
export interface Reach {
  readonly startBytes: number
  readonly wrapId: WrapId
}

/** A buffer that a window had. */
export interface WindowBuffer {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
  /** Where it lies in the page-number space. */
  readonly startBytes: number
}

export class Windows {
  readonly #source: PageSource
  readonly #refuseTransfer: Refusal
  #buffers: (ArrayBuffer | null)[] = []
  #live: Int32Array = new Int32Array(0)
  #wrapIds: WrapId[] = []
  /** Wraps of buffers that somebody else moved, and the window of each; the finalizer of the wrap ends that. */
  readonly #lost = new SafeMap<WrapId, number>()
  /** Windows whose buffer was lost or given up while blocks lived there, and that were not wrapped again since. */
  readonly #bare = new SafeSet<number>()
  /** How many buffers are lost: nearly always none. */
  lostCount = 0
  /** Wrapped windows in which no block lives. */
  idleCount = 0

  /** The one that was detached last here: nobody took it away, should that have been interrupted. */
  #detached: ArrayBuffer | null = null

  constructor(source: PageSource, refuseTransfer: Refusal) {
    this.#source = source
    this.#refuseTransfer = refuseTransfer
  }

  /** Room for the windows of a new segment. */
  addSegment(segment: Segment): void {
    const end = this.#endOf(segment)
    // The buffers last: all that is read for each of them is there, whatever interrupts this.
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
   * The owner of a block, or null where its window is not wrapped yet (`open` it and ask again). Throws a `TypeError`
   * where somebody took the window's buffer away (`lose` it).
   */
  makeOwner(block: Block, sizeBytes: number, epoch: Epoch): ArenaBuffer | null {
    const window = block >>> WINDOW_SHIFT
    const memory = this.#buffers[window]
    if (memory === null) return null
    const buffer = makeOwner(memory, (block & WINDOW_GRANULES_MASK) << GRANULE_SHIFT, sizeBytes, epoch, block)
    if (this.#live[window]++ === 0) this.idleCount--
    return buffer
  }

  /** A block's owner is gone. */
  leave(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    if (--this.#live[window] === 0 && this.#buffers[window] !== null) this.idleCount++
  }

  /** Wraps a block's window, which must not be lost. Throws what the source throws. */
  open(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    const start = window * WINDOW_STRIDE_BYTES
    const segment = this.#source.segmentOf(start / this.#source.pageBytes)
    const end = this.#source.reachOf(segment) * this.#source.pageBytes
    const length = min(WINDOW_STRIDE_BYTES + WINDOW_OVERLAP_BYTES, end - start)
    const { buffer, wrapId } = this.#source.wrap(start, length)
    this.#refuseTransfer(buffer)
    this.#buffers[window] = buffer
    this.#wrapIds[window] = wrapId
    if (this.#live[window] === 0) this.idleCount++
    this.#bare.delete(window)
  }

  /** Whether the block's window is wrapped by a buffer that is not ours to use any more. */
  isTaken(block: Block): boolean {
    return isTaken(this.#buffers[block >>> WINDOW_SHIFT])
  }

  /** Gives up the buffer of the block's window, which somebody took away. */
  lose(block: Block): void {
    this.#lose(block >>> WINDOW_SHIFT)
  }

  /** A buffer of the window at that byte, given up before, may be reached by somebody else. */
  loseGivenUp(startBytes: number, wrapId: WrapId): void {
    this.#lost.set(wrapId, startBytes / WINDOW_STRIDE_BYTES)
    this.lostCount = this.#lost.size
  }

  /** The wrap of the block's window; 0 where it is not wrapped. */
  wrapIdOf(block: Block): WrapId {
    return this.#wrapIds[block >>> WINDOW_SHIFT]
  }

  /** What the windows may be reached by: where each begins, and its wrap. */
  get reaches(): Reach[] {
    const wrapped = [
      ...this.#wrapIds.entries(),
      ...[...this.#lost].map(([wrapId, window]) => [window, wrapId]),
    ]
    return wrapped
      .filter(([, wrapId]) => wrapId !== NOT_WRAPPED)
      .map(([window, wrapId]) => ({ startBytes: window * WINDOW_STRIDE_BYTES, wrapId }))
  }

  /** Lets go of the buffer of the block's window, which is wrapped: it lives on with its views. */
  giveUp(block: Block): WindowBuffer {
    const window = block >>> WINDOW_SHIFT
    const buffer = this.#buffers[window] as ArrayBuffer
    const wrapId = this.#wrapIds[window]
    this.#forget(window)
    return { buffer, wrapId, startBytes: window * WINDOW_STRIDE_BYTES }
  }

  /** Gives up every window whose buffer somebody took away without our having met it since. */
  noticeTaken(): void {
    for (let window = 0; window < this.#buffers.length; window++) {
      if (isTaken(this.#buffers[window])) this.#lose(window)
    }
  }

  /** Ends the loss of windows whose buffers were finalized. */
  recover(): void {
    for (const wrapId of this.#lost.keys()) {
      if (!this.#source.isWrapped(wrapId)) this.#lost.delete(wrapId)
    }
    this.lostCount = this.#lost.size
  }

  /**
   * The wrap of a lost window that reaches into the `sizeBytes` bytes at `block`, or null. A window reaches into the
   * stride behind its own, and a block may reach over many strides.
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

  /** Whether this buffer is one of the windows: what a `subarray` of a small block lies over. */
  has(memory: ArrayBufferLike): boolean {
    return this.#buffers.includes(memory as ArrayBuffer)
  }

  /** Where the window over this buffer begins in the page-number space, or NONE. */
  startOf(memory: ArrayBufferLike): number {
    const window = this.#buffers.indexOf(memory as ArrayBuffer)
    return window < 0 ? NONE : window * WINDOW_STRIDE_BYTES
  }

  /** Drops every idle window of whose stride `isCold` (first page, page count) holds. */
  dropIdle(isCold: (firstPage: PageNumber, pageCount: number) => boolean): void {
    if (this.idleCount === 0) return
    const pageCount = WINDOW_STRIDE_BYTES / this.#source.pageBytes
    for (let window = 0; window < this.#buffers.length; window++) {
      if (
        this.#buffers[window] !== null &&
        this.#live[window] === 0 &&
        isCold(window * pageCount, pageCount)
      ) {
        this.#drop(window)
      }
    }
  }

  /** Drops the windows of a segment in which nothing lives any more. */
  removeSegment(segment: Segment): void {
    for (let window = this.#startOf(segment); window < this.#endOf(segment); window++) {
      if (this.#buffers[window] !== null) this.#drop(window)
      this.#bare.delete(window)
    }
    for (const [wrapId, window] of this.#lost) {
      if (window >= this.#startOf(segment) && window < this.#endOf(segment)) this.#lost.delete(wrapId)
    }
    this.lostCount = this.#lost.size
  }

  /**
   * Every block is gone but for those that stay: detaches every window in which none of these lies, so that no view of one
   * can see what comes after.
   */
  clear(staying: Iterable<Block>): void {
    this.#live.fill(0)
    for (const block of staying) this.#live[block >>> WINDOW_SHIFT]++
    for (let window = 0; window < this.#buffers.length; window++) {
      const buffer = this.#buffers[window]
      if (buffer !== null && (this.#live[window] === 0 || isTaken(buffer))) this.#drop(window)
    }
    this.idleCount = 0
  }

  #drop(window: number): void {
    const buffer = this.#buffers[window] as ArrayBuffer
    if (!isTaken(buffer)) {
      this.#detached = buffer
      tryDetach(this.#source, buffer)
    }
    this.#lose(window)
  }

  /**
   * Gives up a window. Unless its buffer was detached here, somebody can still reach it: they took the buffer, or the runtime
   * refused to detach it.
   */
  #lose(window: number): void {
    if (this.#buffers[window] === this.#detached && isTaken(this.#detached)) {
      this.#forget(window)
      return
    }
    this.#lost.set(this.#wrapIds[window], window)
    this.lostCount = this.#lost.size
    this.#source.segmentOf((window * WINDOW_STRIDE_BYTES) / this.#source.pageBytes).hasMovedBuffer = true
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

  /** `liveBlocks`: how many blocks the caller knows to lie in windows; more do where a call was interrupted that ended one. */
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

/** Whether a window's buffer, if it has one, was detached. */
function isTaken(buffer: ArrayBuffer | null | undefined): boolean {
  return buffer != null && byteLengthOf(buffer) === 0
}
