/**
 * Compaction: records of sparse pages move together, so that whole pages come free and go back.
 *
 * A *round* is a sequence of *passes*. A pass is a survey, the moves, and the purge of what came free. It is cut into
 * slices: `run` goes on until a point in time, and a later call goes on from there. A round ends after a pass that freed
 * less than 2 % of the used pages.
 *
 * A record that found no place stays, with its pages, until the round ends. Without that a few long records at the top
 * would end each pass early.
 *
 * Where the end of the source can move (the program break), the highest records move down last, as long as there is a
 * lower place, and the end follows.
 *
 * Invariants (see also `Moves`):
 *  1. each target of a pass ends at or below `meet`, and each source starts at or above it: no record moves twice in a pass
 *  2. pinned records, and those that other code can reach, do not move
 */
import { isOutOfMemory, isOverflow } from '../base/errors.js'
import { type Block, GRANULE_BYTES, MIB, NONE, type PageCount, type PageNumber } from '../base/units.js'
import type { RecordPins } from '../buffers/records/record-pins.js'
import type { Records } from '../buffers/records/records.js'
import { type BlockHeap, REFUSED_LIMIT } from '../heap/block-heap.js'
import { Survey } from '../heap/survey.js'
import type { PageSource } from '../memory/page-source.js'
import type { Releaser } from '../release/releaser.js'
import type { Limits } from '../supply/limits.js'
import { compactMemoryError } from './errors.js'
import { endLost } from './lost.js'
import { Moves } from './moves.js'
import type { Ref, Slots } from './slots.js'

const { max, min } = Math

/** After each of these many steps the clock is read. Each takes some microseconds. */
const WALKED = 256
const CHOSEN = 4096
const LOOKED = 4096
/** A round has ended after a pass that freed less than this share of the used pages. */
const LITTLE_SHARE = 0.02
/** Nor does another pass follow where less than this share of the used pages is waste: it would look at all in vain. */
const DENSE_SHARE = 0.015
const MAX_PASSES = 8
/** How much of the end is looked at in one pass that lowers the end. */
const END_BYTES = 16 * MIB
/** The most records that are remembered because they found no place. */
const MAX_STUCK = 65_536
/** How long one purge may take, in milliseconds: `Scavenger.purgeSlice` counts from half a millisecond before it. */
const PURGE_MS = 1

const IDLE = 0
const WALK = 1
const CHOOSE = 2
const MOVE = 3
const PURGE = 4
const LOWER = 5

/** Decides whether a round that runs by timer goes on. */
export interface Judge {
  /** The survey of a pass is complete. Returns whether to move anything. */
  surveyed(promisedPages: PageCount): boolean
  /** A pass is complete. Returns whether another one may follow. */
  passed(): boolean
}

/** What a compactor needs from the store. */
export interface CompactorParts {
  readonly storeName: string
  readonly heap: BlockHeap
  readonly source: Pick<PageSource, 'unitPages' | 'end'>
  readonly records: Records
  readonly slots: Slots
  readonly pins: Pick<RecordPins, 'isPinned' | 'forEach'>
  readonly limits: Pick<Limits, 'makeRoomUnseen'>
  readonly releaser: Pick<Releaser, 'compactedSlice' | 'endTrimSlice' | 'failure'>
  now(): number
  /** Granules of all live records. */
  liveGranules(): number
}

export class Compactor {
  readonly #parts: CompactorParts
  readonly #moves: Moves
  #phase = IDLE
  /** A slice runs, or was interrupted: then the round cannot go on. */
  #isRunning = false
  #gain = 0
  #judge: Judge | null = null
  #survey: Survey | null = null
  #slot = 0
  #page: PageNumber = 0
  #pass = 0
  #usedBefore = 0
  #movedBefore = 0
  /** Blocks that found no place in this round. */
  #stuck: Block[] = []
  /** The records at the end that are to move down, by block. Null while the end is not lowered. */
  #high: Map<Block, Ref> | null = null
  /** The granule from which on records are collected. */
  #highFrom = 0
  /** Whether the passes lower the end, and whether the highest record has found no lower place. */
  #isLowering = false
  #isLow = false
  /** Records that found no lower place in the last round. */
  stuckRecords = 0
  /** What the last survey promised to free, in pages; less what has come free since. */
  sparsePages: PageCount = 0
  /** Pages that rounds freed, ever. */
  freedPages: PageCount = 0

