/**
 * Where an arena's blocks come from when the heap has no room at hand. Three things can follow: free pages go
 * back to get below the limit, a segment is mapped to get more pages, or one error says why neither helps.
 *
 * The order of these steps keeps three promises. An allocation that fits after purging never fails. Nothing
 * is mapped that the limit does not let us use, nor while a free segment is left. After any throw the arena
 * holds what it held before.
 *
 * A long block that grows stays where it is, and takes the gap behind it. If it has to move, it goes where it
 * finds room again, as much as its length or half of that. So a block that grows step by step is copied a few
 * times, not at each step.
 */
import { invariant } from '../base/assert.js'
import { ArenaError } from '../base/errors.js'
import { type Block, MIB, NONE, type PageCount } from '../base/units.js'
import type { Resizing, SuppliedBlocks } from '../buffers/blocks.js'
import { type BlockHeap, REFUSED_LIMIT } from '../heap/block-heap.js'
import type { Ledger } from '../memory/ledger.js'
import type { PageSource } from '../memory/page-source.js'
import type { PageStretch, Segment } from '../memory/segment.js'
import type { Notices } from '../notices/notices.js'
import type { Releaser } from '../release/releaser.js'
import type { Scavenger } from '../release/scavenger.js'
import type { Limits } from './limits.js'

const { max, min } = Math

/** From this length on, copying a block costs more than giving up kept blocks or mapping another segment. */
const LONG_BYTES = MIB

/** Stands for the reason of a refusal where the heap was not asked yet. */
export const NOT_ASKED = 0

const BOOKS = 'the heap could not grow its books'

/** What holds memory, and what lies in it: for errors. */
export interface Holder {
  readonly kind: 'arena' | 'store'
  readonly name: string
}

export class Supply {
  readonly #holder: Holder
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #scavenger: Scavenger
  readonly #releaser: Releaser
  readonly #buffers: SuppliedBlocks
  readonly #limits: Limits
  readonly #isPrefaulted: boolean
  readonly #ledger: Ledger | undefined
  readonly #notices: Notices

  constructor(
    holder: Holder,
    limits: Limits,
    ledger: Ledger | undefined,
    notices: Notices,
    heap: BlockHeap,
    source: PageSource,
    scavenger: Scavenger,
    releaser: Releaser,
    buffers: SuppliedBlocks,
    isPrefaulted: boolean,
  ) {
    this.#holder = holder
    this.#limits = limits
    this.#isPrefaulted = isPrefaulted
    this.#ledger = ledger
    this.#notices = notices
    this.#heap = heap
    this.#source = source
    this.#scavenger = scavenger
    this.#releaser = releaser
    this.#buffers = buffers
  }

