/**
 * The moves of a compaction that the user of a `Heap` carries out. The heap says which block goes where; the user copies
 * the bytes.
 *
 * A *pass* is one survey and the moves to which it leads. A *round* is passes until one of them freed little. What a pass
 * still has to do is kept between calls, and ends when the blocks have changed too much.
 *
 * A move is *open* until one of its two blocks is freed. Both are live until then, and neither is moved again. The block
 * that is freed becomes a gap at once, so that the page under it comes free.
 */
import { type Block, NONE } from '../base/units.js'
import type { BlockHeap } from './block-heap.js'
import { endOf, startOf } from './granule-map.js'
import { Survey } from './survey.js'

const { abs } = Math

/** A round goes on after a pass that freed at least this share of the used pages. */
const LEAST_FREED_SHARE = 1 / 50
/** A pass ends if the number of live blocks has changed by more than this share, other than by moves. */
const MOST_CHANGED_SHARE = 1 / 8

/** One move, in granules. */
export interface BlockMove {
  readonly from: Block
  readonly to: Block
  readonly size: number
}

/** What one call asks for. */
export interface MoveLimits {
  readonly maxMoves: number
  /** The first move may have more. */
  readonly maxGranules: number
  /** The pages that must come free for each page of bytes moved. */
  readonly gain: number
  /** Whether a block must stay where it is, or undefined if none must. Throws what the user's function throws. */
  readonly isPinned: ((block: Block) => boolean) | undefined
}

export class Compaction {
  readonly #blocks: BlockHeap
  /** What the pass still has to do; undefined between passes. */
  #survey: Survey | undefined
  /** The granule at which the pass goes on. */
  #at = 0
  /** The used pages and the live blocks when the pass began. */
  #usedAtFirst = 0
  #liveAtFirst = 0
  /** The live blocks that there would be if only moves had changed anything. */
  #liveExpected = 0
  /** The moves of the pass. */
  #moveCount = 0
  /** The blocks that found no place, or whose move was given up. They stay for the rest of the round. */
  readonly #stuck = new Set<Block>()
  /** Both blocks of each open move, with the other one of the two. */
  readonly #open = new Map<Block, Block>()

  constructor(blocks: BlockHeap) {
    this.#blocks = blocks
  }

  /** Whether there is an open move. */
  get hasOpen(): boolean {
    return this.#open.size > 0
  }

  /**
   * Returns the next moves, at least one. Returns none, and ends the round, if there is nothing more to gain. If
   * `isPinned` throws, no block has moved.
   */
  next(limits: MoveLimits): BlockMove[] {
    if (this.#survey !== undefined && this.#hasChanged()) {
      this.#survey = undefined
      this.#stuck.clear()
    }
    for (;;) {
      this.#survey ??= this.#begin(limits)
      const moves = this.#take(this.#survey, limits)
      if (moves.length > 0) return moves
      this.#survey = undefined
      if (this.#moveCount > 0 && this.#hasFreedMuch()) continue
      this.#stuck.clear()
      return moves
    }
  }

  /** Ends a live block of an open move, and so the move. Returns false, and changes nothing, if there is none. */
  end(block: Block): boolean {
    const other = this.#open.get(block)
    if (other === undefined || !this.#blocks.isLive(block)) return false
    this.#blocks.giveUp(block)
    this.#open.delete(block)
    this.#open.delete(other)
    this.#liveExpected--
    // The targets of a pass lie below its sources.
    if (block < other) this.#stuck.add(other)
    return true
  }

  #hasChanged(): boolean {
    const changed = abs(this.#blocks.liveBlocks - this.#liveExpected)
    return changed > this.#liveAtFirst * MOST_CHANGED_SHARE
  }

  #hasFreedMuch(): boolean {
    const freed = this.#usedAtFirst - this.#blocks.usedPages
    return freed > 0 && freed >= this.#usedAtFirst * LEAST_FREED_SHARE
  }

  /** Begins a pass. */
  #begin({ gain, isPinned }: MoveLimits): Survey {
    const blocks = this.#blocks
    blocks.flush()
    const survey = new Survey(blocks, 1)
    survey.walk(Number.MAX_SAFE_INTEGER)
    for (const block of this.#stuck) if (blocks.isLive(block)) survey.keep(block, endOf(blocks, block))
    for (const block of this.#open.keys()) survey.keep(block, endOf(blocks, block))
    if (isPinned !== undefined) {
      for (const block of blocks.listLive()) {
        if (!this.#open.has(block) && isPinned(block)) survey.keep(block, endOf(blocks, block))
      }
    }
    survey.choose(gain, Number.MAX_SAFE_INTEGER)
    survey.end()
    this.#at = survey.meet
    this.#usedAtFirst = blocks.usedPages
    this.#liveAtFirst = blocks.liveBlocks
    this.#liveExpected = blocks.liveBlocks
    this.#moveCount = 0
    return survey
  }

  /** Goes on with the pass, upwards from where it was. Returns no move if it has come to its end. */
  #take(survey: Survey, { maxMoves, maxGranules, isPinned }: MoveLimits): BlockMove[] {
    const blocks = this.#blocks
    const moves: BlockMove[] = []
    let granules = 0
    let at = survey.nextVictim(this.#at)
    try {
      while (at < survey.victimsEnd && moves.length < maxMoves) {
        const from = startOf(blocks, at)
        const end = endOf(blocks, from)
        if (survey.isSource(from, end) && this.#mayMove(from, isPinned)) {
          const size = end - from
          if (moves.length > 0 && granules + size > maxGranules) break
          const to = blocks.takeLowest(survey.gaps, size, survey.meet)
          if (to === NONE) {
            this.#stuck.add(from)
          } else {
            moves.push({ from, to, size })
            granules += size
          }
        }
        at = survey.nextVictim(end)
      }
    } catch (error) {
      for (const { to } of moves) blocks.giveUp(to)
      throw error
    }
    this.#at = at
    for (const { from, to } of moves) this.#open.set(from, to).set(to, from)
    this.#liveExpected += moves.length
    this.#moveCount += moves.length
    return moves
  }

  #mayMove(block: Block, isPinned: ((block: Block) => boolean) | undefined): boolean {
    return this.#blocks.isLive(block) && !this.#open.has(block) && !isPinned?.(block)
  }
}
