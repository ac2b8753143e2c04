/**
 * The segments of one source, and their places in the space of page numbers. It knows no memory.
 *
 * The first segment is small, and each further one doubles what the arena has, up to 64 MiB each. So a small
 * arena stays small, and a large one has few segments. A request for most of a regular segment gets a segment
 * of its own.
 *
 * A segment begins at a multiple of `SEGMENT_ALIGN_BYTES` in the page-number space. At least one page number
 * between two segments belongs to neither. So no run and no stretch of dirty pages crosses from one segment
 * to another.
 *
 * Invariants, checked by `check()`:
 *  1. Segments ascend, begin at multiples of `SEGMENT_ALIGN_BYTES`, and do not touch.
 *  2. `segmentOf` finds each segment by its pages.
 */
import { invariant } from '../base/assert.js'
import { indexIn, spliced } from '../base/primordials.js'
import { KIB, MAX_SPACE_BYTES, type PageCount, type PageNumber } from '../base/units.js'
import { HUGE_PAGE_BYTES } from './huge-pages.js'
import { SEGMENT_ALIGN_BYTES } from './page-source.js'
import { endOf, type Segment } from './segment.js'

const { ceil, floor, max, min } = Math

/** Whole huge pages, as every segment of a source that asks for them. */
export const FIRST_SEGMENT_BYTES = 2 * HUGE_PAGE_BYTES
/**
 * For an arena that starts small: the length of its first segment, and how many times longer each further one
 * is. The first one, or one page if that is longer, must not be longer than `mapPiece` allows.
 */
export const SMALL_SEGMENT_BYTES = 16 * KIB
const SMALL_STEPS = 4
const MAX_REGULAR_SEGMENT_BYTES = 16 * FIRST_SEGMENT_BYTES

export class SegmentSpace<S extends Segment> {
  readonly #pageBytes: number
  readonly #unitPages: PageCount
  readonly #alignPages: PageCount
  /** The length of the first segment. */
  readonly firstBytes: number
  /** The segments in order of page number. */
  #segments: S[] = []
  /** The segment at each multiple of `#alignPages`. Index 1 is page number `#alignPages`. */
  readonly #segmentAt: (S | undefined)[] = []

  /** `unitPages`: segments are whole units of that many pages. */
  constructor(pageBytes: number, unitPages: PageCount, startsSmall: boolean) {
    this.#pageBytes = pageBytes
    this.#unitPages = unitPages
    this.#alignPages = max(SEGMENT_ALIGN_BYTES / pageBytes, unitPages)
    this.firstBytes = startsSmall ? max(SMALL_SEGMENT_BYTES, pageBytes) : FIRST_SEGMENT_BYTES
  }

  /** The segments in order of page number. */
  get segments(): readonly S[] {
    return this.#segments
  }

  get startsSmall(): boolean {
    return this.firstBytes < FIRST_SEGMENT_BYTES
  }

  /** How many pages to give a segment for a request of `pageCount` pages. */
  lengthFor(pageCount: PageCount): PageCount {
    const held = this.#segments.reduce((pages, segment) => pages + segment.pageCount, 0)
    const heldBytes = held * this.#pageBytes
    const regularBytes =
      heldBytes < FIRST_SEGMENT_BYTES
        ? min(FIRST_SEGMENT_BYTES, max(this.firstBytes, SMALL_STEPS * this.#longestBytes))
        : min(MAX_REGULAR_SEGMENT_BYTES, heldBytes)
    const regular = regularBytes / this.#pageBytes
    // The rest of the first piece costs only addresses.
    if (this.startsSmall && held === 0 && pageCount <= regular) return regular
    return pageCount > regular / 2 ? ceil(pageCount / this.#unitPages) * this.#unitPages : regular
  }

  get #longestBytes(): number {
    return this.#segments.reduce((longest, { pageCount }) => max(longest, pageCount), 0) * this.#pageBytes
  }

  /**
   * Returns the lowest page number at which a segment of that length can begin. Throws a `RangeError` where
   * there is none.
   */
  placeFor(pageCount: PageCount): PageNumber {
    let firstPage = 0
    for (const segment of this.#segments) {
      if (firstPage + pageCount < segment.firstPage) break
      firstPage = ceil((endOf(segment) + 1) / this.#alignPages) * this.#alignPages
    }
    if ((firstPage + pageCount) * this.#pageBytes > MAX_SPACE_BYTES) {
      throw new RangeError(`an arena can have at most ${MAX_SPACE_BYTES} bytes of addresses`)
    }
    return firstPage
  }

  /** Adds a segment at the place that `placeFor` returned. */
  add(segment: S): void {
    this.#setSegmentAt(segment, segment)
    let at = 0
    while (at < this.#segments.length && this.#segments[at].firstPage < segment.firstPage) at++
    this.#segments = spliced(this.#segments, at, 0, segment)
  }

  /** Removes a segment. Its page numbers are free then. */
  remove(segment: S): void {
    const at = indexIn(this.#segments, segment)
    invariant(at >= 0, 'a segment is retired once')
    this.#segments = spliced(this.#segments, at, 1)
    this.#setSegmentAt(segment, undefined)
  }

  /** The segment in which the page lies. The page must be in one. */
  segmentOf(page: PageNumber): S {
    const segment = this.#segmentAt[floor(page / this.#alignPages)]
    invariant(
      segment !== undefined && page >= segment.firstPage && page < endOf(segment),
      `page ${page} has a segment`,
    )
    return segment
  }

  #setSegmentAt(segment: Segment, value: S | undefined): void {
    for (let page = segment.firstPage; page < endOf(segment); page += this.#alignPages) {
      this.#segmentAt[page / this.#alignPages] = value
    }
  }

  check(): void {
    let end = -1
    for (const segment of this.#segments) {
      invariant(
        segment.firstPage > end && segment.firstPage % this.#alignPages === 0,
        '1: segments do not touch',
      )
      invariant(this.segmentOf(segment.firstPage) === segment, '2: a segment is found by its pages')
      end = endOf(segment)
    }
  }
}
