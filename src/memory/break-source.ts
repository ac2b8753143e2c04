/**
 * Pages from the program break: one segment, whose end goes up and down by `sbrk`. There is at most one such
 * source in a process at a time, for all threads.
 *
 * malloc moves the same break. Two measures keep it away. First, the *fence*, a mapping directly above our
 * top, makes malloc's attempts fail, so that malloc maps memory instead. Second, the fence is opened only by
 * steps that are shorter than any request of malloc (`STEP_BYTES`). Before each step the source waits for
 * calls of malloc that began before the last step. So malloc fails also while the fence is open. Every step
 * is verified. docs/program-break.md says what is still not safe. Once other code has moved the break, the
 * break is *lost*: this source never moves it again, and serves only what it holds.
 *
 * The fence is readable and writable, and reaches further than any window over the last page. So a buffer
 * over pages that were given up, or that are not there yet, can be read and written without a fault. It is
 * valid again when the break comes back. Pages over which there ever was a buffer are mapped at every
 * instant: over those the break moves as a number. Where the kernel does not allow that, the break does not
 * go down over them. Once other code moved an `ArrayBuffer` of the segment away, the break does not go down
 * any more, and does not rise over such pages: another thread may use them.
 *
 * This source knows no block. Its caller says how many pages at its end are free.
 *
 * Invariants, checked by `check()`:
 *  1. The segment ends at the break, or below it after a move that failed half way.
 *  2. Every wrap ends at the end of the fence or before it.
 *  3. The break is owned until `close`, or until it is lost.
 */
import { invariant } from '../base/assert.js'
import type { Deferral } from '../base/deferral.js'
import { KIB, MAX_SPACE_BYTES, MIB, type PageCount, type PageNumber } from '../base/units.js'
import { lostError, movedBufferError, takeBreak } from './break-errors.js'
import type { Kernel, MappingId, OwnerId, ProgramBreak } from './kernel.js'
import { type MovableEnd, type PageSource, SEGMENT_ALIGN_BYTES, type Wrap } from './page-source.js'
import type { Addon } from './runtime.js'
import { endOf, type PageStretch, type Segment } from './segment.js'
import { type OwnSegment, SegmentSource } from './segment-source.js'
import { type End, Unmapper } from './unmapper.js'

const { floor, max, min } = Math

/**
 * glibc asks for more than `M_TOP_PAD` (128 KiB), rounded up to pages. The opening is this and one page. The
 * same as `kStepBytes` in native/program_break.cc.
 */
export const STEP_BYTES = 128 * KIB
/**
 * The fence reaches this far above the break. It is more than the length of a window, so every window ends
 * within it. A window begins at a multiple of `SEGMENT_ALIGN_BYTES`, and reaches a little further than to the
 * next one.
 */
export const FENCE_BYTES = 2 * SEGMENT_ALIGN_BYTES
/**
 * The break rises by a quarter of the bytes held, within these bounds. If one block needs more, it rises by
 * more.
 */
const MIN_RISE_BYTES = MIB
const MAX_RISE_BYTES = 16 * MIN_RISE_BYTES

export class BreakSource extends SegmentSource implements PageSource, MovableEnd {
  readonly name = 'sbrk'
  readonly unitPages = 1
  readonly owner: OwnerId
  readonly #isSecret: boolean
  readonly #kernel: Kernel
  readonly #break: ProgramBreak
  readonly #unmapper: Unmapper
  readonly #canMoveViewed: boolean
  readonly #segment: OwnSegment & { pageCount: PageCount }
  /** Where the break is, and where the fence ends. Both count from the first page. */
  #topBytes = 0
  #reachBytes = 0
  /** The furthest end of all buffers that were ever made, counted from the first page. */
  #wrappedBytes = 0
  #isOwned = true
  #isClosed = false
  // These three belong to the hysteresis: see `surplus`.
  #wasLowered = false
  #isBouncing = false
  #isWaiting = false

  /**
   * Takes the break of this process. `isSecret`: core files leave its pages out. Throws
   * `ERR_ARENA_BREAK_IN_USE` or `ERR_ARENA_BREAK_UNAVAILABLE`; the `cause` is the system error.
   */
  constructor(addon: Addon, deferral: Deferral, arenaName: string, isSecret = false) {
    super(addon)
    this.#isSecret = isSecret
    this.#kernel = addon
    this.#break = addon.programBreak
    this.#unmapper = new Unmapper(addon, deferral, 0)
    this.owner = addon.newOwner(arenaName)
    const mapping = this.#take(arenaName)
    this.#canMoveViewed = this.#break.canMoveViewed(mapping)
    this.#segment = { mapping, firstPage: 0, pageCount: 0, isKeptForGood: false }
  }

  #take(arenaName: string): MappingId {
    try {
      return takeBreak(this.#break, arenaName, this.owner)
    } catch (error) {
      this.#kernel.closeOwner(this.owner)
      throw error
    }
  }

  override get segments(): readonly OwnSegment[] {
    return this.#segment.pageCount > 0 ? [this.#segment] : []
  }

  get end(): MovableEnd {
    return this
  }

  get segment(): OwnSegment {
    return this.#segment
  }

  get isOwned(): boolean {
    return this.#isOwned
  }

