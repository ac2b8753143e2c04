/**
 * `Heap`: the bookkeeping alone, over any linear space of a given capacity, such as a GPU buffer, a
 * `SharedArrayBuffer` or a file. The heap decides which bytes a block has. The space belongs to its user, and
 * the heap never touches it.
 *
 * The books come to know the space step by step, as it is needed. So their memory follows use, not capacity.
 *
 * The books below count in granules of 16 bytes. If a granule is longer, sizes are divided by its length in
 * such granules on the way down, and multiplied on the way up. Only granules of 16 bytes take the warm path.
 */
import { ArenaError, invalidArgType, outOfRange, show } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import { BlockHeap, REFUSED_SPACE } from './block-heap.js'
import { Compaction } from './compaction.js'
import {
  type HeapAllocateOptions,
  type HeapCompactOptions,
  type HeapMove,
  type HeapOptions,
  type HeapStats,
  resolveAlign,
  resolveCompactOptions,
  resolveHeapOptions,
} from './heap-options.js'
import { LengthWriter, readSaved, type SavedHeap, sealed } from './saved-heap.js'

const { ceil, max, min } = Math

/**
 * The space becomes known in steps of 1/16 of the known part, but at least this many pages. Kept blocks are
 * given up before each step, so finer steps take less space, down to 1/16. docs/heap.md has the figures.
 */
const MIN_STEP_PAGES = 64
const STEP_SHIFT = 4

/**
 * Allocates blocks of a linear space of `capacityBytes`. Every operation is O(1) unless it says otherwise.
 * Nothing is stored in the space. Freed blocks are kept for a while for the next request of their size;
 * `stats` and `purge` count them as free.
 *
 * ```ts
 * const heap = new Heap({ capacityBytes: 64 * 2 ** 20 })
 * const block = heap.allocate(100)
 * if (block !== -1) upload(gpuBuffer, heap.offsetOf(block), bytes)
 * heap.free(block)
 * ```
 */
export class Heap extends MadeOf<Required<HeapOptions>> {
  /** Bytes of the space that the heap manages: the option `capacityBytes`. */
  readonly capacityBytes = partsOf(this).capacityBytes
  /** Bytes in a page: the option `pageBytes`, or its default. */
  readonly pageBytes = partsOf(this).pageBytes
  /** Bytes in a granule: the option `granuleBytes`, or its default. Offsets are multiples of it. */
  readonly granuleBytes = partsOf(this).granuleBytes
  readonly #blocks = new BlockHeap((this.pageBytes / this.granuleBytes) * GRANULE_BYTES)
  readonly #capacityPages = this.capacityBytes / this.pageBytes
  /** Bytes of the space for each byte that the books below count. */
  readonly #scale = this.granuleBytes / GRANULE_BYTES
  /** Whether a callback of `purge` or `compact` may be running. */
  #isBusy = false
  /**
   * Whether the books take a size in bytes as it is: granules are 16 bytes long, and the heap is not busy.
   */
  #takesBytes = this.granuleBytes === GRANULE_BYTES
  /** Whether `free` has more to look at than the books: the heap is busy, or a move is open. */
  #freesSlowly = false
  /** The moves of `compact`; undefined before its first call. */
  #compaction: Compaction | undefined

  /**
   * Makes an empty heap. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for
   * options that `HeapOptions` does not allow.
   */
  constructor(options: HeapOptions) {
    super(resolveHeapOptions(options))
  }

