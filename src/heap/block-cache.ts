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
 * The warm paths of `BlockHeap` read and write `stacks` directly. This class does the rest.
 *
 * Invariants, checked by `checkStacks`:
 *  1. a stack's top is its bottom or one of the slots of its room, which lie above the bottom; bottoms and
 *     ends are negative
 *  2. `grantedDirect` and `grantedShared` are the granules that all stacks of that kind can hold
 *  3. every kept block is a held one in the map, and has its stack's size
 *  4. all rooms lie before `endSlot`, and that is at most `touchedSlots`
 */
import { invariant } from '../base/assert.js'
import type { Block } from '../base/units.js'
import {
  BOTTOMS_AT,
  DIRECT,
  FIRST_SIZE,
  FULL,
  LONG_STEPS_SHIFT,
  SHARED_SHIFT,
  SPARE_ROOMS_AT,
  SPARE_ROOMS_LENGTH,
  STACKS,
  STACKS_AT,
  STACKS_LENGTH,
} from './layout.js'
import { SavedSpace } from './saved-space.js'

const { clz32 } = Math

const SHARED = 1 << SHARED_SHIFT
/**
 * The bottom of each stack that has no room. The word behind it is the end: there is nothing to take and no
 * slot to put a block.
 */
const NO_ROOM = FIRST_SIZE + SHARED
/**
 * Stands at the end of a room that can get longer; at the end of any other stands `FULL`. At the bottom
 * stands `NO_BLOCK` less the number of slots.
 */
const NO_BLOCK = -1
/** The most slots of a stack below `DIRECT`, and of a shared one. Slots are granted in steps: 1, 3, 7 … */
const FULL_ROOM = 31
const FULL_SHARED_ROOM = 63
/**
 * All stacks of a kind together may hold one part in 2^n of the used granules, or `MIN_BUDGET` granules if
 * that is more.
 */
const DIRECT_BUDGET_SHIFT = 3
const SHARED_BUDGET_SHIFT = 2
const MIN_BUDGET = 512

/**
 * Writes into `stacks` that no stack has a room, and returns it. Words from `endSlot` on must be zero
 * already.
 */
function withoutRooms(stacks: Int32Array, endSlot: number): Int32Array {
  for (let stack = 0; stack < STACKS; stack++) stacks[stack] = NO_ROOM
  for (let at = STACKS; at < NO_ROOM; at++) stacks[at] = 0
  // These two words must not hold anything else, even for a moment, once the stacks are in use.
  stacks[NO_ROOM] = NO_BLOCK
  stacks[NO_ROOM + 1] = NO_BLOCK
  for (let at = NO_ROOM + 2; at < endSlot; at++) stacks[at] = 0
  return stacks
}

/** Whether the budget of the stack's kind allows `granted` granules while `usedGranules` are used. */
function isWithin(stack: number, granted: number, usedGranules: number): boolean {
  const shift = stack < DIRECT ? DIRECT_BUDGET_SHIFT : SHARED_BUDGET_SHIFT
  return granted <= usedGranules >>> shift || granted <= MIN_BUDGET
}

/** The slots of a stack that can get no more room. */
function mostOf(stack: number): number {
  return stack < DIRECT ? FULL_ROOM : FULL_SHARED_ROOM
}

/** The step of a room: 0, 1, 2 … for rooms of 1, 3, 7 … slots. */
function stepOf(room: number): number {
  return 30 - clz32(room + 1)
}

/** Keeps freed blocks on stacks and grants room to these. */
export class BlockCache extends SavedSpace {
  /**
   * The stacks, as drawn above. `stacks[s]` is the index of the top slot of stack `s`, and slots hold blocks.
   * `stacks[FIRST_SIZE + s - DIRECT]` is the number of granules of a shared stack's blocks.
   *
   * It has its full length from the start and is never replaced, so V8 can treat it as a constant, see
   * docs/v8.md. The kernel gives memory only for the words that are touched.
   */
  readonly stacks = withoutRooms(this.words(STACKS_AT, STACKS_LENGTH), NO_ROOM)
  /** The index in `stacks` of each stack's bottom. */
  private readonly bottoms = this.halves(BOTTOMS_AT, STACKS).fill(NO_ROOM)
  /** The index in `stacks` at which the next new room begins. */
  private endSlot = NO_ROOM + 2
  /** The highest `endSlot` ever. Words of `stacks` from there on were never touched. */
  private touchedSlots = NO_ROOM + 2
  /**
   * Rooms that stacks gave up: a list for each step. It holds the bottom of a room, or 0; the first slot of
   * that room holds the next bottom. Without these lists, sizes that take turns on a shared stack would leave
   * unused rooms behind for ever.
   */
  private readonly spareRooms = this.words(SPARE_ROOMS_AT, SPARE_ROOMS_LENGTH)
  /**
   * The granules that all stacks below `DIRECT` can hold if each room is full, and those of all shared
   * stacks.
   */
  grantedDirect = 0
  grantedShared = 0

