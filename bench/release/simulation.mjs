/**
 * An arena's memory under a clock that is only computed: the real heap, policy, scavenger and releaser over a page source
 * that does nothing but take time. Shows within milliseconds what minutes would bring; the tests check these curves and
 * docs/release.md plots them.
 */

/** @import { Timer } from '#compiled/base/deferral.js' */
/** @import { Block, PageCount } from '#compiled/base/units.js' */
/** @import { ReleaserParts } from '#compiled/release/releaser.js' */

/**
 * The classes that are simulated: those of the build, or of the source under test.
 * @typedef {object} Modules
 * @property {typeof import('#compiled/heap/block-heap.js').BlockHeap} BlockHeap
 * @property {typeof import('#compiled/release/policy.js').ReleasePolicy} ReleasePolicy
 * @property {typeof import('#compiled/release/scavenger.js').Scavenger} Scavenger
 * @property {typeof import('#compiled/release/releaser.js').Releaser} Releaser
 */

/**
 * @typedef {object} SimulationOptions
 * @property {number} releaseAfterMs as an arena has it
 * @property {number} [callMs] what the kernel takes for a purge
 * @property {number} [pageMs] and for each page of it
 */

/**
 * The memory at one moment.
 * @typedef {object} Sample
 * @property {number} ms the time, from 0 at the start
 * @property {PageCount} usedPages pages with live blocks
 * @property {PageCount} dirtyPages free pages that the kernel still holds
 * @property {PageCount} warmPages free pages that the policy wants to keep, for blocks to come
 * @property {number} promiseMs how soon the policy gives a free page back: `releaseAfterMs`, or more after refaults
 * @property {PageCount} refaultedPages pages that had gone back and were wanted again, in all
 * @property {PageCount} purgedPages pages that went back, in all
 * @property {number} purgingMs time that it took, in all
 */

/**
 * What is to run, and when.
 * @typedef {{ dueMs: number, run: (sliceStartMs: number) => void }} DueRun
 */

const PAGE_BYTES = 4096
/** What the kernel takes for a purge, measured: for a call, and for each page. */
const CALL_MS = 0.0007
const PAGE_MS = 0.00024
const SPACE_PAGES = 1 << 18

/** A clock and an event loop of its own. */
class SimulatedTime {
  nowMs = 0
  /** @type {DueRun[]} */
  #timers = []

  now = () => this.nowMs

  /** @param {() => void} run */
  nextTurn(run) {
    this.after(0, run)
  }

  /** @param {() => void} run */
  awaitedTurn(run) {
    this.after(0, run)
  }

  /**
   * @param {number} delayMs
   * @param {(sliceStartMs: number) => void} run
   * @returns {Timer}
   */
  after(delayMs, run) {
    const timer = { dueMs: this.nowMs + Math.max(1, delayMs), run }
    this.#timers.push(timer)
    return { cancel: () => this.#remove(timer) }
  }

  get pendingTimers() {
    return this.#timers.length
  }

  /** @param {DueRun} timer */
  #remove(timer) {
    this.#timers = this.#timers.filter(other => other !== timer)
  }

  /** What is due first; null if nothing is. */
  #first() {
    /** @type {DueRun | null} */
    let first = null
    for (const timer of this.#timers) if (first === null || timer.dueMs < first.dueMs) first = timer
    return first
  }

  /**
   * Runs what is due until then, in order.
   * @param {number} endMs
   */
  advanceTo(endMs) {
    for (;;) {
      const next = this.#first()
      if (next === null || next.dueMs > endMs) break
      this.#remove(next)
      this.nowMs = Math.max(this.nowMs, next.dueMs)
      next.run(this.nowMs)
    }
    this.nowMs = Math.max(this.nowMs, endMs)
  }
}

/** One arena's memory, in pages. */
export class Simulation {
  time = new SimulatedTime()
  /** Time that purging has taken, and the longest that one turn of the event loop had to wait for it. */
  purgingMs = 0
  longestSliceMs = 0
  /** @type {Sample[]} */
  samples = []
  calls = 0