  constructor(parts: CompactorParts) {
    this.#parts = parts
    this.#moves = new Moves(parts.heap, parts.records, parts.slots)
  }

  /** Whether a round is under way that can go on. */
  get isActive(): boolean {
    return this.#phase !== IDLE && !this.#isRunning
  }

  get movedRecords(): number {
    return this.#moves.movedRecords
  }

  get movedBytes(): number {
    return this.#moves.movedBytes
  }

  /** Begins a round, in place of one that is under way. Without a judge it goes on as long as it frees something. */
  begin(gain: number, judge: Judge | null = null): void {
    this.stop()
    this.#gain = gain
    this.#judge = judge
    this.#stuck = []
    this.stuckRecords = 0
    this.#pass = 0
    this.#isLowering = false
    this.#isLow = false
    this.#parts.records.noticeTaken()
    this.#attempt(() => {
      // They lie on pages that could go back.
      endLost(this.#parts)
      this.#startPass()
    })
  }

  /** Ends the round where it is. */
  stop(): void {
    this.#phase = IDLE
    this.#moves.abandon()
    this.#endSurvey()
    this.#high = null
    this.#isRunning = false
  }

  /**
   * Goes on with the round until `untilMs`, or to its end. Returns whether the round has ended. It runs within a change of
   * the store. Throws `ERR_ARENA_OUT_OF_MEMORY` where a survey or a copy has no memory, and what else these throw; the
   * round has ended then, and no record is lost.
   */
  run(untilMs: number): boolean {
    const { now, records } = this.#parts
    if (this.#isRunning) this.stop()
    records.noticeTaken()
    // Records that cannot be read cannot be moved, and no new place may lie under the memory that other code took.
    if (records.hasLost) this.stop()
    this.#attempt(() => {
      try {
        while (this.#phase !== IDLE) {
          this.#step(untilMs)
          if (now() >= untilMs) break
        }
        this.#moves.flush()
      } finally {
        records.detachMoved()
      }
    })
    return this.#phase === IDLE
  }

  /** Does some work. Where it throws, the round ends; where that is for want of memory, the error says so. */
  #attempt(work: () => void): void {
    this.#isRunning = true
    try {
      work()
      this.#isRunning = false
    } catch (error) {
      this.stop()
      throw isRefusal(error) || isOutOfMemory(error)
        ? compactMemoryError(this.#parts.storeName, error)
        : error
    }
  }

  /**
   * Moves every record that may move to another place, within a change. It ends a round under way. Throws as `run` does.
   */
  shuffle(): void {
    const { records } = this.#parts
    this.stop()
    records.noticeTaken()
    if (records.hasLost) return
    this.#attempt(() => this.#shuffle())
  }

  #shuffle(): void {
    const { heap, slots, records } = this.#parts
    try {
      for (let slot = 0; slot < slots.end; slot++) {
        const ref = slots.refAt(slot)
        if (ref === NONE) continue
        const block = slots.blockOf(ref)
        const sizeBytes = slots.sizeOf(ref)
        if (this.#parts.pins.isPinned(block) || !records.mayMove(block, sizeBytes)) continue
        const target = heap.allocate(sizeBytes)
        if (target === NONE) break
        const granules = min(heap.endOf(block) - block, heap.endOf(target) - target)
        this.#moves.add(ref, block, target, granules)
        if (this.#moves.isFull) this.#moves.flush()
      }
      this.#moves.flush()
    } finally {
      records.detachMoved()
    }
  }

  #step(untilMs: number): void {
    switch (this.#phase) {
      case WALK:
        if (this.#surveyed.walk(WALKED)) this.#keepFixed()
        break
      case CHOOSE:
        if (this.#surveyed.choose(this.#gain, CHOSEN)) this.#startMoves()
        break
      case MOVE:
        this.#moveSome()
        break
      case LOWER:
        this.#lowerSome()
        break
      default:
        this.#purgeSome(untilMs)
    }
  }

  get #surveyed(): Survey {
    return this.#survey as Survey
  }

  #startPass(): void {
    const { heap, source } = this.#parts
    heap.flush()
    this.#usedBefore = heap.usedPages
    this.#movedBefore = this.movedRecords
    this.#survey = new Survey(heap, source.unitPages)
    this.#phase = WALK
  }

  #endSurvey(): void {
    const survey = this.#survey
    this.#survey = null
    survey?.end()
  }

  /** After the walk: the blocks that must not move keep their pages. */
  #keepFixed(): void {
    const { heap, pins, records } = this.#parts
    const survey = this.#surveyed
    const keep = (block: Block): void => {
      if (heap.isLive(block)) survey.keep(block, heap.endOf(block))
    }
    pins.forEach(keep)
    records.forEachFixed(keep)
    for (const block of this.#stuck) keep(block)
    this.#phase = CHOOSE
  }

  #startMoves(): void {
    const { promisedPages } = this.#surveyed
    this.sparsePages = promisedPages
    this.#slot = 0
    if (this.#judge?.surveyed(promisedPages) === false) {
      this.stop()
      return
    }
    this.#phase = this.#isLowering ? LOWER : MOVE
    if (!this.#isLowering) return
    const { heap } = this.#parts
    this.#high = new Map()
    this.#highFrom = max(0, heap.highestLive() - END_BYTES / GRANULE_BYTES)
  }

  /** Looks at some slots, and moves the records that lie on victims. */
  #moveSome(): void {
    const { slots, heap } = this.#parts
    const survey = this.#surveyed
    const { sourceUnits, unitShift } = survey
    const end = min(slots.end, this.#slot + LOOKED)
    for (;;) {
      const slot = slots.nextIn(sourceUnits, unitShift, this.#slot, end)
      if (slot >= end) break
      this.#slot = slot + 1
      const ref = slots.refAt(slot) as Ref
      const block = slots.blockOf(ref)
      const blockEnd = heap.endOf(block)
      if (survey.isSource(block, blockEnd)) this.#move(ref, block, blockEnd, survey.meet)
      if (this.#moves.isFull) {
        this.#moves.flush()
        return
      }
    }
    this.#slot = end
    if (this.#slot < slots.end) return
    this.#moves.flush()
    this.#startPurge(survey.meet / heap.pageGranules)
  }

  /**
   * Queues the move of a record to the lowest place below the granule `below`. If there is none, `orBelow` counts. Returns
   * the place, or NONE.
   */
  #move(ref: Ref, block: Block, end: number, below: number, orBelow = below): Block {
    const { pins, records, slots } = this.#parts
    if (pins.isPinned(block) || !records.mayMove(block, slots.sizeOf(ref))) return NONE
    let target = this.#takeLowest(end - block, below)
    if (target === NONE && orBelow > below) target = this.#takeLowest(end - block, orBelow)
    if (target === NONE) {
      this.stuckRecords++
      if (this.#stuck.length < MAX_STUCK) this.#stuck.push(block)
      return NONE
    }
    this.#moves.add(ref, block, target, end - block)
    return target
  }

  /** Takes the lowest place. At the limit it carries out what is queued and purges what that freed, so that no headroom is needed. */
  #takeLowest(granules: number, below: number): Block {
    const { heap, limits } = this.#parts
    const { gaps } = this.#surveyed
    const block = heap.takeLowest(gaps, granules, below)
    if (block !== NONE || heap.refusal !== REFUSED_LIMIT) return block
    // What is queued frees pages, too.
    this.#moves.flush()
    if (!limits.makeRoomUnseen(heap.pagesFor(granules * GRANULE_BYTES) + 1)) return NONE
    gaps.forgetLimit()
    return heap.takeLowest(gaps, granules, below)
  }

  /**
   * Collects the records at the end of the space, slice by slice. Then moves them down, the highest first, until one finds
   * no lower place.
   */
  #lowerSome(): void {
    const { slots } = this.#parts
    const high = this.#high as Map<Block, Ref>
    const end = min(slots.end, this.#slot + LOOKED)
    for (; this.#slot < end; this.#slot++) {
      this.#slot = slots.nextLive(this.#slot, end)
      if (this.#slot === end) break
      const ref = slots.refAt(this.#slot) as Ref
      if (slots.blockOf(ref) >= this.#highFrom) high.set(slots.blockOf(ref), ref)
    }
    if (this.#slot >= slots.end) this.#moveDown(high)
  }

  #moveDown(high: Map<Block, Ref>): void {
    const { heap, slots } = this.#parts
    // Below here all records would have room if they lay close. What is taken above may have to move again.
    const goal = heap.usedPages * heap.pageGranules
    let block = heap.highestLive()
    for (; block >= this.#highFrom && !this.#moves.isFull; block = heap.liveBefore(block)) {
      const ref = high.get(block)
      if (ref === undefined || !slots.has(ref) || slots.blockOf(ref) !== block) {
        // The new place of a record in the queue: it may move again once it is there.
        this.#isLow = this.#moves.isEmpty
        break
      }
      const end = heap.endOf(block)
      const target = this.#move(ref, block, end, min(goal, block), block)
      if (target === NONE) {
        this.#isLow = true
        break
      }
      if (target >= this.#highFrom) high.set(target, ref)
    }
    const isDone = this.#isLow || block < this.#highFrom
    this.#moves.flush()
    if (isDone) this.#startPurge(0)
  }

  #startPurge(page: PageNumber): void {
    this.#endSurvey()
    this.#high = null
    this.#parts.heap.flush()
    this.#page = page
    this.#phase = PURGE
  }

  /** Gives back what came free, and ends the pass after that. */
  #purgeSome(untilMs: number): void {
    const { releaser } = this.#parts
    if (this.#page !== NONE) {
      const next = releaser.compactedSlice(this.#page, untilMs - PURGE_MS)
      this.#page = next === 0 ? NONE : next
      return
    }
    this.#endPass()
  }

  #endPass(): void {
    const { heap, source, releaser } = this.#parts
    const freed = this.#usedBefore - heap.usedPages
    this.#pass++
    this.freedPages += max(0, freed)
    this.sparsePages = max(0, this.sparsePages - max(0, freed))
    const isLittle = freed <= 0 || freed < LITTLE_SHARE * this.#usedBefore
    const used = heap.usedPages * heap.pageGranules
    const isDense = used - this.#parts.liveGranules() < DENSE_SHARE * used
    const isWorthIt =
      this.#judge === null ? !isLittle && !isDense && this.#pass < MAX_PASSES : this.#judge.passed()
    // Each move is to a lower place, so passes that move something end. There may be no records at all.
    const isLower = !this.#isLow && this.movedRecords > this.#movedBefore
    if (this.#isLowering ? isLower : isWorthIt) {
      this.#startPass()
    } else if (source.end === null || this.#isLowering) {
      this.#phase = IDLE
      if (source.end !== null) releaser.endTrimSlice()
    } else {
      // The highest records move down, in passes of their own.
      this.#isLowering = true
      this.#judge = null
      this.#startPass()
    }
  }
}

/** Whether the kernel refused a call, or the runtime had no memory for an `ArrayBuffer`. */
function isRefusal(error: unknown): boolean {
  const { syscall, code } = error as NodeJS.ErrnoException
  return syscall !== undefined || (error instanceof RangeError && code === undefined && !isOverflow(error))
}
