/**
 * A survey: one walk over a space that says what a compaction would free, and where it begins.
 *
 * Pages are looked at in *units*: one page, or the pages of a huge page. A unit is *sparse* where moving its blocks away
 * frees much for little: `free >= gain * moved`. *Moved* are all granules of the blocks that touch it, also those on its
 * neighbours.
 *
 * Two fingers meet: from below, free granules add up; from above, the blocks of sparse units use them up. Where they are
 * even is `meet`. The sparse units above it are the *victims*. Every target lies below `meet` and every source above, so
 * that no block moves twice, and what comes free lies together at the top.
 *
 * Large blocks fit only into gaps that are as long, and there are few of these between small blocks. So room for large
 * blocks is counted apart.
 *
 * The walk can be cut into slices, with other changes of the heap in between. It is then less exact, and no less safe:
 * whoever moves a block asks the heap what the block is now.
 */
import { clearRange, nextSet, previousSet, setBit, setRange, testBit, wordsFor } from '../base/bits.js'
import type { Block, PageCount } from '../base/units.js'
import type { Books } from './books.js'
import { endOf, isGap, isLive, startOf } from './granule-map.js'
import { FRAME_GRANULES } from './layout.js'
import { LongGaps } from './lowest.js'

const { ceil, clz32, max, min } = Math

/**
 * Longer blocks stay where they are, and so do those that must be whole pages: these have no neighbours to join. 64 KiB
 * in granules of 16 bytes.
 */
export const MOST_MOVED_GRANULES = 4096
/** The share of the free granules below `meet` that is counted on. The rest is lost between blocks. */
const USABLE_SHARE = 0.97
/** From this length on a block is large: half a frame. */
const LARGE_GRANULES = FRAME_GRANULES / 2
/** The share of the granules of large gaps that is counted on for large blocks: their ends are too short for another. */
const USABLE_LARGE_SHARE = 0.8
/** Columns of one word for each unit. */
const COLUMNS = 6
/** The columns after `end`. */
const NO_WORDS = new Int32Array(0)

/** Granules, and those of them that belong to large blocks or gaps. */
interface Granules {
  all: number
  large: number
}

export class Survey {
  readonly #books: Books
  /** log2 of the granules in a unit. */
  readonly unitShift: number
  readonly #unitGranules: number
  readonly #units: number
  /** The most granules of a block that may move. */
  readonly #mostMoved: number
  /** The memory of the columns below. */
  #columns: ArrayBuffer
  /** For each unit: its granules that lie in live blocks, those that are free, and those that lie in large gaps. */
  #occupied: Int32Array
  #free: Int32Array
  #largeGaps: Int32Array
  /** For each unit: the lengths of all blocks that end in it, of the large ones alone, and of the one that crosses its end. */
  #ending: Int32Array
  #largeEnding: Int32Array
  #crossing: Int32Array
  /** A set bit: a live block touches the unit. So `choose` skips the others. */
  readonly #inUse: Int32Array
  /** A set bit: a block touches the unit that must not move. */
  readonly #stays: Int32Array
  /** A set bit: the unit is sparse and lies above `meet`. */
  readonly #victims: Int32Array
  /**
   * A set bit: a block that started in the unit when it was walked over touches a victim. Valid after `choose`. Whoever looks
   * at many blocks asks this first, and `isSource` for those that it lets through.
   */
  readonly sourceUnits: Int32Array
  /** Where the walk goes on. */
  #at = 0
  // The state of `choose`: both fingers, the free granules below, those of them on used units, and the granules to move.
  #low = 0
  #high: number
  readonly #room: Granules = { all: 0, large: 0 }
  #roomOnUsed = 0
  readonly #need: Granules = { all: 0, large: 0 }
  #victimCount = 0
  /** The long gaps that the walk met. */
  readonly gaps: LongGaps
  /** The granule below which targets lie, and at or above which sources lie. Valid after `choose`. */
  meet = 0
  /** The end of the last victim, in granules. */
  victimsEnd = 0
  /** About how many pages are free if all blocks of the victims move. Valid after `choose`. */
  promisedPages: PageCount = 0

