/**
 * The policy as it works in an arena, under a simulated clock: each test runs a curve of memory over time, and checks its
 * shape. The same curves are plotted in docs/release.md.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Sample, Simulation } from '../../bench/release/simulation.mjs'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { ReleasePolicy } from '../../src/release/policy.js'
import { Releaser } from '../../src/release/releaser.js'
import { Scavenger } from '../../src/release/scavenger.js'
import { someOf, stepsOf } from '../support/extent.js'
import { fuzzSeed, mulberry32 } from '../support/random.js'

const MIB_PAGES = 256
/** Blocks below the length that goes back at once, with a page between them that stays. */
const SMALL_PAGES = 7

function simulate(releaseAfterMs: number, costs: { callMs?: number; pageMs?: number } = {}): Simulation {
  return new Simulation({ BlockHeap, ReleasePolicy, Scavenger, Releaser }, { releaseAfterMs, ...costs })
}

/** Blocks of 7 pages, each with a page behind it that stays, so that they are no long run when they are free. */
function useScattered(simulation: Simulation, blockCount: number): number[] {
  return Array.from({ length: blockCount }, () => {
    const block = simulation.use(SMALL_PAGES)
    simulation.use(1)
    return block
  })
}

function freeAll(simulation: Simulation, blocks: number[]): void {
  for (const block of blocks.splice(0)) simulation.free(block)
}

function dirtyAt(samples: Sample[], ms: number): number {
  return (samples.findLast(sample => sample.ms <= ms + 1e-6) as Sample).dirtyPages
}

describe('the decay', () => {
  it.each([100, 1_000, 5_000])('of %i ms: nothing for 0.22 of it, then steps, nothing left at 0.9', d => {
    const simulation = simulate(d)
    freeAll(simulation, useScattered(simulation, 1_000))
    simulation.wait(2 * d, d / 200)
    const { samples } = simulation
    expect(dirtyAt(samples, 0.22 * d)).toBe(7_000)
    expect(dirtyAt(samples, d)).toBe(0)
    const steps: number[] = []
    for (const { dirtyPages } of samples) if (dirtyPages !== steps.at(-1)) steps.push(dirtyPages)
    expect(steps).toEqual(steps.toSorted((a, b) => b - a))
    for (const share of [1, 0.75, 0.5, 0.25, 0]) {
      expect(steps.some(dirty => Math.abs(dirty - 7_000 * share) <= 16)).toBe(true)
    }
    simulation.check()
  })

  it('gives pages back by the end of the promise whatever the moment they came free', () => {
    for (let phase = 0; phase < 1; phase += 0.05) {
      const simulation = simulate(1_000)
      const [first, second] = [useScattered(simulation, 100), useScattered(simulation, 100)]
      freeAll(simulation, first)
      simulation.wait(1_000 * phase)
      freeAll(simulation, second)
      simulation.wait(200)
      expect(simulation.heap.dirtyPages).toBeGreaterThanOrEqual(700)
      simulation.wait(800)
      expect(simulation.heap.dirtyPages).toBe(0)
      expect(simulation.time.pendingTimers).toBe(0)
    }
  })

  it('takes no page that is used again within 0.22 of the promise', () => {
    const simulation = simulate(1_000)
    for (let i = 0; i < 100; i++) {
      const blocks = Array.from({ length: 30 }, () => simulation.use(SMALL_PAGES))
      simulation.wait(10)
      freeAll(simulation, blocks)
      simulation.wait(200)
    }
    expect(simulation.scavenger.purgedPages).toBe(0)
  })
})

