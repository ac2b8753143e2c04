/**
 * Blocks that were freed and are kept for the next one of exactly their size.
 *
 * Programs free a size and soon want it again, and then nothing need be searched, split or coalesced. Each size has a
 * stack of its own: sizes below `DIRECT` granules one each, longer ones share some, no two lengths up to 256 KiB the
 * same. What is kept here cannot coalesce, so there are two budgets: a stack is granted room when it overflows and as long as
 * all rooms of its kind, each full, hold at most an eighth of what is in use, or a quarter for the shared ones. Short sizes have
 * one to themselves, as else the first long ones leave nothing for them, which are cheap to keep and asked for most.
 *
 * The warm paths of `BlockHeap` work on `stacks` directly; this class does the rest.
 *
 * Invariants, checked by `checkStacks`:
 *  1. a stack's top is its bottom, or one of the slots of its room, which lie above that; bottoms and ends are negative
 *  2. `grantedDirect` and `grantedShared` are what all stacks of that kind can hold
 *  3. every block kept is a held one in the map, of its stack's size
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
/** Bottom and end in one of a stack that has no room: nothing to take, nowhere to put. Two words. */
const NO_ROOM = FIRST_SIZE + SHARED
/** What stands where a room ends, or, where it can get no longer, `FULL`; at its bottom less the number of its slots. */
const NO_BLOCK = -1
/** Most slots of a stack, and of a shared one. They are granted in steps, each twice the one before: 1, 3, 7 … */
const FULL_ROOM = 31
const FULL_SHARED_ROOM = 63
/** All stacks of a kind may hold one part in 2^n of what is in use, or `MIN_BUDGET` granules. */
const DIRECT_BUDGET_SHIFT = 3
const SHARED_BUDGET_SHIFT = 2
const MIN_BUDGET = 512

/** Makes it the words of stacks that have no room. Behind `endSlot` they are zero. */
function withoutRooms(stacks: Int32Array, endSlot: number): Int32Array {
  for (let stack = 0; stack < STACKS; stack++) stacks[stack] = NO_ROOM
  for (let at = STACKS; at < NO_ROOM; at++) stacks[at] = 0
  // Never anything else, even for a moment, once stacks are in use.
  stacks[NO_ROOM] = NO_BLOCK
  stacks[NO_ROOM + 1] = NO_BLOCK
  for (let at = NO_ROOM + 2; at < endSlot; at++) stacks[at] = 0
  return stacks
}

/** Whether all rooms of that stack's kind may be for so many granules while so many are in use. */
function isWithin(stack: number, granted: number, usedGranules: number): boolean {
  const shift = stack < DIRECT ? DIRECT_BUDGET_SHIFT : SHARED_BUDGET_SHIFT
  return granted <= usedGranules >>> shift || granted <= MIN_BUDGET
}

/** The slots of a stack that gets no more. */
function mostOf(stack: number): number {
  return stack < DIRECT ? FULL_ROOM : FULL_SHARED_ROOM
}

/** 0, 1, 2 … for rooms of 1, 3, 7 … */
function stepOf(room: number): number {
  return 30 - clz32(room + 1)
}

export class BlockCache extends SavedSpace {
  /**
   * `stacks[s]` is the index of the top slot of stack `s`. Slots hold blocks. Below the first of a room, at its *bottom*, and
   * behind the last stands a negative number, so one look tells that there is no block, or no slot for one more.
   * `stacks[FIRST_SIZE + s - DIRECT]` is how many granules the blocks of a shared stack have.
   *
   * Of full length from the start, as the kernel gives memory for what is touched: an array that is never replaced is a
   * constant to V8 wherever the heap is one, with its length and where it lies. 4 to 6 % of the time.
   */
  readonly stacks = withoutRooms(this.words(STACKS_AT, STACKS_LENGTH), NO_ROOM)
  private readonly bottoms = this.halves(BOTTOMS_AT, STACKS).fill(NO_ROOM)
  /** The bottom of the next room. */
  private endSlot = NO_ROOM + 2
  /** The highest that was: words of `stacks` that were ever touched. */
  private touchedSlots = NO_ROOM + 2
  /**
   * Rooms that stacks gave up, by step: the bottom of one, or 0; in its first slot, the next. Without them sizes that take
   * turns on a shared stack would leave slots behind for ever.
   */
  private readonly spareRooms = this.words(SPARE_ROOMS_AT, SPARE_ROOMS_LENGTH)
  /** Granules that the stacks of short sizes can hold, each full, and the shared ones. */
  grantedDirect = 0
  grantedShared = 0

