/**
 * The buffers over records while `debug` is on. A view is good until the program awaits or changes the store. This class
 * makes each mistake show: every view has an `ArrayBuffer` of its own over exactly the record. All of them are detached
 * when the present call of script has ended, which is before anything that it awaits goes on, and before each change.
 * So a stale view always has length 0.
 *
 * Where a source's wraps have memory of their own, a view is over the window as ever, and the window is detached.
 */
import { soon } from '../../base/deferral.js'
import { type Block, GRANULE_BYTES } from '../../base/units.js'
import type { BlockHeap } from '../../heap/block-heap.js'
import type { PageSource } from '../../memory/page-source.js'
import type { Segment } from '../../memory/segment.js'
import type { ArenaBuffer } from '../owner.js'
import type { Reach } from '../windows.js'
import { RecordBuffers } from './record-buffers.js'
import type { OwnWrap } from './records.js'

interface View {
  readonly block: Block
  readonly wrap: OwnWrap
}

export class DebugRecordBuffers extends RecordBuffers {
  readonly #sharesMemory: boolean
  readonly #views: View[] = []
  /** Whether views were given out that are not detached yet. */
  #hasViews = false
  #isDue = false

  constructor(heap: BlockHeap, source: PageSource, storeName: string) {
    super(heap, source, storeName)
    this.#sharesMemory = source.sharesMemory
  }

  override view(block: Block, sizeBytes: number): ArenaBuffer {
    this.#endSoon()
    if (!this.#sharesMemory) return super.view(block, sizeBytes)
    this.requireReadable(block, sizeBytes)
    const { buffer, wrap } = this.openOwn(block, sizeBytes)
    this.#views[this.#views.length] = { block, wrap }
    return buffer
  }

  #endSoon(): void {
    this.#hasViews = true
    if (this.#isDue) return
    soon(() => {
      this.#isDue = false
      this.detachViews()
    })
    this.#isDue = true
  }

  override detachViews(): void {
    if (!this.#hasViews) return
    if (!this.#sharesMemory) this.detachShared()
    const views = this.#views
    // Each is forgotten once it is detached, so that none stays where this is interrupted.
    for (let last = views.length - 1; last >= 0; last--) {
      this.closeOwn(views[last].block, views[last].wrap)
      views.length = last
    }
    this.#hasViews = false
  }

  override take(sizeBytes: number, alignBytes: number): Block {
    this.detachViews()
    return super.take(sizeBytes, alignBytes)
  }

  override mayMove(block: Block, sizeBytes: number): boolean {
    this.detachViews()
    return super.mayMove(block, sizeBytes)
  }

  override move(moves: Int32Array, count: number): void {
    this.detachViews()
    super.move(moves, count)
  }

  override end(block: Block, sizeBytes: number): void {
    this.detachViews()
    super.end(block, sizeBytes)
  }

  override endAll(staying: ReadonlyMap<Block, number>): void {
    this.detachViews()
    super.endAll(staying)
  }

  override removeSegment(segment: Segment): void {
    this.detachViews()
    super.removeSegment(segment)
  }

  override get reaches(): Reach[] {
    return [
      ...super.reaches,
      ...this.#views.map(({ block, wrap }) => ({ startBytes: block * GRANULE_BYTES, wrapId: wrap.wrapId })),
    ]
  }
}
