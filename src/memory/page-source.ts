/**
 * What an arena needs of the place its pages come from. It speaks in the arena's page numbers and segments; it knows no
 * block and no Buffer, and decides nothing about when pages go back.
 */
import type { PageCount, PageNumber } from '../base/units.js'
import type { WrapId } from './kernel.js'
import type { PageStretch, Segment } from './segment.js'
import type { End } from './unmapper.js'

/** Segments begin at multiples of this many bytes in the page-number space, and never touch one another. */
export const SEGMENT_ALIGN_BYTES = 2 ** 20

/** An `ArrayBuffer` over managed memory, with the name its finalizer will answer to. */
export interface Wrap {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
}

/** The end of a source's one segment, where that can give up free pages, addresses and all, and grow again. */
export interface MovableEnd {
  /** Always the same one, also while it has no page. Its page numbers begin at 0. */
  readonly segment: Segment
  /** Whether the end can still be moved: nobody else did. */
  readonly isOwned: boolean
  /** Pages could be given up at the next moment of quiet. */
  readonly isWaiting: boolean

  /** How many of the free, clean pages at the end to give up now. Those it keeps wait for the next moment of quiet. */
  surplus(freePages: PageCount): PageCount

  /** This is a moment of quiet: what came and went before it is forgotten. */
  settle(): void

  /**
   * Gives up that many pages at the end; buffers over them read as zeros. Afterwards `segment.pageCount` says how many
   * are left. Throws a `SystemError` where the kernel refused; what it did not take waits for the next moment of quiet.
   */
  lower(pageCount: PageCount): void
}

export interface PageSource {
  readonly name: 'mmap' | 'sbrk'
  readonly pageBytes: number
  readonly segments: readonly Segment[]
  /** Pages go back in whole units of so many, at multiples of it: 1, or a huge page. */
  readonly unitPages: PageCount
  /** Null where segments come and go whole. */
  readonly end: MovableEnd | null

  /**
   * At least `pageCount` more pages, all clean: a new segment, or more of the one there is. `hasRoom`: a long segment gets room
   * behind those, where there are addresses for it, so that a block can grow. Throws a `SystemError` where the kernel
   * refuses, an `ArenaError` where the source has come to its end, a `RangeError` where the page-number space
   * has no room; nothing has changed then.
   */
  reserve(pageCount: PageCount, hasRoom?: boolean): PageStretch

  /** Gives up what `reserve` just returned, unused. */
  unreserve(stretch: PageStretch): void

  /** The segment that page lies in; it must be in one. */
  segmentOf(page: PageNumber): Segment

  /** Pages of this segment below here may be wrapped: up to its end, or what it may grow into. */
  reachOf(segment: Segment): PageNumber

  /**
   * Gives stretches of pages back to the kernel: not resident, zeros when read. `stretches[2 * i]` is the first page of the
   * `i`-th, `stretches[2 * i + 1]` how many there are, at least 1, each within one segment, ascending. Those from `from` up to
   * `end` are meant, one at least. Returns how many pages went back, in order: it may be a part of them, and the rest wants
   * another call, which throws where the kernel refuses. Throws a `SystemError` where none went back.
   */
  purge(stretches: Uint32Array, from: number, end: number): PageCount

  /** Makes free, clean pages of one segment resident. Throws a `SystemError`; some of them may be resident then. */
  populate(firstPage: PageNumber, pageCount: PageCount): void

  /**
   * From now on any access to the page is a fault, where this source has such pages. Returns whether it does. `unguard`
   * it before it is purged, or before its segment is given up while buffers over it are in use.
   */
  guard(page: PageNumber): boolean

  /** Ends that; the contents of the page are undefined. Throws a `SystemError`; it is still guarded then. */
  unguard(page: PageNumber): void

  /** Writes `byte` to bytes of one segment, none of them guarded, `offsetBytes` being counted from page number 0. */
  fill(offsetBytes: number, lengthBytes: number, byte: number): void

  /** Offset, in bytes of one segment as for `fill`, of the first that is not `byte`, or -1 where all are. */
  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number

  /**
   * Lets go of a segment that holds no block and whose buffers were detached: its page numbers are free from now on, its
   * mapping is removed on a later turn of the event loop, never on the caller's stack, and never while a buffer over it
   * still awaits its finalizer. One with `hasMovedBuffer` stays mapped for good.
   */
  retire(segment: Segment): void

  /** Every segment was retired: gives up all else. Called once; nothing but `isWrapped` may be called afterwards. */
  close(): void

  /**
   * Nobody will ever call again: gives up everything, each segment once no buffer shows its bytes (its `End` says so, and is
   * told when it is gone). Buffers that live stay as they are. One with `hasMovedBuffer` stays mapped for good.
   */
  abandon(endOf: (segment: Segment) => End): void

  /** How many bytes of all segments the kernel holds resident now. Throws a `SystemError`. */
  residentBytes(): number

  /** An `ArrayBuffer` over bytes of one segment, `offsetBytes` being counted from page number 0. */
  wrap(offsetBytes: number, lengthBytes: number): Wrap

  /** Detaches a buffer. Throws where the runtime refuses. */
  detach(buffer: ArrayBuffer): void

  /** Whether the memory of a wrap may still be reached: its finalizer has not run. */
  isWrapped(wrapId: WrapId): boolean

  /** Throws an `Error` that names the first broken invariant. */
  check(): void
}
