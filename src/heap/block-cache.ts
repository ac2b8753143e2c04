/**
 * Freed blocks that are kept for the next request of exactly their size.
 *
 * A program that frees a size often wants it again soon. A kept block saves the search, the cut and the
 * coalescing. Each size has a stack. Sizes below `DIRECT` granules have one each. Longer sizes share `SHARED`
 * stacks, and a shared stack serves one size at a time. No two lengths up to 256 KiB have the same stack.
 *
 * Kept blocks cannot coalesce, so there are two budgets. A stack that is full is granted more room if all
 * rooms of its kind, each full, then hold at most an eighth of the used granules; for shared stacks, a
 * quarter. Short sizes have a budget of their own: with one for both, the first long blocks would leave
 * nothing for them, and short blocks cost little to keep and are asked for most.
 *
 * All stacks lie in one array of words, `stacks`:
 *
 *      0 .. 255     index of the top slot of each stack below `DIRECT`
 *      256 .. 511   index of the top slot of each shared stack
 *      512 .. 767   granules of the blocks of each shared stack, from `FIRST_SIZE` on
 *      768, 769     `NO_ROOM`: bottom and end of each stack that has no room, both -1
 *      770 ..       rooms
 *
 * A room of n slots takes n + 2 words. A negative number stands at both ends:
 *
 *      bottom      slot 1   slot 2     slot n       end
 *      | -1 - n  | block  | block  |...| unused  | -1, or FULL if the stack gets no more |
 *                             `-- top, if two blocks are kept; the bottom, if none is
 *
 * So one look shows that there is no block, or no slot for one more. Unused slots hold any number that is not
 * negative.
 *
 * The warm paths of `BlockHeap` read and write `stacks` directly. This file does the rest.
 *
 * Invariants, checked by `checkStacks`:
 *  1. a stack's top is its bottom or one of the slots of its room, which lie above the bottom; bottoms and
 *     ends are negative
 *  2. `grantedDirect` and `grantedShared` are the granules that all stacks of that kind can hold
 *  3. every kept block is a held one in the map, and has its stack's size
 *  4. all rooms lie before `endSlot`, and that is at most `touchedSlots`
 */
import { type Books, withoutRooms } from './books.js'
import { give } from './gaps.js'
import {
  DIRECT,
  FIRST_SIZE,
  FULL,
  LONG_STEPS_SHIFT,
  NO_BLOCK,
  NO_ROOM,
  SHARED_SHIFT,
  SPARE_ROOMS_LENGTH,
  STACKS,
  STACKS_AT,
  STACKS_LENGTH,
} from './layout.js'
import { dropColumns } from './page-table.js'

const { clz32 } = Math

const SHARED = 1 << SHARED_SHIFT
/** The most slots of a stack below `DIRECT`, and of a shared one. Slots are granted in steps: 1, 3, 7 … */
const MAX_ROOM = 31
const MAX_SHARED_ROOM = 63
/**
 * All stacks of a kind together may hold one part in 2^n of the used granules, or `MIN_BUDGET` granules if
 * that is more.
 */
const DIRECT_BUDGET_SHIFT = 3
const SHARED_BUDGET_SHIFT = 2
const MIN_BUDGET = 512

/** Whether the budget of the stack's kind allows `granted` granules while `usedGranules` are used. */
function isWithin(stack: number, granted: number, usedGranules: number): boolean {
  const shift = stack < DIRECT ? DIRECT_BUDGET_SHIFT : SHARED_BUDGET_SHIFT
  return granted <= usedGranules >>> shift || granted <= MIN_BUDGET
}

/** The slots of a stack that can get no more room. */
export function maxRoomOf(stack: number): number {
  return stack < DIRECT ? MAX_ROOM : MAX_SHARED_ROOM
}

/** The step of a room: 0, 1, 2 … for rooms of 1, 3, 7 … slots. */
function stepOf(room: number): number {
  return 30 - clz32(room + 1)
}

/**
 * The shared stack, counted from 0, for blocks of `size` granules, a frame or more. There are 32 stacks a
 * doubling, as there are 32 lengths a doubling up to 256 KiB. Above that two neighbouring lengths have the
 * same stack, from 512 KiB on four. Lengths from 1 MiB on have the stacks of those from 4 KiB on, too.
 */
export function sharedOf(size: number): number {
  const shift = 31 - LONG_STEPS_SHIFT - clz32(size)
  return ((shift << LONG_STEPS_SHIFT) + (size >>> shift)) & (SHARED - 1)
}

/** The stack for blocks of `size` granules. A shared stack is for that size only after `claim`. */
export function stackOf(size: number): number {
  return size < DIRECT ? size : DIRECT + sharedOf(size)
}

/** Whether a shared stack is for blocks of `size` granules at present. */
export function isFor(books: Books, stack: number, size: number): boolean {
  return books.stacks[FIRST_SIZE - DIRECT + stack] === size
}

/**
 * Makes a shared stack one for blocks of `size` granules. Returns false, and changes nothing, if it keeps
 * blocks of another size. The stack keeps its room if the budget allows that many blocks of the new size.
 */
export function claim(books: Books, stack: number, size: number, usedGranules: number): boolean {
  const { stacks } = books
  if (stacks[stacks[stack]] >= 0) return false
  const room = roomOf(books, stack)
  const others = books.grantedShared - room * stacks[FIRST_SIZE - DIRECT + stack]
  stacks[FIRST_SIZE - DIRECT + stack] = size
  if (room === 0) return true
  books.grantedShared = others + room * size
  if (!isWithin(stack, books.grantedShared, usedGranules)) {
    books.grantedShared = others
    giveUpRoom(books, stack)
    stacks[stack] = NO_ROOM
  }
  return true
}

