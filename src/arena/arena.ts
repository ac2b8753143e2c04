/**
 * `Arena`: what users hold. Checks arguments, delegates to the layers below, owns the lifetime of all of them.
 *
 * The warm paths of `allocUnsafe` and `free` are one heap operation and one Buffer: no native call, no system call, no
 * look-up. Whatever may grow, purge, wrap or throw lies in the methods behind them.
 *
 * Invariants, checked by `check()` together with those of the layers:
 *  1. live blocks of the heap = blocks with an owner + blocks set aside + what interrupted calls left: `lostBlocks`
 *  2. no more pages are managed than the source's segments have
 */
import { type InspectOptionsStylized, inspect } from 'node:util'
import { requireFunction } from '../base/arguments.js'
import { invariant } from '../base/assert.js'
import { ArenaError } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { bufferOf, byteOffsetOf, copyBytes, fillBytes, lengthOf } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import { type Leak, Leaks } from '../buffers/leaks.js'
import {
  type ArenaBuffer,
  type ArenaIdentity,
  alignOf,
  blockOf,
  EMPTY,
  type Epoch,
  epochOf,
  isOwner,
  makeOwner,
  type Owner,
  restore,
  SPENT,
  sizeOf,
  spend,
  stampAlign,
  watch,
  watchedBlock,
} from '../buffers/owner.js'
import { Pins } from '../buffers/pins.js'
import { TrackedOwners } from '../buffers/tracked-owners.js'
import { reachOf } from '../buffers/view-reach.js'
import type { WrapId } from '../memory/kernel.js'
import { type LimitListener, publishLeak } from '../notices/notices.js'
import { type Environment, realEnvironment } from '../process/environment.js'
import { AT_ONCE_BYTES } from '../release/policy.js'
import { SlicedTrim } from '../release/sliced-trim.js'
import { outOfMemory } from '../supply/supply.js'
import { type AllocOptions, requireAlign, requireListener, requireSize } from './arguments.js'
import { describe, factsOf } from './description.js'
import {
  bufferMisuse,
  busyError,
  closedError,
  closePinnedError,
  closingError,
  detachedError,
  notPinnedError,
  purgeError,
  reallocPinnedError,
  untrackedError,
} from './errors.js'
import { type ArenaOptions, resolveOptions } from './options.js'
import { assemble, type Parts, WHOLE_PAGES_FROM_BYTES } from './parts.js'
import { Scope, type ScopeHost } from './scope.js'
import { type ArenaStats, statsOf } from './stats.js'
import { settled, settleIfDropped } from './unclosed.js'

const { max } = Math

// Taken once, so that whoever replaces them in the process does not run within a change.
const Bytes = Uint8Array
const Memory = ArrayBuffer

/**
 * Off-heap memory that goes back to the operating system when it is freed.
 *
 * ```ts
 * const arena = new Arena({ name: 'uploads', limitBytes: 512 * 2 ** 20 })
 * const chunk = arena.allocUnsafe(64 * 1024) // a Buffer
 * arena.free(chunk) // its pages are back with the kernel within releaseAfterMs
 * arena.close()
 * ```
 */
