/**
 * The life of a block while `debug` is on: see `Blocks`. Every block has an `ArrayBuffer` of exactly its bytes, detached
 * when the block ends. So script finds length 0 from then on. Writes by code outside of JavaScript are found
 * by patterns: one around every live block, and one all over a block in quarantine. Both are looked at before
 * the memory is used again. A block of a page or more has a guard behind it: a page on which any access is a
 * fault. Where there can be no guard, that page has the pattern.
 *
 * Invariants, checked by `check()`:
 *  1. Every live block of the heap has a record: blocks with an owner, blocks in quarantine, and blocks set
 *     aside.
 *  2. While blocks are in quarantine, a timer is due, if blocks leave it by timer.
 */
import { invariant } from '../../base/assert.js'
import type { Deferral, Timer } from '../../base/deferral.js'
import { SafeMap } from '../../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE, type PageCount } from '../../base/units.js'
import type { BlockHeap } from '../../heap/block-heap.js'
import type { PageSource } from '../../memory/page-source.js'
import type { WrapId } from '../../memory/runtime.js'
import { endOf, type Segment } from '../../memory/segment.js'
import { DamageReports } from '../../notices/damage.js'
import { type Blocks, type Debugging, giveBackAll, takeFrom } from '../blocks.js'
import { Forgotten } from '../forgotten.js'
import { OwnBuffers } from '../own-buffers.js'
import type { ArenaBuffer, Epoch } from '../owner.js'
import { SetAside } from '../set-aside.js'
import { transferRefusal } from '../transfer-refusal.js'
import type { ViewReach } from '../view-reach.js'
import type { Reach } from '../windows.js'
import { type DebugLayout, debugLayoutOf } from './debug-layout.js'
import { type DebugBlock, Patterns } from './debug-patterns.js'
import { Quarantine, type QuarantineBounds } from './debug-quarantine.js'
import { Trace } from './trace.js'

const { ceil } = Math

const NOWHERE = new Trace()
/** No block with `debug` lies in a window. */
const NO_WINDOWS: ReadonlySet<number> = new Set()
const noWindow = () => {}

export interface DebugSurroundings extends QuarantineBounds {
  readonly arenaName: string
  readonly deferral: Deferral
  /** The option of the arena: within this time a freed block leaves the quarantine and its pages go back. */
  readonly releaseAfterMs: number
  /** Is called when blocks became free outside of a call that frees. */
  readonly cameFree: () => void
  /** Is called when blocks became free by timer: their pages are to go back now. */
  readonly giveBack: () => void
}

export class DebugBuffers implements Blocks, Debugging {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #own: OwnBuffers
  readonly #forgotten: Forgotten
  readonly #setAside: SetAside
  readonly #surroundings: DebugSurroundings
  readonly #patterns: Patterns
  readonly #quarantine: Quarantine<DebugBlock>
  readonly #records = new SafeMap<Block, DebugBlock>()
  /** The record of each Buffer, for errors about it, for as long as the Buffer exists. */
  readonly #recordOf = new WeakMap<object, DebugBlock>()
  /** Blocks that ended and whose guard the kernel has not removed yet. */
  readonly #stuck = new SafeMap<Block, DebugBlock>()
  /**
   * The stacks of the call under way. They are taken before it changes anything, because a formatter of
   * stacks is script.
   */
  #allocatedAt = NOWHERE
  #allFreedAt = NOWHERE
  #timer: Timer | null = null
  #isClosing = false

