/**
 * Pieces: the ordinary `ArrayBuffer`s behind the page numbers of a `HeapSource`. Each piece has memory of its
 * own for a range of bytes. Ranges may overlap; their memory does not. Who uses them sees to it that the bytes
 * of a live block are in one piece.
 *
 * A piece is *shown* while script has its buffer. It is then held weakly, so that the collector can free a
 * buffer that nobody uses. A piece is *hidden* after its buffer was detached: its memory is in a buffer that
 * script never sees.
 *
 * Short pieces are found by the page, long ones by the stride of a window. So few pieces are found in one
 * place, and no piece in many.
 *
 * Invariant, checked by `check()`:
 *  1. Each piece is found everywhere that it touches.
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, indexIn, SafeMap, spliced, targetOf } from '../base/primordials.js'
import { KIB } from '../base/units.js'
import { SEGMENT_ALIGN_BYTES } from './page-source.js'
import type { WrapId } from './runtime.js'

const { floor, max, min } = Math
const Weak = WeakRef

const SHORT_UNIT_BYTES = 4 * KIB
const LONG_UNIT_BYTES = SEGMENT_ALIGN_BYTES
/** From this length on a piece is long. */
const LONG_FROM_BYTES = 64 * KIB

export interface Piece {
  readonly wrapId: WrapId
  readonly startBytes: number
  readonly lengthBytes: number
  /** The buffer that script has; null once it was detached. */
  shown: WeakRef<ArrayBuffer> | null
  /** The memory after the buffer was detached, else null. */
  hidden: ArrayBuffer | null
}

/** Is called with a piece that has the bytes [from, end), and with its memory. */
type Visit = (piece: Piece, memory: ArrayBuffer, from: number, end: number) => void

/** The memory of a piece. Null if its buffer was collected, or other code took it away. */
export function memoryOf(piece: Piece): ArrayBuffer | null {
  if (piece.hidden !== null) return piece.hidden
  const buffer = piece.shown === null ? undefined : targetOf(piece.shown)
  return buffer !== undefined && byteLengthOf(buffer) > 0 ? buffer : null
}

/** The pieces that touch each stretch of `unitBytes` bytes. */
class Index {
  readonly #unitBytes: number
  readonly #at = new SafeMap<number, readonly Piece[]>()

  constructor(unitBytes: number) {
    this.#unitBytes = unitBytes
  }

  add(piece: Piece): void {
    for (let unit = this.#first(piece); unit <= this.#last(piece); unit++) {
      const pieces = this.#at.get(unit) ?? []
      this.#at.set(unit, spliced(pieces, pieces.length, 0, piece))
    }
  }

  remove(piece: Piece): void {
    for (let unit = this.#first(piece); unit <= this.#last(piece); unit++) {
      const pieces = this.#at.get(unit) ?? []
      const at = indexIn(pieces, piece)
      if (at < 0) continue
      if (pieces.length === 1) this.#at.delete(unit)
      else this.#at.set(unit, spliced(pieces, at, 1))
    }
  }

  /** Calls `visit` for each piece in a range, once for each unit that it touches there. */
  visit(
    startBytes: number,
    endBytes: number,
    visit: (piece: Piece, from: number, end: number) => void,
  ): void {
    if (this.#at.size === 0) return
    const unitBytes = this.#unitBytes
    const last = floor((endBytes - 1) / unitBytes)
    for (let unit = floor(startBytes / unitBytes); unit <= last; unit++) {
      // Visiting may remove pieces, which replaces the array.
      const pieces = this.#at.get(unit)
      if (pieces === undefined) continue
      for (let i = 0; i < pieces.length; i++) {
        const piece = pieces[i]
        const from = max(startBytes, unit * unitBytes, piece.startBytes)
        const end = min(endBytes, (unit + 1) * unitBytes, piece.startBytes + piece.lengthBytes)
        if (from < end) visit(piece, from, end)
      }
    }
  }

  /** Whether the piece is found everywhere that it touches. */
  has(piece: Piece): boolean {
    for (let unit = this.#first(piece); unit <= this.#last(piece); unit++) {
      if (this.#at.get(unit)?.includes(piece) !== true) return false
    }
    return true
  }

  #first({ startBytes }: Piece): number {
    return floor(startBytes / this.#unitBytes)
  }

  #last({ startBytes, lengthBytes }: Piece): number {
    return floor((startBytes + lengthBytes - 1) / this.#unitBytes)
  }
}

export class Pieces {
  readonly #byId = new SafeMap<WrapId, Piece>()
  readonly #short = new Index(SHORT_UNIT_BYTES)
  readonly #long = new Index(LONG_UNIT_BYTES)
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
    this.#indexOf(piece).add(piece)
    // Last, and first where it is removed. So what is here is found by its bytes, wherever a call is interrupted.
    this.#byId.set(piece.wrapId, piece)
    return piece
  }

  /** Removes a piece. Does nothing if it is gone. */
  remove(piece: Piece): void {
    this.#byId.delete(piece.wrapId)
    this.#indexOf(piece).remove(piece)
  }

  of(wrapId: WrapId): Piece | undefined {
    return this.#byId.get(wrapId)
  }

  /** Calls `visit` for each piece with memory in a range, once or for several parts of it that do not overlap. */
  visit(startBytes: number, endBytes: number, visit: Visit): void {
    const visitIfThere = (piece: Piece, from: number, end: number): void => {
      const memory = memoryOf(piece)
      if (memory === null) this.remove(piece)
      else visit(piece, memory, from, end)
    }
    this.#short.visit(startBytes, endBytes, visitIfThere)
    this.#long.visit(startBytes, endBytes, visitIfThere)
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

  #indexOf({ lengthBytes }: Piece): Index {
    return lengthBytes < LONG_FROM_BYTES ? this.#short : this.#long
  }

  check(): void {
    this.#byId.forEach(piece => {
      invariant(this.#indexOf(piece).has(piece), '1: a piece is found where it lies')
    })
  }
}