  override get metadataBytes(): number {
    if (this.isDropped) return 0
    const stackBytes = this.touchedSlots * Int32Array.BYTES_PER_ELEMENT
    return super.metadataBytes + stackBytes + this.bottoms.byteLength + this.spareRooms.byteLength
  }

  /**
   * The shared stack, counted from 0, for blocks of `size` granules, a frame or more. There are 32 stacks a
   * doubling, as there are 32 lengths a doubling up to 256 KiB. Above that two neighbouring lengths have the
   * same stack, from 512 KiB on four. Lengths from 1 MiB on have the stacks of those from 4 KiB on, too.
   */
  protected sharedOf(size: number): number {
    const shift = 31 - LONG_STEPS_SHIFT - clz32(size)
    return ((shift << LONG_STEPS_SHIFT) + (size >>> shift)) & (SHARED - 1)
  }

  /** The stack for blocks of `size` granules. A shared stack is for that size only after `claim`. */
  stackOf(size: number): number {
    return size < DIRECT ? size : DIRECT + this.sharedOf(size)
  }

  /** Whether a shared stack is for blocks of `size` granules at present. */
  isFor(stack: number, size: number): boolean {
    return this.stacks[FIRST_SIZE - DIRECT + stack] === size
  }

  /**
   * Makes a shared stack one for blocks of `size` granules. Returns false, and changes nothing, if it keeps
   * blocks of another size. The stack keeps its room if the budget allows that many blocks of the new size.
   */
  claim(stack: number, size: number, usedGranules: number): boolean {
    const { stacks } = this
    if (stacks[stacks[stack]] >= 0) return false
    const room = this.roomOf(stack)
    const others = this.grantedShared - room * stacks[FIRST_SIZE - DIRECT + stack]
    stacks[FIRST_SIZE - DIRECT + stack] = size
    if (room === 0) return true
    this.grantedShared = others + room * size
    if (!isWithin(stack, this.grantedShared, usedGranules)) {
      this.grantedShared = others
      this.giveUpRoom(stack)
      stacks[stack] = NO_ROOM
    }
    return true
  }

  /** Whether the budget allows a full stack its next step of room. */
  mayExtend(stack: number, size: number, usedGranules: number): boolean {
    const room = this.roomOf(stack)
    if (room === mostOf(stack)) return false
    const granted = stack < DIRECT ? this.grantedDirect : this.grantedShared
    return isWithin(stack, granted + (room + 1) * size, usedGranules)
  }

  /**
   * Grants a full stack its next step of room, after `mayExtend`. Returns false, and changes nothing, if
   * `stacks` has no words left for it.
   */
  extendStack(stack: number, size: number): boolean {
    const room = this.roomOf(stack)
    const newRoom = 2 * room + 1
    const to = this.newRoom(newRoom)
    if (to === 0) return false
    const { stacks, bottoms } = this
    stacks[to + newRoom + 1] = newRoom === mostOf(stack) ? FULL : NO_BLOCK
    const from = bottoms[stack]
    for (let slot = 1; slot <= room; slot++) stacks[to + slot] = stacks[from + slot]
    this.giveUpRoom(stack)
    if (stack < DIRECT) this.grantedDirect += (room + 1) * size
    else this.grantedShared += (room + 1) * size
    bottoms[stack] = to
    stacks[stack] = to + room
    return true
  }

  /** The number of slots of a stack. */
  private roomOf(stack: number): number {
    return NO_BLOCK - this.stacks[this.bottoms[stack]]
  }

  /**
   * The bottom of a room of `room` slots that no stack has: a spare one or a new one. Returns 0 if no words
   * are left for one.
   */
  private newRoom(room: number): number {
    const step = stepOf(room)
    const spare = this.spareRooms[step]
    if (spare !== 0) {
      this.spareRooms[step] = this.stacks[spare + 1]
      return spare
    }
    const slot = this.endSlot
    const end = slot + room + 2
    if (end > STACKS_LENGTH) return 0
    this.endSlot = end
    if (end > this.touchedSlots) this.touchedSlots = end
    this.stacks[slot] = NO_BLOCK - room
    return slot
  }

