import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { Forgotten } from '../../src/buffers/forgotten.js'
import type { Wrap } from '../../src/memory/page-source.js'
import type { WrapId } from '../../src/memory/runtime.js'
import type { Segment } from '../../src/memory/segment.js'
import type { OwnSegment } from '../../src/memory/segment-source.js'
import { FakeSource } from '../support/fake-source.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { collect, giveBack, takeAway } from '../support/taking.js'
import { turns } from '../support/world.js'

/** Where the windows of the tests begin, and blocks in them. */
const [FIRST, SECOND] = [0, MIB]
const [A, B, C] = [16, MIB / 16 + 16, (3 * MIB) / 16]
/** Buffers that one window may have given up. */
const MOST = 4

let kernel: FaultyKernel
let source: FakeSource
let forgotten: Forgotten
let segment: Segment

beforeEach(() => {
  kernel = new FaultyKernel()
  source = new FakeSource(kernel)
  forgotten = new Forgotten(source)
  segment = source.reserve((4 * MIB) / source.pageBytes)
})

afterEach(() => {
  kernel.allow()
  source.close()
})

/** Gives up a buffer over a window. */
function holdWindow(startBytes: number): Wrap {
  const wrap = source.wrap(startBytes, MIB)
  forgotten.hold(wrap.wrapId, wrap.buffer, startBytes, true)
  return wrap
}

/** Gives up the buffer that a block has to itself. */
function holdOwn(block: number): Wrap {
  const wrap = source.wrap(block * 16, 100_000)
  forgotten.add(block, wrap.wrapId, false)
  forgotten.hold(wrap.wrapId, wrap.buffer, block * 16, false)
  return wrap
}

/** The blocks that need not wait any more: each, whether it lies in a window, and what reaches it. */
function settled(): [block: number, isShared: boolean, reachedBy: WrapId | null][] {
  const ended: [number, boolean, WrapId | null][] = []
  forgotten.endUnseen((...one) => ended.push(one))
  forgotten.check()
  return ended
}

async function end({ buffer }: Wrap): Promise<void> {
  source.detach(buffer)
  await turns()
}

describe('a block that waits', () => {
  it('waits while its buffer is there, and ends once when that is gone', async () => {
    const wrap = holdWindow(FIRST)
    forgotten.add(A, wrap.wrapId, true)
    expect([forgotten.size, forgotten.sharedBlocks, forgotten.has(A), forgotten.has(B)]).toEqual([
      1,
      1,
      true,
      false,
    ])
    expect(settled()).toEqual([])
    expect(forgotten.isHeld(wrap.wrapId)).toBe(true)
    await end(wrap)
    expect(settled()).toEqual([[A, true, null]])
    expect([forgotten.size, forgotten.sharedBlocks, forgotten.has(A)]).toEqual([0, 0, false])
    expect(settled()).toEqual([])
  })

  it('waits with all others of its window, and with no block of another', async () => {
    const [first, second] = [holdWindow(FIRST), holdWindow(SECOND)]
    forgotten.add(A, first.wrapId, true)
    forgotten.add(A + 16, first.wrapId, true)
    forgotten.add(B, second.wrapId, true)
    await end(first)
    expect(settled()).toEqual([
      [A, true, null],
      [A + 16, true, null],
    ])
    expect(forgotten.sharedBlocks).toBe(1)
    await end(second)
    expect(settled()).toEqual([[B, true, null]])
  })

  it('waits for a buffer that its window has yet to give up', async () => {
    const wrap = source.wrap(FIRST, MIB)
    forgotten.add(A, wrap.wrapId, true)
    expect([...forgotten.unheld()]).toEqual([[A, wrap.wrapId]])
    expect(settled()).toEqual([])
    forgotten.hold(wrap.wrapId, wrap.buffer, FIRST, true)
    expect([...forgotten.unheld()]).toEqual([])
    await end(wrap)
    expect(settled()).toEqual([[A, true, null]])
  })

  it('with a buffer of its own is in no window', async () => {
    const other = source.wrap(C * 16 + 16, 100)
    forgotten.add(C + 1, other.wrapId, false)
    expect([...forgotten.unheld()]).toEqual([])
    const wrap = holdOwn(C)
    expect([forgotten.size, forgotten.sharedBlocks, [...forgotten.unheld()]]).toEqual([2, 0, []])
    await end(wrap)
    expect(settled()).toEqual([[C, false, null]])
    // It lives until here: the collector must not take it before.
    expect(other.buffer.byteLength).toBe(100)
  })

  it('says what still reaches it when its own buffer is gone', async () => {
    const [older, wrap] = [source.wrap(C * 16, 100), source.wrap(C * 16, 100)]
    forgotten.add(C, wrap.wrapId, false, older.wrapId)
    forgotten.hold(wrap.wrapId, wrap.buffer, C * 16, false)
    await end(wrap)
    expect(settled()).toEqual([[C, false, older.wrapId]])
    const next = source.wrap(C * 16, 100)
    forgotten.add(C, next.wrapId, false, older.wrapId)
    forgotten.hold(next.wrapId, next.buffer, C * 16, false)
    await end(older)
    await end(next)
    expect(settled()).toEqual([[C, false, null]])
  })

  it('waits beyond the collection of a buffer that somebody took, for the finalizer', async () => {
    const wrap = holdOwn(C)
    const taken = await takeAway(wrap.buffer)
    await collect()
    expect(settled()).toEqual([])
    taken.slice(0, 1)
    await giveBack(taken, kernel)
    expect(settled()).toEqual([[C, false, null]])
  })
})