  /**
   * Makes a heap from the saved books of another one. It has the same capacity, the same live blocks under
   * the same integers, and the same dirty pages. Later blocks may lie elsewhere than in the other heap.
   * `saved` is what `toJSON` returned, or what `JSON.parse` makes of its text; further keys in it do no harm.
   * O(n) in blocks and gaps.
   *
   * Throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` if `saved` is damaged, of another version, or
   * describes an impossible heap. The checksum detects damage, not forgery. Forged books that are possible
   * make a heap like any other.
   *
   * ```ts
   * writeFileSync('books.json', JSON.stringify(heap))
   * const again = Heap.from(JSON.parse(readFileSync('books.json', 'utf8')))
   * ```
   */
  static from(saved: SavedHeap): Heap {
    const { made, granules, pages, ...peaks } = readSaved(saved, options => {
      const heap = new Heap(options)
      return { heap, wholeFromGranules: heap.#blocks.wholeFromGranules }
    })
    made.heap.#blocks.restore(granules, pages, peaks)
    return made.heap
  }

  /**
   * Returns the books as plain data, for `Heap.from`: some 3 bytes for each live block, up to 14 for a long
   * one. What the blocks hold is not in it. Kept blocks come free. O(n) in blocks and gaps. Throws
   * `ERR_ARENA_BUSY` inside the callback of `purge` or `compact`.
   */
  toJSON(): SavedHeap {
    if (this.#isBusy) throw busy('toJSON')
    const { capacityBytes, pageBytes, granuleBytes } = this
    const blocks = new LengthWriter()
    const dirty = new LengthWriter()
    this.#blocks.save(
      (gap, length) => {
        blocks.write(gap)
        blocks.write(length)
      },
      (others, length) => {
        dirty.write(others)
        dirty.write(length)
      },
    )
    return sealed({
      capacityBytes,
      pageBytes,
      granuleBytes,
      peakUsedBytes: this.#blocks.peakUsedPages * pageBytes,
      peakCommittedBytes: this.#blocks.peakCommittedPages * pageBytes,
      blocks: blocks.toString(),
      dirty: dirty.toString(),
    })
  }

  /**
   * Returns a block of at least `sizeBytes`, or -1 if nothing fits. A block is an opaque integer from 0 to
   * 2^31 - 1, for `offsetOf`, `sizeOf` and `free`. A size of 0 gives a block of the smallest size. With
   * `align`, the offset of the block is a multiple of that many bytes. Such a block is always a new one, so
   * it takes some ten times as long as a size that was freed lately.
   *
   * Throws `ERR_INVALID_ARG_TYPE` if `sizeBytes` or `align` is not a number. Throws `ERR_OUT_OF_RANGE` if
   * `sizeBytes` is negative or not a safe integer, or if `HeapAllocateOptions` does not allow `align`. Throws
   * `ERR_INVALID_ARG_VALUE` for an unknown option.
   */
  allocate(sizeBytes: number, options?: HeapAllocateOptions): Block {
    const isPlain = typeof sizeBytes === 'number' && (sizeBytes | 0) === sizeBytes && sizeBytes >= 0
    if (isPlain && options === undefined && this.#takesBytes) {
      const block = this.#blocks.allocate(sizeBytes)
      if (block >= 0) return block
    }
    // `| 0` says that the result is an int32: see docs/v8.md.
    return this.#allocateSlow(sizeBytes, options) | 0
  }

  /**
   * Returns the byte offset of `block` in the space, a multiple of `granuleBytes`. It must come from `allocate`:
   * this is not checked.
   */
  offsetOf(block: Block): number {
    return block * this.granuleBytes
  }

  /**
   * Returns the usable bytes of `block`, at least those that were asked for. Throws `ERR_ARENA_DOUBLE_FREE` if
   * it is not a live block of this heap.
   */
  sizeOf(block: Block): number {
    if (!isGranule(block) || !this.#blocks.isLive(block)) throw notLive('sizeOf', block)
    return this.#blocks.sizeOf(block) * this.#scale
  }

  /**
   * Ends `block`, and the move of `compact` that it belongs to, if any. Throws `ERR_ARENA_DOUBLE_FREE`, and changes
   * nothing, if it is not a live block of this heap: it was freed before, lies inside a block, or was never handed out.
   * Throws `ERR_ARENA_BUSY` inside the callback of `purge` or `compact`.
   */
  free(block: Block): void {
    // A negative number passes here, but no live block starts there: `free` of the books returns false.
    const isInteger = typeof block === 'number' && (block | 0) === block
    if (!isInteger || this.#freesSlowly || !this.#blocks.free(block)) this.#freeSlow(block)
  }

  /** Ends a block of an open move, or any other one. Throws the error that says why a block cannot be freed. */
  #freeSlow(block: unknown): void {
    if (this.#isBusy) throw busy('free')
    const isFreed = isGranule(block) && (this.#compaction?.end(block) || this.#blocks.free(block))
    if (!isFreed) throw notLive('free', block)
    this.#setBusy(false)
  }

  /**
   * Makes `block` hold at least `sizeBytes` where it is. It shrinks, or grows over free space behind it.
   * Returns false, and changes nothing, if it would have to move: then `allocate` another block, copy, and
   * `free` this one.
   *
   * Throws `ERR_ARENA_DOUBLE_FREE` for a block that is not live, `ERR_ARENA_BUSY` inside the callback of
   * `purge` or `compact`, and for a bad size the errors that `allocate` throws.
   */
  resize(block: Block, sizeBytes: number): boolean {
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) throw badSize(sizeBytes)
    if (this.#isBusy) throw busy('resize')
    if (!isGranule(block) || !this.#blocks.isLive(block)) throw notLive('resize', block)
    return sizeBytes <= this.capacityBytes && this.#blocks.resize(block, ceil(sizeBytes / this.#scale))
  }

  /**
   * Calls `purge` with each stretch of dirty bytes, so that the owner of the space can give them back. After
   * each call that returns, the stretch counts as clean. Returns the bytes purged. If the callback throws,
   * its stretch stays dirty. Inside the callback `allocate`, `free`, `resize`, `purge`, `compact`
   * and `toJSON` throw `ERR_ARENA_BUSY`.
   *
   * For a file, punch a hole at the stretch; for shared memory, advise the kernel. A GPU buffer has no pages
   * to give back: do not call `purge` for one, and ignore its dirty bytes.
   */
  purge(purge: (offsetBytes: number, lengthBytes: number) => void): number {
    if (this.#isBusy) throw busy('purge')
    const blocks = this.#blocks
    let purgedPages = 0
    blocks.flush()
    this.#setBusy(true)
    try {
      for (let page = blocks.nextDirty(0, false); page !== NONE; ) {
        const end = blocks.dirtyEnd(page, this.#capacityPages, false)
        purge(page * this.pageBytes, (end - page) * this.pageBytes)
        blocks.markPurged(page, end - page)
        purgedPages += end - page
        page = blocks.nextDirty(end, false)
      }
    } finally {
      this.#setBusy(false)
    }
    return purgedPages * this.pageBytes
  }

  /**
   * Returns the next moves that make pages free: blocks of sparse pages go down into gaps between others. It changes
   * no byte of the space. For each move, copy `sizeBytes` from `fromOffset` to `toOffset`, name `to` where you named
   * `from`, and `free(from)`; or give the move up by `free(to)`. Both blocks are live until then. An empty array
   * says that there is nothing more to gain for now. Blocks of more than 4096 granules stay.
   *
   * `to` is a multiple of `granuleBytes` only: `isPinned` must return true for a block that needs more alignment.
   *
   * Every few calls it begins a *pass* and reads all blocks and gaps: O(n). Kept blocks come free then. Throws
   * `ERR_ARENA_BUSY` inside the callback of `purge` or `compact`, and for bad options the errors that the
   * constructor throws.
   *
   * ```ts
   * for (let moves = heap.compact(); moves.length > 0; moves = heap.compact()) {
   *   for (const { from, to, fromOffset, toOffset, sizeBytes } of moves) {
   *     memory.copyWithin(toOffset, fromOffset, fromOffset + sizeBytes)
   *     records.get(from).moveTo(to)
   *     heap.free(from)
   *   }
   * }
   * ```
   */
  compact(options?: HeapCompactOptions): HeapMove[] {
    const { maxBytes, ...limits } = resolveCompactOptions(options)
    if (this.#isBusy) throw busy('compact')
    this.#compaction ??= new Compaction(this.#blocks)
    const { granuleBytes } = this
    this.#setBusy(true)
    try {
      const moves = this.#compaction.next({ ...limits, maxGranules: maxBytes / granuleBytes })
      return moves.map(({ from, to, size }) => ({
        from,
        to,
        fromOffset: from * granuleBytes,
        toOffset: to * granuleBytes,
        sizeBytes: size * granuleBytes,
      }))
    } finally {
      this.#setBusy(false)
    }
  }

  /** Sets what the methods test first: whether a callback may be running, and what follows from it. */
  #setBusy(isBusy: boolean): void {
    this.#isBusy = isBusy
    this.#takesBytes = !isBusy && this.#scale === 1
    this.#freesSlowly = isBusy || this.#compaction?.hasOpen === true
  }

  /**
   * Returns what is in use and what is free. Kept blocks come free first. Reads all gaps that are nearly as
   * long as the longest. If all gaps are shorter than 256 granules, it reads one byte for each 256 granules.
   */
  stats(): HeapStats {
    const { pageBytes } = this
    const blocks = this.#blocks
    // This flushes, also inside a callback. `purge` has flushed before, so nothing is kept there; and `compact` looks at
    // live blocks only.
    const longestFreeBytes = blocks.longestFreeBytes(this.#capacityPages) * this.#scale
    return {
      capacityBytes: this.capacityBytes,
      liveBlocks: blocks.liveBlocks,
      usedBytes: blocks.usedPages * pageBytes,
      committedBytes: blocks.committedPages * pageBytes,
      dirtyBytes: blocks.dirtyPages * pageBytes,
      peakUsedBytes: blocks.peakUsedPages * pageBytes,
      peakCommittedBytes: blocks.peakCommittedPages * pageBytes,
      longestFreeBytes,
      metadataBytes: blocks.metadataBytes,
    }
  }

  /**
   * For `util.inspect` and `console.log`: the figures of `stats` on one line.
   *
   * @internal
   */
  [Symbol.for('nodejs.util.inspect.custom')](
    depth: number,
    options: { stylize(text: string, style: 'special'): string },
    show: (value: unknown, options: object) => string,
  ): string {
    if (depth < 0) return options.stylize('[Heap]', 'special')
    return `Heap ${show(this.stats(), { ...options, depth, breakLength: Number.POSITIVE_INFINITY })}`
  }

  /** Throws an `Error` that names the first broken invariant of the books. Reads all books. For tests. */
  check(): void {
    this.#blocks.check()
  }

  /**
   * Checks the arguments and allocates a block. While only space is missing, it makes more of the space known
   * to the books and tries again.
   */
  #allocateSlow(sizeBytes: number, options: HeapAllocateOptions | undefined): Block {
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) throw badSize(sizeBytes)
    const align = resolveAlign(options, this.granuleBytes)
    if (this.#isBusy) throw busy('allocate')
    if (sizeBytes > this.capacityBytes) return NONE
    const blocks = this.#blocks
    const size = ceil(sizeBytes / this.#scale)
    const alignBytes = max(GRANULE_BYTES, align / this.#scale)
    let block = this.#take(size, alignBytes)
    while (block === NONE && blocks.refusal === REFUSED_SPACE && blocks.managedPages < this.#capacityPages) {
      const known: number = blocks.managedPages
      const wanted = max(blocks.runPagesFor(size, alignBytes), MIN_STEP_PAGES, known >>> STEP_SHIFT)
      blocks.addRange(known, min(wanted, this.#capacityPages - known))
      block = this.#take(size, alignBytes)
    }
    return block
  }

  /** Allocates a block. `size` and `alignBytes` are in bytes of the books. */
  #take(size: number, alignBytes: number): Block {
    return alignBytes === GRANULE_BYTES
      ? this.#blocks.allocate(size)
      : this.#blocks.allocateAligned(size, alignBytes)
  }
}

function isGranule(value: unknown): value is number {
  return typeof value === 'number' && (value | 0) === value && value >= 0
}

function badSize(sizeBytes: unknown): Error {
  return typeof sizeBytes === 'number'
    ? outOfRange('sizeBytes', 'an integer from 0 to 2^53 - 1', sizeBytes)
    : invalidArgType('sizeBytes', 'of type number', sizeBytes)
}

function busy(method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_BUSY',
    `Heap.${method}: not allowed inside the callback of purge() or compact(). Call it after that has returned`,
  )
}

function notLive(method: string, block: unknown): Error {
  const message = `Heap.${method}: ${show(block)} is not a live block of this heap. It was freed before, or this heap never returned it`
  return new ArenaError('ERR_ARENA_DOUBLE_FREE', message)
}
