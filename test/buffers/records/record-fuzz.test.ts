/**
 * Random work with records, against a plain model: their marks. `OFFHEAP_FUZZ_SEED` repeats it, and a failure names the
 * seed.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { GRANULE_BYTES, KIB, MIB } from '../../../src/base/units.js'
import { DebugRecordBuffers } from '../../../src/buffers/records/debug-record-buffers.js'
import { RecordBuffers } from '../../../src/buffers/records/record-buffers.js'
import { RecordPins } from '../../../src/buffers/records/record-pins.js'
import { stepsOf, variablesOf } from '../../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../../support/random.js'
import { giveBack, takeAway } from '../../support/taking.js'
import { isMarked, mark, turns } from '../../support/world.js'
import { type Record, RecordWorld } from './record-world.js'

const STEPS = stepsOf(10_000)
const MOST_BYTES = 10 * MIB

interface Known extends Record {
  readonly ref: number
  pins: Buffer[]
  isFreed: boolean
}

interface Held {
  readonly view: Buffer
  readonly startBytes: number
}

class Work {
  readonly world: RecordWorld
  readonly pins: RecordPins
  readonly records: Known[] = []
  /** Views that nobody may use any more after a change, and where they were. */
  #held: Held[] = []
  #nextRef = 1
  #bytes = 0
  readonly #random: Random
  readonly #mayFail: boolean

  constructor(world: RecordWorld, random: Random, mayFail: boolean) {
    this.world = world
    this.#random = random
    this.#mayFail = mayFail
    this.pins = new RecordPins(world.buffers, 'subject', setImmediate, ref =>
      this.#end(this.records.find(r => r.ref === ref) as Known),
    )
    world.addSegment(16 * MIB)
    world.addSegment(4 * MIB)
  }

  async step(): Promise<void> {
    const random = this.#random
    const record = this.records.length === 0 ? undefined : random.pick(this.records)
    const dice = random.below(1_000)
    if (record === undefined || dice < 300) this.#add()
    else if (dice < 560) this.#free(record)
    else if (dice < 700) this.#look(record)
    else if (dice < 780) this.#pin(record)
    else if (dice < 880) this.#unpin(record)
    else if (dice < 900) this.#move()
    else if (dice < 960) this.#giveBack()
    else if (dice < 962) await this.#take(record)
    else if (dice < 963) this.#endAll()
    else if (dice < 970) await turns(1)
  }

  #add(): void {
    if (this.#bytes > MOST_BYTES) return
    const sizeBytes = 1 + this.#random.size(this.#random.oneIn(10) ? 300 * KIB : 8 * KIB)
    // Memory that the runtime did not let go waits for the collector, so there may be no room.
    const taken = this.#mayFail ? this.world.tryTake(sizeBytes) : this.world.take(sizeBytes)
    if (taken === null) return
    const record: Known = Object.assign(taken, { ref: this.#nextRef++, pins: [], isFreed: false })
    this.records.push(record)
    this.#bytes += sizeBytes
    this.#try(
      () => mark(this.world.view(record), record.ref),
      () => this.#free(record),
    )
  }

  /** What a call that may fail does; else that it was the failure that the test made. */
  #try(call: () => void, otherwise: () => void = () => {}): void {
    const { kernel } = this.world
    const { failures } = kernel
    try {
      call()
    } catch (error) {
      if (kernel.failures === failures) throw error
      const { code } = error as { code?: string }
      if (!(error instanceof RangeError) && code !== 'ERR_ARENA_OUT_OF_MEMORY') throw error
      otherwise()
    }
  }

  #look(record: Known): void {
    if (record.isFreed) return
    this.#try(() => {
      const view = this.world.view(record)
      expect(isMarked(view, record.ref)).toBe(true)
      expect(this.world.readByte(record, record.sizeBytes - 1)).toBe(view[record.sizeBytes - 1])
      this.#held.push({ view, startBytes: record.block * GRANULE_BYTES })
    })
  }

  #pin(record: Known): void {
    if (record.isFreed) return
    this.#try(() => {
      const buffer = this.pins.pin(record.ref, record.block, record.sizeBytes)
      expect(isMarked(buffer, record.ref)).toBe(true)
      record.pins.push(buffer)
    })
  }

  #unpin(record: Known): void {
    const buffer = record.pins.pop()
    if (buffer === undefined) return
    expect(isMarked(buffer, record.ref)).toBe(true)
    this.pins.unpin(record.ref)
  }

  #free(record: Known): void {
    if (record.isFreed) return
    const pin = this.pins.of(record.ref)
    if (pin === undefined) {
      this.#end(record)
      return
    }
    pin.isEnding = true
    record.isFreed = true
  }

  #end(record: Known): void {
    this.records.splice(this.records.indexOf(record), 1)
    this.#bytes -= record.sizeBytes
    this.world.end(record)
  }

  #move(): void {
    const { buffers } = this.world
    buffers.noticeTaken()
    buffers.recoverSetAside()
    if (buffers.hasLost) return
    const moving = this.records
      .filter(({ block }) => !this.pins.isPinned(block) && this.#random.oneIn(4))
      .slice(0, 256)
    const placeOf = ({ block }: Known) => {
      const start = block * GRANULE_BYTES
      return { start, end: start + this.world.heap.sizeOf(block) }
    }
    const before = moving.map(placeOf)
    this.world.moveAll(moving)
    const after = moving.map(placeOf)
    this.#held = this.#held.filter(({ view }) => view.length > 0)
    // A window that was not detached stays until the next slice. On pages of the heap, a pin keeps its window.
    if (this.#mayFail || (!this.world.source.sharesMemory && this.pins.count > 0)) return
    const touched = moving.flatMap((_, i) =>
      before[i].start === after[i].start ? [] : [before[i], after[i]],
    )
    const stale = this.#held.filter(({ view, startBytes }) =>
      touched.some(({ start, end }) => start < startBytes + view.length && end > startBytes),
    )
    expect(stale).toEqual([])
  }

  #giveBack(): void {
    this.world.purgeAll()
    this.world.buffers.dropIdle()
    this.world.buffers.recoverSetAside()
  }

  /** Other code takes the buffer of a view, and drops it at once. */
  async #take(record: Known): Promise<void> {
    const { world } = this
    const { sharesMemory } = world.source
    if (this.#mayFail || (!sharesMemory && this.pins.count > 0)) return
    const taken = await takeAway(world.view(record).buffer as ArrayBuffer)
    world.buffers.noticeTaken()
    const lost = this.records.filter(known => world.isLost(known))
    if (sharesMemory) await giveBack(taken, world.kernel)
    else for (const known of lost) this.#free(known)
    world.buffers.recoverSetAside()
    expect(world.buffers.hasLost).toBe(false)
  }

  #endAll(): void {
    const staying = this.pins.deferAll()
    this.world.buffers.endAll(staying)
    for (const record of [...this.records]) {
      record.isFreed = true
      if (staying.has(record.block)) continue
      this.records.splice(this.records.indexOf(record), 1)
      this.#bytes -= record.sizeBytes
      this.world.live.delete(record)
    }
  }

  check(): void {
    const { kernel, heap, buffers } = this.world
    const { fails } = kernel
    kernel.allow()
    this.world.check()
    this.pins.check(block => heap.isLive(block) && !buffers.isSetAside(block))
    for (const record of this.records) {
      const bytes = record.isFreed ? record.pins[0] : this.world.view(record)
      expect(isMarked(bytes, record.ref)).toBe(true)
    }
    kernel.fails = fails
  }

  close(): void {
    for (const record of [...this.records]) while (record.pins.length > 0) this.#unpin(record)
    this.world.close()
  }
}

const seed = fuzzSeed()
let work: Work | undefined

afterEach(({ task }) => {
  if (task.result?.state === 'fail')
    console.error(`again: ${variablesOf(seed)} npx vitest run ${task.file.name}`)
  else work?.close()
  work = undefined
})

describe.each([
  ['mmap', RecordBuffers, false],
  ['heap', RecordBuffers, false],
  ['mmap', RecordBuffers, true],
  ['mmap', DebugRecordBuffers, false],
  ['heap', DebugRecordBuffers, false],
  ['mmap', DebugRecordBuffers, true],
] as const)('records over pages of %s in %o, with failing calls: %s', (name, Class, mayFail) => {
  it('are as the model says, whatever happens to them', async () => {
    const random = randomFrom(seed)
    work = new Work(new RecordWorld(name, Class), random, mayFail)
    work.world.kernel.isRecording = false
    if (mayFail) work.world.kernel.fails = kind => (kind === 'wrap' || kind === 'detach') && random.oneIn(20)
    for (let step = 0; step < STEPS; step++) {
      await work.step()
      if (step % 200 === 0) work.check()
    }
    work.world.kernel.allow()
    work.check()
  })
})
