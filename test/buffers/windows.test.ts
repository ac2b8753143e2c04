import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { type Epoch, isOwner, sizeOf, blockOf as stampOf } from '../../src/buffers/owner.js'
import { transferRefusal } from '../../src/buffers/transfer-refusal.js'
import { WINDOW_OVERLAP_BYTES, WINDOW_STRIDE_BYTES, Windows } from '../../src/buffers/windows.js'
import type { Segment } from '../../src/memory/segment.js'
import { FakeSource } from '../support/fake-source.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { fuzzSeed } from '../support/random.js'
import { giveBack, takeAway } from '../support/taking.js'
import { thrownBy, turns } from '../support/world.js'

const EPOCH: Epoch = { arena: { name: 'subject' } }
const STRIDE = WINDOW_STRIDE_BYTES
const REACH = WINDOW_STRIDE_BYTES + WINDOW_OVERLAP_BYTES

let kernel: FaultyKernel
let source: FakeSource
let windows: Windows
let segment: Segment
let pagesOf: (bytes: number) => number

beforeEach(() => {
  kernel = new FaultyKernel()
  source = new FakeSource(kernel)
  windows = new Windows(source, transferRefusal('subject'))
  pagesOf = bytes => bytes / source.pageBytes
  segment = source.reserve(pagesOf(4 * MIB))
  windows.addSegment(segment)
})

afterEach(() => {
  kernel.allow()
  source.close()
})

/** The block that starts at that byte. */
const at = (offsetBytes: number): number => offsetBytes / 16

/** A block's owner, in a window that is wrapped if it has to be. */
function enter(block: number, sizeBytes = 100): Buffer {
  const owner = windows.makeOwner(block, sizeBytes, EPOCH)
  if (owner !== null) return owner
  windows.open(block)
  return windows.makeOwner(block, sizeBytes, EPOCH) as Buffer
}

/** Drops whatever window is idle. */
const dropAll = (): void => windows.dropIdle(() => true)

/** Somebody takes the window's buffer away, and we meet that. */
async function lose(block: number): Promise<ArrayBuffer> {
  const taken = await takeAway(enter(block).buffer as ArrayBuffer)
  windows.lose(block)
  return taken
}

describe('a window', () => {
  it('is not there until it is opened', () => {
    expect(windows.makeOwner(at(48), 100, EPOCH)).toBe(null)
    expect([windows.wrapIdOf(at(48)), windows.isTaken(at(48)), windows.idleCount]).toEqual([0, false, 0])
    windows.check(0)
    windows.open(at(48))
    expect(windows.idleCount).toBe(1)
    expect(source.isWrapped(windows.wrapIdOf(at(48)))).toBe(true)
    windows.check(0)
  })

  it('lies over its stride and the longest block behind it', () => {
    const owner = enter(at(STRIDE + 32))
    expect(owner.buffer.byteLength).toBe(REACH)
    expect(kernel.placeOf(owner).offsetBytes).toBe(STRIDE + 32)
    expect([windows.startOf(owner.buffer), windows.has(owner.buffer)]).toEqual([STRIDE, true])
  })

  it('ends where its segment may be wrapped to', () => {
    expect(enter(at(3 * STRIDE)).buffer.byteLength).toBe(STRIDE)
    const other = source.reserve(pagesOf(MIB / 2))
    windows.addSegment(other)
    expect(enter(at(other.firstPage * source.pageBytes)).buffer.byteLength).toBe(MIB / 2)
  })

  it('serves the blocks that start in it, each at its bytes and with its stamp', () => {
    const last = enter(at(2 * STRIDE - 16), 65_536)
    const first = enter(at(STRIDE), 1)
    expect(last.buffer).toBe(first.buffer)
    expect([first.byteOffset, first.length, last.byteOffset, last.length]).toEqual([
      0,
      1,
      STRIDE - 16,
      65_536,
    ])
    if (!isOwner(last)) throw new Error('an owner')
    expect([stampOf(last), sizeOf(last)]).toEqual([at(2 * STRIDE - 16), 65_536])
    expect(enter(at(2 * STRIDE)).buffer).not.toBe(first.buffer)
    expect(kernel.counts.wrap).toBe(3)
    windows.check(3)
  })

  it('has the methods hidden that would take it away', () => {
    const refused: ArrayBuffer[] = []
    windows = new Windows(source, buffer => refused.push(buffer))
    windows.addSegment(segment)
    const owners = [enter(0), enter(16), enter(at(STRIDE))]
    expect(refused).toEqual([owners[0].buffer, owners[2].buffer])
  })

  it('stays unopened where the source cannot wrap it', () => {
    kernel.refuse('wrap')
    expect(thrownBy(() => windows.open(0))).toBeInstanceOf(RangeError)
    kernel.allow()
    windows.check(0)
    expect([windows.makeOwner(0, 100, EPOCH), windows.idleCount]).toEqual([null, 0])
    expect(enter(0).length).toBe(100)
  })

  it('keeps what is known of it when room is made for those of another segment', () => {
    const owner = enter(at(STRIDE))
    for (let i = 0; i < 5; i++) windows.addSegment(source.reserve(pagesOf(8 * MIB)))
    windows.check(1)
    expect(windows.startOf(owner.buffer)).toBe(STRIDE)
    windows.leave(at(STRIDE))
    expect(windows.idleCount).toBe(1)
  })

  it('knows no other buffer', () => {
    enter(0)
    const other = new ArrayBuffer(REACH)
    expect([windows.has(other), windows.startOf(other)]).toEqual([false, NONE])
  })
})

