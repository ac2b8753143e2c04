/**
 * Blocks and Buffers while `debug` is on. Every block has an `ArrayBuffer` of exactly its bytes, detached
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
import { type Block, GRANULE_BYTES, type PageCount } from '../../base/units.js'
import type { BlockHeap } from '../../heap/block-heap.js'
import type { PageSource } from '../../memory/page-source.js'
import type { WrapId } from '../../memory/runtime.js'
import { type DamageKind, DamageReports } from '../../notices/damage.js'
import { BlockBuffers } from '../block-buffers.js'
import type { ArenaBuffer, Epoch } from '../owner.js'
import { type DebugLayout, debugLayoutOf } from './debug-layout.js'
import { Quarantine, type QuarantineBounds } from './debug-quarantine.js'
import { Trace } from './trace.js'

/** These bytes make no small number, no text and no plausible address. */
const SLACK_BYTE = 0xfd
const FREED_BYTE = 0xdb
const NOWHERE = new Trace()

/** What is known of a block, from its allocation until its memory is free. */
interface DebugBlock {
  readonly block: Block
  readonly sizeBytes: number
  /** The first byte of the owner's bytes, counted from the block's start. */
  readonly startBytes: number
  /** The bytes of the block that can be read: all but its guard. */
  readableBytes: number
  /** Whether the last page is a guard, or will be one in a moment. */
  isGuarded: boolean
  /** Whether the bytes around the owner's bytes have their pattern. */
  isFilled: boolean
  readonly allocatedAt: Trace
  freedAt: Trace | null
  /** Whether the owner was collected without `free`. The pattern around the block is then looked at later. */
  isForgotten: boolean
}

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