  /**
   * `unitPages`: the pages of a unit, a power of two. Kept blocks count as free, so flush the heap first. Throws what the
   * storage of the books throws if there is no memory: 24 bytes for each unit.
   */
  constructor(books: Books, unitPages: PageCount) {
    this.#books = books
    this.unitShift = books.granuleShift + 31 - clz32(unitPages)
    this.#unitGranules = 2 ** this.unitShift
    const granules = books.reachedPages * books.pageGranules
    const units = ceil(granules / this.#unitGranules)
    this.#units = units
    this.#high = units
    this.#mostMoved = min(MOST_MOVED_GRANULES, books.wholeGranules - 1)
    this.#columns = books.storage.allocate(max(1, units) * COLUMNS * 4)
    const column = (index: number) => new Int32Array(this.#columns, index * units * 4, units)
    this.#occupied = column(0)
    this.#free = column(1)
    this.#largeGaps = column(2)
    this.#ending = column(3)
    this.#largeEnding = column(4)
    this.#crossing = column(5)
    this.#inUse = new Int32Array(wordsFor(units))
    this.#stays = new Int32Array(wordsFor(units))
    this.#victims = new Int32Array(wordsFor(units))
    this.sourceUnits = new Int32Array(wordsFor(units))
    this.gaps = new LongGaps(ceil(granules / FRAME_GRANULES))
  }

  /** Gives up the columns. Call it once, after `choose` or in place of it. */
  end(): void {
    const columns = this.#columns
    this.#columns = NO_WORDS.buffer
    this.#occupied = NO_WORDS
    this.#free = NO_WORDS
    this.#largeGaps = NO_WORDS
    this.#ending = NO_WORDS
    this.#largeEnding = NO_WORDS
    this.#crossing = NO_WORDS
    this.#books.storage.dispose(columns)
  }

  /** Goes on with the walk over `most` blocks and gaps. Returns whether it has come to the end. */
  walk(most: number): boolean {
    const books = this.#books
    const reached = this.#units * this.#unitGranules
    let left = most
    for (const { firstPage, pageCount } of books.ranges) {
      const first = firstPage * books.pageGranules
      const end = min(reached, first + pageCount * books.pageGranules)
      if (end <= this.#at) continue
      // What started here when the last slice ended may have become a part of something longer.
      const from = max(first, this.#at)
      left = this.#walkRange(startOf(books, from), from, end, left)
      if (left < 0) return false
      this.#at = end
    }
    return true
  }

  /**
   * Walks from the stretch that starts at `start`, of which the part from `from` on counts, to `end`, over `most` stretches
   * at most. Returns how many of these are left then, or -1 if it did not come to the end.
   *
   * Nearly all stretches lie in one unit. These add up in local variables until the next unit begins.
   */
  #walkRange(start: number, from: number, end: number, most: number): number {
    const books = this.#books
    const shift = this.unitShift
    let at = start
    let left = most
    let unit = from >>> shift
    let occupied = 0
    let free = 0
    for (; at < end && left > 0; left--) {
      const next = endOf(books, at)
      const length = next - at
      const first = at >>> shift
      if (first !== (next - 1) >>> shift || length >= LARGE_GRANULES || at < from) {
        if (isLive(books, at)) this.#countBlock(at, next)
        else this.#countFree(at, max(at, from), next)
      } else {
        if (first !== unit) {
          this.#addTo(unit, occupied, free)
          unit = first
          occupied = 0
          free = 0
        }
        if (isLive(books, at)) occupied += length
        else free += length
      }
      at = next
    }
    this.#addTo(unit, occupied, free)
    if (at >= end) return left
    this.#at = at
    return -1
  }

  /** Counts granules of blocks and of other stretches that lie wholly in a unit. */
  #addTo(unit: number, occupied: number, free: number): void {
    this.#free[unit] += free
    if (occupied === 0) return
    this.#occupied[unit] += occupied
    this.#ending[unit] += occupied
    setBit(this.#inUse, unit)
  }

  #countBlock(block: Block, end: number): void {
    const shift = this.unitShift
    const last = (end - 1) >>> shift
    const length = end - block
    this.#ending[last] += length
    if (length >= LARGE_GRANULES) this.#largeEnding[last] += length
    for (let unit = block >>> shift; unit <= last; unit++) {
      this.#occupied[unit] += this.#partIn(unit, block, end)
      setBit(this.#inUse, unit)
      if (unit < last) this.#crossing[unit] = length
    }
    if (length > this.#mostMoved) this.keep(block, end)
  }

  /** Counts the part from `from` on of what starts at `at` and is no live block. */
  #countFree(at: Block, from: number, end: number): void {
    const isLarge = end - at >= LARGE_GRANULES && isGap(this.#books, at)
    if (isLarge && end - at >= FRAME_GRANULES) this.gaps.note(at)
    const last = (end - 1) >>> this.unitShift
    for (let unit = from >>> this.unitShift; unit <= last; unit++) {
      const granules = this.#partIn(unit, from, end)
      this.#free[unit] += granules
      if (isLarge) this.#largeGaps[unit] += granules
    }
  }

  /** How many granules of [first, end) lie in a unit. */
  #partIn(unit: number, first: number, end: number): number {
    return min(end, (unit + 1) * this.#unitGranules) - max(first, unit * this.#unitGranules)
  }

  /** Says that the block [block, end) stays where it is, and with it the units that it touches. Before `choose`. */
  keep(block: Block, end: number): void {
    setRange(this.#stays, block >>> this.unitShift, min(this.#units, ((end - 1) >>> this.unitShift) + 1))
  }

  /**
   * Goes on with the search for `meet` and the victims, after the walk, over `most` units. `gain` is the share of a unit
   * that must come free for each unit of bytes moved. Returns whether they are found.
   */
  choose(gain: number, most: number): boolean {
    for (let left = most; this.#low < this.#high; left--) {
      if (left <= 0) return false
      const top = previousSet(this.#inUse, this.#high - 1)
      this.#high = max(this.#low, top + 1)
      if (top < this.#low) continue
      if (!this.#isSparse(top, gain)) this.#high = top
      else if (this.#fits(top)) this.#addVictim(top)
      else this.#raiseLow()
    }
    this.meet = this.#low * this.#unitGranules
    this.#dropVictimAtMeet()
    this.#findSourceUnits()
    const filled = ceil(max(0, this.#need.all - this.#roomOnUsed) / this.#unitGranules)
    this.promisedPages = max(0, this.#victimCount - filled) * (this.#unitGranules / this.#books.pageGranules)
    return true
  }

  #isSparse(unit: number, gain: number): boolean {
    const moved = this.#ending[unit] + this.#crossing[unit]
    return this.#free[unit] >= gain * moved && !testBit(this.#stays, unit)
  }

  /** The length of the block that crosses the end of a unit, unless it moves anyway because the next unit is a victim. */
  #crossingOf(unit: number): number {
    const isNextVictim = unit + 1 < this.#units && testBit(this.#victims, unit + 1)
    return isNextVictim ? 0 : this.#crossing[unit]
  }

  /** Whether there is room below for the blocks of a unit, too. */
  #fits(unit: number): boolean {
    const crossing = this.#crossingOf(unit)
    const large = this.#largeEnding[unit] + (crossing >= LARGE_GRANULES ? crossing : 0)
    return (
      this.#need.all + this.#ending[unit] + crossing <= this.#room.all * USABLE_SHARE &&
      this.#need.large + large <= this.#room.large * USABLE_LARGE_SHARE
    )
  }

  #addVictim(unit: number): void {
    const crossing = this.#crossingOf(unit)
    this.#need.all += this.#ending[unit] + crossing
    this.#need.large += this.#largeEnding[unit] + (crossing >= LARGE_GRANULES ? crossing : 0)
    setBit(this.#victims, unit)
    this.#victimCount++
    if (this.victimsEnd === 0) this.victimsEnd = (unit + 1) * this.#unitGranules
    this.#high = unit
  }

  /** A victim right above `meet` stays if a block on it begins below: that block will not move. */
  #dropVictimAtMeet(): void {
    const unit = this.#low
    if (unit === 0 || this.#crossing[unit - 1] === 0 || !testBit(this.#victims, unit)) return
    clearRange(this.#victims, unit, unit + 1)
    this.#victimCount--
  }

  #findSourceUnits(): void {
    const end = this.victimsEnd / this.#unitGranules
    for (let unit = nextSet(this.#victims, this.#low, end); unit < end; ) {
      // The block that crosses into the victim starts this many granules before it, at most.
      const before = (unit === 0 ? 0 : this.#crossing[unit - 1]) - 1
      const first = before > 0 ? max(0, unit * this.#unitGranules - before) >>> this.unitShift : unit
      setRange(this.sourceUnits, first, unit + 1)
      unit = nextSet(this.#victims, unit + 1, end)
    }
  }

  #raiseLow(): void {
    const unit = this.#low++
    this.#room.all += this.#free[unit]
    this.#room.large += this.#largeGaps[unit]
    if (this.#occupied[unit] > 0) this.#roomOnUsed += this.#free[unit]
  }

  /** Whether the block [block, end) is to move: it lies above `meet` and touches a victim. */
  isSource(block: Block, end: number): boolean {
    if (block < this.meet || end - block > this.#mostMoved) return false
    const first = block >>> this.unitShift
    const endUnit = min(this.#units, ((end - 1) >>> this.unitShift) + 1)
    return nextSet(this.#victims, first, endUnit) < endUnit
  }

  /** The first granule, at or behind `granule`, of a victim; `victimsEnd` if there is none. */
  nextVictim(granule: number): number {
    const end = this.victimsEnd / this.#unitGranules
    const unit = nextSet(this.#victims, min(end, granule >>> this.unitShift), end)
    return min(this.victimsEnd, max(granule, unit * this.#unitGranules))
  }
}