describe('the demand floor', () => {
  /** A page in use for each of the next tenths of a second, and no page for a moment in between. */
  function background(simulation: Simulation, ms: number): void {
    for (let left = ms; left > 0; left -= 100) {
      const block = simulation.use(1)
      simulation.wait(Math.min(100, left))
      simulation.free(block)
    }
  }

  /** 64 MiB come and go, with other traffic in between. */
  function waves(simulation: Simulation, count: number, everyMs: number): void {
    for (let i = 0; i < count; i++) {
      const block = simulation.use(64 * MIB_PAGES)
      simulation.wait(20)
      simulation.free(block)
      background(simulation, everyMs - 20)
    }
  }

  it('keeps warm what traffic came back to twice, while other traffic goes on', () => {
    const simulation = simulate(1_000)
    waves(simulation, 2, 750)
    const { refaultedPages } = simulation.heap
    expect(refaultedPages).toBeGreaterThan(60 * MIB_PAGES)
    expect(simulation.heap.dirtyPages).toBeGreaterThan(60 * MIB_PAGES)
    waves(simulation, 10, 750)
    expect(simulation.heap.refaultedPages - refaultedPages).toBeLessThan(10 * 16)
    simulation.check()
  })

  it('keeps no more of longer ago than the bound allows, and that for ten seconds', () => {
    const simulation = simulate(1_000)
    waves(simulation, 4, 500)
    background(simulation, 500)
    expect(simulation.heap.dirtyPages).toBeLessThanOrEqual(8 * MIB_PAGES + 2)
    expect(simulation.heap.dirtyPages).toBeGreaterThan(7 * MIB_PAGES)
    background(simulation, 8_000)
    expect(simulation.heap.dirtyPages).toBeGreaterThan(7 * MIB_PAGES)
    expect(simulation.policy.promiseMs).toBe(1_000)
    background(simulation, 54_000)
    expect(simulation.heap.dirtyPages).toBeLessThan(MIB_PAGES)
  })

  it('is not raised by a single burst, however long it lasts', () => {
    const simulation = simulate(1_000)
    const block = simulation.use(64 * MIB_PAGES)
    background(simulation, 5_000)
    simulation.free(block)
    background(simulation, 1_000)
    expect(simulation.heap.dirtyPages).toBeLessThan(MIB_PAGES)
  })

  it('decays to nothing within the promise once traffic has stopped', () => {
    const simulation = simulate(1_000)
    waves(simulation, 4, 500)
    simulation.free(simulation.use(64 * MIB_PAGES))
    const stoppedMs = simulation.time.nowMs
    simulation.wait(1_000)
    const { samples } = simulation
    // In time for a wave that comes back half a promise later.
    expect(dirtyAt(samples, stoppedMs + 550)).toBe(64 * MIB_PAGES)
    expect(dirtyAt(samples, stoppedMs + 800)).toBe(0)
    expect(simulation.heap.dirtyPages).toBe(0)
    expect(simulation.time.pendingTimers).toBe(0)
  })

  it('spares what comes and goes every 100 ms after two rounds', () => {
    const simulation = simulate(1_000)
    let afterTwo = 0
    for (let i = 0; i < 100; i++) {
      const block = simulation.use(64 * MIB_PAGES)
      if (i === 1) afterTwo = simulation.heap.refaultedPages
      simulation.free(block)
      simulation.wait(100)
    }
    expect(simulation.heap.refaultedPages - afterTwo).toBe(0)
    expect(simulation.scavenger.purgedPages).toBeLessThanOrEqual(2 * 64 * MIB_PAGES)
    simulation.wait(1_000)
    expect(simulation.heap.dirtyPages).toBe(0)
  })
})

