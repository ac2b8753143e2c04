/**
 * Compactions of random heaps, as a store makes them: a survey, moves in random order and in queues, a purge. A model knows
 * what each block holds, and one word for each granule stands for the memory.
 */
import { describe, it } from 'vitest'
import { GRANULE_BYTES, KIB, NONE } from '../../src/base/units.js'
import { BlockHeap, REFUSED_LIMIT } from '../../src/heap/block-heap.js'
import { Survey } from '../../src/heap/survey.js'
import { must } from './model.js'
import { fuzzSeed, fuzzSteps, type Journal, type Random, runSequences } from './random.js'

const FILE = 'test/fuzz/compaction.test.ts'
/** Passes of a scenario. */
const PASSES = fuzzSteps(800)
const SEQUENCE_PASSES = 10
const ALL = Number.MAX_SAFE_INTEGER
/** All passes take half a minute on a machine that is busy with others. */
const LIMIT_MS = 300_000

const MIXES: Record<string, (random: Random) => number> = {
  small: random => random.between(1, 300),
  single: () => 256,
  medium: random => random.between(1, 4 * KIB),
  mixed: random => Math.floor(2 ** (random.fraction() * 15)),
  long: random => random.between(2 * KIB, 80 * KIB),
}

/** The memory of blocks: a word for each granule, which says whose it is. */
class Contents {
  readonly #words: Int32Array
  readonly #ids = new Map<number, number>()
  #lastId = 0

  constructor(granules: number) {
    this.#words = new Int32Array(granules)
  }

