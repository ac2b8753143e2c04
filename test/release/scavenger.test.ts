import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { MmapSource } from '../../src/memory/mmap-source.js'
import type { PageSource } from '../../src/memory/page-source.js'
import { endOf, type Segment } from '../../src/memory/segment.js'
import type { OwnSegment } from '../../src/memory/segment-source.js'
import { ReleasePolicy } from '../../src/release/policy.js'
import { Scavenger } from '../../src/release/scavenger.js'
import { FakeSource } from '../support/fake-source.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed } from '../support/random.js'
import { turns } from '../support/world.js'

const PROMISE_MS = 1_000
/** Far from the start of a turn: nothing is left of its slice. */
const LONG_AGO_MS = -1_000

let kernel: FaultyKernel
let clock: ManualDeferral
let source: PageSource & { readonly segments: readonly Segment[] }
let heap: BlockHeap
let policy: ReleasePolicy
let scavenger: Scavenger
/** Stretches that went back, as first page and page count, in the order of the calls. */
let purged: number[][]
/** Blocks allocated and freed, ever. */
let calls: number
let pageBytes: number

/** Observes what is purged; the calls themselves are the source's. */
function observed<S extends PageSource>(subject: S): S {
  const { purge } = subject
  subject.purge = (stretches, from, end) => {
    const done = purge.call(subject, stretches, from, end)
    for (let at = from, left = done; at < end && left > 0; left -= stretches[2 * at + 1], at++)
      purged.push([stretches[2 * at], Math.min(left, stretches[2 * at + 1])])
    return done
  }
  return subject
}

const fakes: FakeSource[] = []

function makeScavenger(made: PageSource, hasCache = false): void {
  source = observed(made)
  if (made instanceof FakeSource) fakes.push(made)
  ;({ pageBytes } = source)
  heap = new BlockHeap(pageBytes, { wholePagesFromBytes: pageBytes, hasCache })
  policy = new ReleasePolicy(PROMISE_MS, clock.now, pageBytes)
  scavenger = new Scavenger(heap, source, policy)
}

beforeEach(() => {
  kernel = new FaultyKernel()
  clock = new ManualDeferral()
  purged = []
  calls = 0
  makeScavenger(new FakeSource(kernel))
})

afterEach(async () => {
  kernel.allow()
  heap.check()
  policy.check()
  if (source instanceof MmapSource) for (const segment of [...source.segments]) source.retire(segment)
  else source.close()
  await turns()
  clock.runTurn()
  for (const fake of fakes.splice(0)) fake.unmap()
})

function addSegment(pageCount: number): Segment {
  const stretch = source.reserve(pageCount)
  heap.addRange(stretch.firstPage, stretch.pageCount)
  return source.segmentOf(stretch.firstPage)
}

const use = (pageCount: number): number => {
  calls++
  const block = heap.allocate(pageCount * pageBytes)
  expect(block).not.toBe(NONE)
  return block
}

const free = (block: number): void => {
  calls++
  heap.free(block)
}

const pageOf = (block: number): number => (block * 16) / pageBytes

/** Blocks of so many pages each, with a page in use behind each: stretches of those lengths once they are freed. */
function useApart(...lengths: number[]): number[] {
  return lengths.map(length => {
    const block = use(length)
    use(1)
    return block
  })
}

function makeDirty(...lengths: number[]): number[] {
  const blocks = useApart(...lengths)
  for (const block of blocks) free(block)
  return blocks.map(pageOf)
}

/** One slice of a tick, in a turn that began just now. */
const tick = (seeksLong = false): boolean => scavenger.tick(clock.nowMs, calls, seeksLong)

/** Ticks as a timer would, until the tick is finished; returns how many slices it took. */
function tickThrough(seeksLong = false): number {
  let slices = 1
  for (let seeks = seeksLong; !tick(seeks); seeks = false) {
    clock.nowMs += 1
    expect(slices++).toBeLessThan(10_000)
  }
  return slices
}

