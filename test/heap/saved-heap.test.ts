/** `toJSON` and `Heap.from`. What random heaps and random damage do is in test/fuzz/heap.test.ts. */
import { describe, expect, it } from 'vitest'
import { Heap } from '../../src/heap/heap.js'
import { LengthWriter, type SavedHeap, sealed } from '../../src/heap/saved-heap.js'

const MIB = 2 ** 20
const GIB = 2 ** 30

function restored(heap: Heap): Heap {
  return Heap.from(JSON.parse(JSON.stringify(heap)))
}

function lengths(...values: number[]): string {
  const writer = new LengthWriter()
  for (const value of values) writer.write(value)
  return writer.toString()
}

const GOOD = {
  capacityBytes: 32 * GIB,
  pageBytes: 4096,
  granuleBytes: 16,
  peakUsedBytes: 32 * GIB,
  peakCommittedBytes: 32 * GIB,
  blocks: lengths(0, 1, 5, 300),
  dirty: lengths(2, 1),
}

describe('Heap.from', () => {
  it('has the blocks under their integers, and all that stats says', () => {
    const heap = new Heap({ capacityBytes: 64 * MIB, granuleBytes: 64, pageBytes: 2 ** 15 })
    const blocks = Array.from({ length: 1000 }, (_, n) => heap.allocate((n * 977) % 50_000))
    for (let n = 0; n < 1000; n += 3) heap.free(blocks[n])
    const again = restored(heap)
    again.check()
    const { metadataBytes: _, ...expected } = heap.stats()
    expect(again.stats()).toMatchObject(expected)
    for (const [n, block] of blocks.entries()) {
      if (n % 3 === 0)
        expect(() => again.free(block)).toThrow(expect.objectContaining({ code: 'ERR_ARENA_DOUBLE_FREE' }))
      else
        expect([again.offsetOf(block), again.sizeOf(block)]).toEqual([
          heap.offsetOf(block),
          heap.sizeOf(block),
        ])
    }
    const calls: [number[], number[]][] = []
    for (const one of [heap, again]) {
      const ranges: number[] = []
      one.purge((...range) => void ranges.push(...range))
      calls.push([ranges, []])
    }
    expect(calls[0]).toEqual(calls[1])
    for (const [n, block] of blocks.entries()) if (n % 3 !== 0) again.free(block)
    expect(again.allocate(again.capacityBytes)).toBe(0)
    again.check()
  })

  it.each([0, 4096, 64 * MIB, 32 * GIB])('takes empty and full books of %d bytes', capacityBytes => {
    for (const isFull of [false, true]) {
      const heap = new Heap({ capacityBytes })
      if (isFull) heap.allocate(capacityBytes)
      const again = restored(heap)
      again.check()
      expect(again.stats().longestFreeBytes).toBe(isFull ? 0 : capacityBytes)
      expect(again.stats().liveBlocks).toBe(isFull && capacityBytes > 0 ? 1 : 0)
    }
  })

  it('takes a million blocks, as text of a few MB', () => {
    const heap = new Heap({ capacityBytes: 2 * GIB })
    const blocks = Int32Array.from({ length: 1_500_000 }, (_, n) => heap.allocate(16 + ((n * 7919) % 2000)))
    for (let n = 0; n < blocks.length; n += 3) heap.free(blocks[n])
    const text = JSON.stringify(heap)
    expect(text.length).toBeLessThan(6 * blocks.length)
    const again = Heap.from(JSON.parse(text))
    expect(again.stats().liveBlocks).toBe(1_000_000)
    expect(JSON.stringify(again)).toBe(text)
  })

  it('takes what structuredClone gives, and what has more keys', () => {
    const heap = new Heap({ capacityBytes: MIB })
    heap.allocate(100)
    expect(
      Heap.from({ ...structuredClone(heap.toJSON()), name: 'mine' } as SavedHeap).stats().liveBlocks,
    ).toBe(1)
    expect(Heap.from(sealed(GOOD)).stats().liveBlocks).toBe(2)
  })

  it.each([undefined, null, 'text', 7, [], {}, { version: 1 }])(
    'refuses what is no saved heap: %o',
    value => {
      expect(() => Heap.from(value as SavedHeap)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ERR_INVALID_ARG_(TYPE|VALUE)$/) }),
      )
    },
  )

  const forged: [what: string, change: Partial<typeof GOOD>][] = [
    ['a capacity that no heap has', { capacityBytes: 33 * GIB }],
    ['a capacity that is no multiple', { capacityBytes: 4097 }],
    ['no pages', { pageBytes: 0 }],
    ['pages of another length', { pageBytes: 12288 }],
    ['granules of 0 bytes', { granuleBytes: 0 }],
    ['granules of another length', { granuleBytes: 24 }],
    ['a block beyond the space', { blocks: lengths(2 ** 31 - 1, 2) }],
    ['blocks longer than any space', { blocks: lengths(0, 2 ** 31, 0, 2 ** 31) }],
    ['an empty block', { blocks: lengths(0, 0) }],
    ['a gap without a block', { blocks: lengths(0, 1, 5) }],
    ['half a length', { blocks: Buffer.from([0x80]).toString('base64') }],
    ['a length without end', { blocks: Buffer.alloc(1000, 0x80).toString('base64') }],
    [
      'a length that is no number',
      { blocks: Buffer.concat([Buffer.alloc(1000, 0x80), Buffer.alloc(2, 1)]).toString('base64') },
    ],
    ['a long block that starts within a page', { blocks: lengths(1, 2 ** 27) }],
    ['a dirty page with a block', { dirty: lengths(1, 1) }],
    ['a dirty page that a block ends in', { blocks: lengths(255, 2), dirty: lengths(1, 1) }],
    ['dirty pages beyond the space', { dirty: lengths(2 ** 23, 1) }],
    ['dirty pages that touch', { dirty: lengths(2, 1, 0, 1) }],
    ['a peak below what is in use', { peakUsedBytes: 0 }],
    ['a peak above the space', { peakUsedBytes: 64 * GIB, peakCommittedBytes: 64 * GIB }],
    ['a peak that is no page', { peakCommittedBytes: 32 * GIB - 1 }],
    ['a committed peak below what is committed', { peakUsedBytes: 8192, peakCommittedBytes: 8192 }],
  ]
  it.each(forged)('refuses %s, with the checksum right', (_, change) => {
    expect(() => Heap.from(sealed({ ...GOOD, ...change }))).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringMatching(/toJSON/) }),
    )
  })

  it('refuses any single change', () => {
    const saved = sealed(GOOD) as unknown as Record<string, unknown>
    for (const [name, value] of Object.entries(saved)) {
      const changes =
        typeof value === 'string'
          ? [`${value}AA`, value.slice(4), 'AAAA', undefined, 7]
          : [0, -1, 2, '1', undefined]
      for (const change of changes) {
        expect(
          () => Heap.from({ ...saved, [name]: change } as unknown as SavedHeap),
          `${name}: ${change}`,
        ).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ERR_INVALID_ARG_(TYPE|VALUE)$/) }))
      }
    }
  })
})

describe('toJSON', () => {
  it('is refused inside the callback of purge', () => {
    const heap = new Heap({ capacityBytes: MIB })
    heap.free(heap.allocate(10_000))
    expect(() => heap.purge(() => heap.toJSON())).toThrow(expect.objectContaining({ code: 'ERR_ARENA_BUSY' }))
  })
})
