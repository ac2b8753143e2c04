/**
 * The buffers over records: see `Records`. A record of at most 64 KiB is seen through the window in which it starts
 * (`RecordWindows`). A longer one has an `ArrayBuffer` of its own from its first view on (`LongRecords`). A pinned record
 * has another one, so that it stays when windows are detached.
 *
 * A record that other code may reach when it ends is *set aside*: see `SetAside`. Until then it is *reached*: see
 * `Reached`.
 */
import { byteLengthOf, SafeSet } from '../../base/primordials.js'
import { type Block, GRANULE_BYTES, type PageCount } from '../../base/units.js'
import type { BlockHeap } from '../../heap/block-heap.js'
import type { PageSource, Wrap } from '../../memory/page-source.js'
import type { Segment } from '../../memory/segment.js'
import { giveBackAll, takeFrom } from '../blocks.js'
import { tryDetach } from '../detach.js'
import { type ArenaBuffer, NodeBuffer } from '../owner.js'
import { SetAside } from '../set-aside.js'
import type { Refusal } from '../transfer-refusal.js'
import { type Reach, WINDOW_OVERLAP_BYTES } from '../windows.js'
import { LongRecords } from './long-records.js'
import { Reached } from './reached.js'
import { lostError, memoryError, recordRefusal } from './record-errors.js'
import { offsetIn, RecordWindows } from './record-windows.js'
import type { OwnWrap, PinnedMemory, Records } from './records.js'

const { floor } = Math

/** The longest record that is seen through a window. */
const LONGEST_SHARED_BYTES = WINDOW_OVERLAP_BYTES

export class RecordBuffers implements Records {
  readonly resizing = null
  onCollected: (() => void) | null = null
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #storeName: string
  readonly #refuseTransfer: Refusal
  readonly #windows: RecordWindows
  readonly #long: LongRecords
  readonly #setAside: SetAside
  readonly #reached: Reached
  /** Pinned records above 64 KiB that have only one buffer for all views. */
  readonly #pinnedLong = new SafeSet<Block>()

