/**
 * Gaps of a frame and longer. They are found by length in O(1).
 *
 * Each long gap is linked into one *bin*. There are eight bins a doubling, under a bitmap of two levels. A
 * bin is a queue, oldest gap first: an old gap has had time to coalesce. A long gap is the last stretch that
 * starts in its frame, so its links fit into the frame's row. There are two sets of bins. *Warm* gaps hold no
 * whole clean page, so a block from one costs no fault. *Cold* gaps are all others.
 *
 * Invariants, checked by `checkLongGaps`:
 *  1. a long gap is in the one bin that its length and its clean pages determine, and its row says where it
 *     starts
 *  2. the bit of a bin is set exactly where the bin has a gap; a summary bit is set exactly where its word of
 *     bin bits is not zero
 */
import { GRANULE_BYTES, NONE, type PageCount } from '../base/units.js'
import type { Books } from './books.js'
import {
  BIN_SHIFT,
  COLD,
  EDGE,
  END,
  FIRST_BIT,
  FRAME_GRANULES,
  FRAME_SHIFT,
  LATER_BITS,
  NEXT,
  PREV,
  ROW_WORDS,
  SETS,
  WARM,
} from './layout.js'

const { clz32, max } = Math

const STEPS_SHIFT = 3 // log2 of the bins in a doubling
const STEPS_MASK = (1 << STEPS_SHIFT) - 1
export const WORDS_SHIFT = BIN_SHIFT - 5
export const WORDS_MASK = (1 << WORDS_SHIFT) - 1
const FRAME_MASK = FRAME_GRANULES - 1
/** The gaps of a bin differ in length. A search takes the best of this many. */
const PROBES = 4
/**
 * More granules than any gap can have beyond a wanted length: lengths are at most 2^31, and a wanted length
 * is at least 1.
 */
const MAX_SPARE = 2 ** 31 - 1

/** The bin, within a set, of a gap of `length` granules, at least a frame. */
function longBinOf(length: number): number {
  const doubling = 31 - clz32(length)
  return ((doubling - FRAME_SHIFT) << STEPS_SHIFT) + ((length >>> (doubling - STEPS_SHIFT)) & STEPS_MASK)
}

/** Forgets all long gaps. */
export function forgetLongGaps(books: Books): void {
  for (let slot = 0; slot < SETS << BIN_SHIFT; slot++) books.heads[slot] = NONE
  for (let word = 0; word < SETS << WORDS_SHIFT; word++) books.binBits[word] = 0
  for (let set = 0; set < SETS; set++) books.summaries[set] = 0
}

/** The slot of a gap of `length` granules with `clean` whole clean pages. */
export function slotOf(length: number, clean: PageCount): number {
  return longBinOf(length) + (clean === 0 ? WARM << BIN_SHIFT : COLD << BIN_SHIFT)
}

/** The whole clean pages of the long gap that starts at `granule`. */
export function cleanOf(books: Books, granule: number): PageCount {
  return books.rows[(granule >>> FRAME_SHIFT) * ROW_WORDS + EDGE] >>> FRAME_SHIFT
}

/**
 * The start of a gap of `set` that has room for `length` granules, or NONE. It is the best of a few. The
 * gap stays in its bin.
 */
export function findLong(books: Books, set: number, length: number): number {
  const summary = books.summaries[set]
  if (summary === 0) return NONE
  const { rows } = books
  const heads = books.heads
  let bin = 0
  if (length >= FRAME_GRANULES) {
    bin = longBinOf(length)
    // In the bin of `length` itself gaps may be too short.
    let best: number = NONE
    let bestSpare = MAX_SPARE
    let frame = heads[(set << BIN_SHIFT) + bin]
    for (let n = 0; n < PROBES && frame !== NONE; n++) {
      const row = frame * ROW_WORDS
      const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
      const spare = (rows[row + END] - start - length) | 0
      if (spare >= 0 && spare < bestSpare) {
        best = start
        bestSpare = spare
      }
      frame = rows[row + NEXT]
    }
    if (best !== NONE) return best
    bin++
  }
  let word = bin >>> 5
  let bits = word < 1 << WORDS_SHIFT ? books.binBits[(set << WORDS_SHIFT) + word] & (-1 >>> bin) : 0
  if (bits === 0) {
    const later = summary & (LATER_BITS >>> word)
    if (later === 0) return NONE
    word = clz32(later)
    bits = books.binBits[(set << WORDS_SHIFT) + word]
  }
  let frame = heads[(set << BIN_SHIFT) + (word << 5) + clz32(bits)]
  let best: number = NONE
  let bestSpare = MAX_SPARE
  for (let n = 0; n < PROBES && frame !== NONE; n++) {
    const row = frame * ROW_WORDS
    const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
    const spare = (rows[row + END] - start - length) | 0
    if (spare < bestSpare || best === NONE) {
      best = start
      bestSpare = spare
    }
    frame = rows[row + NEXT]
  }
  return best
}

