/** What only the source over the program break does; what every source does is in page-source.test.ts. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BreakSource } from '../../src/memory/break-source.js'
import type { OwnSegment } from '../../src/memory/segment-source.js'
import { baseOf, hasNoBreak } from '../support/break.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { loadStranger } from '../support/stranger.js'
import { isZero, thrownBy, turns } from '../support/world.js'

const KIB = 2 ** 10
const MIB = 2 ** 20

const stranger = loadStranger()
/** Where the break was found: malloc moves it while nobody has it. */
let found = 0
/** Where its pages begin. */
let base = 0
let kernel: FaultyKernel
let deferral: ManualDeferral
let source: BreakSource
let pagesOf: (bytes: number) => number

beforeEach(() => {
  kernel = new FaultyKernel()
  deferral = new ManualDeferral()
  source = new BreakSource(kernel, deferral, 'subject')
  found = stranger.breakAt()
  base = baseOf(source.segment.mapping, stranger.breakAt)
  pagesOf = bytes => bytes / kernel.pageBytes
})

afterEach(async () => {
  kernel.allow()
  source.check()
  source.close()
  // malloc may have lowered it further.
  expect(stranger.breakAt()).toBeLessThanOrEqual(found)
  for (let i = 0; i < 4; i++) {
    await turns()
    deferral.runTurn()
    deferral.advance(1_000)
  }
  expect(kernel.mappings.size).toBe(0)
})

/** By how much the break moved, by moves up and down, since the last time. */
function moves(): number[] {
  const made = kernel.calls.filter(call => call.kind === 'sbrk').map(call => call.args[1] as number)
  kernel.calls.length = 0
  return made
}

const total = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0)

describe.skipIf(hasNoBreak)('a new source', () => {
  it('says who has the break already', () => {
    const error = thrownBy(() => new BreakSource(kernel, deferral, 'other'))
    expect(error).toMatchObject({
      name: 'ArenaError',
      code: 'ERR_ARENA_BREAK_IN_USE',
      cause: { code: 'EBUSY' },
    })
    expect(error?.message).toContain("arena 'other': the program break belongs to arena 'subject'")
  })

  it('says why there is no break to be had, and what to do', () => {
    kernel.refuse('take')
    const error = thrownBy(() => new BreakSource(kernel, deferral, 'other'))
    expect(error).toMatchObject({
      code: 'ERR_ARENA_BREAK_UNAVAILABLE',
      cause: { code: 'ENOMEM', syscall: 'sbrk' },
    })
    expect(error?.message).toMatch(/arena 'other'.*ENOMEM.*musl.*Leave out source: 'sbrk'/)
  })
})

describe.skipIf(hasNoBreak)('reserve', () => {
  it('raises the break, by a MiB at least and by a quarter of what there is', () => {
    const rises = [1, 1, 300, 5_000, 1, 1].map(pages => source.reserve(pages).pageCount)
    expect(rises.map(pages => pages / pagesOf(MIB))).toEqual([
      1,
      1,
      300 / pagesOf(MIB),
      5_000 / pagesOf(MIB),
      5,
      6,
    ])
    const { pageCount } = source.segment
    expect(pageCount).toBe(total(rises))
    expect(stranger.breakAt() - base).toBe(pageCount * kernel.pageBytes)
  })

  it('moves in steps that malloc cannot use, the fence closed after each', () => {
    source.reserve(pagesOf(3 * MIB) + 1)
    const calls = kernel.calls.filter(({ kind }) => ['openFence', 'sbrk', 'closeFence'].includes(kind))
    // Before anything is opened, the fence reaches beyond all that windows may lie over.
    expect(calls.shift()).toMatchObject({
      kind: 'closeFence',
      args: [expect.any(Number), 5 * MIB + kernel.pageBytes],
    })
    expect(calls.length % 3).toBe(0)
    for (let i = 0; i < calls.length; i += 3) {
      expect(calls.slice(i, i + 3).map(({ kind }) => kind)).toEqual(['openFence', 'sbrk', 'closeFence'])
      expect(calls[i].args[1]).toBe(calls[i + 1].args[1])
      expect(calls[i].args[1]).toBeLessThanOrEqual(128 * KIB)
    }
  })

  it('keeps huge pages off', () => {
    source.reserve(1)
    source.reserve(1)
    const advice = kernel.calls.filter(({ kind }) => kind === 'nohugepage').map(({ args }) => args.slice(1))
    expect(advice).toEqual([
      [0, MIB],
      [MIB, MIB],
    ])
  })

  it.each(['openFence', 'sbrk', 'nohugepage'] as const)('undoes what a failing %s leaves half done', kind => {
    source.reserve(1)
    kernel.failNth(kind, kind === 'nohugepage' ? 1 : 5)
    expect(thrownBy(() => source.reserve(pagesOf(2 * MIB)))).toMatchObject({ code: 'ENOMEM' })
    expect(stranger.breakAt() - base).toBe(MIB)
    source.check()
    expect(source.reserve(pagesOf(2 * MIB)).pageCount).toBe(pagesOf(2 * MIB))
  })

  it('goes on from where it is when not even undoing works', () => {
    kernel.fails = kind => kind === 'sbrk' && kernel.counts.sbrk > 3
    expect(thrownBy(() => source.reserve(1))).toMatchObject({ syscall: 'sbrk' })
    expect(source.segments).toEqual([])
    expect(stranger.breakAt() - base).toBe(384 * KIB)
    source.check()
    kernel.allow()
    source.reserve(1)
    expect(stranger.breakAt() - base).toBe(MIB)
    source.lower(0)
    expect(stranger.breakAt() - base).toBe(MIB)
  })

  it('closes the fence although it was refused once', () => {
    kernel.failNth('closeFence', 2)
    source.reserve(1)
    expect(kernel.failures).toBe(1)
    source.check()
  })

  it('says so where the fence cannot be closed, and closes it before anything else', () => {
    kernel.fails = kind => kind === 'closeFence' && kernel.counts.closeFence > 3
    expect(thrownBy(() => source.reserve(1))).toMatchObject({ syscall: 'mmap' })
    kernel.allow()
    source.reserve(1)
    source.check()
    const bytes = new Uint8Array(source.wrap(0, source.reachOf() * kernel.pageBytes).buffer)
    expect(isZero(bytes)).toBe(true)
    source.detach(bytes.buffer as ArrayBuffer)
  })
})

