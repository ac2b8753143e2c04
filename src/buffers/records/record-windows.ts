/**
 * The `ArrayBuffer`s that records of at most 64 KiB share: `Windows`, for code that names records by block and size and
 * holds no owner. A record is seen through the window in which it starts.
 *
 * Records move. What was given out over a window before a record moved from it or to it would show the bytes of another
 * record. So the buffers of such windows are detached, if a view was given out since they were wrapped. A `DataView`
 * for accessors is never given out, so it does not count.
 *
 * Where a source's wraps have memory of their own, the window's buffer is the only one that holds the bytes. There a
 * window gets another buffer with the same bytes before the old one is detached, and a window in which a pinned record
 * lies stays attached until the last unpin.
 *
 * A window whose buffer other code took is *lost*: its records cannot be read until the finalizer of that buffer has
 * run. Where the bytes went with the buffer, it stays lost until the records that were in it have ended.
 *
 * Invariants, checked by `check()`:
 *  1. What is shown of a window, and its `DataView`, are of the buffer that the window has, unless that was taken.
 *  2. A window that is lost has no buffer.
 */
import { invariant } from '../../base/assert.js'
import { copyBytes, copyElements, fillBytes, lengthOf, SafeMap, SafeSet } from '../../base/primordials.js'
import { type Block, GRANULE_BYTES, GRANULE_SHIFT } from '../../base/units.js'
import type { BlockHeap } from '../../heap/block-heap.js'
import type { PageSource } from '../../memory/page-source.js'
import type { WrapId } from '../../memory/runtime.js'
import type { Segment } from '../../memory/segment.js'
import { type ArenaBuffer, NodeBuffer } from '../owner.js'
import {
  type Reach,
  WINDOW_GRANULES_MASK,
  WINDOW_OVERLAP_BYTES,
  WINDOW_SHIFT,
  WINDOW_STRIDE_BYTES,
  Windows,
} from '../windows.js'
import { lostError, memoryError, recordRefusal } from './record-errors.js'

const { ceil, max } = Math
const Bytes = Uint8Array
const Flags = Uint8Array
const View = DataView

const WINDOW_GRANULES = WINDOW_STRIDE_BYTES / GRANULE_BYTES
const OVERLAP_GRANULES = WINDOW_OVERLAP_BYTES / GRANULE_BYTES
const NO_BYTES = new Bytes(0)
/** The wrap of bytes that are gone. No finalizer answers to it. */
const GONE: WrapId = 0

/** Up to this length, writing zeros number by number takes less time than a call of `fill`. */
const LONGEST_LOOP_BYTES = 160

export class RecordWindows {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #storeName: string
  readonly #isRecord: (block: Block) => boolean
  readonly #windows: Windows
  /** The buffer of each window from which a view was given out since it was wrapped, else null. */
  readonly #shown: (ArrayBuffer | null)[] = []
  readonly #data: (DataView | null)[] = []
  /**
   * All bytes of each window of which something is shown. V8 reads the length of a typed array without a call. It is 0
   * once other code took the buffer.
   */
  readonly #probes: Uint8Array[] = []
  /** 1 for each window over bytes that a record moved from or to and that was not detached since. */
  #touched: Uint8Array = new Flags(0)
  /** The records whose bytes went with the buffer of their window, by window. */
  readonly #gone = new SafeMap<number, readonly Block[]>()
  /** The pinned records in each window that has to stay for them. */
  readonly #pinned = new SafeMap<number, SafeSet<Block>>()

  /** `isRecord`: whether a record starts at that block that has not ended. */
  constructor(heap: BlockHeap, source: PageSource, storeName: string, isRecord: (block: Block) => boolean) {
    this.#heap = heap
    this.#isRecord = isRecord
    this.#source = source
    this.#storeName = storeName
    this.#windows = new Windows(source, recordRefusal(storeName))
  }

  // ---- reading --------------------------------------------------------------------------------------------

