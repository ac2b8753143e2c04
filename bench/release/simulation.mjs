/**
 * An arena's memory under a clock that is only computed: the real heap, policy, scavenger and releaser over a page source
 * that does nothing but take time. Shows within milliseconds what minutes would bring; the tests check these curves and
 * docs/release.md plots them.
 */

const PAGE_BYTES = 4096
/** What the kernel takes for a purge, measured: for a call, and for each page. */
const CALL_MS = 0.0007
const PAGE_MS = 0.00024
const SPACE_PAGES = 1 << 18

/** A clock and an event loop of its own. */
class SimulatedTime {
  nowMs = 0
  #timers = []

  now = () => this.nowMs

  nextTurn(run) {
    this.after(0, run)
  }

  after(delayMs, run) {
    const timer = { dueMs: this.nowMs + Math.max(1, delayMs), run }
    this.#timers.push(timer)
    return { cancel: () => this.#remove(timer) }
  }

  get pendingTimers() {
    return this.#timers.length
  }

  #remove(timer) {
    this.#timers = this.#timers.filter(other => other !== timer)
  }

  /** Runs what is due until then, in order. */
  advanceTo(endMs) {
    for (;;) {
      const next = this.#timers.reduce((a, b) => (a === null || b.dueMs < a.dueMs ? b : a), null)
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
  samples = []
  calls = 0

  /** `modules`: the classes `BlockHeap`, `ReleasePolicy`, `Scavenger` and `Releaser`. */
  constructor(
    { BlockHeap, ReleasePolicy, Scavenger, Releaser },
    { releaseAfterMs, callMs = CALL_MS, pageMs = PAGE_MS },
  ) {
    this.heap = new BlockHeap(PAGE_BYTES, { wholePagesFromBytes: PAGE_BYTES, hasCache: false })
    this.heap.addRange(0, SPACE_PAGES)
    const source = {
      segments: [],
      end: null,
      unitPages: 1,
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
      buffers: { hasIdle: false, recoverSetAside() {}, dropIdle() {} },
      limits: { settle() {} },
      notices: { purged() {} },
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

  /** A block of so many pages, below the length of a slab's blocks too. */
  use(pageCount) {
    this.calls++
    return this.heap.allocate(pageCount * PAGE_BYTES)
  }

  free(block) {
    this.calls++
    const isLarge = this.heap.sizeOf(block) >= this.policy.atOncePages * PAGE_BYTES
    this.heap.free(block)
    this.releaser.noteFree()
    if (isLarge) this.releaser.afterLargeFree()
  }

  /** Lets time pass, and samples on the way. */
  wait(ms, sampleMs = 10) {
    const endMs = this.time.nowMs + ms
    while (this.time.nowMs < endMs) {
      this.time.advanceTo(Math.min(endMs, this.time.nowMs + sampleMs))
      this.sample()
    }
  }

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

  check() {
    this.heap.check()
    this.policy.check()
    this.releaser.check()
  }
}

/** The gate of an arena in which one thing happens at a time. */
function runAtOnce(change) {
  change()
  return true
}
