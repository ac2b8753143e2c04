/**
 * The allocators that a recording can be replayed on, behind one small interface. Blocks are named by the
 * slots of the recording (`trace.ts`), and each adapter keeps its own table from slot to block.
 *
 * The addon is loaded here, and only for an arena. So help, `buffer` and `heap` work without it.
 *
 *  1. An entry of a table is set exactly while the slot's block is live, so the replay keeps no freed block
 *     alive.
 *  2. The table of Buffers is an argument, because a process that measures memory makes it before the
 *     baseline.
 */
import { type Block, Heap } from '../heap/index.js'
import type { Arena, Ref, Store } from '../index.js'
import { RunError } from './errors.js'
import type { Trace } from './trace.js'

/** The names that `--allocator` accepts. */
export const ALLOCATOR_NAMES = ['arena', 'buffer', 'heap'] as const
export type AllocatorName = (typeof ALLOCATOR_NAMES)[number]

/** The options of `Arena` that a replay can set. */
export interface ArenaSettings {
  source?: 'mmap' | 'sbrk'
  releaseAfterMs?: number
  detachFromBytes?: number
}

/** The names that `--source` accepts. */
export const SOURCE_NAMES = ['mmap', 'sbrk'] as const

/** The operations of a recording, as an allocator carries them out. */
export interface Blocks {
  allocate(slot: number, sizeBytes: number): void
  resize(slot: number, sizeBytes: number): void
  free(slot: number): void
}

/** An allocator whose blocks are memory. */
export interface BufferBlocks extends Blocks {
  /** Returns the live block in `slot`. The result is good until the next operation. */
  bufferOf(slot: number): Buffer
  /** Ends the allocator and all its blocks. */
  close(): void
  /**
   * Returns the bytes of the allocator's own pages that are resident, as the kernel says. Undefined if the
   * allocator cannot tell.
   */
  residentBytes(): number | undefined
  /**
   * Returns the most bytes that the allocator ever held, by its own count. Undefined if it does not count.
   */
  peakCommittedBytes(): number | undefined
}

/** What a block is to its owner: a Buffer, or the ref of a record. */
export type BufferTable = (Buffer | Ref | undefined)[]

/** Returns a table for the Buffers of `slotCount` slots. Its memory is in place already. */
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

/** Records of a `Store`, freed explicitly. They move. */
export class StoreBlocks implements BufferBlocks {
  readonly #store: Store
  readonly #table: BufferTable

  constructor(store: Store, table: BufferTable) {
    this.#store = store
    this.#table = table
  }

  allocate(slot: number, sizeBytes: number): void {
    this.#table[slot] = this.#store.allocUnsafe(sizeBytes)
  }

  resize(slot: number, sizeBytes: number): void {
    this.#store.realloc(this.#table[slot] as Ref, sizeBytes)
  }

  free(slot: number): void {
    this.#store.free(this.#table[slot] as Ref)
    this.#table[slot] = undefined
  }

  bufferOf(slot: number): Buffer {
    return this.#store.view(this.#table[slot] as Ref)
  }

  close(): void {
    this.#table.fill(undefined)
    this.#store.close()
  }

  residentBytes(): number {
    return this.#store.residentBytes()
  }

  peakCommittedBytes(): number {
    return this.#store.stats().peakCommittedBytes
  }
}

/**
 * Blocks from `Buffer.allocUnsafeSlow`. A block is freed by dropping the reference; the garbage collector
 * does the rest when it runs.
 */
export class PlainBlocks implements BufferBlocks {
  readonly #table: BufferTable

  constructor(table: BufferTable) {
    this.#table = table
  }

  allocate(slot: number, sizeBytes: number): void {
    // `allocUnsafe` takes pieces of a pool, which would keep 8 KiB alive as long as any piece of it is
    // referenced.
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

// The capacity of the heap is this many times the most that is ever live. So rounding and fragmentation show
// in its statistics and not as a refusal. The least capacity keeps tiny recordings clear of the heap's own
// granularity.
const HEAP_ROOM = 4
const MIN_HEAP_BYTES = 64 * 2 ** 20
// The greatest capacity of a heap.
const MAX_HEAP_BYTES = 32 * 2 ** 30
const HEAP_PAGE_BYTES = 4096

/** The bookkeeping alone: blocks are numbers in a space without memory behind it. */
export class HeapBlocks implements Blocks {
  readonly heap: Heap
  readonly capacityBytes: number
  readonly #blocks: Int32Array

  constructor(trace: Trace) {
    const wantedBytes = Math.max(MIN_HEAP_BYTES, trace.peakLiveBytes * HEAP_ROOM)
    this.capacityBytes = Math.min(MAX_HEAP_BYTES, Math.ceil(wantedBytes / HEAP_PAGE_BYTES) * HEAP_PAGE_BYTES)
    this.heap = new Heap({ capacityBytes: this.capacityBytes, pageBytes: HEAP_PAGE_BYTES })
    this.#blocks = new Int32Array(trace.slotCount)
  }

  allocate(slot: number, sizeBytes: number): void {
    const block = this.heap.allocate(sizeBytes)
    if (block < 0)
      throw new RunError(
        `the heap of ${this.capacityBytes} bytes has no room for a block of ${sizeBytes} bytes`,
      )
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

  /** Returns the offset of the first byte of the live block in `slot`. */
  offsetOf(slot: number): number {
    return this.heap.offsetOf(this.#blocks[slot] as Block)
  }

  /** Returns the usable bytes of the live block in `slot`. */
  sizeOf(slot: number): number {
    return this.heap.sizeOf(this.#blocks[slot] as Block)
  }
}

/** Makes an allocator whose blocks are memory, a new one at each call. */
export type MakeBlocks = (table: BufferTable) => BufferBlocks

/**
 * Returns a function that makes the allocator `name`. For `arena` and `store` this loads the addon and opens an
 * arena once to see that it works. Throws `RunError` if it does not.
 */
export async function blocksMaker(
  name: 'arena' | 'buffer' | 'store',
  settings: ArenaSettings = {},
): Promise<MakeBlocks> {
  if (name === 'buffer') return table => new PlainBlocks(table)
  const { Arena, Store } = await loadWorking(settings)
  if (name === 'arena') return table => new ArenaBlocks(new Arena({ name: 'replay', ...settings }), table)
  // Records have no Buffers to detach.
  const { detachFromBytes: _, ...others } = settings
  return table => new StoreBlocks(new Store({ name: 'replay', ...others }), table)
}

async function loadWorking({ source = 'mmap' }: ArenaSettings): Promise<typeof import('../index.js')> {
  try {
    const library = await import('../index.js')
    const probe = new library.Arena({ name: 'probe', source })
    probe.free(probe.allocUnsafe(1))
    probe.close()
    return library
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0]
    if (source === 'sbrk') throw new RunError(reason)
    throw new RunError(`the native addon does not work here, so there is no Arena: ${reason}`)
  }
}

/** Has the whole process give back what it holds in vain, V8's garbage too. Loads the addon, if there is one. */
export async function reclaimProcess(): Promise<void> {
  const { reclaim } = await import('../index.js')
  await reclaim({ collectGarbage: 'major' })
}