describe('a buffer that was given up', () => {
  it('is held weakly, and says when it was collected', async () => {
    let told = 0
    forgotten.onCollected = () => told++
    const wrapId = (() => {
      const wrap = holdWindow(FIRST)
      forgotten.add(A, wrap.wrapId, true)
      return wrap.wrapId
    })()
    await collect()
    expect([told, forgotten.collectedCount, source.isWrapped(wrapId)]).toEqual([1, 1, false])
    expect([forgotten.holds(new ArrayBuffer(1)), forgotten.startOf(new ArrayBuffer(1))]).toEqual([
      false,
      NONE,
    ])
    expect(settled()).toEqual([[A, true, null]])
    expect([forgotten.collectedCount, forgotten.isHeld(wrapId)]).toEqual([0, false])
  })

  it('is counted once however often its collection is told, and only while it is held', async () => {
    const wrap = holdWindow(FIRST)
    forgotten.collected(wrap.wrapId + 1)
    expect(forgotten.collectedCount).toBe(0)
    forgotten.collected(wrap.wrapId)
    forgotten.collected(wrap.wrapId)
    expect(forgotten.collectedCount).toBe(1)
    await end(wrap)
    settled()
    forgotten.collected(wrap.wrapId)
    expect(forgotten.collectedCount).toBe(0)
  })

  it('is known by itself, and a window by where it begins', () => {
    const [window, own] = [holdWindow(SECOND), holdOwn(C)]
    const other = new ArrayBuffer(8)
    expect([window.buffer, own.buffer, other].map(buffer => forgotten.holds(buffer))).toEqual([
      true,
      true,
      false,
    ])
    expect([window.buffer, own.buffer, other].map(buffer => forgotten.startOf(buffer))).toEqual([
      SECOND,
      NONE,
      NONE,
    ])
    expect([window.wrapId, own.wrapId, 0].map(wrapId => forgotten.isHeld(wrapId))).toEqual([
      true,
      true,
      false,
    ])
    expect(forgotten.reaches).toEqual([
      { startBytes: SECOND, wrapId: window.wrapId },
      { startBytes: C * 16, wrapId: own.wrapId },
    ])
  })

  it('is one of a few of its window, until it is gone', async () => {
    const wraps = Array.from({ length: MOST }, (_, held) => {
      expect(forgotten.hasRoom(FIRST)).toBe(true)
      forgotten.check()
      expect(forgotten.reaches.length).toBe(held)
      return holdWindow(FIRST)
    })
    forgotten.check()
    expect([forgotten.hasRoom(FIRST), forgotten.hasRoom(SECOND)]).toEqual([false, true])
    await end(wraps[2])
    expect(settled()).toEqual([])
    expect(forgotten.hasRoom(FIRST)).toBe(true)
    for (const at of [0, 1, 3]) await end(wraps[at])
    settled()
    expect(forgotten.reaches).toEqual([])
  })

  it('of a block does not count where its window begins', () => {
    for (let i = 0; i < MOST + 1; i++) holdOwn(FIRST)
    expect(forgotten.hasRoom(FIRST)).toBe(true)
    forgotten.check()
  })
})

describe('noticeTaken', () => {
  it('tells of windows that somebody took, and marks the segment', async () => {
    const [first, second, own] = [holdWindow(FIRST), holdWindow(SECOND), holdOwn(C)]
    const taken: [number, WrapId][] = []
    const notice = () => forgotten.noticeTaken((startBytes, wrapId) => taken.push([startBytes, wrapId]))
    notice()
    expect([taken, segment.isKeptForGood]).toEqual([[], false])
    await takeAway(own.buffer)
    notice()
    expect([taken, segment.isKeptForGood]).toEqual([[], true])
    await takeAway(second.buffer)
    notice()
    expect(taken).toEqual([[SECOND, second.wrapId]])
    forgotten.check()
    expect(first.buffer.byteLength).toBe(MIB)
  })
})