  constructor(heap: BlockHeap, source: PageSource, storeName: string) {
    this.#heap = heap
    this.#source = source
    this.#storeName = storeName
    this.#refuseTransfer = recordRefusal(storeName)
    this.#setAside = new SetAside(source)
    this.#reached = new Reached(source)
    this.#windows = new RecordWindows(
      heap,
      source,
      storeName,
      block => heap.isLive(block) && !this.#setAside.has(block),
    )
    this.#long = new LongRecords(source, storeName)
  }

  // ---- taking ---------------------------------------------------------------------------------------------

  pagesFor(sizeBytes: number): PageCount {
    return this.#heap.pagesFor(sizeBytes)
  }

  runPagesFor(sizeBytes: number, alignBytes: number): PageCount {
    return this.#heap.runPagesFor(sizeBytes, alignBytes)
  }

  take(sizeBytes: number, alignBytes: number): Block {
    return takeFrom(this.#heap, sizeBytes, alignBytes)
  }

  // ---- reading --------------------------------------------------------------------------------------------

  view(block: Block, sizeBytes: number): ArenaBuffer {
    if (sizeBytes > LONGEST_SHARED_BYTES) return this.#long.view(block, sizeBytes)
    return this.#windows.view(block, sizeBytes)
  }

  viewNew(block: Block, sizeBytes: number): ArenaBuffer | null {
    if (this.hasLost && this.setAsideIfReached(block, sizeBytes)) return null
    try {
      return this.view(block, sizeBytes)
    } catch (error) {
      if (this.setAsideIfReached(block, sizeBytes)) return null
      throw error
    }
  }

  zero(block: Block, sizeBytes: number): boolean {
    return sizeBytes <= LONGEST_SHARED_BYTES && !this.hasLost && this.#windows.zero(block, sizeBytes)
  }

  dataOf(block: Block, sizeBytes: number): DataView {
    if (sizeBytes > LONGEST_SHARED_BYTES) return this.#long.dataOf(block, sizeBytes)
    return this.#windows.dataOf(block)
  }

  offsetIn(block: Block, sizeBytes: number): number {
    return sizeBytes > LONGEST_SHARED_BYTES ? 0 : offsetIn(block)
  }

  faultOf(error: unknown, block: Block, sizeBytes: number): unknown {
    return this.isLost(block, sizeBytes) ? this.#lostError() : error
  }

  detachViews(): void {}

  // ---- moving ---------------------------------------------------------------------------------------------

  mayMove(block: Block, sizeBytes: number): boolean {
    if (this.#reached.size > 0 && this.#reached.has(block)) return false
    return sizeBytes <= LONGEST_SHARED_BYTES || this.#mayMoveLong(block)
  }

  #mayMoveLong(block: Block): boolean {
    // The only bytes may be in the record's own buffer.
    if (!this.#source.sharesMemory) return false
    const wrapId = this.#long.end(block)
    if (wrapId === null) return true
    this.#reached.add(block, wrapId)
    return false
  }

  move(moves: Int32Array, count: number): void {
    if (this.#source.sharesMemory) this.#source.move(moves, count)
    else this.#windows.copy(moves, count)
  }

  noteMoved(from: Block, to: Block, granules: number): void {
    this.#windows.noteMoved(from, granules)
    this.#windows.noteMoved(to, granules)
  }

  detachMoved(): void {
    this.#windows.detachMoved()
  }

  // ---- ending ---------------------------------------------------------------------------------------------

  end(block: Block, sizeBytes: number): void {
    if (sizeBytes > LONGEST_SHARED_BYTES) this.#endLong(block)
    else if (this.#reached.size > 0) this.#giveBack(block)
    else this.#heap.free(block)
  }

  #endLong(block: Block): void {
    const wrapId = this.#long.end(block)
    if (wrapId !== null) this.#reached.add(block, wrapId)
    this.#giveBack(block)
  }

  /** Gives a block back whose record ended, or sets it aside for the next of the wraps that reach it. */
  #giveBack(block: Block): void {
    const wrapIds = this.#reached.take(block)
    if (wrapIds.length === 0) {
      this.#heap.free(block)
      return
    }
    this.#setAside.add(block, wrapIds[0])
    for (let i = 1; i < wrapIds.length; i++) this.#reached.add(block, wrapIds[i])
  }

  endAll(staying: ReadonlyMap<Block, number>): void {
    this.#windows.clear(shortOf(staying))
    this.#long.clear(
      block => !this.#source.sharesMemory && staying.has(block),
      (block, wrapId) => this.#reached.add(block, wrapId),
    )
    this.#reached.forEach(block => {
      if (!staying.has(block) && !this.#setAside.has(block)) this.#giveBack(block)
    })
    giveBackAll(this.#heap, block => staying.has(block) || this.#setAside.has(block))
    this.#windows.recover()
  }

  // ---- pins -----------------------------------------------------------------------------------------------

  openPin(block: Block, sizeBytes: number): PinnedMemory {
    if (this.#source.sharesMemory) {
      this.requireReadable(block, sizeBytes)
      return this.openOwn(block, sizeBytes)
    }
    const buffer = this.view(block, sizeBytes)
    if (sizeBytes <= LONGEST_SHARED_BYTES) this.#windows.pin(block)
    else this.#pinnedLong.add(block)
    return { buffer, wrap: null }
  }

  closePin(block: Block, sizeBytes: number, { wrap }: PinnedMemory): void {
    if (wrap !== null) this.closeOwn(block, wrap)
    else if (sizeBytes <= LONGEST_SHARED_BYTES) this.#windows.unpin(block)
    else this.#pinnedLong.delete(block)
  }

  /** Throws `ERR_ARENA_DETACHED` if the record is lost. */
  protected requireReadable(block: Block, sizeBytes: number): void {
    if (this.isLost(block, sizeBytes)) throw this.#lostError()
  }

  /** Makes a Buffer in an `ArrayBuffer` of its own, over exactly the record. */
  protected openOwn(block: Block, sizeBytes: number): PinnedMemory & { readonly wrap: OwnWrap } {
    const { buffer, wrapId } = this.#wrap(block, sizeBytes)
    this.#refuseTransfer(buffer)
    const wrap = { buffer, wrapId, isEnding: false }
    return { buffer: new NodeBuffer(buffer, 0, sizeBytes), wrap }
  }

  #wrap(block: Block, sizeBytes: number): Wrap {
    try {
      return this.#source.wrap(block * GRANULE_BYTES, sizeBytes)
    } catch (cause) {
      throw memoryError(this.#storeName, cause)
    }
  }

  /**
   * Detaches the buffer of `openOwn`. If other code took it, the record is reached. If this is interrupted, it is to be
   * called again.
   */
  protected closeOwn(block: Block, wrap: OwnWrap): void {
    if (byteLengthOf(wrap.buffer) > 0) {
      wrap.isEnding = true
      tryDetach(this.#source, wrap.buffer)
    }
    if (wrap.isEnding && byteLengthOf(wrap.buffer) === 0) return
    this.#reached.add(block, wrap.wrapId)
    this.#source.keepForGood(floor((block * GRANULE_BYTES) / this.#source.pageBytes))
  }

  // ---- what other code took -------------------------------------------------------------------------------

  get hasLost(): boolean {
    return this.#windows.hasLost
  }

  isLost(block: Block, sizeBytes: number): boolean {
    return sizeBytes > LONGEST_SHARED_BYTES ? this.#long.isLost(block) : this.#windows.isLost(block)
  }

  #lostError(): Error {
    return lostError(this.#storeName, !this.#source.sharesMemory)
  }

  setAsideIfReached(block: Block, sizeBytes: number): boolean {
    const wrapId = this.#windows.lostWrapOver(block, sizeBytes)
    if (wrapId === null) return false
    this.#setAside.add(block, wrapId)
    return true
  }

  forEachFixed(visit: (block: Block) => void): void {
    this.#setAside.forEach(visit)
    this.#reached.forEach(visit)
  }

  get setAsideBlocks(): number {
    return this.#setAside.size
  }

  isSetAside(block: Block): boolean {
    return this.#setAside.has(block)
  }

  noticeTaken(): void {
    this.#windows.noticeTaken()
  }

  recoverSetAside(): void {
    this.#windows.recover()
    this.#reached.recover()
    this.#setAside.recover(block => this.#giveBack(block))
  }

  abandonSetAside(): void {
    // Other code may still read these blocks, and memory that is already unmapped must not be written to.
    this.#heap.stopWiping()
    this.#setAside.abandon(block => this.#heap.free(block))
  }

  // ---- buffers and segments -------------------------------------------------------------------------------

  get reaches(): Reach[] {
    return [
      ...this.#windows.reaches,
      ...this.#long.reaches,
      ...this.#setAside.reaches,
      ...this.#reached.reaches,
    ]
  }

  get hasIdle(): boolean {
    return this.#setAside.size > 0 || this.#reached.size > 0 || this.#windows.hasIdle
  }

  dropIdle(): void {
    this.#windows.dropIdle()
  }

  addSegment(segment: Segment): void {
    this.#windows.addSegment(segment)
  }

  removeSegment(segment: Segment): void {
    this.#windows.removeSegment(segment)
    this.#long.removeSegment(segment)
  }

  recount(): void {
    this.#windows.mend()
    this.#long.recount()
  }

  /** Detaches everything that views were given out over, for sources whose wraps have memory of their own. */
  protected detachShared(): void {
    this.#windows.detachShown()
    this.#long.detachAll(block => this.#pinnedLong.has(block))
  }

  check(): void {
    this.#windows.check()
    this.#long.check()
  }
}

/** The blocks of records that are seen through windows. */
function shortOf(records: ReadonlyMap<Block, number>): Block[] {
  const blocks: Block[] = []
  records.forEach((sizeBytes, block) => {
    if (sizeBytes <= LONGEST_SHARED_BYTES) blocks[blocks.length] = block
  })
  return blocks
}
