import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { KIB, MIB } from '../../../src/base/units.js'
import { RecordPins } from '../../../src/buffers/records/record-pins.js'
import { collect, giveBack, takeAway } from '../../support/taking.js'
import { isMarked, mark, thrownBy, turns } from '../../support/world.js'
import { NO_MEMORY, type Record, RecordWorld } from './record-world.js'

const LONG = 64 * KIB + 1
const SIZES = [1, 100, 64 * KIB, LONG]

let world: RecordWorld
let pins: RecordPins
/** What was put off and has ended since. */
let ended: number[]
/** Records by their refs. */
let records: Map<number, Record>

function setUp(name: 'mmap' | 'heap'): void {
  world = new RecordWorld(name)
  world.addSegment(4 * MIB)
  ended = []
  records = new Map()
  pins = new RecordPins(world.buffers, 'subject', setImmediate, (ref, block, sizeBytes) => {
    expect(records.get(ref)).toMatchObject({ block, sizeBytes })
    ended.push(ref)
    world.end(records.get(ref) as Record)
  })
}

afterEach(() => {
  world.kernel.allow()
  check()
  world.close()
  expect(pins.count).toBe(0)
})

function check(): void {
  pins.check(block => world.heap.isLive(block) && !world.buffers.isSetAside(block))
  world.check()
}

/** A record with that ref, marked with it. */
function make(ref: number, sizeBytes = 100): Record {
  const record = world.take(sizeBytes)
  mark(world.view(record), ref)
  records.set(ref, record)
  return record
}

const pin = (ref: number): Buffer => {
  const { block, sizeBytes } = records.get(ref) as Record
  return pins.pin(ref, block, sizeBytes)
}

const lend = <T>(ref: number, use: (bytes: Buffer) => T): T => {
  const { block, sizeBytes } = records.get(ref) as Record
  return pins.lend(ref, block, sizeBytes, use)
}

/** Frees a record as a store does. */
function free(ref: number): void {
  const pin = pins.of(ref)
  if (pin === undefined) world.end(records.get(ref) as Record)
  else pin.isEnding = true
}