// A sample of the sizes of each kind.
describe('the demand floor, after two rounds', () => {
  interface Train {
    readonly simulation: Simulation
    /** Pages of the blocks that stay. */
    readonly live: number[]
  }

  function startWith(liveMib: number, releaseAfterMs = 1_000): Train {
    const simulation = simulate(releaseAfterMs)
    const live = Array.from({ length: liveMib }, () => simulation.use(MIB_PAGES))
    simulation.wait(releaseAfterMs)
    return { simulation, live }
  }

  /** The share of the pages taken by rounds after the first `warmUp` that were faulted. `round` returns pages taken. */
  function faultShare({ simulation }: Train, warmUp: number, rounds: number, round: () => number): number {
    for (let i = 0; i < warmUp; i++) round()
    const before = simulation.heap.refaultedPages
    let taken = 0
    for (let i = 0; i < rounds; i++) taken += round()
    simulation.check()
    return (simulation.heap.refaultedPages - before) / taken
  }

  /** Everything is back within the promise once nobody calls any more. */
  function expectIdle(train: Train, releaseAfterMs = 1_000): void {
    train.simulation.wait(releaseAfterMs)
    expect(train.simulation.heap.dirtyPages).toBe(0)
    expect(train.simulation.time.pendingTimers).toBe(0)
  }

  function wave({ simulation }: Train, blockPages: number, blockCount: number, everyMs: number): number {
    const blocks = Array.from({ length: blockCount }, () => simulation.use(blockPages))
    freeAll(simulation, blocks)
    simulation.wait(everyMs)
    return blockPages * blockCount
  }

  it.each(someOf([0, 16, 64, 256], 1))('spares waves of 2 to 24 MiB over %i MiB', liveMib => {
    for (const waveMib of someOf([2, 5, 24], 2)) {
      for (const everyMs of someOf([5, 100, 500], 2)) {
        const train = startWith(liveMib)
        expect(faultShare(train, 2, 20, () => wave(train, MIB_PAGES, waveMib, everyMs))).toBe(0)
        expectIdle(train)
      }
    }
  })

  it.each(someOf([1, 16, 75], 1))('spares waves of blocks of %i pages', blockPages => {
    for (const everyMs of [20, 400]) {
      const train = startWith(16)
      const blockCount = Math.floor((8 * MIB_PAGES) / blockPages)
      expect(faultShare(train, 2, 20, () => wave(train, blockPages, blockCount, everyMs))).toBe(0)
      expectIdle(train)
    }
  })

  /** A block more, then one less: `depth` in flight between rounds. Returns the round. */
  function pipeline(
    { simulation }: Train,
    depth: number,
    pages: () => number,
    everyMs: () => number,
  ): () => number {
    const inFlight: number[] = []
    return () => {
      const pageCount = pages()
      inFlight.push(simulation.use(pageCount))
      if (inFlight.length > depth) simulation.free(inFlight.shift() as number)
      simulation.wait(everyMs(), 5)
      return pageCount
    }
  }

  it.each(someOf([1, 2, 5], 1))('spares pipelines of %i blocks of 1 to 8 MiB', depth => {
    for (const mib of someOf([1, 3, 8], 2)) {
      for (const everyMs of someOf([5, 20, 100, 500], 2)) {
        const train = startWith(0)
        const round = pipeline(
          train,
          depth,
          () => mib * MIB_PAGES,
          () => everyMs,
        )
        expect(faultShare(train, depth + 2, 30, round)).toBe(0)
      }
    }
  })

  it.each(someOf([100, 5_000], 1))('does so in proportion with a promise of %i ms', d => {
    for (const everyMs of [2, d / 50, d / 10, d / 2]) {
      const train = startWith(0, d)
      const round = pipeline(
        train,
        2,
        () => 4 * MIB_PAGES,
        () => everyMs,
      )
      expect(faultShare(train, 4, 30, round)).toBe(0)
      const other = startWith(16, d)
      expect(faultShare(other, 2, 20, () => wave(other, MIB_PAGES, 8, everyMs))).toBe(0)
      expectIdle(other, d)
    }
  })

  it('spares several pipelines of irregular paces and sizes', () => {
    for (let seed = 1; seed <= stepsOf(5); seed++) {
      const train = startWith(16)
      const uint32 = mulberry32(seed)
      const random = () => uint32() / 2 ** 32
      const rounds = [1, 2, 3].map(depth =>
        pipeline(
          train,
          depth,
          () => Math.ceil((0.3 + 0.7 * random()) * 2 * depth * MIB_PAGES),
          () => 150 * random(),
        ),
      )
      expect(faultShare(train, 60, 400, () => rounds[Math.floor(3 * random())]())).toBeLessThan(0.02)
    }
  })

  it('spares pipelines of very uneven blocks, but for the first misfits', () => {
    for (const [mib, depth, everyMs] of [
      [1, 5, 300],
      [3, 1, 100],
      [3, 5, 300],
      [8, 2, 300],
    ]) {
      const uint32 = mulberry32(depth)
      const pages = () => Math.ceil((0.4 + (0.6 * uint32()) / 2 ** 32) * mib * MIB_PAGES)
      const train = startWith(0)
      const round = pipeline(train, depth, pages, () => everyMs)
      expect(faultShare(train, depth + 2, 100, round)).toBeLessThan(0.02)
    }
  })

  it.each(someOf([16, -16, -256], 1))(
    'spares waves on top of memory that drifts by %i pages each',
    driftPages => {
      const train = startWith(64)
      const { simulation } = train
      const drifting = Array.from({ length: 60 }, () => simulation.use(Math.abs(driftPages)))
      const drift = () => {
        if (driftPages > 0) simulation.use(driftPages)
        else simulation.free(drifting.pop() as number)
        return wave(train, MIB_PAGES, 8, 50)
      }
      expect(faultShare(train, 2, 50, drift)).toBeLessThan(0.02)
    },
  )

  it('is as high as the waves, not as what came down for good', () => {
    const train = startWith(256)
    const { simulation, live } = train
    for (let i = 0; i < 64; i++) {
      freeAll(simulation, live.splice(-4))
      wave(train, MIB_PAGES, 2, 20)
    }
    for (let i = 0; i < 10; i++) wave(train, MIB_PAGES, 2, 100)
    expect(simulation.heap.usedPages).toBe(0)
    expect(simulation.heap.dirtyPages).toBe(2 * MIB_PAGES)
  })

  it('lets small blocks go that came down for good, within the promise, while other traffic goes on', () => {
    const simulation = simulate(1_000)
    const blocks = useScattered(simulation, 5_000)
    for (let i = 0; i < 50; i++) {
      freeAll(simulation, blocks.splice(-100))
      const block = simulation.use(1)
      simulation.wait(20)
      simulation.free(block)
    }
    for (let i = 0; i < 9; i++) {
      const block = simulation.use(1)
      simulation.wait(100)
      simulation.free(block)
    }
    expect(simulation.heap.dirtyPages).toBeLessThan(16)
  })

  it('is none after a single burst with an uneven way up', () => {
    const train = startWith(0)
    const { simulation } = train
    const blocks: number[] = []
    for (let i = 0; i < 100; i++) {
      blocks.push(simulation.use(MIB_PAGES), simulation.use(MIB_PAGES))
      simulation.free(blocks.pop() as number)
      simulation.wait(10)
    }
    freeAll(simulation, blocks)
    for (let i = 0; i < 10; i++) wave(train, 1, 1, 100)
    expect(simulation.heap.dirtyPages).toBeLessThanOrEqual(2 * MIB_PAGES)
  })
})

