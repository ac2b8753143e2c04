/**
 * Blocks whose owners were collected unfreed, and the `ArrayBuffer`s that tell when their bytes may be used again.
 *
 * A view may outlive the owner it was taken from: `arena.alloc(64).subarray(0, 8)` is a good Buffer, and nobody can tell from
 * outside whether there is one. But every view holds its `ArrayBuffer`. So the buffer under a forgotten block is *given up*:
 * we hold it weakly from then on, and put no new block in it. When it is collected, nobody sees those bytes, and the blocks
 * that waited for it are free. A window that was given up is wrapped a second time for the blocks to come.
 *
 * Who took such a buffer away (`transfer`, byte streams) keeps its memory beyond its collection. So the last word is the
 * finalizer's: a block waits until its wrap is gone.
 *
 * Invariants, checked by `check()`:
 *  1. the memory of a given-up buffer that was neither collected nor taken away is wrapped
 *  2. `countOf` a window = its given-up buffers, `MAX_GIVEN_UP` at most
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, register, SafeMap, targetOf } from '../base/primordials.js'
import { type Block, NONE } from '../base/units.js'
import type { WrapId } from '../memory/kernel.js'
import type { PageSource } from '../memory/page-source.js'
import { tryDetach } from './detach.js'
import type { Reach } from './windows.js'

const { floor } = Math

/**
 * Given-up buffers of one window: each counts in full to what V8 knows as external memory. Beyond that, forgotten blocks of
 * the window wait until one of them is gone.
 */
const MAX_GIVEN_UP = 4

interface Memory {
  readonly buffer: WeakRef<ArrayBuffer>
  readonly startBytes: number
  readonly isShared: boolean
  /** Collected; where its finalizer does not follow, somebody has moved the memory. */
  isCollected: boolean
  /** It is being detached here: nobody took it away, should that be interrupted. */
  isEnding: boolean
}

interface Waiting {
  /** The buffer under the block. */
  readonly wrapId: WrapId
  /** A buffer that reaches the block too, or null. */
  readonly reachedBy: WrapId | null
  readonly isShared: boolean
}

interface Collected {
  readonly forgotten: WeakRef<Forgotten>
  readonly wrapId: WrapId
}

const collections = new FinalizationRegistry<Collected>(({ forgotten, wrapId }) =>
  targetOf(forgotten)?.collected(wrapId),
)

export class Forgotten {
  /** Made at first use: V8 keeps what a new one refers to until the end of the task, in a loop of new arenas all of them. */
  #weakSelf: WeakRef<Forgotten> | undefined
  readonly #source: PageSource
  readonly #memories = new SafeMap<WrapId, Memory>()
  readonly #blocks = new SafeMap<Block, Waiting>()
  readonly #counts = new SafeMap<number, number>()
  /** Blocks among those that wait that lie in windows. */
  sharedBlocks = 0
  /** Buffers that were collected and whose finalizers have yet to run. */
  collectedCount = 0
  /** Called when a buffer was collected: its finalizer runs within two turns of the event loop. Must hold no arena. */
  onCollected: (() => void) | null = null

  constructor(source: PageSource) {
    this.#source = source
  }

  /** Blocks that wait. */
  get size(): number {
    return this.#blocks.size
  }

  has(block: Block): boolean {
    return this.#blocks.has(block)
  }

  /** A block of which only views may be left waits for the finalizer of `wrapId`, and of `reachedBy`. */
  add(block: Block, wrapId: WrapId, isShared: boolean, reachedBy: WrapId | null = null): void {
    this.#blocks.set(block, { wrapId, reachedBy, isShared })
    if (isShared) this.sharedBlocks++
  }