describe.each(['mmap', 'heap'] as const)('records over pages of %s', name => {
  beforeEach(() => setUp(name))

  it.each(SIZES)('of %d bytes have one Buffer for all pins, with their bytes', sizeBytes => {
    const record = make(7, sizeBytes)
    const buffer = pin(7)
    expect([buffer.length, isMarked(buffer, 7), pin(7) === buffer]).toEqual([sizeBytes, true, true])
    expect([pins.count, pins.has(7), pins.isPinned(record.block)]).toEqual([1, true, true])
    buffer[0] = 99
    expect([world.view(record)[0], world.readByte(record)]).toEqual([99, 99])
    check()
    pins.unpin(7)
    expect([buffer.length > 0, pins.isPinned(record.block)]).toEqual([true, true])
    pins.unpin(7)
    expect([pins.count, pins.has(7), pins.isPinned(record.block), ended]).toEqual([0, false, false, []])
    if (name === 'mmap') expect(buffer.length).toBe(0)
    expect(world.view(record)[0]).toBe(99)
  })

  it('keep their Buffers while others move around them', () => {
    for (let ref = 1; ref <= 300; ref++) make(ref, 500)
    const pinned = [3, 150, 298]
    const buffers = pinned.map(pin)
    const moving = [...records.values()].filter(({ block }) => !pins.isPinned(block))
    expect(moving.length).toBe(297)
    for (let i = 0; i < 3; i++) {
      world.moveAll(moving)
      world.purgeAll()
      world.buffers.dropIdle()
      expect(buffers.map((buffer, i) => isMarked(buffer, pinned[i]))).toEqual([true, true, true])
    }
    for (const [ref, record] of records) expect(isMarked(world.view(record), ref)).toBe(true)
    const stale = world.view(records.get(3) as Record)
    for (const ref of pinned) pins.unpin(ref)
    // Where the pins kept the window, it is detached now.
    expect(buffers.map(buffer => buffer.length)).toEqual([0, 0, 0])
    if (name === 'heap') expect(stale.length).toBe(0)
    for (const [ref, record] of records) expect(isMarked(world.view(record), ref)).toBe(true)
  })

  it('that are freed meanwhile end at the last unpin', () => {
    const { block } = make(1)
    make(2)
    const buffer = pin(1)
    pin(1)
    free(1)
    expect([pins.isEnding(1), world.heap.isLive(block), isMarked(buffer, 1)]).toEqual([true, true, true])
    pins.unpin(1)
    check()
    expect(ended).toEqual([])
    pins.unpin(1)
    expect([ended, world.heap.isLive(block)]).toEqual([[1], false])
    expect(pins.of(2)).toBe(undefined)
  })

  it('all end but for pinned ones, and these at their last unpin', () => {
    const sizes = [10, 20, LONG]
    for (const [ref, sizeBytes] of sizes.entries()) make(ref, sizeBytes)
    for (let ref = 3; ref < 100; ref++) make(ref)
    for (const ref of [0, 1, 2]) pin(ref)
    const staying = pins.deferAll()
    expect([...staying.values()]).toEqual(sizes)
    world.buffers.endAll(staying)
    world.live.clear()
    for (const ref of [0, 1, 2]) world.live.add(records.get(ref) as Record)
    check()
    for (const ref of [2, 0, 1]) expect(isMarked(pin(ref), ref)).toBe(true)
    for (const ref of [2, 0, 1]) pins.unpin(ref)
    for (const ref of [2, 0, 1]) pins.unpin(ref)
    expect([ended, world.heap.liveBlocks]).toEqual([[2, 0, 1], 0])
  })

  it('are listed, with their sizes', () => {
    const pinned = [make(5, 50), make(9, LONG)]
    make(6)
    pin(5)
    pin(9)
    const found: [number, number, number][] = []
    pins.forEach((block, sizeBytes, ref) => {
      found.push([block, sizeBytes, ref])
    })
    expect(found).toEqual([
      [pinned[0].block, 50, 5],
      [pinned[1].block, LONG, 9],
    ])
    pins.unpin(5)
    pins.unpin(9)
  })

  it('are on loan for as long as a call or its promise takes', async () => {
    make(1)
    expect(lend(1, bytes => bytes.length)).toBe(100)
    expect(pins.count).toBe(0)
    expect(thrownBy(() => lend(1, () => JSON.parse('{')))).toBeInstanceOf(SyntaxError)
    expect(pins.count).toBe(0)
    let finish: () => void = () => {}
    const result = lend(1, async bytes => {
      await new Promise<void>(resolve => {
        finish = resolve
      })
      return isMarked(bytes, 1)
    })
    free(1)
    await turns()
    expect([pins.count, ended]).toEqual([1, []])
    finish()
    expect(await result).toBe(true)
    expect([pins.count, ended]).toEqual([0, [1]])
    make(2)
    await expect(lend(2, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(pins.count).toBe(0)
  })

  it('throw where no pin is left, and end no loan', () => {
    make(1)
    const notPinned = thrownBy(() => pins.unpin(1))
    expect([notPinned?.code, notPinned?.message]).toEqual([
      'ERR_ARENA_NOT_PINNED',
      expect.stringContaining("store 'subject': unpin(): the record is not pinned by pin()"),
    ])
    lend(1, bytes => {
      expect(thrownBy(() => pins.unpin(1))?.message).toContain('lend() ends its own pin')
      expect(isMarked(bytes, 1)).toBe(true)
      pin(1)
      pins.unpin(1)
      expect(pins.count).toBe(1)
    })
  })

  it('say when nothing is pinned any more', () => {
    let runs = 0
    pins.whenNone(() => runs++)
    expect(runs).toBe(1)
    make(1)
    pin(1)
    pins.whenNone(() => runs++)
    expect(runs).toBe(1)
    pins.unpin(1)
    expect(runs).toBe(2)
  })

  it.each([100, LONG])(
    'are no more lent where other code took the ArrayBuffer of %d bytes',
    async sizeBytes => {
      make(1, sizeBytes)
      const taken = await takeAway(pin(1).buffer as ArrayBuffer)
      expect(thrownBy(() => pin(1))?.code).toBe('ERR_ARENA_DETACHED')
      expect(thrownBy(() => lend(1, () => 0))?.code).toBe('ERR_ARENA_DETACHED')
      pins.unpin(1)
      check()
      expect(pins.count).toBe(0)
      if (name === 'heap') return
      expect(taken.byteLength).toBe(sizeBytes)
      await giveBack(taken, world.kernel)
    },
  )
})

describe('a record whose pinned memory other code took', () => {
  beforeEach(() => setUp('mmap'))

  it.each([100, LONG])('of %d bytes is read, does not move, and waits when it ended', async sizeBytes => {
    const record = make(1, sizeBytes)
    const taken = await takeAway(pin(1).buffer as ArrayBuffer)
    expect(isMarked(world.view(record), 1)).toBe(true)
    pins.unpin(1)
    const again = await takeAway(pin(1).buffer as ArrayBuffer)
    pins.unpin(1)
    expect(world.buffers.mayMove(record.block, sizeBytes)).toBe(false)
    expect(isMarked(world.view(record), 1)).toBe(true)
    const fixed: number[] = []
    world.buffers.forEachFixed(block => fixed.push(block))
    expect([fixed, world.buffers.hasIdle]).toEqual([[record.block], true])
    world.end(record)
    expect([world.buffers.setAsideBlocks, world.heap.isLive(record.block)]).toEqual([1, true])
    check()
    await giveBack(taken, world.kernel)
    world.buffers.recoverSetAside()
    expect([world.buffers.setAsideBlocks, world.heap.isLive(record.block)]).toEqual([1, true])
    await giveBack(again, world.kernel)
    world.buffers.recoverSetAside()
    expect([world.buffers.setAsideBlocks, world.heap.isLive(record.block)]).toEqual([0, false])
  })

  it('may move again once it was given back', async () => {
    const record = make(1)
    const taken = await takeAway(pin(1).buffer as ArrayBuffer)
    pins.unpin(1)
    await giveBack(taken, world.kernel)
    world.buffers.recoverSetAside()
    expect(world.buffers.mayMove(record.block, 100)).toBe(true)
    expect(world.source.segments[0].isKeptForGood).toBe(true)
  })

  it('waits too when it was freed while pinned, and when all ended', async () => {
    make(1)
    make(2)
    const taken = [await takeAway(pin(1).buffer as ArrayBuffer), await takeAway(pin(2).buffer as ArrayBuffer)]
    free(1)
    pins.unpin(1)
    expect([ended, world.buffers.setAsideBlocks]).toEqual([[1], 1])
    pins.unpin(2)
    world.buffers.endAll(new Map())
    world.live.clear()
    expect(world.buffers.setAsideBlocks).toBe(2)
    check()
    for (const buffer of taken) await giveBack(buffer, world.kernel)
    world.buffers.recoverSetAside()
    expect([world.buffers.setAsideBlocks, world.heap.liveBlocks]).toEqual([0, 0])
  })

  it('or that the runtime did not detach, waits for the collector', async () => {
    const record = make(1)
    pin(1)
    world.kernel.refuse('detach')
    pins.unpin(1)
    world.kernel.allow()
    expect(world.buffers.mayMove(record.block, 100)).toBe(false)
    world.end(record)
    expect(world.buffers.setAsideBlocks).toBe(1)
    await collect()
    world.buffers.recoverSetAside()
    expect(world.buffers.setAsideBlocks).toBe(0)
  })
})

describe('the runtime', () => {
  it('may refuse the memory of a pin: nothing is pinned then', () => {
    setUp('mmap')
    make(1)
    world.kernel.failNth('wrap', 1)
    expect(thrownBy(() => pin(1))).toMatchObject(NO_MEMORY)
    check()
    expect([pins.count, pins.has(1)]).toEqual([0, false])
    world.kernel.failNth('wrap', 1)
    expect(thrownBy(() => lend(1, () => 0))).toMatchObject(NO_MEMORY)
    check()
    expect(isMarked(pin(1), 1)).toBe(true)
    pins.unpin(1)
  })
})