  /**
   * Returns a block of at least `sizeBytes`. `refusal` says why the heap has refused it just now; `NOT_ASKED`
   * if it has not. Throws `ERR_ARENA_LIMIT` or `ERR_ARENA_OUT_OF_MEMORY`.
   */
  obtain(sizeBytes: number, alignBytes: number, refusal: number = NOT_ASKED): Block {
    const buffers = this.#buffers
    // In the worst case every page of the block is clean and has to be committed.
    const needed = max(1, buffers.pagesFor(sizeBytes, alignBytes))
    if (needed > this.#limits.hardPages) throw this.#limitError(sizeBytes, needed, null)
    for (let reason = refusal; ; reason = this.#heap.refusal) {
      // Either a limit is in the way: `Limits.makeRoom` has the order of what is tried. Or no gap is long
      // enough: then pages are added, which the limit must have room for first.
      if (reason === REFUSED_LIMIT) this.#makeRoom(sizeBytes, needed)
      else if (reason !== NOT_ASKED) {
        this.#addPages(sizeBytes, buffers.runPagesFor(sizeBytes, alignBytes), needed)
      }
      const block = buffers.take(sizeBytes, alignBytes)
      if (block !== NONE) return block
    }
  }

  /**
   * Returns a block of at least `sizeBytes` for one that grew and has to move, with room behind it if
   * possible. Throws `ERR_ARENA_LIMIT` or `ERR_ARENA_OUT_OF_MEMORY`.
   */
  obtainGrown(sizeBytes: number, alignBytes: number): Block {
    const { resizing } = this.#buffers
    const block = resizing === null ? NONE : this.#obtainWithRoom(resizing, sizeBytes)
    return block !== NONE ? block : this.obtain(sizeBytes, alignBytes)
  }

  /** Returns a block of whole pages with room behind it, or NONE. */
  #obtainWithRoom(resizing: Resizing, sizeBytes: number): Block {
    const heap = this.#heap
    const pageCount = heap.pagesFor(sizeBytes)
    const takes = () => {
      const block = resizing.takeWithRoom(sizeBytes)
      const isRefused = block === NONE && heap.refusal === REFUSED_LIMIT
      return isRefused && this.#limits.makeRoom(pageCount) ? resizing.takeWithRoom(sizeBytes) : block
    }
    const block = takes()
    if (block !== NONE || heap.refusal === REFUSED_LIMIT) return block
    // A source whose end moves grows its segment by what is needed, not by more.
    if (sizeBytes < LONG_BYTES || this.#source.end !== null) return NONE
    try {
      this.#addPages(sizeBytes, pageCount, pageCount)
    } catch {
      // No segment can be had. There may still be a place without room behind it.
      return NONE
    }
    return takes()
  }

  /**
   * Makes a live block fit `sizeBytes` where it is. Returns false, and changes nothing, if it has to move.
   */
  resize(resizing: Resizing, block: Block, sizeBytes: number): boolean {
    const heap = this.#heap
    for (;;) {
      if (resizing.resize(block, sizeBytes)) return true
      if (heap.refusal !== REFUSED_LIMIT) {
        if (sizeBytes < LONG_BYTES || !this.#makeRoomBehind(block, sizeBytes)) return false
        continue
      }
      if (!this.#limits.makeRoom(heap.pagesFor(sizeBytes) - heap.pagesFor(heap.sizeOf(block)))) return false
    }
  }

  /** Tries to make room behind a long block. Returns whether there may be room now. */
  #makeRoomBehind(block: Block, sizeBytes: number): boolean {
    const heap = this.#heap
    // The memory behind the block may be a kept block, which `flush` makes a gap.
    if (heap.hasKept) {
      heap.flush()
      return true
    }
    const missing = this.#source.end === null ? 0 : heap.missingBehind(block, sizeBytes)
    if (missing === 0) return false
    try {
      this.#addPages(sizeBytes, missing, missing)
    } catch {
      // No pages can be had. The block moves, or cannot grow.
      return false
    }
    return true
  }

  /** Makes room below the limits, or throws the refusal. */
  #makeRoom(sizeBytes: number, needed: PageCount): void {
    if (!this.#limits.makeRoom(needed)) throw this.#limitError(sizeBytes, needed, this.#scavenger.failure)
  }

  /**
   * Adds a segment, after all segments that are free and too short were given up. Throws if the limit would
   * not let the block use the new segment. Adds nothing if blocks that left the quarantine may have made
   * room.
   */
  #addPages(sizeBytes: number, pageCount: PageCount, needed: PageCount): void {
    const heap = this.#heap
    this.#releaser.dropUnmanaged()
    this.#releaser.giveUpFreeSegments()
    while (heap.committedPages + needed > heap.limitPages) {
      const { liveBlocks } = heap
      this.#makeRoom(sizeBytes, needed)
      // Blocks that left the quarantine, or a pool, may have left a gap that fits.
      if (heap.liveBlocks !== liveBlocks) return
    }
    const added = this.#reserve(sizeBytes, pageCount)
    try {
      this.#buffers.addSegment(this.#source.segmentOf(added.firstPage))
      heap.addRange(added.firstPage, added.pageCount)
    } catch (cause) {
      // The books could not grow: V8 has no memory for them. Nothing was added. If this was interrupted, the
      // source may have more than the heap.
      this.#releaser.dropUnmanaged()
      throw this.#outOfMemory(sizeBytes, BOOKS, cause)
    }
    if (this.#isPrefaulted) this.#prefault(sizeBytes, this.#source.segmentOf(added.firstPage))
    this.#notices.grew(added.pageCount * heap.pageBytes, heap.managedPages * heap.pageBytes)
  }

  /**
   * Makes a new segment resident, as far as the limits allow. If that fails, the segment is given up again.
   */
  #prefault(sizeBytes: number, segment: Segment): void {
    const heap = this.#heap
    const { firstPage } = segment
    this.#limits.growShare(segment.pageCount)
    const pageCount = min(segment.pageCount, heap.limitPages - heap.committedPages)
    if (pageCount <= 0) return
    try {
      this.#source.populate(firstPage, pageCount)
    } catch (cause) {
      this.#buffers.removeSegment(segment)
      heap.removeRange(firstPage, segment.pageCount)
      this.#source.retire(segment)
      throw this.#outOfMemory(sizeBytes, 'the kernel could not make its pages resident', cause)
    }
    invariant(heap.markResident(firstPage, pageCount), 'no more is prefaulted than the limit allows')
  }

  #reserve(sizeBytes: number, pageCount: PageCount): PageStretch {
    // An end must not move under a buffer that other code took away and uses.
    if (this.#source.end !== null) this.#buffers.noticeTaken()
    try {
      // A prefaulted segment gets no room for growth: every page of it would be resident.
      return this.#source.reserve(pageCount, !this.#isPrefaulted)
    } catch (cause) {
      throw this.#outOfMemory(sizeBytes, `the ${this.#holder.kind} got no more pages`, cause)
    }
  }

  #outOfMemory(sizeBytes: number, what: string, cause: unknown): ArenaError {
    const held = this.#heap.committedPages * this.#heap.pageBytes
    return outOfMemory(
      this.#holder,
      sizeBytes,
      `${what}; the ${this.#holder.kind} holds ${held} bytes`,
      cause,
    )
  }

