/**
 * Pages from private anonymous mappings: the default source.
 *
 * Each segment is one mapping. It is obtained by one `mmap` and given up as a whole, and its addresses are
 * kept empty. Parts of a segment are never unmapped, because that splits kernel mappings, of which a process
 * has 65,530. If the caller asks for room, a long segment is twice as long, so that its block can grow in
 * place. Address space costs nothing until it is touched. `SegmentSpace` says how long segments are, and where
 * they lie in the space of page numbers.
 */
import type { Deferral } from '../base/deferral.js'
import type { PageCount, PageNumber } from '../base/units.js'
import { Guards } from './guards.js'
import { HUGE_PAGE_BYTES } from './huge-pages.js'
import type { Kernel, MappingId, OwnerId } from './kernel.js'
import type { PageSource } from './page-source.js'
import type { Addon } from './runtime.js'
import { endOf, type PageStretch, type Segment } from './segment.js'
import { type OwnSegment, SegmentSource } from './segment-source.js'
import { SegmentSpace } from './segment-space.js'
import { type End, Unmapper } from './unmapper.js'

/** How many times longer a segment with room is, for one long block. */
const ROOM_FACTOR = 2

export interface MmapOptions {
  /** What its mappings are called in reports. */
  readonly arenaName?: string
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
  readonly owner: OwnerId
  readonly #guards: Guards
  readonly unitPages: PageCount
  readonly #space: SegmentSpace<OwnSegment>

  constructor(addon: Addon, deferral: Deferral, options: MmapOptions = {}) {
    super(addon)
    const { hugePages = false, isSecret = false, startsSmall = false } = options
    this.#isSecret = isSecret
    this.#kernel = addon
    this.owner = addon.newOwner(options.arenaName)
    this.#unmapper = new Unmapper(addon, deferral, this.owner)
    this.#guards = new Guards(addon)
    this.unitPages = hugePages ? HUGE_PAGE_BYTES / addon.pageBytes : 1
    // Pieces of one slab cannot have advice of their own.
    const isSmall = startsSmall && !hugePages && !isSecret
    this.#space = new SegmentSpace(addon.pageBytes, this.unitPages, isSmall)
  }

  override get segments(): readonly OwnSegment[] {
    return this.#space.segments
  }

  reserve(pageCount: PageCount, hasRoom = false): OwnSegment {
    const length = this.#space.lengthFor(pageCount)
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

  #reserveExactly(length: PageCount): OwnSegment {
    const firstPage = this.#space.placeFor(length)
    const mapping = this.#map(length * this.pageBytes)
    const segment: OwnSegment = { mapping, firstPage, pageCount: length, isKeptForGood: false }
    this.#space.add(segment)
    return segment
  }

  unreserve(stretch: PageStretch): void {
    this.retire(this.segmentOf(stretch.firstPage))
  }

  reachOf(segment: Segment): PageNumber {
    return endOf(segment)
  }

  override segmentOf(page: PageNumber): OwnSegment {
    return this.#space.segmentOf(page)
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
    const own = segment as OwnSegment
    this.#space.remove(own)
    this.#guards.forgetRange(segment.firstPage, segment.pageCount)
    if (!own.isKeptForGood) this.#unmapper.add(own.mapping)
  }

  /**
   * Ends the claim of this source to the addresses that it gave up. They stay kept for code that may still
   * hold one, and no other arena gets them.
   */
  close(): void {
    this.#kernel.closeOwner(this.owner)
    this.#unmapper.disown()
  }

  abandon(endOfSegment: (segment: Segment) => End): void {
    this.#kernel.closeOwner(this.owner)
    this.#unmapper.disown()
    for (const segment of this.segments) {
      const end = endOfSegment(segment)
      if (segment.isKeptForGood) end.whenGone()
      else this.#unmapper.add(segment.mapping, segment.pageCount * this.pageBytes, end)
    }
  }

  #map(lengthBytes: number): MappingId {
    const isPiece = lengthBytes <= this.#space.firstBytes && this.#space.startsSmall
    if (isPiece) return this.#kernel.mapPiece(lengthBytes, this.owner)
    const mapping = this.#kernel.map(lengthBytes, this.unitPages * this.pageBytes, this.owner)
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

  check(): void {
    this.#guards.check()
    this.#space.check()
  }
}
