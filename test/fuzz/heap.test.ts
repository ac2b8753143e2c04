import { describe, it } from 'vitest'
import { ArenaError } from '../../src/base/errors.js'
import { GRANULE_BYTES, KIB, MIB, NONE } from '../../src/base/units.js'
import { BlockHeap, REFUSED_LIMIT, REFUSED_SPACE } from '../../src/heap/block-heap.js'
import { Heap } from '../../src/heap/heap.js'
import { type SavedHeap, sealed } from '../../src/heap/saved-heap.js'
import { HeapModel, must, type Stretch } from './model.js'
import { fuzzSteps, type Journal, type Random, runSequences } from './random.js'

const FILE = 'test/fuzz/heap.test.ts'
const STEPS = fuzzSteps(12_000)
const SEQUENCE_STEPS = 1_000
const PHASE_STEPS = 120
const LIST_EVERY = 32
/** Where some scenarios have blocks of whole pages begin. */
const WHOLE_BYTES = 16 * KIB
/** How often what is kept for the next block of its size is given up before the counts are compared. */
const FLUSH_CHANCE = 0.3

/** Blocks of that many bytes and more are rounded up to one of so many lengths a doubling, but by less than that. */
const FRAME_BYTES = 4 * KIB
const LONG_STEPS = 32

function equal(bytes: number): { least: number; most: number } {
  return { least: bytes, most: bytes }
}

// ---- sizes ---------------------------------------------------------------------------------------------------------

type Sizes = (random: Random) => number

interface Space {
  pageBytes: number
  spaceBytes: number
  runsOnly: boolean
}

/** Sizes one byte to either side of what the heap treats differently. */
function boundarySizes(pageBytes: number): number[] {
  const granules = [0, 1, 15, 16, 31, 32, 33, 255, 256, 257, 512, 4095, 4096]
  const edges = [pageBytes, 2 * pageBytes, 3 * pageBytes, WHOLE_BYTES, 16 * pageBytes]
  for (const count of granules) edges.push(count * GRANULE_BYTES)
  return edges.flatMap(edge => [edge - 1, edge, edge + 1]).filter(size => size >= 0)
}

function choosePhaseSizes(random: Random, { pageBytes, spaceBytes, runsOnly }: Space): [string, Sizes] {
  const smallest = runsOnly ? WHOLE_BYTES : 0
  const single = random.chance(0.5) ? random.below(4 * KIB) : random.below(spaceBytes / 8)
  const edges = boundarySizes(pageBytes)
  const phases: Record<string, Sizes> = {
    'single size': () => single,
    small: r => r.below(300),
    'power law': r => Math.floor(2 ** (r.fraction() * Math.log2(spaceBytes / 2))),
    boundaries: r => r.pick(edges),
    medium: r => r.below(WHOLE_BYTES),
    long: r => r.between(WHOLE_BYTES, spaceBytes / 12),
    pages: r => pageBytes * r.between(1, 12),
    huge: r => r.between(spaceBytes / 4, spaceBytes + pageBytes),
  }
  const name = random.pick(Object.keys(phases))
  return [name, r => Math.max(smallest, Math.floor(phases[name](r)))]
}

/** How the live set should move during a phase. */
const TENDENCIES = { grow: 0.72, hold: 0.5, shrink: 0.3 }

// ---- BlockHeap -----------------------------------------------------------------------------------------------------

interface Scenario {
  pageBytes: number
  spaceBytes: number
  /** Ranges come and go. Otherwise one range is the whole space. */
  ranges?: boolean
  /** The page limit moves. */
  limit?: boolean
  /** All blocks are whole pages, so the model can tell exactly what can be resized. */
  runsOnly?: boolean
  /** Some blocks are whole pages. */
  wholePages?: boolean
  /** Freed blocks are not kept. */
  cacheless?: boolean
}

/** Drives a `BlockHeap` and the model through the same steps. */
class BlockHeapSequence {
  readonly #random: Random
  readonly #journal: Journal
  readonly #scenario: Scenario
  readonly #heap: BlockHeap
  readonly #model: HeapModel
  readonly #ranges: Stretch[] = []
  readonly #wholeFromBytes: number
  #sizes: Sizes = () => 0
  #growth = 0

