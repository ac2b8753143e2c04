/**
 * The books of a `Heap` as an object of numbers and short strings, and back. Owns the format and trusts nothing: what was
 * stored and read again may be cut off, of another version, or made by somebody who means harm.
 *
 * Lengths (see `saved-space.ts`) are written in groups of seven bits, the lowest first, as many as needed; the top bit of a byte
 * says that more follow. That is 2 to 4 bytes a block, base64 on top.
 */
import { invalidArgType, invalidArgValue, show } from '../base/errors.js'
import type { HeapOptions } from './heap-options.js'

const { ceil, floor, imul, max } = Math

/** What `Heap.toJSON` gives, and `Heap.from` takes: plain data, for `JSON.stringify` or `structuredClone`. */
export interface SavedHeap {
  /** Of the format. */
  version: 1
  capacityBytes: number
  pageBytes: number
  granuleBytes: number
  peakUsedBytes: number
  peakCommittedBytes: number
  /** Live blocks and the gaps between, as lengths. */
  blocks: string
  /** Dirty pages, and others between, as lengths. */
  dirty: string
  /** Of all the others, against damage; it is no signature. */
  checksum: number
}

/** What `SavedHeap` says, read, and a heap with its options. */
export interface SavedBooks<H> {
  readonly made: H
  /** Granules of gap and block, in turn. */
  readonly granules: Uint32Array
  /** Pages that are not dirty, and that are, in turn. */
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
/** No length is longer: 2^31 granules. */
const MAX_LENGTH = 2 ** 31

/** Lengths, as the text that stands for them. */
export class LengthWriter {
  #bytes = new Uint8Array(FIRST_LENGTH)
  #end = 0

  write(length: number): void {
    // A length takes five bytes at most.
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

/** Adds the checksum. */
export function sealed(books: Omit<SavedHeap, 'version' | 'checksum'>): SavedHeap {
  const saved = { version: VERSION, ...books } as const
  return { ...saved, checksum: checksumOf(saved) }
}

/** FNV-1a. */
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

function refuse(name: string, reason: string, value: unknown): never {
  const shown = typeof value === 'string' ? value.slice(0, 40) : value
  throw invalidArgValue(
    name === '' ? NAME : `${NAME}.${name}`,
    `is not what Heap.toJSON() gave: ${reason}`,
    shown,
  )
}

/**
 * Reads what `toJSON` gave. `make` throws where the options are not those of a heap; `wholeFromGranules` of what it makes says
 * from where on blocks are whole pages. Throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` for what no heap can have
 * given.
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
    refuse('peakUsedBytes', 'impossible with these blocks', peakUsedBytes)
  }
  if (peakCommittedPages < max(peakUsedPages, usedPages + dirtyPages)) {
    refuse('peakCommittedBytes', 'impossible with these blocks', peakCommittedBytes)
  }
  return { made, granules, pages, peakUsedPages, peakCommittedPages }
}

/** Each field is read once, and is of its type; together they have their checksum. */
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
  if (version !== VERSION) refuse('version', `this release reads version ${VERSION}`, version)
  const numbers = { capacityBytes, pageBytes, granuleBytes, peakUsedBytes, peakCommittedBytes, checksum }
  for (const [name, number] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(number)) throw invalidArgType(`${NAME}.${name}`, 'an integer', number)
  }
  for (const [name, text] of Object.entries({ blocks, dirty })) {
    if (typeof text !== 'string') throw invalidArgType(`${NAME}.${name}`, 'of type string', text)
  }
  const saved = { version, ...numbers, blocks, dirty } as SavedHeap
  if (checksum !== checksumOf(saved)) refuse('checksum', 'something was changed, or is missing', checksum)
  return saved
}

/** The lengths in `text`, an even number; none but the first is 0, and all together are at most `most`. */
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
      if (length > MAX_LENGTH || unit > MAX_LENGTH) refuse(name, 'a length that no space has', length)
      if (byte < MORE) break
    }
    const isGap = index % 2 === 0
    if (length === 0 && !(isGap && (name === 'blocks' || index === 0))) refuse(name, 'a length of 0', text)
    sum += length
    if (sum > most) refuse(name, `longer than the space, ${show(most)}`, sum)
    lengths[index] = length
  }
  if (at !== bytes.length || lengths.length % 2 !== 0) refuse(name, 'it ends too early', text)
  return lengths
}

/** Counts the pages with blocks. No dirty page has one, and a long block is whole pages. */
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
      refuse('blocks', 'a long block that is not whole pages', length)
    }
    const firstPage = floor(block / pageGranules)
    const endPage = ceil(end / pageGranules)
    while (dirtyEnd <= firstPage) {
      dirty += 2
      dirtyFirst = dirty < pages.length ? dirtyEnd + pages[dirty] : Number.POSITIVE_INFINITY
      dirtyEnd = dirty < pages.length ? dirtyFirst + pages[dirty + 1] : Number.POSITIVE_INFINITY
    }
    if (dirtyFirst < endPage) refuse('dirty', 'a page with a block is none', dirtyFirst)
    usedPages += endPage - max(usedEnd, firstPage)
    usedEnd = endPage
  }
  return usedPages
}