/**
 * The start of a gap of `set` that has room for `length` granules at a multiple of `mask + 1`, or NONE. The
 * gap stays in its bin.
 */
export function findLongAligned(books: Books, set: number, length: number, mask: number): number {
  if (books.summaries[set] === 0) return NONE
  let bin = 0
  if (length >= FRAME_GRANULES) {
    bin = longBinOf(length)
    const own = (set << BIN_SHIFT) + bin
    const near = books.heads[own] === NONE ? NONE : bestIn(books, own, length, mask)
    if (near !== NONE) return near
    bin++
  }
  const slot = slotFrom(books, set, bin)
  if (slot === NONE) return NONE
  const gap = bestIn(books, slot, length, mask)
  // In the probed gaps an aligned block may not fit. A gap with room for every alignment certainly has
  // room.
  return gap !== NONE ? gap : findLong(books, set, length + mask)
}

/** The slot of the first bin of `set`, from `bin` on, that has a gap, or NONE. */
function slotFrom(books: Books, set: number, bin: number): number {
  let word = bin >>> 5
  let bits = word < 1 << WORDS_SHIFT ? books.binBits[(set << WORDS_SHIFT) + word] & (-1 >>> bin) : 0
  if (bits === 0) {
    const later = books.summaries[set] & (LATER_BITS >>> word)
    if (later === 0) return NONE
    word = clz32(later)
    bits = books.binBits[(set << WORDS_SHIFT) + word]
  }
  return ((set << BIN_SHIFT) + (word << 5)) | clz32(bits)
}

/**
 * The start of the shortest of a bin's first few gaps that have room for `length` granules at a multiple of
 * `mask + 1`, or NONE.
 */
function bestIn(books: Books, slot: number, length: number, mask: number): number {
  const { rows } = books
  let best: number = NONE
  let bestLength = Number.MAX_SAFE_INTEGER
  let frame = books.heads[slot]
  for (let n = 0; n < PROBES && frame !== NONE; n++) {
    const row = frame * ROW_WORDS
    const start = (frame << FRAME_SHIFT) | (rows[row + EDGE] & FRAME_MASK)
    const found = (rows[row + END] >>> 0) - start
    if (found - (-start & mask) >= length && found < bestLength) {
      best = start
      bestLength = found
    }
    frame = rows[row + NEXT]
  }
  return best
}

/**
 * The start of a gap of any set that has room for `size` granules at a multiple of `mask + 1`, or NONE.
 * Called when `findLong` and `findLongAligned` found nothing. Reads all gaps of nearly that length, of
 * which those two probe a few.
 */
export function findLastLong(books: Books, size: number, mask: number): number {
  const { rows } = books
  const lastBin = longBinOf(max(FRAME_GRANULES, size + mask))
  for (let bin = size < FRAME_GRANULES ? 0 : longBinOf(size); bin <= lastBin; bin++) {
    for (let set = WARM; set <= COLD; set++) {
      let frame = books.heads[(set << BIN_SHIFT) + bin]
      for (; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
        const start = startIn(books, frame)
        const end = rows[frame * ROW_WORDS + END] >>> 0
        if (start + (-start & mask) + size <= end) return start
      }
    }
  }
  return NONE
}

/**
 * The start of the long gap that follows `after`, or of the first one if `after` is NONE. Returns NONE at
 * the end. The order means nothing.
 */
export function followingLong(books: Books, after: number): number {
  const { rows } = books
  let slot = 0
  if (after !== NONE) {
    const row = (after >>> FRAME_SHIFT) * ROW_WORDS
    if (rows[row + NEXT] !== NONE) return startIn(books, rows[row + NEXT])
    slot = slotOf((rows[row + END] >>> 0) - after, rows[row + EDGE] >>> FRAME_SHIFT) + 1
  }
  while (slot < SETS << BIN_SHIFT && books.heads[slot] === NONE) slot++
  return slot < SETS << BIN_SHIFT ? startIn(books, books.heads[slot]) : NONE
}

/**
 * The most bytes that `roomIn` returns for any long gap, or 0 if there is none. `roomIn` returns at most
 * the length of a gap in bytes. Reads the bins from the longest gaps down, until the best result is as long
 * as the longest gap.
 */
export function mostInLong(books: Books, roomIn: (first: number, end: number) => number): number {
  const { rows } = books
  let most = 0
  let longest = 0
  for (let bin = (1 << BIN_SHIFT) - 1; bin >= 0 && (most === 0 || most < longest); bin--) {
    for (let set = WARM; set <= COLD; set++) {
      let frame = books.heads[(set << BIN_SHIFT) + bin]
      for (; frame !== NONE; frame = rows[frame * ROW_WORDS + NEXT]) {
        const first = startIn(books, frame)
        const end = rows[frame * ROW_WORDS + END] >>> 0
        longest = max(longest, (end - first) * GRANULE_BYTES)
        most = max(most, roomIn(first, end))
      }
    }
  }
  return most
}

