/**
 * Pieces: the ordinary `ArrayBuffer`s behind the page numbers of a `HeapSource`. Each piece has memory of its
 * own for a range of bytes. Ranges may overlap; their memory does not. Who uses them sees to it that the bytes
 * of a live block are in one piece.
 *
 * A piece is *shown* while script has its buffer. It is then held weakly, so that the collector can free a
 * buffer that nobody uses. A piece is *hidden* after its buffer was detached: its memory is in a buffer that
 * script never sees.
 *
 * Invariant, checked by `check()`:
 *  1. Each piece is found at every stride that it touches.
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, indexIn, SafeMap, spliced, targetOf } from '../base/primordials.js'
import { SEGMENT_ALIGN_BYTES } from './page-source.js'
import type { WrapId } from './runtime.js'

const { floor, max, min } = Math
const Weak = WeakRef

const STRIDE_BYTES = SEGMENT_ALIGN_BYTES

export interface Piece {
  readonly wrapId: WrapId
  readonly startBytes: number
  readonly lengthBytes: number
  /** The buffer that script has; null once it was detached. */
  shown: WeakRef<ArrayBuffer> | null
  /** The memory after the buffer was detached, else null. */
  hidden: ArrayBuffer | null
}

/** The memory of a piece. Null if its buffer was collected, or other code took it away. */
export function memoryOf(piece: Piece): ArrayBuffer | null {
  if (piece.hidden !== null) return piece.hidden
  const buffer = piece.shown === null ? undefined : targetOf(piece.shown)
  return buffer !== undefined && byteLengthOf(buffer) > 0 ? buffer : null
}

export class Pieces {
  readonly #byId = new SafeMap<WrapId, Piece>()
  /** The pieces that touch each stride of the page-number space. */
  readonly #at: (readonly Piece[] | undefined)[] = []
  #lastWrapId: WrapId = 0

  /** Adds a piece whose buffer script gets. */
  add(startBytes: number, buffer: ArrayBuffer): Piece {
    const piece: Piece = {
      wrapId: ++this.#lastWrapId,
      startBytes,
      lengthBytes: byteLengthOf(buffer),
      shown: new Weak(buffer),
      hidden: null,
    }
    for (let stride = firstStride(piece); stride <= lastStride(piece); stride++) {
      const pieces = this.#at[stride] ?? []
      this.#at[stride] = spliced(pieces, pieces.length, 0, piece)
    }
    // Last, and first where it is removed. So what is here is found by its bytes, wherever a call is interrupted.
    this.#byId.set(piece.wrapId, piece)
    return piece
  }

  /** Removes a piece. Does nothing if it is gone. */
  remove(piece: Piece): void {
    this.#byId.delete(piece.wrapId)
    for (let stride = firstStride(piece); stride <= lastStride(piece); stride++) {
      const pieces = this.#at[stride] ?? []
      const at = indexIn(pieces, piece)
      if (at >= 0) this.#at[stride] = pieces.length === 1 ? undefined : spliced(pieces, at, 1)
    }
  }

  of(wrapId: WrapId): Piece | undefined {
    return this.#byId.get(wrapId)
  }

  /**
   * Calls `visit` for each piece with memory in a range, once for each stride that it touches there, in the
   * order of strides. The piece has the bytes [from, end) of the range.
   */
  visit(
    startBytes: number,
    endBytes: number,
    visit: (piece: Piece, memory: ArrayBuffer, from: number, end: number) => void,
  ): void {
    const last = floor((endBytes - 1) / STRIDE_BYTES)
    for (let stride = floor(startBytes / STRIDE_BYTES); stride <= last; stride++) {
      // Visiting may remove pieces, which replaces the array.
      const pieces = this.#at[stride]
      if (pieces === undefined) continue
      for (let i = 0; i < pieces.length; i++) {
        const piece = pieces[i]
        const from = max(startBytes, stride * STRIDE_BYTES, piece.startBytes)
        const end = min(endBytes, (stride + 1) * STRIDE_BYTES, piece.startBytes + piece.lengthBytes)
        if (from >= end) continue
        const memory = memoryOf(piece)
        if (memory === null) this.remove(piece)
        else visit(piece, memory, from, end)
      }
    }
  }

  /** The bytes of all pieces that have memory. */
  get bytes(): number {
    let bytes = 0
    this.#byId.forEach(piece => {
      if (memoryOf(piece) === null) this.remove(piece)
      else bytes += piece.lengthBytes
    })
    return bytes
  }

  check(): void {
    this.#byId.forEach(piece => {
      for (let stride = firstStride(piece); stride <= lastStride(piece); stride++) {
        invariant(this.#at[stride]?.includes(piece) === true, '1: a piece is found where it lies')
      }
    })
  }
}

function firstStride(piece: Piece): number {
  return floor(piece.startBytes / STRIDE_BYTES)
}

function lastStride(piece: Piece): number {
  return floor((piece.startBytes + piece.lengthBytes - 1) / STRIDE_BYTES)
}