describe.skipIf(hasNoBreak)('lower', () => {
  it('gives up pages at the end, in steps, and covers them', () => {
    source.reserve(pagesOf(4 * MIB))
    const bytes = new Uint8Array(source.wrap(0, 4 * MIB).buffer).fill(1)
    moves()
    source.lower(pagesOf(3 * MIB))
    const made = moves()
    expect(total(made)).toBe(-3 * MIB)
    expect(Math.min(...made)).toBe(-128 * KIB)
    expect(stranger.breakAt() - base).toBe(MIB)
    expect(source.residentBytes()).toBe(MIB)
    expect(isZero(bytes.subarray(MIB))).toBe(true)
    bytes.fill(2)
    source.reserve(pagesOf(3 * MIB))
    expect(isZero(bytes.subarray(MIB))).toBe(true)
    expect(bytes.subarray(0, MIB).every(byte => byte === 2)).toBe(true)
    source.detach(bytes.buffer as ArrayBuffer)
  })

  it('says how far it came where the kernel refuses, and goes on next time', () => {
    source.reserve(pagesOf(4 * MIB))
    kernel.failNth('sbrk', 3)
    expect(thrownBy(() => source.lower(pagesOf(MIB)))).toMatchObject({ syscall: 'sbrk' })
    expect(source.segment.pageCount).toBe(pagesOf(4 * MIB - 256 * KIB))
    expect(source.isWaiting).toBe(true)
    source.check()
    source.noteQuiet()
    source.lower(pagesOf(MIB))
    expect(source.isWaiting).toBe(false)
    expect(source.segment.pageCount).toBe(pagesOf(3 * MIB - 256 * KIB))
  })
})

describe.skipIf(hasNoBreak)('surplus', () => {
  it('is all that is free, until the break went down and up', () => {
    source.reserve(pagesOf(4 * MIB))
    expect(source.surplus(100)).toBe(100)
    source.lower(100)
    expect(source.surplus(50)).toBe(50)
    source.reserve(100)
    expect(source.surplus(0)).toBe(0)
    expect(source.isWaiting).toBe(false)
    expect(source.surplus(50)).toBe(0)
    expect(source.isWaiting).toBe(true)
    source.noteQuiet()
    expect(source.isWaiting).toBe(false)
    expect(source.surplus(50)).toBe(50)
  })
})

describe.skipIf(hasNoBreak)('after a buffer was moved away', () => {
  it('the break rests, unless no buffer ever lay above it', () => {
    source.reserve(1)
    source.keepForGood(0)
    expect(source.surplus(10)).toBe(0)
    source.lower(10)
    expect(source.segment.pageCount).toBe(pagesOf(MIB))
    // Nobody can have anything above the break yet.
    source.reserve(1)
    expect(source.segment.pageCount).toBe(pagesOf(2 * MIB))
    const { buffer } = source.wrap(2 * MIB - 10, 20)
    expect(thrownBy(() => source.reserve(1))).toMatchObject({
      code: 'ERR_ARENA_BREAK_UNAVAILABLE',
      message: expect.stringContaining('transferred away'),
    })
    source.detach(buffer)
    // As if it had been nothing: this process shall have its break back.
    ;(source.segment as OwnSegment).isKeptForGood = false
  })
})
