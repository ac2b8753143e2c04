/**
 * Where an arena's blocks come from when the heap has none at hand: give back what is free to get below the limit, map a
 * segment to get more pages, or say in one error why neither helps.
 *
 * The order keeps promises cheap to state: an allocation that fits after purging never fails, nothing is mapped that the
 * limit would not let us use, and after any throw the arena holds what it held before.
 */
import { ArenaError } from './base/errors.js'
import { type Block, NONE, type PageCount } from './base/units.js'
import type { BlockBuffers } from './buffers/block-buffers.js'
import { type BlockHeap, REFUSED_BOOKS, REFUSED_LIMIT } from './heap/block-heap.js'
import type { PageSource } from './memory/page-source.js'
import type { PageStretch } from './memory/segment.js'
import type { Scavenger } from './release/scavenger.js'

/** Alignment that every block has anyway. */
export const ANY_ALIGN = 16

const BOOKS = 'the heap could not grow its books'

export class Supply {
  readonly #arenaName: string
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #scavenger: Scavenger
  readonly #buffers: BlockBuffers
  readonly #limitBytes: number

  constructor(
    arenaName: string,
    limitBytes: number,
    heap: BlockHeap,
    source: PageSource,
    scavenger: Scavenger,
    buffers: BlockBuffers,
  ) {
    this.#arenaName = arenaName
    this.#limitBytes = limitBytes
    this.#heap = heap
    this.#source = source
    this.#scavenger = scavenger
    this.#buffers = buffers
    heap.limitPages = Math.min(Number.MAX_SAFE_INTEGER, Math.floor(limitBytes / heap.pageBytes))
  }

  /** A block of at least `sizeBytes`. Throws `ERR_ARENA_LIMIT` or `ERR_ARENA_OUT_OF_MEMORY`. */
  obtain(sizeBytes: number, alignBytes: number): Block {
    const heap = this.#heap
    if (heap.pagesFor(sizeBytes) > heap.limitPages) throw this.#limitError(sizeBytes, null)
    let hasPurged = false
    for (;;) {
      const block = this.#allocate(sizeBytes, alignBytes)
      if (block !== NONE) return block
      if (heap.refusal === REFUSED_BOOKS) throw this.#outOfMemory(sizeBytes, BOOKS, heap.failure)
      if (heap.refusal !== REFUSED_LIMIT) {
        this.#makeRoom(sizeBytes, alignBytes)
      } else if (!hasPurged) {
        this.#scavenger.purgeAll()
        hasPurged = true
      } else {
        throw this.#limitError(sizeBytes, this.#scavenger.failure)
      }
    }
  }

  /** Makes a live block fit `sizeBytes` where it is. Returns false, and changes nothing, where it has to move. */
  resize(block: Block, sizeBytes: number): boolean {
    if (this.#heap.resize(block, sizeBytes)) return true
    if (this.#heap.refusal !== REFUSED_LIMIT) return false
    this.#scavenger.purgeAll()
    return this.#heap.resize(block, sizeBytes)
  }

  #allocate(sizeBytes: number, alignBytes: number): Block {
    return alignBytes === ANY_ALIGN
      ? this.#heap.allocate(sizeBytes)
      : this.#heap.allocateAligned(sizeBytes, alignBytes)
  }

  /** Adds a segment, unless the limit would not let the block use it. */
  #makeRoom(sizeBytes: number, alignBytes: number): void {
    const heap = this.#heap
    // In a new segment every page of the block is clean and would have to be committed.
    const needed = Math.max(1, heap.pagesFor(sizeBytes))
    if (heap.committedPages + needed > heap.limitPages) {
      this.#scavenger.purgeAll()
      if (heap.committedPages + needed > heap.limitPages)
        throw this.#limitError(sizeBytes, this.#scavenger.failure)
    }
    const pageCount = Math.max(heap.runPagesFor(sizeBytes), heap.runPagesFor(alignBytes))
    const added = this.#reserve(sizeBytes, pageCount)
    try {
      this.#buffers.addSegment(this.#source.segmentOf(added.firstPage))
      heap.addRange(added.firstPage, added.pageCount)
    } catch (cause) {
      // The books could not grow: V8 has no memory for them. Nothing was added.
      this.#source.unreserve(added)
      throw this.#outOfMemory(sizeBytes, BOOKS, cause)
    }
  }

  #reserve(sizeBytes: number, pageCount: PageCount): PageStretch {
    // An end must not move under a buffer that is in use where we cannot see it.
    if (this.#source.end !== null) this.#buffers.noticeTaken()
    try {
      return this.#source.reserve(pageCount)
    } catch (cause) {
      throw this.#outOfMemory(sizeBytes, 'there are no more pages to be had', cause)
    }
  }

  #outOfMemory(sizeBytes: number, what: string, cause: unknown): ArenaError {
    const held = this.#heap.committedPages * this.#heap.pageBytes
    return outOfMemory(this.#arenaName, sizeBytes, `${what}; the arena holds ${held} bytes`, cause)
  }

  #limitError(sizeBytes: number, failure: unknown): ArenaError {
    const used = this.#heap.usedPages * this.#heap.pageBytes
    const message =
      `arena '${this.#arenaName}': ${sizeBytes} bytes do not fit: limitBytes is ${this.#limitBytes}, and pages with ` +
      `live blocks take ${used} of it. Free blocks, or raise the limit`
    return new ArenaError('ERR_ARENA_LIMIT', message, failure === null ? undefined : { cause: failure })
  }
}

/** The kernel, or the runtime, had no memory for a block. */
export function outOfMemory(arenaName: string, sizeBytes: number, what: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_OUT_OF_MEMORY',
    `arena '${arenaName}': no memory for ${sizeBytes} bytes: ${what}`,
    { cause },
  )
}
