/**
 * The books of one heap: the state that the functions of this room share, in one object. That object is a
 * `BlockHeap`, which adds what only its own methods use.
 *
 * Nothing is stored in the managed memory itself. So a free page is truly empty, and an overrun cannot reach
 * the books. The unit of the books is the *frame*: 256 granules, 4 KiB in an arena, for every page size. The
 * books have, for each
 *
 *  - granule: two bits that say what starts there (`granule-map`)
 *  - frame: 27 bytes that say what crosses its borders and how long its gaps are
 *  - page: three bits that say what the page is to the kernel (`page-states`)
 *
 * That is 2.23 % of the space. Books take memory only where they were written to. To mark a long block or gap
 * never writes to the books of its inside.
 *
 * Each group of fields below names the files that it belongs to. Any file may read any field. Some functions
 * write fields of several groups: the warm paths (`block-heap`), `rebuildSpace` and `restoreSpace`. Other
 * rooms set only `limitPages`. It is one object because objects that point to each other are a tenth slower,
 * see docs/v8.md.
 */
import { invariant } from '../base/assert.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { type Block, GRANULE_BYTES, NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { ColumnStorage, Columns, Region } from './columns.js'
import {
  BIN_BITS_AT,
  BIN_BITS_LENGTH,
  BOTTOMS_AT,
  DIRECT,
  HEADS_AT,
  HEADS_LENGTH,
  MAX_FRAMES,
  NO_BLOCK,
  NO_ROOM,
  REGION_BYTES,
  SETS,
  SPARE_ROOMS_AT,
  SPARE_ROOMS_LENGTH,
  STACKS,
  STACKS_AT,
  STACKS_LENGTH,
  SUMMARIES_AT,
} from './layout.js'

const { ceil, clz32, min } = Math

/** The greatest `wholePagesFromBytes`. A small integer to V8, so that comparisons with it are cheap. */
export const MAX_WHOLE_FROM_BYTES = 2 ** 31 - GRANULE_BYTES

const MIN_PAGE_SHIFT = 12
const MAX_PAGE_SHIFT = 16

// Empty columns: the books have them before their first range and after `dropColumns`.
const NO_WORDS = new Int32Array(0)
const NO_HALVES = new Uint16Array(0)
const NO_BYTES = new Uint8Array(0)
export const NO_COLUMNS: Columns = {
  bits: NO_WORDS,
  occupied: NO_HALVES,
  rows: NO_WORDS,
  tops: NO_BYTES,
  leaves: NO_WORDS,
  branches: NO_WORDS,
  roots: NO_WORDS,
  dirty: NO_WORDS,
  aged: NO_WORDS,
  purged: NO_WORDS,
  touched: NO_WORDS,
}

/** A stretch of managed pages. */
export interface PageRange {
  readonly firstPage: PageNumber
  readonly pageCount: PageCount
}

/** What books are made of. */
interface BookParts {
  readonly pageShift: number
  readonly wholePagesFromBytes: number
  readonly storage: ColumnStorage
  readonly region: Region
}

/** Checks the sizes, rounds `wholePagesFromBytes`, and takes the region. */
function partsFor(pageBytes: number, storage: ColumnStorage, wholeFromBytes: number): BookParts {
  const pageShift = 31 - clz32(pageBytes)
  invariant(
    pageBytes === 1 << pageShift && pageShift >= MIN_PAGE_SHIFT && pageShift <= MAX_PAGE_SHIFT,
    `pages are 4 to 64 KiB, not ${pageBytes} bytes`,
  )
  invariant(wholeFromBytes >= DIRECT * GRANULE_BYTES, 'blocks of whole pages are no shorter than a frame')
  const fromBytes = min(wholeFromBytes, MAX_WHOLE_FROM_BYTES)
  const roundedBytes = ceil(fromBytes / GRANULE_BYTES) * GRANULE_BYTES
  // A block as long as whole pages must be whole pages, because one stack keeps all blocks of a length.
  const isWhole = roundedBytes % pageBytes === 0
  const wholePagesFromBytes = isWhole ? roundedBytes - GRANULE_BYTES + 1 : fromBytes
  const region = storage.takeRegion?.() ?? { buffer: new ArrayBuffer(REGION_BYTES), offsetBytes: 0 }
  return { pageShift, wholePagesFromBytes, storage, region }
}

/** `length` words of a region, from `offsetBytes` on. */
function wordsOfRegion({ buffer, offsetBytes: start }: Region, offsetBytes: number, length: number) {
  return new Int32Array(buffer, start + offsetBytes, length)
}

