import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { GRANULE_BYTES, KIB, MIB } from '../../../src/base/units.js'
import { DebugRecordBuffers } from '../../../src/buffers/records/debug-record-buffers.js'
import { giveBack, takeAway } from '../../support/taking.js'
import { isMarked, mark, thrownBy, turns } from '../../support/world.js'
import { NO_MEMORY, type Record, RecordWorld } from './record-world.js'

const LONG = 64 * KIB + 1
const SIZES = [1, 100, 64 * KIB, LONG]

let world: RecordWorld<DebugRecordBuffers>

const setUp = (name: 'mmap' | 'heap'): void => {
  world = new RecordWorld(name, DebugRecordBuffers)
  world.addSegment(4 * MIB)
}

afterEach(() => world.close())

function make(tag: number, sizeBytes = 100): Record {
  const record = world.take(sizeBytes)
  mark(world.view(record), tag)
  return record
}

describe.each(['mmap', 'heap'] as const)('views of records over pages of %s', name => {
  beforeEach(() => setUp(name))

  it.each(SIZES)('of %d bytes are good until the program awaits', async sizeBytes => {
    const record = make(1, sizeBytes)
    const views = [world.view(record), world.view(record)]
    views[0][0] = 55
    expect(views.map(view => [view.length, view[0]])).toEqual([
      [sizeBytes, 55],
      [sizeBytes, 55],
    ])
    expect(world.readByte(record)).toBe(55)
    await null
    expect(views.map(view => view.length)).toEqual([0, 0])
    expect([world.view(record)[0], world.readByte(record)]).toEqual([55, 55])
  })

  const changes: [string, (record: Record) => void][] = [
    ['taken', () => world.take(10)],
    ['ended', () => world.end(world.take(10))],
    ['moved', record => void world.moveAll([record])],
    ['about to be changed', () => world.buffers.detachViews()],
  ]

  it.each(changes)('end when a record is %s', (_, change) => {
    const records = [make(1), make(2), make(3, LONG)]
    const views = records.map(record => world.view(record))
    change(records[0])
    expect(views.map(view => view.length)).toEqual([0, 0, 0])
    expect(records.map((record, i) => isMarked(world.view(record), i + 1))).toEqual([true, true, true])
  })

  it('end when all records do', () => {
    const view = world.view(make(1))
    world.buffers.endAll(new Map())
    world.live.clear()
    expect(view.length).toBe(0)
  })

  it('end, while the Buffers of pins stay', async () => {
    const records = [make(1), make(2, LONG)]
    const pins = records.map(({ block, sizeBytes }) => world.buffers.openPin(block, sizeBytes))
    const other = make(3, MIB)
    const stale = world.view(other)
    await turns()
    expect([stale.length, ...pins.map(({ buffer }) => buffer.length)]).toEqual([0, 100, LONG])
    expect(pins.map(({ buffer }, i) => isMarked(buffer, i + 1))).toEqual([true, true])
    for (const [i, { block, sizeBytes }] of records.entries())
      world.buffers.closePin(block, sizeBytes, pins[i])
    expect(isMarked(world.view(other), 3)).toBe(true)
  })

  it('keep the bytes while pages around them come and go', async () => {
    const records = Array.from({ length: 600 }, (_, i) => make(i, 700))
    for (let i = 0; i < 600; i++) if (i % 7 !== 0) world.end(records[i])
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 600; i += 7) expect(isMarked(world.view(records[i]), i)).toBe(true)
      await turns(1)
      world.moveAll(records.filter((_, i) => i % 7 === 0))
      world.purgeAll()
      world.buffers.dropIdle()
    }
  })
})

describe('a view of debug', () => {
  beforeEach(() => setUp('mmap'))

  it.each(SIZES)('of %d bytes has an ArrayBuffer of exactly the record', sizeBytes => {
    const record = make(1, sizeBytes)
    const view = world.view(record)
    expect([view.buffer.byteLength, view.byteOffset]).toEqual([sizeBytes, 0])
    expect(world.kernel.placeOf(view).offsetBytes).toBe(record.block * GRANULE_BYTES)
  })

  it('that other code took keeps its record in place until it is given back', async () => {
    const record = make(1)
    const taken = await takeAway(world.view(record).buffer as ArrayBuffer)
    await turns(1)
    expect(isMarked(world.view(record), 1)).toBe(true)
    expect(world.buffers.mayMove(record.block, 100)).toBe(false)
    world.end(record)
    expect(world.buffers.setAsideBlocks).toBe(1)
    await giveBack(taken, world.kernel)
    world.buffers.recoverSetAside()
    expect(world.buffers.setAsideBlocks).toBe(0)
  })

  it('that the runtime cannot make leaves all as it is', () => {
    const record = make(1)
    world.kernel.failNth('wrap', 1)
    expect(thrownBy(() => world.view(record))).toMatchObject(NO_MEMORY)
    expect(isMarked(world.view(record), 1)).toBe(true)
  })
})
