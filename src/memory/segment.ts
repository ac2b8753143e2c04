/** A segment: memory that an arena got in one piece, by its page numbers in the arena. */
import type { PageCount, PageNumber } from '../base/units.js'

export interface Segment {
  readonly firstPage: PageNumber
  /** Constant for the life of the segment, except for the segment of a `MovableEnd`. */
  readonly pageCount: PageCount
  /** Whether the segment is never unmapped. `PageSource.keepForGood` sets it, and nothing clears it. */
  readonly isKeptForGood: boolean
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
