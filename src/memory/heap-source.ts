/**
 * Pages that are ordinary `ArrayBuffer`s, on every platform and without the addon: for programs that are
 * written on one system and run on Linux.
 *
 * There is no memory under the page numbers as such. Each wrap has memory of its own. Two wraps over the same
 * bytes show different memory (`sharesMemory` is false), so the caller must make sure that the bytes of a live
 * block are used through one wrap, and copy them where a block gets another. Filling, looking and purging
 * reach all wraps over a range. So a clean page reads as zero in every one of them.
 *
 * When a buffer is detached, its memory is *hidden*: this source holds it until a page of it is purged, or
 * another wrap is made there, which uses it again if it covers the same bytes. So code that still uses the
 * bytes outside of JavaScript, against the rules, does not meet foreign memory at once, and `debug` can look
 * for what it writes.
 *
 * Memory that is purged goes back to V8's allocator on the next turn of the event loop. It does not go at
 * once, because Node's own C++ may be on the stack with a pointer into it. On Node 20, which has no
 * `ArrayBuffer.prototype.transfer`, the garbage collector frees it.
 *
 * A buffer that other code took away takes its memory with it. That harms nobody here, so no segment is kept
 * for good.
 */
import { constants } from 'node:buffer'
import { invariant } from '../base/assert.js'
import type { Deferral } from '../base/deferral.js'
import { outOfRange } from '../base/errors.js'
import { apply, byteLengthOf, fillBytes, SafeWeakMap } from '../base/primordials.js'
import { KIB, MIB, type PageCount, type PageNumber } from '../base/units.js'
import type { PageSource, Wrap } from './page-source.js'
import { memoryOf, type Piece, Pieces } from './pieces.js'
import type { WrapId } from './runtime.js'
import { endOf, type PageStretch, type Segment } from './segment.js'
import { SegmentSpace } from './segment-space.js'
import { type End, Unmapper } from './unmapper.js'

// Read once at load, before other code can replace them. Node 20 has no `transfer`.
const transfer = (ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, length?: number) => ArrayBuffer })
  .transfer
const { structuredClone } = globalThis
const Memory = ArrayBuffer
const Bytes = Uint8Array
const Refusal = TypeError

/** Pages of this source are counted in the usual unit, whatever the system's page is. */
export const HEAP_PAGE_BYTES = 4 * KIB
/** The most memory that waits for the next turn. Of more than that, the garbage collector frees the rest. */
const MAX_LEAVING_BYTES = 16 * MIB

export interface HeapSourceOptions {
  /** Memory is filled with zeros before it leaves this source, if its blocks were not wiped yet. */
  readonly isSecret?: boolean
  /** Begin with a segment of 16 KiB, for one of many arenas. */
  readonly startsSmall?: boolean
}

export class HeapSource implements PageSource {
  readonly name = 'heap'
  readonly pageBytes = HEAP_PAGE_BYTES
  readonly unitPages = 1
  readonly end = null
  readonly owner = null
  readonly sharesMemory = false
  readonly #deferral: Deferral
  readonly #isSecret: boolean
  readonly #space: SegmentSpace<Segment>
  readonly #pieces = new Pieces()
  /** The piece of each buffer that script has. */
  readonly #pieceOf = new SafeWeakMap<ArrayBuffer, Piece>()
  /** Memory that goes back on the next turn. */
  #leaving: ArrayBuffer[] = []
  #leavingBytes = 0

  constructor(deferral: Deferral, { isSecret = false, startsSmall = false }: HeapSourceOptions = {}) {
    this.#deferral = deferral
    this.#isSecret = isSecret
    this.#space = new SegmentSpace(HEAP_PAGE_BYTES, 1, startsSmall)
  }

  get segments(): readonly Segment[] {
    return this.#space.segments
  }

  reserve(pageCount: PageCount): Segment {
    const length = this.#space.lengthFor(pageCount)
    const firstPage = this.#space.placeFor(length)
    const segment: Segment = { firstPage, pageCount: length, isKeptForGood: false }
    this.#space.add(segment)
    return segment
  }

  unreserve(stretch: PageStretch): void {
    this.retire(this.segmentOf(stretch.firstPage))
  }

  segmentOf(page: PageNumber): Segment {
    return this.#space.segmentOf(page)
  }

  reachOf(segment: Segment): PageNumber {
    return endOf(segment)
  }

  /** Hidden memory with a page of these goes back as a whole. In buffers that script has, the pages are zero. */
  purge(stretches: Uint32Array, from: number, end: number): PageCount {
    let pageCount = 0
    for (let i = from; i < end; i++) {
      const start = stretches[2 * i] * HEAP_PAGE_BYTES
      const lengthBytes = stretches[2 * i + 1] * HEAP_PAGE_BYTES
      this.#discardHidden(start, start + lengthBytes)
      this.fill(start, lengthBytes, 0)
      pageCount += stretches[2 * i + 1]
    }
    return pageCount
  }

  /** Pages become resident when they are written to. */
  populate(): void {}

  guard(): boolean {
    return false
  }

  unguard(): void {}

