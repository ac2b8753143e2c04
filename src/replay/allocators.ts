/**
 * The allocators a recording can be replayed on, behind one small face: blocks are named by the slots of the recording
 * (`trace.ts`), and each adapter keeps its own table from slot to block.
 *
 * The addon is loaded here and only when an arena is asked for, so that help, `buffer` and `heap` work without it.
 *
 * 1. An entry of a table is set exactly while the slot's block is live: a freed block is not kept alive by its replay.
 * 2. The table of Buffers is handed in, because whoever measures memory wants it there before the baseline.
 */
import { type Block, Heap } from '../heap/index.js'
import type { Arena } from '../index.js'
import { RunError } from './errors.js'
import type { Trace } from './trace.js'

/** The names `--allocator` takes. */
export const ALLOCATOR_NAMES = ['arena', 'buffer', 'heap'] as const
export type AllocatorName = (typeof ALLOCATOR_NAMES)[number]

/** The options of `Arena` that a replay can set. */
export interface ArenaSettings {
  source?: 'mmap' | 'sbrk'
  releaseAfterMs?: number
  detachFromBytes?: number
}

/** The names `--source` takes. */
export const SOURCE_NAMES = ['mmap', 'sbrk'] as const

/** What a recording asks of an allocator. */
export interface Blocks {
  allocate(slot: number, sizeBytes: number): void
  resize(slot: number, sizeBytes: number): void
  free(slot: number): void
}

/** An allocator whose blocks are memory. */
export interface BufferBlocks extends Blocks {
  /** The live block in `slot`. */
  bufferOf(slot: number): Buffer
  /** Ends the allocator; its blocks are gone. */
  close(): void
  /** What the kernel says is resident of the allocator's own pages, where that can be asked. */
  residentBytes(): number | undefined
  /** What the allocator itself says the most was that it ever held, where it says so. */
  peakCommittedBytes(): number | undefined
}

export type BufferTable = (Buffer | undefined)[]

/** A table for the Buffers of `slotCount` slots, its memory in place. */
export function bufferTable(slotCount: number): BufferTable {
  return new Array(slotCount).fill(undefined)
}

/** Blocks from an `Arena`, freed explicitly. */
export class ArenaBlocks implements BufferBlocks {
  readonly #arena: Arena
  readonly #table: BufferTable

  constructor(arena: Arena, table: BufferTable) {
    this.#arena = arena
    this.#table = table
  }

  allocate(slot: number, sizeBytes: number): void {
    this.#table[slot] = this.#arena.allocUnsafe(sizeBytes)
  }

  resize(slot: number, sizeBytes: number): void {
    this.#table[slot] = this.#arena.realloc(this.bufferOf(slot), sizeBytes)
  }

  free(slot: number): void {
    this.#arena.free(this.bufferOf(slot))
    this.#table[slot] = undefined
  }

  bufferOf(slot: number): Buffer {
    return this.#table[slot] as Buffer
  }

  close(): void {
    this.#table.fill(undefined)
    this.#arena.close()
  }

  residentBytes(): number {
    return this.#arena.residentBytes()
  }

  peakCommittedBytes(): number {
    return this.#arena.stats().peakCommittedBytes
  }
}

/** Blocks from `Buffer.allocUnsafeSlow`. To free one is to drop the reference; the collector does the rest when it runs. */
export class PlainBlocks implements BufferBlocks {
  readonly #table: BufferTable

  constructor(table: BufferTable) {
    this.#table = table
  }

  allocate(slot: number, sizeBytes: number): void {
    // The pooled allocUnsafe would keep 8 KiB alive for as long as any piece of it is referenced.
    this.#table[slot] = Buffer.allocUnsafeSlow(sizeBytes)
  }

  resize(slot: number, sizeBytes: number): void {
    const resized = Buffer.allocUnsafeSlow(sizeBytes)
    this.bufferOf(slot).copy(resized)
    this.#table[slot] = resized
  }

  free(slot: number): void {
    this.#table[slot] = undefined
  }

  bufferOf(slot: number): Buffer {
    return this.#table[slot] as Buffer
  }

  close(): void {
    this.#table.fill(undefined)
  }

  residentBytes(): undefined {
    return undefined
  }

  peakCommittedBytes(): undefined {
    return undefined
  }
}

// The heap is given this much more than the most that is ever live, so that how it rounds and fragments shows in its
// statistics rather than as a refusal; the least keeps tiny recordings clear of the heap's own granularity.
const HEAP_ROOM = 4
const HEAP_LEAST_BYTES = 64 * 2 ** 20
// A heap's own limit.
const HEAP_MOST_BYTES = 32 * 2 ** 30
const HEAP_PAGE_BYTES = 4096

/** The bookkeeping alone: blocks are numbers in a space that no memory stands behind. */
export class HeapBlocks implements Blocks {
  readonly heap: Heap
  readonly capacityBytes: number
  readonly #blocks: Int32Array

  constructor(trace: Trace) {
    const wantedBytes = Math.max(HEAP_LEAST_BYTES, trace.peakLiveBytes * HEAP_ROOM)
    this.capacityBytes = Math.min(HEAP_MOST_BYTES, Math.ceil(wantedBytes / HEAP_PAGE_BYTES) * HEAP_PAGE_BYTES)
    this.heap = new Heap({ capacityBytes: this.capacityBytes, pageBytes: HEAP_PAGE_BYTES })
    this.#blocks = new Int32Array(trace.slotCount)
  }

  allocate(slot: number, sizeBytes: number): void {
    const block = this.heap.allocate(sizeBytes)
    if (block < 0)
      throw new RunError(`the heap of ${this.capacityBytes} bytes has no room for ${sizeBytes} more`)
    this.#blocks[slot] = block
  }

  resize(slot: number, sizeBytes: number): void {
    const old = this.#blocks[slot] as Block
    this.allocate(slot, sizeBytes)
    this.heap.free(old)
  }

  free(slot: number): void {
    this.heap.free(this.#blocks[slot] as Block)
  }

  /** First byte of the live block in `slot`. */
  offsetOf(slot: number): number {
    return this.heap.offsetOf(this.#blocks[slot] as Block)
  }

  /** Usable bytes of the live block in `slot`. */
  sizeOf(slot: number): number {
    return this.heap.sizeOf(this.#blocks[slot] as Block)
  }
}

/** Makes allocators of blocks that are memory, one as good as new at each call. */
export type MakeBlocks = (table: BufferTable) => BufferBlocks

/**
 * How to make the blocks of `name`. For `arena` this loads the addon and opens an arena once to see that it works;
 * throws `RunError` when it does not.
 */
export async function blocksMaker(
  name: 'arena' | 'buffer',
  settings: ArenaSettings = {},
): Promise<MakeBlocks> {
  if (name === 'buffer') return table => new PlainBlocks(table)
  const ArenaClass = await loadArena(settings)
  return table => new ArenaBlocks(new ArenaClass({ name: 'replay', ...settings }), table)
}

async function loadArena({ source = 'mmap' }: ArenaSettings): Promise<typeof Arena> {
  try {
    const { Arena } = await import('../index.js')
    const probe = new Arena({ name: 'probe', source })
    probe.free(probe.allocUnsafe(1))
    probe.close()
    return Arena
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0]
    if (source === 'sbrk') throw new RunError(reason)
    throw new RunError(`the native addon cannot be used here, so there is no Arena: ${reason}`)
  }
}
