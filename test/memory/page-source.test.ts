/**
 * What every page source does, written once and run over each: mappings, the program break, the heap of the runtime, and
 * the fake. What only one of them does is in that one's own file.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BreakSource } from '../../src/memory/break-source.js'
import { HeapSource } from '../../src/memory/heap-source.js'
import { MmapSource } from '../../src/memory/mmap-source.js'
import type { PageSource } from '../../src/memory/page-source.js'
import { endOf } from '../../src/memory/segment.js'
import { hasNoBreak } from '../support/break.js'
import { FakeSource } from '../support/fake-source.js'
import { type FailingKind, FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { isZero, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20

interface Subject {
  readonly source: PageSource
  readonly deferral: ManualDeferral
  /** Makes the next `reserve` fail at each of its calls in turn; returns how to let it pass again. */
  readonly refusals: readonly (() => () => void)[]
}

const refusalOf = (kernel: FaultyKernel, kind: FailingKind) => () => {
  kernel.refuse(kind)
  return () => kernel.allow()
}

const SUBJECTS: Record<string, () => Subject> = {
  mmap: () => {
    const [kernel, deferral] = [new FaultyKernel(), new ManualDeferral()]
    const refusals = (['map', 'nohugepage'] as const).map(kind => refusalOf(kernel, kind))
    return { source: new MmapSource(kernel, deferral), deferral, refusals }
  },
  sbrk: () => {
    const [kernel, deferral] = [new FaultyKernel(), new ManualDeferral()]
    const kinds = ['openFence', 'sbrk', 'closeFence', 'nohugepage'] as const
    const refusals = kinds.map(kind => refusalOf(kernel, kind))
    return { source: new BreakSource(kernel, deferral, 'subject'), deferral, refusals }
  },
  heap: () => {
    const deferral = new ManualDeferral()
    // It asks nobody for page numbers.
    return { source: new HeapSource(deferral), deferral, refusals: [] }
  },
  fake: () => {
    const [kernel, deferral] = [new FaultyKernel(), new ManualDeferral()]
    const source = new FakeSource(kernel)
    const refuse = () => {
      source.fails = call => call === 'reserve'
      return () => {
        source.fails = undefined
      }
    }
    return { source, deferral, refusals: [refuse] }
  },
}