  constructor(random: Random, journal: Journal, scenario: Scenario) {
    this.#random = random
    this.#journal = journal
    this.#scenario = scenario
    this.#wholeFromBytes = scenario.wholePages || scenario.runsOnly ? WHOLE_BYTES : Infinity
    this.#heap = new BlockHeap(scenario.pageBytes, {
      wholePagesFromBytes: this.#wholeFromBytes,
      hasCache: !scenario.cacheless,
    })
    this.#model = new HeapModel(scenario.pageBytes, scenario.spaceBytes / scenario.pageBytes)
    if (!scenario.ranges) this.#addRange(0, this.#model.spacePages)
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#journal.step = step
      if (step % PHASE_STEPS === 0) this.#startPhase()
      this.#step()
      this.#compare(step)
    }
    this.#finish()
  }

  #startPhase(): void {
    const { pageBytes, spaceBytes, runsOnly = false } = this.#scenario
    const [name, sizes] = choosePhaseSizes(this.#random, { pageBytes, spaceBytes, runsOnly })
    const tendency = this.#random.pick(Object.keys(TENDENCIES) as (keyof typeof TENDENCIES)[])
    this.#journal.note(`phase: ${name}, ${tendency}`)
    this.#sizes = sizes
    this.#growth = TENDENCIES[tendency]
  }

  #step(): void {
    const { ranges, limit } = this.#scenario
    const operation = this.#random.weighted({
      churn: 70,
      resize: 10,
      misuse: 6,
      purge: 5,
      age: 2,
      purgeAged: 2,
      flush: 1,
      limit: limit ? 4 : 0,
      addRange: ranges ? 4 : 0,
      removeRange: ranges ? 4 : 0,
      removeTail: ranges ? 4 : 0,
      freeMany: 0.3,
    })
    this.#operations[operation]()
  }

  readonly #operations = {
    churn: () => (this.#random.chance(this.#growth) ? this.#allocate() : this.#free()),
    resize: () => this.#resize(),
    misuse: () => this.#misuse(),
    purge: () => this.#purge(false),
    purgeAged: () => this.#purge(true),
    age: () => {
      this.#flush()
      this.#journal.note('age')
      this.#heap.ageDirtyPages()
      this.#model.age()
    },
    flush: () => this.#flush(),
    limit: () => this.#moveLimit(),
    addRange: () => this.#addSomeRange(),
    removeRange: () => this.#removeSomeRange(),
    removeTail: () => this.#removeSomeTail(),
    freeMany: () => {
      for (let left = this.#random.below(this.#model.liveBlocks + 1); left > 0; left--) this.#free()
    },
  }

  #flush(): void {
    this.#journal.note('flush')
    this.#heap.flush()
    must(!this.#heap.hasKept, 'nothing is kept after a flush')
  }

  #allocate(): void {
    const size = this.#sizes(this.#random)
    if (this.#random.chance(0.9)) {
      this.#place(this.#heap.allocate(size), size, GRANULE_BYTES, 'allocate')
    } else {
      const align = 2 ** this.#random.between(4, Math.log2(this.#scenario.pageBytes))
      this.#place(this.#heap.allocateAligned(size, align), size, align, 'allocateAligned')
    }
  }

  /** Least and most bytes of a block of that size: it has the least only where there is no room for the most. */
  #usableBytes(size: number): { least: number; most: number } {
    const { pageBytes } = this.#heap
    const wholeBytes = Math.ceil(this.#wholeFromBytes / pageBytes) * pageBytes
    if (size >= this.#wholeFromBytes) return equal(Math.ceil(size / pageBytes) * pageBytes)
    const least = Math.max(1, Math.ceil(size / GRANULE_BYTES)) * GRANULE_BYTES
    if (least < FRAME_BYTES) return equal(least)
    const stepBytes = Math.min(FRAME_BYTES, 2 ** Math.floor(Math.log2(least)) / LONG_STEPS)
    const most = Math.ceil(least / stepBytes) * stepBytes
    return most < wholeBytes ? { least, most } : equal(least)
  }

  #place(block: number, size: number, align: number, way: string): void {
    this.#journal.note(`${way} ${size}, align ${align}: ${block}`)
    if (block === NONE) {
      this.#judgeRefusal(size)
      return
    }
    const heap = this.#heap
    must(heap.isLive(block), `block ${block} is live`)
    const usable = heap.sizeOf(block)
    const wasClean = this.#model.allocate(block, size, usable, align)
    const readsZero = heap.zeroedBlock === block
    if (readsZero) must(wasClean, `block ${block} reads as zero only on clean pages`)
    const { least, most } = this.#usableBytes(size)
    must(usable === most || usable === least, `${size} bytes get ${usable} bytes, not ${least} or ${most}`)
    must(usable === most || !heap.hasKept, `${usable} bytes instead of ${most} only after all was given up`)
    if (size >= this.#wholeFromBytes) {
      must((block * GRANULE_BYTES) % heap.pageBytes === 0, `block ${block} of ${size} bytes starts on a page`)
      must(readsZero === wasClean, `block ${block} on clean pages, ${wasClean}, reads as zero, ${readsZero}`)
    }
  }

  #judgeRefusal(size: number): void {
    const heap = this.#heap
    const model = this.#model
    const pages = Math.max(1, heap.pagesFor(size))
    must(!heap.hasKept, `${size} bytes are refused only after all that was kept was given up`)
    if (heap.refusal === REFUSED_LIMIT) {
      // A block that does not start on a page may touch one page more than it has bytes for.
      must(model.committedPages + pages + 1 > model.limitPages, `${size} bytes were refused within the limit`)
      return
    }
    must(heap.refusal === REFUSED_SPACE, `a reason for refusing: ${heap.refusal}`)
    const idle = model.longestIdle()
    must(idle < pages, `${size} bytes were refused for space with ${idle} idle pages in a row`)
  }

  #free(): void {
    if (this.#model.liveBlocks === 0) return
    const block = this.#someBlock()
    this.#journal.note(`free ${block}`)
    must(this.#heap.free(block), `live block ${block} can be freed`)
    this.#model.free(block)
    must(!this.#heap.isLive(block), `freed block ${block} is not live`)
    must(this.#heap.zeroedBlock !== block, `freed block ${block} does not read as zero`)
    must(!this.#heap.free(block), `freed block ${block} cannot be freed again`)
  }

  #someBlock(): number {
    return this.#model.blockAt(this.#random.below(this.#model.liveBlocks))
  }

  #resize(): void {
    if (this.#model.liveBlocks === 0) return
    const heap = this.#heap
    const model = this.#model
    const block = this.#someBlock()
    const before = model.sizeOf(block)
    const size = this.#random.chance(0.5)
      ? this.#sizes(this.#random)
      : Math.max(0, before + this.#random.between(-3, 3) * heap.pageBytes + this.#random.between(-1, 1))
    // What is kept behind a block may be in the way.
    if (this.#scenario.runsOnly) this.#flush()
    const done = heap.resize(block, size)
    this.#journal.note(`resize ${block} from ${before} to ${size}: ${done}`)
    const after = heap.sizeOf(block)
    if (!done) {
      must(after === before, `a block that cannot be resized keeps its ${before} bytes, has ${after}`)
      this.#judgeResizeRefusal(block, before, size)
      return
    }
    const { least, most } = this.#usableBytes(size)
    // A block that fits, but is not of full length, stays as it is.
    const hasStayed = after === before && least <= before && before <= most
    must(
      after === most || after === least || hasStayed,
      `${size} bytes became ${after}, not ${least} to ${most}`,
    )
    model.resize(block, size, after)
  }

  #judgeResizeRefusal(block: number, before: number, size: number): void {
    const { pageBytes, runsOnly } = this.#scenario
    if (!runsOnly || size < WHOLE_BYTES) return
    const end = (block * GRANULE_BYTES + before) / pageBytes
    const newEnd = (block * GRANULE_BYTES) / pageBytes + this.#heap.pagesFor(size)
    must(newEnd > end, `block ${block} can always shrink to ${size} bytes`)
    if (!this.#model.isIdle(end, newEnd)) return
    const committed = this.#model.committedPages + this.#model.cleanPages(end, newEnd)
    must(committed > this.#model.limitPages, `block ${block} can grow to ${size} bytes over idle pages`)
    must(this.#heap.refusal === REFUSED_LIMIT, `growing was refused for the limit: ${this.#heap.refusal}`)
  }

  /** Frees granules where no block starts: inside a block, right behind one, beyond the space, negative, anywhere. */
  #misuse(): void {
    const random = this.#random
    const inside = this.#model.liveBlocks > 0 ? this.#someBlock() : 0
    const granule = random.pick([
      random.below(this.#model.spaceGranules),
      inside + 1,
      inside + random.below(64),
      inside + this.#scenario.pageBytes / GRANULE_BYTES,
      // Where the next block starts, or a gap.
      inside + (this.#model.isLive(inside) ? this.#model.sizeOf(inside) / GRANULE_BYTES : 0),
      inside - 2 ** 31,
      random.uint32(),
      -random.uint32(),
      NONE,
      2 ** 31 - 1,
    ])
    const expected = this.#model.isLive(granule)
    must(this.#heap.isLive(granule) === expected, `granule ${granule} is live: ${expected}`)
    if (expected) return
    this.#journal.note(`free ${granule}, where no block starts`)
    must(!this.#heap.free(granule), `nothing can be freed at granule ${granule}`)
  }

  /** Purges a few stretches of dirty pages, found from a random page on. */
  #purge(agedOnly: boolean): void {
    const random = this.#random
    this.#flush()
    let from = random.below(this.#model.spacePages)
    for (let count = random.between(1, 4); count > 0; count--) {
      const maxPages = random.pick([1, 3, 32, Number.MAX_SAFE_INTEGER])
      const stretch = this.#nextStretch(from, maxPages, agedOnly)
      if (stretch === undefined) return
      if (random.chance(0.8)) this.#markPurged(stretch)
      from = stretch.end
    }
  }

  #nextStretch(from: number, maxPages: number, agedOnly: boolean): Stretch | undefined {
    const expected = this.#model.nextDirty(from, maxPages, agedOnly)
    const first = this.#heap.nextDirty(from, agedOnly)
    must(
      first === (expected?.first ?? NONE),
      `dirty from ${from}: ${first}, the model says ${expected?.first}`,
    )
    if (expected === undefined) return undefined
    const end = this.#heap.dirtyEnd(first, maxPages, agedOnly)
    must(end === expected.end, `dirty from ${first} to ${end}, the model says ${expected.end}`)
    return expected
  }

  #markPurged({ first, end }: Stretch): void {
    this.#journal.note(`purge pages ${first} to ${end}`)
    this.#heap.markPurged(first, end - first)
    this.#model.markPurged(first, end)
  }

  #moveLimit(): void {
    const { committedPages, spacePages } = this.#model
    const limitPages = this.#random.chance(0.2)
      ? Number.MAX_SAFE_INTEGER
      : committedPages + this.#random.below(Math.max(1, (spacePages - committedPages) >>> 1))
    this.#journal.note(`limit ${limitPages} pages`)
    this.#heap.limitPages = limitPages
    this.#model.limitPages = limitPages
  }

  #addRange(first: number, end: number): void {
    this.#journal.note(`add pages ${first} to ${end}`)
    this.#heap.addRange(first, end - first)
    this.#model.addRange(first, end)
    const before = this.#ranges.find(range => range.end === first)
    if (before !== undefined) before.end = end
    else this.#ranges.push({ first, end })
  }

  /** Somewhere free: behind a range, which it joins, or apart from all. Never right in front of another. */
  #addSomeRange(): void {
    const random = this.#random
    const first =
      this.#ranges.length > 0 && random.chance(0.4)
        ? random.pick(this.#ranges).end
        : random.below(this.#model.spacePages)
    if (this.#model.isManaged(first)) return
    const next = Math.min(
      this.#model.spacePages + 1,
      ...this.#ranges.map(range => (range.first > first ? range.first : Infinity)),
    )
    const room = next - 1 - first
    if (room > 0) this.#addRange(first, first + random.between(1, room))
  }

  #removeSomeTail(): void {
    if (this.#ranges.length === 0) return
    const index = this.#random.below(this.#ranges.length)
    const range = this.#ranges[index]
    const { first, end } = range
    this.#flush()
    const tail = this.#heap.cleanTailPages({ firstPage: first, pageCount: end - first })
    const most = this.#model.cleanTail(first, end)
    must(tail === most, `${tail} of ${most} pages before ${end}`)
    if (tail === 0) return
    const count = this.#random.between(1, tail)
    this.#journal.note(`remove ${count} pages before ${end}`)
    this.#heap.removeTail({ firstPage: first, pageCount: end - first }, count)
    this.#model.removeRange(end - count, end)
    range.end -= count
    if (range.end === first) this.#ranges.splice(index, 1)
  }

  #removeSomeRange(): void {
    if (this.#ranges.length === 0) return
    const index = this.#random.below(this.#ranges.length)
    const { first, end } = this.#ranges[index]
    const range = { firstPage: first, pageCount: end - first }
    this.#flush()
    const isFree = !this.#model.anyUsed(first, end)
    must(this.#heap.isRangeFree(range) === isFree, `pages ${first} to ${end} are free: ${isFree}`)
    must(
      this.#heap.anyDirty(first, end - first) === this.#model.anyDirty(first, end),
      `pages ${first} to ${end} have dirty ones`,
    )
    if (!isFree) return
    for (;;) {
      const stretch = this.#nextStretch(first, Number.MAX_SAFE_INTEGER, false)
      if (stretch === undefined || stretch.first >= end) break
      this.#markPurged({ first: stretch.first, end: Math.min(end, stretch.end) })
    }
    this.#journal.note(`remove pages ${first} to ${end}`)
    this.#heap.removeRange(first, end - first)
    this.#model.removeRange(first, end)
    this.#ranges.splice(index, 1)
  }

  #compare(step: number): void {
    const heap = this.#heap
    const model = this.#model
    if (step === 0 || this.#random.chance(FLUSH_CHANCE)) this.#flush()
    if (heap.hasKept) model.compareKept(heap)
    else model.compare(heap)
    must(heap.managedPages === model.managedPages, `${heap.managedPages} managed pages`)
    must(
      heap.refaultedPages === model.refaultedPages,
      `${heap.refaultedPages}, ${model.refaultedPages} refaults`,
    )
    heap.check()
    if (step % LIST_EVERY === 0) this.#compareBlocks()
  }

  #compareBlocks(): void {
    const expected = this.#model.sortedBlocks()
    const listed = this.#heap.listLive()
    must(listed.length === expected.length, `${listed.length} blocks listed of ${expected.length}`)
    for (let i = 0; i < expected.length; i++) {
      must(listed[i] === expected[i], `listed block ${listed[i]}, the model says ${expected[i]}`)
      must(this.#heap.isLive(expected[i]), `block ${expected[i]} is live`)
      must(
        this.#heap.sizeOf(expected[i]) === this.#model.sizeOf(expected[i]),
        `block ${expected[i]} keeps its size`,
      )
    }
  }

  /** Frees all, and takes every range as one block. */
  #finish(): void {
    const heap = this.#heap
    const model = this.#model
    this.#journal.note('finish')
    this.#compareBlocks()
    while (model.liveBlocks > 0) this.#free()
    this.#compare(0)
    must(heap.usedPages === 0 && heap.liveBlocks === 0, 'nothing is used after every block was freed')
    heap.limitPages = Number.MAX_SAFE_INTEGER
    model.limitPages = Number.MAX_SAFE_INTEGER
    const byLength = this.#ranges.toSorted((a, b) => b.end - b.first - (a.end - a.first))
    for (const { first, end } of byLength) {
      const size = (end - first) * heap.pageBytes
      this.#place(heap.allocate(size), size, heap.pageBytes, 'allocate')
    }
    this.#compare(0)
    must(heap.liveBlocks === byLength.length, 'every range can be allocated as one block')
    must(heap.usedPages === heap.managedPages, 'all pages are used then')
  }
}

// ---- Heap ----------------------------------------------------------------------------------------------------------

const BAD_BLOCKS = [NONE, 0.5, Number.NaN, Infinity, 2 ** 31, 2 ** 53, '0', 0n, null, undefined, {}, []]

/** Drives a `Heap` and the model through the same steps. */
class HeapSequence {
  readonly #random: Random
  readonly #journal: Journal
  #heap: Heap
  /** Counts in granules of 16 bytes; one of the heap may be longer, by this factor. */
  readonly #model: HeapModel
  readonly #scale: number
  #sizes: Sizes = () => 0
  #growth = 0

  constructor(random: Random, journal: Journal, capacityBytes: number, pageBytes: number, scale: number) {
    this.#random = random
    this.#journal = journal
    this.#scale = scale
    this.#heap = new Heap({
      capacityBytes: capacityBytes * scale,
      pageBytes: pageBytes * scale,
      granuleBytes: GRANULE_BYTES * scale,
    })
    this.#model = new HeapModel(pageBytes, capacityBytes / pageBytes)
    this.#model.addRange(0, capacityBytes / pageBytes)
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#journal.step = step
      if (step % PHASE_STEPS === 0) this.#startPhase()
      this.#step()
      this.#compare()
      this.#heap.check()
    }
    this.#finish()
  }

  #startPhase(): void {
    const { pageBytes } = this.#model
    const spaceBytes = this.#heap.capacityBytes / this.#scale
    const [name, sizes] = choosePhaseSizes(this.#random, { pageBytes, spaceBytes, runsOnly: false })
    const tendency = this.#random.pick(Object.keys(TENDENCIES) as (keyof typeof TENDENCIES)[])
    this.#journal.note(`phase: ${name}, ${tendency}`)
    this.#sizes = sizes
    this.#growth = TENDENCIES[tendency]
  }

  #step(): void {
    this.#operations[
      this.#random.weighted({
        churn: 82,
        resize: 6,
        misuse: 5,
        longest: 3,
        purge: 2,
        failingPurge: 2,
        save: 2,
      })
    ]()
  }

  readonly #operations = {
    churn: () => (this.#random.chance(this.#growth) ? this.#allocate() : this.#free()),
    resize: () => this.#resize(),
    misuse: () => this.#misuse(),
    purge: () => this.#purge(Infinity),
    failingPurge: () => this.#purge(this.#random.below(4)),
    longest: () => this.#takeLongest(),
    save: () => this.#save(),
  }

  #allocate(): void {
    const { pageBytes } = this.#heap
    const size = Math.max(0, this.#sizes(this.#random) * this.#scale - this.#random.below(this.#scale))
    const align = this.#random.chance(0.3) ? this.#scale * 2 ** this.#random.between(4, 16) : undefined
    const block = this.#take(size, align)
    if (block !== NONE) return
    const pages = Math.max(1, Math.ceil((size + (align ?? 0)) / pageBytes))
    const idle = this.#model.longestIdle()
    must(idle < pages, `${size} bytes were refused with ${idle} idle pages in a row`)
    const isTooLong = Math.max(1, size) > this.#heap.stats().longestFreeBytes
    must(align !== undefined || isTooLong, `${size} bytes were refused`)
  }

  #take(size: number, align: number | undefined): number {
    const heap = this.#heap
    const block = align === undefined ? heap.allocate(size) : heap.allocate(size, { align })
    this.#journal.note(`allocate ${size}, ${align}: ${block}`)
    if (block === NONE) return block
    const offset = heap.offsetOf(block)
    must(offset === block * heap.granuleBytes, `the offset of block ${block}`)
    must(offset % (align ?? 1) === 0, `block ${block} is aligned`)
    must(offset + heap.sizeOf(block) <= heap.capacityBytes, `block ${block} ends in the space`)
    must(heap.sizeOf(block) >= size, `block ${block} is long enough`)
    this.#model.allocate(
      block,
      Math.ceil(size / this.#scale),
      heap.sizeOf(block) / this.#scale,
      GRANULE_BYTES,
    )
    return block
  }

  /** What is said to be the longest block is one, and nothing longer is. */
  #takeLongest(): void {
    const { longestFreeBytes } = this.#heap.stats()
    must(this.#heap.allocate(longestFreeBytes + 1) === NONE, 'nothing longer than the longest')
    // Looking for it may have made space known, and must not have moved the figure.
    must(this.#heap.stats().longestFreeBytes === longestFreeBytes, 'the longest stays the longest')
    if (longestFreeBytes > 0) must(this.#take(longestFreeBytes, undefined) !== NONE, 'the longest can be had')
  }

  /** Another heap goes on from the books of this one; damaged books make none that is wrong. */
  #save(): void {
    this.#journal.note('save')
    const before = this.#heap.stats()
    const text = JSON.stringify(this.#heap)
    const saved: SavedHeap = JSON.parse(text)
    for (let n = 0; n < 4; n++) this.#restoreDamaged(saved, n % 2 === 0)
    const heap = Heap.from(saved)
    heap.check()
    must(JSON.stringify(heap) === text, 'what was restored saves the same')
    const { metadataBytes: _, ...expected } = before
    const { metadataBytes: __, ...found } = heap.stats()
    must(JSON.stringify(found) === JSON.stringify(expected), `restored ${JSON.stringify(found)}`)
    for (const block of this.#model.sortedBlocks()) {
      must(heap.sizeOf(block) === this.#model.sizeOf(block) * this.#scale, `block ${block} keeps its size`)
    }
    this.#heap = heap
  }

  /** As it would be read from a bad disk, or, with its checksum right, from somebody who means harm. */
  #restoreDamaged(saved: SavedHeap, isForged: boolean): void {
    const field = this.#random.pick(['blocks', 'dirty'] as const)
    const bytes = Buffer.from(saved[field], 'base64')
    if (bytes.length === 0) return
    const at = this.#random.below(bytes.length)
    const way = this.#random.below(3)
    if (way === 0) bytes[at] ^= 1 << this.#random.below(8)
    const damaged =
      way === 1 ? bytes.subarray(0, at) : way === 2 ? Buffer.concat([bytes, bytes.subarray(at)]) : bytes
    const { version: _, checksum, ...books } = saved
    const forged = sealed({ ...books, [field]: damaged.toString('base64') })
    let heap: Heap
    try {
      heap = Heap.from(isForged ? forged : { ...forged, checksum })
    } catch (error) {
      must((error as { code?: string }).code === 'ERR_INVALID_ARG_VALUE', `a clear error, not ${error}`)
      return
    }
    must(isForged, 'damage is found')
    heap.check()
  }

  #free(): void {
    if (this.#model.liveBlocks === 0) return
    const block = this.#model.blockAt(this.#random.below(this.#model.liveBlocks))
    this.#journal.note(`free ${block}`)
    must(
      this.#heap.sizeOf(block) === this.#model.sizeOf(block) * this.#scale,
      `block ${block} keeps its size`,
    )
    this.#heap.free(block)
    this.#model.free(block)
    this.#refuses(block)
  }

  #resize(): void {
    if (this.#model.liveBlocks === 0) return
    const block = this.#model.blockAt(this.#random.below(this.#model.liveBlocks))
    const size = Math.max(0, this.#sizes(this.#random) * this.#scale - this.#random.below(this.#scale))
    const isDone = this.#heap.resize(block, size)
    this.#journal.note(`resize ${block} to ${size}: ${isDone}`)
    const usable = this.#heap.sizeOf(block) / this.#scale
    if (isDone) this.#model.resize(block, Math.ceil(size / this.#scale), usable)
    else must(usable === this.#model.sizeOf(block), `block ${block} keeps its size`)
  }

  #misuse(): void {
    const granule = this.#random.below(this.#model.spaceGranules)
    this.#refuses(this.#random.pick([...BAD_BLOCKS, granule + 2 ** 32, granule + 0.5, granule - 2 ** 31]))
    if (this.#model.isLive(granule)) must(this.#heap.sizeOf(granule) > 0, `block ${granule} has a size`)
    else this.#refuses(granule)
  }

  #refuses(block: unknown): void {
    this.#journal.note(`misuse ${String(block)}`)
    for (const call of [() => this.#heap.free(block as number), () => this.#heap.sizeOf(block as number)]) {
      let code = 'nothing'
      try {
        call()
      } catch (error) {
        code = error instanceof ArenaError ? error.code : String(error)
      }
      must(code === 'ERR_ARENA_DOUBLE_FREE', `a block that is not live is refused, got ${code}`)
    }
  }

  /** Purges every dirty stretch, but for a callback that throws at the `failAt`-th. */
  #purge(failAt: number): void {
    const { pageBytes } = this.#heap
    const failure = new Error('refused')
    let calls = 0
    let from = 0
    let purgedBytes = 0
    this.#journal.note(`purge, failing at ${failAt}`)
    try {
      const total = this.#heap.purge((offsetBytes, lengthBytes) => {
        const expected = this.#model.nextDirty(from, Infinity, false)
        must(offsetBytes / pageBytes === expected?.first, `purges from ${offsetBytes}`)
        must(
          (offsetBytes + lengthBytes) / pageBytes === expected.end,
          `purges to ${offsetBytes + lengthBytes}`,
        )
        if (calls++ === failAt) throw failure
        this.#model.markPurged(expected.first, expected.end)
        from = expected.end
        purgedBytes += lengthBytes
      })
      must(total === purgedBytes, `${total} bytes purged of ${purgedBytes}`)
      must(this.#model.dirtyPages === 0, 'everything dirty was purged')
    } catch (error) {
      if (error !== failure) throw error
    }
  }

  #compare(): void {
    const { pageBytes } = this.#heap
    const stats = this.#heap.stats()
    this.#model.compare({
      liveBlocks: stats.liveBlocks,
      usedPages: stats.usedBytes / pageBytes,
      dirtyPages: stats.dirtyBytes / pageBytes,
      committedPages: stats.committedBytes / pageBytes,
      peakUsedPages: stats.peakUsedBytes / pageBytes,
      peakCommittedPages: stats.peakCommittedBytes / pageBytes,
    })
    const longest = this.#model.longestFree() * GRANULE_BYTES * this.#scale
    must(stats.longestFreeBytes === longest, `the longest is ${longest}, not ${stats.longestFreeBytes}`)
  }

  #finish(): void {
    const heap = this.#heap
    this.#journal.note('finish')
    while (this.#model.liveBlocks > 0) this.#free()
    this.#compare()
    heap.check()
    const whole = heap.allocate(heap.capacityBytes)
    must(whole === 0 && heap.sizeOf(whole) === heap.capacityBytes, 'the whole capacity is one block')
    must(heap.stats().usedBytes === heap.capacityBytes, 'all of it is used then')
    heap.check()
  }
}