describe('any waves', () => {
  const lengths = fc.integer({ min: 1, max: 24 * MIB_PAGES })

  /** Whatever waves there are: what is kept was in use within the promise, but for a quarter and 8 MiB. */
  it('keep no more warm than what was in use lately allows, and nothing when calls stop', () => {
    const steps = fc.array(
      fc.record({ pages: lengths, stays: fc.boolean(), waitMs: fc.integer({ min: 1, max: 900 }) }),
      { minLength: 5, maxLength: 40 },
    )
    const property = (train: { pages: number; stays: boolean; waitMs: number }[]) => {
      const simulation = simulate(1_000)
      const used: { ms: number; pages: number }[] = []
      const staying: number[] = []
      for (const { pages, stays, waitMs } of train) {
        const block = simulation.use(pages)
        used.push({ ms: simulation.time.nowMs, pages: simulation.heap.usedPages })
        if (stays) staying.push(block)
        else simulation.free(block)
        if (staying.length > 3) simulation.free(staying.shift() as number)
        used.push({ ms: simulation.time.nowMs, pages: simulation.heap.usedPages })
        for (let left = waitMs; left > 0; left -= 50) {
          simulation.wait(Math.min(50, left), 50)
          const { nowMs } = simulation.time
          const sinceMs = nowMs - simulation.policy.promiseMs
          while (used.length > 1 && used[1].ms <= sinceMs) used.shift()
          const most = Math.max(...used.map(one => one.pages))
          expect(simulation.policy.warmPages).toBeLessThanOrEqual(1.25 * most + 8 * MIB_PAGES)
        }
      }
      // The last wave may still be found to come again: then the promise is longer for a while.
      let endMs = 0
      const stoppedMs = simulation.time.nowMs
      do {
        endMs = Math.max(endMs, stoppedMs + simulation.policy.promiseMs)
        simulation.wait(50, 50)
      } while (simulation.time.nowMs < endMs)
      expect(simulation.heap.dirtyPages).toBe(0)
      expect(simulation.time.pendingTimers).toBe(0)
      simulation.policy.check()
    }
    fc.assert(fc.property(steps, property), {
      numRuns: stepsOf(40, 4),
      endOnFailure: true,
      seed: fuzzSeed() | 0,
    })
  })

  it('that come at least twice in a promise find their pages warm after two rounds', () => {
    const shapes = fc.record({
      liveMib: fc.integer({ min: 0, max: 64 }),
      blockPages: fc.integer({ min: 16, max: 2 * MIB_PAGES }),
      wavePages: fc.integer({ min: 2 * MIB_PAGES, max: 24 * MIB_PAGES }),
      everyMs: fc.integer({ min: 5, max: 500 }),
    })
    const property = (shape: { liveMib: number; blockPages: number; wavePages: number; everyMs: number }) => {
      const simulation = simulate(1_000)
      for (let i = 0; i < shape.liveMib; i++) simulation.use(MIB_PAGES)
      const blockCount = Math.ceil(shape.wavePages / shape.blockPages)
      let before = 0
      for (let round = 0; round < 22; round++) {
        if (round === 2) before = simulation.heap.refaultedPages
        freeAll(
          simulation,
          Array.from({ length: blockCount }, () => simulation.use(shape.blockPages)),
        )
        simulation.wait(shape.everyMs, 25)
      }
      const taken = 20 * blockCount * shape.blockPages
      expect((simulation.heap.refaultedPages - before) / taken).toBeLessThan(0.02)
      simulation.wait(1_000, 100)
      expect(simulation.heap.dirtyPages).toBe(0)
    }
    fc.assert(fc.property(shapes, property), {
      numRuns: stepsOf(40, 4),
      endOnFailure: true,
      seed: fuzzSeed() | 0,
    })
  })
})