describe.each(Object.keys(SUBJECTS).filter(name => name !== 'sbrk' || !hasNoBreak))('the source %s', name => {
  /** Whether there is memory under the page numbers, which buffers show. If not, each buffer has its own. */
  const isMapped = name !== 'heap'
  let subject: Subject
  let source: PageSource
  let pageBytes: number

  beforeEach(() => {
    subject = SUBJECTS[name]()
    source = subject.source
    expect(source.sharesMemory).toBe(isMapped)
    pageBytes = source.pageBytes
  })

  afterEach(async () => {
    source.check()
    for (const segment of [...source.segments]) source.retire(segment)
    source.close()
    for (let i = 0; i < 4; i++) {
      await turns()
      subject.deferral.runTurn()
      subject.deferral.advance(1_000)
    }
  })

  /** The bytes of a stretch, by a buffer of its own. */
  function view(firstPage: number, pageCount: number): Uint8Array {
    return new Uint8Array(source.wrap(firstPage * pageBytes, pageCount * pageBytes).buffer)
  }

  function mappedPages(): number {
    return source.segments.reduce((pages, segment) => pages + segment.pageCount, 0)
  }

  it('starts with nothing', () => {
    expect(source.segments).toEqual([])
    expect(source.residentBytes()).toBe(0)
  })

  it('gives as many pages as asked for, zeroed, not resident, all of them usable', () => {
    const { firstPage, pageCount } = source.reserve(700)
    expect(pageCount).toBeGreaterThanOrEqual(700)
    expect(source.residentBytes()).toBe(0)
    const bytes = view(firstPage, pageCount)
    expect(isZero(bytes)).toBe(true)
    bytes.fill(7)
    expect(source.residentBytes()).toBe(pageCount * pageBytes)
  })

  it('gives other pages each time, every one in a segment', () => {
    const pages = new Set<number>()
    for (const wanted of [1, 300, 5, 2_000, 1]) {
      const { firstPage, pageCount } = source.reserve(wanted)
      for (let page = firstPage; page < firstPage + pageCount; page++) {
        expect(pages.has(page)).toBe(false)
        pages.add(page)
      }
      const segment = source.segmentOf(firstPage)
      expect(source.segments).toContain(segment)
      expect(segment.firstPage).toBeLessThanOrEqual(firstPage)
      expect(endOf(segment)).toBeGreaterThanOrEqual(firstPage + pageCount)
    }
    expect(mappedPages()).toBe(pages.size)
    source.check()
  })

  it('keeps contents while it grows', () => {
    const first = source.reserve(10)
    const early = view(first.firstPage, 10).fill(1)
    const second = source.reserve(3_000)
    const late = view(second.firstPage, second.pageCount).fill(2)
    source.reserve(1)
    expect(early.every(byte => byte === 1)).toBe(true)
    expect(late.every(byte => byte === 2)).toBe(true)
    expect(isZero(view(first.firstPage, first.pageCount).subarray(10 * pageBytes))).toBe(true)
  })

  it('has no segment for a page below zero, or far above', () => {
    source.reserve(1)
    for (const page of [-1, 2 ** 24]) expect(() => source.segmentOf(page)).toThrow('has a segment')
  })

  it('takes back what it just gave', () => {
    source.reserve(100)
    const before = { pages: mappedPages(), segments: source.segments.length }
    const stretch = source.reserve(2_000)
    source.unreserve(stretch)
    expect({ pages: mappedPages(), segments: source.segments.length }).toEqual(before)
    source.check()
    const again = source.reserve(2_000)
    expect(again).toMatchObject({ firstPage: stretch.firstPage, pageCount: stretch.pageCount })
    expect(isZero(view(again.firstPage, again.pageCount))).toBe(true)
  })

  it('retires a segment once, whose page numbers are free then', () => {
    const { firstPage } = source.reserve(50)
    const segment = source.segmentOf(firstPage)
    source.retire(segment)
    expect(source.segments).toEqual([])
    expect(source.residentBytes()).toBe(0)
    expect(() => source.retire(segment)).toThrow('retired once')
    expect(source.reserve(50).firstPage).toBe(firstPage)
    source.check()
  })

  it('lets views of a retired segment be read and written, and shows them to nobody', () => {
    const { firstPage } = source.reserve(50)
    const stale = view(firstPage, 50).fill(5)
    source.retire(source.segmentOf(firstPage))
    for (let page = 0; page < 50; page++) stale[page * pageBytes] |= 1
    const again = source.reserve(50)
    expect(isZero(view(again.firstPage, 50))).toBe(true)
    source.detach(stale.buffer as ArrayBuffer)
  })

  it('knows which buffers may still be reached', async () => {
    source.reserve(1)
    const { buffer, wrapId } = source.wrap(0, pageBytes)
    expect(source.isWrapped(wrapId)).toBe(true)
    source.detach(buffer)
    expect(buffer.byteLength).toBe(0)
    await turns()
    expect(source.isWrapped(wrapId)).toBe(false)
  })

  it('changes nothing where it is refused pages', () => {
    const { firstPage } = source.reserve(10)
    const bytes = view(firstPage, 10).fill(4)
    const before = { pages: mappedPages(), segments: source.segments.length }
    for (const refuse of subject.refusals) {
      const allow = refuse()
      expect(thrownBy(() => source.reserve(4_000))).toMatchObject({ code: 'ENOMEM' })
      allow()
      expect({ pages: mappedPages(), segments: source.segments.length }).toEqual(before)
      source.check()
      expect(bytes.every(byte => byte === 4)).toBe(true)
    }
    const { firstPage: next, pageCount } = source.reserve(4_000)
    expect(isZero(view(next, pageCount))).toBe(true)
  })

  it('throws a RangeError where the page numbers end', () => {
    source.reserve(1)
    const before = mappedPages()
    expect(thrownBy(() => source.reserve(2 ** 35 / pageBytes + 1))).toBeInstanceOf(RangeError)
    expect(mappedPages()).toBe(before)
  })

  // What is only so where memory is mapped.
  if (!isMapped) return

  it('lets buffers overlap, and lie over all that it calls within reach', () => {
    const { firstPage, pageCount } = source.reserve(600)
    const [low, high] = [view(firstPage, 500), view(firstPage + 200, 400)]
    low[200 * pageBytes] = 9
    expect(high[0]).toBe(9)
    const reach = source.reachOf(source.segmentOf(firstPage))
    expect(reach).toBeGreaterThanOrEqual(firstPage + pageCount)
    const whole = view(firstPage, reach - firstPage)
    whole[whole.length - 1] = 3
    expect(whole[whole.length - 1]).toBe(3)
  })

  it('purges the pages asked for, and no other', () => {
    const { firstPage } = source.reserve(20)
    const bytes = view(firstPage, 10).fill(7)
    source.purge(Uint32Array.of(firstPage + 2, 3), 0, 1)
    expect(source.residentBytes()).toBe(7 * pageBytes)
    bytes.fill(8, 2 * pageBytes, 3 * pageBytes)
    expect(source.residentBytes()).toBe(8 * pageBytes)
    source.purge(Uint32Array.of(firstPage + 2, 3), 0, 1)
    expect(bytes[2 * pageBytes - 1]).toBe(7)
    expect(isZero(bytes.subarray(2 * pageBytes, 5 * pageBytes))).toBe(true)
    expect(bytes[5 * pageBytes]).toBe(7)
  })

  it('counts what is resident in long segments too', () => {
    const { firstPage, pageCount } = source.reserve((100 * MIB) / pageBytes)
    const bytes = view(firstPage, pageCount)
    for (const at of [0, bytes.length / 2, bytes.length - 1]) bytes[at] = 1
    expect(source.residentBytes()).toBe(3 * pageBytes)
  })

  // The last one: where it was done to the program break, this process has no other.
  it('leaves alone for good what somebody moved away', () => {
    const { firstPage } = source.reserve(10)
    const bytes = view(firstPage, 10).fill(6)
    const segment = source.segmentOf(firstPage)
    source.keepForGood(firstPage)
    expect(segment.isKeptForGood).toBe(true)
    source.retire(segment)
    expect(bytes.every(byte => byte === 6)).toBe(true)
  })
})
