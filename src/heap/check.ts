/**
 * Checks of the books. Each file of the heap lists its invariants at its top. The number in a message is the
 * number of the invariant there. Nothing here changes the books.
 */
import { invariant } from '../base/assert.js'
import { countRange, testBit } from '../base/bits.js'
import { type Block, NONE, type PageCount, type PageNumber } from '../base/units.js'
import { keptBlocks, maxRoomOf, roomOf, sizeIn } from './block-cache.js'
import type { Books } from './books.js'
import { cleanWithin } from './gaps.js'
import { endOf, isGap, isHeld, isLive, startBefore } from './granule-map.js'
import {
  ANY,
  BIN_SHIFT,
  BINS,
  BINS_SHIFT,
  BITS_PREFIX,
  DIRECT,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  FULL,
  GAP,
  NEXT,
  NO_BLOCK,
  NO_ROOM,
  PREV,
  ROW_WORDS,
  SETS,
  STACKS,
} from './layout.js'
import { cleanOf, slotOf, startIn, WORDS_MASK, WORDS_SHIFT } from './long-gaps.js'
import { committedPages } from './page-states.js'
import { shortBinOf } from './short-gaps.js'

/**
 * Throws an `Error` that names the first broken invariant. Reads all books. If they were given up, it checks
 * the ranges only.
 */
export function checkBooks(books: Books): void {
  checkRanges(books)
  if (books.isDropped) return
  const held = new Set<Block>()
  let live = 0
  checkSpace(books, block => {
    if (isLive(books, block)) live++
    else held.add(block)
  })
  checkStacks(books, block => invariant(held.delete(block), `1: kept block ${block} is held back, once`))
  invariant(held.size === 0, `1: ${held.size} blocks are held back by nobody`)
  const counted = books.cutBlocks - keptBlocks(books)
  invariant(live === counted, `1: ${counted} live blocks, found ${live}`)
}

// ---- ranges (page-table) -------------------------------------------------------------------------------

/** Throws an `Error` if invariant 1 does not hold. */
export function checkRanges(books: Books): void {
  let page = 0
  let managed = 0
  for (const range of books.ranges) {
    invariant(range.firstPage >= page && range.pageCount > 0, '1: ranges are ascending and disjoint')
    page = range.firstPage + range.pageCount
    managed += range.pageCount
  }
  const isWithin = page <= books.reachedPages && books.reachedPages <= books.columnPages
  invariant(isWithin && managed === books.managedPages, '1: ranges lie within the columns')
}

// ---- pages (page-states) -------------------------------------------------------------------------------

/**
 * Checks counts and bitmaps. `isUsed` says whether a block, or an end of the front, touches a managed page.
 */
export function checkPages(books: Books, isUsed: (page: PageNumber) => boolean): void {
  let used = 0
  let dirty = 0
  for (const range of books.ranges) {
    for (let page = range.firstPage; page < range.firstPage + range.pageCount; page++) {
      const isDirty = testBit(books.dirty, page)
      if (isUsed(page)) {
        used++
        invariant(!isDirty, `2: used page ${page} is not dirty`)
        invariant(!testBit(books.purged, page), `2: used page ${page} is not purged`)
      } else if (isDirty) {
        dirty++
        invariant(!testBit(books.purged, page), `2: purged page ${page} is not dirty`)
      }
      invariant(isDirty || !testBit(books.aged, page), `2: aged page ${page} is dirty`)
    }
  }
  invariant(used === books.usedPages, `1: ${books.usedPages} pages used, found ${used}`)
  invariant(dirty === books.dirtyPages, `2: ${books.dirtyPages} pages dirty, found ${dirty}`)
  invariant(countRange(books.dirty, 0, books.columnPages) === dirty, '2: no unmanaged page is dirty')
  invariant(used + dirty <= books.managedPages, '1: no more used and dirty pages than managed ones')
  invariant(committedPages(books) <= books.limitPages, '3: committed pages within the limit')
}

// ---- the map (granule-map) -----------------------------------------------------------------------------