  /** Adds pages at the end of the segment. */
  reserve(pageCount: PageCount): PageStretch {
    const firstPage = endOf(this.#segment)
    if ((firstPage + pageCount) * this.pageBytes > MAX_SPACE_BYTES) {
      throw new RangeError(`an arena can have at most ${MAX_SPACE_BYTES} bytes of addresses`)
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

  override segmentOf(page: PageNumber): OwnSegment {
    invariant(page >= 0 && page < this.reachOf(), `page ${page} has a segment`)
    return this.#segment
  }

  reachOf(): PageNumber {
    return this.#reachBytes / this.pageBytes
  }

  purge(stretches: Uint32Array, from: number, end: number): PageCount {
    return this.#kernel.purge(this.#segment.mapping, 0, stretches, from, end)
  }

  /** Makes no guard, because the end of the segment moves, and glibc's malloc uses what is behind it. */
  guard(): boolean {
    return false
  }

  unguard(): void {
    invariant(false, 'no page of the break is guarded')
  }

  retire(segment: Segment): void {
    invariant(segment === this.#segment && segment.pageCount > 0, 'a segment is retired once')
    this.#segment.pageCount = 0
    this.#undo()
  }

  close(): void {
    // `close` is called a second time where the first call was interrupted.
    if (this.#isClosed) return
    this.#isClosed = true
    this.#kernel.closeOwner(this.owner)
    const { mapping, isKeptForGood } = this.#segment
    this.#break.leave(mapping, isKeptForGood)
    // If other code may still use the memory, it stays mapped for good.
    if (!isKeptForGood) this.#unmapper.add(mapping)
  }

  abandon(endOfSegment: (segment: Segment) => End): void {
    const end = endOfSegment(this.#segment)
    const { mapping, pageCount, isKeptForGood } = this.#segment
    this.#isClosed = true
    this.#kernel.closeOwner(this.owner)
    if (isKeptForGood) {
      this.#break.leave(mapping, true)
      end.whenGone()
    } else {
      // The unmap leaves the break first. Until then the break belongs to this source.
      this.#unmapper.add(mapping, pageCount * this.pageBytes, end)
    }
  }

  override wrap(offsetBytes: number, lengthBytes: number): Wrap {
    const wrap = super.wrap(offsetBytes, lengthBytes)
    this.#wrappedBytes = max(this.#wrappedBytes, offsetBytes + lengthBytes)
    return wrap
  }

  // ---- the movable end ------------------------------------------------------------------------------------

  /**
   * Implements a hysteresis. After the break went down and up again, it does not go down on a freeing call,
   * but only at the next quiet moment (a tick of the release timer, or `trim`). So a block that comes and
   * goes at the top, however often, moves the break at most twice between two quiet moments.
   */
  surplus(freePages: PageCount): PageCount {
    if (!this.#canMove) return 0
    const pages = min(freePages, this.#movablePages)
    if (!this.#isBouncing) return pages
    if (pages > 0) this.#isWaiting = true
    return 0
  }

  noteQuiet(): void {
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
      // No function is called here, because a call might overflow the stack. `pageCount` must never count
      // pages that are gone.
      const topPages = this.#topBytes / pageBytes
      if (topPages < before) {
        this.#wasLowered = true
        this.#segment.pageCount = topPages
      }
    }
  }

  // ---- moving the break -----------------------------------------------------------------------------------

  /** Whether the break is ours and no other code uses memory that it would move over. */
  get #canMove(): boolean {
    return this.#isOwned && !this.#segment.isKeptForGood
  }

  /**
   * The pages at the end over which the break may go down: all of them, or only those that never had a
   * buffer.
   */
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
    if (this.#segment.isKeptForGood && this.#wrappedBytes > this.#topBytes) throw movedBufferError()
  }

  #raise(targetBytes: number): void {
    const { mapping } = this.#segment
    this.#meetTop()
    const fromBytes = this.#topBytes
    if (!this.#break.isOurs(mapping)) this.#lose()
    if (!this.#isOwned) throw lostError()
    // This is first, because it may fail: the fence must reach over all that a window may lie over.
    this.#close(targetBytes + FENCE_BYTES)
    while (this.#topBytes < targetBytes) this.#stepUp(min(STEP_BYTES, targetBytes - this.#topBytes))
    if (!this.#break.isOurs(mapping)) this.#lose()
    if (!this.#isOwned) throw lostError()
    // Huge pages would fill purged holes again (khugepaged, `max_ptes_none`).
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

  /** Reads where the break is. An interruption may have come after a move, before `#topBytes` was set. */
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

  /**
   * Lowers the break to the segment's end, as far as it may go. If that fails, the next rise begins where the
   * break stays.
   */
  #undo(): void {
    if (!this.#canMove) return
    const { pageCount } = this.#segment
    try {
      this.#lowerTo(max(pageCount, this.#topBytes / this.pageBytes - this.#movablePages) * this.pageBytes)
    } catch {
      // The next call of `lower` tries again. The caller has a better error to throw, or must not throw.
    }
  }

  /**
   * Closes the fence and makes it reach at least to `reachBytes`. It tries twice before it throws, because an
   * open fence lets other callers in, and a stale view over it would fault.
   */
  #close(reachBytes: number): void {
    const { mapping } = this.#segment
    try {
      this.#break.closeFence(mapping, reachBytes)
    } catch {
      this.#break.closeFence(mapping, reachBytes)
    }
    this.#reachBytes = max(this.#reachBytes, reachBytes)
  }

  /** Is called when other code has moved the break. What is above the segment may belong to that code. */
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