  #limitError(sizeBytes: number, needed: PageCount, failure: unknown): ArenaError {
    const { pageBytes, usedPages, committedPages } = this.#heap
    const isHard = this.#limits.isHard(needed) || this.#ledger === undefined
    const limitBytes = isHard ? this.#limits.limitBytes : (this.#ledger?.limitBytes ?? 0)
    this.#notices.refused(isHard ? 'arena' : 'process', limitBytes, committedPages * pageBytes)
    const { kind, name } = this.#holder
    const where = isHard
      ? `limitBytes is ${limitBytes}, and pages with live ${contentsOf(this.#holder)} take ${usedPages * pageBytes} of it`
      : `setProcessLimit() allows ${limitBytes} bytes for all arenas. They hold ${this.#ledger?.takenBytes}, ` +
        `this ${kind} ${committedPages * pageBytes}`
    return new ArenaError(
      'ERR_ARENA_LIMIT',
      `${kind} '${name}': ${sizeBytes} bytes do not fit: ${where}. Free ${contentsOf(this.#holder)}, or raise the limit`,
      failure === null ? undefined : { cause: failure },
    )
  }
}

/** Makes the error of an allocation for which the kernel, or the runtime, had no memory. */
export function outOfMemory(holder: Holder, sizeBytes: number, what: string, cause: unknown): ArenaError {
  return new ArenaError(
    'ERR_ARENA_OUT_OF_MEMORY',
    `${holder.kind} '${holder.name}': no memory for ${sizeBytes} bytes: ${what}; cause says why. ` +
      `Free ${contentsOf(holder)}, or give the process more memory`,
    { cause },
  )
}

function contentsOf({ kind }: Holder): string {
  return kind === 'store' ? 'records' : 'blocks'
}
