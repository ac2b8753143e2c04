/**
 * Every call to the kernel may fail. Over one fixed scenario, each kind of call fails once at every place where it is
 * made: the operation that needed it has no effect or says what did not happen, no block is harmed, and all goes on.
 */
import { describe, expect, it, vi } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { Scope } from '../../src/arena/scope.js'
import type { ArenaStats } from '../../src/arena/stats.js'
import { hasNoBreak } from '../support/break.js'
import { IS_ALL, someOf, variablesOf } from '../support/extent.js'
import {
  FAILING_BREAK_KINDS,
  FAILING_KINDS,
  type FailingKind,
  type FaultyKernel,
} from '../support/faulty-kernel.js'
import type { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { isMarked, isZero, mark, thrownBy, turns, worldWith } from '../support/world.js'

const MIB = 2 ** 20
const MAX_N = 50
/** About one call in so many is made to fail where not each is. */
const SAMPLED_ONE_IN = 12
const random = randomFrom(fuzzSeed())

interface Live {
  buffer: Buffer
  tag: number
}

interface Subject {
  arena: Arena
  kernel: FaultyKernel
  deferral: ManualDeferral
  live: (Live | undefined)[]
  pinned: Live[]
  scope: Scope | undefined
}

type Step = (subject: Subject) => void

let lastTag = 0

function put(subject: Subject, index: number, buffer: Buffer): void {
  const tag = ++lastTag
  mark(buffer, tag)
  subject.live[index] = { buffer, tag }
}

const alloc =
  (index: number, size: number): Step =>
  subject => {
    const buffer = subject.arena.alloc(size)
    expect(isZero(buffer)).toBe(true)
    put(subject, index, buffer)
  }

const allocUnsafe =
  (index: number, size: number, align?: number): Step =>
  subject =>
    put(subject, index, subject.arena.allocUnsafe(size, align === undefined ? undefined : { align }))

const free =
  (index: number): Step =>
  subject => {
    const block = subject.live[index]
    if (block === undefined) return
    subject.arena.free(block.buffer)
    subject.live[index] = undefined
  }

const realloc =
  (index: number, size: number): Step =>
  subject => {
    const block = subject.live[index]
    if (block === undefined) return
    const oldBytes = block.buffer.length
    const buffer = subject.arena.realloc(block.buffer, size)
    const kept = Math.min(oldBytes, size)
    expect(isMarked(buffer, block.tag, kept, oldBytes)).toBe(true)
    put(subject, index, buffer)
  }

const trim: Step = subject => {
  subject.arena.trim()
}

const resident: Step = subject => {
  subject.arena.residentBytes()
}

const wait: Step = subject => subject.deferral.advance(1_000)

const pin =
  (index: number): Step =>
  subject => {
    const block = subject.live[index]
    if (block === undefined) return
    subject.arena.pin(block.buffer)
    subject.pinned.push(block)
  }

/** Contents are as they were, whatever became of the owners. */
const unpinAll: Step = ({ arena, pinned }) => {
  for (const { buffer, tag } of pinned.splice(0)) {
    expect(isMarked(buffer, tag)).toBe(true)
    arena.unpin(buffer)
  }
}

const openScope: Step = subject => {
  subject.scope = subject.arena.scope()
}

const allocInScope =
  (sizeBytes: number): Step =>
  ({ scope }) =>
    void scope?.allocUnsafe(sizeBytes)

const endScope: Step = ({ scope }) => scope?.end()

const reset: Step = subject => {
  subject.arena.reset()
  subject.live = []
}

/** Needs a segment of its own: where there is none of twice its length, one of its length does. */
const allocLong = allocUnsafe(7, 5 * MIB)

/** Every way to need the kernel: first segment, further ones, windows, buffers of one's own, purging, surplus segments. */
const SCENARIO: readonly Step[] = [
  allocUnsafe(0, 64),
  alloc(1, 1_000),
  allocUnsafe(2, 20_000),
  alloc(3, 64 * 1024),
  allocUnsafe(4, 100_000, 4096),
  resident,
  alloc(5, MIB),
  realloc(3, 70_000),
  realloc(4, 50_000),
  realloc(2, 90_000),
  free(1),
  free(5),
  trim,
  alloc(6, MIB),
  allocLong,
  realloc(7, 4 * MIB),
  resident,
  free(6),
  wait,
  wait,
  alloc(8, MIB),
  free(7),
  free(0),
  wait,
  wait,
  trim,
  ...Array.from({ length: 12 }, (_, i) => allocUnsafe(20 + i, 60_000)),
  ...Array.from({ length: 12 }, (_, i) => realloc(20 + i, 66_000)),
  ...Array.from({ length: 12 }, (_, i) => free(20 + i)),
  wait,
  resident,
  openScope,
  ...[64, 20_000, 100_000, MIB].map(allocInScope),
  endScope,
  ...[8, 9, 10].map(index => alloc(index, 30_000 * (index - 7))),
  ...[8, 9, 10].map(pin),
  free(9),
  trim,
  reset,
  alloc(11, 200_000),
  wait,
  unpinAll,
  alloc(9, 5_000),
  alloc(10, 200_000),
  free(9),
  wait,
  wait,
  trim,
]

/** What no failed call may change. What ended before may leave the quarantine meanwhile, and its pages with it. */
function essentials(stats: ArenaStats, options: ArenaOptions) {
  const { liveBlocks, liveBytes, usedBytes, allocations, frees } = stats
  return { liveBlocks, liveBytes, usedBytes: options.debug === true ? null : usedBytes, allocations, frees }
}

function expectSound({ arena, live }: Subject): void {
  arena.check()
  const stats = arena.stats()
  expect(stats.usedBytes + stats.dirtyBytes + stats.cleanBytes).toBe(stats.mappedBytes)
  expect(stats.committedBytes).toBe(stats.usedBytes + stats.dirtyBytes)
  expect(stats.allocations - stats.frees).toBe(stats.liveBlocks)
  for (const block of live) {
    if (block !== undefined) expect(isMarked(block.buffer, block.tag)).toBe(true)
  }
}

/** What the operation throws where a call of that kind fails within it. */
const CODES: Record<FailingKind, string | undefined> = {
  map: 'ERR_ARENA_OUT_OF_MEMORY',
  nohugepage: 'ERR_ARENA_OUT_OF_MEMORY',
  hugepage: 'ERR_ARENA_OUT_OF_MEMORY',
  populate: 'ERR_ARENA_OUT_OF_MEMORY',
  wrap: 'ERR_ARENA_OUT_OF_MEMORY',
  dontneed: 'ERR_ARENA_PURGE_FAILED',
  booksDontneed: undefined,
  residency: 'EAGAIN',
  unmap: undefined,
  guard: undefined,
  unguard: undefined,
  dontdump: undefined,
  protect: undefined,
  // No arena makes this call.
  move: undefined,
  detach: undefined,
  // The constructor makes this call: test/memory/break-source.test.ts.
  take: undefined,
  openFence: 'ERR_ARENA_OUT_OF_MEMORY',
  sbrk: 'ERR_ARENA_OUT_OF_MEMORY',
  // One refusal is not taken for an answer.
  closeFence: undefined,
}

/** Where no caller waits for it, a failure is retried in silence. */
const SILENT_STEPS = new Set<Step>([wait, reset])

function expectDocumented(error: Error & { code?: string }, kind: FailingKind, step: Step): void {
  // The break can fail to go up, and to come down.
  const isLowering = kind === 'sbrk' && step === trim
  expect(error.code).toBe(isLowering ? 'ERR_ARENA_PURGE_FAILED' : CODES[kind])
  if (kind === 'residency') return
  expect(error.message).toContain("arena 'subject'")
  const cause = error.cause as NodeJS.ErrnoException
  if (kind === 'wrap') expect(cause).toBeInstanceOf(RangeError)
  else expect(cause).toMatchObject({ errno: expect.any(Number), syscall: expect.any(String) })
}

/** Runs the scenario with the `n`-th call of that kind failing. Returns whether there was such a call. */
async function runWithFailure(kind: FailingKind, n: number, options: ArenaOptions): Promise<boolean> {
  const subject: Subject = {
    ...worldWith({ name: 'subject', ...options }),
    live: [],
    pinned: [],
    scope: undefined,
  }
  // Guards are made by this call only where there is no better one.
  subject.kernel.hasNoGuards = kind === 'protect'
  try {
    return await runSubject(subject, kind, n, options)
  } finally {
    // Of the program break there is one: a run that failed must not keep it from the next.
    unpinAll(subject)
    subject.arena.close()
  }
}

async function runSubject(
  subject: Subject,
  kind: FailingKind,
  n: number,
  options: ArenaOptions,
): Promise<boolean> {
  const { arena, kernel, deferral } = subject
  kernel.failNth(kind, n)
  for (const step of SCENARIO) {
    const before = essentials(arena.stats(), options)
    const failuresBefore = kernel.failures
    const error = thrownBy(() => step(subject))
    const hasFailed = kernel.failures > failuresBefore
    if (error !== undefined) {
      if (!hasFailed) throw error
      expectDocumented(error, kind, step)
      expect(essentials(arena.stats(), options)).toEqual(before)
    } else if (hasFailed && CODES[kind] !== undefined) {
      const isPurgeOnTheWay = (kind === 'dontneed' || kind === 'sbrk') && step !== trim
      const isForRoom = step === allocLong && CODES[kind] === 'ERR_ARENA_OUT_OF_MEMORY'
      expect(
        isPurgeOnTheWay || isForRoom || SILENT_STEPS.has(step),
        'a failure somebody waits for is told',
      ).toBe(true)
    }
    if (hasFailed) expectSound(subject)
    if (hasFailed && error !== undefined) {
      const again = thrownBy(() => step(subject))
      expect(again, 'the same again succeeds').toBeUndefined()
      expectSound(subject)
    }
    deferral.runTurn()
    await turns(1)
  }
  if (kind === 'residency') kernel.allow()
  expectSound(subject)
  arena.trim()
  // Free pages that share a huge page with a live block stay.
  if (options.hugePages !== true) expect(arena.stats().dirtyBytes).toBe(0)
  // Guards are not resident.
  if (options.debug === true) expect(arena.residentBytes()).toBeLessThanOrEqual(arena.stats().usedBytes)
  else if (kind !== 'detach' && options.hugePages !== true)
    expect(arena.residentBytes()).toBe(arena.stats().usedBytes)
  arena.close()
  arena.check()
  await turns()
  for (let i = 0; i < 3; i++) deferral.runTurn()
  deferral.advance(60_000)
  // Memory that a buffer still reaches stays mapped for good; everything else is gone.
  expect([...kernel.mappings.keys()]).toEqual(
    [...kernel.stillReached].filter(mapping => kernel.mappings.has(mapping)),
  )
  return kernel.failures > 0
}

const TIMED: readonly [string, ArenaOptions][] = [
  ['by default', {}],
  ['with every block detached', { detachFromBytes: 0 }],
  ['with no block detached', { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['released at once', { releaseAfterMs: 0 }],
  ['released by trim only', { releaseAfterMs: Number.POSITIVE_INFINITY }],
]

const DEBUG: readonly [string, ArenaOptions][] = [
  ['with debug', { debug: true }],
  ['with debug, released at once', { debug: true, releaseAfterMs: 0 }],
]

const ORDINARY: readonly [string, ArenaOptions][] = [...TIMED, ['prefaulted', { prefault: true }], ...DEBUG]

/** The options under which calls of a kind are made at all. */
function optionsFor(kind: FailingKind): readonly [string, ArenaOptions][] {
  if (kind === 'hugepage') return [['with huge pages', { hugePages: true }]]
  if (kind === 'populate') return [['prefaulted', { prefault: true }]]
  if (kind === 'guard' || kind === 'unguard' || kind === 'protect') return DEBUG
  return kind === 'nohugepage' ? ORDINARY : [...ORDINARY, ['with huge pages', { hugePages: true }]]
}

/** The arena stays sound, whichever call of the kind fails: each of them in turn, or the first and some of the others. */
async function expectSoundWherever(kind: FailingKind, options: ArenaOptions): Promise<void> {
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
  expect(failed).toBeGreaterThan(0)
}

// A sample of the options of each kind.
describe.each(FAILING_KINDS)('a failing %s', kind => {
  it.each(someOf(optionsFor(kind), 2))('leaves the arena sound wherever it happens, %s', (_, options) =>
    expectSoundWherever(kind, options),
  )
})

describe.skipIf(hasNoBreak).each(FAILING_BREAK_KINDS)('a failing %s of the program break', kind => {
  it.each(someOf(TIMED, 2))('leaves the arena sound wherever it happens, %s', (_, options) =>
    expectSoundWherever(kind, { ...options, source: 'sbrk' }),
  )
})

describe('while every call of a kind fails', () => {
  it('allocations are refused with the system error, and tryAlloc returns undefined', () => {
    const { arena, kernel } = worldWith({ name: 'subject' })
    kernel.refuse('map')
    for (const call of [
      () => arena.alloc(1),
      () => arena.allocUnsafe(1),
      () => arena.alloc(MIB, { align: 64 }),
    ]) {
      expect(thrownBy(call)).toMatchObject({
        name: 'ArenaError',
        code: 'ERR_ARENA_OUT_OF_MEMORY',
        cause: { code: 'ENOMEM', syscall: 'mmap' },
      })
    }
    expect(arena.tryAlloc(64)).toBeUndefined()
    expect(arena.tryAllocUnsafe(64, { align: 4096 })).toBeUndefined()
    expect(arena.stats()).toMatchObject({ segments: 0, mappedBytes: 0, allocations: 0, liveBlocks: 0 })
    kernel.allow()
    expect(arena.tryAlloc(64)?.length).toBe(64)
    arena.close()
  })

  it('a segment that could not be set up is unmapped later', () => {
    const { arena, kernel, deferral } = worldWith()
    kernel.refuse('nohugepage')
    expect(thrownBy(() => arena.alloc(1))).toMatchObject({ cause: { syscall: 'madvise' } })
    expect(kernel.mappings.size).toBe(1)
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    arena.close()
  })

  it('trim says that pages stay, does all else, and the next one gives them back', () => {
    const { arena, kernel } = worldWith({ name: 'subject' })
    const blocks = [1, 2, 3, 4, 5].map(() => arena.allocUnsafe(100_000).fill(1))
    for (const index of [0, 2, 4]) arena.free(blocks[index])
    const { dirtyBytes } = arena.stats()
    kernel.failNth('dontneed', 2)
    expect(thrownBy(() => arena.trim())).toMatchObject({
      code: 'ERR_ARENA_PURGE_FAILED',
      cause: { code: 'EAGAIN', syscall: 'madvise' },
    })
    const left = arena.stats().dirtyBytes
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThan(dirtyBytes)
    expect(arena.trim()).toBe(left)
    expect(arena.stats().dirtyBytes).toBe(0)
    arena.check()
    arena.close()
  })

  it('a limit that purging could have met is refused with the reason as its cause', () => {
    const { arena, kernel } = worldWith({ name: 'subject', limitBytes: 256 * 1024 })
    const [before, kept, after] = [60_000, 100_000, 60_000].map(size => arena.allocUnsafe(size))
    arena.free(before)
    arena.free(after)
    kernel.refuse('dontneed')
    const error = thrownBy(() => arena.allocUnsafe(150_000))
    expect(error).toMatchObject({ code: 'ERR_ARENA_LIMIT', cause: { code: 'EAGAIN' } })
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: kept.length })
    kernel.allow()
    arena.allocUnsafe(150_000)
    arena.check()
    arena.close()
  })

  it('close still spends every Buffer, and the mappings follow when the kernel lets go', async () => {
    const { arena, kernel, deferral } = worldWith()
    const block = arena.alloc(100_000)
    const small = arena.alloc(100)
    const mappings = kernel.mappings.size
    kernel.refuse('dontneed', 'unmap')
    arena.close()
    expect([block.length, small.length]).toEqual([0, 0])
    await turns()
    for (let i = 0; i < 5; i++) deferral.runTurn()
    deferral.advance(1_000)
    expect(kernel.mappings.size).toBe(mappings)
    kernel.allow()
    deferral.advance(20_000)
    expect(kernel.mappings.size).toBe(0)
  })

  it('an allocation that has no ArrayBuffer leaves its block free', () => {
    const { arena, kernel } = worldWith({ name: 'subject' })
    kernel.refuse('wrap')
    for (const size of [64, 20_000, 100_000]) {
      expect(thrownBy(() => arena.alloc(size))).toMatchObject({
        code: 'ERR_ARENA_OUT_OF_MEMORY',
        cause: expect.any(RangeError),
      })
      expect(arena.tryAllocUnsafe(size)).toBeUndefined()
    }
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, usedBytes: 0, allocations: 0, frees: 0 })
    arena.check()
    arena.trim()
    expect(arena.stats().dirtyBytes).toBe(0)
    arena.close()
  })
})

describe('no memory for the books', () => {
  it.skipIf(hasNoBreak)('of a new arena: the constructor throws, and gives up the program break', () => {
    class ShortBuffer extends ArrayBuffer {
      constructor(length: number) {
        if (length >= 2 ** 14) throw new RangeError('Array buffer allocation failed')
        super(length)
      }
    }
    vi.stubGlobal('ArrayBuffer', ShortBuffer)
    const error = thrownBy(() => worldWith({ source: 'sbrk' }))
    vi.unstubAllGlobals()
    expect(error).toMatchObject({ name: 'RangeError', message: 'Array buffer allocation failed' })
    const { arena } = worldWith({ source: 'sbrk' })
    expect(arena.alloc(1_000).length).toBe(1_000)
    arena.close()
  })
})