  /** A view of a record. Throws `ERR_ARENA_DETACHED`, and the errors of `PageSource.wrap`. */
  view(block: Block, sizeBytes: number): ArenaBuffer {
    const window = block >>> WINDOW_SHIFT
    const memory = this.#shown[window]
    // There is no `catch` instead, because V8 does not inline the constructor within one: docs/v8.md.
    if (memory === null || this.#probes[window].length === 0) return this.#firstView(block, sizeBytes)
    return new NodeBuffer(memory, (block & WINDOW_GRANULES_MASK) << GRANULE_SHIFT, sizeBytes)
  }

  #firstView(block: Block, sizeBytes: number): ArenaBuffer {
    const memory = this.#memoryOf(block)
    const view = new NodeBuffer(memory, offsetIn(block), sizeBytes)
    const window = block >>> WINDOW_SHIFT
    this.#probes[window] = new Bytes(memory)
    this.#shown[window] = memory
    return view
  }

  /**
   * A `DataView` of the record's window. It must not be given out. Throws as `view` does. It does not ask whether other
   * code took the window: an access tells, by a `TypeError`.
   */
  dataOf(block: Block): DataView {
    const data = this.#data[block >>> WINDOW_SHIFT]
    return data !== null ? data : this.#firstData(block)
  }

  /** Fills a record with zeros. Returns false if that failed, or was interrupted. */
  zero(block: Block, sizeBytes: number): boolean {
    const start = offsetIn(block)
    const end = start + sizeBytes
    try {
      if (sizeBytes > LONGEST_LOOP_BYTES) {
        const bytes = this.#probes[block >>> WINDOW_SHIFT]
        if (bytes.length === 0) return false
        fillBytes(bytes, 0, start, end)
        return true
      }
      const data = this.dataOf(block)
      // A block is whole granules, so the last number lies within it, too.
      for (let at = start; at < end; at += 8) data.setFloat64(at, 0)
      return true
    } catch {
      return false
    }
  }

  #firstData(block: Block): DataView {
    const data = new View(this.#memoryOf(block))
    this.#data[block >>> WINDOW_SHIFT] = data
    return data
  }

  /** The buffer of the block's window, which is wrapped if it is not. */
  #memoryOf(block: Block): ArrayBuffer {
    this.#noticeIn(block >>> WINDOW_SHIFT)
    const memory = this.#windows.bufferOf(block)
    if (memory !== null) return memory
    this.recover()
    if (this.isLost(block)) throw lostError(this.#storeName, !this.#source.sharesMemory)
    return this.#open(block)
  }

  #open(block: Block): ArrayBuffer {
    try {
      this.#windows.open(block)
    } catch (cause) {
      throw memoryError(this.#storeName, cause)
    }
    return this.#windows.bufferOf(block) as ArrayBuffer
  }

  // ---- moving ---------------------------------------------------------------------------------------------

  /** Notes that `granules` granules from `block` on hold another record now, or none. */
  noteMoved(block: Block, granules: number): void {
    const touched = this.#touched
    const last = (block + granules - 1) >>> WINDOW_SHIFT
    // A window reaches into the next one.
    const first = block < OVERLAP_GRANULES ? 0 : (block - OVERLAP_GRANULES) >>> WINDOW_SHIFT
    for (let window = first; window <= last; window++) touched[window] = 1
  }

