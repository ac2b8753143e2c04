/**
 * Pages from private anonymous mappings: the default source.
 *
 * Each segment is one mapping. It is obtained by one `mmap` and given up as a whole, and its addresses are
 * kept empty. Parts of a segment are never unmapped, because that splits kernel mappings, of which a process
 * has 65,530. The first segment is small, and each further one doubles what the arena has, up to 64 MiB each.
 * So a small arena stays small, and a large one has few segments. A request for most of a regular segment
 * gets a segment of its own. If the caller asks for room, that segment is twice as long, so that its block
 * can grow in place. Address space costs nothing until it is touched.
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
import type { Deferral } from '../base/deferral.js'
import { indexIn, spliced } from '../base/primordials.js'
import { KIB, MAX_SPACE_BYTES, type PageCount, type PageNumber } from '../base/units.js'
import { Guards } from './guards.js'
import { HUGE_PAGE_BYTES } from './huge-pages.js'
import type { Kernel, MappingId, OwnerId } from './kernel.js'
import { type PageSource, SEGMENT_ALIGN_BYTES } from './page-source.js'
import type { Addon } from './runtime.js'
import { endOf, type PageStretch, type Segment } from './segment.js'
import { type OwnSegment, SegmentSource } from './segment-source.js'
import { type End, Unmapper } from './unmapper.js'

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
/** How many times longer a segment with room is, for one long block. */
const ROOM_FACTOR = 2

export interface MmapOptions {
  /** Ask for transparent huge pages, and give back whole ones only. */
  readonly hugePages?: boolean
  /** Core files leave the pages of this source out. */
  readonly isSecret?: boolean
  /**
   * Begin with a piece of 16 KiB, for one of many arenas. It has no effect together with the other options.
   */
  readonly startsSmall?: boolean
}

export class MmapSource extends SegmentSource implements PageSource {
  readonly name = 'mmap'
  readonly end = null
  readonly #isSecret: boolean
  readonly #kernel: Kernel
  readonly #unmapper: Unmapper
  readonly #owner: OwnerId
  readonly #guards: Guards
  readonly #alignPages: PageCount
  readonly unitPages: PageCount
  /** The segments in order of page number. */
  #segments: OwnSegment[] = []
  /** The segment at each multiple of `#alignPages`. Index 1 is page number `#alignPages`. */
  readonly #segmentAt: (OwnSegment | undefined)[] = []

  readonly #firstBytes: number

  constructor(addon: Addon, deferral: Deferral, options: MmapOptions = {}) {
    super(addon)
    const { hugePages = false, isSecret = false, startsSmall = false } = options
    const smallBytes = max(SMALL_SEGMENT_BYTES, addon.pageBytes)
    // Pieces of one slab cannot have advice of their own.
    this.#firstBytes = startsSmall && !hugePages && !isSecret ? smallBytes : FIRST_SEGMENT_BYTES
    this.#isSecret = isSecret
    this.#kernel = addon
    this.#owner = addon.newOwner()
    this.#unmapper = new Unmapper(addon, deferral, this.#owner)
    this.#guards = new Guards(addon)
    this.unitPages = hugePages ? HUGE_PAGE_BYTES / addon.pageBytes : 1
    this.#alignPages = max(SEGMENT_ALIGN_BYTES / addon.pageBytes, this.unitPages)
  }

  override get segments(): readonly Segment[] {
    return this.#segments
  }

  reserve(pageCount: PageCount, hasRoom = false): Segment {
    const length = this.#segmentPages(pageCount)
    if (hasRoom && length < ROOM_FACTOR * pageCount) {
      try {
        return this.#reserveExactly(ROOM_FACTOR * length)
      } catch {
        // There are no addresses for the room. Overcommit mode 2 and `RLIMIT_AS` count them, and the arena's
        // space is limited.
      }
    }
    return this.#reserveExactly(length)
  }

  #reserveExactly(length: PageCount): Segment {
    const firstPage = this.#findPages(length)
    const mapping = this.#map(length * this.pageBytes)
    const segment: OwnSegment = { mapping, firstPage, pageCount: length, isKeptForGood: false }
    this.#setSegmentAt(segment, segment)
    let at = 0
    while (at < this.#segments.length && this.#segments[at].firstPage < firstPage) at++
    this.#segments = spliced(this.#segments, at, 0, segment)
    return segment
  }

  unreserve(stretch: PageStretch): void {
    this.retire(this.segmentOf(stretch.firstPage))
  }

  reachOf(segment: Segment): PageNumber {
    return endOf(segment)
  }

  override segmentOf(page: PageNumber): OwnSegment {
    const segment = this.#segmentAt[floor(page / this.#alignPages)]
    invariant(
      segment !== undefined && page >= segment.firstPage && page < endOf(segment),
      `page ${page} has a segment`,
    )
    return segment
  }

