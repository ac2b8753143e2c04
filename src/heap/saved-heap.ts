/**
 * The books of a `Heap` as an object of numbers and short strings, and back. Owns the format. It trusts
 * nothing that it reads: saved books may be cut off, of another version, or made with bad intent.
 *
 * Lengths (see `saved-space.ts`) are written in groups of seven bits, the lowest group first, as many as are
 * needed. The top bit of a byte says that another group follows. A block takes 2 to 4 bytes, and base64 adds
 * a third.
 */
import { invalidArgType, invalidArgValue, show } from '../base/errors.js'
import type { HeapOptions } from './heap-options.js'

const { ceil, floor, imul, max } = Math

/**
 * What `Heap.toJSON` returns and `Heap.from` takes: plain data, for `JSON.stringify` or `structuredClone`.
 */
export interface SavedHeap {
  /** The version of the format. */
  version: 1
  /** The option `capacityBytes` of the heap. */
  capacityBytes: number
  /** The option `pageBytes` of the heap. */
  pageBytes: number
  /** The option `granuleBytes` of the heap. */
  granuleBytes: number
  /** The figure `peakUsedBytes` of `stats()`. */
  peakUsedBytes: number
  /** The figure `peakCommittedBytes` of `stats()`. */
  peakCommittedBytes: number
  /** The lengths of gaps and live blocks in turn, in granules. */
  blocks: string
  /** The lengths of pages that are not dirty and of dirty ones in turn, in pages. */
  dirty: string
  /** A checksum over all other fields. It detects damage. It is no signature. */
  checksum: number
}

/** What was read from a `SavedHeap`, and the heap that was made with its options. */
interface SavedBooks<H> {
  readonly made: H
  /** Lengths of gap and block in turn, in granules. */
  readonly granules: Uint32Array
  /** Lengths of pages that are not dirty and of dirty ones in turn, in pages. */
  readonly pages: Uint32Array
  readonly peakUsedPages: number
  readonly peakCommittedPages: number
}

const VERSION = 1
const NAME = 'saved'
const FIRST_LENGTH = 2 ** 12
const MORE = 0x80
const GROUP_BITS = 7
const GROUP = MORE - 1
/** The longest length: 2^31 granules. */
const MAX_LENGTH = 2 ** 31

/** Writes lengths and returns them as base64 text. */
export class LengthWriter {
  #bytes = new Uint8Array(FIRST_LENGTH)
  #end = 0

