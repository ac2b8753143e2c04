/** Options and figures of a `Heap`. Owns the limits of its options. */
import { requireFunction, requireNumber } from '../base/arguments.js'
import { invalidArgType, outOfRange } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { type Block, GRANULE_BYTES, isPowerOfTwo, KIB, MAX_SPACE_BYTES } from '../base/units.js'

/** Options of `new Heap`. */
export interface HeapOptions {
  /**
   * Bytes to manage: a multiple of `pageBytes`, at most 2^31 granules. That is 32 GiB with
   * granules of 16 bytes, and 128 TiB with granules of 64 KiB.
   */
  capacityBytes: number
  /**
   * Bytes in a page. Pages are the unit in which space counts as used, dirty or clean, and in which `purge`
   * gets it. A power of two from 256 to 4096 granules. Default 256 granules: 4 KiB with granules of 16 bytes.
   */
  pageBytes?: number
  /**
   * Bytes in a granule. Sizes are rounded up to whole granules, and offsets are multiples of one. A power of
   * two from 16 to 64 KiB. Default 16. The books take 2.2 % of the space with granules of 16 bytes, and half
   * of that with each doubling.
   */
  granuleBytes?: number
}

/** Options of `Heap.allocate`. */
export interface HeapAllocateOptions {
  /**
   * The offset of the block is a multiple of this many bytes. A power of two from 16 to 64 KiB; with granules
   * longer than 16 bytes, up to 4096 granules. If the space is memory or a part of a file, its start must be
   * aligned too.
   */
  align?: number
}

/** Options of `Heap.compact`. */
export interface HeapCompactOptions {
  /** The most moves that one call returns: an integer from 1 on, or Infinity. Default 1000. */
  maxMoves?: number
  /** The most bytes that the moves of one call have together; one move may have more. Default Infinity. */
  maxBytes?: number
  /**
   * How much must come free to move a byte: pages of which less would come free, for each page of bytes moved, stay as
   * they are. A number above 0. Default 1/3: a page is emptied if it is up to three quarters full.
   */
  gain?: number
  /**
   * Whether a block must stay where it is. It is asked of every block at the start of a pass, and again before a move.
   * Inside it the methods that change the heap throw `ERR_ARENA_BUSY`. If it throws, `compact` throws that, and
   * no block has moved.
   */
  isPinned?: (block: Block) => boolean
}

/** A move that `Heap.compact` asks for. Both blocks are live, and of the same size. */
export interface HeapMove {
  /** The block as it is now. */
  readonly from: Block
  /** The block that takes its place. It lies lower. */
  readonly to: Block
  /** The byte offset of `from` in the space. */
  readonly fromOffset: number
  /** The byte offset of `to` in the space. */
  readonly toOffset: number
  /** The bytes to copy. */
  readonly sizeBytes: number
}

/** What `Heap.stats` returns. Figures are in bytes, except `liveBlocks`. */
export interface HeapStats {
  /** Bytes of the space that the heap manages. */
  capacityBytes: number
  /** Blocks that were handed out and not freed, a count. */
  liveBlocks: number
  /** Bytes of the pages that hold live blocks. */
  usedBytes: number
  /** Bytes of the used pages, and of the free ones that were not purged since they were used. */
  committedBytes: number
  /** Bytes of the free pages that were not purged since they were used: what `purge` would hand over now. */
  dirtyBytes: number
  /** The most that `usedBytes` ever was. */
  peakUsedBytes: number
  /** The most that `committedBytes` ever was. */
  peakCommittedBytes: number
  /**
   * The size of the longest block that `allocate` can return now. Exact: with one byte more it returns -1.
   */
  longestFreeBytes: number
  /**
   * Bytes of memory that the books take. They lie in typed arrays outside of the managed space. Only the part
   * that was written to counts.
   */
  metadataBytes: number
}