/** A thousand short stretches, dirty and marked for so long that a tick gives them back from now on. */
function makeDue(): void {
  addSegment(8_192)
  policy.start()
  makeDirty(...Array.from({ length: 1_000 }, () => 3))
  clock.nowMs += 450
  tickThrough()
  clock.nowMs += 450
}

/** Waits as long as the promise says, with the ticks that are due on the way. */
function waitOut(): void {
  const endMs = clock.nowMs + PROMISE_MS
  while (clock.nowMs < endMs) {
    clock.nowMs += policy.delayMs(true, true)
    tickThrough()
  }
}

function refuse(which: (firstPage: number) => boolean): void {
  const { purge } = source
  source.purge = (stretches, from, end) => {
    let allowed = from
    while (allowed < end && !which(stretches[2 * allowed])) allowed++
    if (allowed === from) throw Object.assign(new Error('refused by the test'), { code: 'EAGAIN' })
    return purge.call(source, stretches, from, allowed)
  }
}

describe('purgeAll', () => {
  it('gives every dirty page back, and no other', () => {
    addSegment(512)
    const pages = makeDirty(1, 40, 7, 100)
    const { usedPages } = heap
    expect(scavenger.purgeAll()).toBe(148)
    expect(purged).toEqual(pages.map((page, at) => [page, [1, 40, 7, 100][at]]))
    expect([heap.dirtyPages, heap.usedPages, scavenger.purgedPages]).toEqual([0, usedPages, 148])
    expect([scavenger.failure, scavenger.purgeAll(), scavenger.purges]).toEqual([null, 0, 1])
  })

  it('reaches the pages of all segments', () => {
    const segments = [addSegment(256), addSegment(300)]
    for (const block of [use(256), use(300)]) free(block)
    expect(scavenger.purgeAll()).toBe(556)
    expect(purged.map(([page]) => page)).toEqual(segments.map(({ firstPage }) => firstPage))
  })

  it('gives up what is kept for the next block of its size', () => {
    makeScavenger(new FakeSource(kernel), true)
    addSegment(512)
    use(64)
    free(use(1))
    expect([heap.hasKept, heap.dirtyPages]).toEqual([true, 0])
    expect(scavenger.purgeAll()).toBe(1)
    expect(heap.hasKept).toBe(false)
  })

  it('leaves dirty what the kernel refuses, says so, and asks again the next time', () => {
    addSegment(512)
    const pages = makeDirty(5, 6, 7)
    let isRefusing = true
    refuse(page => isRefusing && page === pages[1])
    expect(scavenger.purgeAll()).toBe(12)
    expect([heap.dirtyPages, heap.anyDirty(pages[1], 6)]).toEqual([6, true])
    expect(scavenger.failure).toMatchObject({ code: 'EAGAIN' })
    isRefusing = false
    expect(scavenger.purgeAll()).toBe(6)
    expect([heap.dirtyPages, scavenger.failure]).toEqual([0, null])
  })

  it('is asked in vain no more than a few times in a row', () => {
    addSegment(512)
    makeDirty(...Array.from({ length: 100 }, () => 1))
    let asked = 0
    refuse(() => {
      asked++
      return true
    })
    expect(scavenger.purgeAll()).toBe(0)
    expect(asked).toBe(16)
    expect(heap.dirtyPages).toBe(100)
  })
})