export class DebugBuffers extends BlockBuffers {
  readonly #heap: BlockHeap
  readonly #source: PageSource
  readonly #surroundings: DebugSurroundings
  readonly #reports: DamageReports
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
    super(heap, source, 0, surroundings.arenaName)
    this.#heap = heap
    this.#source = source
    this.#surroundings = surroundings
    this.#reports = new DamageReports(surroundings.arenaName)
    const { quarantineBlocks, quarantineBytes, releaseAfterMs } = surroundings
    // Where pages go back on the freeing call, no block may wait.
    this.#quarantine = new Quarantine({
      quarantineBlocks: releaseAfterMs === 0 ? 0 : quarantineBlocks,
      quarantineBytes,
    })
  }

  override get quarantinedBlocks(): number {
    return this.#quarantine.blocks
  }

  override get quarantinedBytes(): number {
    return this.#quarantine.bytes
  }

  override get setAsideBlocks(): number {
    return super.setAsideBlocks + this.#quarantine.blocks + this.#stuck.size
  }

  override isSetAside(block: Block): boolean {
    return super.isSetAside(block) || this.#quarantine.has(block) || this.#stuck.has(block)
  }

  override get hasIdle(): boolean {
    return super.hasIdle || this.#stuck.size > 0
  }

  override pagesFor(sizeBytes: number, alignBytes: number): PageCount {
    return this.#heap.pagesFor(this.#layoutOf(sizeBytes, alignBytes).heldBytes)
  }

  override runPagesFor(sizeBytes: number, alignBytes: number): PageCount {
    const layout = this.#layoutOf(sizeBytes, alignBytes)
    return this.#heap.runPagesFor(layout.heldBytes, layout.alignBytes)
  }

  override take(sizeBytes: number, alignBytes: number): Block {
    const layout = this.#layoutOf(sizeBytes, alignBytes)
    return super.take(layout.heldBytes, layout.alignBytes)
  }

  /** A resize always moves the block, so that code which still uses the old bytes is found. */
  override get mayResize(): boolean {
    return false
  }

  override mayResizeTo(): boolean {
    return false
  }

  override makeOwner(block: Block, sizeBytes: number, epoch: Epoch, alignBytes: number): ArenaBuffer {
    const { startBytes, hasGuard } = this.#layoutOf(sizeBytes, alignBytes)
    // This is first, because it may throw.
    const buffer = this.makeDetachable(block, startBytes, sizeBytes, epoch)
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
    for (const [from, length] of slackOf(record)) this.#fill(record, from, length, SLACK_BYTE)
    record.isFilled = true
    this.#recordOf.set(buffer, record)
    return buffer
  }

  /** A purge would remove the pattern around the block. */
  override renew(): boolean {
    return false
  }

  override takeBack(block: Block): void {
    const record = this.#records.get(block)
    this.own.discard(block)
    if (record === undefined) this.#heap.free(block)
    else this.#letGo(record)
  }

  override end(block: Block, sizeBytes: number): void {
    this.#checkSlack(this.#record(block))
    super.end(block, sizeBytes)
  }

  override forget(block: Block, sizeBytes: number, wrapId: WrapId): void {
    this.#record(block).isForgotten = true
    super.forget(block, sizeBytes, wrapId)
  }

  protected override release(block: Block): void {
    const record = this.#record(block)
    // Not earlier: until now native code may have used a view.
    if (record.isForgotten) this.#checkSlack(record)
    if (this.#isClosing || !this.#quarantine.accepts(record.sizeBytes)) {
      this.#letGo(record)
      return
    }
    // This is first: after an interruption the pattern around the block must not be looked for, because it is
    // overwritten.
    record.isFilled = false
    this.#fill(record, 0, record.readableBytes, FREED_BYTE)
    for (const oldest of this.#quarantine.add(record)) this.#leave(oldest)
    this.#arm()
  }

  /** Ends the quarantine of all blocks. Returns how many became free. */
  override emptyQuarantine(): number {
    const leaving = this.#quarantine.takeAll()
    for (const record of leaving) this.#leave(record)
    if (leaving.length > 0 && !this.#isClosing) this.#surroundings.cameFree()
    return leaving.length
  }

  override recoverSetAside(): void {
    super.recoverSetAside()
    // A copy, because `#letGo` adds a block again whose guard the kernel still refuses to remove.
    for (const [block, record] of [...this.#stuck]) {
      this.#stuck.delete(block)
      this.#letGo(record)
    }
  }

  override recount(): void {
    super.recount()
    this.#arm()
  }

  override noteAllocation(): void {
    this.#allocatedAt = new Trace()
  }

  override noteEnd(block: Block): void {
    const record = this.#records.get(block)
    if (record !== undefined) record.freedAt ??= new Trace()
  }

  override noteEndOfAll(): void {
    this.#allFreedAt = new Trace()
  }

  protected override clear(staying: ReadonlyMap<Block, number>): void {
    this.emptyQuarantine()
    const ending: DebugBlock[] = []
    for (const record of this.#records.values()) {
      if (this.isSetAside(record.block)) continue
      record.freedAt ??= this.#allFreedAt
      if (staying.has(record.block)) continue
      this.#checkSlack(record)
      ending.push(record)
    }
    super.clear(staying)
    const ended = ending.filter(({ block }) => !this.isSetAside(block))
    // Only blocks that stay in quarantine get the pattern, because it makes pages resident.
    const first = this.#quarantine.firstFitting(ended)
    for (const record of ended.slice(0, first)) this.#letGo(record)
    for (const record of ended.slice(first)) this.release(record.block)
  }

  override abandonSetAside(): void {
    this.#isClosing = true
    this.#timer?.cancel()
    this.#timer = null
    this.emptyQuarantine()
    super.abandonSetAside()
    // Memory that is going to be unmapped may keep its guards.
    for (const { block } of this.#stuck.values()) this.#heap.free(block)
    this.#stuck.clear()
    this.#records.clear()
  }

  /** Where a Buffer's block was first freed. The `cause` is where it was allocated. */
  override historyOf(buffer: unknown): Error | undefined {
    const record = typeof buffer === 'object' && buffer !== null ? this.#recordOf.get(buffer) : undefined
    if (record === undefined) return undefined
    const allocated = record.allocatedAt.toError(`${record.sizeBytes} bytes were allocated here`)
    return record.freedAt === null ? allocated : record.freedAt.toError('It was first freed here', allocated)
  }

  // ---- quarantine -----------------------------------------------------------------------------------------

  /** Ends the quarantine of a block: looks for writes to it, then frees it. */
  #leave(record: DebugBlock): void {
    this.#checkFreed(record)
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

  // ---- patterns -------------------------------------------------------------------------------------------

  #checkSlack(record: DebugBlock): void {
    if (!record.isFilled) return
    for (const [from, length] of slackOf(record)) {
      if (this.#checkBytes(record, 'overrun', from, length, SLACK_BYTE)) return
    }
  }

  #checkFreed(record: DebugBlock): void {
    this.#checkBytes(record, 'write-after-free', 0, record.readableBytes, FREED_BYTE)
  }

  /**
   * Reports the first byte of a stretch of the block that is not `byte`, and repairs the pattern, so that
   * damage is reported once. Returns whether there was such a byte.
   */
  #checkBytes(
    record: DebugBlock,
    kind: DamageKind,
    fromBytes: number,
    lengthBytes: number,
    byte: number,
  ): boolean {
    const index = this.#source.firstOther(record.block * GRANULE_BYTES + fromBytes, lengthBytes, byte)
    if (index < 0) return false
    this.#fill(record, fromBytes, lengthBytes, byte)
    this.#reports.report(kind, {
      sizeBytes: record.sizeBytes,
      offsetBytes: fromBytes + index - record.startBytes,
      allocatedAt: record.allocatedAt,
      freedAt: record.freedAt,
    })
    return true
  }

  #fill(record: DebugBlock, fromBytes: number, lengthBytes: number, byte: number): void {
    this.#source.fill(record.block * GRANULE_BYTES + fromBytes, lengthBytes, byte)
  }

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
  override check(liveBlocks: number): void {
    super.check(liveBlocks)
    this.#quarantine.check()
    invariant(this.#records.size >= liveBlocks + this.setAsideBlocks, '1: every block has its record')
    invariant(
      !this.#isTimed || this.#quarantine.blocks === 0 || this.#timer !== null,
      '2: what is in quarantine leaves it',
    )
    for (const record of this.#quarantine) this.#checkFreed(record)
    for (const record of this.#records.values()) {
      if (!this.isSetAside(record.block)) this.#checkSlack(record)
    }
  }
}

/**
 * The stretches of a block before and after its owner's bytes: first byte, counted from the block's start,
 * and length.
 */
function slackOf(record: DebugBlock): [fromBytes: number, lengthBytes: number][] {
  const { startBytes, sizeBytes, readableBytes } = record
  const endBytes = startBytes + sizeBytes
  const slack: [number, number][] = []
  if (startBytes > 0) slack.push([0, startBytes])
  if (readableBytes > endBytes) slack.push([endBytes, readableBytes - endBytes])
  return slack
}