const KNOWN_OPTIONS = keysOf<HeapOptions>({ capacityBytes: true, pageBytes: true, granuleBytes: true })
const KNOWN_ALLOCATE_OPTIONS = keysOf<HeapAllocateOptions>({ align: true })
const KNOWN_COMPACT_OPTIONS = keysOf<HeapCompactOptions>({
  maxMoves: true,
  maxBytes: true,
  gain: true,
  isPinned: true,
})
const DEFAULT_MAX_MOVES = 1000
const DEFAULT_GAIN = 1 / 3
const MAX_GRANULE_BYTES = 64 * KIB
const MIN_PAGE_GRANULES = 256
const MAX_PAGE_GRANULES = 4096
const MAX_GRANULES = MAX_SPACE_BYTES / GRANULE_BYTES
const MAX_ALIGN_GRANULES = 4096

/**
 * The options with their defaults. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or
 * `ERR_OUT_OF_RANGE` for options that `HeapOptions` does not allow.
 */
export function resolveHeapOptions(options: HeapOptions): Required<HeapOptions> {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { capacityBytes, granuleBytes = GRANULE_BYTES } = options
  requirePowerOfTwo('options.granuleBytes', granuleBytes, GRANULE_BYTES, MAX_GRANULE_BYTES)
  const { pageBytes = MIN_PAGE_GRANULES * granuleBytes } = options
  const [minBytes, maxBytes] = [MIN_PAGE_GRANULES * granuleBytes, MAX_PAGE_GRANULES * granuleBytes]
  requirePowerOfTwo('options.pageBytes', pageBytes, minBytes, maxBytes)
  requireCapacity(capacityBytes, pageBytes, granuleBytes)
  return { capacityBytes, pageBytes, granuleBytes }
}

/**
 * The requested alignment in bytes, or 16, the least one. Throws the errors that `resolveHeapOptions` throws.
 */
export function resolveAlign(options: HeapAllocateOptions | undefined, granuleBytes: number): number {
  if (options === undefined) return GRANULE_BYTES
  requireKnownKeys('options', options, KNOWN_ALLOCATE_OPTIONS)
  const { align = GRANULE_BYTES } = options
  requirePowerOfTwo('options.align', align, GRANULE_BYTES, MAX_ALIGN_GRANULES * granuleBytes)
  return align
}

/** The options of `compact` with their defaults. Throws the errors that `resolveHeapOptions` throws. */
export function resolveCompactOptions(options: HeapCompactOptions = {}) {
  requireKnownKeys('options', options, KNOWN_COMPACT_OPTIONS)
  const { maxMoves = DEFAULT_MAX_MOVES, maxBytes = Infinity, gain = DEFAULT_GAIN, isPinned } = options
  requireNumber('options.maxMoves', maxMoves, Infinity)
  if (maxMoves < 1 || !(Number.isInteger(maxMoves) || maxMoves === Infinity)) {
    throw outOfRange('options.maxMoves', 'an integer from 1 on, or Infinity', maxMoves)
  }
  requireNumber('options.maxBytes', maxBytes, Infinity)
  requireNumber('options.gain', gain, Infinity)
  if (gain === 0) throw outOfRange('options.gain', 'a number above 0', gain)
  if (isPinned !== undefined) requireFunction('options.isPinned', isPinned)
  return { maxMoves, maxBytes, gain, isPinned }
}

function requireCapacity(capacityBytes: unknown, pageBytes: number, granuleBytes: number): void {
  if (typeof capacityBytes !== 'number') {
    throw invalidArgType('options.capacityBytes', 'of type number', capacityBytes)
  }
  const maxBytes = MAX_GRANULES * granuleBytes
  if (!(capacityBytes >= 0) || capacityBytes % pageBytes !== 0 || capacityBytes > maxBytes) {
    const allowed = `a multiple of pageBytes (${pageBytes}) from 0 to ${maxBytes}, 2^31 granules of ${granuleBytes} bytes`
    throw outOfRange('options.capacityBytes', allowed, capacityBytes)
  }
}

function requirePowerOfTwo(name: string, value: unknown, min: number, max: number): void {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value)
  if (!isPowerOfTwo(value) || value < min || value > max) {
    throw outOfRange(name, `a power of two from ${min} to ${max}`, value)
  }
}