/** Whether the budget allows a full stack its next step of room. */
export function mayExtend(books: Books, stack: number, size: number, usedGranules: number): boolean {
  const room = roomOf(books, stack)
  if (room === maxRoomOf(stack)) return false
  const granted = stack < DIRECT ? books.grantedDirect : books.grantedShared
  return isWithin(stack, granted + (room + 1) * size, usedGranules)
}

/**
 * Grants a full stack its next step of room, after `mayExtend`. Returns false, and changes nothing, if
 * `stacks` has no words left for it.
 */
export function extendStack(books: Books, stack: number, size: number): boolean {
  const room = roomOf(books, stack)
  const newRoom = 2 * room + 1
  const to = takeRoom(books, newRoom)
  if (to === 0) return false
  const { stacks, bottoms } = books
  stacks[to + newRoom + 1] = newRoom === maxRoomOf(stack) ? FULL : NO_BLOCK
  const from = bottoms[stack]
  for (let slot = 1; slot <= room; slot++) stacks[to + slot] = stacks[from + slot]
  giveUpRoom(books, stack)
  if (stack < DIRECT) books.grantedDirect += (room + 1) * size
  else books.grantedShared += (room + 1) * size
  bottoms[stack] = to
  stacks[stack] = to + room
  return true
}

/** The number of slots of a stack. */
export function roomOf(books: Books, stack: number): number {
  return NO_BLOCK - books.stacks[books.bottoms[stack]]
}

/**
 * The bottom of a room of `room` slots that no stack has: a spare one or a new one. Returns 0 if no words
 * are left for one.
 */
function takeRoom(books: Books, room: number): number {
  const step = stepOf(room)
  const spare = books.spareRooms[step]
  if (spare !== 0) {
    books.spareRooms[step] = books.stacks[spare + 1]
    return spare
  }
  const slot = books.endSlot
  const end = slot + room + 2
  if (end > STACKS_LENGTH) return 0
  books.endSlot = end
  if (end > books.touchedSlots) books.touchedSlots = end
  books.stacks[slot] = NO_BLOCK - room
  return slot
}

/** Takes a stack's room away and adds it to the spare ones. */
function giveUpRoom(books: Books, stack: number): void {
  const room = roomOf(books, stack)
  if (room === 0) return
  const step = stepOf(room)
  const { bottoms, spareRooms, stacks } = books
  const bottom = bottoms[stack]
  // From here on nothing is called until the caller has given the stack another room, so nothing can
  // interrupt these steps.
  stacks[bottom + 1] = spareRooms[step]
  spareRooms[step] = bottom
  bottoms[stack] = NO_ROOM
}

/** The granules of all kept blocks. */
export function keptGranules(books: Books): number {
  if (books.isDropped) return 0
  let granules = 0
  for (let stack = 1; stack < STACKS; stack++) granules += countIn(books, stack) * sizeIn(books, stack)
  return granules
}

/** The number of kept blocks. */
export function keptBlocks(books: Books): number {
  if (books.isDropped) return 0
  let blocks = 0
  for (let stack = 1; stack < STACKS; stack++) blocks += countIn(books, stack)
  return blocks
}

/** Whether no block is kept. */
export function isCacheEmpty(books: Books): boolean {
  if (books.isDropped || books.grantedDirect + books.grantedShared === 0) return true
  const { stacks } = books
  for (let stack = 1; stack < STACKS; stack++) if (stacks[stacks[stack]] >= 0) return false
  return true
}

/** The number of blocks that a stack keeps. */
function countIn(books: Books, stack: number): number {
  return books.stacks[stack] - books.bottoms[stack]
}

/** The granules of each block of a stack. */
export function sizeIn(books: Books, stack: number): number {
  return stack < DIRECT ? stack : books.stacks[FIRST_SIZE - DIRECT + stack]
}

/** Makes every kept block a gap. The rooms stay. */
export function flushStacks(books: Books): void {
  if (books.grantedDirect + books.grantedShared === 0) return
  const { stacks } = books
  for (let stack = 1; stack < STACKS; stack++) {
    let top = stacks[stack]
    if (stacks[top] < 0) continue
    const size = sizeIn(books, stack)
    // The block leaves the stack first. Whatever interrupts this, a block that has become a gap must never
    // be taken from a stack.
    for (; stacks[top] >= 0; top--) {
      const block = stacks[top]
      stacks[stack] = top - 1
      give(books, block, block + size)
    }
  }
}

/** Gives up all books, also those of live blocks. */
export function dropAllBooks(books: Books): void {
  dropColumns(books, STACKS_AT + books.touchedSlots * Int32Array.BYTES_PER_ELEMENT)
}

/** Takes the rooms of all stacks away. Blocks that they keep are forgotten, not given back. */
export function takeBackRooms(books: Books): void {
  withoutRooms(books.stacks, books.endSlot)
  for (let stack = 0; stack < STACKS; stack++) books.bottoms[stack] = NO_ROOM
  for (let step = 0; step < SPARE_ROOMS_LENGTH; step++) books.spareRooms[step] = 0
  books.endSlot = NO_ROOM + 2
  books.grantedDirect = 0
  books.grantedShared = 0
}