describe('removeRange', () => {
  it('detaches the buffers that begin in it, and no others', () => {
    const wraps = [holdWindow(FIRST), holdWindow(SECOND), holdWindow(2 * MIB)]
    forgotten.removeRange(SECOND, 2 * MIB)
    expect(wraps.map(({ buffer }) => buffer.byteLength)).toEqual([MIB, 0, MIB])
    expect(wraps.map(({ wrapId }) => forgotten.isHeld(wrapId))).toEqual([true, false, true])
    expect(segment.isKeptForGood).toBe(false)
    forgotten.check()
  })

  it('marks the segment where somebody took one, or the runtime refuses', async () => {
    const taken = holdWindow(FIRST)
    await takeAway(taken.buffer)
    forgotten.removeRange(0, MIB)
    expect([segment.isKeptForGood, forgotten.isHeld(taken.wrapId)]).toEqual([true, false])
    ;(segment as OwnSegment).isKeptForGood = false
    const refused = holdWindow(SECOND)
    kernel.refuse('detach')
    forgotten.removeRange(MIB, 2 * MIB)
    expect([segment.isKeptForGood, refused.buffer.byteLength]).toEqual([true, MIB])
    forgotten.check()
  })
})

describe('clear', () => {
  interface Cleared {
    taken: [number, WrapId][]
    reached: [number, WrapId][]
  }

  function clear(staying: number[] = []): Cleared {
    const cleared: Cleared = { taken: [], reached: [] }
    forgotten.clear(
      new Set(staying),
      (startBytes, wrapId) => cleared.taken.push([startBytes, wrapId]),
      (block, wrapId) => cleared.reached.push([block, wrapId]),
    )
    forgotten.check()
    return cleared
  }

  it('detaches all, but for the windows of blocks that stay', () => {
    const wraps = [holdWindow(FIRST), holdWindow(SECOND), holdOwn(C)]
    forgotten.add(A, wraps[0].wrapId, true)
    forgotten.add(B, wraps[1].wrapId, true)
    expect(clear([SECOND])).toEqual({ taken: [], reached: [] })
    expect(wraps.map(({ buffer }) => buffer.byteLength)).toEqual([0, MIB, 0])
    expect([forgotten.size, forgotten.sharedBlocks, forgotten.reaches.length]).toEqual([0, 0, 1])
    expect(segment.isKeptForGood).toBe(false)
  })

  it('detaches the buffer of a block that begins where a window stays', () => {
    const own = holdOwn(SECOND / 16)
    clear([SECOND])
    expect(own.buffer.byteLength).toBe(0)
  })

  it('tells of windows that are taken, and of blocks that are reached by their own', async () => {
    const wraps = [holdWindow(FIRST), holdWindow(SECOND), holdOwn(C), holdOwn(C + 16_384)]
    forgotten.add(A, wraps[0].wrapId, true)
    await takeAway(wraps[0].buffer)
    await takeAway(wraps[2].buffer)
    expect(clear()).toEqual({ taken: [[FIRST, wraps[0].wrapId]], reached: [[C, wraps[2].wrapId]] })
    expect([segment.isKeptForGood, forgotten.size, forgotten.reaches]).toEqual([true, 0, []])
  })

  it('tells of blocks that are reached by a buffer from before', async () => {
    const older = source.wrap(C * 16, 100)
    const wrap = source.wrap(C * 16, 100)
    forgotten.add(C, wrap.wrapId, false, older.wrapId)
    forgotten.hold(wrap.wrapId, wrap.buffer, C * 16, false)
    expect(clear()).toEqual({ taken: [], reached: [[C, older.wrapId]] })
    expect([older.buffer.byteLength, wrap.buffer.byteLength]).toEqual([100, 0])
    const next = source.wrap(C * 16, 100)
    forgotten.add(C, next.wrapId, false, older.wrapId)
    forgotten.hold(next.wrapId, next.buffer, C * 16, false)
    await end(older)
    expect(clear()).toEqual({ taken: [], reached: [] })
  })
})

describe('check', () => {
  it('says when a buffer lies over memory that is not wrapped', () => {
    const { buffer } = source.wrap(FIRST, MIB)
    forgotten.hold(2 ** 50, buffer, FIRST, true)
    expect(() => forgotten.check()).toThrow('1: the memory of a buffer is wrapped')
  })

  it('says when a window gave up more than a few', () => {
    const wraps = Array.from({ length: MOST + 1 }, () => holdWindow(FIRST))
    expect(() => forgotten.check()).toThrow('2: a few of each window')
    expect(wraps.length).toBe(MOST + 1)
  })
})
