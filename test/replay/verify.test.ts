/** The verification is only worth what it catches, so here it meets allocators with faults. */
import { describe, expect, it } from 'vitest'
import { type BufferTable, bufferTable, HeapBlocks, PlainBlocks } from '../../src/replay/allocators.js'
import { TraceReader } from '../../src/replay/trace.js'
import { findMismatch, verifyContents, verifyOverlap, writePattern } from '../../src/replay/verify.js'

function parse(text: string) {
  const reader = new TraceReader('test')
  reader.push(Buffer.from(text))
  return reader.finish()
}

const TRACE = parse('a 0 100\na 1 50000\na 2 16\nr 0 9000\nr 1 20\nf 2\na 3 0\nr 3 70\nf 0\n')

describe('writePattern and findMismatch', () => {
  it('sees any change in a block of up to a page', () => {
    const block = Buffer.alloc(4096)
    writePattern(block, 7)
    expect(findMismatch(block, 7, 4096, 4096)).toBe(-1)
    for (const at of [0, 1, 2047, 4095]) {
      block[at] ^= 1
      expect(findMismatch(block, 7, 4096, 4096)).toBe(at)
      block[at] ^= 1
    }
  })

  it('sees a change of each page and of the end of a longer one', () => {
    const block = Buffer.alloc(3 * 4096 + 10)
    writePattern(block, 7)
    for (const at of [0, 4096, 4099, 8192, 12288, block.length - 4, block.length - 1]) {
      block[at] ^= 1
      expect(findMismatch(block, 7, block.length, block.length)).toBe(at)
      block[at] ^= 1
    }
    expect(findMismatch(block, 7, block.length, block.length)).toBe(-1)
  })

  it('looks no further than what was kept', () => {
    const block = Buffer.alloc(9000)
    writePattern(block, 1)
    expect(findMismatch(block.subarray(0, 4098), 1, 9000, 4098)).toBe(-1)
    block[4097] ^= 1
    expect(findMismatch(block.subarray(0, 4098), 1, 9000, 4098)).toBe(4097)
    expect(findMismatch(block.subarray(0, 4098), 1, 9000, 4097)).toBe(-1)
  })

  it('tells allocations apart', () => {
    const block = Buffer.alloc(64)
    writePattern(block, 1)
    for (let seed = 2; seed < 1000; seed++) expect(findMismatch(block, seed, 64, 64)).not.toBe(-1)
  })
})

describe('verifyContents', () => {
  it('passes Buffers, and counts its checks: each resize, each free, each block left over', () => {
    expect(verifyContents(TRACE, new PlainBlocks(bufferTable(TRACE.slotCount)))).toBe(3 + 2 + 2)
  })

  it('catches a resize that loses the contents', () => {
    class Forgetful extends PlainBlocks {
      override resize(slot: number, sizeBytes: number) {
        this.allocate(slot, sizeBytes)
        this.bufferOf(slot).fill(0)
      }
    }
    const blocks = new Forgetful(bufferTable(TRACE.slotCount))
    expect(() => verifyContents(TRACE, blocks)).toThrow(
      /failed at operation 4: byte \d+ of a block of 100 bytes/,
    )
  })

  it('catches blocks that overlap', () => {
    const memory = Buffer.alloc(2 ** 20)
    class Overlapping extends PlainBlocks {
      readonly #table: BufferTable
      constructor(table: BufferTable) {
        super(table)
        this.#table = table
      }
      override allocate(slot: number, sizeBytes: number) {
        this.#table[slot] = memory.subarray(slot * 96, slot * 96 + sizeBytes)
      }
    }
    const blocks = new Overlapping(bufferTable(TRACE.slotCount))
    expect(() => verifyContents(TRACE, blocks)).toThrow(/verification failed at operation 4/)
  })

  it('catches a block of another length', () => {
    class Generous extends PlainBlocks {
      override allocate(slot: number, sizeBytes: number) {
        super.allocate(slot, sizeBytes + 1)
      }
    }
    const blocks = new Generous(bufferTable(TRACE.slotCount))
    expect(() => verifyContents(TRACE, blocks)).toThrow(/operation 1: asked for 100 bytes, got 101/)
  })
})

describe('verifyOverlap', () => {
  it('passes the heap, and counts its blocks', () => {
    expect(verifyOverlap(TRACE, new HeapBlocks(TRACE))).toBe(4 + 3)
  })

  it('catches blocks that overlap', () => {
    class Overlapping extends HeapBlocks {
      override offsetOf(slot: number) {
        return Math.max(0, super.offsetOf(slot) - (slot > 0 ? 32 : 0))
      }
      override sizeOf(slot: number) {
        return super.sizeOf(slot) + 64
      }
    }
    expect(() => verifyOverlap(TRACE, new Overlapping(TRACE))).toThrow(/overlap a live block/)
  })

  it('catches a block that is too short', () => {
    class Short extends HeapBlocks {
      override sizeOf() {
        return 16
      }
    }
    expect(() => verifyOverlap(TRACE, new Short(TRACE))).toThrow(/operation 1: asked for 100 bytes, got 16/)
  })

  it('catches a block that is never given back', () => {
    class Leaking extends HeapBlocks {
      override free(slot: number) {
        if (slot !== 0) super.free(slot)
      }
    }
    expect(() => verifyOverlap(TRACE, new Leaking(TRACE))).toThrow(/whole capacity cannot be allocated/)
  })
})