  /** Takes a stack's room away and adds it to the spare ones. */
  private giveUpRoom(stack: number): void {
    const room = this.roomOf(stack)
    if (room === 0) return
    const step = stepOf(room)
    const { bottoms, spareRooms, stacks } = this
    const bottom = bottoms[stack]
    // From here on nothing is called until the caller has given the stack another room, so nothing can
    // interrupt these steps.
    stacks[bottom + 1] = spareRooms[step]
    spareRooms[step] = bottom
    bottoms[stack] = NO_ROOM
  }

  /** The granules of all kept blocks. */
  get keptGranules(): number {
    if (this.isDropped) return 0
    let granules = 0
    for (let stack = 1; stack < STACKS; stack++) granules += this.countIn(stack) * this.sizeIn(stack)
    return granules
  }

  /** The number of kept blocks. */
  get keptBlocks(): number {
    if (this.isDropped) return 0
    let blocks = 0
    for (let stack = 1; stack < STACKS; stack++) blocks += this.countIn(stack)
    return blocks
  }

  /** Whether no block is kept. */
  get isEmpty(): boolean {
    if (this.isDropped || this.grantedDirect + this.grantedShared === 0) return true
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) if (stacks[stacks[stack]] >= 0) return false
    return true
  }

  /** The number of blocks that a stack keeps. */
  private countIn(stack: number): number {
    return this.stacks[stack] - this.bottoms[stack]
  }

  /** The granules of each block of a stack. */
  private sizeIn(stack: number): number {
    return stack < DIRECT ? stack : this.stacks[FIRST_SIZE - DIRECT + stack]
  }

  /** Makes every kept block a gap. The rooms stay. */
  flushStacks(): void {
    if (this.grantedDirect + this.grantedShared === 0) return
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) {
      let top = stacks[stack]
      if (stacks[top] < 0) continue
      const size = this.sizeIn(stack)
      // The block leaves the stack first. Whatever interrupts this, a block that has become a gap must never
      // be taken from a stack.
      for (; stacks[top] >= 0; top--) {
        const block = stacks[top]
        stacks[stack] = top - 1
        this.give(block, block + size)
      }
    }
  }

  /** Gives up all books, also those of live blocks. */
  protected dropBooksOfStacks(): void {
    this.dropColumns(STACKS_AT + this.touchedSlots * Int32Array.BYTES_PER_ELEMENT)
  }

  /** Takes the rooms of all stacks away. Blocks that they keep are forgotten, not given back. */
  takeBackRooms(): void {
    withoutRooms(this.stacks, this.endSlot)
    for (let stack = 0; stack < STACKS; stack++) this.bottoms[stack] = NO_ROOM
    for (let step = 0; step < SPARE_ROOMS_LENGTH; step++) this.spareRooms[step] = 0
    this.endSlot = NO_ROOM + 2
    this.grantedDirect = 0
    this.grantedShared = 0
  }

  /** Checks the stacks. Calls `meet` with each kept block and its end. */
  checkStacks(meet: (block: Block, end: number) => void): void {
    const { stacks } = this
    let direct = 0
    let shared = 0
    for (let stack = 1; stack < STACKS; stack++) {
      const bottom = this.bottoms[stack]
      const room = this.roomOf(stack)
      const top = stacks[stack]
      const size = this.sizeIn(stack)
      if (stack < DIRECT) direct += room * size
      else shared += room * size
      invariant(
        room === 0 ? bottom === NO_ROOM : room > 0 && bottom > NO_ROOM,
        `1: the bottom of stack ${stack}`,
      )
      invariant(bottom + room + 2 <= this.endSlot, `4: the room of stack ${stack} lies before the end`)
      const end = room === mostOf(stack) ? FULL : NO_BLOCK
      invariant(stacks[bottom + room + 1] === end, `1: the end of stack ${stack}`)
      invariant(top >= bottom && top <= bottom + room, `1: stack ${stack} stays within its room`)
      for (let slot = bottom + 1; slot <= top; slot++) {
        const block = stacks[slot]
        invariant(block >= 0, `1: no empty slot in stack ${stack}`)
        invariant(this.isHeld(block), `3: block ${block} is held`)
        invariant(this.next(block) === block + size, `3: block ${block} has ${size} granules`)
        meet(block, block + size)
      }
    }
    invariant(this.endSlot <= this.touchedSlots, '4: slots that were never touched')
    invariant(direct === this.grantedDirect, `2: ${this.grantedDirect} granules granted, found ${direct}`)
    invariant(
      shared === this.grantedShared,
      `2: ${this.grantedShared} granules granted to shared stacks, found ${shared}`,
    )
  }
}
