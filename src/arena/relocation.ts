/**
 * Which blocks `Arena.relocate` moves, and where to. A *plan* is a survey of the heap: blocks of its victims go below
 * `meet`. It is made in slices, one a call, so that no call takes long. It serves for as many calls as there were live
 * blocks, which is one walk over all of them, and a second at most.
 *
 * Between two calls the heap may change in any way. A plan is then less exact and no less safe, because each call asks the
 * heap what the block is now.
 */
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import type { Moving } from '../buffers/blocks.js'
import { type BlockHeap, REFUSED_LIMIT } from '../heap/block-heap.js'
import { Survey } from '../heap/survey.js'
import type { Limits } from '../supply/limits.js'

const { max } = Math

/** The share of a page that must come free for each page of bytes moved. */
const GAIN = 1 / 3
/** Blocks and gaps that one call looks at while it plans: about a millisecond. */
const SLICE_LOOKS = 4096
/** Pages that it ranks, which is quicker. */
const SLICE_UNITS = 32_768
const PLAN_MS = 1_000
/** A plan serves at least this many times as long as it took to make. So planning takes 1 % of the time at most. */
const SERVES_TIMES = 100

// How far a plan has come.
const NOTHING = 0
const WALKING = 1
const CHOOSING = 2
const READY = 3

export class Relocation {
  readonly #heap: BlockHeap
  readonly #unitPages: number
  readonly #moving: Moving
  readonly #limits: Pick<Limits, 'makeRoomUnseen'>
  readonly #now: () => number
  /** Null where there was no memory for a survey: then nothing moves until the next plan. */
  #survey: Survey | null = null
  #stage = NOTHING
  /** Whether a call is under way. If it is set when the next one begins, the last one was interrupted. */
  #isPlanning = false
  #tookMs = 0
  /** When the plan is over, and the calls for which it serves. Valid when it is ready. */
  #endMs = 0
  #callsLeft = 0

  constructor(
    heap: BlockHeap,
    unitPages: number,
    moving: Moving,
    limits: Pick<Limits, 'makeRoomUnseen'>,
    now: () => number,
  ) {
    this.#heap = heap
    this.#unitPages = unitPages
    this.#moving = moving
    this.#limits = limits
    this.#now = now
  }

  /** Takes a lower place for a live block, as long as it is. Returns NONE if it lies well, or if there is none. */
  takeFor(block: Block): Block {
    const heap = this.#heap
    heap.mend()
    const survey = this.#plan()
    if (survey === null) return NONE
    const end = heap.endOf(block)
    if (!survey.isSource(block, end)) return NONE
    const size = end - block
    const place = this.#moving.takeLowest(survey.gaps, size, survey.meet)
    if (place !== NONE || heap.refusal !== REFUSED_LIMIT) return place
    if (!this.#limits.makeRoomUnseen(heap.pagesFor(size * GRANULE_BYTES))) return NONE
    survey.gaps.forgetLimit()
    return this.#moving.takeLowest(survey.gaps, size, survey.meet)
  }

  /** Returns the plan if it is ready. If not, goes on with it by one slice. */
  #plan(): Survey | null {
    const startMs = this.#now()
    if (this.#stage === READY && this.#callsLeft-- > 0 && startMs < this.#endMs) return this.#survey
    if (this.#stage === READY || this.#isPlanning) this.end()
    this.#isPlanning = true
    if (this.#stage === NOTHING) this.#begin()
    const survey = this.#survey
    if (this.#stage === WALKING && survey?.walk(SLICE_LOOKS)) this.#stage = CHOOSING
    if (this.#stage === CHOOSING && survey?.choose(GAIN, SLICE_UNITS)) {
      survey.end()
      this.#stage = READY
    }
    this.#isPlanning = false
    const nowMs = this.#now()
    this.#tookMs += nowMs - startMs
    if (this.#stage !== READY) return null
    this.#endMs = nowMs + max(PLAN_MS, SERVES_TIMES * this.#tookMs)
    // This call is one of them.
    this.#callsLeft = this.#heap.liveBlocks - 1
    return survey
  }

  #begin(): void {
    // Kept blocks are room for others.
    this.#heap.flush()
    this.#tookMs = 0
    try {
      this.#survey = new Survey(this.#heap, this.#unitPages)
      this.#stage = WALKING
    } catch {
      this.#stage = READY
    }
  }

  /** Gives the plan up. The next call begins another one. */
  end(): void {
    if (this.#stage !== READY) this.#survey?.end()
    this.#survey = null
    this.#stage = NOTHING
  }
}