describe('leave', () => {
  it('makes a window idle with its last block, and the next one makes it busy again', () => {
    enter(0)
    enter(16)
    windows.leave(0)
    expect(windows.idleCount).toBe(0)
    windows.leave(16)
    expect(windows.idleCount).toBe(1)
    windows.check(0)
    enter(32)
    expect(windows.idleCount).toBe(0)
    windows.check(1)
  })
})

describe('detach', () => {
  it('leaves a window that can be wrapped again', () => {
    const owner = enter(at(STRIDE)).fill(3)
    expect(windows.bufferOf(at(STRIDE))).toBe(owner.buffer)
    expect(windows.detach(at(STRIDE))).toBe(true)
    expect([owner.length, windows.bufferOf(at(STRIDE)), windows.lostCount]).toEqual([0, null, 0])
    windows.check(1)
    expect(enter(at(STRIDE))[0]).toBe(3)
    windows.check(2)
  })

  it('changes nothing where the runtime refuses', () => {
    const owner = enter(at(STRIDE))
    kernel.failNth('detach', 1)
    expect(windows.detach(at(STRIDE))).toBe(false)
    expect([owner.length, windows.bufferOf(at(STRIDE)) === owner.buffer, windows.lostCount]).toEqual([
      100,
      true,
      0,
    ])
    windows.check(1)
  })
})

describe('isLost', () => {
  it('is about the window of a block, not about what it reaches', async () => {
    const taken = await lose(at(STRIDE))
    const lost = [0, STRIDE, STRIDE + 16, 2 * STRIDE].map(offset => windows.isLost(at(offset)))
    expect(lost).toEqual([false, true, true, false])
    await giveBack(taken, kernel)
    windows.recover()
    expect(windows.isLost(at(STRIDE))).toBe(false)
  })
})

describe('dropIdle', () => {
  it('drops idle windows whose pages are cold, and no others', () => {
    const owners = [0, 1, 2, 3].map(window => enter(at(window * STRIDE)))
    for (const window of [0, 1, 3]) windows.leave(at(window * STRIDE))
    const asked: number[][] = []
    windows.dropIdle((firstPage, pageCount) => {
      asked.push([firstPage, pageCount])
      return firstPage !== pagesOf(STRIDE)
    })
    const stridePages = pagesOf(STRIDE)
    expect(asked).toEqual([
      [0, stridePages],
      [stridePages, stridePages],
      [3 * stridePages, stridePages],
    ])
    expect(owners.map(owner => owner.length)).toEqual([0, 100, 100, 0])
    expect([windows.idleCount, windows.lostCount]).toEqual([1, 0])
    windows.check(1)
    expect(enter(0).length).toBe(100)
    windows.check(2)
  })

  it('asks of nothing where none is idle', () => {
    enter(0)
    windows.dropIdle(() => {
      throw new Error('nothing to ask of')
    })
  })

  it('loses a window that the runtime does not detach, until its buffer is gone', async () => {
    const owner = enter(at(STRIDE))
    windows.leave(at(STRIDE))
    kernel.refuse('detach')
    dropAll()
    kernel.allow()
    expect([owner.length, windows.lostCount, windows.idleCount]).toEqual([100, 1, 0])
    expect(segment.isKeptForGood).toBe(true)
    windows.check(0)
    windows.recover()
    expect(windows.lostCount).toBe(1)
    await giveBack(owner.buffer as ArrayBuffer, kernel)
    windows.recover()
    expect(windows.lostCount).toBe(0)
  })
})

