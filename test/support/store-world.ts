/** Stores in a world that a test controls. */
import { afterEach } from 'vitest'
import { loadLedger } from '../../src/memory/addon.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import type { StoreOptions } from '../../src/store/options.js'
import type { Ref } from '../../src/store/slots.js'
import { Store } from '../../src/store/store.js'
import { FaultyKernel } from './faulty-kernel.js'
import { ManualDeferral } from './manual-deferral.js'
import { isMarked, mark } from './world.js'

export interface StoreWorld {
  readonly store: Store
  readonly kernel: FaultyKernel
  readonly deferral: ManualDeferral
}

/** A store over the real kernel, observed, with a clock that stands still. */
export function storeWorldWith(options: StoreOptions = {}): StoreWorld {
  const kernel = new FaultyKernel()
  const deferral = new ManualDeferral()
  const { now } = deferral
  const surroundings = { addon: kernel, deferral, now, ledger: loadLedger(), group: new ArenaGroup() }
  return { store: new Store({ name: 'subject', ...options }, surroundings), kernel, deferral }
}

const opened: StoreWorld[] = []
afterEach(async () => {
  for (const { store, kernel } of opened.splice(0)) {
    kernel.allow()
    const closing = store.closeWhenIdle()
    if (store.stats().pinnedRecords > 0) throw new Error('a test left records pinned')
    await closing
  }
})

/** `storeWorldWith`, and the store is closed after the test. */
export function openStore(options: StoreOptions = {}): StoreWorld {
  const world = storeWorldWith(options)
  opened.push(world)
  return world
}

/** A record that is marked with `tag`. */
export function putMarked(store: Store, sizeBytes: number, tag: number): Ref {
  const ref = store.allocUnsafe(sizeBytes)
  mark(store.view(ref), tag)
  return ref
}

export function holds(store: Store, ref: Ref, tag: number): boolean {
  return isMarked(store.view(ref), tag)
}

/** Records of `sizeBytes` in `count` times, of which one in `keepOneIn` stays. Each is marked with its number. */
export function sparse(store: Store, count: number, sizeBytes: number, keepOneIn: number): Map<Ref, number> {
  const refs = Array.from({ length: count }, (_, tag) => putMarked(store, sizeBytes, tag))
  const kept = new Map<Ref, number>()
  refs.forEach((ref, tag) => {
    if (tag % keepOneIn === 0) kept.set(ref, tag)
    else store.free(ref)
  })
  return kept
}

/** Compacts to the end. Returns in how many calls. */
export function compactAll(store: Store, maxMs = 1_000): number {
  for (let calls = 1; calls < 1_000_000; calls++) if (store.compact({ maxMs }).isDone) return calls
  throw new Error('a compaction does not come to its end')
}
