/** What a store does at its limits before it refuses. */
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { loadLedger } from '../../src/memory/addon.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import { processLimit, setProcessLimit } from '../../src/process/process-limit.js'
import type { StoreOptions } from '../../src/store/options.js'
import type { Ref } from '../../src/store/slots.js'
import { Store } from '../../src/store/store.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { holds, openStore, putMarked } from '../support/store-world.js'
import { thrownBy } from '../support/world.js'

const KIB = 2 ** 10
const MIB = 2 ** 20

const { limitBytes: limitBefore } = processLimit()
afterEach(() => setProcessLimit(limitBefore))

/** Fills a store up to its limit. Returns the refs; each record is marked with its index. */
function fill(store: Store, sizeBytes: number): Ref[] {
  const refs: Ref[] = []
  for (let tag = 0; tag < 1_000_000; tag++) {
    const error = thrownBy(() => refs.push(putMarked(store, sizeBytes, tag)))
    if (error === undefined) continue
    expect(error).toMatchObject({ code: 'ERR_ARENA_LIMIT' })
    expect((error as Error).message).toMatch(/^store '.*Free records, or raise the limit$/)
    return refs
  }
  throw new Error('the store has no limit')
}

function freeAllBut(store: Store, refs: Ref[], keepOneIn: number): Map<Ref, number> {
  const kept = new Map<Ref, number>()
  refs.forEach((ref, tag) => {
    if (tag % keepOneIn === 0) kept.set(ref, tag)
    else store.free(ref)
  })
  return kept
}

function expectAll(store: Store, kept: ReadonlyMap<Ref, number>): void {
  for (const [ref, tag] of kept)
    if (!holds(store, ref, tag)) throw new Error(`ref ${ref} does not hold ${tag}`)
  store.check()
}

describe.each<StoreOptions>([{}, { source: 'heap' }, { debug: true }, { releaseAfterMs: 0 }])(
  'with %j',
  options => {
    it.each([64, 256, 1_000])(
      'a store full of scattered records of %d bytes moves them before it refuses',
      size => {
        const limitBytes = 4 * MIB
        const { store } = openStore({ ...options, limitBytes })
        const refs = fill(store, size)
        expect(store.stats().liveBytes).toBeGreaterThan(0.9 * limitBytes)
        // So few that each page has some.
        const kept = freeAllBut(store, refs, size < 1_000 ? 16 : 4)
        const large = putMarked(store, 2 * MIB, 3)
        expect(store.stats().movedRecords).toBeGreaterThan(0)
        expect(holds(store, large, 3)).toBe(true)
        expectAll(store, kept)
        // As full as before.
        store.free(large)
        const again = fill(store, size)
        expect(kept.size + again.length).toBeGreaterThan(0.97 * refs.length)
        expectAll(store, kept)
        expect(store.stats().peakCommittedBytes).toBeLessThanOrEqual(limitBytes)
      },
    )
  },
)

it('compacted by hand it refuses at once', () => {
  const { store } = openStore({ limitBytes: MIB, compact: 'manual' })
  const kept = freeAllBut(store, fill(store, 100), 16)
  expect(thrownBy(() => store.alloc(512 * KIB))?.code).toBe('ERR_ARENA_LIMIT')
  expect(store.stats().movedRecords).toBe(0)
  for (let calls = 0; calls < 1_000 && !store.compact({ gain: 0.15 }).isDone; calls++);
  expect(store.sizeOf(store.alloc(512 * KIB))).toBe(512 * KIB)
  expectAll(store, kept)
})

it('realloc moves others before it refuses, and leaves the record as it was if it does', () => {
  const { store } = openStore({ limitBytes: 2 * MIB })
  const kept = freeAllBut(store, fill(store, 200), 16)
  const [ref, tag] = [...kept][10]
  expect(store.realloc(ref, MIB)).toBe(ref)
  const view = store.view(ref)
  expect(view.subarray(0, 200).equals(Buffer.from(store.copy(ref).subarray(0, 200)))).toBe(true)
  store.realloc(ref, 200)
  expectAll(store, kept)
  const before = store.stats()
  expect(thrownBy(() => store.realloc(ref, 2 * MIB))?.code).toBe('ERR_ARENA_LIMIT')
  expect(store.stats()).toMatchObject({ liveBytes: before.liveBytes, records: before.records })
  expect(holds(store, ref, tag)).toBe(true)
  store.check()
})

it('a store full of dense records refuses again and again without a survey for each call', () => {
  const kernel = new FaultyKernel()
  const deferral = new ManualDeferral()
  let reads = 0
  const now = () => {
    reads++
    return deferral.now()
  }
  const surroundings = { addon: kernel, deferral, now, ledger: loadLedger(), group: new ArenaGroup() }
  const store = new Store({ name: 'subject', limitBytes: 8 * MIB }, surroundings)
  const refs = fill(store, 100)
  const { compactMs } = store.stats()
  const calls = kernel.callCount
  reads = 0
  // A survey reads the clock for each 256 blocks and gaps, so some hundred times.
  for (let i = 0; i < 1_000; i++) expect(thrownBy(() => store.alloc(100))?.code).toBe('ERR_ARENA_LIMIT')
  expect(reads).toBeLessThan(20_000)
  expect(kernel.callCount - calls).toBeLessThan(100)
  expect(store.stats().compactMs).toBe(compactMs)
  // Nor where each call frees one record and asks for a longer one.
  reads = 0
  for (let i = 0; i < 500; i++) {
    store.free(refs[7 * i])
    thrownBy(() => store.alloc(5_000))
  }
  expect(reads).toBeLessThan(100_000)
  store.check()
  store.close()
})

describe('the limit of the process', () => {
  it('has a store move its records before it refuses', () => {
    const surroundings = (kernel: FaultyKernel, deferral: ManualDeferral, group: ArenaGroup) => ({
      addon: kernel,
      deferral,
      now: deferral.now,
      ledger: loadLedger(),
      group,
    })
    const kernel = new FaultyKernel()
    const deferral = new ManualDeferral()
    const group = new ArenaGroup()
    const store = new Store({ name: 'store' }, surroundings(kernel, deferral, group))
    const arena = new Arena({ name: 'arena' }, surroundings(kernel, deferral, group))
    setProcessLimit(8 * MIB)
    const kept = freeAllBut(store, fill(store, 200), 32)
    // Its own.
    const own = putMarked(store, 4 * MIB, 5)
    expect(store.stats().movedRecords).toBeGreaterThan(0)
    expectAll(store, kept)
    store.free(own)
    // That of another arena, which may take what the store gave back.
    const block = arena.alloc(4 * MIB)
    expect(thrownBy(() => store.alloc(4 * MIB))?.code).toBe('ERR_ARENA_LIMIT')
    arena.free(block)
    expect(store.sizeOf(store.alloc(4 * MIB))).toBe(4 * MIB)
    expectAll(store, kept)
    store.close()
    arena.close()
  })
})
