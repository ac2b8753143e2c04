/**
 * What both sources of pages do alike: the calls about pages and bytes of a segment, and about the buffers
 * over it. `page-source.ts` has their contracts. Where segments come from, and where they go, is up to each
 * source.
 */
import { invariant } from '../base/assert.js'
import { GRANULE_BYTES, GRANULE_SHIFT, type PageCount, type PageNumber } from '../base/units.js'
import type { Kernel, MappingId } from './kernel.js'
import { MAX_CALL_MOVES, type Wrap } from './page-source.js'
import { residentPages } from './residency.js'
import type { Addon, Runtime, WrapId } from './runtime.js'
import { endOf, type Segment } from './segment.js'

const { floor, log2 } = Math

/**
 * The moves of one call as `Kernel.move` takes them. All sources of this thread use it: it is filled and read
 * within a call.
 */
const kernelMoves = new Float64Array(5 * MAX_CALL_MOVES)

/** A segment as its source sees it. No other code changes it. */
export interface OwnSegment extends Segment {
  readonly mapping: MappingId
  isKeptForGood: boolean
}

/** The base of `MmapSource` and `BreakSource`. */
export abstract class SegmentSource {
  readonly pageBytes: number
  readonly sharesMemory = true
  /** log2 of the granules in a page. */
  readonly #pageShift: number
  readonly #kernel: Kernel
  readonly #runtime: Runtime

  constructor(addon: Addon) {
    this.pageBytes = addon.pageBytes
    this.#pageShift = log2(addon.pageBytes) - GRANULE_SHIFT
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

  move(moves: Int32Array, count: number): void {
    invariant(count <= MAX_CALL_MOVES, `at most ${MAX_CALL_MOVES} moves a call`)
    // Most moves of a call are between the same two segments.
    let from: OwnSegment | null = null
    let to: OwnSegment | null = null
    for (let i = 0; i < count; i++) {
      from = this.#segmentAt(moves[3 * i], from)
      to = this.#segmentAt(moves[3 * i + 1], to)
      kernelMoves[5 * i] = from.mapping
      kernelMoves[5 * i + 1] = this.#offsetIn(from, moves[3 * i])
      kernelMoves[5 * i + 2] = to.mapping
      kernelMoves[5 * i + 3] = this.#offsetIn(to, moves[3 * i + 1])
      kernelMoves[5 * i + 4] = moves[3 * i + 2] * GRANULE_BYTES
    }
    this.#kernel.move(kernelMoves, count)
  }

  /** The segment of a granule, which may be the one that was found last. */
  #segmentAt(granule: number, last: OwnSegment | null): OwnSegment {
    const page = granule >> this.#pageShift
    return last !== null && page >= last.firstPage && page < endOf(last) ? last : this.segmentOf(page)
  }

  #offsetIn(segment: OwnSegment, granule: number): number {
    return (granule - (segment.firstPage << this.#pageShift)) * GRANULE_BYTES
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