describe('purgeSome', () => {
  it('takes the longest stretches first, about as many pages as were asked for', () => {
    addSegment(2_048)
    const [short, long, middle] = makeDirty(10, 300, 100)
    expect(scavenger.purgeSome(200)).toBe(200)
    expect(purged).toEqual([[long, 200]])
    expect(scavenger.purgeSome(150)).toBeGreaterThanOrEqual(150)
    expect(heap.anyDirty(middle, 100)).toBe(true)
    expect(heap.anyDirty(long, 300)).toBe(false)
    expect(heap.anyDirty(short, 10)).toBe(true)
    const left = heap.dirtyPages
    expect([scavenger.purgeSome(1_000), heap.dirtyPages]).toEqual([left, 0])
  })

  it('takes no fewer than are worth a call, and all where there are no more', () => {
    addSegment(2_048)
    makeDirty(300)
    expect(scavenger.purgeSome(1)).toBe(16)
    expect(scavenger.purgeSome(5_000)).toBe(284)
    expect(scavenger.purgeSome(5_000)).toBe(0)
  })

  it('does not give up what is kept for the next block of its size', () => {
    makeScavenger(new FakeSource(kernel), true)
    addSegment(512)
    use(64)
    free(use(1))
    expect(scavenger.purgeSome(100)).toBe(0)
    expect(heap.hasKept).toBe(true)
  })

  it('asks again although the kernel refused too often before', () => {
    addSegment(512)
    makeDirty(...Array.from({ length: 50 }, () => 1))
    let isRefusing = true
    refuse(() => isRefusing)
    scavenger.purgeAll()
    isRefusing = false
    expect(scavenger.purgeSome(50)).toBe(50)
    expect(scavenger.failure).toBe(null)
  })

  it('says where the kernel refuses, and takes others', () => {
    addSegment(2_048)
    const [long, other] = makeDirty(300, 40)
    refuse(page => page >= long && page < long + 300)
    expect(scavenger.purgeSome(400)).toBe(40)
    expect(heap.anyDirty(other, 40)).toBe(false)
    expect(scavenger.failure).toMatchObject({ code: 'EAGAIN' })
  })
})

describe('a tick', () => {
  it('gives nothing back before its time, then more at each step, all of it within the promise', () => {
    addSegment(2_048)
    policy.start()
    makeDirty(...Array.from({ length: 100 }, () => 7))
    const left: number[] = []
    for (let ms = 0; ms < PROMISE_MS; ms += policy.delayMs(true, true)) {
      expect(tick()).toBe(true)
      left.push(heap.dirtyPages)
      clock.nowMs += policy.delayMs(true, true)
    }
    expect(left.slice(0, 12)).toEqual(Array(12).fill(700))
    for (const share of [0.75, 0.5, 0.25]) {
      expect(left.some(dirty => Math.abs(dirty - 700 * share) <= 16)).toBe(true)
    }
    expect([left.at(-1), heap.dirtyPages]).toEqual([0, 0])
    expect(left.toSorted((a, b) => b - a)).toEqual(left)
  })

  it('takes long stretches before short ones', () => {
    addSegment(4_096)
    policy.start()
    const pages = makeDirty(1, 20, 300, 1, 20, 300)
    waitOut()
    const order = purged.map(([page]) => pages.findLastIndex(first => first <= page))
    expect(new Set(order.slice(0, 2))).toEqual(new Set([2, 5]))
    expect(heap.dirtyPages).toBe(0)
  })

  it('takes no page that was used since it was marked', () => {
    addSegment(512)
    policy.start()
    makeDirty(100)
    // The mark.
    clock.nowMs += 450
    tickThrough()
    expect([policy.isMarked, heap.agedPages]).toEqual([true, 100])
    const again = use(60)
    free(again)
    expect(heap.agedPages).toBe(40)
    // A step before the next mark: most of what has a mark goes.
    clock.nowMs += 400
    tickThrough()
    expect(purged.length).toBeGreaterThan(0)
    expect(purged.every(([page]) => page >= pageOf(again) + 60)).toBe(true)
  })

  it('looks at the clock while it passes over stretches that are too short for now', () => {
    makeDue()
    expect(scavenger.tick(LONG_AGO_MS, calls, false)).toBe(false)
    expect(purged).toEqual([])
    tickThrough()
    expect(heap.dirtyPages).toBe(0)
  })

  it('goes on where its last slice ended, and marks when it is finished', () => {
    makeDue()
    // Each look at the clock finds that half of the slice is over.
    clock.readCostMs = 0.1
    let slices = 0
    const seen: number[] = []
    while (!tick()) {
      slices++
      seen.push(heap.dirtyPages)
      expect(policy.isMarked).toBe(false)
      clock.nowMs += 1
    }
    clock.readCostMs = 0
    expect(slices).toBeGreaterThan(3)
    expect(seen).toEqual(seen.toSorted((a, b) => b - a))
    expect([heap.dirtyPages, policy.isMarked]).toEqual([0, true])
    // In order: no sweep began anew.
    const first = purged.map(([page]) => page)
    expect(first).toEqual(first.toSorted((a, b) => a - b))
  })

  it('leaves dirty what the kernel refuses, and asks again in the next one', () => {
    addSegment(512)
    policy.start()
    const [page] = makeDirty(30)
    let isRefusing = true
    refuse(() => isRefusing)
    waitOut()
    expect([heap.dirtyPages, heap.anyDirty(page, 30)]).toEqual([30, true])
    expect(scavenger.failure).not.toBe(null)
    isRefusing = false
    waitOut()
    expect([heap.dirtyPages, scavenger.failure]).toEqual([0, null])
  })

  it('gives up what is kept when it marks, not before', () => {
    makeScavenger(new FakeSource(kernel), true)
    addSegment(512)
    policy.start()
    use(64)
    free(use(1))
    // A step after the start, and then at the mark.
    tickThrough()
    expect(heap.hasKept).toBe(false)
    free(use(1))
    tickThrough()
    expect(heap.hasKept).toBe(true)
    clock.nowMs += 450
    tickThrough()
    expect(heap.hasKept).toBe(false)
  })
})

