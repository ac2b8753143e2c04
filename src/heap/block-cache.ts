/**
 * Blocks that were freed and are kept for the next one of exactly their size.
 *
 * Programs free a size and soon want it again, and then nothing need be searched, split or coalesced. Each size has a
 * stack of its own: sizes below `DIRECT` granules one each, longer ones share some by a hash. What is kept here cannot
 * coalesce, so there is a budget: a stack is granted room when it overflows and as long as all rooms together, each full,
 * hold at most a quarter of what is in use, and this one, unless it is for a single block, an eighth of it.
 *
 * The warm paths of `BlockHeap` work on `stacks` directly; this class does the rest.
 *
 * Invariants, checked by `checkStacks`:
 *  1. a stack's top is at its empty slot, or at one of the blocks above it, not above its limit
 *  2. `grantedGranules` is what all stacks can hold
 *  3. every block kept is a held one in the map, of its stack's size
 */
import { invariant } from '../base/assert.js'
import type { Block } from '../base/units.js'
import { copyTo, disposeOf } from './columns.js'
import { SpacePages } from './space-pages.js'

/** Sizes below this many granules have a stack of their own. */
export const DIRECT = 256
/** As many stacks as there are lengths from a frame to 64 KiB. */
const HASHED_SHIFT = 7
const HASHED = 1 << HASHED_SHIFT
const STACKS = DIRECT + HASHED
/** Words of `stacks` before the slots: top and limit of each stack, then the sizes of hashed ones. */
export const FIRST_SIZE = 2 * STACKS
const FIRST_SLOT = FIRST_SIZE + HASHED
const FIRST_LENGTH = FIRST_SLOT + 64
/** The stacks of a cache that was never opened: no room anywhere. */
const NO_STACKS = new Int32Array(FIRST_LENGTH)
/** Most room of a stack. It is granted in steps, each twice the one before: 1, 3, 7, 15. */
const FULL_ROOM = 15
const ROOM_STEPS = 4
const BUDGET_SHIFT = 2
const SHARE_SHIFT = 3
const MIN_BUDGET = 512

/** Which of the hashed stacks, from 0, is for blocks of that many granules. */
export function hashOf(size: number): number {
  return Math.imul(size, 0x9e3779b1) >>> (32 - HASHED_SHIFT)
}

/** Whether all rooms may be for that many granules while so many are in use. */
function isWithin(granted: number, usedGranules: number): boolean {
  return granted <= usedGranules >>> BUDGET_SHIFT || granted <= MIN_BUDGET
}

/** Whether one stack's room may be for so many blocks. */
function isFairShare(room: number, size: number, usedGranules: number): boolean {
  return room === 1 || room * size <= usedGranules >>> SHARE_SHIFT || room * size <= MIN_BUDGET
}

/** 0 to 3 for rooms of 1, 3, 7 and 15. */
function stepOf(room: number): number {
  return 30 - Math.clz32(room + 1)
}

export class BlockCache extends SpacePages {
  /**
   * Stack `s` has `stacks[2 * s]`, the index of its top slot, and `stacks[2 * s + 1]`, that of its last. Slots hold a block
   * plus one, so that an empty one is 0: the one below each stack, and the one that tops of stacks without room point to.
   * `stacks[FIRST_SIZE + s - DIRECT]` is how many granules the blocks of a hashed stack have.
   */
  stacks = NO_STACKS
  private readonly rooms = new Uint8Array(STACKS)
  private endSlot = FIRST_SLOT
  /**
   * Rooms that stacks gave up, by step: the empty slot below the first, or 0; in the slot above that, the next. Without them
   * sizes that take turns on a shared stack would leave slots behind for ever.
   */
  private readonly spareRooms = new Int32Array(ROOM_STEPS)
  grantedGranules = 0

  override get metadataBytes(): number {
    const stackBytes = this.stacks === NO_STACKS ? 0 : this.stacks.byteLength
    return super.metadataBytes + stackBytes + this.rooms.byteLength
  }

  /** Before the first block is kept. Throws where there is no memory. */
  openStacks(): void {
    if (this.stacks === NO_STACKS) this.stacks = copyTo(NO_STACKS, FIRST_LENGTH, this.storage)
  }

  /** The stack for blocks of that many granules; for hashed ones, of that many only after `claim`. */
  stackOf(size: number): number {
    return size < DIRECT ? size : DIRECT + hashOf(size)
  }

  /** Whether a hashed stack is for blocks of `size` granules now. */
  isFor(stack: number, size: number): boolean {
    return this.stacks[FIRST_SIZE - DIRECT + stack] === size
  }

  /**
   * Makes a hashed stack one for blocks of `size` granules, unless it keeps others. Its room stays where the budget allows
   * that many blocks of the new size.
   */
  claim(stack: number, size: number, usedGranules: number): boolean {
    const { stacks } = this
    if (stacks[stacks[stack << 1]] !== 0) return false
    const room = this.rooms[stack]
    const others = this.grantedGranules - room * stacks[FIRST_SIZE - DIRECT + stack]
    stacks[FIRST_SIZE - DIRECT + stack] = size
    if (room === 0) return true
    const granted = others + room * size
    if (isWithin(granted, usedGranules) && isFairShare(room, size, usedGranules)) {
      this.grantedGranules = granted
    } else {
      this.grantedGranules = others
      this.giveUpRoom(stack)
      stacks[stack << 1] = 0
      stacks[(stack << 1) + 1] = 0
    }
    return true
  }

  /** Whether a full stack may have more room. */
  mayExtend(stack: number, size: number, usedGranules: number): boolean {
    const room = this.rooms[stack]
    if (room === FULL_ROOM) return false
    if (!isFairShare(2 * room + 1, size, usedGranules)) return false
    return isWithin(this.grantedGranules + (room + 1) * size, usedGranules)
  }

