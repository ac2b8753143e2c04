/** What a `Heap` is made of, and what it says of itself. Owns the limits of its options. */
import { invalidArgType, outOfRange } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { GRANULE_BYTES, isPowerOfTwo, KIB, MAX_SPACE_BYTES } from '../base/units.js'

export interface HeapOptions {
  /**
   * Bytes to manage: a multiple of `pageBytes`, up to 2^31 granules: 32 GiB with granules of 16 bytes, 128 TiB with those
   * of 64 KiB.
   */
  capacityBytes: number
  /**
   * Bytes a page: the unit in which space is counted as used, dirty or clean, and given to `purge`. A power of two from
   * 256 to 4096 granules, by default 256: 4 KiB with granules of 16 bytes.
   */
  pageBytes?: number
  /**
   * Bytes a granule: sizes are rounded up to whole ones, and offsets are multiples of it. A power of two from 16, the
   * default, to 64 KiB. The books take 2.2 % of the space with granules of 16 bytes, half of that with each doubling.
   */
  granuleBytes?: number
}

/** Options of `Heap.allocate`. */
export interface HeapAllocateOptions {
  /**
   * The offset is to be a multiple of so many bytes: a power of two from 16 to 64 KiB; with granules longer than 16 bytes, to
   * 4096 granules. Where the space is memory or a part of a file, its start must be aligned too.
   */
  align?: number
}

/** Bytes, unless named otherwise. */
export interface HeapStats {
  capacityBytes: number
  liveBlocks: number
  /** Pages that hold live blocks. */
  usedBytes: number
  /** Used pages and free ones not purged since they were used. */
  committedBytes: number
  dirtyBytes: number
  peakUsedBytes: number
  peakCommittedBytes: number
  /** The longest block that `allocate` can give now. Exact: one byte more, and it returns -1. */
  longestFreeBytes: number
  /** The books, in typed arrays outside the managed space: what of them was written to, and takes memory. */
  metadataBytes: number
}

const KNOWN_OPTIONS = keysOf<HeapOptions>({ capacityBytes: true, pageBytes: true, granuleBytes: true })
const KNOWN_ALLOCATE_OPTIONS = keysOf<HeapAllocateOptions>({ align: true })
const MAX_GRANULE_BYTES = 64 * KIB
const MIN_PAGE_GRANULES = 256
const MAX_PAGE_GRANULES = 4096
const MAX_GRANULES = MAX_SPACE_BYTES / GRANULE_BYTES
const MAX_ALIGN_GRANULES = 4096

/** Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for options outside what `HeapOptions` says. */
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

/** The alignment that is asked for in bytes; 16, the least there is, where none is. Throws what `resolveHeapOptions` throws. */
export function resolveAlign(options: HeapAllocateOptions | undefined, granuleBytes: number): number {
  if (options === undefined) return GRANULE_BYTES
  requireKnownKeys('options', options, KNOWN_ALLOCATE_OPTIONS)
  const { align = GRANULE_BYTES } = options
  requirePowerOfTwo('options.align', align, GRANULE_BYTES, MAX_ALIGN_GRANULES * granuleBytes)
  return align
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
