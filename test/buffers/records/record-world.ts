/** Records over real memory of each source: the heap, its source and the buffers under test. */
import { expect } from 'vitest'
import { eventLoop } from '../../../src/base/deferral.js'
import { GRANULE_BYTES, NONE } from '../../../src/base/units.js'
import { RecordBuffers } from '../../../src/buffers/records/record-buffers.js'
import { WINDOW_OVERLAP_BYTES } from '../../../src/buffers/windows.js'
import { BlockHeap } from '../../../src/heap/block-heap.js'
import { BreakSource } from '../../../src/memory/break-source.js'
import { HeapSource } from '../../../src/memory/heap-source.js'
import { MmapSource } from '../../../src/memory/mmap-source.js'
import type { PageSource, SourceName } from '../../../src/memory/page-source.js'
import type { Segment } from '../../../src/memory/segment.js'
import { FaultyKernel } from '../../support/faulty-kernel.js'

/** What an error has whose cause is that the runtime makes no `ArrayBuffer`. */
export const NO_MEMORY = {
  code: 'ERR_ARENA_OUT_OF_MEMORY',
  cause: expect.any(RangeError),
  message: expect.stringContaining("store 'subject': "),
}

export interface Record {
  block: number
  readonly sizeBytes: number
}

/** One call of `move` makes no more. */
const MOST_MOVES = 256

type Buffers = new (heap: BlockHeap, source: PageSource, storeName: string) => RecordBuffers

export class RecordWorld<B extends RecordBuffers = RecordBuffers> {
  readonly kernel = new FaultyKernel()
  readonly source: PageSource
  readonly heap: BlockHeap
  readonly buffers: B
  readonly live = new Set<Record>()

  constructor(name: SourceName, Class: Buffers = RecordBuffers) {
    this.source =
      name === 'heap'
        ? new HeapSource(eventLoop)
        : name === 'sbrk'
          ? new BreakSource(this.kernel, eventLoop, 'subject')
          : new MmapSource(this.kernel, eventLoop)
    if (!('move' in this.source)) Object.assign(this.source, { move: copier(this.source, this.kernel) })
    // A heap that keeps nothing back, so that what is free is a gap at once.
    this.heap = new BlockHeap(this.source.pageBytes, {
      wholePagesFromBytes: WINDOW_OVERLAP_BYTES,
      hasCache: false,
    })
    this.buffers = new Class(this.heap, this.source, 'subject') as B
  }

  addSegment(lengthBytes: number): Segment {
    const added = this.source.reserve(lengthBytes / this.source.pageBytes)
    const segment = this.source.segmentOf(added.firstPage)
    this.buffers.addSegment(segment)
    this.heap.addRange(added.firstPage, added.pageCount)
    return segment
  }

  /** A block for a record. Blocks that are set aside on the way stay where they are. */
  take(sizeBytes: number): Record {
    const record = this.tryTake(sizeBytes)
    if (record === null) throw new Error('the segment has room')
    return record
  }

  /** Does what `take` does. Returns null where there is no room. */
  tryTake(sizeBytes: number): Record | null {
    for (;;) {
      const block = this.buffers.take(sizeBytes, GRANULE_BYTES)
      if (block === NONE) return null
      if (this.buffers.hasLost && this.buffers.setAsideIfReached(block, sizeBytes)) continue
      const record = { block, sizeBytes }
      this.live.add(record)
      return record
    }
  }

  view({ block, sizeBytes }: Record): Buffer {
    return this.buffers.view(block, sizeBytes)
  }

  /** Reads without a view, as the accessors of a store do. */
  readByte({ block, sizeBytes }: Record, index = 0): number {
    const { buffers } = this
    try {
      return buffers.dataOf(block, sizeBytes).getUint8(buffers.offsetIn(block, sizeBytes) + index)
    } catch (error) {
      throw buffers.faultOf(error, block, sizeBytes)
    }
  }

  isLost({ block, sizeBytes }: Record): boolean {
    return this.buffers.isLost(block, sizeBytes)
  }

  end(record: Record): void {
    this.live.delete(record)
    this.buffers.end(record.block, record.sizeBytes)
  }

  /** One slice of a compaction: records go to new blocks, as far as these find room. Returns how many moved. */
  moveAll(records: readonly Record[]): number {
    const { buffers } = this
    buffers.detachViews()
    const moving = records.filter(({ block, sizeBytes }) => buffers.mayMove(block, sizeBytes))
    let moved = 0
    while (moved < moving.length && this.#move(moving.slice(moved, moved + MOST_MOVES))) moved += MOST_MOVES
    buffers.detachMoved()
    return Math.min(moved, moving.length)
  }

  #move(moving: readonly Record[]): boolean {
    const { heap, buffers } = this
    const granules = moving.map(({ block }) => heap.sizeOf(block) / GRANULE_BYTES)
    const targets = moving.map(({ sizeBytes }) => buffers.take(sizeBytes, GRANULE_BYTES))
    if (targets.includes(NONE)) {
      for (const target of targets) if (target !== NONE) heap.free(target)
      return false
    }
    const moves = Int32Array.from(moving.flatMap(({ block }, i) => [block, targets[i], granules[i]]))
    buffers.move(moves, moving.length)
    moving.forEach((record, i) => {
      buffers.noteMoved(record.block, targets[i], granules[i])
      heap.free(record.block)
      record.block = targets[i]
    })
    return true
  }

  /** Gives all free pages back, as far as the heap can tell. */
  purgeAll(): void {
    this.heap.flush()
    for (let page = this.heap.nextDirty(0, false); page !== NONE; page = this.heap.nextDirty(page, false)) {
      const pageCount = this.heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false) - page
      const done = this.source.purge(Uint32Array.of(page, pageCount), 0, 1)
      this.heap.markPurged(page, done)
    }
  }

  check(): void {
    this.heap.check()
    this.buffers.check()
    this.source.check()
    const waiting = this.buffers.setAsideBlocks
    if (this.heap.liveBlocks !== this.live.size + waiting) {
      throw new Error(`${this.heap.liveBlocks} blocks, ${this.live.size} records, ${waiting} set aside`)
    }
  }

  /** Ends all that is left, and gives the memory up. */
  close(): void {
    this.kernel.allow()
    try {
      this.check()
    } finally {
      this.#giveUp()
    }
  }

  #giveUp(): void {
    this.buffers.endAll(new Map())
    this.buffers.abandonSetAside()
    for (const segment of [...this.source.segments]) {
      this.buffers.removeSegment(segment)
      this.source.retire(segment)
    }
    this.source.close()
  }
}

/** Copies as a source would that has no call for it yet. */
function copier(source: PageSource, kernel: FaultyKernel): (moves: Int32Array, count: number) => void {
  const bytesAt = (granule: number, granules: number) =>
    new Uint8Array(source.wrap(granule * GRANULE_BYTES, granules * GRANULE_BYTES).buffer)
  return (moves, count) => {
    const { fails } = kernel
    kernel.fails = undefined
    for (let i = 0; i < count; i++) {
      const [from, to, granules] = moves.subarray(3 * i)
      bytesAt(to, granules).set(bytesAt(from, granules))
    }
    kernel.fails = fails
  }
}
