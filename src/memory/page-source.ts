/**
 * The interface between an arena and the place that its pages come from. It is in terms of the arena's page
 * numbers and segments. It knows neither blocks nor Buffers, and does not decide when pages go back.
 */
import { MIB, type PageCount, type PageNumber } from '../base/units.js'
import type { OwnerId } from './kernel.js'
import type { WrapId } from './runtime.js'
import type { PageStretch, Segment } from './segment.js'
import type { End } from './unmapper.js'

/** Every segment begins at a multiple of this many bytes in the page-number space. No two segments touch. */
export const SEGMENT_ALIGN_BYTES = MIB

/** The most moves that one call of `PageSource.move` makes. */
export const MAX_CALL_MOVES = 256

/** The kinds of page source, as the option `source` names them. */
export type SourceName = 'mmap' | 'sbrk' | 'heap'

/** An `ArrayBuffer` over managed memory, with the number that its finalizer answers to. */
export interface Wrap {
  readonly buffer: ArrayBuffer
  readonly wrapId: WrapId
}

/**
 * The end of a source that has one segment and can give up free pages at its end, with their addresses, and
 * grow again.
 */
export interface MovableEnd {
  /**
   * The one segment. It is always the same object, also while it has no page. Its page numbers begin at 0.
   */
  readonly segment: Segment
  /** Whether the end can still be moved: false once other code has moved it. */
  readonly isOwned: boolean
  /** Whether pages were kept that may be given up at the next quiet moment (see `noteQuiet`). */
  readonly isWaiting: boolean

  /**
   * How many of the `freePages` free, clean pages at the end to give up now. All others wait for the next
   * quiet moment.
   */
  surplus(freePages: PageCount): PageCount

  /**
   * Says that this is a quiet moment: a tick of the release timer, or a `trim`. The source forgets how the
   * end moved before.
   */
  noteQuiet(): void

  /**
   * Gives up `pageCount` pages at the end. Buffers over them read as zero. Afterwards `segment.pageCount` is
   * what is left. Throws a `SystemError` where the kernel refuses; the pages that are left then wait for the
   * next quiet moment.
   */
  lower(pageCount: PageCount): void
}

export interface PageSource {
  readonly name: SourceName
  readonly pageBytes: number
  readonly segments: readonly Segment[]
  /** Pages go back in units of this many pages, at multiples of it. It is 1, or the pages of a huge page. */
  readonly unitPages: PageCount
  /** Whose its mappings are, in reports. Null where it has none. */
  readonly owner: OwnerId | null
  /** The end that can move. Null where segments come and go only as a whole. */
  readonly end: MovableEnd | null

  /**
   * Whether two wraps over the same bytes show the same memory. If not, each wrap has memory of its own, and
   * the bytes of a live block must be used through one wrap only: see `heap-source.ts`.
   */
  readonly sharesMemory: boolean

  /**
   * Adds at least `pageCount` pages, all clean: a new segment, or more pages of the one that exists.
   * `hasRoom`: if there are addresses for it, a long segment gets more pages than that, so that its block can
   * grow. Where this call throws, nothing has changed. It throws a `SystemError` where the kernel refuses, an
   * `ArenaError` where the source cannot grow any more, and a `RangeError` where the page-number space has no
   * room.
   */
  reserve(pageCount: PageCount, hasRoom?: boolean): PageStretch

  /** Gives up the pages that `reserve` returned just now. They must be unused. */
  unreserve(stretch: PageStretch): void

  /** The segment in which the page lies. The page must be in one. */
  segmentOf(page: PageNumber): Segment

  /**
   * The page number before which all wraps of this segment end: the segment's end, or the end of what it may
   * grow into.
   */
  reachOf(segment: Segment): PageNumber