describe('long runs that came free', () => {
  const longPages = () => MIB / pageBytes

  it('go at once, unless nobody seeks them; shorter ones stay', () => {
    addSegment(4_096)
    policy.start()
    const [long, short] = makeDirty(2 * longPages(), longPages() - 1)
    tickThrough()
    expect(purged).toEqual([])
    tickThrough(true)
    expect(heap.anyDirty(long, 2 * longPages())).toBe(false)
    expect(heap.anyDirty(short, 1)).toBe(true)
    expect(heap.dirtyPages).toBe(longPages() - 1)
  })

  it('go in slices, and are sought on until all are gone', () => {
    addSegment(8_192)
    policy.start()
    makeDirty(...Array.from({ length: 10 }, () => 3 * longPages()))
    clock.readCostMs = 0.2
    expect(tick(true)).toBe(false)
    expect(heap.dirtyPages).toBeGreaterThan(0)
    clock.nowMs += 1
    tickThrough()
    clock.readCostMs = 0
    // What is shorter than a long run may stay for its time.
    expect(heap.dirtyPages).toBeLessThan(longPages())
  })

  it('stay as far as traffic wants them, the low ones', () => {
    addSegment(8_192)
    policy.start()
    const waves = () => {
      const blocks = Array.from({ length: 8 }, () => use(longPages()))
      tickThrough()
      for (const block of blocks) free(block)
      clock.nowMs += 50
      tickThrough(true)
    }
    for (let i = 0; i < 4; i++) waves()
    expect(heap.dirtyPages).toBe(8 * longPages())
    const before = purged.length
    free(use(20 * longPages()))
    tickThrough(true)
    expect(heap.dirtyPages).toBeLessThan(20 * longPages())
    expect(heap.dirtyPages).toBeGreaterThanOrEqual(8 * longPages())
    expect(purged.slice(before).every(([page]) => page >= 8 * longPages())).toBe(true)
    expect(heap.anyDirty(0, 1)).toBe(true)
  })
})

