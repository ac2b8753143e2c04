import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { KIB, MIB } from '../../../src/base/units.js'
import { hasNoBreak } from '../../support/break.js'
import { collect, giveBack, takeAway } from '../../support/taking.js'
import { isMarked, isZero, mark, thrownBy, turns } from '../../support/world.js'
import { NO_MEMORY, type Record, RecordWorld } from './record-world.js'

const LONG = 64 * KIB + 1

let world: RecordWorld

afterEach(() => {
  world.close()
})

/** Records of that size, each with a mark of its own. */
function make(count: number, sizeBytes: number): Record[] {
  return Array.from({ length: count }, (_, i) => {
    const record = world.take(sizeBytes)
    mark(world.view(record), i + 1)
    return record
  })
}

function expectMarks(records: readonly Record[]): void {
  const wrong = records.filter((record, i) => !isMarked(world.view(record), i + 1))
  expect(wrong).toEqual([])
}

const SOURCES = hasNoBreak ? (['mmap', 'heap'] as const) : (['mmap', 'sbrk', 'heap'] as const)

describe.each(SOURCES)('records over pages of %s', name => {
  beforeEach(() => {
    world = new RecordWorld(name)
    world.addSegment(8 * MIB)
  })

  it('are seen through views, and read without one', () => {
    const records = [1, 100, 4 * KIB, 64 * KIB, LONG, 3 * MIB].map(sizeBytes => world.take(sizeBytes))
    for (const [i, record] of records.entries()) mark(world.view(record), i + 1)
    for (const [i, record] of records.entries()) {
      const view = world.view(record)
      expect([view.length, Buffer.isBuffer(view), isMarked(view, i + 1)]).toEqual([
        record.sizeBytes,
        true,
        true,
      ])
      expect(world.readByte(record)).toBe(view[0])
      const last = record.sizeBytes - 1
      expect(world.readByte(record, last)).toBe(view[last])
    }
    for (const record of records) world.end(record)
    world.check()
    expect(world.heap.liveBlocks).toBe(0)
  })

  it('share windows up to 64 KiB, and above have an ArrayBuffer of their own', () => {
    const [first, second] = make(2, 64 * KIB)
    expect(world.view(first).buffer).toBe(world.view(second).buffer)
    const long = world.take(LONG)
    expect(world.view(long).buffer.byteLength).toBe(LONG)
    expect(world.view(long).buffer).toBe(world.view(long).buffer)
    const view = world.view(long)
    world.end(long)
    expect(view.length).toBe(0)
  })

  it('refuse that a view is transferred', () => {
    if (!('transfer' in ArrayBuffer.prototype)) {
      console.warn('skipped: this Node has no ArrayBuffer.prototype.transfer')
      return
    }
    for (const sizeBytes of [100, LONG]) {
      const view = world.view(world.take(sizeBytes))
      const error = thrownBy(() => (view.buffer as unknown as { transfer(): void }).transfer())
      expect([error?.code, error?.message]).toEqual([
        'ERR_ARENA_NOT_TRANSFERABLE',
        expect.stringContaining("store 'subject': transfer()"),
      ])
      expect(view.length).toBe(sizeBytes)
    }
  })

  it('move with their bytes, and views of before have length 0', () => {
    const records = make(500, 1_000)
    const views = records.map(record => world.view(record))
    expect(world.moveAll(records)).toBe(500)
    expect(views.filter(view => view.length > 0)).toEqual([])
    expectMarks(records)
    world.check()
  })

  it('that nobody looked at move too, and detach nothing that was not given out', () => {
    const record = world.take(100)
    world.buffers.dataOf(record.block, 100).setUint8(world.buffers.offsetIn(record.block, 100), 7)
    const before = world.kernel.counts.detach
    world.moveAll([record])
    expect(world.readByte(record)).toBe(7)
    expect(world.kernel.counts.detach).toBe(before)
  })

  it('leave views in other windows alone when they move', () => {
    // Blocks of 64 KiB lie one behind the other, sixteen in a window. The only gaps are in the middle of a window, and above
    // all of them.
    const records = make(64, 64 * KIB)
    const moving = records[0]
    for (const record of records.slice(40, 44)) world.end(record)
    const others = records.slice(17, 31).map(record => world.view(record))
    const stale = world.view(moving)
    world.moveAll([moving])
    expect(stale.length).toBe(0)
    expect(others.every(view => view.length === 64 * KIB)).toBe(true)
    expect(isMarked(world.view(moving), 1)).toBe(true)
  })

  it('detach a window that reaches into the one where a record went', () => {
    const records = make(18, 64 * KIB)
    const offsets = records.map(({ block }) => (block * 16) % MIB)
    // The last record of a window begins so late that the overlap has its end.
    const spanning = world.take(60 * KIB)
    expect(offsets).toContain(0)
    const straddler = records.find(({ block }) => (block * 16) % MIB > MIB - 64 * KIB) ?? records[15]
    const stale = world.view(straddler)
    world.buffers.noteMoved(spanning.block, (Math.floor((straddler.block * 16) / MIB) + 1) * (MIB / 16), 16)
    world.buffers.detachMoved()
    expect(stale.length).toBe(0)
    expectMarks(records)
  })

  it('keep their bytes when windows are detached and pages around them go back', () => {
    const records = make(2_000, 700)
    const kept = records.filter((_, i) => i % 9 === 0)
    const marks = kept.map(record => records.indexOf(record) + 1)
    for (const record of records) if (!kept.includes(record)) world.end(record)
    world.purgeAll()
    world.buffers.dropIdle()
    for (let i = 0; i < 3; i++) {
      for (const record of kept) world.view(record)
      world.moveAll(kept)
      world.purgeAll()
      world.buffers.dropIdle()
      world.check()
    }
    expect(kept.filter((record, i) => !isMarked(world.view(record), marks[i]))).toEqual([])
  })

  it('leave windows behind that are dropped when their pages went back', () => {
    const records = make(40, 64 * KIB)
    const views = records.map(record => world.view(record))
    for (const record of records.slice(17)) world.end(record)
    expect(world.buffers.hasIdle).toBe(false)
    world.purgeAll()
    expect(world.buffers.hasIdle).toBe(true)
    world.buffers.dropIdle()
    expect(world.buffers.hasIdle).toBe(false)
    expect([views[0].length, views[39].length]).toEqual([64 * KIB, 0])
    expectMarks(records.slice(0, 17))
    expect(isZero(world.view(world.take(64 * KIB)).subarray(0, 4_096))).toBe(true)
  })

  it('end all at once, but for those that are pinned', () => {
    const records = [...make(100, 500), ...make(1, LONG)]
    const views = records.map(record => world.view(record))
    const pinned = [records[3], records[100]]
    const pins = pinned.map(({ block, sizeBytes }) => world.buffers.openPin(block, sizeBytes))
    world.buffers.endAll(new Map(pinned.map(({ block, sizeBytes }) => [block, sizeBytes])))
    for (const record of records) if (!pinned.includes(record)) world.live.delete(record)
    world.check()
    expect(pins.map(({ buffer }) => buffer.length)).toEqual([500, LONG])
    expect([isMarked(pins[0].buffer, 4), isMarked(pins[1].buffer, 1)]).toEqual([true, true])
    if (world.source.sharesMemory) expect(views.filter(view => view.length > 0)).toEqual([])
    for (const [i, { block, sizeBytes }] of pinned.entries())
      world.buffers.closePin(block, sizeBytes, pins[i])
    for (const record of pinned) world.end(record)
    world.check()
    expect(world.heap.liveBlocks).toBe(0)
  })

  it('have windows again after their segment went', () => {
    const other = world.addSegment(2 * MIB)
    const records = make(150, 64 * KIB)
    for (const record of records) world.end(record)
    world.purgeAll()
    world.buffers.removeSegment(other)
    if (name !== 'sbrk') {
      world.heap.removeRange(other.firstPage, other.pageCount)
      world.source.retire(other)
    }
    expectMarks(make(100, 64 * KIB))
    world.check()
  })
})