  /**
   * Gives stretches of pages back to the kernel. They are not resident then and read as zero.
   * `stretches[2 * i]` is the first page of stretch `i`, and `stretches[2 * i + 1]` its number of pages, at
   * least 1. Stretches ascend, and each lies within one segment. The call is about the stretches from index
   * `from` up to, but not including, `end`; at least one.
   *
   * Returns how many pages went back, in order. If these are not all, call it again for the rest. Throws a
   * `SystemError` where the kernel refused and no page went back.
   */
  purge(stretches: Uint32Array, from: number, end: number): PageCount

  /**
   * Makes free, clean pages of one segment resident. Throws a `SystemError`; some of the pages may be
   * resident then.
   */
  populate(firstPage: PageNumber, pageCount: PageCount): void

  /**
   * Makes the page a guard, if this source can have guards: any access to it is a fault. Returns whether it
   * is a guard now. Call `unguard` before the page is purged, and before its segment is given up while
   * buffers over it are in use.
   */
  guard(page: PageNumber): boolean

  /**
   * Makes a guard an ordinary page again. Its contents are undefined. Throws a `SystemError`; the page is
   * still a guard then.
   */
  unguard(page: PageNumber): void

  /**
   * Writes `byte` to each byte of a range. `offsetBytes` counts from page number 0. The range lies in one
   * segment and has no guard.
   */
  fill(offsetBytes: number, lengthBytes: number, byte: number): void

  /**
   * Returns the index, within a range as for `fill`, of the first byte that is not `byte`. Returns -1 if
   * there is none.
   */
  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number

  /**
   * Copies the bytes of many stretches of granules (16 bytes each), in the order of the array. Granules count
   * from page number 0. `moves[3 * i]` is the first granule of the source of move `i`, `moves[3 * i + 1]` the
   * first granule of its target, and `moves[3 * i + 2]` the number of granules, at least 1. The call is about
   * the first `count` moves, at most `MAX_CALL_MOVES`. Each source and each target lies within one segment and
   * has no guard. A source may be the target of an earlier move.
   *
   * Where this call throws, nothing was copied. It throws a `RangeError` where a stretch ends beyond the reach
   * of its segment. It must not be called where `sharesMemory` is false: no bytes lie under granules there,
   * each wrap has its own.
   */
  move(moves: Int32Array, count: number): void

  /**
   * Says that other code moved an `ArrayBuffer` over the segment of this page away (a transfer), or that the
   * runtime refused to detach one. The memory may be in use where we cannot see it, even in another thread
   * and after its finalizer ran here. So the segment stays mapped for good, also after `retire` and `close`,
   * and a movable end does not go down any more. Its pages are purged as before. Saying it again does
   * nothing.
   */
  keepForGood(page: PageNumber): void

  /**
   * Gives up a segment that holds no block and whose buffers were detached. Its page numbers are free at
   * once. Its mapping goes on a later turn of the event loop, when the finalizers of all buffers over it have
   * run; it never goes during the call. A segment that is kept for good stays mapped.
   */
  retire(segment: Segment): void

  /** Gives up everything else, after every segment was retired. Only `isWrapped` may be called afterwards. */
  close(): void

  /**
   * Gives up everything where the arena was collected, so nobody will call again. The `End` of a segment says
   * whether a buffer may still show its bytes; the segment goes when that is false, and the `End` is told.
   * Live buffers stay as they are. A segment that is kept for good stays mapped.
   */
  abandon(endOf: (segment: Segment) => End): void

  /** How many bytes of all segments the kernel holds resident now. Throws a `SystemError`. */
  residentBytes(): number

  /** Makes an `ArrayBuffer` over bytes of one segment. `offsetBytes` counts from page number 0. */
  wrap(offsetBytes: number, lengthBytes: number): Wrap

  /**
   * Detaches a buffer. `isCold`: no block lives in it any more, and all its pages went back before. Throws
   * where the runtime refuses.
   */
  detach(buffer: ArrayBuffer, isCold?: boolean): void

  /** Whether the memory of a wrap may still be reached: its finalizer has not run. */
  isWrapped(wrapId: WrapId): boolean

  /** Throws an `Error` that names the first broken invariant. */
  check(): void
}
