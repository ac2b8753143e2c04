/**
 * Forgotten blocks: their owners were collected without `free`. This file finds out when their bytes may be
 * used again.
 *
 * A view may outlive the owner it was made from: `arena.alloc(64).subarray(0, 8)` is a valid Buffer. Nothing
 * outside V8 can tell whether such a view exists. But every view holds its `ArrayBuffer`. So the buffer under
 * a forgotten block is *given up*: from then on the library holds it weakly and puts no new block in it. A
 * window whose buffer was given up is wrapped again for later blocks. When the old buffer is collected,
 * nobody sees its bytes any more.
 *
 * Other code that took such a buffer away (`transfer`, byte streams) keeps the memory after the buffer is
 * collected. So collection is not enough: a block waits until the finalizer of its wrap has run.
 *
 * Invariants, checked by `check()`:
 *  1. The memory of a given-up buffer that was neither collected nor taken away is wrapped.
 *  2. `#counts` of a window is the number of its given-up buffers, at most `MAX_GIVEN_UP`.
 */
import { invariant } from '../base/assert.js'
import { byteLengthOf, register, SafeMap, targetOf } from '../base/primordials.js'
import { type Block, NONE } from '../base/units.js'
import type { PageSource } from '../memory/page-source.js'
import type { WrapId } from '../memory/runtime.js'
import { tryDetach } from './detach.js'
import type { Reach } from './windows.js'

const { floor } = Math

/**
 * The most given-up buffers of one window. V8 counts each of them in full as external memory. Further
 * forgotten blocks of the window wait until one of these buffers is gone.
 */
const MAX_GIVEN_UP = 4

interface Memory {
  readonly buffer: WeakRef<ArrayBuffer>
  readonly startBytes: number
  readonly isShared: boolean
  /** The buffer was collected. If its finalizer does not follow, other code has moved the memory. */
  isCollected: boolean
  /**
   * This class is detaching the buffer. So it is not taken for one that other code took, if that is
   * interrupted.
   */
  isEnding: boolean
}

interface Waiting {
  /** The wrap of the buffer under the block. */
  readonly wrapId: WrapId
  /** The wrap of another buffer that reaches the block too, or null. */
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
  /**
   * Made at first use. V8 keeps the target of a new `WeakRef` alive until the end of the task, so a loop that
   * makes arenas would keep all of them.
   */
  #weakSelf: WeakRef<Forgotten> | undefined
  readonly #source: PageSource
  readonly #memories = new SafeMap<WrapId, Memory>()
  readonly #blocks = new SafeMap<Block, Waiting>()
  readonly #counts = new SafeMap<number, number>()
  /** The number of waiting blocks that lie in windows. */
  sharedBlocks = 0
  /** The number of buffers that were collected and whose finalizers have not run yet. */
  collectedCount = 0
  /**
   * Is called when a buffer was collected. Its finalizer runs within two turns of the event loop. It must not
   * refer to an arena.
   */
  onCollected: (() => void) | null = null

  constructor(source: PageSource) {
    this.#source = source
  }

  /** The number of waiting blocks. */
  get size(): number {
    return this.#blocks.size
  }

  has(block: Block): boolean {
    return this.#blocks.has(block)
  }

  /**
   * Adds a forgotten block. It waits for the finalizer of `wrapId`; `reachedBy` is another wrap that reaches
   * it, or null.
   */
  add(block: Block, wrapId: WrapId, isShared: boolean, reachedBy: WrapId | null = null): void {
    this.#blocks.set(block, { wrapId, reachedBy, isShared })
    if (isShared) this.sharedBlocks++
  }