/** `length` half-words of a region, from `offsetBytes` on. */
function halvesOfRegion({ buffer, offsetBytes: start }: Region, offsetBytes: number, length: number) {
  return new Uint16Array(buffer, start + offsetBytes, length)
}

/**
 * Writes into `stacks` that no stack has a room, and returns it. Words from `endSlot` on must be zero
 * already.
 */
export function withoutRooms(stacks: Int32Array<ArrayBuffer>, endSlot: number): Int32Array<ArrayBuffer> {
  for (let stack = 0; stack < STACKS; stack++) stacks[stack] = NO_ROOM
  for (let at = STACKS; at < NO_ROOM; at++) stacks[at] = 0
  // These two words must not hold anything else, even for a moment, once the stacks are in use.
  stacks[NO_ROOM] = NO_BLOCK
  stacks[NO_ROOM + 1] = NO_BLOCK
  for (let at = NO_ROOM + 2; at < endSlot; at++) stacks[at] = 0
  return stacks
}

/** The state of a heap. It has no methods: the files of this room are functions over it. */
export class Books extends MadeOf<BookParts> implements Columns {
  /** Bytes of a page: a power of two from 4 KiB to 64 KiB. */
  readonly pageBytes = 1 << partsOf(this).pageShift
  /** log2 of the granules in a page. `block >>> granuleShift` is the page in which the block starts. */
  readonly granuleShift = partsOf(this).pageShift - 4
  /** Granules in a page. */
  readonly pageGranules = 1 << this.granuleShift
  /** Blocks of this many bytes and more are whole pages and start on a page. */
  readonly wholePagesFromBytes = partsOf(this).wholePagesFromBytes
  /** The granules of the shortest block of whole pages. */
  readonly wholeGranules = ceil(this.wholePagesFromBytes / this.pageBytes) * this.pageGranules

  // ---- columns and ranges (page-table) --------------------------------------------------------------------

  /** Two bits for each granule, see `granule-map`. */
  bits = NO_COLUMNS.bits
  /** For each frame, the pairs of `bits` in which anything starts, see `granule-map`. */
  occupied = NO_COLUMNS.occupied
  /** For each frame, what crosses its end, and its long gap, see `layout`. */
  rows = NO_COLUMNS.rows
  /** For each frame, the bin of its longest short gap, and three levels of a tree over frames: `short-gaps`. */
  tops = NO_COLUMNS.tops
  leaves = NO_COLUMNS.leaves
  branches = NO_COLUMNS.branches
  roots = NO_COLUMNS.roots
  /** A set bit: the page is free and may be resident. */
  dirty = NO_COLUMNS.dirty
  /** A set bit: the page was already dirty at the last call of `age`. A subset of `dirty`. */
  aged = NO_COLUMNS.aged
  /** A set bit: the page was purged and was not used since. So its next use is a refault. */
  purged = NO_COLUMNS.purged
  /** A set bit: the books of that group of frames were written to, see `touched-books`. */
  touched = NO_COLUMNS.touched

  /** How many pages the columns have room for. */
  columnPages: PageCount = 0
  /** The length of `roots` in words. */
  rootWords = 0
  /**
   * The end of the pages that were ever managed in these columns. Behind it the columns were never touched.
   */
  reachedPages: PageCount = 0
  /** The number of pages in all ranges together. */
  managedPages: PageCount = 0
  /**
   * All managed ranges, in ascending order. A change replaces the array, so a caller may keep it while it
   * iterates.
   */
  ranges: readonly PageRange[] = []
  /** Where the memory of the columns comes from. */
  readonly storage = partsOf(this).storage
  /**
   * Memory for the books of fixed length and for the first columns. Once `isDropped` is set, it belongs to
   * another heap.
   */
  readonly region = partsOf(this).region
  /**
   * Whether the books were given up. Their memory may then be another heap's, so nothing may read or write
   * it.
   */
  isDropped = false

  // ---- pages (page-states) --------------------------------------------------------------------------------

  /** Pages that a live or kept block touches. */
  usedPages: PageCount = 0
  /** Free pages that may be resident. */
  dirtyPages: PageCount = 0
  /** The most pages that were used at once since the last call of `BlockHeap.takePeakUsed`. */
  recentPeakPages: PageCount = 0
  /** The most pages that were ever committed at once. */
  peakCommittedPages: PageCount = 0
  /**
   * The most pages that may be committed. Only `useCounted` commits pages, so only it can reach the limit.
   */
  limitPages: PageCount = Number.MAX_SAFE_INTEGER
  /** Whether there may be an aged page. If false, `aged` is all zero. */
  hasAged = false
  /** The refaults so far: pages that were used again after a purge. */
  refaultedPages: PageCount = 0

