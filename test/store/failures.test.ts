/**
 * Every call to the kernel may fail. Over one fixed scenario, each kind of call fails once at every place where it is made:
 * the operation that needed it has no effect or says what did not happen, no record is harmed, and all goes on.
 */
import { describe, expect, it } from 'vitest'
import type { StoreOptions } from '../../src/store/options.js'
import type { Ref } from '../../src/store/slots.js'
import { hasNoBreak } from '../support/break.js'
import { IS_ALL, someOf, variablesOf } from '../support/extent.js'
import type { FailingKind } from '../support/faulty-kernel.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import {
  compactAll,
  holds,
  openStore,
  putMarked,
  type StoreWorld,
  storeWorldWith,
} from '../support/store-world.js'
import { isMarked, mark, thrownBy, turns } from '../support/world.js'

const KIB = 2 ** 10
const MAX_N = 50
/** About one call in so many is made to fail where not each is. */
const SAMPLED_ONE_IN = 12
const random = randomFrom(fuzzSeed())

interface Subject extends StoreWorld {
  /** What each record holds: a tag in so many of its bytes. */
  readonly records: Map<Ref, { tag: number; markedBytes: number }>
  readonly pins: Map<Ref, Buffer>
}

type Step = (subject: Subject) => unknown

let lastTag = 0

const put =
  (size: number, count = 1): Step =>
  ({ store, records }) => {
    for (let i = 0; i < count; i++) {
      const tag = ++lastTag
      const bytes = Buffer.alloc(size)
      mark(bytes, tag)
      records.set(store.put(bytes), { tag, markedBytes: size })
    }
  }

const alloc =
  (size: number): Step =>
  ({ store, records }) => {
    const ref = store.alloc(size)
    records.set(ref, { tag: 0, markedBytes: 0 })
    expect(store.sizeOf(ref)).toBe(size)
  }

/** Frees all but one in `keepOneIn` of the records that are not pinned. */
const thin =
  (keepOneIn: number): Step =>
  ({ store, records, pins }) => {
    let at = 0
    for (const ref of [...records.keys()]) {
      if (at++ % keepOneIn === 0 || pins.has(ref)) continue
      store.free(ref)
      records.delete(ref)
    }
  }

const realloc =
  (size: number): Step =>
  ({ store, records, pins }) => {
    const ref = [...records.keys()].find(each => !pins.has(each)) as Ref
    const record = records.get(ref) as { tag: number; markedBytes: number }
    store.realloc(ref, size)
    record.markedBytes = Math.min(record.markedBytes & ~3, size & ~3)
  }

const pin: Step = ({ store, records, pins }) => {
  const ref = [...records.keys()].find(each => !pins.has(each)) as Ref
  pins.set(ref, store.pin(ref))
}

const unpin: Step = ({ store, pins }) => {
  const [ref] = pins.keys()
  pins.delete(ref)
  store.unpin(ref)
}

const compact: Step = ({ store }) => {
  compactAll(store)
}
const trim: Step = ({ store }) => {
  store.trim()
}
const trimAsync: Step = async ({ store, deferral }) => {
  const trimmed = store.trimAsync()
  let isSettled = false
  const settle = () => {
    isSettled = true
  }
  trimmed.then(settle, settle)
  for (let i = 0; i < 10_000 && !isSettled; i++) {
    deferral.runTurn()
    deferral.advance(2)
    await null
  }
  await trimmed
}
const wait: Step = ({ deferral }) => deferral.advance(3_000)
const slice: Step = ({ store }) => {
  store.compact({ maxMs: 0 })
}

const SCENARIO: readonly Step[] = [
  put(100, 500),
  put(20_000, 20),
  alloc(64 * KIB),
  put(64 * KIB + 1, 3),
  thin(7),
  pin,
  slice,
  slice,
  put(300, 40),
  compact,
  wait,
  realloc(70_000),
  put(50, 2_000),
  thin(20),
  wait,
  put(50, 2_000),
  thin(30),
  unpin,
  trim,
  put(700, 700),
  thin(5),
  realloc(300),
  pin,
  trimAsync,
  put(2 ** 20),
  unpin,
  thin(3),
  compact,
]

function expectSound({ store, records, pins }: Subject): void {
  store.check()
  expect(store.stats().records).toBe(records.size)
  expect(store.lostBlocks).toBe(0)
  for (const [ref, { tag, markedBytes }] of records) {
    const isSound = markedBytes === 0 || isMarked(store.view(ref), tag, markedBytes)
    if (!isSound) throw new Error(`ref ${ref} does not hold ${tag} in ${markedBytes} bytes`)
  }
  for (const [ref, bytes] of pins) expect(bytes.length).toBe(store.sizeOf(ref))
}

const CODES: Partial<Record<FailingKind, readonly (string | undefined)[]>> = {
  map: ['ERR_ARENA_OUT_OF_MEMORY'],
  nohugepage: ['ERR_ARENA_OUT_OF_MEMORY'],
  hugepage: ['ERR_ARENA_OUT_OF_MEMORY'],
  wrap: ['ERR_ARENA_OUT_OF_MEMORY'],
  dontneed: ['ERR_ARENA_PURGE_FAILED'],
  move: ['ERR_OUT_OF_RANGE'],
  sbrk: ['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_PURGE_FAILED'],
  openFence: ['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_PURGE_FAILED'],
  closeFence: ['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_PURGE_FAILED'],
}