describe('the budget', () => {
  /**
   * 280 pages come free every 50 ms, and are not wanted again. Where a page costs 20 µs, far more than any kernel takes,
   * that is a tenth of the time.
   */
  function busy(simulation: Simulation, seconds: number, blockCount = 40): void {
    const blocks = useScattered(simulation, seconds * 20 * blockCount)
    for (let i = 0; i < seconds * 20; i++) {
      freeAll(simulation, blocks.splice(-blockCount))
      simulation.wait(50)
    }
  }

  it('spends one percent of the time while there is traffic, below the bound', () => {
    const simulation = simulate(1_000, { callMs: 0.07, pageMs: 0.01 })
    simulation.use(90_000)
    busy(simulation, 20, 8)
    const [half] = simulation.samples.filter(({ ms }) => ms >= simulation.time.nowMs / 2)
    const spent = (simulation.purgingMs - half.purgingMs) / (simulation.time.nowMs - half.ms)
    expect(spent).toBeLessThan(0.0115)
    expect(spent).toBeGreaterThan(0.007)
    expect(simulation.heap.dirtyPages).toBeGreaterThan(1_000)
    simulation.check()
  })

  it('lets the promise come first when traffic has stopped', () => {
    const simulation = simulate(1_000, { callMs: 0.035, pageMs: 0.005 })
    busy(simulation, 2)
    expect(simulation.heap.dirtyPages).toBeGreaterThan(4_000)
    const before = simulation.purgingMs
    simulation.wait(1_000)
    expect(simulation.heap.dirtyPages).toBe(0)
    expect(simulation.purgingMs - before).toBeGreaterThan(0.02 * 1_000)
  })

  it('is not felt where purging costs what it costs', () => {
    const simulation = simulate(1_000)
    busy(simulation, 5)
    expect(simulation.purgingMs / simulation.time.nowMs).toBeLessThan(0.01)
    expect(simulation.heap.dirtyPages).toBeLessThan(20 * 40 * SMALL_PAGES)
  })
})