describe('what is beyond the bound', () => {
  /** More is dirty, none of it marked, than was in use lately allows; returns how much is allowed. */
  function makeExcess(): number {
    addSegment(8_192)
    policy.start()
    const blocks = useApart(...Array.from({ length: 600 }, () => 7))
    tickThrough()
    for (const block of blocks) free(block)
    clock.nowMs += 100
    tickThrough()
    expect(heap.dirtyPages).toBe(4_200)
    clock.nowMs += PROMISE_MS
    return Math.floor(600 * 1.25) + (8 * MIB) / pageBytes - heap.usedPages
  }

  it('goes whatever its age', () => {
    const allowed = makeExcess()
    tickThrough()
    expect(heap.dirtyPages).toBeLessThanOrEqual(allowed)
    expect(heap.dirtyPages).toBeGreaterThan(allowed - 32)
  })

  it('goes in slices, and the tick is not finished before', () => {
    const allowed = makeExcess()
    expect(scavenger.tick(LONG_AGO_MS, calls, false)).toBe(false)
    expect(heap.dirtyPages).toBeGreaterThan(allowed)
    expect(policy.isMarked).toBe(false)
    tickThrough()
    expect(heap.dirtyPages).toBeLessThanOrEqual(allowed)
    const first = purged.map(([page]) => page)
    expect(first).toEqual(first.toSorted((a, b) => a - b))
  })
})

describe('purgeSlice', () => {
  it('does what purgeAll does, in parts that end with the slice', () => {
    addSegment(8_192)
    makeDirty(...Array.from({ length: 1_000 }, () => 5))
    clock.readCostMs = 0.1
    let parts = 0
    let page = 0
    do {
      page = scavenger.purgeSlice(page, clock.nowMs)
      parts++
      clock.nowMs += 1
    } while (page !== 0)
    clock.readCostMs = 0
    expect(parts).toBeGreaterThan(3)
    expect([heap.dirtyPages, scavenger.purgedPages]).toEqual([0, 5_000])
    const first = purged.map(([at]) => at)
    expect(first).toEqual(first.toSorted((a, b) => a - b))
  })

  it('does a little where no time is left, and comes to its end', () => {
    addSegment(8_192)
    makeDirty(...Array.from({ length: 600 }, () => 5))
    let parts = 0
    for (let page = scavenger.purgeSlice(0, LONG_AGO_MS); page !== 0; parts++)
      page = scavenger.purgeSlice(page, LONG_AGO_MS)
    expect(parts).toBeGreaterThan(5)
    expect(heap.dirtyPages).toBe(0)
  })

  it('gives up what is kept, with its first part', () => {
    makeScavenger(new FakeSource(kernel), true)
    addSegment(512)
    use(64)
    free(use(1))
    expect(scavenger.purgeSlice(0, clock.nowMs)).toBe(0)
    expect([heap.hasKept, scavenger.purgedPages]).toEqual([false, 1])
  })

  it('may come in the middle of a tick, which then finishes what is left', () => {
    makeDue()
    clock.readCostMs = 0.1
    while (purged.length === 0) {
      expect(tick()).toBe(false)
      clock.nowMs += 1
    }
    expect(heap.dirtyPages).toBeGreaterThan(1_000)
    expect(scavenger.purgeSlice(0, LONG_AGO_MS)).toBeGreaterThan(0)
    expect(heap.dirtyPages).toBeGreaterThan(1_000)
    tickThrough()
    clock.readCostMs = 0
    expect([heap.dirtyPages, policy.isMarked]).toEqual([0, true])
  })
})