  /** Grants more room to a full stack, after `mayExtend`. Returns false, and changes nothing, where there is no memory. */
  extendStack(stack: number, size: number): boolean {
    const room = this.rooms[stack]
    const newRoom = 2 * room + 1
    const granted = this.grantedGranules + (room + 1) * size
    const to = this.newRoom(newRoom)
    if (to === 0) return false
    const { stacks } = this
    const from = stacks[(stack << 1) + 1] - room
    const kept = room === 0 ? 0 : stacks[stack << 1] - from
    for (let slot = 1; slot <= kept; slot++) stacks[to + slot] = stacks[from + slot]
    this.giveUpRoom(stack)
    this.grantedGranules = granted
    this.rooms[stack] = newRoom
    stacks[stack << 1] = to + kept
    stacks[(stack << 1) + 1] = to + newRoom
    return true
  }

  /** The empty slot below a room that no stack has, or 0 where there is no memory for one. */
  private newRoom(room: number): number {
    const step = stepOf(room)
    const spare = this.spareRooms[step]
    if (spare !== 0) {
      this.spareRooms[step] = this.stacks[spare + 1]
      return spare
    }
    if (!this.reserve(room + 1)) return 0
    const slot = this.endSlot
    this.endSlot = slot + room + 1
    return slot
  }

  /** A stack has no room any more, and another may have it. */
  private giveUpRoom(stack: number): void {
    const room = this.rooms[stack]
    if (room === 0) return
    const slot = this.stacks[(stack << 1) + 1] - room
    this.stacks[slot + 1] = this.spareRooms[stepOf(room)]
    this.spareRooms[stepOf(room)] = slot
    this.rooms[stack] = 0
  }

  /** Makes sure that there are `slots` slots behind the last one. */
  private reserve(slots: number): boolean {
    const old = this.stacks
    if (this.endSlot + slots <= old.length) return true
    try {
      this.stacks = copyTo(old, old.length + (old.length >>> 4) + slots, this.storage)
    } catch {
      // Then less is kept. Nothing depends on it.
      return false
    }
    disposeOf(old, this.storage)
    return true
  }

  /** Granules of all blocks kept. */
  get keptGranules(): number {
    let granules = 0
    for (let stack = 1; stack < STACKS; stack++) granules += this.countIn(stack) * this.sizeIn(stack)
    return granules
  }

  /** How many blocks are kept. */
  get keptBlocks(): number {
    let blocks = 0
    for (let stack = 1; stack < STACKS; stack++) blocks += this.countIn(stack)
    return blocks
  }

  /** Whether any block is kept. */
  get isEmpty(): boolean {
    if (this.grantedGranules === 0) return true
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) if (stacks[stacks[stack << 1]] !== 0) return false
    return true
  }

  private countIn(stack: number): number {
    if (this.rooms[stack] === 0) return 0
    return this.stacks[stack << 1] - this.stacks[(stack << 1) + 1] + this.rooms[stack]
  }

  private sizeIn(stack: number): number {
    return stack < DIRECT ? stack : this.stacks[FIRST_SIZE - DIRECT + stack]
  }

  /** Gives every block back that is kept; the rooms stay. */
  flushStacks(): void {
    const { stacks } = this
    for (let stack = 1; stack < STACKS; stack++) {
      if (this.rooms[stack] === 0) continue
      const size = this.sizeIn(stack)
      let top = stacks[stack << 1]
      for (; stacks[top] !== 0; top--) {
        const block = (stacks[top] - 1) | 0
        this.give(block, block + size)
      }
      stacks[stack << 1] = top
    }
  }

  /** Takes back the rooms of all stacks, which must be empty, and gives up slots that were needed once. */
  shrinkStacks(): void {
    const old = this.stacks
    if (old === NO_STACKS) return
    old.fill(0)
    this.rooms.fill(0)
    this.spareRooms.fill(0)
    this.endSlot = FIRST_SLOT
    this.grantedGranules = 0
    if (old.length <= 2 * FIRST_LENGTH) return
    try {
      this.stacks = copyTo(new Int32Array(0), FIRST_LENGTH, this.storage)
    } catch {
      // No memory for fewer slots: the old ones go on.
      return
    }
    disposeOf(old, this.storage)
  }

  /** Calls `meet` with each block kept and its end. */
  checkStacks(meet: (block: Block, end: number) => void): void {
    const { stacks } = this
    let granted = 0
    for (let stack = 0; stack < STACKS; stack++) {
      const room = this.rooms[stack]
      const top = stacks[stack << 1]
      const limit = stacks[(stack << 1) + 1]
      const size = this.sizeIn(stack)
      granted += room * size
      if (room === 0) invariant(top === 0 && limit === 0, `1: stack ${stack} has no room`)
      else invariant(top >= limit - room && top <= limit, `1: stack ${stack} stays within its room`)
      if (room > 0) invariant(stacks[limit - room] === 0, `1: the slot below stack ${stack} is empty`)
      for (let slot = limit - room + 1; room > 0 && slot <= top; slot++) {
        const block = (stacks[slot] - 1) | 0
        invariant(stacks[slot] !== 0, `1: no empty slot in stack ${stack}`)
        invariant(this.isHeld(block), `3: block ${block} is held`)
        invariant(this.next(block) === block + size, `3: block ${block} has ${size} granules`)
        meet(block, block + size)
      }
    }
    invariant(
      granted === this.grantedGranules,
      `2: ${this.grantedGranules} granules granted, found ${granted}`,
    )
  }
}