describe.each(['mmap', 'heap'] as const)('a window of %s that other code took', name => {
  let records: Record[]
  let taken: ArrayBuffer

  beforeEach(async () => {
    world = new RecordWorld(name)
    world.addSegment(4 * MIB)
    records = make(40, 64 * KIB)
    taken = await takeAway(world.view(records[0]).buffer as ArrayBuffer)
  })

  const inTaken = () => records.filter(({ block }) => block * 16 < MIB)
  const outside = () => records.filter(({ block }) => block * 16 >= MIB)

  it('makes its records unreadable, and no others', () => {
    const error = thrownBy(() => world.view(records[0]))
    expect([error?.code, error?.message]).toEqual([
      'ERR_ARENA_DETACHED',
      expect.stringMatching(/^store 'subject': .* Give such code copies of records: copy\(ref\)$/),
    ])
    expect(inTaken().map(record => world.isLost(record))).toEqual(inTaken().map(() => true))
    expect(outside().map(record => world.isLost(record))).toEqual(outside().map(() => false))
    expect(outside().filter(record => !isMarked(world.view(record), records.indexOf(record) + 1))).toEqual([])
    expect(thrownBy(() => world.readByte(records[1]))?.code).toBe('ERR_ARENA_DETACHED')
    const { block, sizeBytes } = records[1]
    expect(thrownBy(() => world.buffers.openPin(block, sizeBytes))?.code).toBe('ERR_ARENA_DETACHED')
    expect(world.buffers.hasLost).toBe(true)
    world.check()
  })

  it('is noticed by an access that throws', async () => {
    const other = outside()[0]
    const data = world.buffers.dataOf(other.block, other.sizeBytes)
    const more = await takeAway(world.view(other).buffer as ArrayBuffer)
    expect(world.buffers.dataOf(other.block, other.sizeBytes)).toBe(data)
    const error = thrownBy(() => data.getUint8(0))
    expect(error).toBeInstanceOf(TypeError)
    expect(world.buffers.faultOf(error, other.block, other.sizeBytes)).toMatchObject({
      code: 'ERR_ARENA_DETACHED',
    })
    expect(thrownBy(() => world.readByte(other))?.code).toBe('ERR_ARENA_DETACHED')
    const range = new RangeError('another one')
    expect(world.buffers.faultOf(range, records[39].block, 64 * KIB)).toBe(range)
    if (world.source.sharesMemory) await giveBack(more, world.kernel)
  })

  it('is found without being met, and sets new blocks aside', () => {
    expect(world.buffers.hasLost).toBe(false)
    world.buffers.noticeTaken()
    expect(world.buffers.hasLost).toBe(true)
    world.end(records[5])
    const next = world.take(64 * KIB)
    expect(next.block * 16).toBeGreaterThanOrEqual(MIB)
    expect([world.buffers.setAsideBlocks, world.buffers.hasIdle]).toEqual([1, true])
    const fixed: number[] = []
    world.buffers.forEachFixed(block => fixed.push(block))
    expect(fixed).toEqual([records[5].block])
    world.check()
  })

  it('is met by a block that was taken just now', () => {
    world.end(records[5])
    const block = world.buffers.take(64 * KIB, 16)
    expect(block).toBe(records[5].block)
    expect(world.buffers.viewNew(block, 64 * KIB)).toBe(null)
    expect(world.buffers.isSetAside(block)).toBe(true)
    const next = world.buffers.take(64 * KIB, 16)
    expect(world.buffers.viewNew(next, 64 * KIB)?.length).toBe(64 * KIB)
    world.buffers.end(next, 64 * KIB)
    world.check()
  })

  if (name === 'mmap') {
    it('shows its records again once the finalizer ran', async () => {
      world.buffers.noticeTaken()
      world.end(records[5])
      world.take(64 * KIB)
      await giveBack(taken, world.kernel)
      expect(world.buffers.hasLost).toBe(true)
      world.buffers.recoverSetAside()
      expect([world.buffers.hasLost, world.buffers.setAsideBlocks]).toEqual([false, 0])
      records[5] = world.take(64 * KIB)
      mark(world.view(records[5]), 6)
      expectMarks(records)
      world.check()
    })

    it('shows its records to a view also before anybody else noticed', async () => {
      world.buffers.noticeTaken()
      await giveBack(taken, world.kernel)
      expectMarks(records)
    })
  } else {
    it('shows its records never again, and is used again when they ended', async () => {
      world.buffers.noticeTaken()
      world.end(records[5])
      world.take(64 * KIB)
      await collect()
      world.buffers.recoverSetAside()
      expect(world.buffers.hasLost).toBe(true)
      expect(thrownBy(() => world.view(records[0]))?.message).toContain('The bytes are gone: free the record')
      for (const record of inTaken()) if (world.live.has(record)) world.end(record)
      world.buffers.recoverSetAside()
      expect([world.buffers.hasLost, world.buffers.setAsideBlocks]).toEqual([false, 0])
      const again = world.take(64 * KIB)
      expect(again.block * 16).toBeLessThan(MIB)
      expect(world.view(again).length).toBe(64 * KIB)
      world.check()
    })
  }
})

