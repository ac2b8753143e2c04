/** A segment: one mapping, and the page numbers it has in its arena. */
import type { PageCount, PageNumber } from '../base/units.js'
import type { MappingId } from './kernel.js'

export interface Segment {
  readonly mapping: MappingId
  readonly firstPage: PageNumber
  /** The same for life, but of the segment of a `MovableEnd`. */
  readonly pageCount: PageCount
  /**
   * Somebody moved an `ArrayBuffer` of this segment out of our hands (a transfer), so memory of it may be in use where
   * we cannot see it, even in another thread and after its finalizer ran here. Such a segment is never unmapped.
   */
  hasMovedBuffer: boolean
}

/** Pages that lie together. Ranges of pages are half-open. */
export interface PageStretch {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

/** Where the pages after this segment begin. */
export function endOf(segment: Segment): PageNumber {
  return segment.firstPage + segment.pageCount
}
