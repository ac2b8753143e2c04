/**
 * `Heap`: the bookkeeping alone, over any linear space of a given capacity. A GPU buffer, a `SharedArrayBuffer`, a
 * file: the heap says which bytes a block has, somebody else owns them.
 *
 * The space is made known to the books step by step as it is needed, so that metadata follows use, not capacity.
 *
 * The books below count in granules of 16 bytes. Where a granule is longer, all sizes are divided by how much longer before
 * they go down, and multiplied on the way up; only granules of 16 bytes take the warm path.
 */
import { ArenaError, invalidArgType, outOfRange, show } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import { BlockHeap, REFUSED_SPACE } from './block-heap.js'
import {
  type HeapAllocateOptions,
  type HeapOptions,
  type HeapStats,
  resolveAlign,
  resolveHeapOptions,
} from './heap-options.js'
import { LengthWriter, readSaved, type SavedHeap, sealed } from './saved-heap.js'

const { ceil, max, min } = Math

/**
 * Space becomes known by 1/16 at a time, but no fewer pages. Before each step what is kept is given up, so with finer ones less
 * is taken: utilisation is .97 of the best C allocator, mean of twelve replays, and .961 with 1/8. Finer still gains nothing.
 */
const MIN_STEP_PAGES = 64
const STEP_SHIFT = 4

/**
 * Allocates blocks of a linear space of `capacityBytes`. Every operation is O(1) but for those that say otherwise; nothing is
 * stored in the space. Blocks that were freed are kept for a while for the next of their size; `stats` and `purge` count
 * them as free.
 *
 * ```ts
 * const heap = new Heap({ capacityBytes: 64 * 2 ** 20 })
 * const block = heap.allocate(100)
 * if (block !== -1) upload(gpuBuffer, heap.offsetOf(block), bytes)
 * heap.free(block)
 * ```
 */
export class Heap extends MadeOf<Required<HeapOptions>> {
  readonly capacityBytes = partsOf(this).capacityBytes
  readonly pageBytes = partsOf(this).pageBytes
  readonly granuleBytes = partsOf(this).granuleBytes
  readonly #blocks = new BlockHeap((this.pageBytes / this.granuleBytes) * GRANULE_BYTES)
  readonly #capacityPages = this.capacityBytes / this.pageBytes
  /** Bytes for each that the books below count. */
  readonly #scale = this.granuleBytes / GRANULE_BYTES
  /** Inside the callback of `purge`. */
  #isPurging = false
  /** Whether a size may go to the books as it is, now. */
  #takesBytes = this.granuleBytes === GRANULE_BYTES

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for options outside what `HeapOptions` says. */
  constructor(options: HeapOptions) {
    super(resolveHeapOptions(options))
  }