  // ---- short gaps (short-gaps) ----------------------------------------------------------------------------

  /** Bit `b` (from the top, as in all bitmaps) is clear only if no frame has top `b`. */
  usedTops = 0
  /**
   * Where the rest starts (see `short-gaps`), and how many granules it had after the cut. The length is 0 if the cut left
   * nothing.
   */
  rest: Block = 0
  restLength = 0
  /** The limit of the search that is under way, in frames: all frames during `takeShortOfAll`. */
  maxFrames = MAX_FRAMES

  // ---- long gaps (long-gaps) ------------------------------------------------------------------------------

  /**
   * The frame of the first gap of each bin, or NONE. `PREV` in that frame's row is the last gap. Bin `b` of
   * set `s` is at `(s << BIN_SHIFT) + b`; this index is called a *slot* here.
   */
  readonly heads = wordsOfRegion(this.region, HEADS_AT, HEADS_LENGTH).fill(NONE)
  /** One bit for each slot: its bin has a gap. */
  readonly binBits = wordsOfRegion(this.region, BIN_BITS_AT, BIN_BITS_LENGTH)
  /** One word for each set, with one bit for each of its words of `binBits`: that word is not zero. */
  readonly summaries = wordsOfRegion(this.region, SUMMARIES_AT, SETS)

  // ---- blocks (gaps, long-blocks, block-space) ------------------------------------------------------------

  /** The number of live and kept blocks. */
  cutBlocks = 0
  /** The number of clean pages that may be taken before `REFUSED_GROWTH`. */
  growthPages: PageCount = 0
  /** Why the last `take…` returned NONE: one of the `REFUSED_…` constants. Valid only after NONE. */
  refusal = 0
  /**
   * The latest block, a frame or longer, that was cut from whole clean pages only, or NONE. It reads as zero.
   */
  zeroedBlock: Block = NONE
  /** Whether clean pages read as zero. */
  cleanIsZero = true
  /** The front is [front, frontEnd). Both are 0 if there is none. */
  front: Block = 0
  frontEnd = 0

  // ---- ranges (space-pages) -------------------------------------------------------------------------------

  /** The start of the gap, or front, in which pages were purged last. It may have ended since. */
  purgedGap: Block = 0

  // ---- kept blocks (block-cache) --------------------------------------------------------------------------

  /**
   * The stacks, as drawn in `block-cache`. `stacks[s]` is the index of the top slot of stack `s`, and slots
   * hold blocks. `stacks[FIRST_SIZE + s - DIRECT]` is the number of granules of a shared stack's blocks.
   *
   * It has its full length from the start and is never replaced, so V8 can treat it as a constant, see
   * docs/v8.md. The kernel gives memory only for the words that are touched.
   */
  readonly stacks = withoutRooms(wordsOfRegion(this.region, STACKS_AT, STACKS_LENGTH), NO_ROOM)
  /** The index in `stacks` of each stack's bottom. */
  readonly bottoms = halvesOfRegion(this.region, BOTTOMS_AT, STACKS).fill(NO_ROOM)
  /** The index in `stacks` at which the next new room begins. */
  endSlot = NO_ROOM + 2
  /** The highest `endSlot` ever. Words of `stacks` from there on were never touched. */
  touchedSlots = NO_ROOM + 2
  /**
   * Rooms that stacks gave up: a list for each step. It holds the bottom of a room, or 0; the first slot of
   * that room holds the next bottom. Without these lists, sizes that take turns on a shared stack would leave
   * unused rooms behind for ever.
   */
  readonly spareRooms = wordsOfRegion(this.region, SPARE_ROOMS_AT, SPARE_ROOMS_LENGTH)
  /**
   * The granules that all stacks below `DIRECT` can hold if each room is full, and those of all shared
   * stacks.
   */
  grantedDirect = 0
  grantedShared = 0

  /**
   * `pageBytes` is a power of two from 4 KiB to 64 KiB. `wholePagesFromBytes` is at least 4 KiB; without it,
   * blocks of 2 GiB less 16 bytes and more are whole pages.
   */
  constructor(pageBytes: number, storage: ColumnStorage, wholePagesFromBytes = MAX_WHOLE_FROM_BYTES) {
    super(partsFor(pageBytes, storage, wholePagesFromBytes))
  }
}