/** Checks `occupied` for frames [firstFrame, endFrame). */
export function checkFrames(books: Books, firstFrame: number, endFrame: number): void {
  const { bits, occupied } = books
  for (let frame = firstFrame; frame < endFrame; frame++) {
    let expected = 0
    for (let word = 0; word < 8; word++) {
      const pair = BITS_PREFIX + (((frame << 3) + word) << 1)
      if ((bits[pair] | bits[pair + 1]) !== 0) expected |= ANY >>> word
      if ((bits[pair + 1] & ~bits[pair]) !== 0) expected |= GAP >>> word
    }
    invariant(occupied[frame] === expected, `1: pairs of frame ${frame}`)
  }
}

/** Checks that [first, end) is one stretch, looked up from both ends. */
export function checkStretch(books: Books, first: Block, end: number): void {
  invariant(endOf(books, first) === end, `2: what starts at ${first} ends at ${end}`)
  invariant(startBefore(books, end) === first, `2: what ends at ${end} starts at ${first}`)
}

// ---- short gaps (short-gaps) ---------------------------------------------------------------------------

/** Checks that a search can find the gap of `length` granules that starts at `granule`. */
export function checkShortGap(books: Books, granule: Block, length: number): void {
  const top = books.tops[granule >>> FRAME_SHIFT]
  invariant(top >= shortBinOf(length), `1: gap ${granule} of ${length} is not above its frame's top`)
}

/** Checks the tree against the tops. */
export function checkShortGaps(books: Books): void {
  const { tops, leaves, branches, roots } = books
  const expected = new Int32Array(leaves.length)
  for (let frame = 0; frame < tops.length; frame++) {
    const top = tops[frame]
    if (top === 0) continue
    expected[(frame & -32) + top] |= FIRST_BIT >>> frame
    invariant(books.usedTops << top < 0, `2: bin ${top} is known to have frames`)
  }
  for (let at = 0; at < leaves.length; at++) {
    invariant(leaves[at] === expected[at], `2: frames from ${at & -32} in bin ${at & (BINS - 1)}`)
  }
  for (let bin = 1; bin < BINS; bin++) {
    checkLevel(leaves, branches, bin)
    checkLevel(branches, roots, bin)
  }
}

/** Checks that a bit of the upper level is set exactly where its word of the level below is not zero. */
function checkLevel(below: Int32Array, above: Int32Array, bin: number): void {
  for (let at = bin; at < below.length; at += BINS) {
    const index = at >>> BINS_SHIFT
    const isSet = above[((index >>> 5) << BINS_SHIFT) + bin] << index < 0
    invariant(isSet === (below[at] !== 0), `2: tree word ${index} of bin ${bin}`)
  }
}

// ---- long gaps (long-gaps) -----------------------------------------------------------------------------

/**
 * Checks the bins. `lengthOf` returns the granules of the gap that starts at a granule, or 0; `cleanIn`
 * returns its whole clean pages. Returns the number of long gaps.
 */
export function checkLongGaps(
  books: Books,
  lengthOf: (granule: number) => number,
  cleanIn: (granule: number) => PageCount,
): number {
  const { rows } = books
  let gaps = 0
  for (let slot = 0; slot < SETS << BIN_SHIFT; slot++) {
    invariant(books.binBits[slot >>> 5] << slot < 0 === (books.heads[slot] !== NONE), `2: bit of bin ${slot}`)
    const head = books.heads[slot]
    let previous: number = head === NONE ? NONE : rows[head * ROW_WORDS + PREV]
    const last = previous
    for (let frame = books.heads[slot]; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
      const start = startIn(books, frame)
      const clean = cleanOf(books, start)
      invariant(rows[frame * ROW_WORDS + PREV] === previous, `1: gap ${start} is linked`)
      invariant(clean === cleanIn(start), `1: gap ${start} counts its clean pages`)
      invariant(slot === slotOf(lengthOf(start), clean), `1: gap ${start} is in its bin`)
      previous = frame
      gaps++
    }
    invariant(previous === last, `1: the last gap of bin ${slot}`)
  }
  for (let word = 0; word < SETS << WORDS_SHIFT; word++) {
    const summary = books.summaries[word >>> WORDS_SHIFT] << (word & WORDS_MASK)
    invariant(summary < 0 === (books.binBits[word] !== 0), `2: summary of word ${word}`)
  }
  return gaps
}

// ---- blocks and gaps (block-space) ---------------------------------------------------------------------