describe('refaults', () => {
  /** Memory in small blocks that is wanted again every `everyMs`, `count` times; returns how much of it was refaulted. */
  function rounds(simulation: Simulation, blocks: number[], count: number, everyMs: number): number {
    const before = simulation.heap.refaultedPages
    for (let i = 0; i < count; i++) {
      freeAll(simulation, blocks)
      simulation.wait(everyMs)
      for (let n = 0; n < 500; n++) blocks.push(simulation.use(SMALL_PAGES))
    }
    return (simulation.heap.refaultedPages - before) / (500 * SMALL_PAGES)
  }

  it('stretch the promise where pages are wanted soon after they went', () => {
    const simulation = simulate(1_000)
    const blocks = useScattered(simulation, 500)
    expect(rounds(simulation, blocks, 1, 1_400)).toBeGreaterThan(0.9)
    simulation.wait(100)
    expect(simulation.policy.promiseMs).toBe(1_000)
    rounds(simulation, blocks, 2, 1_400)
    expect(simulation.policy.promiseMs).toBeGreaterThan(1_000)
    expect(rounds(simulation, blocks, 20, 1_400)).toBeLessThan(20 * 0.25)
  })

  it('stretch it to 30 s at most', () => {
    const simulation = simulate(20_000)
    const blocks = useScattered(simulation, 500)
    rounds(simulation, blocks, 20, 28_000)
    expect(Math.max(...simulation.samples.map(sample => sample.promiseMs))).toBe(30_000)
  })

  it('let it shrink back when they are few', () => {
    const simulation = simulate(1_000)
    const blocks = useScattered(simulation, 500)
    rounds(simulation, blocks, 4, 1_400)
    expect(simulation.policy.promiseMs).toBeGreaterThan(1_000)
    rounds(simulation, blocks, 2, 60_000)
    expect(simulation.policy.promiseMs).toBe(1_000)
  })

  it('do not count when the memory is wanted again much later', () => {
    const simulation = simulate(1_000)
    expect(rounds(simulation, useScattered(simulation, 500), 10, 5_000)).toBeGreaterThan(9)
    expect(simulation.policy.promiseMs).toBe(1_000)
  })
})

describe('long runs', () => {
  it('go back when the event loop had its turn, however long the promise', () => {
    const simulation = simulate(60_000)
    simulation.free(simulation.use(64 * MIB_PAGES))
    simulation.wait(50)
    expect(simulation.heap.dirtyPages).toBe(0)
  })

  it('stay where the floor wants them', () => {
    const simulation = simulate(60_000)
    for (let i = 0; i < 3; i++) {
      simulation.free(simulation.use(64 * MIB_PAGES))
      simulation.wait(20)
    }
    expect(simulation.heap.dirtyPages).toBe(64 * MIB_PAGES)
  })

  it('are purged for a millisecond in one turn', () => {
    const simulation = simulate(1_000)
    simulation.free(simulation.use(512 * MIB_PAGES))
    simulation.wait(1_000)
    expect(simulation.heap.dirtyPages).toBe(0)
    expect(simulation.longestSliceMs).toBeLessThanOrEqual(1)
  })
})