  /** Whether the window at that byte may give another buffer up. */
  hasRoom(startBytes: number): boolean {
    return (this.#counts.get(startBytes) ?? 0) < MAX_GIVEN_UP
  }

  /** Holds a buffer weakly from now on. */
  hold(wrapId: WrapId, buffer: ArrayBuffer, startBytes: number, isShared: boolean): void {
    this.#memories.set(wrapId, {
      buffer: new WeakRef(buffer),
      startBytes,
      isShared,
      isCollected: false,
      isEnding: false,
    })
    if (isShared) this.#counts.set(startBytes, (this.#counts.get(startBytes) ?? 0) + 1)
    register(collections, buffer, { forgotten: this.#self, wrapId })
  }

  /** Whether the buffer of that wrap was given up, and may still be seen. */
  isHeld(wrapId: WrapId): boolean {
    return this.#memories.has(wrapId)
  }

  /** Whether this is a buffer that was given up. */
  holds(memory: ArrayBufferLike): boolean {
    for (const { buffer } of this.#memories.values()) if (targetOf(buffer) === memory) return true
    return false
  }

  /** Where the window whose buffer this was begins, or NONE. */
  startOf(memory: ArrayBufferLike): number {
    for (const { buffer, startBytes, isShared } of this.#memories.values()) {
      if (isShared && buffer.deref() === memory) return startBytes
    }
    return NONE
  }

  /** What memory may be reached by through a given-up buffer. */
  get reaches(): Reach[] {
    return [...this.#memories].map(([wrapId, { startBytes }]) => ({ startBytes, wrapId }))
  }

  /** Waiting blocks in windows, and the wrap of each: those whose window has yet to give its buffer up. */
  *unheld(): Generator<[Block, WrapId]> {
    for (const [block, { wrapId, isShared }] of this.#blocks) {
      if (isShared && !this.#memories.has(wrapId)) yield [block, wrapId]
    }
  }

  collected(wrapId: WrapId): void {
    const memory = this.#memories.get(wrapId)
    if (memory === undefined || memory.isCollected) return
    memory.isCollected = true
    this.collectedCount++
    this.onCollected?.()
  }

  /**
   * Ends the wait of every block whose bytes nobody sees any more. Calls `end` for each; `reachedBy` is what somebody else
   * may still reach it by, or null.
   */
  settle(end: (block: Block, isShared: boolean, reachedBy: WrapId | null) => void): void {
    for (const wrapId of this.#memories.keys()) {
      if (!this.#source.isWrapped(wrapId)) this.#drop(wrapId)
    }
    for (const [block, { wrapId, reachedBy, isShared }] of this.#blocks) {
      if (this.#memories.has(wrapId) || this.#source.isWrapped(wrapId)) continue
      this.#blocks.delete(block)
      if (isShared) this.sharedBlocks--
      end(block, isShared, reachedBy !== null && this.#source.isWrapped(reachedBy) ? reachedBy : null)
    }
  }

  /** Calls `taken` with the first byte and the wrap of each window's buffer that somebody took away. */
  noticeTaken(taken: (startBytes: number, wrapId: WrapId) => void): void {
    for (const [wrapId, memory] of this.#memories) {
      const buffer = targetOf(memory.buffer)
      if (buffer === undefined || byteLengthOf(buffer) !== 0 || memory.isEnding) continue
      this.#markMoved(memory)
      if (memory.isShared) taken(memory.startBytes, wrapId)
    }
  }

  /** Nothing lives in these bytes, nor ever will: detaches the buffers over them. */
  removeRange(startBytes: number, endBytes: number): void {
    for (const [wrapId, memory] of this.#memories) {
      if (memory.startBytes < startBytes || memory.startBytes >= endBytes) continue
      this.#detach(wrapId, memory)
      this.#drop(wrapId)
    }
  }

  /**
   * Every block is gone: as `removeRange` of everything, but for the windows that begin at one of `staying`. Calls `reached`
   * for each block with a taken buffer of its own.
   */
  clear(
    staying: ReadonlySet<number>,
    taken: (startBytes: number, wrapId: WrapId) => void,
    reached: (block: Block, wrapId: WrapId) => void,
  ): void {
    const moved = new Set<WrapId>()
    for (const [wrapId, memory] of this.#memories) {
      const { startBytes, isShared } = memory
      if (isShared && staying.has(startBytes)) continue
      if (!this.#detach(wrapId, memory)) {
        moved.add(wrapId)
        if (isShared) taken(startBytes, wrapId)
      }
      this.#drop(wrapId)
    }
    for (const [block, { wrapId, reachedBy, isShared }] of this.#blocks) {
      if (isShared) continue
      if (moved.has(wrapId)) reached(block, wrapId)
      else if (reachedBy !== null && this.#source.isWrapped(reachedBy)) reached(block, reachedBy)
    }
    this.#blocks.clear()
    this.sharedBlocks = 0
  }

  get #self(): WeakRef<Forgotten> {
    this.#weakSelf ??= new WeakRef(this)
    return this.#weakSelf
  }

  /** Returns whether nobody reaches the memory by this buffer any more. */
  #detach(wrapId: WrapId, memory: Memory): boolean {
    const buffer = targetOf(memory.buffer)
    if (buffer === undefined) {
      if (!this.#source.isWrapped(wrapId)) return true
      // Collected a moment ago, or moved: a segment waits for that anyway, but an end that moves does not.
      if (this.#source.end !== null) this.#markMoved(memory)
      return false
    }
    if (byteLengthOf(buffer) > 0) {
      memory.isEnding = true
      tryDetach(this.#source, buffer)
    }
    if (memory.isEnding && byteLengthOf(buffer) === 0) return true
    this.#markMoved(memory)
    return false
  }

  #markMoved({ startBytes }: Memory): void {
    this.#source.segmentOf(floor(startBytes / this.#source.pageBytes)).hasMovedBuffer = true
  }

  #drop(wrapId: WrapId): void {
    const memory = this.#memories.get(wrapId) as Memory
    this.#memories.delete(wrapId)
    if (memory.isCollected) this.collectedCount--
    if (!memory.isShared) return
    const count = (this.#counts.get(memory.startBytes) as number) - 1
    if (count === 0) this.#counts.delete(memory.startBytes)
    else this.#counts.set(memory.startBytes, count)
  }

  check(): void {
    const counts = new Map<number, number>()
    for (const [wrapId, memory] of this.#memories) {
      const buffer = targetOf(memory.buffer)
      // One that was taken away outlives its memory.
      const hasMemory = buffer !== undefined && byteLengthOf(buffer) > 0
      invariant(!hasMemory || this.#source.isWrapped(wrapId), '1: the memory of a buffer is wrapped')
      if (memory.isShared) counts.set(memory.startBytes, (counts.get(memory.startBytes) ?? 0) + 1)
    }
    invariant(counts.size === this.#counts.size, '2: windows with given-up buffers are counted')
    for (const [startBytes, count] of counts) {
      invariant(count === this.#counts.get(startBytes) && count <= MAX_GIVEN_UP, '2: a few of each window')
    }
  }
}