  fill(offsetBytes: number, lengthBytes: number, byte: number): void {
    this.#pieces.visit(offsetBytes, offsetBytes + lengthBytes, ({ startBytes }, memory, from, end) => {
      fillBytes(new Bytes(memory, from - startBytes, end - from), byte)
    })
  }

  firstOther(offsetBytes: number, lengthBytes: number, byte: number): number {
    let first = Number.POSITIVE_INFINITY
    this.#pieces.visit(offsetBytes, offsetBytes + lengthBytes, ({ startBytes }, memory, from, end) => {
      const bytes = new Bytes(memory, from - startBytes, end - from)
      for (let i = 0; i < end - from && from + i < first; i++) if (bytes[i] !== byte) first = from + i
    })
    return first === Number.POSITIVE_INFINITY ? -1 : first - offsetBytes
  }

  move(): void {
    invariant(false, 'no bytes lie under the granules of the heap')
  }

  keepForGood(): void {}

  retire(segment: Segment): void {
    this.#space.remove(segment)
    const start = segment.firstPage * HEAP_PAGE_BYTES
    const end = endOf(segment) * HEAP_PAGE_BYTES
    this.#discardHidden(start, end)
    // What is left are buffers that could not be detached, or that nobody but the program has.
    this.#pieces.visit(start, end, piece => this.#pieces.remove(piece))
  }

  close(): void {}

  abandon(endOfSegment: (segment: Segment) => End): void {
    // Nothing is mapped. It only waits until no buffer shows bytes of the segment, and says so.
    const nothing = { unmap: () => true, advise: () => {}, disown: () => {} }
    const unmapper = new Unmapper(nothing, this.#deferral)
    for (const segment of this.segments) {
      this.#discardHidden(segment.firstPage * HEAP_PAGE_BYTES, endOf(segment) * HEAP_PAGE_BYTES)
      unmapper.add(0, 0, endOfSegment(segment))
    }
  }

  /** The bytes of all `ArrayBuffer`s that this source made or holds and that are not collected yet. */
  residentBytes(): number {
    return this.#pieces.bytes
  }

  wrap(offsetBytes: number, lengthBytes: number): Wrap {
    if (lengthBytes > constants.MAX_LENGTH) {
      throw outOfRange('lengthBytes', `<= ${constants.MAX_LENGTH}`, lengthBytes)
    }
    const buffer = this.#takeHidden(offsetBytes, lengthBytes) ?? new Memory(lengthBytes)
    const piece = this.#pieces.add(offsetBytes, buffer)
    this.#pieceOf.set(buffer, piece)
    return { buffer, wrapId: piece.wrapId }
  }

  /**
   * Returns the hidden memory of exactly this range, or null. Other hidden memory that reaches into the range
   * is left to the garbage collector: script may make much of it within one turn.
   */
  #takeHidden(startBytes: number, lengthBytes: number): ArrayBuffer | null {
    let found: ArrayBuffer | null = null
    this.#pieces.visit(startBytes, startBytes + lengthBytes, piece => {
      if (piece.hidden === null) return
      if (piece.startBytes === startBytes && piece.lengthBytes === lengthBytes) found = piece.hidden
      piece.hidden = null
      this.#pieces.remove(piece)
    })
    return found
  }

  detach(buffer: ArrayBuffer, isCold = false): void {
    const piece = this.#pieceOf.get(buffer)
    invariant(piece !== undefined, 'buffers are detached by the source that made them')
    const memory = moveOut(buffer)
    piece.shown = null
    if (isCold) {
      this.#pieces.remove(piece)
      this.#discard(memory)
    } else piece.hidden = memory
  }

  #discardHidden(startBytes: number, endBytes: number): void {
    this.#pieces.visit(startBytes, endBytes, piece => {
      const { hidden } = piece
      if (hidden === null) return
      piece.hidden = null
      this.#pieces.remove(piece)
      this.#discard(hidden)
    })
  }

  /** Gives memory back on the next turn. */
  #discard(memory: ArrayBuffer): void {
    if (this.#isSecret) fillBytes(new Bytes(memory), 0)
    if (transfer === undefined) return
    const lengthBytes = byteLengthOf(memory)
    if (this.#leavingBytes > 0 && this.#leavingBytes + lengthBytes > MAX_LEAVING_BYTES) return
    this.#leavingBytes += lengthBytes
    this.#leaving[this.#leaving.length] = memory
    if (this.#leaving.length === 1) this.#deferral.nextTurn(() => this.#giveBack())
  }

  #giveBack(): void {
    const leaving = this.#leaving
    this.#leaving = []
    this.#leavingBytes = 0
    for (let i = 0; i < leaving.length; i++) apply(transfer as () => ArrayBuffer, leaving[i], [0])
  }

  isWrapped(wrapId: WrapId): boolean {
    const piece = this.#pieces.of(wrapId)
    return piece !== undefined && piece.hidden === null && memoryOf(piece) !== null
  }

  check(): void {
    this.#space.check()
    this.#pieces.check()
  }
}

/** Detaches a buffer. Returns another one with its memory. Throws where the runtime refuses. */
function moveOut(buffer: ArrayBuffer): ArrayBuffer {
  if (transfer !== undefined) return apply(transfer as () => ArrayBuffer, buffer, [])
  const memory = structuredClone(buffer, { transfer: [buffer] })
  // Node 20 copies a buffer that is marked as untransferable.
  if (byteLengthOf(buffer) > 0) throw new Refusal('This ArrayBuffer cannot be detached.')
  return memory
}