/** The start of the long gap that starts in `frame`. */
export function startIn(books: Books, frame: number): number {
  return (frame << FRAME_SHIFT) | (books.rows[frame * ROW_WORDS + EDGE] & FRAME_MASK)
}

/** Files the gap of `length` granules that starts at `granule`. `clean` of its whole pages are clean. */
export function addLong(books: Books, granule: number, length: number, clean: PageCount): void {
  addTo(books, slotOf(length, clean), granule, clean)
}

/**
 * Puts the gap that starts at `granule` at the end of the bin at `slot`. `clean` of its whole pages are
 * clean.
 */
export function addTo(books: Books, slot: number, granule: number, clean: PageCount): void {
  const { heads, rows } = books
  const frame = granule >>> FRAME_SHIFT
  const row = frame * ROW_WORDS
  const head = heads[slot]
  rows[row + EDGE] = (clean << FRAME_SHIFT) | (granule & FRAME_MASK)
  rows[row + NEXT] = NONE
  if (head !== NONE) {
    const tail = rows[head * ROW_WORDS + PREV]
    rows[row + PREV] = tail
    rows[tail * ROW_WORDS + NEXT] = frame
    rows[head * ROW_WORDS + PREV] = frame
    return
  }
  rows[row + PREV] = frame
  heads[slot] = frame
  const word = slot >>> 5
  books.binBits[word] |= FIRST_BIT >>> slot
  books.summaries[word >>> WORDS_SHIFT] |= FIRST_BIT >>> (word & WORDS_MASK)
}

/**
 * Takes the gap that starts at `granule` out of its bin. `length` and `clean` are those with which it was
 * filed.
 */
export function removeLong(books: Books, granule: number, length: number, clean: PageCount): void {
  removeFrom(books, slotOf(length, clean), granule >>> FRAME_SHIFT)
}

/** Takes the gap that starts in `frame` out of the bin at `slot`. */
export function removeFrom(books: Books, slot: number, frame: number): void {
  const { heads, rows } = books
  const row = frame * ROW_WORDS
  const next = rows[row + NEXT]
  const previous = rows[row + PREV]
  const head = heads[slot]
  if (frame !== head) {
    rows[previous * ROW_WORDS + NEXT] = next
    rows[(next !== NONE ? next : head) * ROW_WORDS + PREV] = previous
    return
  }
  heads[slot] = next
  if (next !== NONE) {
    rows[next * ROW_WORDS + PREV] = previous
    return
  }
  const word = slot >>> 5
  books.binBits[word] &= ~(FIRST_BIT >>> slot)
  if (books.binBits[word] === 0) books.summaries[word >>> WORDS_SHIFT] &= ~(FIRST_BIT >>> (word & WORDS_MASK))
}

/**
 * Refiles a gap whose start, length or count of clean pages has changed. If its bin stays the same, so does
 * its place in it. For the longest gaps that is nearly always so.
 */
export function changeLong(
  books: Books,
  from: number,
  fromLength: number,
  fromClean: PageCount,
  to: number,
  length: number,
  clean: PageCount,
): void {
  changeIn(books, slotOf(fromLength, fromClean), from >>> FRAME_SHIFT, slotOf(length, clean), to, clean)
}

/**
 * Refiles the gap that started in `fromFrame` and is in the bin at `fromSlot`. It now starts at `to` and
 * belongs at `slot`; `clean` of its whole pages are clean.
 */
export function changeIn(
  books: Books,
  fromSlot: number,
  fromFrame: number,
  slot: number,
  to: number,
  clean: PageCount,
): void {
  if (slot !== fromSlot) {
    removeFrom(books, fromSlot, fromFrame)
    addTo(books, slot, to, clean)
    return
  }
  const { rows } = books
  const frame = to >>> FRAME_SHIFT
  rows[frame * ROW_WORDS + EDGE] = (clean << FRAME_SHIFT) | (to & FRAME_MASK)
  if (frame !== fromFrame) renameIn(books, slot, fromFrame, frame)
}

/** Gives the place of `fromFrame` in the bin at `slot` to `frame`. */
function renameIn(books: Books, slot: number, fromFrame: number, frame: number): void {
  const { heads, rows } = books
  const next = rows[fromFrame * ROW_WORDS + NEXT]
  const previous = rows[fromFrame * ROW_WORDS + PREV]
  const isFirst = heads[slot] === fromFrame
  if (isFirst) heads[slot] = frame
  else rows[previous * ROW_WORDS + NEXT] = frame
  rows[frame * ROW_WORDS + NEXT] = next
  rows[frame * ROW_WORDS + PREV] = previous
  // If the bin has only this gap, the gap is also the last one.
  rows[(next !== NONE ? next : heads[slot]) * ROW_WORDS + PREV] = frame
}