  get blocks(): number[] {
    return [...this.#ids.keys()]
  }

  has(block: number): boolean {
    return this.#ids.has(block)
  }

  fill(block: number, end: number): void {
    must(!this.#ids.has(block), `block ${block} is not handed out twice`)
    this.#ids.set(block, ++this.#lastId)
    this.#words.fill(this.#lastId, block, end)
  }

  /** Copies the granules [from, from + size) to `to`, and names that in place of `from`. */
  move(from: number, to: number, size: number): void {
    const id = this.#ids.get(from)
    must(id !== undefined && !this.#ids.has(to), `block ${from} moves to ${to}, which nobody has`)
    this.#words.copyWithin(to, from, from + size)
    this.#ids.delete(from)
    this.#ids.set(to, id)
  }

  end(block: number): void {
    must(this.#ids.delete(block), `block ${block} is somebody's`)
  }

  /** Proves that each block holds what was written to it. */
  verify(endOf: (block: number) => number): void {
    for (const [block, id] of this.#ids) {
      for (let at = block; at < endOf(block); at++) {
        must(this.#words[at] === id, `granule ${at} of block ${block} holds what it held`)
      }
    }
  }
}

// ---- the heap of an arena --------------------------------------------------------------------------------------

interface Setup {
  pageBytes: number
  spacePages: number
  unitPages: number
  /** Whether no page more may be committed than are when a pass begins. */
  isLimited: boolean
  /** Whether the heap changes between the slices of a survey. */
  isBusy: boolean
}

/** The pages that passes freed, and those that others used up instead. */
interface Totals {
  freed: number
  lost: number
}

class Run {
  readonly #random: Random
  readonly #setup: Setup
  readonly #heap: BlockHeap
  readonly #contents: Contents
  #size: (random: Random) => number = MIXES.small
  readonly #journal: Journal
  readonly #totals: Totals

  constructor(random: Random, setup: Setup, journal: Journal, totals: Totals) {
    this.#totals = totals
    this.#random = random
    this.#setup = setup
    this.#journal = journal
    this.#heap = new BlockHeap(setup.pageBytes, { wholePagesFromBytes: 64 * KIB })
    this.#contents = new Contents((setup.spacePages * setup.pageBytes) / GRANULE_BYTES)
    // Ranges with holes between them.
    const most = setup.spacePages / 4
    for (let page = random.below(3); page < setup.spacePages - most; ) {
      const pages = random.between(1, most)
      this.#heap.addRange(page, pages)
      page += pages + random.pick([0, 1, 1, random.below(most)])
    }
  }

  /** Some blocks come, or nearly as many as there is room for, and some of them go. */
  change(): void {
    const random = this.#random
    this.#heap.limitPages = ALL
    this.#size = MIXES[random.pick(Object.keys(MIXES))]
    const most = random.pick([10, 100, 100_000])
    for (let n = 0; n < most && this.#heap.usedPages < this.#heap.managedPages * 0.95; n++) {
      if (!this.#allocate()) break
    }
    const kept = random.pick([1, 0.9, 0.5, 0.5, 0.2, 0.05])
    const run = random.pick([1, 1, 20])
    let isKept = true
    for (const [index, block] of this.#contents.blocks.entries()) {
      if (index % run === 0) isKept = random.chance(kept)
      if (!isKept) this.#free(block)
    }
    if (random.chance(0.5)) this.#purge()
    this.#journal.note(`${this.#heap.liveBlocks} blocks on ${this.#heap.usedPages} pages`)
  }

  #allocate(): boolean {
    const block = this.#heap.allocate(this.#size(this.#random))
    if (block === NONE) return false
    this.#contents.fill(block, this.#heap.endOf(block))
    return true
  }

  #free(block: number): void {
    this.#contents.end(block)
    must(this.#heap.free(block), `block ${block} is live`)
  }

  #purge(): void {
    const heap = this.#heap
    heap.flush()
    for (let page = heap.nextDirty(0, false); page !== NONE; ) {
      const end = heap.dirtyEnd(page, ALL, false)
      heap.markPurged(page, end - page)
      page = heap.nextDirty(end, false)
    }
  }

  pass(): void {
    const { isLimited, isBusy } = this.#setup
    const heap = this.#heap
    const random = this.#random
    heap.flush()
    if (isLimited) heap.limitPages = heap.committedPages
    const usedBefore = heap.usedPages
    const gain = random.pick([0.15, 1 / 3, 1, 3])
    const { survey, pinned } = this.#survey(gain, isBusy)
    const moved = this.#move(survey, pinned)
    this.#journal.note(`gain ${gain}, ${moved} moved, ${usedBefore} pages are ${heap.usedPages}`)
    heap.check()
    this.#contents.verify(block => heap.endOf(block))
    const freed = usedBefore - heap.usedPages
    if (!isBusy) {
      this.#totals.freed += Math.max(0, freed)
      this.#totals.lost += Math.max(0, -freed)
    }
    const blocks = [...heap.listLive()]
    must(
      blocks.length === this.#contents.blocks.length && blocks.every(block => this.#contents.has(block)),
      'the live blocks are those that somebody has',
    )
  }

  #survey(gain: number, isBusy: boolean): { survey: Survey; pinned: Set<number> } {
    const heap = this.#heap
    const random = this.#random
    const survey = new Survey(heap, this.#setup.unitPages)
    const most = () => (isBusy ? random.between(1, 200) : ALL)
    const meddle = () => {
      if (!isBusy || random.chance(0.5)) return
      const { blocks } = this.#contents
      if (random.chance(0.5)) this.#allocate()
      else if (blocks.length > 0) this.#free(random.pick(blocks))
    }
    while (!survey.walk(most())) meddle()
    const pinned = new Set(random.chance(0.3) ? this.#contents.blocks.filter(() => random.chance(0.02)) : [])
    for (const block of pinned) survey.keep(block, heap.endOf(block))
    while (!survey.choose(gain, most())) meddle()
    survey.end()
    return { survey, pinned }
  }

  /** Moves the blocks of the victims in queues, and returns how many. */
  #move(survey: Survey, pinned: Set<number>): number {
    const heap = this.#heap
    const random = this.#random
    const length = random.pick([1, 32, 256])
    const { blocks } = this.#contents
    if (random.chance(0.7)) random.shuffle(blocks)
    else if (random.chance(0.5)) blocks.sort((one, other) => one - other)
    let queue: { from: number; to: number; size: number }[] = []
    let moved = 0
    const finish = () => {
      for (const { from, to, size } of queue) this.#contents.move(from, to, size)
      for (const { from } of queue) heap.giveUp(from)
      moved += queue.length
      queue = []
    }
    for (const from of blocks) {
      const end = heap.endOf(from)
      if (!survey.isSource(from, end) || pinned.has(from)) continue
      const size = end - from
      let to = heap.takeLowest(survey.gaps, size, survey.meet)
      if (to === NONE && heap.refusal === REFUSED_LIMIT) {
        finish()
        this.#purge()
        survey.gaps.forgetLimit()
        to = heap.takeLowest(survey.gaps, size, survey.meet)
      }
      must(heap.committedPages <= heap.limitPages, 'no more pages are committed than the limit allows')
      if (to === NONE) continue
      must(to + size <= survey.meet && heap.endOf(to) === to + size, `target ${to} lies below ${survey.meet}`)
      must(from >= survey.meet, `source ${from} lies above ${survey.meet}`)
      queue.push({ from, to, size })
      if (queue.length === length) finish()
    }
    finish()
    return moved
  }
}

describe('passes over the heap of an arena', () => {
  const small = { pageBytes: 4096, spacePages: 300, unitPages: 1, isLimited: false, isBusy: false }
  const setups: [string, Setup][] = [
    ['pages of 4 KiB', small],
    ['pages of 4 KiB at the limit', { ...small, isLimited: true }],
    ['pages of 16 KiB at the limit', { ...small, pageBytes: 16_384, spacePages: 120, isLimited: true }],
    ['pages of 64 KiB', { ...small, pageBytes: 65_536, spacePages: 40 }],
    ['huge pages', { ...small, unitPages: 16 }],
    ['changes in between', { ...small, isBusy: true }],
  ]
  it.each(setups)('keep all blocks whole: %s', { timeout: LIMIT_MS }, (name, setup) => {
    const totals = { freed: 0, lost: 0 }
    runSequences(FILE, name, PASSES, SEQUENCE_PASSES, (random, passes, journal) => {
      const run = new Run(random, setup, journal, totals)
      for (let pass = 0; pass < passes; pass++) {
        journal.step++
        if (pass === 0 || random.chance(0.5)) run.change()
        run.pass()
      }
    })
    // A pass may use a page more, where a block found no place and the others of its page had moved. That is rare.
    const seeds = `with seed ${fuzzSeed}: ${totals.freed} pages freed, ${totals.lost} lost`
    must(totals.lost <= 10 + totals.freed / 5, seeds)
    must(setup.isBusy || totals.freed > 0, seeds)
  })
})