  write(length: number): void {
    // A length takes at most five bytes.
    if (this.#end + 5 > this.#bytes.length) {
      const longer = new Uint8Array(2 * this.#bytes.length)
      longer.set(this.#bytes)
      this.#bytes = longer
    }
    for (let left = length; ; left >>>= GROUP_BITS) {
      this.#bytes[this.#end++] = left > GROUP ? (left & GROUP) | MORE : left
      if (left <= GROUP) return
    }
  }

  toString(): string {
    return Buffer.from(this.#bytes.buffer, 0, this.#end).toString('base64')
  }
}

/** Adds the version and the checksum to the books. */
export function sealed(books: Omit<SavedHeap, 'version' | 'checksum'>): SavedHeap {
  const saved = { version: VERSION, ...books } as const
  return { ...saved, checksum: checksumOf(saved) }
}

/** The FNV-1a checksum of all fields but `checksum`. */
function checksumOf(saved: Omit<SavedHeap, 'checksum'>): number {
  const {
    version,
    capacityBytes,
    pageBytes,
    granuleBytes,
    peakUsedBytes,
    peakCommittedBytes,
    blocks,
    dirty,
  } = saved
  const numbers = [version, capacityBytes, pageBytes, granuleBytes, peakUsedBytes, peakCommittedBytes]
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(`${numbers};${blocks};${dirty}`, 'latin1')) {
    hash = imul(hash ^ byte, 0x01000193)
  }
  return hash >>> 0
}

/** Throws `ERR_INVALID_ARG_VALUE` for a field of the saved books. With an empty `name`, for all of them. */
function refuse(name: string, reason: string, value: unknown): never {
  const shown = typeof value === 'string' ? value.slice(0, 40) : value
  throw invalidArgValue(
    name === '' ? NAME : `${NAME}.${name}`,
    `is not what Heap.toJSON() gave: ${reason}`,
    shown,
  )
}

/**
 * Reads what `toJSON` returned. `make` makes a heap from the options, and throws if they are not valid;
 * blocks of its `wholeFromGranules` granules and more are whole pages. Throws `ERR_INVALID_ARG_TYPE` or
 * `ERR_INVALID_ARG_VALUE` for books that no heap can have saved.
 */
export function readSaved<H extends { readonly wholeFromGranules: number }>(
  value: unknown,
  make: (options: HeapOptions) => H,
): SavedBooks<H> {
  const saved = readFields(value)
  const { capacityBytes, pageBytes, granuleBytes, peakUsedBytes, peakCommittedBytes } = saved
  const options = { capacityBytes, pageBytes, granuleBytes }
  let made: H
  try {
    made = make(options)
  } catch (cause) {
    return refuse('', (cause as Error).message, options)
  }
  const pageGranules = pageBytes / granuleBytes
  const granules = readLengths('blocks', saved.blocks, capacityBytes / granuleBytes)
  const pages = readLengths('dirty', saved.dirty, capacityBytes / pageBytes)
  const usedPages = checkBlocks(granules, pages, pageGranules, made.wholeFromGranules)
  const dirtyPages = pages.reduce((sum, length, index) => (index % 2 === 1 ? sum + length : sum), 0)
  const peakUsedPages = peakUsedBytes / pageBytes
  const peakCommittedPages = peakCommittedBytes / pageBytes
  const areWhole = Number.isInteger(peakUsedPages) && Number.isInteger(peakCommittedPages)
  if (!areWhole || peakUsedPages < usedPages || peakCommittedPages > capacityBytes / pageBytes) {
    refuse('peakUsedBytes', 'it does not fit the blocks', peakUsedBytes)
  }
  if (peakCommittedPages < max(peakUsedPages, usedPages + dirtyPages)) {
    refuse('peakCommittedBytes', 'it does not fit the blocks', peakCommittedBytes)
  }
  return { made, granules, pages, peakUsedPages, peakCommittedPages }
}

/** Reads each field once, and checks its type and the checksum. */
function readFields(value: unknown): SavedHeap {
  if (typeof value !== 'object' || value === null) {
    throw invalidArgType(NAME, 'an object that Heap.toJSON() gave', value)
  }
  const {
    version,
    capacityBytes,
    pageBytes,
    granuleBytes,
    peakUsedBytes,
    peakCommittedBytes,
    blocks,
    dirty,
    checksum,
  } = value as Record<keyof SavedHeap, unknown>
  if (version !== VERSION) refuse('version', `this release reads only version ${VERSION}`, version)
  const numbers = { capacityBytes, pageBytes, granuleBytes, peakUsedBytes, peakCommittedBytes, checksum }
  for (const [name, number] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(number)) throw invalidArgType(`${NAME}.${name}`, 'an integer', number)
  }
  for (const [name, text] of Object.entries({ blocks, dirty })) {
    if (typeof text !== 'string') throw invalidArgType(`${NAME}.${name}`, 'of type string', text)
  }
  const saved = { version, ...numbers, blocks, dirty } as SavedHeap
  if (checksum !== checksumOf(saved)) refuse('checksum', 'a field was changed or is missing', checksum)
  return saved
}

/**
 * The lengths in `text`. Their number must be even and their sum at most `most`. A length of 0 is allowed for
 * a gap between blocks, and for the first length of pages.
 */
function readLengths(name: string, text: string, most: number): Uint32Array {
  const bytes = Buffer.from(text, 'base64')
  const lengths = new Uint32Array(bytes.reduce((count, byte) => (byte < MORE ? count + 1 : count), 0))
  let at = 0
  let sum = 0
  for (let index = 0; index < lengths.length; index++) {
    let length = 0
    for (let unit = 1; ; unit *= MORE) {
      const byte = bytes[at++]
      length += (byte & GROUP) * unit
      if (length > MAX_LENGTH || unit > MAX_LENGTH) refuse(name, 'a length is too large', length)
      if (byte < MORE) break
    }
    const isGap = index % 2 === 0
    if (length === 0 && !(isGap && (name === 'blocks' || index === 0))) refuse(name, 'a length is 0', text)
    sum += length
    if (sum > most) refuse(name, `the sum of lengths is more than ${show(most)}`, sum)
    lengths[index] = length
  }
  if (at !== bytes.length || lengths.length % 2 !== 0) refuse(name, 'it ends too early', text)
  return lengths
}

/**
 * Counts the pages with blocks. Refuses a dirty page with a block, and a long block that is not whole pages.
 */
function checkBlocks(
  granules: Uint32Array,
  pages: Uint32Array,
  pageGranules: number,
  wholeFromGranules: number,
): number {
  let usedPages = 0
  let usedEnd = 0
  let end = 0
  let dirty = 0
  let dirtyFirst = pages.length > 0 ? pages[0] : Number.POSITIVE_INFINITY
  let dirtyEnd = pages.length > 0 ? dirtyFirst + pages[1] : Number.POSITIVE_INFINITY
  for (let index = 0; index < granules.length; index += 2) {
    const block = end + granules[index]
    const length = granules[index + 1]
    end = block + length
    if (length >= wholeFromGranules && (block % pageGranules !== 0 || length % pageGranules !== 0)) {
      refuse('blocks', 'a long block is not whole pages', length)
    }
    const firstPage = floor(block / pageGranules)
    const endPage = ceil(end / pageGranules)
    while (dirtyEnd <= firstPage) {
      dirty += 2
      dirtyFirst = dirty < pages.length ? dirtyEnd + pages[dirty] : Number.POSITIVE_INFINITY
      dirtyEnd = dirty < pages.length ? dirtyFirst + pages[dirty + 1] : Number.POSITIVE_INFINITY
    }
    if (dirtyFirst < endPage) refuse('dirty', 'a page with a block cannot be dirty', dirtyFirst)
    usedPages += endPage - max(usedEnd, firstPage)
    usedEnd = endPage
  }
  return usedPages
}