describe('purgeFreeSegments', () => {
  it('purges the segments in which nothing lives, and says which', () => {
    const [first, second, third] = [addSegment(256), addSegment(300), addSegment(400)]
    const blocks = [use(400), use(300), use(256)]
    for (const block of blocks.slice(0, 2)) free(block)
    expect(scavenger.purgeFreeSegments()).toEqual([second, third])
    expect(heap.anyDirty(second.firstPage, second.pageCount)).toBe(false)
    expect(heap.isRangeFree(first)).toBe(false)
    expect(scavenger.purgedPages).toBe(700)
  })

  it('leaves dirty pages of other segments alone', () => {
    const [before, other, behind] = [addSegment(256), addSegment(600), addSegment(256)]
    const filling = use(600)
    const halves = Array.from({ length: 4 }, () => use(128))
    const inSegment = (block: number, { firstPage, pageCount }: Segment) =>
      pageOf(block) >= firstPage && pageOf(block) < firstPage + pageCount
    for (const segment of [before, behind]) {
      const half = halves.find(block => inSegment(block, segment)) as number
      free(half)
    }
    free(filling)
    expect(scavenger.purgeFreeSegments()).toEqual([other])
    expect(heap.dirtyPages).toBe(2 * 128)
  })

  it('does not count those whose pages the kernel does not take, or of which somebody took a buffer', () => {
    const segments = [addSegment(256), addSegment(300), addSegment(400)]
    for (const block of [use(400), use(300), use(256)]) free(block)
    source.keepForGood(segments[0].firstPage)
    refuse(page => page >= segments[1].firstPage && page < endOf(segments[1]))
    expect(scavenger.purgeFreeSegments()).toEqual([segments[2]])
    expect(scavenger.failure).toMatchObject({ code: 'EAGAIN' })
    expect([0, 1].every(at => heap.anyDirty(segments[at].firstPage, 1))).toBe(true)
  })
})

describe('surplusSegments', () => {
  it('are those that are free and purged, but for the smallest', () => {
    const segments = [addSegment(400), addSegment(256), addSegment(300)]
    expect(scavenger.surplusSegments()).toEqual([segments[2], segments[0]])
    const block = use(400)
    expect(scavenger.surplusSegments()).toEqual([segments[2]])
    free(block)
    // Dirty: not yet.
    expect(scavenger.surplusSegments()).toEqual([segments[2]])
    scavenger.purgeAll()
    source.keepForGood(segments[2].firstPage)
    expect(scavenger.surplusSegments()).toEqual([segments[0]])
    ;(segments[2] as OwnSegment).isKeptForGood = false
  })

  it('are none where there is one', () => {
    addSegment(256)
    expect(scavenger.surplusSegments()).toEqual([])
  })
})

describe('where only whole units go back', () => {
  let unitPages: number

  beforeEach(() => {
    makeScavenger(new MmapSource(kernel, clock, { hugePages: true }))
    ;({ unitPages } = source)
    addSegment(8 * unitPages)
    expect(unitPages).toBeGreaterThan(1)
  })

  it('purgeAll gives back the units that no live block touches, and counts what is stuck', () => {
    const blocks = [use(unitPages), use(unitPages / 2), use(unitPages / 2), use(2 * unitPages)]
    for (const at of [0, 1, 3]) free(blocks[at])
    expect(scavenger.purgeAll()).toBe(3 * unitPages)
    expect(purged).toEqual([0, 2, 3].map(unit => [unit * unitPages, unitPages]))
    expect([heap.dirtyPages, scavenger.stuckPages]).toEqual([unitPages / 2, unitPages / 2])
  })

  it('purgeSome gives back all units that it can', () => {
    free(use(3 * unitPages))
    expect(scavenger.purgeSome(1)).toBe(3 * unitPages)
  })

  it('purgeSlice gives back a unit where no time is left', () => {
    free(use(3 * unitPages))
    let parts = 1
    while (scavenger.purgeSlice(parts === 1 ? 0 : 1, LONG_AGO_MS) !== 0) {
      expect(heap.dirtyPages).toBe((3 - parts) * unitPages)
      parts++
    }
    expect([parts, heap.dirtyPages]).toEqual([4, 0])
  })

  it('a tick gives back units at the mark, none of which a page came free since the last one', () => {
    policy.start()
    const blocks = [use(unitPages), use(unitPages / 2), use(unitPages / 2)]
    free(blocks[0])
    free(blocks[1])
    clock.nowMs += 450
    expect(tick()).toBe(true)
    expect([purged, policy.isMarked]).toEqual([[], true])
    free(blocks[2])
    clock.nowMs += 450
    expect(tick()).toBe(true)
    expect(purged).toEqual([[0, unitPages]])
    clock.nowMs += 450
    expect(tick()).toBe(true)
    expect(purged.at(-1)).toEqual([unitPages, unitPages])
    expect([heap.dirtyPages, scavenger.stuckPages]).toEqual([0, 0])
  })

  it('a tick gives back long runs at once, and says what is stuck at the mark', () => {
    policy.start()
    const blocks = [use(2 * unitPages), use(unitPages / 2), use(unitPages / 2)]
    free(blocks[0])
    free(blocks[1])
    expect(tick(true)).toBe(true)
    expect(purged).toEqual([
      [0, unitPages],
      [unitPages, unitPages],
    ])
    expect([heap.dirtyPages, scavenger.stuckPages]).toEqual([unitPages / 2, 0])
    clock.nowMs += 450
    tick()
    expect(scavenger.stuckPages).toBe(unitPages / 2)
  })
})