describe('a window that somebody took', () => {
  it('gives no owner any more, and says so', async () => {
    const { buffer } = enter(0)
    expect(windows.isTaken(0)).toBe(false)
    await takeAway(buffer as ArrayBuffer)
    expect(windows.isTaken(0)).toBe(true)
    expect(thrownBy(() => windows.makeOwner(16, 100, EPOCH))).toBeInstanceOf(TypeError)
    windows.check(1)
  })

  it('is lost, while what lives there can still leave', async () => {
    enter(16)
    await lose(0)
    expect([windows.wrapIdOf(0), windows.isTaken(0), windows.lostCount]).toEqual([0, false, 1])
    expect(segment.isKeptForGood).toBe(true)
    windows.check(2)
    windows.leave(0)
    windows.leave(16)
    windows.check(0)
    expect(windows.idleCount).toBe(0)
  })

  it('keeps out what reaches into its bytes: its stride and the overlap', async () => {
    const block = at(STRIDE)
    enter(block)
    const wrapId = windows.wrapIdOf(block)
    await lose(block)
    const over = (offsetBytes: number, sizeBytes: number) => windows.lostWrapOver(at(offsetBytes), sizeBytes)
    expect([over(STRIDE - 16, 16), over(STRIDE - 16, 17)]).toEqual([null, wrapId])
    expect([over(0, STRIDE), over(0, 3 * STRIDE)]).toEqual([null, wrapId])
    expect([over(STRIDE, 1), over(STRIDE + REACH - 16, 1)]).toEqual([wrapId, wrapId])
    expect(over(STRIDE + REACH, 100)).toBe(null)
  })

  it('is a window like any other once the finalizer of its buffer ran', async () => {
    const taken = await lose(0)
    windows.recover()
    expect(windows.lostCount).toBe(1)
    windows.leave(0)
    await giveBack(taken, kernel)
    windows.recover()
    expect([windows.lostCount, windows.lostWrapOver(0, 100)]).toEqual([0, null])
    expect(enter(0).length).toBe(100)
    windows.check(1)
  })

  it('is found without being met', async () => {
    const owners = [0, STRIDE, 2 * STRIDE].map(offset => enter(at(offset)))
    await takeAway(owners[1].buffer as ArrayBuffer)
    windows.noticeTaken()
    expect([windows.lostCount, windows.wrapIdOf(at(STRIDE))]).toEqual([1, 0])
    expect(windows.lostWrapOver(at(STRIDE), 1)).not.toBe(null)
    windows.check(3)
    windows.noticeTaken()
    expect(windows.lostCount).toBe(1)
  })

  it('is lost when it would be dropped', async () => {
    const { buffer } = enter(0)
    windows.leave(0)
    await takeAway(buffer as ArrayBuffer)
    dropAll()
    expect([windows.lostCount, windows.idleCount, segment.isKeptForGood]).toEqual([1, 0, true])
    windows.check(0)
  })
})

describe('a buffer that is given up', () => {
  it('lives on with its views, and the window is wrapped anew beside it', () => {
    const old = enter(at(STRIDE + 16)).fill(5)
    const wrapId = windows.wrapIdOf(at(STRIDE))
    expect(windows.giveUp(at(STRIDE))).toEqual({ buffer: old.buffer, wrapId, startBytes: STRIDE })
    windows.check(1)
    expect([windows.wrapIdOf(at(STRIDE)), windows.has(old.buffer), windows.idleCount]).toEqual([0, false, 0])
    const fresh = enter(at(STRIDE + 256)).fill(6)
    expect(fresh.buffer).not.toBe(old.buffer)
    expect([old.length, old[0], fresh[0]]).toEqual([100, 5, 6])
    windows.check(2)
    windows.leave(at(STRIDE + 16))
    windows.leave(at(STRIDE + 256))
    dropAll()
    expect([old.length, fresh.length]).toEqual([100, 0])
    expect(segment.isKeptForGood).toBe(false)
  })

  it('of an idle window leaves none behind that is idle', () => {
    enter(0)
    windows.leave(0)
    windows.giveUp(0)
    expect(windows.idleCount).toBe(0)
    windows.check(0)
    dropAll()
  })

  it('keeps others out where somebody else may reach it', async () => {
    const owner = enter(at(STRIDE))
    const { buffer, wrapId, startBytes } = windows.giveUp(at(STRIDE))
    windows.loseGivenUp(startBytes, wrapId)
    expect([windows.lostCount, windows.lostWrapOver(at(STRIDE + 100 * 16), 16)]).toEqual([1, wrapId])
    expect(owner.length).toBe(100)
    await giveBack(buffer, kernel)
    windows.recover()
    expect(windows.lostCount).toBe(0)
  })
})

describe('reaches', () => {
  it('are the windows that are wrapped, and those that are lost', async () => {
    expect(windows.reaches).toEqual([])
    enter(0)
    const wrapId = windows.wrapIdOf(0)
    enter(at(2 * STRIDE))
    const lostId = windows.wrapIdOf(at(2 * STRIDE))
    await lose(at(2 * STRIDE))
    enter(at(3 * STRIDE))
    windows.giveUp(at(3 * STRIDE))
    expect(windows.reaches).toEqual([
      { startBytes: 0, wrapId },
      { startBytes: 2 * STRIDE, wrapId: lostId },
    ])
  })
})

