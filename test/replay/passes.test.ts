import { describe, expect, it } from 'vitest'
import { bufferTable, HeapBlocks, PlainBlocks } from '../../src/replay/allocators.js'
import {
  liveBytesAt,
  replayRangeTouching,
  samplePoints,
  slotsLiveAtEnd,
  timePasses,
  touchPages,
} from '../../src/replay/passes.js'
import { TraceReader } from '../../src/replay/trace.js'

function parse(text: string) {
  const reader = new TraceReader('test')
  reader.push(Buffer.from(text))
  return reader.finish()
}

const TRACE = parse('a 0 100\na 1 50\nr 0 300\nf 1\na 2 10\nf 0\n')

describe('liveBytesAt', () => {
  it('is what is live after so many operations', () => {
    expect(liveBytesAt(TRACE, [1, 2, 3, 4, 5, 6])).toEqual([100, 150, 350, 300, 310, 10])
    expect(liveBytesAt(TRACE, [0, 3, 3, 6])).toEqual([0, 350, 350, 10])
  })
})

describe('slotsLiveAtEnd', () => {
  it('names the slots of the blocks that were not freed', () => {
    expect(slotsLiveAtEnd(TRACE)).toEqual([1])
    expect(slotsLiveAtEnd(parse('a 0 1\nf 0\n'))).toEqual([])
  })
})

describe('samplePoints', () => {
  it('ascends to the end of the recording and has the peak among it', () => {
    expect(samplePoints(TRACE, 2)).toEqual([3, 6])
    expect(samplePoints(TRACE, 100)).toEqual([1, 2, 3, 4, 5, 6])
    expect(samplePoints(parse('a 0 9\nf 0\na 1 1\na 2 1\n'), 2)).toEqual([1, 2, 4])
  })
})

describe('touchPages', () => {
  it.each([0, 1, 4096, 4097, 8192, 20_000])(
    'writes to every page of %d bytes at any alignment',
    sizeBytes => {
      for (const offset of [0, 16, 4080]) {
        const memory = new Uint8Array(offset + sizeBytes + 4096)
        touchPages(memory.subarray(offset, offset + sizeBytes))
        for (let page = 0; page * 4096 < memory.length; page++) {
          const [start, end] = [page * 4096, (page + 1) * 4096]
          const isPart = sizeBytes > 0 && start < offset + sizeBytes && end > offset
          expect(memory.subarray(start, end).includes(1)).toBe(isPart)
        }
      }
    },
  )
})

describe('replayRangeTouching', () => {
  it('leaves exactly the live blocks', () => {
    const blocks = new PlainBlocks(bufferTable(TRACE.slotCount))
    replayRangeTouching(TRACE, blocks, 0, 4)
    expect(blocks.bufferOf(0)).toHaveLength(300)
    expect(blocks.bufferOf(1)).toBeUndefined()
    replayRangeTouching(TRACE, blocks, 4, TRACE.operationCount)
    expect(blocks.bufferOf(0)).toBeUndefined()
    expect(blocks.bufferOf(1)).toHaveLength(10)
  })
})

describe('timePasses', () => {
  it('repeats the recording as if each pass were the first', async () => {
    const blocks = new HeapBlocks(TRACE)
    expect(await timePasses(TRACE, blocks, 4)).toBeGreaterThan(0)
    expect(blocks.heap.stats().liveBlocks).toBe(0)
    expect(await timePasses(TRACE, blocks, 0)).toBeUndefined()
  })
})