  /** Whether the window at that byte may give up another buffer. */
  hasRoom(startBytes: number): boolean {
    return (this.#counts.get(startBytes) ?? 0) < MAX_GIVEN_UP
  }

  /** Whether the window at that byte has given up a buffer whose memory may still be seen. */
  holdsAt(startBytes: number): boolean {
    return this.#counts.has(startBytes)
  }

  /** Holds a given-up buffer, weakly. `startBytes` is its first byte in the page-number space. */
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

  /** Whether the buffer of that wrap was given up and its memory may still be seen. */
  isHeld(wrapId: WrapId): boolean {
    return this.#memories.has(wrapId)
  }

  /** Whether this buffer was given up. */
  holds(memory: ArrayBufferLike): boolean {
    for (const { buffer } of this.#memories.values()) if (targetOf(buffer) === memory) return true
    return false
  }

  /**
   * The first byte, in the page-number space, of the window that had this buffer; NONE if none of the held
   * windows had it.
   */
  startOf(memory: ArrayBufferLike): number {
    for (const { buffer, startBytes, isShared } of this.#memories.values()) {
      if (isShared && buffer.deref() === memory) return startBytes
    }
    return NONE
  }

  /** All wraps of given-up buffers, each with the first byte that it shows. */
  get reaches(): Reach[] {
    return [...this.#memories].map(([wrapId, { startBytes }]) => ({ startBytes, wrapId }))
  }

  /** The waiting blocks whose window has not given its buffer up yet, each with the wrap of that buffer. */
  *unheld(): Generator<[Block, WrapId]> {
    for (const [block, { wrapId, isShared }] of this.#blocks) {
      if (isShared && !this.#memories.has(wrapId)) yield [block, wrapId]
    }
  }

  /** Is called when the buffer of that wrap was collected. */
  collected(wrapId: WrapId): void {
    const memory = this.#memories.get(wrapId)
    if (memory === undefined || memory.isCollected) return
    memory.isCollected = true
    this.collectedCount++
    this.onCollected?.()
  }

  /**
   * Ends the wait of every block whose bytes nobody sees any more, and calls `end` for it. `reachedBy` is the
   * wrap through which other code may still reach the block, or null.
   */
  endUnseen(end: (block: Block, isShared: boolean, reachedBy: WrapId | null) => void): void {
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

  /**
   * Finds given-up buffers that other code took away. Calls `taken` with the first byte and the wrap of each
   * one of a window.
   */
  noticeTaken(taken: (startBytes: number, wrapId: WrapId) => void): void {
    for (const [wrapId, memory] of this.#memories) {
      const buffer = targetOf(memory.buffer)
      if (buffer === undefined || byteLengthOf(buffer) !== 0 || memory.isEnding) continue
      this.#markMoved(memory)
      if (memory.isShared) taken(memory.startBytes, wrapId)
    }
  }

  /** Detaches the given-up buffers that begin in a range of bytes. No block lives there, and none will. */
  removeRange(startBytes: number, endBytes: number): void {
    for (const [wrapId, memory] of this.#memories) {
      if (memory.startBytes < startBytes || memory.startBytes >= endBytes) continue
      this.#detach(wrapId, memory)
      this.#drop(wrapId)
    }
  }

  /**
   * Is called when every block ends. Detaches all given-up buffers except those of windows that begin at one
   * of `staying`, and ends every wait. Calls `taken` for each buffer of a window that other code took. Calls
   * `reached` for each waiting block with a buffer of its own whose memory other code can still reach.
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

  /** Detaches a given-up buffer. Returns whether nobody can reach the memory through it any more. */
  #detach(wrapId: WrapId, memory: Memory): boolean {
    const buffer = targetOf(memory.buffer)
    if (buffer === undefined) {
      if (!this.#source.isWrapped(wrapId)) return true
      // The buffer was collected just now, or was moved before. A segment that is a mapping is not unmapped
      // before the finalizer has run. A movable end does not wait for it, so it has to be told.
      if (this.#source.end !== null) this.#markMoved(memory)
      return false
    }
    if (byteLengthOf(buffer) > 0) {
      memory.isEnding = true
      tryDetach(this.#source, buffer, true)
    }
    if (memory.isEnding && byteLengthOf(buffer) === 0) return true
    this.#markMoved(memory)
    return false
  }

  #markMoved({ startBytes }: Memory): void {
    this.#source.keepForGood(floor(startBytes / this.#source.pageBytes))
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
      // A buffer that was taken away may outlive its wrap.
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