describe.each(['mmap', 'heap'] as const)('a long record of %s whose ArrayBuffer other code took', name => {
  it('is lost, and its block waits', async () => {
    world = new RecordWorld(name)
    world.addSegment(4 * MIB)
    const [long, other] = make(2, LONG)
    const data = world.buffers.dataOf(long.block, LONG)
    const taken = await takeAway(world.view(long).buffer as ArrayBuffer)
    expect([world.isLost(long), world.isLost(other)]).toEqual([true, false])
    expect(thrownBy(() => world.view(long))?.code).toBe('ERR_ARENA_DETACHED')
    expect(thrownBy(() => data.getUint8(0))).toBeInstanceOf(TypeError)
    expect(thrownBy(() => world.readByte(long))?.code).toBe('ERR_ARENA_DETACHED')
    expect(world.buffers.mayMove(long.block, LONG)).toBe(false)
    world.check()
    if (world.source.sharesMemory) {
      await giveBack(taken, world.kernel)
      world.buffers.recoverSetAside()
      expect([isMarked(world.view(long), 1), world.isLost(long)]).toEqual([true, false])
      const again = await takeAway(world.view(long).buffer as ArrayBuffer)
      world.end(long)
      expect([world.buffers.setAsideBlocks, world.heap.isLive(long.block)]).toEqual([1, true])
      await giveBack(again, world.kernel)
      world.buffers.recoverSetAside()
    } else {
      world.end(long)
    }
    expect([world.buffers.setAsideBlocks, world.heap.isLive(long.block)]).toEqual([0, false])
    expect(isMarked(world.view(other), 2)).toBe(true)
    world.check()
  })
})

