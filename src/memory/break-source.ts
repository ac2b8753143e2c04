/**
 * Pages from the program break: the classic source, one segment whose end goes up and down by `sbrk`. One such source in
 * a process at a time, for all threads.
 *
 * malloc moves the same break. Two things keep it away. The fence, a mapping directly above our top, makes its attempts
 * fail, so that it maps memory instead. And to move the break we open the fence by steps that are shorter than anything
 * malloc asks for (`STEP_BYTES`), having waited before each for calls that began before the last, so that it fails
 * while the fence is open too. Every step is verified. What is left is in docs/program-break.md; where somebody did move
 * the break, it is *lost*: never moved again, while all that is held serves on.
 *
 * The fence is readable and writable, and reaches further than any window over the last page: a buffer over pages that
 * were given up, or not taken yet, can be read and written without a fault, and is valid again when the break comes back.
 * There is no instant at which pages are not mapped over which there ever was a buffer: over those the break moves as a number.
 * Where the kernel does not let us, it does not go down over them. It rests once somebody moved an `ArrayBuffer` out of our
 * hands, whose pages another thread may use.
 *
 * It knows no block, and is told how many pages at its end are free.
 *
 * Invariants, checked by `check()`:
 *  1. the segment ends at the break, or below it after a move that failed half way
 *  2. all wraps end where the fence does, or before
 *  3. the break is owned until `close`, or until it is lost
 */
import { invariant } from '../base/assert.js'
import type { Deferral } from '../base/deferral.js'
import { KIB, MAX_SPACE_BYTES, MIB, type PageCount, type PageNumber } from '../base/units.js'
import { lostError, movedBufferError, takeBreak } from './break-errors.js'
import type { Kernel, ProgramBreak, WrapId } from './kernel.js'
import type { MovableEnd, PageSource, Wrap } from './page-source.js'
import { residentPages } from './residency.js'
import { endOf, type PageStretch, type Segment } from './segment.js'
import { type End, Unmapper } from './unmapper.js'
import { nextWrapId } from './wrap-ids.js'

const { floor, max, min } = Math

/** glibc asks for more than M_TOP_PAD, 128 KiB, rounded up to pages; the opening is this and one page. */
const STEP_BYTES = 128 * KIB
/** More than a window is long: the last page's window, and every other, ends within the fence. */
const FENCE_BYTES = 2 * MIB
/** The least that the break rises by, and the most, unless one block needs more; between, a quarter of what is held. */
const MIN_RISE_BYTES = MIB
const MAX_RISE_BYTES = 16 * MIB

export class BreakSource implements PageSource, MovableEnd {
  readonly name = 'sbrk'
  readonly unitPages = 1
  readonly pageBytes: number
  readonly #isSecret: boolean
  readonly #kernel: Kernel
  readonly #break: ProgramBreak
  readonly #unmapper: Unmapper
  readonly #canMoveViewed: boolean
  readonly #segment: Segment & { pageCount: PageCount }
  /** Where the break is, and where the fence ends, counted from the first page. */
  #topBytes = 0
  #reachBytes = 0
  /** Where the furthest buffer ends that ever was. */
  #wrappedBytes = 0
  #isOwned = true
  #isClosed = false
  // Hysteresis: see `surplus`.
  #wasLowered = false
  #isBouncing = false
  #isWaiting = false

