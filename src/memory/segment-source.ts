/**
 * What both sources of pages do alike: the calls about pages and bytes of a segment, and about the buffers
 * over it. `page-source.ts` has their contracts. Where segments come from, and where they go, is up to each
 * source.
 */
import type { PageCount, PageNumber } from '../base/units.js'
import type { Kernel, MappingId } from './kernel.js'
import type { Wrap } from './page-source.js'
import { residentPages } from './residency.js'
import type { Addon, Runtime, WrapId } from './runtime.js'
import type { Segment } from './segment.js'

const { floor } = Math

/** A segment as its source sees it. No other code changes it. */
export interface OwnSegment extends Segment {
  readonly mapping: MappingId
  isKeptForGood: boolean
}

/** The base of `MmapSource` and `BreakSource`. */
export abstract class SegmentSource {
  readonly pageBytes: number
  readonly sharesMemory = true
  readonly #kernel: Kernel
  readonly #runtime: Runtime

  constructor(addon: Addon) {
    this.pageBytes = addon.pageBytes
    this.#kernel = addon
    this.#runtime = addon
  }

  /** All segments, as in `PageSource`. */
  abstract get segments(): readonly OwnSegment[]

  /** The segment in which the page lies, as in `PageSource`. */
  abstract segmentOf(page: PageNumber): OwnSegment

  populate(firstPage: PageNumber, pageCount: PageCount): void {
    const { mapping, firstPage: base } = this.segmentOf(firstPage)
    this.#kernel.advise(mapping, (firstPage - base) * this.pageBytes, pageCount * this.pageBytes, 'populate')
  }

  fill(offsetBytes: number, lengthBytes: number, byte: number): void {
    const { mapping, firstPage } = this.segmentOf(floor(offsetBytes / this.pageBytes))
    this.#kernel.fill(mapping, offsetBytes - firstPage * this.pageBytes, lengthBytes, byte)
  }

  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number {
    const { mapping, firstPage } = this.segmentOf(floor(offsetBytes / this.pageBytes))
    return this.#kernel.firstOther(mapping, offsetBytes - firstPage * this.pageBytes, lengthBytes, byte)
  }

  keepForGood(page: PageNumber): void {
    this.segmentOf(page).isKeptForGood = true
  }

  residentBytes(): number {
    let pages = 0
    for (const { mapping, pageCount } of this.segments)
      pages += residentPages(this.#kernel, mapping, pageCount)
    return pages * this.pageBytes
  }

  wrap(offsetBytes: number, lengthBytes: number): Wrap {
    const { mapping, firstPage } = this.segmentOf(floor(offsetBytes / this.pageBytes))
    const wrapId = this.#runtime.newWrapId()
    return {
      buffer: this.#runtime.wrap(mapping, offsetBytes - firstPage * this.pageBytes, lengthBytes, wrapId),
      wrapId,
    }
  }

  detach(buffer: ArrayBuffer): void {
    this.#runtime.detach(buffer)
  }

  isWrapped(wrapId: WrapId): boolean {
    return this.#runtime.isWrapped(wrapId)
  }
}