describe('the runtime', () => {
  beforeEach(() => {
    world = new RecordWorld('mmap')
    world.addSegment(4 * MIB)
  })

  it.each([100, LONG])('may refuse to wrap: a record of %d bytes is as before', sizeBytes => {
    const record = world.take(sizeBytes)
    const { block } = record
    const tries = [
      () => world.view(record),
      () => world.buffers.viewNew(block, sizeBytes),
      () => world.readByte(record),
      () => world.buffers.openPin(block, sizeBytes),
    ]
    for (const attempt of tries) {
      world.kernel.failNth('wrap', 1)
      expect(thrownBy(attempt)).toMatchObject(NO_MEMORY)
      world.check()
      world.buffers.dropIdle()
    }
    mark(world.view(record), 5)
    expect(isMarked(world.view(record), 5)).toBe(true)
  })

  it('may refuse to detach a window: it is tried again, and nothing is lost', () => {
    const records = make(100, 1_000)
    const stale = world.view(records[0])
    world.kernel.refuse('detach')
    world.moveAll(records)
    expect([stale.length, world.buffers.hasLost]).toEqual([1_000, false])
    expectMarks(records)
    world.kernel.allow()
    world.buffers.detachMoved()
    expect(stale.length).toBe(0)
    expectMarks(records)
  })

  it('may refuse to detach what a long record has: its block waits for the collector', async () => {
    const [long] = make(1, LONG)
    world.kernel.refuse('detach')
    world.end(long)
    world.kernel.allow()
    expect(world.buffers.setAsideBlocks).toBe(1)
    await collect()
    world.buffers.recoverSetAside()
    expect(world.buffers.setAsideBlocks).toBe(0)
    world.check()
  })

  it('shows a long record that moved in its new place', async () => {
    const [long] = make(1, LONG)
    const stale = world.view(long)
    expect(world.moveAll([long])).toBe(1)
    expect([stale.length, isMarked(world.view(long), 1)]).toEqual([0, true])
    await turns()
  })
})

describe('what reaches the memory of records', () => {
  beforeEach(() => {
    world = new RecordWorld('mmap')
    world.addSegment(4 * MIB)
  })

  it('is each window, each buffer of a long record, and what other code took', async () => {
    const { buffers } = world
    expect(buffers.reaches).toEqual([])
    const [short, other] = make(2, 100)
    const [long] = make(1, LONG)
    const pin = buffers.openPin(other.block, 100)
    await takeAway(pin.buffer.buffer as ArrayBuffer)
    buffers.closePin(other.block, 100, pin)
    const startOf = ({ block }: Record) => block * 16
    const starts = () => buffers.reaches.map(({ startBytes }) => startBytes)
    expect(starts()).toEqual([startOf(short) - (startOf(short) % MIB), startOf(long), startOf(other)])
    world.end(other)
    expect(starts().at(-1)).toBe(startOf(other))
    expect(buffers.reaches.every(({ wrapId }) => world.source.isWrapped(wrapId))).toBe(true)
    buffers.abandonSetAside()
    expect([buffers.setAsideBlocks, world.heap.isLive(other.block)]).toEqual([0, false])
  })
})