  /**
   * Detaches the buffer of each window that a record moved from or to, if a view was given out over it. A window that
   * has to stay, or that the runtime does not detach, waits for the next call.
   */
  detachMoved(): void {
    for (let window = 0; window < this.#shown.length; window++) {
      if (this.#touched[window] === 0) continue
      if (this.#shown[window] === null || this.#detach(window)) this.#touched[window] = 0
    }
  }

  /** Detaches every window from which a view was given out. */
  detachShown(): void {
    for (let window = 0; window < this.#shown.length; window++) {
      if (this.#shown[window] !== null && !this.#detach(window)) this.#touched[window] = 1
    }
  }

  #detach(window: number): boolean {
    const block = startOf(window)
    this.#noticeIn(window)
    if (this.#windows.bufferOf(block) === null) return true
    if (this.#pinned.has(window)) return false
    if (!this.#source.sharesMemory) {
      // First: if this is interrupted, a view must not be made over the old buffer.
      this.#drop(window)
      return this.#windows.renew(block)
    }
    if (!this.#windows.detach(block)) return false
    this.#drop(window)
    return true
  }

  /**
   * Copies records from window to window, for a source whose wraps have memory of their own. `moves` is as in
   * `Records.move`. Throws before anything was copied.
   */
  copy(moves: Int32Array, count: number): void {
    for (let i = 0; i < count; i++) {
      invariant(moves[3 * i + 2] <= OVERLAP_GRANULES, 'records that share windows move')
      this.#memoryOf(moves[3 * i])
      this.#memoryOf(moves[3 * i + 1])
    }
    for (let i = 0; i < count; i++) {
      const lengthBytes = moves[3 * i + 2] * GRANULE_BYTES
      copyBytes(this.#bytesAt(moves[3 * i + 1], lengthBytes), this.#bytesAt(moves[3 * i], lengthBytes))
    }
  }

  #bytesAt(block: Block, lengthBytes: number): Uint8Array {
    const memory = this.#memoryOf(block)
    return new Bytes(memory, offsetIn(block), lengthBytes)
  }

  // ---- pins, where the window's buffer has the only bytes --------------------------------------------------

  pin(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    const blocks = this.#pinned.get(window) ?? new SafeSet<Block>()
    blocks.add(block)
    this.#pinned.set(window, blocks)
  }

  /** Does nothing more where it is called again, because it was interrupted. */
  unpin(block: Block): void {
    const window = block >>> WINDOW_SHIFT
    const blocks = this.#pinned.get(window)
    blocks?.delete(block)
    if (blocks !== undefined && blocks.size > 0) return
    this.#pinned.delete(window)
    if (this.#touched[window] !== 0 && this.#detach(window)) this.#touched[window] = 0
  }

  // ---- lost windows ---------------------------------------------------------------------------------------

  /** Whether records cannot be read, because other code took their window away. It may not be noticed yet. */
  get hasLost(): boolean {
    return this.#windows.lostCount > 0 || this.#gone.size > 0
  }

  /** Whether the window of a block was taken away and is still lost. */
  isLost(block: Block): boolean {
    const window = block >>> WINDOW_SHIFT
    this.#noticeIn(window)
    return this.#windows.isLost(block) || this.#gone.has(window)
  }

  /**
   * The wrap whose finalizer a new block of `sizeBytes` waits for, or null if it need not wait: other code can reach its
   * bytes, or its window is lost.
   */
  lostWrapOver(block: Block, sizeBytes: number): WrapId | null {
    if (this.#source.sharesMemory) return this.#windows.lostWrapOver(block, sizeBytes)
    return sizeBytes <= WINDOW_OVERLAP_BYTES && this.isLost(block) ? GONE : null
  }

  /** Notices that other code took buffers away. */
  noticeTaken(): void {
    for (let window = 0; window < this.#shown.length; window++) this.#noticeIn(window)
  }

  #noticeIn(window: number): void {
    const block = startOf(window)
    if (!this.#windows.isTaken(block)) return
    const { lostCount } = this.#windows
    this.#windows.lose(block)
    this.#drop(window)
    if (this.#source.sharesMemory || this.#windows.lostCount === lostCount) return
    const blocks: Block[] = []
    for (const live of this.#heap.listLive()) {
      if (live >>> WINDOW_SHIFT === window) blocks[blocks.length] = live
    }
    if (blocks.length > 0) this.#gone.set(window, blocks)
  }

  /** Lets records be read again where the finalizer has run, or those whose bytes are gone have ended. */
  recover(): void {
    if (!this.hasLost) return
    this.#windows.recover()
    this.#gone.forEach((blocks, window) => {
      if (!blocks.some(this.#isRecord)) this.#gone.delete(window)
    })
  }

  // ---- segments and idle windows ---------------------------------------------------------------------------

  /** Whether a window is wrapped in which no record starts and all of whose pages are clean. */
  get hasIdle(): boolean {
    if (this.#windows.idleCount === 0) return false
    const pageCount = WINDOW_STRIDE_BYTES / this.#source.pageBytes
    for (let window = 0; window < this.#shown.length; window++) {
      const isWrapped = this.#windows.bufferOf(startOf(window)) !== null
      if (isWrapped && this.#isCold(window * pageCount, pageCount)) return true
    }
    return false
  }

  dropIdle(): void {
    this.#windows.dropIdle((firstPage, pageCount) => this.#isCold(firstPage, pageCount))
    this.#dropUnwrapped()
  }

  #isCold(firstPage: number, pageCount: number): boolean {
    if (this.#heap.anyDirty(firstPage, pageCount)) return false
    const first = (firstPage * this.#source.pageBytes) / GRANULE_BYTES
    return !this.#heap.anyLive(first, first + WINDOW_GRANULES)
  }

  addSegment(segment: Segment): void {
    this.#windows.addSegment(segment)
    const { pageBytes } = this.#source
    const end = (segment.firstPage + segment.pageCount) * pageBytes
    const count = ceil(end / WINDOW_STRIDE_BYTES)
    if (lengthOf(this.#touched) < count) {
      const touched = new Flags(max(count, 2 * lengthOf(this.#touched)))
      copyElements(touched, this.#touched, 0)
      this.#touched = touched
    }
    // `#shown` grows last: code that walks it reads the others.
    while (this.#probes.length < count) this.#probes[this.#probes.length] = NO_BYTES
    while (this.#data.length < count) this.#data[this.#data.length] = null
    while (this.#shown.length < count) this.#shown[this.#shown.length] = null
  }

  removeSegment(segment: Segment): void {
    this.#windows.removeSegment(segment)
    this.#dropUnwrapped()
    this.recover()
  }

  /**
   * Detaches all windows, except those with a pinned record that has to be seen through its window. Is called when every
   * record ends, except those in `staying`.
   */
  clear(staying: readonly Block[]): void {
    const stays = this.#source.sharesMemory ? [] : staying
    this.#windows.clear(stays)
    for (const block of stays) this.#windows.leave(block)
    this.#dropUnwrapped()
  }

  /** Puts right what an interrupted change left behind. */
  mend(): void {
    this.#dropUnwrapped()
  }

  #dropUnwrapped(): void {
    for (let window = 0; window < this.#shown.length; window++) {
      const memory = this.#windows.bufferOf(startOf(window))
      if (this.#shown[window] !== memory) this.#shown[window] = null
      if (memory === null) this.#drop(window)
    }
  }

  #drop(window: number): void {
    this.#probes[window] = NO_BYTES
    this.#shown[window] = null
    this.#data[window] = null
  }

  get reaches(): Reach[] {
    return this.#windows.reaches
  }

  check(): void {
    this.#windows.check(0)
    for (let window = 0; window < this.#shown.length; window++) {
      const block = startOf(window)
      const memory = this.#windows.bufferOf(block)
      const shown = this.#shown[window]
      invariant(shown === null || shown === memory, `1: what is shown of window ${window}`)
      const data = this.#data[window]
      invariant(data === null || data.buffer === memory, `1: the data of window ${window}`)
      const isProbed = shown === null || this.#probes[window].buffer === memory
      invariant(isProbed, `1: the probe of window ${window}`)
      if (this.#gone.has(window)) invariant(memory === null, `2: window ${window} is lost`)
    }
  }
}

function startOf(window: number): Block {
  return window << WINDOW_SHIFT
}

/** The bytes from the start of its window to a block. */
export function offsetIn(block: Block): number {
  return (block & WINDOW_GRANULES_MASK) << GRANULE_SHIFT
}
