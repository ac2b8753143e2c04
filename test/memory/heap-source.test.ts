/** What only the source over the heap of the runtime does. What it shares with the others: page-source.test.ts. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, it } from 'vitest'
import { HEAP_PAGE_BYTES, HeapSource } from '../../src/memory/heap-source.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { isFilled, isZero, turns } from '../support/world.js'

const PAGE = HEAP_PAGE_BYTES
const MIB = 2 ** 20

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

let deferral: ManualDeferral
let source: HeapSource
beforeEach(() => {
  deferral = new ManualDeferral()
  source = new HeapSource(deferral)
  source.reserve((8 * MIB) / PAGE)
})

function wrap(firstPage: number, pageCount: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(source.wrap(firstPage * PAGE, pageCount * PAGE).buffer)
}

function purge(firstPage: number, pageCount: number): void {
  expect(source.purge(Uint32Array.of(firstPage, pageCount), 0, 1)).toBe(pageCount)
}

describe('move', () => {
  it('is a mistake: there are no bytes to move but those of each buffer', () => {
    wrap(0, 1).fill(1)
    expect(() => source.move()).toThrow('no bytes lie under the granules of the heap')
  })
})

describe('wrap', () => {
  it('gives each buffer memory of its own, zeroed', () => {
    const [low, high] = [wrap(0, 4), wrap(2, 4)]
    low.fill(1)
    expect(isZero(high)).toBe(true)
    high.fill(2)
    expect(isFilled(low, 1)).toBe(true)
    expect(source.residentBytes()).toBe(8 * PAGE)
    source.check()
  })

  it('uses the memory of a detached buffer of the same bytes again, and of no other', () => {
    const first = wrap(3, 2).fill(7)
    source.detach(first.buffer)
    expect(first.length).toBe(0)
    expect(source.residentBytes()).toBe(2 * PAGE)
    expect(isFilled(wrap(3, 2), 7)).toBe(true)
    const second = wrap(10, 2).fill(7)
    source.detach(second.buffer)
    expect(isZero(wrap(10, 3))).toBe(true)
    expect(source.residentBytes()).toBe(5 * PAGE)
    source.check()
  })

  it('refuses a length that no Buffer can have, and a length for which there is no memory', () => {
    const before = source.residentBytes()
    expect(() => source.wrap(0, 2 ** 53)).toThrow(RangeError)
    expect(source.residentBytes()).toBe(before)
    source.check()
  })
})

describe('purge', () => {
  it('makes pages zero in every buffer that has them, and touches no other', () => {
    const buffers = [wrap(0, 300), wrap(250, 300), wrap(255, 2)]
    for (const bytes of buffers) bytes.fill(5)
    purge(255, 2)
    expect(isZero(buffers[2])).toBe(true)
    expect(isZero(buffers[0].subarray(255 * PAGE, 257 * PAGE))).toBe(true)
    expect(isFilled(buffers[0].subarray(0, 255 * PAGE), 5)).toBe(true)
    expect(isFilled(buffers[0].subarray(257 * PAGE), 5)).toBe(true)
    expect(isZero(buffers[1].subarray(5 * PAGE, 7 * PAGE))).toBe(true)
    expect(isFilled(buffers[1].subarray(7 * PAGE), 5)).toBe(true)
  })

  it('gives up the memory of detached buffers that has one of the pages', () => {
    const [hit, spared] = [wrap(0, 600).fill(1), wrap(600, 10).fill(2)]
    source.detach(hit.buffer)
    source.detach(spared.buffer)
    purge(599, 1)
    expect(source.residentBytes()).toBe(10 * PAGE)
    expect(isZero(wrap(0, 600))).toBe(true)
    expect(isFilled(wrap(600, 10), 2)).toBe(true)
  })

  it('gives memory to the allocator on the next turn, not before', async () => {
    const hasTransfer = 'transfer' in ArrayBuffer.prototype
    const used = () => process.memoryUsage().arrayBuffers
    // In a function of its own, which leaves no reference behind.
    const { firstPage } = source.reserve(5_000)
    const hide = () => source.detach(wrap(firstPage, 5_000).fill(1).buffer)
    hide()
    const before = used()
    purge(firstPage, 2_000)
    // Other buffers of this process come and go, so this one is long.
    if (hasTransfer) expect(used()).toBeGreaterThan(before - 2_500 * PAGE)
    deferral.runTurn()
    // Node 20 cannot free a buffer at once: the collector does.
    for (let i = 0; i < 50 && !hasTransfer && used() > before - 2_500 * PAGE; i++) {
      await turns(1)
      collect()
    }
    expect(used()).toBeLessThan(before - 2_500 * PAGE)
  })

  it('holds little of what was purged within one turn', () => {
    for (let i = 0; i < 2_000; i++) {
      source.detach(wrap(0, 1_000).buffer)
      purge(0, 1_000)
    }
    expect(source.residentBytes()).toBe(0)
    deferral.runTurn()
    source.check()
  })
})

describe('detach', () => {
  it('holds the bytes, so that late writes are found', () => {
    const bytes = wrap(4, 3)
    source.detach(bytes.buffer)
    source.fill(4 * PAGE, 3 * PAGE, 0xdb)
    expect(source.firstOther(4 * PAGE, 3 * PAGE, 0xdb)).toBe(-1)
    source.fill(5 * PAGE + 10, 1, 0)
    expect(source.firstOther(4 * PAGE, 3 * PAGE, 0xdb)).toBe(PAGE + 10)
    expect(isFilled(wrap(4, 3).subarray(0, PAGE), 0xdb)).toBe(true)
  })

  it('gives up the memory at once where its pages went back before', () => {
    source.detach(wrap(0, 5).buffer, true)
    expect(source.residentBytes()).toBe(0)
  })

  it('throws where the runtime refuses, and leaves the buffer as it is', async () => {
    const { markAsUntransferable } = await import('node:worker_threads')
    const bytes = wrap(0, 1).fill(3)
    markAsUntransferable(bytes.buffer)
    let isRefused = false
    try {
      source.detach(bytes.buffer)
    } catch {
      isRefused = true
    }
    // Node 22 and 24 know no mark here.
    expect(isRefused).toBe(bytes.length > 0)
    expect(source.residentBytes()).toBe(PAGE)
    source.check()
  })
})

describe('isWrapped', () => {
  it('is false once the buffer is detached, taken away or collected', async () => {
    const gone = source.wrap(0, PAGE)
    source.detach(gone.buffer)
    const taken = source.wrap(PAGE, PAGE)
    structuredClone(taken.buffer, { transfer: [taken.buffer] })
    const held = source.wrap(2 * PAGE, PAGE)
    expect([gone, taken, held].map(({ wrapId }) => source.isWrapped(wrapId))).toEqual([false, false, true])
    expect(source.residentBytes()).toBe(2 * PAGE)
    source.check()
  })
})

describe('firstOther', () => {
  it('finds the lowest byte over all buffers, long and short ones, across strides', () => {
    const [first, second] = [wrap(200, 400), wrap(300, 10)]
    expect(source.firstOther(200 * PAGE, 400 * PAGE, 0)).toBe(-1)
    first[350 * PAGE] = 1
    expect(source.firstOther(200 * PAGE, 400 * PAGE, 0)).toBe(350 * PAGE)
    second[7] = 1
    expect(source.firstOther(200 * PAGE, 400 * PAGE, 0)).toBe(100 * PAGE + 7)
  })
})
