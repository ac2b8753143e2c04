/**
 * `Store`: records that are named by a number and move together by themselves, so that pages with little on them go back.
 * It checks arguments, delegates to the layers below and owns the lifetime of all of them.
 *
 * The warm paths of `allocUnsafe`, `free` and `view` are one heap operation, a slot, or one Buffer: no native call, no
 * system call, no look-up.
 *
 * Invariants, checked by `check()` together with those of the layers below:
 *  1. each record has a live block of its own, also an empty one, and the heap has no other live blocks but those set
 *     aside, those of records that end at their last unpin, and those that interrupted calls left behind
 *  2. `liveBytes` is the sum of the sizes of all records
 */
import { type InspectOptionsStylized, inspect } from 'node:util'
import { requireListener } from '../arena/arguments.js'
import { Changes } from '../arena/changes.js'
import { factsOf } from '../arena/description.js'
import { statsOf } from '../arena/stats.js'
import { endIfDropped, wasClosed } from '../arena/unclosed.js'
import { requireFunction, requireNumber } from '../base/arguments.js'
import { invariant } from '../base/assert.js'
import { describe } from '../base/description.js'
import { ArenaError, invalidArgType, isLimit, isOverflow, outOfRange } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { partsOf } from '../base/made-of.js'
import { copyBytes, fillBytes, lengthOf } from '../base/primordials.js'
import { SLICE_MS } from '../base/timer-queue.js'
import { type Block, GRANULE_BYTES, GRANULE_SHIFT, NONE } from '../base/units.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import { RecordPins } from '../buffers/records/record-pins.js'
import { requireSize } from '../buffers/size.js'
import type { LimitListener } from '../notices/notices.js'
import { type Surroundings, surroundingsFor } from '../process/environment.js'
import { GAIN_AT_ONCE, GAIN_BY_TIMER } from '../release/compaction-policy.js'
import { SlicedTrim } from '../release/sliced-trim.js'
import { NOT_ASKED, outOfMemory } from '../supply/supply.js'
import {
  busyError,
  closedError,
  closePinnedError,
  closingError,
  purgeError,
  reallocPinnedError,
  refError,
} from './errors.js'
import { resolveStoreOptions, type StoreOptions } from './options.js'
import { assembleStore, type StoreParts } from './parts.js'
import { RecordAccess } from './record-access.js'
import { type OldRecord, SAMPLED_EVERY, Samples, SKIPPED } from './samples.js'
import { BLOCK, indexOf, MAX_RECORD_BYTES, type Ref, SIZE } from './slots.js'
import type { CompactReport, StoreStats } from './stats.js'
import { shortageIn } from './ticks.js'

const Bytes = Uint8Array
const { max, min } = Math

/** The part of a slice after which no new step begins, so that the slice ends in time. */
const WORK_SHARE = 0.7

/** The options of `store.compact()`. All are optional. An option that does not exist is refused. */
export interface CompactOptions {
  /** About how long the call may take, in milliseconds. Default 1. */
  maxMs?: number
  /**
   * How much must come free for what is moved: the records of a page move if the free bytes on it are at least this share
   * of the bytes to copy. From 0.01 to 1. Less frees more, and copies more. Default 0.3: pages up to about three quarters
   * full. It counts from the beginning of a compaction, so a call that goes on with one leaves it as it is.
   */
  gain?: number
}

const KNOWN_COMPACT_OPTIONS = keysOf<CompactOptions>({ maxMs: true, gain: true })

/**
 * Off-heap records that move together by themselves, so that pages on which few records are left go back to the operating
 * system. A record is a block of bytes that is named by a number, its *ref*. For many values of up to some KiB; records
 * longer than 64 KiB do not move.
 *
 * A view of a record is good until you await or change the store (make, resize or free a record, compact, trim). After that
 * the record may lie elsewhere, and the view has length 0, or shows other bytes. For whatever lasts longer, take a `copy`
 * or `lend` the record.
 *
 * A store belongs to the thread that made it. Methods that take a ref throw `ERR_ARENA_DOUBLE_FREE` if its record was
 * freed, and `ERR_INVALID_ARG_TYPE` if it is no number. Methods throw `ERR_ARENA_CLOSED` after `close`, and
 * `ERR_ARENA_BUSY` in the middle of another call of the store.
 *
 * ```ts
 * const store = new Store({ name: 'sessions', limitBytes: 256 * 2 ** 20 })
 * const refs = new Map<string, Ref>()
 * refs.set(key, store.put(bytes))
 * const ref = refs.get(key)
 * if (ref !== undefined) session = JSON.parse(store.view(ref).toString())
 * ```
 */