describe('removeSegment', () => {
  it('detaches the windows of that segment, idle or not, and of no other', async () => {
    const other = source.reserve(pagesOf(2 * MIB))
    windows.addSegment(other)
    const start = other.firstPage * source.pageBytes
    const kept = enter(at(start))
    const gone = [enter(0), enter(at(3 * STRIDE))]
    for (const block of [0, at(3 * STRIDE)]) windows.leave(block)
    await lose(at(STRIDE))
    windows.leave(at(STRIDE))
    windows.removeSegment(segment)
    expect([kept.length, ...gone.map(owner => owner.length)]).toEqual([100, 0, 0])
    expect([windows.lostCount, windows.idleCount]).toEqual([0, 0])
    windows.check(1)
    windows.leave(at(start))
    windows.removeSegment(other)
    expect(kept.length).toBe(0)
    windows.check(0)
  })
})

describe('clear', () => {
  it('detaches the windows in which nothing stays, and counts what does', () => {
    const blocks = [0, 160, STRIDE, 2 * STRIDE + 16].map(at)
    const owners = blocks.map(block => enter(block))
    windows.clear([blocks[1]])
    expect(owners.map(owner => owner.length)).toEqual([100, 100, 0, 0])
    windows.check(1)
    expect(windows.idleCount).toBe(0)
    windows.leave(blocks[1])
    expect(windows.idleCount).toBe(1)
    windows.check(0)
  })

  it('drops idle ones too', () => {
    const owner = enter(0)
    windows.leave(0)
    windows.clear([])
    expect([owner.length, windows.idleCount]).toEqual([0, 0])
    windows.check(0)
  })

  it('loses the window of what stays where somebody took it', async () => {
    const { buffer } = enter(0)
    await takeAway(buffer as ArrayBuffer)
    windows.clear([0])
    expect(windows.lostCount).toBe(1)
    windows.check(1)
    windows.leave(0)
    windows.check(0)
  })
})

describe('check', () => {
  it('says when a block left that never came, and when one is missing', () => {
    enter(0)
    windows.check(1)
    expect(() => windows.check(2)).toThrow('2: windows count 1 blocks of 2')
    windows.leave(0)
    windows.leave(0)
    expect(() => windows.check(0)).toThrow('2: window 0 counts its blocks')
  })
})

describe('whatever comes, leaves, is given up or dropped', () => {
  it('windows are as a plain count of blocks says', async () => {
    const block = fc.integer({ min: 0, max: 3 }).map(window => at(window * STRIDE))
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ do: fc.constant('enter' as const), block }) },
      { weight: 5, arbitrary: fc.record({ do: fc.constant('leave' as const), block }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('giveUp' as const), block }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('drop' as const), block }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const), block }) },
    )
    await fc.assert(
      // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: a model beside each kind of step, read together
      fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async steps => {
        windows = new Windows(source, transferRefusal('subject'))
        windows.addSegment(segment)
        /** Owners that live, by their windows' blocks; and whether the window is wrapped. */
        const live = new Map<number, Buffer[]>()
        const wrapped = new Set<number>()
        const of = (key: number) => live.get(key) ?? []
        for (const { do: what, block: key } of steps) {
          if (what === 'enter') {
            live.set(key, [...of(key), enter(key)])
            wrapped.add(key)
          } else if (what === 'leave' && of(key).length > 0) {
            of(key).pop()
            windows.leave(key)
          } else if (what === 'giveUp' && wrapped.delete(key)) {
            windows.giveUp(key)
          } else if (what === 'drop') {
            dropAll()
            for (const one of wrapped) if (of(one).length === 0) wrapped.delete(one)
          } else if (what === 'clear') {
            windows.clear(of(key).length > 0 ? [key] : [])
            for (const other of live.keys()) if (other !== key) live.delete(other)
            if (of(key).length > 1) live.set(key, of(key).slice(0, 1))
            for (const one of wrapped) if (of(one).length === 0) wrapped.delete(one)
          }
          const all = [...live.values()].flat()
          windows.check(all.length)
          expect(windows.idleCount).toBe([...wrapped].filter(one => of(one).length === 0).length)
          expect(all.every(owner => owner.length === 100)).toBe(true)
          expect(windows.reaches.length).toBe(wrapped.size)
        }
        windows.clear([])
        await turns(1)
      }),
      { numRuns: 40, seed: fuzzSeed() | 0 },
    )
  })
})