// ---- scenarios -----------------------------------------------------------------------------------------------------

const PAGE_SIZES = [4 * KIB, 16 * KIB, 64 * KIB]

describe('BlockHeap agrees with the model', () => {
  for (const pageBytes of PAGE_SIZES) {
    const pages = `${pageBytes / KIB} KiB pages`
    const spaceBytes = pageBytes === 64 * KIB ? 4 * MIB : MIB
    const scenarios: Record<string, Scenario> = {
      [`one range of ${pages}`]: { pageBytes, spaceBytes },
      [`one range of ${pages}, nothing kept`]: { pageBytes, spaceBytes, cacheless: true },
      [`one range of ${pages}, some blocks whole pages`]: { pageBytes, spaceBytes, wholePages: true },
      [`ranges of ${pages} that come and go`]: { pageBytes, spaceBytes: 2 * spaceBytes, ranges: true },
      [`a moving limit on ${pages}`]: { pageBytes, spaceBytes, limit: true },
      [`whole pages only, of ${pages}`]: {
        pageBytes,
        spaceBytes: 4 * MIB,
        runsOnly: true,
        limit: true,
        ranges: true,
      },
    }
    for (const [name, scenario] of Object.entries(scenarios)) {
      it(name, () => {
        runSequences(FILE, name, STEPS, SEQUENCE_STEPS, (random, steps, journal) =>
          new BlockHeapSequence(random, journal, scenario).run(steps),
        )
      })
    }
  }
})

describe('Heap agrees with the model', () => {
  for (const pageBytes of PAGE_SIZES) {
    for (const scale of [1, 4, 4096]) {
      const name = `a heap of ${pageBytes / KIB} KiB pages, granules ${scale} times as long`
      it(name, () => {
        runSequences(FILE, name, STEPS / 2, SEQUENCE_STEPS, (random, steps, journal) => {
          const capacityBytes = pageBytes * random.pick([1, 2, 3, 7, 64, 65, 256])
          new HeapSequence(random, journal, Math.min(4 * MIB, capacityBytes), pageBytes, scale).run(steps)
        })
      })
    }
  }
})