  /**
   * A heap with the books of another one: the same capacity, the same live blocks under the same integers, the same dirty
   * pages. What is allocated from here on may lie elsewhere than it would there. `saved` is what `toJSON` gave, or what
   * `JSON.parse` makes of its text; other keys in it do no harm. O(n) in blocks and gaps.
   *
   * Throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` where it is damaged, of another version, or says what no heap can
   * be like. The checksum in it tells damage, not forgery; forged books are a heap like any other.
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
   * The books as plain data, for `Heap.from`: some 3 bytes for each live block, up to 14 for long ones. They say nothing of
   * what the blocks hold.
   * Blocks that are kept for the next of their size come free. O(n) in blocks and gaps. Throws `ERR_ARENA_BUSY` inside the
   * callback of `purge`.
   */
  toJSON(): SavedHeap {
    if (this.#isPurging) throw busy('toJSON')
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
   * A block of at least `sizeBytes`, or -1 when nothing fits: an opaque integer from 0 to 2^31 - 1, for `offsetOf`,
   * `sizeOf` and `free`. A size of 0 gives a block of the smallest size. `align` makes its offset a multiple of that many bytes; such
   * a block is always a new one, so it takes some ten times as long as one of a size that was freed lately.
   *
   * Throws `ERR_INVALID_ARG_TYPE` where `sizeBytes` or `align` is no number, `ERR_OUT_OF_RANGE` where `sizeBytes` is negative or no
   * safe integer, or `align` no power of two from 16 to 64 KiB, `ERR_INVALID_ARG_VALUE` for an option that does not exist.
   */
  allocate(sizeBytes: number, options?: HeapAllocateOptions): Block {
    const isPlain = typeof sizeBytes === 'number' && (sizeBytes | 0) === sizeBytes && sizeBytes >= 0
    if (isPlain && options === undefined && this.#takesBytes) {
      const block = this.#blocks.allocate(sizeBytes)
      if (block >= 0) return block
    }
    // The result is an int32: see docs/v8.md.
    return this.#allocateSlow(sizeBytes, options) | 0
  }

  /** Byte offset of a block in the space, a multiple of `granuleBytes`. `block` must come from `allocate`. */
  offsetOf(block: Block): number {
    return block * this.granuleBytes
  }

  /** Usable bytes of a live block, at least what was asked. Throws `ERR_ARENA_DOUBLE_FREE` for one that is not live. */
  sizeOf(block: Block): number {
    if (!isGranule(block) || !this.#blocks.isLive(block)) throw notLive('sizeOf', block)
    return this.#blocks.sizeOf(block) * this.#scale
  }

  /**
   * Ends a block. Throws `ERR_ARENA_DOUBLE_FREE` for any value that is not a live block of this heap (freed before,
   * inside a block, never handed out); nothing has changed then.
   */
  free(block: Block): void {
    // A negative number is no granule of the map either.
    const isInteger = typeof block === 'number' && (block | 0) === block
    if (!isInteger || this.#isPurging || !this.#blocks.free(block)) this.#refuseFree(block)
  }

  #refuseFree(block: unknown): never {
    throw this.#isPurging ? busy('free') : notLive('free', block)
  }

  /**
   * Makes a live block hold at least `sizeBytes` where it is: it shrinks, or grows over free space behind it. Returns false,
   * and changes nothing, where it would have to move: `allocate` another, copy, and `free` this one.
   *
   * Throws `ERR_ARENA_DOUBLE_FREE` for a block that is not live, and what `allocate` throws for a bad size.
   */
  resize(block: Block, sizeBytes: number): boolean {
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) throw badSize(sizeBytes)
    if (this.#isPurging) throw busy('resize')
    if (!isGranule(block) || !this.#blocks.isLive(block)) throw notLive('resize', block)
    return sizeBytes <= this.capacityBytes && this.#blocks.resize(block, ceil(sizeBytes / this.#scale))
  }

  /**
   * Calls `purge` with each stretch of dirty bytes, so that the owner of the space can give them back, and counts them
   * as clean after each call that returns. Returns the bytes purged. If `purge` throws, that stretch stays dirty. Inside
   * the callback `allocate`, `free`, `resize`, `purge` and `toJSON` throw `ERR_ARENA_BUSY`.
   *
   * A file has holes punched there, shared memory is advised. A GPU buffer has no pages to give back: never purge, and dirty bytes
   * mean nothing.
   */
  purge(purge: (offsetBytes: number, lengthBytes: number) => void): number {
    if (this.#isPurging) throw busy('purge')
    const blocks = this.#blocks
    let purgedPages = 0
    blocks.flush()
    this.#isPurging = true
    this.#takesBytes = false
    try {
      for (let page = blocks.nextDirty(0, false); page !== NONE; ) {
        const end = blocks.dirtyEnd(page, this.#capacityPages, false)
        purge(page * this.pageBytes, (end - page) * this.pageBytes)
        blocks.markPurged(page, end - page)
        purgedPages += end - page
        page = blocks.nextDirty(end, false)
      }
    } finally {
      this.#isPurging = false
      this.#takesBytes = this.#scale === 1
    }
    return purgedPages * this.pageBytes
  }

  /**
   * What is in use and what is free. Blocks that are kept for the next of their size come free first. Reads all gaps of about the
   * longest length; where the space is full but for gaps of less than 256 granules, a byte for each 256 granules.
   */
  stats(): HeapStats {
    const { pageBytes } = this
    const blocks = this.#blocks
    // Inside `purge` nothing is kept.
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
   * For `util.inspect` and `console.log`: what `stats` says, on one line.
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

  /** Throws an `Error` that names the first broken invariant of the books. Walks everything: for tests. */
  check(): void {
    this.#blocks.check()
  }

  /** Checks the arguments, makes more of the space known to the books where that is all that is missing, and tries again. */
  #allocateSlow(sizeBytes: number, options: HeapAllocateOptions | undefined): Block {
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) throw badSize(sizeBytes)
    const align = resolveAlign(options, this.granuleBytes)
    if (this.#isPurging) throw busy('allocate')
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

  /** In the units of the books. */
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
    `Heap.${method}() inside the callback of purge(): call it afterwards`,
  )
}

function notLive(method: string, block: unknown): Error {
  const message = `Heap.${method}: ${show(block)} is not a live block of this heap; it was freed already or never handed out`
  return new ArenaError('ERR_ARENA_DOUBLE_FREE', message)
}