export class Store extends RecordAccess {
  readonly #arena = partsOf(this).arena
  readonly #slots = partsOf(this).slots
  readonly #tally = partsOf(this).tally
  readonly #compaction = partsOf(this).compaction
  readonly #ticks = partsOf(this).compaction.ticks
  readonly #heap = partsOf(this).arena.heap
  readonly #gate = partsOf(this).arena.gate
  readonly #records = partsOf(this).arena.buffers
  readonly #releaser = partsOf(this).arena.releaser
  readonly #identity = { name: partsOf(this).options.arena.name }
  readonly #pins = new RecordPins(
    this.#records,
    this.#identity.name,
    run => partsOf(this).arena.environment.deferral.nextTurn(run),
    (ref, block, sizeBytes) => this.#endUnpinned(ref as Ref, block, sizeBytes),
  )
  readonly #changes = new Changes(
    this.#identity,
    this.#gate,
    this.#releaser,
    () => this.#endAll(),
    ({ name }, method) => busyError(name, method),
  )
  readonly #leaveGroup = partsOf(this).arena.environment.group?.add(this.#arena.member)
  readonly #samples = new Samples(ref => this.#slots.has(ref))
  #sampleAt = 1
  /** Whether warm paths may be taken: the store gives records, and `debug` is not set. */
  #isPlain = !partsOf(this).options.isDebug
  /** Whether `free` may take its warm path: nothing is pinned, and `debug` is not set. */
  #freesPlainly = !partsOf(this).options.isDebug
  #givesRecords = true
  #isClosed = false
  #closing: Promise<void> | undefined
  #slicedTrim: SlicedTrim | undefined
  /** A tick that moves every record is due (`debug`). */
  #isShuffleDue = false

  /**
   * Makes a store. It takes no memory yet. Throws what `new Arena` throws: errors of Node for bad options,
   * `ERR_ARENA_UNSUPPORTED_PLATFORM` and `ERR_ARENA_NOT_SUPPORTED` where there is no off-heap memory.
   *
   * ```ts
   * const store = new Store({ name: 'sessions' })
   * ```
   */
  constructor(options?: StoreOptions)
  /** @internal */
  constructor(options: StoreOptions | undefined, surroundings: Surroundings)
  constructor(options: StoreOptions = {}, surroundings?: Surroundings) {
    super(partsFor(options, surroundings))
    const { heap, source, buffers, debug, scavenger, storage, share, member } = this.#arena
    this.#compaction.pins = this.#pins
    member.stats = () => this.stats()
    if (!partsOf(this).options.isManual) {
      const compaction = this.#compaction
      member.compaction = {
        startSoon: () => compaction.startSoon(),
        slice: () => compaction.reclaimSlice(SLICE_MS * WORK_SHARE),
      }
    }
    const tally = this.#tally
    const slots = this.#slots
    this.#releaser.calls = () => 2 * tally.allocations - slots.liveCount
    endIfDropped(this, {
      kind: 'store',
      name: this.name,
      leaks: 'sampled',
      heap,
      source,
      buffers,
      debug,
      scavenger,
      storage,
      share,
    })
  }

  /** The store's name: the option `name`, or `'store-N'`. */
  get name(): string {
    return this.#identity.name
  }

  // ---- making records ---------------------------------------------------------------------------------------

  /**
   * Makes a record of `sizeBytes` bytes, all of them zero, and returns its ref. Throws
   * - `ERR_INVALID_ARG_TYPE` or `ERR_OUT_OF_RANGE` for a bad size
   * - `ERR_ARENA_LIMIT` if it does not fit below `limitBytes` or `setProcessLimit()`, even after all free pages went back
   *   and the records were moved together
   * - `ERR_ARENA_OUT_OF_MEMORY` if the kernel or V8 has no memory; `cause` is the system error
   *
   * After any throw the store is as it was before the call.
   */
  alloc(sizeBytes: number): Ref {
    for (;;) {
      const ref = this.allocUnsafe(sizeBytes)
      if (sizeBytes === 0) return ref
      const block = this.#slots.blockOf(ref)
      // On clean pages that no view reached. Filling them would only make them resident.
      if (block === this.#heap.zeroedBlock && sizeBytes > MAX_SHARED_BYTES) return ref
      if (this.#records.zero(block, sizeBytes)) return ref
      const view = this.#viewNew(ref)
      if (view === null) continue
      fillBytes(view, 0)
      if (!this.#isPlain) this.#records.detachViews()
      return ref
    }
  }

  /**
   * Makes a record of `sizeBytes` bytes without filling it, and returns its ref. Its contents are undefined: zeros, or bytes
   * of earlier records of this store, never of another store or process. Throws as `alloc` does.
   */
  allocUnsafe(sizeBytes: number): Ref {
    if (
      typeof sizeBytes === 'number' &&
      (sizeBytes | 0) === sizeBytes &&
      sizeBytes > 0 &&
      this.#isPlain &&
      !this.#gate.isTaken &&
      this.#slots.room > 0 &&
      !this.#records.hasLost
    ) {
      const block = this.#heap.allocate(sizeBytes)
      if (block >= 0) return this.#name(block, sizeBytes)
      return this.#obtain(sizeBytes, this.#heap.refusal)
    }
    return this.#allocateSlow(sizeBytes)
  }

  /** Gives a block a ref. */
  #name(block: Block, sizeBytes: number): Ref {
    const tally = this.#tally
    const granules = granulesIn(sizeBytes)
    const ref = this.#slots.take(block, sizeBytes)
    // Here and below: nothing is called between the change of a slot and the counts, where it might be interrupted.
    tally.liveBytes += sizeBytes
    tally.liveGranules += granules
    if (++tally.allocations === this.#sampleAt) this.#sample(ref)
    return ref
  }

  #sample(ref: Ref): void {
    const { allocations } = this.#tally
    // Set first: if this is interrupted, a later record is sampled all the same.
    this.#sampleAt = allocations + SAMPLED_EVERY
    const isSampled = this.#samples.add(ref, this.#arena.environment.now())
    if (!isSampled) this.#sampleAt = allocations + SKIPPED
  }

  #allocateSlow(sizeBytes: number): Ref {
    requireRecordSize(sizeBytes)
    this.#requireGiving('alloc')
    this.#records.detachViews()
    this.#growSlots()
    const ref = this.#obtain(sizeBytes, NOT_ASKED)
    this.#noteChange()
    return ref
  }

  /** Makes room for one more slot. Throws `ERR_ARENA_OUT_OF_MEMORY`. */
  #growSlots(): void {
    if (this.#slots.room > 0) return
    try {
      this.#slots.grow()
    } catch (cause) {
      throw outOfMemory({ kind: 'store', name: this.name }, 0, 'there is no memory for more refs', cause)
    }
  }

  /** Makes a record for which pages may have to be found. `refusal` says why the heap has refused it just now. */
  #obtain(sizeBytes: number, refusal: number): Ref {
    this.#changes.enter('alloc')
    try {
      const reason = this.#changes.finish() ? NOT_ASKED : refusal
      const ref = this.#name(this.#takeBlock(sizeBytes, reason), sizeBytes)
      this.#gate.isDone = true
      return ref
    } catch (error) {
      // A refusal by a limit leaves nothing half done, so the change counts as done.
      this.#gate.isDone = isLimit(error)
      throw error
    } finally {
      this.#gate.changes++
      this.#releaser.noteAllocation()
      if (!this.#ticks.isSettled) this.#ticks.noteFree()
    }
  }

  /** Takes a block, within a change. Blocks that other code can reach are set aside. */
  #takeBlock(sizeBytes: number, refusal: number): Block {
    for (let reason = refusal; ; reason = NOT_ASKED) {
      const block = this.#arena.supply.obtain(sizeBytes, GRANULE_BYTES, reason)
      if (!this.#records.hasLost || !this.#records.setAsideIfReached(block, sizeBytes)) return block
    }
  }

  /** A view of a record that was made just now. If other code can reach its memory, the record ends, and it returns null. */
  #viewNew(ref: Ref): ArenaBuffer | null {
    const block = this.#slots.blockOf(ref)
    const sizeBytes = this.#slots.sizeOf(ref)
    let view: ArenaBuffer | null = null
    try {
      view = this.#records.viewNew(block, sizeBytes)
    } catch (cause) {
      this.free(ref)
      throw this.#unseen(sizeBytes, cause)
    }
    if (view !== null) return view
    // The block is set aside already.
    this.#forget(ref, sizeBytes)
    return null
  }

  /** The error of a record whose memory could not be seen for `cause`. */
  #unseen(sizeBytes: number, cause: unknown): unknown {
    if (cause instanceof ArenaError || isOverflow(cause)) return cause
    const holder = { kind: 'store', name: this.name } as const
    return outOfMemory(holder, sizeBytes, 'the runtime could not make its ArrayBuffer', cause)
  }

  /** Ends a record in the slots and the counts, not its block. */
  #forget(ref: Ref, sizeBytes: number): void {
    const tally = this.#tally
    const granules = granulesIn(sizeBytes)
    this.#slots.free(ref)
    tally.liveBytes -= sizeBytes
    tally.liveGranules -= granules
  }

  /**
   * Makes a record with a copy of `bytes`, and returns its ref. `bytes` may be a view of this store. Throws as `alloc` does,
   * and `ERR_INVALID_ARG_TYPE` if `bytes` is no `Uint8Array`.
   *
   * ```ts
   * const ref = store.put(Buffer.from(JSON.stringify(session)))
   * ```
   */
  put(bytes: Uint8Array): Ref {
    if (!(bytes instanceof Bytes)) throw invalidArgType('bytes', 'a Uint8Array', bytes)
    const sizeBytes = lengthOf(bytes)
    // Making room may move the record of which `bytes` is a view.
    const source = this.#isPlain && this.#hasRoomFor(sizeBytes) ? bytes : new Bytes(bytes)
    for (;;) {
      const ref = this.allocUnsafe(sizeBytes)
      if (sizeBytes === 0) return ref
      const view = this.#viewNew(ref)
      if (view === null) continue
      try {
        copyBytes(view, source)
      } catch (error) {
        // `bytes` was taken away meanwhile.
        this.free(ref)
        throw error
      }
      if (!this.#isPlain) this.#records.detachViews()
      return ref
    }
  }

  /** Whether making a record of that size cannot move others: no limit is near. */
  #hasRoomFor(sizeBytes: number): boolean {
    const { committedPages, limitPages } = this.#heap
    return committedPages + this.#heap.pagesFor(sizeBytes) + 64 < limitPages
  }

  // ---- using records ----------------------------------------------------------------------------------------

  /** Returns whether `ref` names a live record of this store. Takes any value, and never throws. */
  has(ref: unknown): ref is Ref {
    return this.#slots.has(ref)
  }

  /** Returns the length of record `ref` in bytes, as asked for. */
  sizeOf(ref: Ref): number {
    if (!this.#slots.has(ref)) throw this.refused('sizeOf', ref)
    return this.#slots.sizeOf(ref)
  }

  /**
   * Returns a Buffer over the very bytes of record `ref`: to read them, and to write them. It is good until you await or
   * change the store. The `ArrayBuffer` behind it holds other records too.
   *
   * Throws `ERR_ARENA_DETACHED` if other code took that memory away. A byte stream does that with a view: give it a `copy`.
   *
   * ```ts
   * const session = JSON.parse(store.view(ref).toString())
   * ```
   */
  view(ref: Ref): ArenaBuffer {
    return this.#see('view', ref)
  }

  #see(method: string, ref: Ref): ArenaBuffer {
    const words = this.#slots.wordsOf(ref)
    if (words === null) throw this.refused(method, ref)
    const at = indexOf(ref)
    const sizeBytes = words[at + SIZE]
    return sizeBytes === 0 ? EMPTY_BUFFER : this.#records.view(words[at + BLOCK], sizeBytes)
  }

  /**
   * Returns a copy of record `ref`, for whatever is asynchronous: a new Buffer, or `target` with the bytes at its start, and
   * the rest of it as it was. Throws the errors of `view`, `ERR_OUT_OF_RANGE` if `target` is shorter than the record, and
   * `ERR_INVALID_ARG_TYPE` if it is no `Uint8Array`.
   *
   * ```ts
   * response.end(store.copy(ref))
   * ```
   */
  copy(ref: Ref): ArenaBuffer
  copy<T extends Uint8Array>(ref: Ref, target: T): T
  copy(ref: Ref, target?: Uint8Array): Uint8Array {
    this.#requireLive('copy', ref)
    if (target === undefined) return Buffer.from(this.#see('copy', ref))
    if (!(target instanceof Bytes)) throw invalidArgType('target', 'a Uint8Array', target)
    const sizeBytes = this.#slots.sizeOf(ref)
    if (lengthOf(target) < sizeBytes) {
      throw outOfRange('target.length', `>= ${sizeBytes}, the size of the record`, lengthOf(target))
    }
    copyBytes(target, this.#see('copy', ref))
    return target
  }

  /**
   * Copies `bytes` into record `ref`, from `offset` bytes after its start on. Throws the errors of `view`, `ERR_OUT_OF_RANGE`
   * if they do not lie in the record, and `ERR_INVALID_ARG_TYPE` if `bytes` is no `Uint8Array`.
   */
  write(ref: Ref, bytes: Uint8Array, offset = 0): void {
    if (!(bytes instanceof Bytes)) throw invalidArgType('bytes', 'a Uint8Array', bytes)
    // Checked before the record is looked at, which may fail for lack of memory.
    this.#requireLive('write', ref)
    const sizeBytes = this.#slots.sizeOf(ref)
    const most = sizeBytes - lengthOf(bytes)
    if (!Number.isInteger(offset) || offset < 0 || offset > most) {
      throw most < 0
        ? outOfRange('bytes.length', `<= ${sizeBytes}, the size of the record`, lengthOf(bytes))
        : outOfRange('offset', `an integer from 0 to ${most}`, offset)
    }
    this.#see('write', ref).set(bytes, offset)
  }

  /**
   * Compares record `ref` with `bytes`, as `Buffer.compare` does: returns -1 if the record comes first, 0 if both are the same,
   * and 1 otherwise. Throws the errors of `view`, and `ERR_INVALID_ARG_TYPE` if `bytes` is no `Uint8Array`.
   */
  compare(ref: Ref, bytes: Uint8Array): -1 | 0 | 1 {
    if (!(bytes instanceof Bytes)) throw invalidArgType('bytes', 'a Uint8Array', bytes)
    return this.#see('compare', ref).compare(bytes)
  }

  /**
   * Changes the size of record `ref` to `sizeBytes` bytes, and returns its ref, which stays the same. The contents stay, as
   * far as they fit; bytes beyond the old size are undefined. Throws as `alloc` does, and `ERR_ARENA_PINNED` if the record
   * is pinned or lent. After a throw the record is as it was.
   */
  realloc(ref: Ref, sizeBytes: number): Ref {
    this.#requireLive('realloc', ref)
    requireRecordSize(sizeBytes)
    this.#requireGiving('realloc')
    if (this.#pins.has(ref)) throw reallocPinnedError(this.name)
    this.#records.detachViews()
    const oldBytes = this.#slots.sizeOf(ref)
    if (sizeBytes === oldBytes) return ref
    try {
      this.#changes.run('realloc', () => this.#resize(ref, oldBytes, sizeBytes))
    } finally {
      this.#releaser.noteAllocation()
      this.#noteChange()
    }
    return ref
  }

  #resize(ref: Ref, oldBytes: number, sizeBytes: number): void {
    // A reset that was interrupted may have ended all records just now.
    this.#requireLive('realloc', ref)
    const block = this.#slots.blockOf(ref)
    const isShared = oldBytes <= MAX_SHARED_BYTES && sizeBytes <= MAX_SHARED_BYTES
    // A record is never longer than its block, also where this is interrupted.
    if (isShared && sizeBytes < oldBytes) this.#set(ref, block, sizeBytes)
    if (isShared && this.#heap.resize(block, sizeBytes)) {
      this.#set(ref, block, sizeBytes)
      return
    }
    let to: Block
    try {
      to = this.#copyOf(ref, oldBytes, sizeBytes)
    } catch (error) {
      this.#set(ref, this.#slots.blockOf(ref), oldBytes)
      throw error
    }
    // Taking a block may have moved the record. From here on its size is never that of the other block.
    const from = this.#slots.blockOf(ref)
    this.#set(ref, to, sizeBytes)
    this.#records.end(from, oldBytes)
  }

  /** Points a record to a block, and counts its size. */
  #set(ref: Ref, block: Block, sizeBytes: number): void {
    const tally = this.#tally
    const oldBytes = this.#slots.sizeOf(ref)
    const granules = granulesIn(sizeBytes) - granulesIn(oldBytes)
    this.#slots.set(ref, block, sizeBytes)
    tally.liveBytes += sizeBytes - oldBytes
    tally.liveGranules += granules
  }

  /** Returns a new block of `sizeBytes` with the bytes of a record of `oldBytes`, as far as they fit. */
  #copyOf(ref: Ref, oldBytes: number, sizeBytes: number): Block {
    const to = this.#takeBlock(sizeBytes, NOT_ASKED)
    const bytes = min(oldBytes, sizeBytes)
    if (bytes === 0) return to
    try {
      const from = this.#records.view(this.#slots.blockOf(ref), oldBytes)
      copyBytes(this.#records.view(to, sizeBytes), from.subarray(0, bytes))
    } catch (error) {
      this.#records.end(to, sizeBytes)
      throw this.#unseen(sizeBytes, error)
    }
    this.#records.detachViews()
    return to
  }

  /**
   * Ends record `ref`. Its ref names nothing from now on: drop it. Pages on which no record is left are back with the kernel
   * within `releaseAfterMs`. If the record is pinned or lent, its memory stays until the last `unpin` or loan.
   */
  free(ref: Ref): void {
    const words = this.#slots.wordsOf(ref)
    if (words !== null && this.#freesPlainly && !this.#gate.isTaken) {
      const at = indexOf(ref)
      const block = words[at + BLOCK]
      const sizeBytes = words[at + SIZE]
      this.#forget(ref, sizeBytes)
      this.#records.end(block, sizeBytes)
      this.#releaser.noteFree()
      if (!this.#ticks.isSettled) this.#ticks.noteFree()
    } else this.#freeSlow(ref)
  }

  #freeSlow(ref: Ref): void {
    this.#requireLive('free', ref)
    this.#records.detachViews()
    this.#changes.runFreeing('free', () => this.#end(ref))
    this.#freesPlainly = !partsOf(this).options.isDebug && this.#pins.count === 0
    this.#noteChange()
  }

  #end(ref: Ref): void {
    // A reset that was interrupted may have ended all records just now.
    this.#requireLive('free', ref)
    const sizeBytes = this.#slots.sizeOf(ref)
    const block = this.#slots.blockOf(ref)
    if (this.#pins.has(ref)) {
      this.#endLater(ref, sizeBytes)
      return
    }
    this.#forget(ref, sizeBytes)
    this.#records.end(block, sizeBytes)
  }

  /** Ends a pinned record in the slots and the counts. Its block ends at the last unpin. */
  #endLater(ref: Ref, sizeBytes: number): void {
    const tally = this.#tally
    const granules = granulesIn(sizeBytes)
    const pin = this.#pins.of(ref)
    this.#slots.endLater(ref)
    // Nothing interrupts between the end of that call and this.
    if (pin !== undefined) pin.isEnding = true
    tally.liveBytes -= sizeBytes
    tally.liveGranules -= granules
  }

  // ---- pins -------------------------------------------------------------------------------------------------

  /**
   * Keeps record `ref` in its place, and returns a Buffer over it that stays valid until the last `unpin`: for work that has
   * no promise. Call `unpin` once for each `pin`. A pinned record keeps its page from going back: for small ones `copy` is
   * better. Throws the errors of `view`.
   */
  pin(ref: Ref): ArenaBuffer {
    this.#requireLive('pin', ref)
    const sizeBytes = this.#slots.sizeOf(ref)
    this.#freesPlainly = false
    const buffer = this.#pins.pin(ref, this.#slots.blockOf(ref), max(1, sizeBytes))
    return sizeBytes === 0 ? EMPTY_BUFFER : buffer
  }

  /**
   * Takes one `pin` of record `ref` back. The last one detaches the Buffer, and ends the record if it was freed meanwhile.
   * Throws `ERR_ARENA_NOT_PINNED` if the record is not pinned, or is held by `lend` only.
   */
  unpin(ref: Ref): void {
    if (!this.#pins.has(ref)) this.#requireLive('unpin', ref)
    this.#pins.unpin(ref)
    this.#noteChange()
  }

  /**
   * Calls `use` with a Buffer over record `ref`, and keeps the record in its place for as long as `use` takes: until the
   * promise that it returns is settled, or else until it returns. Then the Buffer has length 0. Returns the result of `use`.
   * Throws the errors of `view`, and what `use` throws.
   *
   * ```ts
   * await store.lend(ref, bytes => file.write(bytes))
   * ```
   */
  lend<T>(ref: Ref, use: (bytes: ArenaBuffer) => T): T {
    requireFunction('use', use)
    this.#requireLive('lend', ref)
    const sizeBytes = this.#slots.sizeOf(ref)
    const block = this.#slots.blockOf(ref)
    this.#freesPlainly = false
    return this.#pins.lend(ref, block, max(1, sizeBytes), buffer =>
      use(sizeBytes === 0 ? EMPTY_BUFFER : buffer),
    )
  }

  /** Ends a record at its last unpin, which may come in the middle of a change. */
  #endUnpinned(ref: Ref, block: Block, sizeBytes: number): void {
    this.#changes.runAnyway(() => {
      // Live, if what ended it was interrupted. Free, if this was: then its block has ended, or is lost.
      if (this.#slots.has(ref)) this.#forget(ref, this.#slots.sizeOf(ref))
      else if (this.#slots.isEnding(ref)) this.#slots.free(ref)
      else return
      this.#records.end(block, sizeBytes)
    })
    this.#releaser.noteFree()
    this.#noteChange()
  }

  // ---- all records ------------------------------------------------------------------------------------------

  /** Iterates over the refs of all live records, in no particular order. Records may be made and freed meanwhile. */
  *refs(): IterableIterator<Ref> {
    for (let slot = 0; slot < this.#slots.end; slot++) {
      const ref = this.#slots.refAt(slot)
      if (ref !== NONE) yield ref as Ref
    }
  }

  /**
   * Returns the oldest live records with the stacks of their making, `count` at most, the oldest first: where to look if
   * records are forgotten. The stack of 1 record in 128 is kept, and only those are among them.
   */
  oldest(count = 10): OldRecord[] {
    requireNumber('count', count, Number.MAX_SAFE_INTEGER)
    return this.#samples.oldest(count, this.#arena.environment.now(), ref => this.#slots.sizeOf(ref))
  }

  /**
   * Frees each record for which `isHeld(ref)` returns false, unless it is pinned or lent. Returns how many it freed. For a
   * program that has lost refs, and can say which ones it holds. Throws what `isHeld` throws; the records before it are
   * freed then.
   *
   * ```ts
   * const held = new Set(refs.values())
   * store.sweep(ref => held.has(ref))
   * ```
   */
  sweep(isHeld: (ref: Ref) => boolean): number {
    requireFunction('isHeld', isHeld)
    this.#requireOpen('sweep')
    let count = 0
    for (const ref of this.refs()) {
      if (isHeld(ref) || this.#pins.has(ref) || !this.#slots.has(ref)) continue
      this.free(ref)
      count++
    }
    return count
  }

  /**
   * Ends all records at once. Their refs name nothing any more, and all views have length 0. The memory of those that are
   * pinned or lent stays until the last `unpin` or loan.
   */
  reset(): void {
    this.#requireOpen('reset')
    this.#changes.runFreeing('reset', () => this.#endAll())
    this.#releaser.afterLargeFree()
    this.#noteChange()
  }

  // ---- compaction -------------------------------------------------------------------------------------------

  /**
   * Moves records together for about `maxMs` milliseconds, and gives pages back that come free. Returns what this call did.
   * Call it until `isDone`, with other work between two calls. A store with `compact: 'auto'` does that by itself.
   *
   * Throws `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` for bad options, and
   * `ERR_ARENA_OUT_OF_MEMORY` if there is no memory to move records with; `cause` is the system error.
   *
   * ```ts
   * import { setImmediate } from 'node:timers/promises'
   * while (!store.compact().isDone) await setImmediate()
   * ```
   */
  compact(options: CompactOptions = {}): CompactReport {
    requireKnownKeys('options', options, KNOWN_COMPACT_OPTIONS)
    const { maxMs = 1, gain } = options
    requireNumber('options.maxMs', maxMs, Number.MAX_SAFE_INTEGER)
    if (gain !== undefined) {
      if (typeof gain !== 'number') throw invalidArgType('options.gain', 'of type number', gain)
      if (!(gain >= 0.01 && gain <= 1)) throw outOfRange('options.gain', 'from 0.01 to 1', gain)
    }
    this.#requireOpen('compact')
    this.#records.detachViews()
    const { compactor } = this.#compaction
    const { movedRecords, movedBytes } = compactor
    return this.#changes.run('compact', () => {
      const usedBefore = this.#heap.usedPages
      const isDone = this.#compaction.slice(
        maxMs * WORK_SHARE,
        gain ?? GAIN_BY_TIMER,
        gain !== undefined && !compactor.isActive,
      )
      return {
        movedRecords: compactor.movedRecords - movedRecords,
        movedBytes: compactor.movedBytes - movedBytes,
        freedBytes: max(0, usedBefore - this.#heap.usedPages) * this.#heap.pageBytes,
        isDone,
      }
    })
  }

  /**
   * Moves all records together, unless `compact` is `'manual'`, and gives every free page back to the kernel now. With many
   * records that takes long: `trimAsync` does it in slices. Returns the bytes that went back. Throws
   * `ERR_ARENA_PURGE_FAILED` if the kernel refused to take pages; `cause` is the system error, and another call tries the
   * rest again. Throws `ERR_ARENA_OUT_OF_MEMORY` if there was no memory to move records with: free pages went back then.
   */
  trim(): number {
    this.#requireOpen('trim')
    this.#records.detachViews()
    const { scavenger } = this.#arena
    const before = scavenger.purgedPages
    let shortage: unknown = null
    this.#changes.run('trim', () => {
      // Free pages go back, also where there is no memory to move records with.
      if (!partsOf(this).options.isManual) shortage = shortageIn(() => this.#compaction.all())
      this.#releaser.releaseAll('trim')
      this.#slots.shrink()
    })
    const { failure } = this.#releaser
    if (failure !== null) throw purgeError(this.name, 'trim', failure)
    if (shortage !== null) throw shortage
    return (scavenger.purgedPages - before) * this.#heap.pageBytes
  }

  /**
   * Does what `trim` does in slices of about a millisecond, with a turn of the event loop between two slices. Resolves to
   * the bytes that went back. The process does not end by itself before the promise is settled. Rejects with the errors of
   * `trim`.
   */
  async trimAsync(): Promise<number> {
    this.#requireOpen('trimAsync')
    const { scavenger, environment } = this.#arena
    const before = scavenger.purgedPages
    let isDone = partsOf(this).options.isManual
    let shortage: unknown = null
    while (!isDone && !this.#isClosed) {
      await new Promise<void>(resolve => environment.deferral.awaitedTurn(resolve))
      if (this.#isClosed) break
      this.#ticks.attempt(() => {
        shortage = shortageIn(() => {
          isDone = this.#compaction.slice(SLICE_MS * WORK_SHARE, GAIN_AT_ONCE, false)
        })
      })
      if (shortage !== null) break
    }
    this.#slicedTrim ??= new SlicedTrim(this.#releaser, environment.deferral, environment.now)
    const { failure } = await this.#slicedTrim.run()
    if (failure !== null) throw purgeError(this.name, 'trimAsync', failure)
    if (shortage !== null) throw shortage
    return (scavenger.purgedPages - before) * this.#heap.pageBytes
  }

  // ---- what the store holds ---------------------------------------------------------------------------------

  /** Returns what the store holds now and what it has done since it was made. Makes no system call. Works on a closed store too. */
  stats(): StoreStats {
    const { limits, policy, heap, source, scavenger, options, pools } = this.#arena
    const { allocations, liveBytes } = this.#tally
    const { compactor } = this.#compaction
    const pinnedRecords = this.#pins.count
    const counted = {
      name: this.name,
      liveBytes,
      limitBytes: limits.limitBytes,
      softLimitBytes: options.softLimitBytes,
      releaseAfterMs: policy.promiseMs,
      allocations,
      frees: allocations - this.#slots.liveCount,
      pinnedBlocks: pinnedRecords,
      quarantinedBlocks: 0,
      quarantinedBytes: 0,
    }
    const stats = statsOf(counted, pools.sums(), heap, source, scavenger)
    return {
      ...stats,
      metadataBytes: stats.metadataBytes + this.#slots.bytes,
      records: this.#slots.liveCount,
      pinnedRecords,
      sparseBytes: compactor.sparsePages * heap.pageBytes,
      stuckRecords: compactor.stuckRecords,
      movedRecords: compactor.movedRecords,
      movedBytes: compactor.movedBytes,
      compactedBytes: compactor.freedPages * heap.pageBytes,
      compactMs: this.#ticks.compactMs,
      longestSliceMs: this.#ticks.longestMs,
    }
  }

  /** Returns `stats()` and `isClosed`, for `JSON.stringify`, which turns `Infinity` into null. */
  toJSON(): StoreStats & {
    /** Whether `close` has ended the store. */
    isClosed: boolean
  } {
    return { ...this.stats(), isClosed: this.#isClosed }
  }

  /**
   * Serves `util.inspect` and `console.log`.
   *
   * @internal
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    const facts = factsOf(this.stats(), this.#isClosed)
    return describe(`Store '${this.name}'`, facts, depth, options, show)
  }

  /** Asks the kernel (`mincore`) how many bytes of the store are resident now. See `arena.residentBytes`. */
  residentBytes(): number {
    this.#requireOpen('residentBytes')
    return this.#arena.source.residentBytes()
  }

  /** Registers `listener` for `'limit'`: see `arena.on`. */
  on(event: 'limit', listener: LimitListener): this {
    requireListener(event, listener)
    this.#arena.notices.addLimitListener(listener)
    return this
  }

  /** Removes a `listener` that `on` registered. */
  off(event: 'limit', listener: LimitListener): this {
    requireListener(event, listener)
    this.#arena.notices.removeLimitListener(listener)
    return this
  }

  // ---- the end ----------------------------------------------------------------------------------------------

  /**
   * Ends all records, detaches every view and gives every page back. Afterwards only `stats`, `has`, `close` and `check`
   * work. A second `close` does nothing. Throws `ERR_ARENA_PINNED`, and does nothing, while records are pinned.
   */
  close(): void {
    if (this.#isClosed) return
    if (this.#pins.count > 0) throw closePinnedError(this.name, this.#pins.count)
    this.#changes.run('close', () => {
      this.#givesRecords = false
      this.#isPlain = false
      this.#endAll()
      this.#ticks.stop()
      this.#slots.drop()
      this.#samples.clear()
      this.#releaser.close()
      this.#arena.limits.yieldShare()
      this.#leaveGroup?.()
      wasClosed(this)
      this.#isClosed = true
    })
  }

  /** Closes the store as soon as nothing is pinned. From now on no records are made. Returns a promise: see `arena.closeWhenIdle`. */
  closeWhenIdle(): Promise<void> {
    this.#givesRecords = false
    this.#isPlain = false
    this.#closing ??= new Promise((resolve, reject) => {
      this.#pins.whenNone(() => {
        try {
          this.close()
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
    return this.#closing
  }

  /** Calls `close()`, for `using store = new Store()`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Calls `closeWhenIdle()`, for `await using store = new Store()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeWhenIdle()
  }

  /** Checks the invariants, and throws an `Error` that names the first one that is broken. Walks all books: for tests. */
  check(): void {
    this.#changes.run('check', () => this.#check())
  }

  /**
   * Blocks that no ref names, because a call that made or ended them was interrupted. They end with the next compaction,
   * `reset` or `close`.
   *
   * @internal
   */
  get lostBlocks(): number {
    const named = this.#slots.liveCount + this.#endingCount
    return this.#heap.liveBlocks - named - this.#records.setAsideBlocks
  }

  get #endingCount(): number {
    let count = 0
    this.#pins.forEach((_, __, ref) => {
      if (this.#pins.isEnding(ref)) count++
    })
    return count
  }

  #check(): void {
    this.#releaser.mend()
    this.#releaser.dropUnmanaged()
    this.#releaser.rearm()
    this.#ticks.rearm()
    this.#heap.check()
    this.#slots.check(this.#endingCount)
    const seen = new Set<Block>()
    let liveBytes = 0
    for (const ref of this.refs()) {
      const block = this.#slots.blockOf(ref)
      liveBytes += this.#slots.sizeOf(ref)
      invariant(this.#heap.isLive(block) && !seen.has(block), `1: record ${ref} has a live block of its own`)
      invariant(
        this.#heap.sizeOf(block) >= this.#slots.sizeOf(ref),
        `1: the block of record ${ref} is long enough`,
      )
      seen.add(block)
    }
    invariant(this.lostBlocks >= 0, '1: each record has a live block')
    invariant(
      liveBytes === this.#tally.liveBytes,
      `2: ${this.#tally.liveBytes} live bytes, found ${liveBytes}`,
    )
    this.#records.check()
    this.#pins.check(block => this.#heap.isLive(block))
    this.#arena.source.check()
    this.#releaser.check()
    this.#arena.limits.check()
    this.#ticks.check()
  }

  // ---- behind the warm paths --------------------------------------------------------------------------------

  /** Ends all records. If it is interrupted, it is done again from the start. */
  #endAll(): void {
    this.#changes.isEnding = true
    // Until it is done, records are made within changes, which finish it first.
    this.#isPlain = false
    this.#freesPlainly = false
    this.#compaction.compactor.stop()
    this.#records.detachViews()
    const pinned = this.#pins.deferAll()
    for (const ref of this.refs()) {
      if (this.#pins.has(ref)) this.#slots.endLater(ref)
      else this.#slots.free(ref)
    }
    this.#records.endAll(pinned)
    const tally = this.#tally
    tally.liveBytes = 0
    tally.liveGranules = 0
    this.#isPlain = this.#givesRecords && !partsOf(this).options.isDebug
    this.#changes.isEnding = false
  }

  /** Looks after compaction after a change that was not on a warm path. */
  #noteChange(): void {
    if (!this.#ticks.isSettled) this.#ticks.noteFree()
    if (!partsOf(this).options.isDebug || this.#isShuffleDue || this.#isClosed) return
    this.#isShuffleDue = true
    const self = new WeakRef(this)
    this.#arena.environment.deferral.after(1, () => self.deref()?.shuffle())
  }

  /**
   * Moves every record, so that each view and each address that is used too long shows (`debug`).
   *
   * @internal
   */
  private shuffle(): void {
    this.#isShuffleDue = false
    if (this.#isClosed) return
    this.#ticks.attempt(() => {
      this.#records.detachViews()
      // Without memory for that, the records stay where they are.
      shortageIn(() => this.#compaction.compactor.shuffle())
    })
  }

  /** @internal */
  protected override refused(method: string, ref: unknown): Error {
    if (this.#isClosed) return closedError(this.name, method)
    return refError(this.name, method, ref, this.#slots.wasUsed(ref))
  }

  #requireLive(method: string, ref: unknown): void {
    if (!this.#slots.has(ref)) throw this.refused(method, ref)
  }

  #requireGiving(method: string): void {
    if (this.#givesRecords) return
    this.#requireOpen(method)
    throw closingError(this.name, method, this.#pins.count)
  }

  #requireOpen(method: string): void {
    if (this.#isClosed) throw closedError(this.name, method)
  }
}

/** Longer records have an `ArrayBuffer` of their own. */
const MAX_SHARED_BYTES = 64 * 1024
const EMPTY_BUFFER = Buffer.alloc(0)

/** Throws for a bad size of a record. */
function requireRecordSize(sizeBytes: unknown): asserts sizeBytes is number {
  requireSize(sizeBytes)
  if (sizeBytes > MAX_RECORD_BYTES)
    throw outOfRange('sizeBytes', `<= ${MAX_RECORD_BYTES} for a record`, sizeBytes)
}

/** The granules of a record, at least one. */
function granulesIn(sizeBytes: number): number {
  return sizeBytes === 0 ? 1 : (sizeBytes + GRANULE_BYTES - 1) >>> GRANULE_SHIFT
}

function partsFor(options: StoreOptions, surroundings: Surroundings | undefined): StoreParts {
  const resolved = resolveStoreOptions(options)
  const { source, nativeBinding } = resolved.arena
  return assembleStore(resolved, surroundings ?? surroundingsFor(source, nativeBinding))
}