  /**
   * Purges those stretches that lie in the segment of the first one, because one call of the kernel is for
   * one mapping.
   */
  purge(stretches: Uint32Array, from: number, end: number): PageCount {
    const segment = this.segmentOf(stretches[2 * from])
    const segmentEnd = endOf(segment)
    let next = from + 1
    while (next < end && stretches[2 * next] < segmentEnd) next++
    return this.#kernel.purge(segment.mapping, segment.firstPage, stretches, from, next)
  }

  /** Makes no guard among huge pages, because a guard would break one up. */
  guard(page: PageNumber): boolean {
    if (this.unitPages > 1) return false
    const { mapping, firstPage } = this.segmentOf(page)
    return this.#guards.install(page, mapping, (page - firstPage) * this.pageBytes)
  }

  unguard(page: PageNumber): void {
    const { mapping, firstPage } = this.segmentOf(page)
    this.#guards.remove(page, mapping, (page - firstPage) * this.pageBytes)
  }

  retire(segment: Segment): void {
    const at = indexIn(this.#segments, segment)
    invariant(at >= 0, 'a segment is retired once')
    this.#segments = spliced(this.#segments, at, 1)
    this.#guards.forgetRange(segment.firstPage, segment.pageCount)
    this.#setSegmentAt(segment, undefined)
    if (!segment.isKeptForGood) this.#unmapper.add(segment.mapping)
  }

  /**
   * Ends the claim of this source to the addresses that it gave up. They stay kept for code that may still
   * hold one, and no other arena gets them.
   */
  close(): void {
    this.#unmapper.disown()
  }

  abandon(endOfSegment: (segment: Segment) => End): void {
    this.#unmapper.disown()
    for (const segment of this.#segments) {
      const end = endOfSegment(segment)
      if (segment.isKeptForGood) end.whenGone()
      else this.#unmapper.add(segment.mapping, segment.pageCount * this.pageBytes, end)
    }
  }

  #map(lengthBytes: number): MappingId {
    const isPiece = lengthBytes <= this.#firstBytes && this.#startsSmall
    if (isPiece) return this.#kernel.mapPiece(lengthBytes)
    const mapping = this.#kernel.map(lengthBytes, this.unitPages * this.pageBytes, this.#owner)
    try {
      // Huge pages would fill purged holes again (khugepaged, `max_ptes_none`), unless a hole is at least one
      // huge page.
      this.#kernel.advise(mapping, 0, lengthBytes, this.unitPages > 1 ? 'hugepage' : 'nohugepage')
      if (this.#isSecret) this.#kernel.advise(mapping, 0, lengthBytes, 'dontdump')
    } catch (error) {
      this.#unmapper.add(mapping)
      throw error
    }
    return mapping
  }

  get #startsSmall(): boolean {
    return this.#firstBytes < FIRST_SEGMENT_BYTES
  }

  get #longestBytes(): number {
    return this.#segments.reduce((longest, { pageCount }) => max(longest, pageCount), 0) * this.pageBytes
  }

  /** How many pages to give a segment for a request of `pageCount` pages. */
  #segmentPages(pageCount: PageCount): PageCount {
    const held = this.#segments.reduce((pages, segment) => pages + segment.pageCount, 0)
    const heldBytes = held * this.pageBytes
    const regularBytes =
      heldBytes < FIRST_SEGMENT_BYTES
        ? min(FIRST_SEGMENT_BYTES, max(this.#firstBytes, SMALL_STEPS * this.#longestBytes))
        : min(MAX_REGULAR_SEGMENT_BYTES, heldBytes)
    const regular = regularBytes / this.pageBytes
    // The rest of the first piece costs only addresses.
    if (this.#startsSmall && held === 0 && pageCount <= regular) return regular
    return pageCount > regular / 2 ? ceil(pageCount / this.unitPages) * this.unitPages : regular
  }

  /** The lowest page number at which a segment of that length can begin. */
  #findPages(pageCount: PageCount): PageNumber {
    let firstPage = 0
    for (const segment of this.#segments) {
      if (firstPage + pageCount < segment.firstPage) break
      firstPage = ceil((endOf(segment) + 1) / this.#alignPages) * this.#alignPages
    }
    if ((firstPage + pageCount) * this.pageBytes > MAX_SPACE_BYTES) {
      throw new RangeError(`an arena can have at most ${MAX_SPACE_BYTES} bytes of addresses`)
    }
    return firstPage
  }

  check(): void {
    this.#guards.check()
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

  #setSegmentAt(segment: Segment, value: OwnSegment | undefined): void {
    for (let page = segment.firstPage; page < endOf(segment); page += this.#alignPages) {
      this.#segmentAt[page / this.#alignPages] = value
    }
  }
}