describe('whatever is used, freed and purged', () => {
  it('no live byte is lost, what went back reads as zero, and nothing is dirty when the promise ends', () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          use: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 400 })),
        }),
      },
      { weight: 5, arbitrary: fc.record({ free: fc.nat(50) }) },
      { weight: 3, arbitrary: fc.record({ waitMs: fc.nat(300), seeksLong: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ some: fc.nat(300) }) },
      { weight: 1, arbitrary: fc.record({ slice: fc.constant(true) }) },
    )
    type Step =
      | { use: number }
      | { free: number }
      | { waitMs: number; seeksLong: boolean }
      | { some: number }
      | { slice: boolean }
    interface Live {
      readonly block: number
      readonly pages: number
      readonly byte: number
    }
    const isDamaged = ({ block, pages, byte }: Live) => {
      for (let page = 0; page < pages; page++)
        if (source.firstOther(block * 16 + page * pageBytes, 16, byte) >= 0) return true
      return false
    }
    const property = (steps: Step[]) => {
      makeScavenger(new FakeSource(kernel), true)
      addSegment(1_024)
      policy.start()
      const live: Live[] = []
      let byte = 0
      for (const one of steps) {
        if ('use' in one && heap.usedPages + one.use < 600) {
          const block = use(one.use)
          byte = (byte % 250) + 1
          // A byte of each page's start: enough to tell whose it is.
          for (let page = 0; page < one.use; page++) source.fill(block * 16 + page * pageBytes, 16, byte)
          live.push({ block, pages: one.use, byte })
        } else if ('free' in one) {
          const [gone] = live.splice(one.free % Math.max(1, live.length), 1)
          if (gone !== undefined) free(gone.block)
        } else if ('waitMs' in one) {
          clock.nowMs += one.waitMs
          tickThrough(one.seeksLong)
        } else if ('some' in one) {
          scavenger.purgeSome(one.some)
        } else if ('slice' in one) {
          scavenger.purgeSlice(0, LONG_AGO_MS)
        }
        expect(live.filter(isDamaged)).toEqual([])
      }
      for (const [page] of purged.splice(0)) {
        if (heap.arePurged(page, page + 1)) expect(source.firstOther(page * pageBytes, 16, 0)).toBe(-1)
      }
      heap.flush()
      for (let i = 0; i < 40; i++) {
        clock.nowMs += policy.delayMs(true, true)
        tickThrough()
      }
      heap.check()
      policy.check()
      expect(heap.dirtyPages).toBe(0)
      source.close()
    }
    fc.assert(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), property), {
      numRuns: 15,
      seed: fuzzSeed() | 0,
    })
    makeScavenger(new FakeSource(kernel))
  })
})