  /**
   * Takes the break of this process. Throws `ERR_ARENA_BREAK_IN_USE` and `ERR_ARENA_BREAK_UNAVAILABLE`; `cause` is the
   * system error.
   */
  /** `isSecret`: core files leave its pages out. */
  constructor(kernel: Kernel, deferral: Deferral, arenaName: string, isSecret = false) {
    this.#isSecret = isSecret
    this.pageBytes = kernel.pageBytes
    this.#kernel = kernel
    this.#break = kernel.programBreak
    this.#unmapper = new Unmapper(kernel, deferral, 0)
    const mapping = takeBreak(this.#break, arenaName)
    this.#canMoveViewed = this.#break.canMoveViewed(mapping)
    this.#segment = { mapping, firstPage: 0, pageCount: 0, hasMovedBuffer: false }
  }

  get segments(): readonly Segment[] {
    return this.#segment.pageCount > 0 ? [this.#segment] : []
  }

  get end(): MovableEnd {
    return this
  }

  get segment(): Segment {
    return this.#segment
  }

  get isOwned(): boolean {
    return this.#isOwned
  }

  /** Pages behind those there are: the segment grows at its end. */
  reserve(pageCount: PageCount): PageStretch {
    const firstPage = endOf(this.#segment)
    if ((firstPage + pageCount) * this.pageBytes > MAX_SPACE_BYTES) {
      throw new RangeError(`an arena addresses ${MAX_SPACE_BYTES} bytes at most`)
    }
    this.#requireMovable()
    const rise = min(max(pageCount, this.#regularPages), MAX_SPACE_BYTES / this.pageBytes - firstPage)
    try {
      this.#raise((firstPage + rise) * this.pageBytes)
    } catch (error) {
      this.#undo()
      throw error
    }
    this.#segment.pageCount += rise
    this.#isBouncing = this.#wasLowered
    return { firstPage, pageCount: rise }
  }

  unreserve(stretch: PageStretch): void {
    this.#segment.pageCount -= stretch.pageCount
    this.#undo()
  }

  segmentOf(page: PageNumber): Segment {
    invariant(page >= 0 && page < this.reachOf(), `page ${page} has a segment`)
    return this.#segment
  }

  reachOf(): PageNumber {
    return this.#reachBytes / this.pageBytes
  }

  purge(stretches: Uint32Array, from: number, end: number): PageCount {
    return this.#kernel.purge(this.#segment.mapping, 0, stretches, from, end)
  }

  populate(firstPage: PageNumber, pageCount: PageCount): void {
    const { mapping } = this.#segment
    this.#kernel.advise(mapping, firstPage * this.pageBytes, pageCount * this.pageBytes, 'populate')
  }

  /** Never: what lies at the end goes up and down, and glibc's malloc comes and goes behind it. */
  guard(): boolean {
    return false
  }

  unguard(): void {
    invariant(false, 'no page of the break is guarded')
  }

  fill(offsetBytes: number, lengthBytes: number, byte: number): void {
    this.#kernel.fill(this.#segment.mapping, offsetBytes, lengthBytes, byte)
  }

  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number {
    return this.#kernel.firstOther(this.#segment.mapping, offsetBytes, lengthBytes, byte)
  }

  retire(segment: Segment): void {
    invariant(segment === this.#segment && segment.pageCount > 0, 'a segment is retired once')
    this.#segment.pageCount = 0
    this.#undo()
  }

  close(): void {
    // A second time where the first was interrupted.
    if (this.#isClosed) return
    this.#isClosed = true
    const { mapping, hasMovedBuffer } = this.#segment
    this.#break.leave(mapping, hasMovedBuffer)
    // Left for good where somebody may still use the memory.
    if (!hasMovedBuffer) this.#unmapper.add(mapping)
  }

  abandon(endOfSegment: (segment: Segment) => End): void {
    const end = endOfSegment(this.#segment)
    const { mapping, pageCount, hasMovedBuffer } = this.#segment
    this.#isClosed = true
    if (hasMovedBuffer) {
      this.#break.leave(mapping, true)
      end.whenGone()
    } else {
      // Unmapping leaves the break first. Until then it is ours, and nobody else's.
      this.#unmapper.add(mapping, pageCount * this.pageBytes, end)
    }
  }

  residentBytes(): number {
    const { mapping, pageCount } = this.#segment
    return residentPages(this.#kernel, mapping, pageCount) * this.pageBytes
  }

  wrap(offsetBytes: number, lengthBytes: number): Wrap {
    const wrapId = nextWrapId()
    const buffer = this.#kernel.wrap(this.#segment.mapping, offsetBytes, lengthBytes, wrapId)
    this.#wrappedBytes = max(this.#wrappedBytes, offsetBytes + lengthBytes)
    return { buffer, wrapId }
  }

  detach(buffer: ArrayBuffer): void {
    this.#kernel.detach(buffer)
  }

  isWrapped(wrapId: WrapId): boolean {
    return this.#kernel.isWrapped(wrapId)
  }

  // ---- the movable end -------------------------------------------------------------------------------------------

  /**
   * Hysteresis: after the break went down and up again it does not go down on a freeing call, but only at the next
   * moment of quiet (a tick of the release timer, or `trim`). So a block that comes and goes at the top moves the break
   * twice in such an interval at most, however often it does.
   */
  surplus(freePages: PageCount): PageCount {
    if (!this.#canMove) return 0
    const pages = min(freePages, this.#movablePages)
    if (!this.#isBouncing) return pages
    if (pages > 0) this.#isWaiting = true
    return 0
  }

  settle(): void {
    this.#wasLowered = false
    this.#isBouncing = false
    this.#isWaiting = false
  }

  get isWaiting(): boolean {
    return this.#isWaiting && this.#canMove
  }

  lower(pageCount: PageCount): void {
    const before = this.#segment.pageCount
    if (!this.#canMove) return
    const { pageBytes } = this
    try {
      this.#lowerTo((before - pageCount) * pageBytes)
    } catch (error) {
      this.#isWaiting = true
      throw error
    } finally {
      // Nothing is called here, which might overflow: whoever reads the length must not find more than there is.
      const topPages = this.#topBytes / pageBytes
      if (topPages < before) {
        this.#wasLowered = true
        this.#segment.pageCount = topPages
      }
    }
  }

  // ---- moving the break ------------------------------------------------------------------------------------------

  /** The break is ours and nobody else uses memory that it would move over. */
  get #canMove(): boolean {
    return this.#isOwned && !this.#segment.hasMovedBuffer
  }

  /** At the end: all, or those over which there never was a buffer. */
  get #movablePages(): PageCount {
    if (this.#canMoveViewed) return this.#topBytes / this.pageBytes
    return max(0, floor((this.#topBytes - this.#wrappedBytes) / this.pageBytes))
  }

  get #regularPages(): PageCount {
    const quarter = floor(this.#topBytes / 4 / MIN_RISE_BYTES) * MIN_RISE_BYTES
    return min(MAX_RISE_BYTES, max(MIN_RISE_BYTES, quarter)) / this.pageBytes
  }

  #requireMovable(): void {
    if (!this.#isOwned) throw lostError()
    if (this.#segment.hasMovedBuffer && this.#wrappedBytes > this.#topBytes) throw movedBufferError()
  }

  #raise(targetBytes: number): void {
    const { mapping } = this.#segment
    this.#meetTop()
    const fromBytes = this.#topBytes
    if (!this.#break.isOurs(mapping)) this.#lose()
    if (!this.#isOwned) throw lostError()
    // First, because it may fail: the fence must reach over all that a window may lie over.
    this.#close(targetBytes + FENCE_BYTES)
    while (this.#topBytes < targetBytes) this.#stepUp(min(STEP_BYTES, targetBytes - this.#topBytes))
    if (!this.#break.isOurs(mapping)) this.#lose()
    if (!this.#isOwned) throw lostError()
    // Huge pages would refill purged holes (khugepaged, max_ptes_none).
    if (targetBytes <= fromBytes) return
    this.#kernel.advise(mapping, fromBytes, targetBytes - fromBytes, 'nohugepage')
    if (this.#isSecret) this.#kernel.advise(mapping, fromBytes, targetBytes - fromBytes, 'dontdump')
  }

  #stepUp(lengthBytes: number): void {
    const { mapping } = this.#segment
    this.#break.openFence(mapping, lengthBytes)
    try {
      if (!this.#break.sbrk(mapping, lengthBytes)) this.#lose()
      else this.#topBytes += lengthBytes
    } finally {
      if (this.#isOwned) this.#close(0)
    }
    if (!this.#isOwned) throw lostError()
  }

  /** A move may have been interrupted after the break was moved, and before that was written down. */
  #meetTop(): void {
    if (this.#isOwned) this.#topBytes = this.#break.heldBytes(this.#segment.mapping)
  }

  #lowerTo(targetBytes: number): void {
    const { mapping } = this.#segment
    this.#meetTop()
    while (this.#isOwned && this.#topBytes > targetBytes) {
      const lengthBytes = min(STEP_BYTES, this.#topBytes - targetBytes)
      if (!this.#break.sbrk(mapping, -lengthBytes)) {
        this.#lose()
        return
      }
      this.#topBytes -= lengthBytes
      this.#close(0)
    }
  }

  /** The break goes down to the segment's end. Where that fails it stays; the next rise begins there. */
  #undo(): void {
    if (!this.#canMove) return
    const { pageCount } = this.#segment
    try {
      this.#lowerTo(max(pageCount, this.#topBytes / this.pageBytes - this.#movablePages) * this.pageBytes)
    } catch {
      // `lower` tries again, whenever it is called. There is a better error to throw, or nobody to throw it to.
    }
  }

  /** An open fence lets others in and lets stale views fault, so that one refusal is not taken for an answer. */
  #close(reachBytes: number): void {
    const { mapping } = this.#segment
    try {
      this.#break.closeFence(mapping, reachBytes)
    } catch {
      this.#break.closeFence(mapping, reachBytes)
    }
    this.#reachBytes = max(this.#reachBytes, reachBytes)
  }

  /** Somebody else has moved the break. What is above the segment may be theirs. */
  #lose(): void {
    this.#isOwned = false
    this.#reachBytes = this.#segment.pageCount * this.pageBytes
  }

  check(): void {
    const segmentBytes = this.#segment.pageCount * this.pageBytes
    invariant(segmentBytes <= this.#topBytes, '1: the segment ends at the break or below')
    invariant(!this.#isOwned || this.#topBytes <= this.#reachBytes, '2: the fence is above the break')
    invariant(!this.#isOwned || this.#wrappedBytes <= this.#reachBytes, '2: wraps end within the fence')
    if (this.#isOwned && !this.#isClosed) {
      invariant(this.#break.isOurs(this.#segment.mapping), '3: the break is where it was left')
    }
  }
}