export class Arena extends MadeOf<Parts> {
  readonly #identity: ArenaIdentity = { name: partsOf(this).options.name }
  readonly #gate = partsOf(this).gate
  readonly #notices = partsOf(this).notices
  readonly #limits = partsOf(this).limits
  readonly #member = partsOf(this).member
  readonly #heap = partsOf(this).heap
  readonly #source = partsOf(this).source
  readonly #policy = partsOf(this).policy
  readonly #scavenger = partsOf(this).scavenger
  readonly #buffers = partsOf(this).buffers
  readonly #supply = partsOf(this).supply
  readonly #releaser = partsOf(this).releaser
  readonly #leaveGroup = partsOf(this).environment.group?.add(this.#member)
  readonly #pins = new Pins((owner, block) => this.#endUnpinned(owner, block))
  readonly #owners = partsOf(this).options.trackOwners
    ? new TrackedOwners(owner => this.#isLive(owner))
    : null
  readonly #scopeHost: ScopeHost = {
    arena: this,
    requireGiving: method => this.#requireGiving(method),
    requireLive: (method, buffer) => this.#liveOwner(method, buffer),
    isLive: buffer => this.#isLive(buffer),
  }
  readonly #leaks = new Leaks(partsOf(this).options.leaks, this.name, partsOf(this).environment.now, {
    wrapIdOf: (block, sizeBytes) => this.#buffers.wrapIdOf(block, sizeBytes),
    forget: (block, sizeBytes, wrapId) => this.#forget(block, sizeBytes, wrapId),
    report: publishBlockLeak,
  })
  #epoch: Epoch = { arena: this.#identity }
  /** From `closeWhenIdle` or `close` on it is false. */
  #givesBlocks = true
  #isClosed = false
  /** `close` has come to its end. */
  #isGone = false
  /** `#endAll` began, and has yet to come to its end. */
  #isEnding = false
  #closing: Promise<void> | undefined
  #slicedTrim: SlicedTrim | undefined
  /** Blocks are handed out as the heap gives them: `#givesBlocks`, and neither `debug` nor `trackOwners`. */
  #isPlain = partsOf(this).options.debug === null && !partsOf(this).options.trackOwners
  #allocations = 0
  /** The number of the allocation whose owner is sampled next, see `buffers/leaks`. */
  #sampleAt = this.#leaks.nextAfter(0)
  #frees = 0
  #liveBytes = 0
  /** Live blocks of zero bytes: they have an owner and no block in the heap. */
  #emptyBlocks = 0

  /**
   * Maps nothing yet: an arena costs memory when it is used.
   *
   * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for options outside what `ArenaOptions`
   * says, `ERR_ARENA_NOT_SUPPORTED` for what this version or this runtime cannot do; with `source: 'sbrk'`
   * `ERR_ARENA_BREAK_IN_USE` where another arena has the program break, in whichever thread, and
   * `ERR_ARENA_BREAK_UNAVAILABLE` where it cannot be moved (`cause` is the system error).
   */
  constructor(options?: ArenaOptions)
  /** @internal */
  constructor(options: ArenaOptions | undefined, environment: Environment)
  constructor(options: ArenaOptions = {}, environment?: Environment) {
    super(assemble(resolveOptions(options), environment ?? realEnvironment()))
    const { heap, source, buffers, scavenger, storage, share } = partsOf(this)
    this.#member.stats = () => this.stats()
    this.#releaser.calls = () => this.#allocations + this.#frees
    const { name, leaks } = partsOf(this).options
    settleIfDropped(this, { name, leaks, heap, source, buffers, scavenger, storage, share })
  }

  get name(): string {
    return this.#identity.name
  }

  /**
   * A zero-filled `Buffer` of exactly `sizeBytes` bytes, at a multiple of 16 or of `align`.
   *
   * Pages that were given back are zero, and stay untouched. What somebody stored there since, through a view of a small block
   * that was freed or from outside JavaScript, goes first.
   *
   * Throws `ERR_INVALID_ARG_TYPE` or `ERR_OUT_OF_RANGE` (bad arguments), `ERR_ARENA_LIMIT` (over `limitBytes` even after
   * giving back all that is free), `ERR_ARENA_OUT_OF_MEMORY` (the kernel refused; `cause` is the system error),
   * `ERR_ARENA_CLOSED`. After any throw the arena is as it was.
   */
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    const buffer = this.allocUnsafe(sizeBytes, options)
    const block = watchedBlock(blockOf(buffer as Buffer & Owner))
    // Clean pages are zero, and touching them would only make them resident.
    if (block !== this.#heap.zeroedBlock || !this.#buffers.renew(block, sizeBytes)) fillBytes(buffer, 0)
    return buffer
  }

  /** The same with undefined contents: what earlier blocks of this arena left there, never anybody else's data. */
  allocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (
      typeof sizeBytes === 'number' &&
      (sizeBytes | 0) === sizeBytes &&
      sizeBytes > 0 &&
      options === undefined &&
      this.#isPlain &&
      !this.#gate.isTaken
    ) {
      const block = this.#heap.allocate(sizeBytes)
      if (block >= 0) {
        const buffer = this.#issue(block, sizeBytes, GRANULE_BYTES)
        if (buffer !== null) return buffer
      }
    }
    return this.#allocateSlow(sizeBytes, options)
  }

  /** `alloc`, but `undefined` where memory is refused (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). */
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    try {
      return this.alloc(sizeBytes, options)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /** `allocUnsafe`, but `undefined` where memory is refused (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). */
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    try {
      return this.allocUnsafe(sizeBytes, options)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * A `Buffer` of `sizeBytes` with the contents of `buffer` as far as they fit, in place where that is possible. Bytes
   * beyond the old length are undefined. The old `buffer` is spent, even if the memory did not move. It is at a multiple of what
   * `buffer` was asked for at, or of `align`.
   *
   * Throws what `allocUnsafe` and `free` throw, `ERR_ARENA_PINNED` where `buffer` is pinned, and `ERR_ARENA_DETACHED` where
   * somebody else took the block's `ArrayBuffer` away; `buffer` is then still the live owner of its block.
   */
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    const owner = this.#liveOwner('realloc', buffer)
    requireSize(sizeBytes)
    const alignBytes = this.#alignFor(owner, options)
    this.#requireGiving('realloc')
    // Again, because reading the options may have run script that freed it.
    this.#liveOwner('realloc', buffer)
    if (this.#pins.has(owner)) throw reallocPinnedError(this.#identity)
    const block = watchedBlock(blockOf(owner))
    const oldBytes = sizeOf(owner)
    if (oldBytes > 0 && lengthOf(buffer) === 0) throw detachedError(this.#identity, 'realloc')
    if (block >= 0 && sizeBytes > 0) {
      const resized = this.#within('realloc', () => this.#resizeInPlace(owner, block, sizeBytes, alignBytes))
      if (resized !== null) {
        this.#releaser.noteFree()
        if (this.#allocations === this.#sampleAt) this.#sample(resized, realloc)
        return resized
      }
    }
    const isPlain = alignBytes === GRANULE_BYTES && sizeBytes < WHOLE_PAGES_FROM_BYTES
    if (!isPlain) this.#buffers.noteAllocation()
    const moved = isPlain
      ? this.allocUnsafe(sizeBytes)
      : this.#allocate(sizeBytes, alignBytes, sizeBytes > oldBytes)
    try {
      // What runs while memory is made free may have ended the block.
      this.#liveOwner('realloc', buffer)
      // Of zero bytes there is nothing to copy, and their buffer may be gone.
      if (oldBytes > sizeBytes) copyBytes(moved, new Bytes(bufferOf(buffer), byteOffsetOf(buffer), sizeBytes))
      else if (oldBytes > 0) copyBytes(moved, buffer)
      this.free(buffer)
    } catch (error) {
      this.free(moved)
      throw error
    }
    return moved
  }

  /**
   * Ends a block: `buffer` must be the very object that this arena returned. From `detachFromBytes` on every view of it
   * has length 0 afterwards; the bytes of a smaller one are reused, so views of it must not be used any more. Of a pinned
   * block only the owner is spent now; its memory and views stay until the last `unpin`.
   *
   * Throws `ERR_ARENA_DOUBLE_FREE`, `ERR_ARENA_FOREIGN_BUFFER` (another arena's, or nobody's), `ERR_ARENA_NOT_OWNER` (a
   * `subarray` or other view), `ERR_INVALID_ARG_TYPE` (no Buffer at all), `ERR_ARENA_CLOSED`.
   */
  free(buffer: Uint8Array): void {
    if (!isOwner(buffer) || epochOf(buffer) !== this.#epoch || this.#gate.isTaken)
      throw this.#freeRefused(buffer)
    const block = blockOf(buffer)
    if (block >= 0) this.#endBlock(buffer, block)
    else this.#freeUncommon(buffer, block)
  }

  #endBlock(buffer: Uint8Array & Owner, block: Block): void {
    const sizeBytes = sizeOf(buffer)
    spend(buffer)
    this.#frees++
    this.#liveBytes -= sizeBytes
    if (lengthOf(buffer) === 0) this.#buffers.notice(block, sizeBytes)
    this.#buffers.end(block, sizeBytes)
    this.#releaser.noteFree()
    if (sizeBytes >= AT_ONCE_BYTES) this.#releaser.afterLargeFree()
  }

  /**
   * Counts one more user of a block outside JavaScript: a read or write of a file or socket under way, `zlib`, `crypto`,
   * another thread. While a block is pinned, whatever ends it (`free`, `reset`, the end of a scope) takes effect at the
   * last `unpin`: until then its bytes stay valid, its views attached and its pages resident. It can be pinned any
   * number of times, and is kept from the garbage collector.
   *
   * Throws what `free` throws, and `ERR_ARENA_DETACHED` where somebody else took the block's `ArrayBuffer` away.
   *
   * ```ts
   * arena.pin(chunk)
   * file.write(chunk, 0, chunk.length, 0, () => arena.unpin(chunk))
   * arena.free(chunk) // takes effect when the write is done
   * ```
   */
  pin(buffer: Uint8Array): void {
    this.#pins.add(this.#pinnable('pin', buffer))
  }

  /**
   * Takes back one `pin`. Where that was the last, a block that was freed, or reset, meanwhile ends here.
   *
   * Throws `ERR_ARENA_NOT_PINNED` for a block of this arena that is not pinned, freed or not, and for one that `lend` alone
   * holds; else what `free` throws.
   */
  unpin(buffer: Uint8Array): void {
    if (!this.#pins.remove(buffer)) throw this.#unpinMisuse(buffer)
  }

  /**
   * Pins a block for as long as `use` takes: until the promise it returns is settled, or until it returns or throws.
   * Returns what `use` returned; a promise comes back as another that settles alike, once the block is unpinned.
   *
   * Throws what `pin` throws, `ERR_INVALID_ARG_TYPE` where `use` is no function, and what `use` throws.
   *
   * ```ts
   * const { bytesWritten } = await arena.lend(chunk, bytes => file.write(bytes))
   * ```
   */
  lend<B extends Uint8Array, T>(buffer: B, use: (buffer: B) => T): T {
    requireFunction('use', use)
    return this.#pins.lend(this.#pinnable('lend', buffer), () => use(buffer))
  }

  /**
   * A `Scope`: what is allocated from it is freed when it ends, by `scope.end()`, or by itself with `using`. Throws
   * `ERR_ARENA_CLOSED`.
   *
   * ```ts
   * const scope = arena.scope()
   * try {
   *   respond(scope.allocUnsafe(64 * 1024))
   * } finally {
   *   scope.end()
   * }
   * ```
   */
  scope(): Scope {
    this.#requireGiving('scope')
    return new Scope(this.#scopeHost)
  }

  /**
   * Frees every block at once. Their Buffers are spent, and every view of them has length 0. Blocks that are pinned stay
   * as they are until the last `unpin`, and so do views of small blocks that lie close to one. Throws `ERR_ARENA_CLOSED`.
   */
  reset(): void {
    this.#buffers.noteEndOfAll()
    this.#requireOpen('reset')
    this.#within('reset', () => this.#endAll())
    this.#releaser.noteFree()
    this.#releaser.afterLargeFree()
  }

  /**
   * Whether `view` (any typed array or `DataView`, a Buffer or part of one) lies in one live block of this arena. False for
   * anything else. A view of a small block that was freed lies in what came there since: see docs/lifetimes.md.
   */
  owns(view: unknown): boolean {
    return this.#isLive(view) || this.#blockUnder(view) !== NONE
  }

  /**
   * The very Buffer that this arena returned for the live block in which `view` lies, for `free` and `realloc`; `undefined`
   * where `owns` is false. Of such a Buffer itself it works in every arena, of another view with `trackOwners: true`.
   *
   * Throws `ERR_ARENA_NOT_SUPPORTED` where `view` lies in a block and `trackOwners` is not set.
   *
   * ```ts
   * const arena = new Arena({ trackOwners: true })
   * const body = arena.alloc(1000).subarray(3, 10)
   * arena.free(arena.ownerOf(body))
   * ```
   */
  ownerOf(view: unknown): ArenaBuffer | undefined {
    if (this.#isLive(view)) return view as unknown as ArenaBuffer
    const block = this.#blockUnder(view)
    if (block === NONE) return undefined
    if (this.#owners === null) throw untrackedError(this.#identity)
    return this.#owners.of(block)
  }

  /**
   * Gives every free page back to the kernel now, and free segments but for a spare one. Returns the bytes given back.
   *
   * Throws `ERR_ARENA_CLOSED`, and `ERR_ARENA_PURGE_FAILED` where the kernel refused (`cause` is the system error): all
   * else is done then, and calling again tries the rest.
   */
  trim(): number {
    this.#requireOpen('trim')
    const purgedPages = this.#within('trim', () => this.#releaser.releaseAll('trim'))
    const { failure } = this.#releaser
    if (failure !== null) throw purgeError(this.#identity, 'trim', failure)
    return purgedPages * this.#heap.pageBytes
  }

  /**
   * `trim()` in slices of about a millisecond, all else that is due having its turn in between. Resolves to the bytes given
   * back. Calls wait for one another. The process does not end by itself before it is done. Where `close()` comes first, that
   * gives back the rest, and it resolves to what went before.
   *
   * Rejects with what `trim` throws.
   */
  async trimAsync(): Promise<number> {
    this.#requireOpen('trimAsync')
    const { pageCount, failure } = await this.#slicing.run()
    if (failure !== null) throw purgeError(this.#identity, 'trimAsync', failure)
    return pageCount * this.#heap.pageBytes
  }

  /** What the arena holds and has done. Makes no system call. Works on a closed arena too. */
  stats(): ArenaStats {
    const counted = {
      name: this.#identity.name,
      liveBytes: this.#liveBytes,
      limitBytes: this.#limits.limitBytes,
      softLimitBytes: partsOf(this).options.softLimitBytes,
      releaseAfterMs: this.#policy.promiseMs,
      allocations: this.#allocations,
      frees: this.#frees,
      pinnedBlocks: this.#pins.blockCount,
      quarantinedBlocks: this.#buffers.quarantinedBlocks,
      quarantinedBytes: this.#buffers.quarantinedBytes,
    }
    return statsOf(counted, this.#heap, this.#source, this.#scavenger)
  }

  /** `stats()` and `isClosed`, for `JSON.stringify`, which makes null of `Infinity`. */
  toJSON(): ArenaStats & { isClosed: boolean } {
    return { ...this.stats(), isClosed: this.#isClosed }
  }

  /**
   * For `util.inspect` and `console.log`: one line with what is live, used, dirty, committed and mapped.
   *
   * @internal Not declared: the types of Node name its options one way here and another there.
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    return describe(`Arena '${this.name}'`, factsOf(this.stats(), this.#isClosed), depth, options, show)
  }

  /**
   * Calls `listener` after the arena crossed `softLimitBytes`: it has given back all that is free and still needs more.
   * Once for each crossing, soon after the call that crossed it. Throws `ERR_INVALID_ARG_VALUE` for another event,
   * `ERR_INVALID_ARG_TYPE` for no function.
   *
   * ```ts
   * arena.on('limit', ({ committedBytes }) => cache.shrinkBy(committedBytes / 4))
   * ```
   */
  on(event: 'limit', listener: LimitListener): this {
    requireListener(event, listener)
    this.#notices.addLimitListener(listener)
    return this
  }

  /** Ends one `on` with the same arguments, if there is one. */
  off(event: 'limit', listener: LimitListener): this {
    requireListener(event, listener)
    this.#notices.removeLimitListener(listener)
    return this
  }

  /** Bytes of the arena that the kernel holds resident now (`mincore`). Throws a system error; `ERR_ARENA_CLOSED`. */
  residentBytes(): number {
    this.#requireOpen('residentBytes')
    return this.#source.residentBytes()
  }

  /**
   * Frees every block, detaches every view and gives every page back; the mappings themselves go on the next turn of
   * the event loop. Afterwards every method but `stats`, `close`, `closeWhenIdle` and `check` throws `ERR_ARENA_CLOSED`.
   *
   * Throws `ERR_ARENA_PINNED`, and does nothing, while blocks are pinned.
   */
  close(): void {
    if (this.#isGone) return
    this.#buffers.noteEndOfAll()
    if (this.#pins.blockCount > 0) throw closePinnedError(this.#identity, this.#pins.blockCount)
    this.#within('close', () => this.#endAllAndGo())
  }

  /**
   * `close()` as soon as nothing is pinned: now, or in the last `unpin` or the end of the last `lend`. Returns a promise
   * of that moment, the same one each time; it does not keep the process alive. From now on no new blocks are given out:
   * `alloc…`, `realloc` and `scope` throw `ERR_ARENA_CLOSED`; everything else works until the arena is closed.
   */
  closeWhenIdle(): Promise<void> {
    this.#stopGiving()
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

  /**
   * Blocks that nobody can free, because a call that made or ended them was interrupted. They end with `reset` or `close`.
   *
   * @internal
   */
  get lostBlocks(): number {
    const owned = this.#allocations - this.#frees - this.#emptyBlocks
    return this.#heap.liveBlocks - owned - this.#buffers.setAsideBlocks
  }

  /** `close()`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** `closeWhenIdle()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeWhenIdle()
  }

  /** Throws an `Error` that names the first broken invariant, of this class or of those below. Walks everything: for tests. */
  check(): void {
    this.#within('check', () => this.#check())
  }

  #check(): void {
    this.#releaser.mend()
    this.#releaser.dropUnmanaged()
    this.#releaser.rearm()
    this.#heap.check()
    const owned = this.#allocations - this.#frees - this.#emptyBlocks
    invariant(
      this.#heap.liveBlocks >= owned + this.#buffers.setAsideBlocks,
      '1: every owner, and all that waits, has a live block',
    )
    this.#buffers.check(owned)
    this.#pins.check(block => this.#heap.isLive(block) && !this.#buffers.isSetAside(block))
    const mapped = this.#source.segments.reduce((pages, segment) => pages + segment.pageCount, 0)
    invariant(mapped === this.#heap.managedPages, '2: the heap manages exactly the segments')
    this.#source.check()
    this.#releaser.check()
    this.#limits.check()
    this.#owners?.check()
  }

  // ---- behind the warm paths -------------------------------------------------------------------------------------

  #allocateSlow(sizeBytes: number, options: AllocOptions | undefined): ArenaBuffer {
    requireSize(sizeBytes)
    const alignBytes = requireAlign(options, this.#heap.pageBytes)
    this.#buffers.noteAllocation()
    // Last, because reading the options, and taking a stack, may have run script that closed the arena.
    this.#requireGiving('alloc')
    return this.#allocate(sizeBytes, alignBytes, false)
  }

  /** `isGrown`: the block takes the place of a shorter one. */
  #allocate(sizeBytes: number, alignBytes: number, isGrown: boolean): ArenaBuffer {
    const buffer =
      sizeBytes === 0
        ? this.#within('alloc', () => this.#issueEmpty())
        : this.#obtain(sizeBytes, alignBytes, isGrown)
    if (alignBytes > GRANULE_BYTES) stampAlign(buffer as Buffer & Owner, alignBytes)
    // With `debug` each end begins by taking a stack: off the warm path.
    if (!this.#isPlain) watch(buffer as ArenaBuffer & Owner)
    return buffer
  }

  #obtain(sizeBytes: number, alignBytes: number, isGrown: boolean): ArenaBuffer {
    this.#enter('alloc')
    try {
      if (this.#isUnfinished) this.#finish()
      for (;;) {
        const block = isGrown
          ? this.#supply.obtainGrown(sizeBytes, alignBytes)
          : this.#supply.obtain(sizeBytes, alignBytes)
        const buffer = this.#issue(block, sizeBytes, alignBytes)
        if (buffer === null) continue
        this.#owners?.add(block, buffer)
        this.#gate.isDone = true
        return buffer
      }
    } catch (error) {
      // Refused in the end, with nothing half done.
      this.#gate.isDone = isLimit(error)
      throw error
    } finally {
      this.#gate.changes++
      if (!this.#releaser.isSettled) this.#releaser.afterAllocation()
    }
  }

  /** Begins a change. Throws `ERR_ARENA_BUSY` in the middle of another. */
  #enter(method: string): void {
    if (!this.#gate.enter()) throw busyError(this.#identity, method)
  }

  /** Makes good what calls left behind that did not come to their end: before anything else in a change. */
  #finish(): void {
    if (this.#isEnding) this.#endAll()
    this.#releaser.mend()
  }

  get #isUnfinished(): boolean {
    return this.#isEnding || this.#releaser.isUnfinished
  }

  #within<T>(method: string, change: () => T): T {
    this.#enter(method)
    try {
      if (this.#isUnfinished) this.#finish()
      const result = change()
      this.#gate.isDone = true
      return result
    } finally {
      this.#gate.changes++
    }
  }

  #issueEmpty(): ArenaBuffer {
    // Ordinary memory, which anybody may take away: of each its own.
    const buffer = makeOwner(new Memory(0), 0, 0, this.#epoch, EMPTY)
    this.#emptyBlocks++
    if (++this.#allocations === this.#sampleAt) this.#sample(buffer, allocUnsafe)
    return buffer
  }

  /** What the block that takes the place of `owner`'s has to be a multiple of. */
  #alignFor(owner: Owner, options: AllocOptions | undefined): number {
    return requireAlign(options, this.#heap.pageBytes, max(GRANULE_BYTES, alignOf(owner)))
  }

  /**
   * The Buffer of a new block, or null where the block had to be set aside. Short, like all that makes an owner on the warm
   * path: V8 inlines 920 bytecodes at most into `allocUnsafe`, and an owner made beyond that takes twice as long.
   */
  #issue(block: Block, sizeBytes: number, alignBytes: number): ArenaBuffer | null {
    let buffer: ArenaBuffer | null
    try {
      buffer = this.#buffers.makeOwner(block, sizeBytes, this.#epoch, alignBytes)
    } catch (cause) {
      throw this.#takeBack(block, sizeBytes, cause)
    }
    if (buffer === null) return this.#seeToSetAside()
    this.#liveBytes += sizeBytes
    if (++this.#allocations === this.#sampleAt) this.#sample(buffer, allocUnsafe)
    return buffer
  }

  #takeBack(block: Block, sizeBytes: number, cause: unknown): ArenaError {
    this.#buffers.takeBack(block)
    this.#releaser.noteFree()
    return outOfMemory(this.name, sizeBytes, 'the runtime could not make its ArrayBuffer', cause)
  }

  /** A block was set aside: a tick must look after it. */
  #seeToSetAside(): null {
    this.#releaser.noteFree()
    return null
  }

  /** A new owner for a block that fits `sizeBytes` where it is, or null where it has to move. `owner` is spent then. */
  #resizeInPlace(
    owner: Uint8Array & Owner,
    block: Block,
    sizeBytes: number,
    alignBytes: number,
  ): ArenaBuffer | null {
    const oldBytes = sizeOf(owner)
    const usableBytes = this.#heap.sizeOf(block)
    if ((block * GRANULE_BYTES) % alignBytes !== 0) return null
    // First: nobody ends the block meanwhile, and no owner ever sees more than its block, whatever interrupts this.
    const held = blockOf(owner)
    spend(owner)
    this.#frees++
    this.#liveBytes -= oldBytes
    let resized: ArenaBuffer | null = null
    try {
      if (this.#buffers.mayResizeTo(block, oldBytes, sizeBytes) && this.#supply.resize(block, sizeBytes)) {
        if (held !== block) this.#leaks.end(block)
        resized = this.#buffers.replaceOwner(block, sizeBytes, this.#epoch)
      }
    } catch (cause) {
      this.#heap.resize(block, usableBytes)
      this.#restore(owner, held)
      this.#releaser.noteFree()
      throw outOfMemory(this.name, sizeBytes, 'the runtime could not make its ArrayBuffer', cause)
    }
    if (resized === null) {
      this.#restore(owner, held)
      return null
    }
    this.#allocations++
    this.#liveBytes += sizeBytes
    this.#owners?.add(block, resized)
    if (alignBytes > GRANULE_BYTES) stampAlign(resized as Buffer & Owner, alignBytes)
    return resized
  }

  #restore(owner: Owner, held: Block): void {
    this.#frees--
    this.#liveBytes += sizeOf(owner)
    restore(owner, held)
  }

  #freeUncommon(buffer: Uint8Array & Owner, block: Block): void {
    if (block !== SPENT) this.#buffers.noteEnd(watchedBlock(block))
    // It may have run script that ended the block.
    if (!this.#isLive(buffer)) throw this.#misuse('free', buffer)
    this.#within('free', () => {
      this.#leaks.end(watchedBlock(block))
      if (!this.#pins.defer(buffer)) this.#end(buffer, watchedBlock(block))
    })
    this.#releaser.noteFree()
  }

  /** Ends a block, or the owner of zero bytes where `block` is EMPTY. */
  #end(buffer: Uint8Array & Owner, block: Block): void {
    if (block !== EMPTY) {
      this.#endBlock(buffer, block)
      return
    }
    spend(buffer)
    this.#frees++
    this.#emptyBlocks--
  }

  /** The same at the last unpin, wherever that is. What is called meanwhile is refused. */
  #endUnpinned(owner: Uint8Array & Owner, block: Block): void {
    if (!this.#gate.attempt(() => this.#end(owner, block))) this.#end(owner, block)
    this.#releaser.noteFree()
  }

  /** Samples an owner that is being handed out through that method. */
  #sample(buffer: Buffer, through: (...args: never[]) => unknown): void {
    // First: where this is interrupted, the next one is sampled all the same.
    this.#sampleAt = this.#leaks.nextAfter(this.#allocations)
    this.#leaks.sample(buffer as Buffer & Owner, through)
    if (this.#sampleAt <= this.#allocations) this.#sampleAt = this.#leaks.nextAfter(this.#allocations)
  }

  /** The owner of a live block was collected: the block ends, its bytes wait until nobody sees them. */
  #forget(block: Block, sizeBytes: number, wrapId: WrapId): void {
    // A collector runs finalizers between two calls. Should the gate still be taken, by a call that was interrupted, it stays so.
    const forget = () => {
      this.#frees++
      this.#liveBytes -= sizeBytes
      this.#buffers.forget(block, sizeBytes, wrapId)
    }
    if (!this.#gate.attempt(forget)) forget()
    this.#releaser.noteForgotten()
  }

  /**
   * Every block ends, in the books and in every view; pinned ones at their last unpin. Done again from the start where it did
   * not come to its end; no owner is live from its first step on.
   */
  #endAll(): void {
    this.#isEnding = true
    this.#isPlain = false
    this.#epoch = { arena: this.#identity }
    this.#leaks.clear()
    const pinned = this.#pins.deferAll()
    this.#buffers.clear(pinned)
    const blocks = this.#heap.listLive()
    const count = lengthOf(blocks)
    for (let i = 0; i < count; i++) {
      if (!this.#buffers.isSetAside(blocks[i]) && !pinned.has(blocks[i])) this.#heap.free(blocks[i])
    }
    this.#heap.flush()
    this.#frees = this.#allocations - this.#pins.blockCount
    this.#liveBytes = 0
    for (const sizeBytes of pinned.values()) this.#liveBytes += sizeBytes
    this.#emptyBlocks = this.#pins.blockCount - pinned.size
    this.#owners?.clear()
    this.#isPlain =
      this.#givesBlocks && partsOf(this).options.debug === null && !partsOf(this).options.trackOwners
    this.#isEnding = false
  }

  #endAllAndGo(): void {
    this.#isClosed = true
    this.#stopGiving()
    this.#endAll()
    this.#releaser.close()
    this.#limits.yieldShare()
    this.#leaveGroup?.()
    settled(this)
    this.#isGone = true
  }

  /** The live block with a live owner in which a view lies, or NONE. */
  #blockUnder(view: unknown): Block {
    const reach = reachOf(view)
    const block = reach === null ? NONE : this.#buffers.blockUnder(reach)
    return block !== NONE && this.#pins.isEnding(block) ? NONE : block
  }

  #isLive(buffer: unknown): buffer is Uint8Array & Owner {
    return isOwner(buffer) && epochOf(buffer) === this.#epoch && blockOf(buffer) !== SPENT
  }

  #pinnable(method: string, buffer: Uint8Array): Uint8Array & Owner {
    const owner = this.#liveOwner(method, buffer)
    if (sizeOf(owner) > 0 && lengthOf(buffer) === 0) throw detachedError(this.#identity, method)
    return owner
  }

  #unpinMisuse(buffer: unknown): Error {
    if (this.#isClosed || !isOwner(buffer) || epochOf(buffer).arena !== this.#identity) {
      return this.#misuse('unpin', buffer)
    }
    return notPinnedError(this.#identity, this.#pins.isLent(buffer as Uint8Array & Owner))
  }

  #liveOwner(method: string, buffer: Uint8Array): Uint8Array & Owner {
    if (this.#isLive(buffer)) return buffer
    throw this.#misuse(method, buffer)
  }

  /** The error of a `free` that was refused: `buffer` is no live owner, or a change is under way. */
  #freeRefused(buffer: unknown): Error {
    if (!this.#isLive(buffer)) return this.#misuse('free', buffer)
    this.#enter('free')
    invariant(false, 'what the gate refused, it lets in')
  }

  #misuse(method: string, buffer: unknown): Error {
    if (this.#isClosed) return closedError(this.#identity, method)
    return bufferMisuse(
      this.#identity,
      method,
      buffer,
      memory => this.#buffers.has(memory),
      this.#buffers.historyOf(buffer),
    )
  }

  get #slicing(): SlicedTrim {
    const { deferral, now } = partsOf(this).environment
    this.#slicedTrim ??= new SlicedTrim(this.#releaser, deferral, now)
    return this.#slicedTrim
  }

  #stopGiving(): void {
    this.#givesBlocks = false
    this.#isPlain = false
  }

  #requireGiving(method: string): void {
    if (this.#givesBlocks) return
    this.#requireOpen(method)
    throw closingError(this.#identity, method, this.#pins.blockCount)
  }

  #requireOpen(method: string): void {
    if (this.#isClosed) throw closedError(this.#identity, method)
  }
}

// What stacks of allocations begin above. Whoever replaces the methods still calls these.
const { allocUnsafe, realloc } = Arena.prototype

// Outside of the class: what a constructor's closures share would hold the arena.
function publishBlockLeak({ arenaName, sizeBytes, stack }: Leak): void {
  publishLeak({ arena: arenaName, kind: 'block', blocks: 1, bytes: sizeBytes, stack })
}

function undefinedIfRefused(error: unknown): undefined {
  const isOutOfMemory = error instanceof ArenaError && error.code === 'ERR_ARENA_OUT_OF_MEMORY'
  if (!isOutOfMemory && !isLimit(error)) throw error
  return undefined
}

function isLimit(error: unknown): boolean {
  return error instanceof ArenaError && error.code === 'ERR_ARENA_LIMIT'
}
