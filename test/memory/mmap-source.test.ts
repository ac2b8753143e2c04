/** What only mappings do; what every source does is in page-source.test.ts. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MmapSource } from '../../src/memory/mmap-source.js'
import { SEGMENT_ALIGN_BYTES } from '../../src/memory/page-source.js'
import { endOf, type Segment } from '../../src/memory/segment.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { isZero, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20

let kernel: FaultyKernel
let deferral: ManualDeferral
let source: MmapSource
let pagesOf: (bytes: number) => number

beforeEach(() => {
  kernel = new FaultyKernel()
  deferral = new ManualDeferral()
  source = new MmapSource(kernel, deferral)
  pagesOf = bytes => bytes / kernel.pageBytes
})

afterEach(async () => {
  kernel.allow()
  for (const segment of [...source.segments]) source.retire(segment)
  for (let i = 0; i < 4; i++) {
    await turns()
    deferral.runTurn()
    deferral.advance(1_000)
  }
})

function lengthOf(segment: Segment): number {
  return segment.pageCount * kernel.pageBytes
}

describe('reserve', () => {
  it('makes the first segment 4 MiB, and doubles what there is up to 64 MiB', () => {
    const lengths = Array.from({ length: 8 }, () => lengthOf(source.reserve(1)))
    expect(lengths.map(length => length / MIB)).toEqual([4, 4, 8, 16, 32, 64, 64, 64])
    expect([...kernel.mappings.values()]).toEqual(lengths)
  })

  it('makes a segment of exactly the length asked for where a regular one would be mostly that', () => {
    expect(lengthOf(source.reserve(pagesOf(2 * MIB)))).toBe(4 * MIB)
    expect(lengthOf(source.reserve(pagesOf(2 * MIB) + 1))).toBe(2 * MIB + kernel.pageBytes)
    expect(lengthOf(source.reserve(pagesOf(100 * MIB)))).toBe(100 * MIB)
  })

  it('numbers pages from multiples of the window stride, with a gap between segments', () => {
    const alignPages = pagesOf(SEGMENT_ALIGN_BYTES)
    for (const bytes of [1, 3 * MIB, 3 * MIB + kernel.pageBytes, 5 * MIB, 20 * MIB]) {
      source.reserve(Math.ceil(pagesOf(bytes)))
    }
    const { segments } = source
    expect(segments.length).toBe(5)
    for (const segment of segments) expect(segment.firstPage % alignPages).toBe(0)
    for (let i = 1; i < segments.length; i++) {
      expect(segments[i].firstPage).toBeGreaterThan(endOf(segments[i - 1]))
    }
  })

  it('takes the lowest page numbers that are free, those of retired segments included', () => {
    const segments = Array.from({ length: 4 }, () => source.reserve(pagesOf(100 * MIB)))
    const { firstPage } = segments[1]
    source.retire(segments[1])
    expect(source.reserve(pagesOf(100 * MIB)).firstPage).toBe(firstPage)
    source.retire(segments[0])
    const small = source.reserve(pagesOf(100 * MIB) - 1)
    expect(small.firstPage).toBe(0)
    expect(source.segments.map(segment => segment.firstPage)).toEqual(
      [...source.segments.map(segment => segment.firstPage)].sort((a, b) => a - b),
    )
  })

  it('does not squeeze a segment into a hole without a gap', () => {
    const [first, second] = [source.reserve(pagesOf(6 * MIB)), source.reserve(pagesOf(6 * MIB))]
    source.retire(first)
    // The hole is as long as the first segment and its gap: all of it would touch the second one.
    const whole = source.reserve(second.firstPage as number)
    expect(whole.firstPage).toBeGreaterThan(endOf(second))
  })

  it('gives zeroed pages that are not resident, without huge pages', () => {
    const segment = source.reserve(1)
    expect(source.residentBytes()).toBe(0)
    expect(kernel.calls).toContainEqual({ kind: 'nohugepage', args: [segment.mapping, 0, lengthOf(segment)] })
    expect(kernel.inspect(segment.mapping, isZero)).toBe(true)
  })

  it('changes nothing where the kernel refuses the mapping', () => {
    source.reserve(1)
    kernel.failNth('map', 1)
    expect(thrownBy(() => source.reserve(1))).toMatchObject({ code: 'ENOMEM', errno: -12, syscall: 'mmap' })
    expect(source.segments.length).toBe(1)
    expect(deferral.pendingTurns).toBe(0)
    expect(source.reserve(1).firstPage).toBeGreaterThan(endOf(source.segments[0]))
  })

  it('unmaps later where the kernel refuses the advice', () => {
    kernel.failNth('nohugepage', 1)
    expect(thrownBy(() => source.reserve(1))).toMatchObject({ syscall: 'madvise' })
    expect(source.segments.length).toBe(0)
    expect(kernel.mappings.size).toBe(1)
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    expect(source.reserve(1).firstPage).toBe(0)
  })

  it('throws a RangeError where the page numbers end, before it maps anything', () => {
    const { map } = kernel.counts
    expect(thrownBy(() => source.reserve(pagesOf(2 ** 35) + 1))).toBeInstanceOf(RangeError)
    expect(kernel.counts.map).toBe(map)
    expect(source.segments.length).toBe(0)
  })
})

describe('segmentOf', () => {
  it('finds the segment of each of its pages, and refuses every other page', () => {
    const segments = [1, pagesOf(5 * MIB) + 3, 1].map(pages => source.reserve(pages))
    for (const segment of segments) {
      for (const page of [segment.firstPage, segment.firstPage + 1, endOf(segment) - 1]) {
        expect(source.segmentOf(page)).toBe(segment)
      }
      expect(() => source.segmentOf(endOf(segment))).toThrow('has a segment')
    }
    const [first] = segments
    source.retire(first)
    expect(() => source.segmentOf(first.firstPage)).toThrow('has a segment')
    expect(() => source.segmentOf(-1)).toThrow('has a segment')
  })
})

describe('retire', () => {
  it('unmaps on a later turn, when the last buffer was finalized', async () => {
    const segment = source.reserve(1)
    const { buffer, wrapId } = source.wrap(0, 100)
    expect(source.isWrapped(wrapId)).toBe(true)
    source.detach(buffer)
    source.retire(segment)
    expect(source.segments.length).toBe(0)
    expect(kernel.mappings.size).toBe(1)
    await turns()
    expect(source.isWrapped(wrapId)).toBe(false)
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
  })

  it('leaves mapped what somebody may still use', async () => {
    const segment = source.reserve(1)
    source.keepForGood(segment.firstPage)
    source.retire(segment)
    await turns()
    expect(deferral.pendingTurns).toBe(0)
    expect(kernel.mappings.size).toBe(1)
    kernel.unmap(segment.mapping)
  })
})

describe('residentBytes', () => {
  it('counts all segments, also those longer than one call asks for', () => {
    const segments = [source.reserve(1), source.reserve(pagesOf(100 * MIB))]
    for (const segment of segments) {
      const start = segment.firstPage * kernel.pageBytes
      for (const offset of [0, lengthOf(segment) - kernel.pageBytes]) {
        const { buffer } = source.wrap(start + offset, 1)
        new Uint8Array(buffer)[0] = 1
        source.detach(buffer)
      }
    }
    expect(source.residentBytes()).toBe(4 * kernel.pageBytes)
    expect(kernel.counts.residency).toBe(3)
  })
})