/** Runs the scenario with the `n`-th call of that kind failing. Returns whether there was such a call. */
async function runWithFailure(kind: FailingKind, n: number, options: StoreOptions): Promise<boolean> {
  const world = storeWorldWith({ ...options })
  const subject: Subject = { ...world, records: new Map(), pins: new Map() }
  const { store, kernel, deferral } = subject
  try {
    kernel.failNth(kind, n)
    for (const step of SCENARIO) await runStep(subject, kind, step)
    // From here on only this test itself wraps anything, to look at the contents.
    if (kind === 'wrap') kernel.allow()
    expectSound(subject)
    for (const ref of [...subject.pins.keys()]) store.unpin(ref)
    store.reset()
    store.trim()
    // A buffer that was not detached may still be used: the block of its record waits.
    if (kind !== 'detach') expect(store.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0 })
    store.close()
    await turns()
    for (let i = 0; i < 4; i++) deferral.runTurn()
    deferral.advance(60_000)
    const left = [...kernel.mappings.keys()].filter(mapping => !kernel.stillReached.has(mapping))
    expect(left).toEqual([])
    return kernel.failures > 0
  } finally {
    kernel.allow()
    for (const ref of subject.pins.keys()) thrownBy(() => store.unpin(ref))
    store.close()
  }
}

async function runStep(subject: Subject, kind: FailingKind, step: Step): Promise<void> {
  const { kernel, deferral } = subject
  const failuresBefore = kernel.failures
  let error: NodeJS.ErrnoException | undefined
  try {
    await step(subject)
  } catch (thrown) {
    error = thrown as NodeJS.ErrnoException
  }
  const hasFailed = kernel.failures > failuresBefore
  if (error !== undefined) {
    if (!hasFailed || CODES[kind]?.includes(error.code) !== true) throw error
    if (error.code?.startsWith('ERR_ARENA') === true) expect(error.cause).toBeInstanceOf(Error)
  }
  if (hasFailed) expectSound(subject)
  if (hasFailed && error !== undefined) {
    await step(subject)
    expectSound(subject)
  }
  deferral.runTurn()
  await turns(1)
}

const OPTIONS: readonly [string, StoreOptions][] = [
  ['by default', {}],
  ['released at once', { releaseAfterMs: 0 }],
  ['at a limit', { limitBytes: 2 ** 21 }],
  ['with debug', { debug: true }],
  ['of huge pages', { hugePages: true }],
]
const KINDS: readonly FailingKind[] = [
  'map',
  'unmap',
  'dontneed',
  'booksDontneed',
  'nohugepage',
  'move',
  'wrap',
  'detach',
]
const BREAK_KINDS: readonly FailingKind[] = ['openFence', 'sbrk', 'closeFence', 'dontneed', 'move', 'wrap']

async function expectSoundWherever(kind: FailingKind, options: StoreOptions): Promise<void> {
  let failed = 0
  for (let n = 1; n <= MAX_N; n += IS_ALL ? 1 : 1 + random.below(2 * SAMPLED_ONE_IN - 1)) {
    try {
      if (!(await runWithFailure(kind, n, options))) break
    } catch (error) {
      const where = `${variablesOf(random.seed)}, call ${n} of ${kind}`
      throw new Error(`${where}: ${(error as Error).message}`, { cause: error })
    }
    failed++
  }
  // With huge pages there may be none to make fail: whole ones are to come free.
  if (options.hugePages !== true) expect(failed).toBeGreaterThan(0)
}

describe.each(KINDS)('a failing %s', kind => {
  const options = OPTIONS.filter(([name]) => kind !== 'nohugepage' || name !== 'of huge pages')
  it.each(someOf(options, 2))(
    'leaves a store sound wherever it happens, %s',
    (_, each) => expectSoundWherever(kind, each),
    300_000,
  )
})

describe.skipIf(hasNoBreak).each(BREAK_KINDS)('a failing %s of the program break', kind => {
  it('leaves a store sound wherever it happens', () => expectSoundWherever(kind, { source: 'sbrk' }), 300_000)
})

it('ticks go on after there was no memory for a survey, and tell nobody', () => {
  const { store, kernel, deferral } = openStore()
  const refs = Array.from({ length: 60_000 }, (_, tag) => putMarked(store, 300, tag))
  const kept = refs.filter((_, tag) => tag % 20 === 0)
  kernel.refuse('map')
  refs.forEach((ref, tag) => {
    if (tag % 20 > 0) store.free(ref)
  })
  deferral.advance(5_000)
  expect(kernel.failures).toBeGreaterThan(0)
  expect(store.stats().movedRecords).toBe(0)
  store.check()
  expect(thrownBy(() => store.compact())).toMatchObject({
    code: 'ERR_ARENA_OUT_OF_MEMORY',
    cause: { code: 'ENOMEM' },
  })
  expect(thrownBy(() => store.trim())).toMatchObject({
    code: 'ERR_ARENA_OUT_OF_MEMORY',
    cause: { code: 'ENOMEM' },
  })
  expect(store.stats().dirtyBytes).toBe(0)
  store.check()
  kernel.allow()
  deferral.advance(100_000)
  expect(store.stats().movedRecords).toBeGreaterThan(0)
  kept.forEach((ref, i) => {
    expect(holds(store, ref, 20 * i)).toBe(true)
  })
  store.check()
})
