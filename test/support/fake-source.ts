/**
 * A page source without system calls of its own: segments are cut from one mapping made beforehand, purging is filling
 * with zeros. It can refuse, fail the N-th call and record; for tests in which the real sources' calls are in the way.
 */
import { GRANULE_BYTES, MIB, type PageCount, type PageNumber } from '../../src/base/units.js'
import type { MappingId } from '../../src/memory/kernel.js'
import { type PageSource, SEGMENT_ALIGN_BYTES, type Wrap } from '../../src/memory/page-source.js'
import type { Addon, WrapId } from '../../src/memory/runtime.js'
import { endOf, type PageStretch, type Segment } from '../../src/memory/segment.js'
import type { OwnSegment } from '../../src/memory/segment-source.js'

const SPACE_BYTES = 256 * MIB

export type SourceCall =
  | 'reserve'
  | 'unreserve'
  | 'purge'
  | 'populate'
  | 'move'
  | 'retire'
  | 'residentBytes'
  | 'wrap'

export class FakeSource implements PageSource {
  readonly name = 'mmap'
  readonly end = null
  readonly owner = null
  readonly unitPages = 1
  readonly sharesMemory = true
  readonly pageBytes: number
  readonly calls: SourceCall[] = []
  /** Asked before each call: true makes it fail. */
  fails: ((call: SourceCall) => boolean) | undefined
  readonly #addon: Addon
  readonly #mapping: MappingId
  readonly #bytes: Uint8Array
  /** A page counts as resident while it is not zero. */
  #segments: OwnSegment[] = []
  #isKept = false

  constructor(addon: Addon) {
    this.pageBytes = addon.pageBytes
    this.#addon = addon
    this.#mapping = addon.map(SPACE_BYTES)
    this.#bytes = new Uint8Array(addon.wrap(this.#mapping, 0, SPACE_BYTES, addon.newWrapId()))
  }

  get segments(): readonly Segment[] {
    return this.#segments
  }

  reserve(pageCount: PageCount): Segment {
    this.#enter('reserve')
    const alignPages = SEGMENT_ALIGN_BYTES / this.pageBytes
    const last = this.#segments.at(-1)
    const firstPage = last === undefined ? 0 : Math.ceil((endOf(last) + 1) / alignPages) * alignPages
    if ((firstPage + pageCount) * this.pageBytes > SPACE_BYTES) throw new RangeError('no such page numbers')
    const segment = { mapping: this.#mapping, firstPage, pageCount, isKeptForGood: false }
    this.#segments.push(segment)
    this.#zero(firstPage, pageCount)
    return segment
  }

  unreserve(stretch: PageStretch): void {
    this.#enter('unreserve')
    this.#segments = this.#segments.filter(segment => segment.firstPage !== stretch.firstPage)
  }

  segmentOf(page: PageNumber): OwnSegment {
    const found = this.#segments.find(segment => page >= segment.firstPage && page < endOf(segment))
    if (found === undefined) throw new Error(`page ${page} has a segment`)
    return found
  }

  reachOf(segment: Segment): PageNumber {
    return endOf(segment)
  }

  purge(stretches: Uint32Array, from: number, end: number): PageCount {
    let done = 0
    for (let at = from; at < end; at++) {
      try {
        this.#enter('purge')
      } catch (error) {
        if (done === 0) throw error
        break
      }
      this.#zero(stretches[2 * at], stretches[2 * at + 1])
      done += stretches[2 * at + 1]
    }
    return done
  }

  populate(_firstPage: PageNumber, _pageCount: PageCount): void {
    this.#enter('populate')
  }

  guard(): boolean {
    return false
  }

  unguard(): void {}

  fill(offsetBytes: number, lengthBytes: number, byte: number): void {
    this.#bytes.fill(byte, offsetBytes, offsetBytes + lengthBytes)
  }

  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number {
    return this.#bytes.subarray(offsetBytes, offsetBytes + lengthBytes).findIndex(value => value !== byte)
  }

  move(moves: Int32Array, count: number): void {
    this.#enter('move')
    for (let i = 0; i < count; i++) {
      const [from, to, length] = moves.subarray(3 * i, 3 * i + 3)
      this.#bytes.copyWithin(to * GRANULE_BYTES, from * GRANULE_BYTES, (from + length) * GRANULE_BYTES)
    }
  }

  keepForGood(page: PageNumber): void {
    this.segmentOf(page).isKeptForGood = true
  }

  retire(segment: Segment): void {
    this.#enter('retire')
    if (!this.#segments.includes(segment as OwnSegment)) throw new Error('a segment is retired once')
    this.#segments = this.#segments.filter(other => other !== segment)
    if (segment.isKeptForGood) this.#isKept = true
    else this.#zero(segment.firstPage, segment.pageCount)
  }

  close(): void {
    if (!this.#isKept) this.#addon.detach(this.#bytes.buffer as ArrayBuffer)
  }

  abandon(): void {
    throw new Error('no test drops an arena over this source')
  }

  /** After `close`, once the finalizers have run. Returns whether the memory is gone. */
  unmap(): boolean {
    return this.#addon.unmap(this.#mapping)
  }

  residentBytes(): number {
    this.#enter('residentBytes')
    let pages = 0
    for (const { firstPage, pageCount } of this.#segments) {
      for (let page = firstPage; page < firstPage + pageCount; page++) {
        const bytes = this.#bytes.subarray(page * this.pageBytes, (page + 1) * this.pageBytes)
        if (bytes.some(byte => byte !== 0)) pages++
      }
    }
    return pages * this.pageBytes
  }

  wrap(offsetBytes: number, lengthBytes: number): Wrap {
    this.#enter('wrap')
    const wrapId = this.#addon.newWrapId()
    return { buffer: this.#addon.wrap(this.#mapping, offsetBytes, lengthBytes, wrapId), wrapId }
  }

  detach(buffer: ArrayBuffer): void {
    this.#addon.detach(buffer)
  }

  isWrapped(wrapId: WrapId): boolean {
    return this.#addon.isWrapped(wrapId)
  }

  check(): void {}

  #zero(firstPage: PageNumber, pageCount: PageCount): void {
    this.#bytes.fill(0, firstPage * this.pageBytes, (firstPage + pageCount) * this.pageBytes)
  }

  #enter(call: SourceCall): void {
    this.calls.push(call)
    if (this.fails?.(call)) throw Object.assign(new Error(`${call}: refused by the test`), { code: 'ENOMEM' })
  }
}