/** Checks all books of the space. Calls `meet` with each block, live or held, and its end. */
export function checkSpace(books: Books, meet: (block: Block, end: number) => void): void {
  const count = { blocks: 0, long: 0 }
  const isUsed = new Uint8Array(books.columnPages)
  for (const { firstPage, pageCount } of books.ranges) {
    const first = firstPage * books.pageGranules
    const end = first + pageCount * books.pageGranules
    checkFrames(books, first >>> FRAME_SHIFT, end >>> FRAME_SHIFT)
    let wasGap = false
    for (let at = first; at < end; at = endOf(books, at)) {
      const next = endOf(books, at)
      const isFree = isGap(books, at)
      invariant(next > at && next <= end, `1: what starts at ${at} ends in its range`)
      invariant(!(isFree && wasGap), `2: gap ${at} touches no other`)
      checkStretch(books, at, next)
      if (isFree) checkGap(books, at, next, count)
      else checkBlock(books, at, next, isUsed, count, meet)
      wasGap = isFree
    }
    invariant(!isGap(books, end) && !isLive(books, end), `1: range ends at ${end}`)
  }
  const filed = checkLongGaps(
    books,
    gap => (isGap(books, gap) ? endOf(books, gap) - gap : 0),
    gap => cleanWithin(books, gap, endOf(books, gap)),
  )
  invariant(filed === count.long, `3: ${count.long} long gaps, found ${filed}`)
  checkShortGaps(books)
  invariant(count.blocks === books.cutBlocks, `4: ${books.cutBlocks} blocks, found ${count.blocks}`)
  checkPages(books, page => isUsed[page] === 1)
}

/** Checks one gap, or counts it if it is long. */
function checkGap(books: Books, gap: Block, end: number, count: { long: number }): void {
  if (end - gap >= FRAME_GRANULES) count.long++
  else checkShortGap(books, gap, end - gap)
}

/** Checks one block or the front, and marks in `isUsed` the pages that it uses. */
function checkBlock(
  books: Books,
  block: Block,
  end: number,
  isUsed: Uint8Array,
  count: { blocks: number },
  meet: (block: Block, end: number) => void,
): void {
  if (block === books.front && books.frontEnd > 0) {
    invariant(end === books.frontEnd && !isLive(books, block), `1: the front is held back`)
    const mask = books.pageGranules - 1
    if ((block & mask) !== 0) isUsed[block >>> books.granuleShift] = 1
    if ((end & mask) !== 0) isUsed[end >>> books.granuleShift] = 1
    return
  }
  count.blocks++
  isUsed.fill(1, block >>> books.granuleShift, ((end - 1) >>> books.granuleShift) + 1)
  meet(block, end)
}

// ---- kept blocks (block-cache) -------------------------------------------------------------------------

/** Checks the stacks. Calls `meet` with each kept block and its end. */
export function checkStacks(books: Books, meet: (block: Block, end: number) => void): void {
  const { stacks } = books
  let direct = 0
  let shared = 0
  for (let stack = 1; stack < STACKS; stack++) {
    const bottom = books.bottoms[stack]
    const room = roomOf(books, stack)
    const top = stacks[stack]
    const size = sizeIn(books, stack)
    if (stack < DIRECT) direct += room * size
    else shared += room * size
    invariant(
      room === 0 ? bottom === NO_ROOM : room > 0 && bottom > NO_ROOM,
      `1: the bottom of stack ${stack}`,
    )
    invariant(bottom + room + 2 <= books.endSlot, `4: the room of stack ${stack} lies before the end`)
    const end = room === maxRoomOf(stack) ? FULL : NO_BLOCK
    invariant(stacks[bottom + room + 1] === end, `1: the end of stack ${stack}`)
    invariant(top >= bottom && top <= bottom + room, `1: stack ${stack} stays within its room`)
    for (let slot = bottom + 1; slot <= top; slot++) {
      const block = stacks[slot]
      invariant(block >= 0, `1: no empty slot in stack ${stack}`)
      invariant(isHeld(books, block), `3: block ${block} is held`)
      invariant(endOf(books, block) === block + size, `3: block ${block} has ${size} granules`)
      meet(block, block + size)
    }
  }
  invariant(books.endSlot <= books.touchedSlots, '4: slots that were never touched')
  invariant(direct === books.grantedDirect, `2: ${books.grantedDirect} granules granted, found ${direct}`)
  invariant(
    shared === books.grantedShared,
    `2: ${books.grantedShared} granules granted to shared stacks, found ${shared}`,
  )
}