  constructor(heap: BlockHeap, source: PageSource, surroundings: DebugSurroundings) {
    this.#heap = heap
    this.#source = source
    this.#own = new OwnBuffers(source, transferRefusal(surroundings.arenaName))
    this.#forgotten = new Forgotten(source)
    this.#setAside = new SetAside(source)
    this.#surroundings = surroundings
    this.#patterns = new Patterns(source, new DamageReports(surroundings.arenaName))
    const { quarantineBlocks, quarantineBytes, releaseAfterMs } = surroundings
    // Where pages go back on the freeing call, no block may wait.
    this.#quarantine = new Quarantine({
      quarantineBlocks: releaseAfterMs === 0 ? 0 : quarantineBlocks,
      quarantineBytes,
    })
  }

  // ---- taking ---------------------------------------------------------------------------------------------

  pagesFor(sizeBytes: number, alignBytes: number): PageCount {
    return this.#heap.pagesFor(this.#layoutOf(sizeBytes, alignBytes).heldBytes)
  }

  runPagesFor(sizeBytes: number, alignBytes: number): PageCount {
    const layout = this.#layoutOf(sizeBytes, alignBytes)
    return this.#heap.runPagesFor(layout.heldBytes, layout.alignBytes)
  }

  take(sizeBytes: number, alignBytes: number): Block {
    const layout = this.#layoutOf(sizeBytes, alignBytes)
    return takeFrom(this.#heap, layout.heldBytes, layout.alignBytes)
  }

  makeOwner(block: Block, sizeBytes: number, epoch: Epoch, alignBytes: number): ArenaBuffer {
    const { startBytes, hasGuard } = this.#layoutOf(sizeBytes, alignBytes)
    // This is first, because it may throw.
    const buffer = this.#own.makeDetachable(block, startBytes, sizeBytes, epoch)
    const heldBytes = this.#heap.sizeOf(block)
    const record: DebugBlock = {
      block,
      sizeBytes,
      startBytes,
      readableBytes: hasGuard ? heldBytes - this.#heap.pageBytes : heldBytes,
      isGuarded: hasGuard,
      isFilled: false,
      allocatedAt: this.#allocatedAt,
      freedAt: null,
      isForgotten: false,
    }
    // The record comes before the guard. After an interruption, only the record tells of the guard.
    this.#records.set(block, record)
    if (hasGuard && !this.#source.guard(this.#guardPageOf(block, heldBytes))) {
      record.isGuarded = false
      record.readableBytes = heldBytes
    }
    this.#patterns.surround(record)
    this.#recordOf.set(buffer, record)
    return buffer
  }

  /** A purge would remove the pattern around the block. */
  renew(): boolean {
    return false
  }

  takeBack(block: Block): void {
    const record = this.#records.get(block)
    this.#own.discard(block)
    if (record === undefined) this.#heap.free(block)
    else this.#letGo(record)
  }

  wrapIdOf(block: Block): WrapId {
    return this.#own.wrapIdOf(block)
  }

  // ---- resizing -------------------------------------------------------------------------------------------

  /** A resize always moves the block, so that code which still uses the old bytes is found. */
  get resizing(): null {
    return null
  }

  get moving(): null {
    return null
  }

  // ---- ending ---------------------------------------------------------------------------------------------

  /** Only windows have to be told. No block with `debug` lies in one. */
  notice(): void {}

  end(block: Block): void {
    this.#patterns.checkAround(this.#record(block))
    const wrapId = this.#own.detach(block)
    if (wrapId === null) this.#release(block)
    else this.#setAside.add(block, wrapId)
  }

  forget(block: Block, _sizeBytes: number, wrapId: WrapId): void {
    this.#record(block).isForgotten = true
    if (this.#own.isTaken(block)) {
      this.end(block)
      return
    }
    const { buffer, reachedBy } = this.#own.giveUp(block)
    this.#forgotten.add(block, wrapId, false, reachedBy)
    this.#forgotten.hold(wrapId, buffer, block * GRANULE_BYTES, false)
  }

  /** Ends a block that nobody can reach any more: it waits in quarantine, or is given back. */
  #release(block: Block): void {
    const record = this.#record(block)
    // Not earlier: until now native code may have used a view.
    if (record.isForgotten) this.#patterns.checkAround(record)
    if (this.#isClosing || !this.#quarantine.accepts(record.sizeBytes)) {
      this.#letGo(record)
      return
    }
    this.#patterns.cover(record)
    for (const oldest of this.#quarantine.add(record)) this.#leave(oldest)
    this.#arm()
  }

  endAll(staying: ReadonlyMap<Block, number>): void {
    this.emptyQuarantine()
    const ending: DebugBlock[] = []
    for (const record of this.#records.values()) {
      if (this.isSetAside(record.block)) continue
      record.freedAt ??= this.#allFreedAt
      if (staying.has(record.block)) continue
      this.#patterns.checkAround(record)
      ending.push(record)
    }
    this.#clearBuffers(staying)
    const ended = ending.filter(({ block }) => !this.isSetAside(block))
    // Only blocks that stay in quarantine get the pattern, because it makes pages resident.
    const first = this.#quarantine.firstFitting(ended)
    for (const record of ended.slice(0, first)) this.#letGo(record)
    for (const record of ended.slice(first)) this.#release(record.block)
    // Blocks without a record are those that an interrupted call left behind.
    giveBackAll(this.#heap, block => staying.has(block) || this.isSetAside(block))
  }

  /** Detaches every buffer but those of blocks in `staying`. */
  #clearBuffers(staying: ReadonlyMap<Block, number>): void {
    this.#forgotten.clear(NO_WINDOWS, noWindow, (block, wrapId) => this.#setAside.add(block, wrapId))
    this.#own.clear(
      block => staying.has(block),
      (block, wrapId) => this.#setAside.add(block, wrapId),
    )
  }

  // ---- waiting --------------------------------------------------------------------------------------------

  get setAsideBlocks(): number {
    return this.#setAside.size + this.#forgotten.size + this.#quarantine.blocks + this.#stuck.size
  }

  isSetAside(block: Block): boolean {
    return this.#setAside.has(block) || this.#quarantine.has(block) || this.#stuck.has(block)
  }

  get onCollected(): (() => void) | null {
    return this.#forgotten.onCollected
  }

  set onCollected(run: (() => void) | null) {
    this.#forgotten.onCollected = run
  }

  recoverSetAside(): void {
    this.#setAside.recover(block => this.#release(block))
    this.#forgotten.endUnseen((block, _isShared, reachedBy) => {
      if (reachedBy === null) this.#release(block)
      else this.#setAside.add(block, reachedBy)
    })
    // A copy, because `#letGo` adds a block again whose guard the kernel still refuses to remove.
    for (const [block, record] of [...this.#stuck]) {
      this.#stuck.delete(block)
      this.#letGo(record)
    }
  }

  abandonSetAside(): void {
    this.#isClosing = true
    this.#timer?.cancel()
    this.#timer = null
    this.emptyQuarantine()
    // Views of these blocks may be left, so their bytes stay. Memory that is already unmapped must not be
    // written to.
    this.#heap.stopWiping()
    this.#setAside.abandon(block => this.#release(block))
    // Memory that is going to be unmapped may keep its guards.
    for (const { block } of this.#stuck.values()) this.#heap.free(block)
    this.#stuck.clear()
    this.#records.clear()
  }

  // ---- buffers and segments -------------------------------------------------------------------------------

  has(memory: ArrayBufferLike): boolean {
    return this.#own.has(memory) || this.#forgotten.holds(memory)
  }

  blockUnder({ memory }: ViewReach): Block {
    return memory.byteLength === 0 ? NONE : this.#own.blockUnder(memory)
  }

  get reaches(): Reach[] {
    return [...this.#own.reaches, ...this.#forgotten.reaches, ...this.#setAside.reaches]
  }

  get hasIdle(): boolean {
    if (this.#own.idleBytes > 0 || this.#forgotten.collectedCount > 0) return true
    return this.#setAside.size > 0 || this.#stuck.size > 0
  }

  dropIdle(): void {
    const { pageBytes } = this.#heap
    this.#own.dropIdle((offset, length) => !this.#heap.anyDirty(offset / pageBytes, ceil(length / pageBytes)))
  }

  noticeTaken(): void {
    this.#own.noticeTaken()
    this.#forgotten.noticeTaken(noWindow)
  }

  /** Only windows have books of segments. */
  addSegment(): void {}

  removeSegment(segment: Segment): void {
    this.#own.removeSegment(segment)
    const { pageBytes } = this.#source
    this.#forgotten.removeRange(segment.firstPage * pageBytes, endOf(segment) * pageBytes)
  }

  recount(): void {
    this.#own.recount()
    this.#arm()
  }

  // ---- what only `debug` has -------------------------------------------------------------------------------

  noteAllocation(): void {
    this.#allocatedAt = new Trace()
  }

  noteEnd(block: Block): void {
    const record = this.#records.get(block)
    if (record !== undefined) record.freedAt ??= new Trace()
  }

  noteEndOfAll(): void {
    this.#allFreedAt = new Trace()
  }

  /** Where a Buffer's block was first freed. The `cause` is where it was allocated. */
  historyOf(buffer: unknown): Error | undefined {
    const record = typeof buffer === 'object' && buffer !== null ? this.#recordOf.get(buffer) : undefined
    if (record === undefined) return undefined
    const allocated = record.allocatedAt.toError(`${record.sizeBytes} bytes were allocated here`)
    return record.freedAt === null ? allocated : record.freedAt.toError('It was first freed here', allocated)
  }

  get quarantinedBlocks(): number {
    return this.#quarantine.blocks
  }

  get quarantinedBytes(): number {
    return this.#quarantine.bytes
  }

  emptyQuarantine(): number {
    const leaving = this.#quarantine.takeAll()
    for (const record of leaving) this.#leave(record)
    if (leaving.length > 0 && !this.#isClosing) this.#surroundings.cameFree()
    return leaving.length
  }

  // ---- quarantine -----------------------------------------------------------------------------------------

  /** Ends the quarantine of a block: looks for writes to it, then frees it. */
  #leave(record: DebugBlock): void {
    this.#patterns.checkCover(record)
    this.#letGo(record)
  }

  /**
   * Frees the memory of a block that ended. If the kernel refuses to remove its guard, that is tried again
   * later.
   */
  #letGo(record: DebugBlock): void {
    const { block, isGuarded } = record
    if (isGuarded) {
      try {
        this.#source.unguard(this.#guardPageOf(block, this.#heap.sizeOf(block)))
      } catch {
        this.#stuck.set(block, record)
        return
      }
    }
    this.#records.delete(block)
    this.#heap.free(block)
  }

  get #isTimed(): boolean {
    return this.#surroundings.releaseAfterMs < Number.POSITIVE_INFINITY
  }

  /**
   * Starts the timer. A block leaves at the second run that sees it, so it waits for half of `releaseAfterMs`
   * to all of it.
   */
  #arm(): void {
    if (this.#timer !== null || this.#quarantine.blocks === 0 || !this.#isTimed) return
    this.#timer = this.#surroundings.deferral.after(this.#surroundings.releaseAfterMs / 2, () => {
      this.#timer = null
      const leaving = this.#quarantine.takeAged()
      for (const record of leaving) this.#leave(record)
      this.#arm()
      if (leaving.length > 0) this.#surroundings.giveBack()
    })
  }

  // ---- records --------------------------------------------------------------------------------------------

  #layoutOf(sizeBytes: number, alignBytes: number): DebugLayout {
    return debugLayoutOf(sizeBytes, alignBytes, this.#heap.pageBytes)
  }

  #guardPageOf(block: Block, heldBytes: number): number {
    return (block * GRANULE_BYTES + heldBytes) / this.#heap.pageBytes - 1
  }

  #record(block: Block): DebugBlock {
    const record = this.#records.get(block)
    invariant(record !== undefined, `1: block ${block} has its record`)
    return record
  }

  /** Reports the damage that it finds. Damage is not a broken invariant. */
  check(liveBlocks: number): void {
    this.#own.check(this.#own.liveBlocks)
    this.#forgotten.check()
    invariant(this.#own.liveBlocks >= liveBlocks, '1: every owner has its buffer')
    this.#quarantine.check()
    invariant(this.#records.size >= liveBlocks + this.setAsideBlocks, '1: every block has its record')
    invariant(
      !this.#isTimed || this.#quarantine.blocks === 0 || this.#timer !== null,
      '2: what is in quarantine leaves it',
    )
    for (const record of this.#quarantine) this.#patterns.checkCover(record)
    for (const record of this.#records.values()) {
      if (!this.isSetAside(record.block)) this.#patterns.checkAround(record)
    }
  }
}