  /**
   * @param {Modules} modules
   * @param {SimulationOptions} options
   */
  constructor(
    { BlockHeap, ReleasePolicy, Scavenger, Releaser },
    { releaseAfterMs, callMs = CALL_MS, pageMs = PAGE_MS },
  ) {
    this.heap = new BlockHeap(PAGE_BYTES, { wholePagesFromBytes: PAGE_BYTES, hasCache: false })
    this.heap.addRange(0, SPACE_PAGES)
    /** @type {ReleaserParts['source'] & ConstructorParameters<Modules['Scavenger']>[1]} */
    const source = {
      segments: [],
      end: null,
      unitPages: 1,
      unreserve() {},
      retire() {},
      close() {},
      purge: (stretches, from, end) => {
        let pageCount = 0
        for (let at = from; at < end; at++) pageCount += stretches[2 * at + 1]
        const tookMs = (end - from) * callMs + pageCount * pageMs
        this.time.nowMs += tookMs
        this.purgingMs += tookMs
        return pageCount
      },
    }
    this.policy = new ReleasePolicy(releaseAfterMs, this.time.now, PAGE_BYTES)
    this.scavenger = new Scavenger(this.heap, source, this.policy)
    this.releaser = new Releaser(this.policy, {
      gate: { isTaken: false, wasInterrupted: false, attempt: runAtOnce },
      heap: this.heap,
      source,
      scavenger: this.scavenger,
      buffers: noBuffers(),
      debug: null,
      pools: { endIdle: () => 0, endIdleSlice: () => true },
      limits: { adapt() {} },
      notices: { purged() {}, purgeRefused() {} },
      deferral: this.time,
    })
    this.releaser.calls = () => this.calls
    const tick = this.scavenger.tick.bind(this.scavenger)
    this.scavenger.tick = (...args) => {
      const before = this.purgingMs
      const isFinished = tick(...args)
      this.longestSliceMs = Math.max(this.longestSliceMs, this.purgingMs - before)
      return isFinished
    }
  }

  /**
   * A block of so many pages, below the length of a slab's blocks too.
   * @param {PageCount} pageCount
   * @returns {Block}
   */
  use(pageCount) {
    this.calls++
    return this.heap.allocate(pageCount * PAGE_BYTES)
  }

  /** @param {Block} block */
  free(block) {
    this.calls++
    const isLarge = this.heap.sizeOf(block) >= this.policy.atOncePages * PAGE_BYTES
    this.heap.free(block)
    this.releaser.noteFree()
    if (isLarge) this.releaser.afterLargeFree()
  }

  /**
   * Lets time pass, and samples on the way.
   * @param {number} ms
   * @param {number} sampleMs from one sample to the next
   */
  wait(ms, sampleMs = 10) {
    const endMs = this.time.nowMs + ms
    while (this.time.nowMs < endMs) {
      this.time.advanceTo(Math.min(endMs, this.time.nowMs + sampleMs))
      this.sample()
    }
  }

  /** Adds what is so now to `samples`. */
  sample() {
    const { heap, policy } = this
    this.samples.push({
      ms: this.time.nowMs,
      usedPages: heap.usedPages,
      dirtyPages: heap.dirtyPages,
      warmPages: policy.warmPages,
      promiseMs: policy.promiseMs,
      refaultedPages: heap.refaultedPages,
      purgedPages: this.scavenger.purgedPages,
      purgingMs: this.purgingMs,
    })
  }

  /** Throws where the books do not hold. */
  check() {
    this.heap.check()
    this.policy.check()
    this.releaser.check()
  }
}

/**
 * Memory without buffers over it.
 * @returns {ReleaserParts['buffers']}
 */
function noBuffers() {
  return {
    hasIdle: false,
    onCollected: null,
    dropIdle() {},
    removeSegment() {},
    recoverSetAside() {},
    abandonSetAside() {},
    noticeTaken() {},
    recount() {},
  }
}

/**
 * The gate of an arena in which one thing happens at a time.
 * @param {() => void} change
 */
function runAtOnce(change) {
  change()
  return true
}
