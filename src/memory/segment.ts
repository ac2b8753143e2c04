/** A segment: one mapping, and its page numbers in the arena. */
import type { PageCount, PageNumber } from '../base/units.js'
import type { MappingId } from './kernel.js'

export interface Segment {
  readonly mapping: MappingId
  readonly firstPage: PageNumber
  /** Constant for the life of the segment, except for the segment of a `MovableEnd`. */
  readonly pageCount: PageCount
  /**
   * Whether other code moved an `ArrayBuffer` of this segment away (a transfer). Its memory may then be in
   * use where we cannot see it, even in another thread and after its finalizer ran here. Such a segment is
   * never unmapped.
   */
  hasMovedBuffer: boolean
}

/** Pages in a row. Ranges of pages are half-open. */
export interface PageStretch {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

/** The first page number after this segment. */
export function endOf(segment: Segment): PageNumber {
  return segment.firstPage + segment.pageCount
}