  override get metadataBytes(): number {
    if (this.isDropped) return 0
    const stackBytes = this.touchedSlots * Int32Array.BYTES_PER_ELEMENT
    return super.metadataBytes + stackBytes + this.bottoms.byteLength + this.spareRooms.byteLength
  }

  /**
   * Which of the shared stacks, from 0, is for blocks of that many granules, a frame or more. 32 a doubling, as their lengths
   * are up to 256 KiB; two longer neighbours have the same, from 512 KiB on four. Lengths of 1 MiB and more start at 0 again.
   */
  protected sharedOf(size: number): number {
    const shift = 31 - LONG_STEPS_SHIFT - clz32(size)
    return ((shift << LONG_STEPS_SHIFT) + (size >>> shift)) & (SHARED - 1)
  }

  /** The stack for blocks of that many granules; for shared ones, of that many only after `claim`. */
  stackOf(size: number): number {
    return size < DIRECT ? size : DIRECT + this.sharedOf(size)
  }

  /** Whether a shared stack is for blocks of `size` granules now. */
  isFor(stack: number, size: number): boolean {
    return this.stacks[FIRST_SIZE - DIRECT + stack] === size
  }

  /**
   * Makes a shared stack one for blocks of `size` granules, unless it keeps others. Its room stays where the budget allows
   * that many blocks of the new size.
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

  /** Whether a full stack may have more room. */
  mayExtend(stack: number, size: number, usedGranules: number): boolean {
    const room = this.roomOf(stack)
    if (room === mostOf(stack)) return false
    const granted = stack < DIRECT ? this.grantedDirect : this.grantedShared
    return isWithin(stack, granted + (room + 1) * size, usedGranules)
  }

  /** Grants more room to a full stack, after `mayExtend`. Returns false, and changes nothing, where there is none. */
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

  /** How many slots a stack has. */
  private roomOf(stack: number): number {
    return NO_BLOCK - this.stacks[this.bottoms[stack]]
  }

  /** The bottom of a room that no stack has, or 0 where no words are left for one. */
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

  /** A stack has no room any more, and another may have it. */
  private giveUpRoom(stack: number): void {
    const room = this.roomOf(stack)
    if (room === 0) return
    const step = stepOf(room)
    const { bottoms, spareRooms, stacks } = this
    const bottom = bottoms[stack]
    // From here on nothing is called until the caller has given the stack another room: nothing can interrupt that.
    stacks[bottom + 1] = spareRooms[step]
    spareRooms[step] = bottom
    bottoms[stack] = NO_ROOM
  }

  /** Granules of all blocks kept. */
  get keptGranules(): number {
    if (this.isDropped) return 0
    let granules = 0
    for (let stack = 1; stack < STACKS; stack++) granules += this.countIn(stack) * this.sizeIn(stack)
    return granules
  }

  /** How many blocks are kept. */
  get keptBlocks(): number {
    if (this.isDropped) return 0
    let blocks = 0
    for (let stack = 1; stack < STACKS; stack++) blocks += this.countIn(stack)
    return blocks
  }

  /** Whether any block is kept. */
  get isEmpty(): boolean {
    if (this.isDropped || this.grantedDirect + this.grantedShared === 0) return true
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) if (stacks[stacks[stack]] >= 0) return false
    return true
  }

  private countIn(stack: number): number {
    return this.stacks[stack] - this.bottoms[stack]
  }

  private sizeIn(stack: number): number {
    return stack < DIRECT ? stack : this.stacks[FIRST_SIZE - DIRECT + stack]
  }

  /** Gives every block back that is kept; the rooms stay. */
  flushStacks(): void {
    if (this.grantedDirect + this.grantedShared === 0) return
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) {
      let top = stacks[stack]
      if (stacks[top] < 0) continue
      const size = this.sizeIn(stack)
      // Off the stack first: what is given back must never be taken from there again, whatever interrupts this.
      for (; stacks[top] >= 0; top--) {
        const block = stacks[top]
        stacks[stack] = top - 1
        this.give(block, block + size)
      }
    }
  }

  /** Gives up all books, whatever they hold. */
  protected dropBooksOfStacks(): void {
    this.dropColumns(STACKS_AT + this.touchedSlots * Int32Array.BYTES_PER_ELEMENT)
  }

  /** Takes back the rooms of all stacks. What they keep is forgotten. */
  takeBackRooms(): void {
    withoutRooms(this.stacks, this.endSlot)
    for (let stack = 0; stack < STACKS; stack++) this.bottoms[stack] = NO_ROOM
    for (let step = 0; step < SPARE_ROOMS_LENGTH; step++) this.spareRooms[step] = 0
    this.endSlot = NO_ROOM + 2
    this.grantedDirect = 0
    this.grantedShared = 0
  }

  /** Calls `meet` with each block kept and its end. */
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
