/**
 * `Arena`: the object that users hold. It checks arguments, delegates to the layers below and owns the
 * lifetime of all of them.
 *
 * The warm paths of `allocUnsafe` and `free` are one heap operation and one Buffer: no native call, no system
 * call, no look-up. Code that may grow, purge, wrap or throw is in the methods behind them.
 *
 * Invariants, checked by `check()` together with those of the layers below:
 *  1. live blocks of the heap = blocks with an owner + blocks set aside + blocks that interrupted calls left
 *     behind (`lostBlocks`)
 *  2. the heap manages exactly the pages of the source's segments
 */
import type { Readable } from 'node:stream'
import { type InspectOptionsStylized, inspect } from 'node:util'
import { requireFunction } from '../base/arguments.js'
import { invariant } from '../base/assert.js'
import { describe } from '../base/description.js'
import { type ArenaError, isLimit, undefinedIfRefused } from '../base/errors.js'
import { partsOf } from '../base/made-of.js'
import { bufferOf, byteOffsetOf, copyBytes, fillBytes, lengthOf } from '../base/primordials.js'
import { type Block, GRANULE_BYTES, NONE } from '../base/units.js'
import type { Moving } from '../buffers/blocks.js'
import { type Leak, Leaks } from '../buffers/leaks.js'
import {
  type ArenaBuffer,
  type ArenaIdentity,
  alignOf,
  blockOf,
  EMPTY,
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
import { requirePoolSize, requireSize } from '../buffers/size.js'
import { TrackedOwners } from '../buffers/tracked-owners.js'
import type { Allocating } from '../bytes/allocating.js'
import { BytesIn } from '../bytes/bytes-in.js'
import { streamBlocks } from '../bytes/stream.js'
import type { WrapId } from '../memory/runtime.js'
import { type LimitListener, publishLeak } from '../notices/notices.js'
import { pooledError } from '../pools/errors.js'
import { type PoolOptions, resolvePoolOptions } from '../pools/options.js'
import { BufferPool } from '../pools/pool.js'
import type { PoolHost } from '../pools/pool-host.js'
import { type Surroundings, surroundingsFor } from '../process/environment.js'
import { AT_ONCE_BYTES } from '../release/policy.js'
import { SlicedTrim } from '../release/sliced-trim.js'
import { NOT_ASKED, outOfMemory } from '../supply/supply.js'
import { type AllocOptions, requireAlign, requireListener } from './arguments.js'
import { Changes } from './changes.js'
import { factsOf } from './description.js'
import {
  closedError,
  closePinnedError,
  closingError,
  detachedError,
  purgeError,
  reallocPinnedError,
  untrackedError,
} from './errors.js'
import { type ArenaOptions, resolveOptions } from './options.js'
import { Ownership } from './ownership.js'
import { assemble, type Parts, WHOLE_PAGES_FROM_BYTES } from './parts.js'
import { Relocation } from './relocation.js'
import { Scope, type ScopeHost } from './scope.js'
import { type ArenaStats, statsOf } from './stats.js'
import { TakingOver } from './taking-over.js'
import { endIfDropped, wasClosed } from './unclosed.js'

const { max } = Math

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const Bytes = Uint8Array
const Memory = ArrayBuffer

const NO_BUFFER = 'the runtime could not make its ArrayBuffer'

/**
 * Off-heap memory that goes back to the operating system when it is freed.
 *
 * The arena hands out *blocks*. Each block is a Buffer, and that Buffer is the *owner* of the block. The
 * owner is *spent* once the block has ended: from then on `free`, `realloc`, `pin` and `lend` of it throw
 * `ERR_ARENA_DOUBLE_FREE`.
 *
 * Calls that allocate, free or release memory throw `ERR_ARENA_BUSY` if they are made in the middle of
 * another call of the same arena (see docs/lifetimes.md).
 *
 * ```ts
 * const arena = new Arena({ name: 'uploads', limitBytes: 512 * 2 ** 20 })
 * const chunk = arena.allocUnsafe(64 * 1024) // a Buffer
 * arena.free(chunk) // its pages are back with the kernel within releaseAfterMs
 * arena.close()
 * ```
 */
export class Arena extends BytesIn<Parts> {
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
  readonly #debug = partsOf(this).debug
  readonly #supply = partsOf(this).supply
  readonly #releaser = partsOf(this).releaser
  readonly #leaveGroup = partsOf(this).environment.group?.add(this.#member)
  readonly #pins = new Pins(
    run => partsOf(this).environment.deferral.nextTurn(run),
    (owner, block) => this.#endUnpinned(owner, block),
  )
  readonly #ownership = new Ownership(this.#identity, this.#buffers, this.#debug, this.#pins)
  readonly #changes = new Changes(this.#identity, this.#gate, this.#releaser, () => this.#endAll())
  readonly #owners = partsOf(this).options.trackOwners
    ? new TrackedOwners(owner => this.#ownership.isLive(owner) || this.#ownership.isPooled(owner))
    : null
  readonly #scopeHost: ScopeHost = {
    arena: this,
    requireGiving: method => this.#requireGiving(method),
    requireLive: (method, buffer) => this.#ownership.requireLive(method, buffer),
    isLive: buffer => this.#ownership.isLive(buffer),
  }
  readonly #pools = partsOf(this).pools
  readonly #leaks = this.#makeLeaks(() => {})
  /** Made at the first `pool`. */
  #poolHost: PoolHost | undefined
  /** The epoch of `#ownership`. It is here, too, for the warm paths. */
  #epoch = this.#ownership.epoch
  /** Whether `alloc` and the like may hand out blocks. False once `closeWhenIdle` or `close` was called. */
  #givesBlocks = true
  /** `close` has come to its end. */
  #isGone = false
  /** Made at the first `from`, `concat`, `collect` or `readFile`. */
  #allocating: Allocating | undefined
  #closing: Promise<void> | undefined
  #slicedTrim: SlicedTrim | undefined
  /** Made at the first `relocate`. */
  #relocation: Relocation | undefined
  /** Made at the first `stream`. */
  #takingOver: TakingOver | undefined
  /**
   * Whether `allocUnsafe` may take its warm path: `#givesBlocks` is true, neither `debug` nor `trackOwners`
   * is set, and no `#endAll` is under way.
   */
  #isPlain = partsOf(this).options.debug === null && !partsOf(this).options.trackOwners
  #allocations = 0
  /** The number of the allocation whose owner is sampled next. See `buffers/leaks`. */
  #sampleAt = this.#leaks.nextAfter(0)
  #frees = 0
  #liveBytes = 0
  /** Live blocks of zero bytes. They have an owner, but no block in the heap. */
  #emptyBlocks = 0

  /**
   * Makes an arena. It maps nothing yet: memory is taken at the first allocation.
   *
   * Throws
   * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for options that `ArenaOptions`
   *   does not allow
   * - `ERR_ARENA_UNSUPPORTED_PLATFORM` on a system or a runtime on which the addon cannot work, unless
   *   `source` is `'heap'`
   * - `ERR_ARENA_NOT_SUPPORTED` for what this version cannot do, or if the addon cannot be loaded
   * - `ERR_ARENA_BREAK_IN_USE`, with `source: 'sbrk'`, if another arena of the process, in any thread, has
   *   the program break
   * - `ERR_ARENA_BREAK_UNAVAILABLE`, with `source: 'sbrk'`, if the program break cannot be moved; `cause` is
   *   the system error
   *
   * ```ts
   * const arena = new Arena({ name: 'uploads', limitBytes: 512 * 2 ** 20 })
   * ```
   */
  constructor(options?: ArenaOptions)
  /** @internal */
  constructor(options: ArenaOptions | undefined, surroundings: Surroundings)
  constructor(options: ArenaOptions = {}, surroundings?: Surroundings) {
    super(partsFor(options, surroundings))
    const { heap, source, buffers, debug, scavenger, storage, share } = partsOf(this)
    this.#member.stats = () => this.stats()
    this.#releaser.calls = () => this.#allocations + this.#frees
    const { name, leaks } = partsOf(this).options
    endIfDropped(this, {
      kind: 'arena',
      name,
      leaks,
      heap,
      source,
      buffers,
      debug,
      scavenger,
      storage,
      share,
    })
  }

  /** The arena's name: the option `name`, or `'arena-N'`. */
  get name(): string {
    return this.#identity.name
  }

  /**
   * Allocates a block and fills it with zeros. Returns a `Buffer` of exactly `sizeBytes` bytes. Its address
   * is a multiple of 16, or of `align`.
   *
   * A block on pages that were given back already reads as zero. The arena does not touch such pages, so they
   * become resident only when you write to them. If something was stored there after they went back (through
   * a view of a freed small block, or from outside JavaScript), the arena gives them back once more first.
   *
   * Throws
   * - `ERR_INVALID_ARG_TYPE` or `ERR_OUT_OF_RANGE` for bad arguments
   * - `ERR_ARENA_LIMIT` if the block would pass `limitBytes` or `setProcessLimit()`, even after all free
   *   pages were given back
   * - `ERR_ARENA_OUT_OF_MEMORY` if the kernel or V8 has no memory; `cause` is the system error
   * - `ERR_ARENA_CLOSED` after `close` or `closeWhenIdle`
   *
   * After any throw the arena is as it was before the call.
   *
   * ```ts
   * const chunk = arena.alloc(64 * 1024)
   * const sector = arena.alloc(4096, { align: 4096 })
   * ```
   */
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    const buffer = this.allocUnsafe(sizeBytes, options)
    const block = watchedBlock(blockOf(buffer as Buffer & Owner))
    // The block lies on clean pages. They read as zero, and filling them would only make them resident.
    if (block !== this.#heap.zeroedBlock || !this.#buffers.renew(block, sizeBytes)) fillBytes(buffer, 0)
    return buffer
  }

  /**
   * Allocates a block without filling it. Returns a `Buffer` of exactly `sizeBytes` bytes at a multiple of
   * 16, or of `align`. Its contents are undefined: bytes that earlier blocks of this arena left there, never
   * data of another arena or process.
   *
   * Throws the errors that `alloc` throws.
   *
   * ```ts
   * const chunk = arena.allocUnsafe(64 * 1024)
   * ```
   */
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
      } else return this.#obtain(sizeBytes, GRANULE_BYTES, false, this.#heap.refusal)
    }
    return this.#allocateSlow(sizeBytes, options)
  }

  /**
   * Does what `alloc` does, but returns `undefined` if memory for `sizeBytes` bytes is refused
   * (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). It throws the other errors of `alloc`.
   *
   * ```ts
   * const chunk = arena.tryAlloc(64 * 1024)
   * if (chunk === undefined) return response.writeHead(503).end()
   * ```
   */
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    try {
      return this.alloc(sizeBytes, options)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Does what `allocUnsafe` does, but returns `undefined` if memory for `sizeBytes` bytes is refused
   * (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). It throws the other errors of `allocUnsafe`.
   *
   * ```ts
   * const chunk = arena.tryAllocUnsafe(64 * 1024)
   * if (chunk === undefined) return response.writeHead(503).end()
   * ```
   */
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    try {
      return this.allocUnsafe(sizeBytes, options)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Changes the length of a block. Returns a new `Buffer` of `sizeBytes` bytes with the contents of `buffer`,
   * as far as they fit; bytes beyond the old length are undefined. The block stays in place if it can, and
   * moves if it has to. Its address is a multiple of the alignment that `buffer` was allocated with, or of
   * `align`. `buffer` is spent in both cases: go on with the Buffer that is returned.
   *
   * Throws the errors of `allocUnsafe` and `free`, and
   * - `ERR_ARENA_PINNED` if `buffer` is pinned
   * - `ERR_ARENA_DETACHED` if other code took the `ArrayBuffer` of the block away (for example by
   *   `transfer()`)
   *
   * After a throw `buffer` is what it was before the call.
   *
   * ```ts
   * let body = arena.allocUnsafe(1024)
   * body = arena.realloc(body, 4096)
   * ```
   */
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    const owner = this.#ownership.requireOwn('realloc', buffer)
    requireSize(sizeBytes)
    const alignBytes = this.#alignFor(owner, options)
    this.#requireGiving('realloc')
    // Checked again: reading the options may have run script that freed the block.
    this.#ownership.requireOwn('realloc', buffer)
    if (this.#pins.has(owner)) throw reallocPinnedError(this.#identity)
    const block = watchedBlock(blockOf(owner))
    const oldBytes = sizeOf(owner)
    if (oldBytes > 0 && lengthOf(buffer) === 0) throw detachedError(this.#identity, 'realloc')
    if (block >= 0 && sizeBytes > 0) {
      const resized = this.#changes.run('realloc', () =>
        this.#resizeInPlace(owner, block, sizeBytes, alignBytes),
      )
      if (resized !== null) {
        this.#releaser.noteFree()
        if (this.#allocations === this.#sampleAt) this.#sample(resized, realloc)
        return resized
      }
    }
    const isPlain = alignBytes === GRANULE_BYTES && sizeBytes < WHOLE_PAGES_FROM_BYTES
    if (!isPlain && this.#debug !== null) {
      this.#debug.noteAllocation()
      // Taking a stack may have run script that closed the arena.
      this.#requireGiving('realloc')
    }
    const moved = isPlain
      ? this.allocUnsafe(sizeBytes)
      : this.#allocate(sizeBytes, alignBytes, sizeBytes > oldBytes)
    return this.#replace('realloc', buffer, moved)
  }

  /**
   * Moves a block to a lower place if that helps to empty pages. Returns a new `Buffer` with the same bytes; `buffer` is
   * spent, as by `realloc`. Returns `buffer` itself if the block lies well, or if no lower place has room. So after a call
   * for each block, few blocks on many pages lie on few pages, and the others can go back.
   *
   * A block never moves if it is pinned, was allocated with `align` above 16, or has 0 bytes or 64 KiB and more. With
   * `debug`, all others always move. A block of a scope leaves it when it moves: use `scope.relocate`.
   *
   * Throws the errors of `free`, `ERR_ARENA_CLOSED` after `closeWhenIdle`, and `ERR_ARENA_DETACHED` if other code took the
   * `ArrayBuffer` of the block away. After a throw `buffer` is what it was before the call.
   *
   * ```ts
   * for (const [key, buffer] of cache) cache.set(key, arena.relocate(buffer))
   * ```
   */
  relocate(buffer: Uint8Array): ArenaBuffer {
    this.#ownership.requireOwn('relocate', buffer)
    const owner = this.#ownership.requireAttached('relocate', buffer)
    this.#requireGiving('relocate')
    const sizeBytes = sizeOf(owner)
    const isMovable = sizeBytes > 0 && sizeBytes < WHOLE_PAGES_FROM_BYTES && alignOf(owner) <= GRANULE_BYTES
    if (!isMovable || this.#pins.has(owner)) return buffer as ArenaBuffer
    const { moving } = this.#buffers
    if (moving === null) return this.#relocateAnywhere(buffer, sizeBytes)
    const moved = this.#changes.run('relocate', () => this.#relocate(buffer, moving))
    if (moved === null) return buffer as ArenaBuffer
    this.#releaser.noteFree()
    if (this.#allocations === this.#sampleAt) this.#sample(moved, relocate)
    return moved
  }

  /**
   * Ends a block. `buffer` must be the very object that this arena returned, not a view of it. Pages on which
   * no live block is left are back with the kernel within `releaseAfterMs`.
   *
   * Every view of a block of `detachFromBytes` and more has length 0 afterwards. The bytes of a smaller block
   * are used again, so its views must not be used any more. If the block is pinned, only its owner is spent
   * now; the memory and the views stay valid until the last `unpin`.
   *
   * Throws
   * - `ERR_ARENA_DOUBLE_FREE` if the block has ended before, by `free`, `realloc`, `reset` or its scope
   * - `ERR_ARENA_NOT_OWNER` for a `subarray` or another view of a block
   * - `ERR_ARENA_FOREIGN_BUFFER` for a Buffer that this arena did not return
   * - `ERR_ARENA_POOLED` for a Buffer of a pool: call `pool.release`
   * - `ERR_INVALID_ARG_TYPE` for a value that is no Buffer
   * - `ERR_ARENA_CLOSED` after `close`
   *
   * ```ts
   * arena.free(chunk)
   * ```
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
   * Counts one more user of the block of `buffer` outside JavaScript: a read or write of a file or socket that
   * is under way, `zlib`, `crypto`, or another thread. Call `unpin` once for each `pin`.
   *
   * While a block is pinned, its end is put off: after `free`, `reset` or the end of its scope its bytes stay
   * valid, its views attached and its pages resident until the last `unpin`. A pinned block is not
   * garbage-collected.
   *
   * Throws the errors of `free`, and `ERR_ARENA_DETACHED` if other code took the `ArrayBuffer` of the block
   * away.
   *
   * ```ts
   * arena.pin(chunk)
   * file.write(chunk, 0, chunk.length, 0, () => arena.unpin(chunk))
   * arena.free(chunk) // takes effect when the write is done
   * ```
   */
  pin(buffer: Uint8Array): void {
    this.#pins.add(this.#ownership.requireAttached('pin', buffer))
  }

  /**
   * Takes one `pin` of `buffer` back. If it was the last one and the block was freed or reset meanwhile, the
   * block ends here.
   *
   * Throws `ERR_ARENA_NOT_PINNED` if a block of this arena, live or ended, is not pinned, or is held by
   * `lend` only. For anything else it throws the errors of `free`.
   *
   * ```ts
   * arena.pin(chunk)
   * file.write(chunk, 0, chunk.length, 0, () => arena.unpin(chunk))
   * ```
   */
  unpin(buffer: Uint8Array): void {
    if (!this.#pins.remove(buffer)) throw this.#ownership.unpinMisuse(buffer)
  }

  /**
   * Calls `use` with `buffer`, and pins its block for as long as `use` takes: until the promise that `use`
   * returns is settled, or, without a promise, until `use` returns or throws. Such a pin is a *loan*.
   *
   * Returns the result of `use`. If that is a promise, `lend` returns another promise, which is settled in
   * the same way once the block is unpinned.
   *
   * Throws the errors of `pin`, `ERR_INVALID_ARG_TYPE` if `use` is no function, and what `use` throws.
   *
   * ```ts
   * const { bytesWritten } = await arena.lend(chunk, bytes => file.write(bytes))
   * ```
   */
  lend<B extends Uint8Array, T>(buffer: B, use: (buffer: B) => T): T {
    requireFunction('use', use)
    return this.#pins.lend(this.#ownership.requireAttached('lend', buffer), () => use(buffer))
  }

  /**
   * Returns a `Readable` of the bytes of one or more blocks. It takes the blocks over: their Buffers are spent from
   * this call on, as by `free`, and the memory of each block ends when its bytes are consumed. A block of a scope leaves its
   * scope.
   *
   * The bytes are right whatever the receiver does:
   * - Piped to a socket, to an HTTP request or response over one, or to a file (`pipe`, `pipeline`), they go there
   *   without a copy. Each block ends when its last byte was written.
   * - Every other receiver gets copies of up to 64 KiB, which it may keep. Each block ends when it is copied.
   *
   * A stream that is destroyed, or whose destination closes, ends its blocks. So does one that is collected without having
   * been read, late; that is a leak, and reported as such. After a normal end, `'close'` says that every block has ended. Until
   * they end, the blocks count as pinned: `reset` leaves them, and `closeWhenIdle` waits for them.
   *
   * Throws, and takes nothing over,
   * - the errors of `pin`, for any of the Buffers
   * - `ERR_INVALID_ARG_TYPE` if `buffers` is neither a Buffer nor an iterable
   * - `ERR_INVALID_ARG_VALUE` if a Buffer is listed twice
   *
   * ```ts
   * response.writeHead(200, { 'content-length': chunk.length })
   * await pipeline(arena.stream(chunk), response)
   * ```
   */
  stream(buffers: Uint8Array | Iterable<Uint8Array>): Readable {
    const { debug } = partsOf(this)
    this.#takingOver ??= new TakingOver(
      this.#identity,
      this.#ownership,
      this.#pins,
      this.#leaks,
      debug,
      this.#changes,
    )
    return streamBlocks(this.#takingOver, buffers)
  }

  /**
   * Makes a `Scope`: a group of blocks that end together. They are freed by `scope.end()`, or at the end of
   * the block of code with `using scope = arena.scope()`.
   *
   * Throws `ERR_ARENA_CLOSED` after `close` or `closeWhenIdle`.
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
   * Makes a `BufferPool`: Buffers of `sizeBytes` bytes that are made once and handed out again. That takes a fraction of the time of
   * `allocUnsafe` and `free`. A pool outlives requests: make one for each size, not one for each request.
   *
   * Idle Buffers that recent traffic did without end by themselves: their pages are back with the kernel within `releaseAfterMs`. All of
   * them end in `trim`, under memory pressure, and before a limit refuses a block. With `releaseAfterMs: 0` and with `debug`, no Buffer
   * waits: each `acquire` makes one, and each `release` ends it.
   *
   * Throws
   * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad arguments; `sizeBytes` is 1 or more
   * - `ERR_ARENA_CLOSED` after `close` or `closeWhenIdle`
   *
   * ```ts
   * const pool = arena.pool(64 * 1024, { maxIdle: 100 })
   * const buffer = pool.acquire()
   * pool.release(buffer)
   * ```
   */
  pool(sizeBytes: number, options: PoolOptions = {}): BufferPool {
    requirePoolSize(sizeBytes)
    const { maxIdle, align } = resolvePoolOptions(options)
    const alignBytes = requireAlign(align === undefined ? undefined : { align }, this.#heap.pageBytes)
    this.#requireGiving('pool')
    this.#poolHost ??= this.#makePoolHost()
    return new BufferPool(this.#poolHost, { sizeBytes, alignBytes, maxIdle })
  }

  /**
   * Frees every block at once. Their Buffers are spent, and every view of them has length 0. A pinned block
   * stays valid until its last `unpin`, and so do views of small blocks that lie close to a pinned one.
   *
   * Throws `ERR_ARENA_CLOSED` after `close`.
   *
   * ```ts
   * arena.reset()
   * const chunk = arena.allocUnsafe(1024) // the arena goes on
   * ```
   */
  reset(): void {
    this.#debug?.noteEndOfAll()
    this.#requireOpen('reset')
    this.#changes.runFreeing('reset', () => this.#endAll())
    this.#releaser.afterLargeFree()
  }

  /**
   * Returns whether `view` lies in one live block of this arena. `view` may be any typed array or `DataView`,
   * a Buffer or a part of one; for any other value the result is false. A view of a small block that was
   * freed lies in whatever block is there now, so the result may be true (see docs/lifetimes.md).
   *
   * ```ts
   * if (arena.owns(chunk)) arena.free(chunk)
   * ```
   */
  owns(view: unknown): boolean {
    return this.#ownership.isLive(view) || this.#ownership.blockUnder(view) !== NONE
  }

  /**
   * Returns the Buffer that this arena returned for the live block in which `view` lies, for use with `free`
   * and `realloc`. Returns `undefined` if `owns(view)` is false.
   *
   * If `view` is that Buffer itself, this works in every arena. For any other view the arena needs
   * `trackOwners: true`; without it `ownerOf` throws `ERR_ARENA_NOT_SUPPORTED`.
   *
   * ```ts
   * const arena = new Arena({ trackOwners: true })
   * const body = arena.alloc(1000).subarray(3, 10)
   * const owner = arena.ownerOf(body)
   * if (owner !== undefined) arena.free(owner)
   * ```
   */
  ownerOf(view: unknown): ArenaBuffer | undefined {
    if (this.#ownership.isLive(view)) return view as unknown as ArenaBuffer
    const block = this.#ownership.blockUnder(view)
    if (block === NONE) return undefined
    if (this.#owners === null) throw untrackedError(this.#identity)
    return this.#owners.of(block)
  }

  /**
   * Gives every free page back to the kernel now, and gives up the segments that hold no block, except for
   * one spare. Returns the number of bytes that went back.
   *
   * Throws
   * - `ERR_ARENA_PURGE_FAILED` if the kernel refused to take pages back; `cause` is the system error.
   *   Everything else is done by then, and another call tries the rest again
   * - `ERR_ARENA_CLOSED` after `close`
   *
   * ```ts
   * const purgedBytes = arena.trim()
   * ```
   */
  trim(): number {
    this.#requireOpen('trim')
    const purgedPages = this.#changes.run('trim', () => this.#releaser.releaseAll('trim'))
    const { failure } = this.#releaser
    if (failure !== null) throw purgeError(this.#identity, 'trim', failure)
    return purgedPages * this.#heap.pageBytes
  }

  /**
   * Does what `trim` does in slices of about a millisecond, with a turn of the event loop between two slices.
   * Resolves to the number of bytes that went back. Calls wait for one another. The process does not end by
   * itself before the promise is settled. If `close()` comes first, it gives back the rest, and the promise
   * resolves to the bytes that went back before.
   *
   * Rejects with the errors that `trim` throws.
   *
   * ```ts
   * const purgedBytes = await arena.trimAsync()
   * ```
   */
  async trimAsync(): Promise<number> {
    this.#requireOpen('trimAsync')
    const { pageCount, failure } = await this.#slicing.run()
    if (failure !== null) throw purgeError(this.#identity, 'trimAsync', failure)
    return pageCount * this.#heap.pageBytes
  }

  /**
   * Returns what the arena holds now and what it has done since it was made. Makes no system call. Works on a
   * closed arena too.
   *
   * ```ts
   * const { usedBytes, dirtyBytes } = arena.stats()
   * ```
   */
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
      quarantinedBlocks: this.#debug?.quarantinedBlocks ?? 0,
      quarantinedBytes: this.#debug?.quarantinedBytes ?? 0,
    }
    return statsOf(counted, this.#pools.sums(), this.#heap, this.#source, this.#scavenger)
  }

  /** Returns `stats()` and `isClosed`, for `JSON.stringify`, which turns `Infinity` into null. */
  toJSON(): ArenaStats & {
    /** Whether `close` has ended the arena. */
    isClosed: boolean
  } {
    return { ...this.stats(), isClosed: this.#ownership.isClosed }
  }

  /**
   * Serves `util.inspect` and `console.log`: one line with the bytes that are live, used, dirty, committed
   * and mapped.
   *
   * @internal Not declared: the types of Node name its options one way here and another there.
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    return describe(
      `Arena '${this.name}'`,
      factsOf(this.stats(), this.#ownership.isClosed),
      depth,
      options,
      show,
    )
  }

  /**
   * Registers `listener` for `'limit'`. It is called when the arena has crossed `softLimitBytes`: all free
   * pages were given back, and the arena still needs more. It is called once for each crossing, soon after
   * the call that crossed.
   *
   * Throws `ERR_INVALID_ARG_VALUE` for another event and `ERR_INVALID_ARG_TYPE` if `listener` is no function.
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

  /**
   * Removes `listener`, which `on` registered. Does nothing if it is not registered. If it was registered
   * several times, one registration is removed. Throws the errors of `on`.
   *
   * ```ts
   * arena.off('limit', listener)
   * ```
   */
  off(event: 'limit', listener: LimitListener): this {
    requireListener(event, listener)
    this.#notices.removeLimitListener(listener)
    return this
  }

  /**
   * Asks the kernel (`mincore`) and returns how many bytes of the arena are resident now. With
   * `source: 'heap'`, it returns the bytes of the `ArrayBuffer`s that the arena made or holds and that are not
   * collected yet, whether they were touched or not.
   *
   * Throws `ERR_ARENA_CLOSED` after `close`, and a system error if the call fails.
   *
   * ```ts
   * gauge.set({ arena: arena.name }, arena.residentBytes())
   * ```
   */
  residentBytes(): number {
    this.#requireOpen('residentBytes')
    return this.#source.residentBytes()
  }

  /**
   * Frees every block, detaches every view and gives every page back. The mappings themselves go on the next
   * turn of the event loop. Afterwards every method but `stats`, `close`, `closeWhenIdle` and `check` throws
   * `ERR_ARENA_CLOSED`. A second `close` does nothing.
   *
   * Throws `ERR_ARENA_PINNED`, and does nothing, while blocks are pinned.
   *
   * ```ts
   * arena.close()
   * ```
   */
  close(): void {
    if (this.#isGone) return
    this.#debug?.noteEndOfAll()
    if (this.#pins.blockCount > 0) throw closePinnedError(this.#identity, this.#pins.blockCount)
    this.#changes.run('close', () => this.#endAllAndGo())
  }

  /**
   * Closes the arena as soon as nothing is pinned: now, or in the last `unpin` or at the end of the last
   * `lend`. From this call on `alloc…`, `realloc` and `scope` throw `ERR_ARENA_CLOSED`; everything else works
   * until the arena is closed.
   *
   * Returns a promise that resolves when the arena is closed, and rejects with what `close` throws. Every
   * call returns that one promise. It does not keep the process alive.
   *
   * ```ts
   * await arena.closeWhenIdle()
   * ```
   */
  closeWhenIdle(): Promise<void> {
    this.#stopGiving()
    this.#pools.stop()
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
   * Blocks that nobody can free, because a call that made or ended them was interrupted. They end with
   * `reset` or `close`.
   *
   * @internal
   */
  get lostBlocks(): number {
    const owned = this.#allocations - this.#frees - this.#emptyBlocks
    return this.#heap.liveBlocks - owned - this.#buffers.setAsideBlocks
  }

  /** @internal */
  protected override allocating(): Allocating {
    this.#allocating ??= {
      name: this.name,
      allocUnsafe: sizeBytes => this.allocUnsafe(sizeBytes),
      realloc: (buffer, sizeBytes) => this.realloc(buffer, sizeBytes),
      free: buffer => this.free(buffer),
      lend: (buffer, use) => this.lend(buffer, use),
      requireGiving: method => this.#requireGiving(method),
      isLive: buffer => this.#ownership.isLive(buffer),
      requireLive: (method, buffer) => void this.#ownership.requireLive(method, buffer),
    }
    return this.#allocating
  }

  /** Calls `close()`, for `using arena = new Arena()`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Calls `closeWhenIdle()`, for `await using arena = new Arena()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeWhenIdle()
  }

  /**
   * Checks the invariants of this class and of all below, and throws an `Error` that names the first one that
   * is broken. Walks all books: for tests.
   */
  check(): void {
    this.#changes.run('check', () => this.#check())
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
    this.#pools.check()
    this.#owners?.check()
  }

  // ---- behind the warm paths ------------------------------------------------------------------------------

  #allocateSlow(sizeBytes: number, options: AllocOptions | undefined): ArenaBuffer {
    requireSize(sizeBytes)
    const alignBytes = requireAlign(options, this.#heap.pageBytes)
    this.#debug?.noteAllocation()
    // Checked last: reading the options, and taking a stack, may have run script that closed the arena.
    this.#requireGiving('alloc')
    return this.#allocate(sizeBytes, alignBytes, false)
  }

  /** `isGrown`: the block takes the place of a shorter one. */
  #allocate(sizeBytes: number, alignBytes: number, isGrown: boolean): ArenaBuffer {
    const buffer =
      sizeBytes === 0
        ? this.#changes.run('alloc', () => this.#issueEmpty())
        : this.#obtain(sizeBytes, alignBytes, isGrown, NOT_ASKED)
    if (alignBytes > GRANULE_BYTES) stampAlign(buffer as Buffer & Owner, alignBytes)
    // Blocks of arenas with `debug` or `trackOwners` do not end on the warm path of `free`: with `debug`,
    // each end begins by taking a stack.
    if (!this.#isPlain) watch(buffer as ArenaBuffer & Owner)
    return buffer
  }

  /**
   * Hands out a block for which pages may have to be found. `refusal` says why the heap has refused it just
   * now; `NOT_ASKED` if it has not.
   */
  #obtain(sizeBytes: number, alignBytes: number, isGrown: boolean, refusal: number): ArenaBuffer {
    this.#changes.enter('alloc')
    try {
      let reason = this.#changes.finish() ? NOT_ASKED : refusal
      for (;;) {
        const block = isGrown
          ? this.#supply.obtainGrown(sizeBytes, alignBytes)
          : this.#supply.obtain(sizeBytes, alignBytes, reason)
        const buffer = this.#issue(block, sizeBytes, alignBytes)
        reason = NOT_ASKED
        if (buffer === null) continue
        this.#owners?.add(block, buffer)
        this.#gate.isDone = true
        return buffer
      }
    } catch (error) {
      // A refusal by a limit leaves nothing half done, so the change counts as done.
      this.#gate.isDone = isLimit(error)
      throw error
    } finally {
      this.#gate.changes++
      this.#releaser.noteAllocation()
    }
  }

  #issueEmpty(): ArenaBuffer {
    // Each one has an `ArrayBuffer` of its own. It is ordinary memory, and other code may take it away
    // without harm.
    const buffer = makeOwner(new Memory(0), 0, 0, this.#epoch, EMPTY)
    this.#emptyBlocks++
    if (++this.#allocations === this.#sampleAt) this.#sample(buffer, allocUnsafe)
    return buffer
  }

  /** The alignment, in bytes, of the block that takes the place of the block of `owner`. */
  #alignFor(owner: Owner, options: AllocOptions | undefined): number {
    return requireAlign(options, this.#heap.pageBytes, max(GRANULE_BYTES, alignOf(owner)))
  }

  /**
   * Makes the Buffer of a new block. Returns null if the block had to be set aside. It is short, like all
   * code that makes an owner on the warm path: V8 inlines 920 bytecodes at most into `allocUnsafe`, and an
   * owner made beyond that takes twice as long.
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
    return outOfMemory({ kind: 'arena', name: this.name }, sizeBytes, NO_BUFFER, cause)
  }

  /** A block was set aside. Arms a tick, which will look after it. */
  #seeToSetAside(): null {
    this.#releaser.noteFree()
    return null
  }

  /**
   * Resizes a block where it is. Returns its new owner, and `owner` is spent. Returns null if the block has
   * to move, and `owner` stays live.
   */
  #resizeInPlace(
    owner: Uint8Array & Owner,
    block: Block,
    sizeBytes: number,
    alignBytes: number,
  ): ArenaBuffer | null {
    const oldBytes = sizeOf(owner)
    const usableBytes = this.#heap.sizeOf(block)
    const { resizing } = this.#buffers
    if (resizing === null || (block * GRANULE_BYTES) % alignBytes !== 0) return null
    // The old owner is spent first. So nothing can end the block meanwhile, and no owner ever reaches beyond
    // its block, wherever this is interrupted.
    const held = blockOf(owner)
    spend(owner)
    this.#frees++
    this.#liveBytes -= oldBytes
    let resized: ArenaBuffer | null = null
    try {
      if (
        resizing.mayResizeTo(block, oldBytes, sizeBytes) &&
        this.#supply.resize(resizing, block, sizeBytes)
      ) {
        if (held !== block) this.#leaks.end(block)
        resized = resizing.replaceOwner(block, sizeBytes, this.#epoch)
      }
    } catch (cause) {
      resizing.resize(block, usableBytes)
      this.#restore(owner, held)
      this.#releaser.noteFree()
      throw outOfMemory({ kind: 'arena', name: this.name }, sizeBytes, NO_BUFFER, cause)
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

  /** Copies the bytes of `buffer` to `moved`, as far as they fit, and ends `buffer`. If that fails, `moved` ends. */
  #replace(method: string, buffer: Uint8Array, moved: ArenaBuffer): ArenaBuffer {
    try {
      // Making memory free may have run script that ended the block.
      const owner = this.#ownership.requireLive(method, buffer)
      const oldBytes = sizeOf(owner)
      const sizeBytes = lengthOf(moved)
      // A Buffer of zero bytes has nothing to copy, and other code may have taken its `ArrayBuffer` away.
      if (oldBytes > sizeBytes) copyBytes(moved, new Bytes(bufferOf(buffer), byteOffsetOf(buffer), sizeBytes))
      else if (oldBytes > 0) copyBytes(moved, buffer)
      this.free(buffer)
    } catch (error) {
      this.free(moved)
      throw error
    }
    return moved
  }

  /** Moves a block to a lower place. Returns its new owner, and the old one is spent. Returns null if it stays. */
  #relocate(buffer: Uint8Array, moving: Moving): ArenaBuffer | null {
    // Finishing what was interrupted may have run script that ended the block.
    const owner = this.#ownership.requireAttached('relocate', buffer)
    const held = blockOf(owner)
    const block = watchedBlock(held)
    const sizeBytes = sizeOf(owner)
    const place = this.#relocating(moving).takeFor(block)
    if (place === NONE) return null
    const moved = this.#issueAt(place, sizeBytes)
    if (moved === null) return null
    copyBytes(moved, buffer)
    if (held !== block) this.#leaks.end(block)
    spend(owner)
    this.#frees++
    this.#liveBytes -= sizeBytes
    moving.endMoved(block, sizeBytes)
    return moved
  }

  /** Makes the owner of a place for a block that moves. Returns null, and gives the place back, if that fails. */
  #issueAt(place: Block, sizeBytes: number): ArenaBuffer | null {
    let moved: ArenaBuffer | null
    try {
      moved = this.#buffers.makeOwner(place, sizeBytes, this.#epoch, GRANULE_BYTES)
    } catch (cause) {
      // The block can stay where it is, so nobody need know.
      this.#takeBack(place, sizeBytes, cause)
      return null
    }
    if (moved === null) return this.#seeToSetAside()
    this.#allocations++
    this.#liveBytes += sizeBytes
    this.#owners?.add(place, moved)
    return moved
  }

  /** Moves a block wherever there is room. Returns `buffer` if there is none. */
  #relocateAnywhere(buffer: Uint8Array, sizeBytes: number): ArenaBuffer {
    this.#debug?.noteAllocation()
    // Taking a stack may have run script that closed the arena.
    this.#requireGiving('relocate')
    try {
      return this.#replace('relocate', buffer, this.#allocate(sizeBytes, GRANULE_BYTES, false))
    } catch (error) {
      return undefinedIfRefused(error) ?? (buffer as ArenaBuffer)
    }
  }

  #relocating(moving: Moving): Relocation {
    const { heap, source, limits, environment } = partsOf(this)
    this.#relocation ??= new Relocation(heap, source.unitPages, moving, limits, environment.now)
    return this.#relocation
  }

  #restore(owner: Owner, held: Block): void {
    this.#frees--
    this.#liveBytes += sizeOf(owner)
    restore(owner, held)
  }

  #freeUncommon(buffer: Uint8Array & Owner, block: Block, method = 'free'): void {
    if (block !== SPENT) this.#debug?.noteEnd(watchedBlock(block))
    // `noteEnd` may have run script that ended the block.
    if (!this.#ownership.isLive(buffer)) throw this.#ownership.misuse(method, buffer)
    this.#changes.runFreeing(method, () => {
      this.#leaks.end(watchedBlock(block))
      if (!this.#pins.defer(buffer)) this.#end(buffer, watchedBlock(block))
    })
  }

  /** Ends a block. If `block` is EMPTY, only the owner of zero bytes ends. */
  #end(buffer: Uint8Array & Owner, block: Block): void {
    if (block !== EMPTY) {
      this.#endBlock(buffer, block)
      return
    }
    spend(buffer)
    this.#frees++
    this.#emptyBlocks--
  }

  /** Ends a block at its last unpin, which may come in the middle of another change. */
  #endUnpinned(owner: Uint8Array & Owner, block: Block): void {
    this.#changes.runAnyway(() => this.#end(owner, block))
    this.#releaser.noteFree()
  }

  /**
   * Samples an owner that is about to be handed out. `through` is the method above which the stack of the
   * allocation begins.
   */
  #sample(buffer: Buffer, through: (...args: never[]) => unknown): void {
    // Set first: if this is interrupted, a later owner is sampled all the same.
    this.#sampleAt = this.#leaks.nextAfter(this.#allocations)
    this.#leaks.sample(buffer as Buffer & Owner, through)
    if (this.#sampleAt <= this.#allocations) this.#sampleAt = this.#leaks.nextAfter(this.#allocations)
  }

  /** The owner of a live block was collected. The block ends; its bytes wait until no view reaches them. */
  #forget(block: Block, sizeBytes: number, wrapId: WrapId): void {
    // The collector runs finalizers between two calls, so the gate is open, unless an interrupted call has
    // left it taken.
    this.#changes.runAnyway(() => {
      this.#frees++
      this.#liveBytes -= sizeBytes
      this.#buffers.forget(block, sizeBytes, wrapId)
    })
    this.#releaser.noteForgotten()
  }

  /**
   * Ends every block, in the books and in every view. Pinned blocks end at their last unpin. No owner is live
   * from the first step on. If this is interrupted, it is done again from the start.
   */
  #endAll(): void {
    this.#changes.isEnding = true
    this.#isPlain = false
    this.#relocation?.end()
    this.#epoch = this.#ownership.renew()
    this.#leaks.clear()
    // Before any block ends: no pool may hand one out after that.
    this.#pools.endAll()
    const pinned = this.#pins.deferAll()
    this.#buffers.endAll(pinned)
    this.#frees = this.#allocations - this.#pins.blockCount
    this.#liveBytes = 0
    for (const sizeBytes of pinned.values()) this.#liveBytes += sizeBytes
    this.#emptyBlocks = this.#pins.blockCount - pinned.size
    this.#owners?.clear()
    this.#isPlain =
      this.#givesBlocks && partsOf(this).options.debug === null && !partsOf(this).options.trackOwners
    this.#changes.isEnding = false
  }

  #endAllAndGo(): void {
    this.#ownership.isClosed = true
    this.#stopGiving()
    this.#endAll()
    this.#releaser.close()
    this.#limits.yieldShare()
    this.#leaveGroup?.()
    wasClosed(this)
    this.#isGone = true
  }

  /** Returns the error of a `free` that was refused: `buffer` is no live owner, or a change is under way. */
  #freeRefused(buffer: unknown): Error {
    if (this.#ownership.isPooled(buffer)) return pooledError(this.#identity, 'free')
    if (!this.#ownership.isLive(buffer)) return this.#ownership.misuse('free', buffer)
    this.#changes.enter('free')
    invariant(false, 'what the gate refused, it lets in')
  }

  // ---- pools ----------------------------------------------------------------------------------------------

  #makePoolHost(): PoolHost {
    const { options, environment } = partsOf(this)
    const { deferral, now, watch } = environment
    const waits = options.debug === null && !this.#policy.isImmediate
    return {
      arena: this.#identity,
      pools: this.#pools,
      wipes: options.wipeOnFree,
      samplesAll: options.leaks === 'all',
      epoch: () => this.#epoch,
      make: (method, sizeBytes, alignBytes) => this.#makePooled(method, sizeBytes, alignBytes),
      keepsIdle: () => waits && this.#givesBlocks,
      isPinned: owner => this.#pins.has(owner),
      end: owner => this.#freeUncommon(owner, blockOf(owner), 'release'),
      endIdle: owner => this.#endIdle(owner),
      misuse: (method, buffer) => this.#ownership.misuse(method, buffer),
      isArenaClosed: () => this.#ownership.isClosed,
      makeLeaks: onForgotten => this.#makeLeaks(onForgotten),
      attempt: change => this.#changes.attempt(change),
      dirtyPages: () => this.#heap.dirtyPages,
      purge: pageCount => {
        if (pageCount > 0) this.#releaser.purgeSome(pageCount, 'timer')
      },
      hasTime: turnStartMs => this.#policy.hasTime(turnStartMs),
      now,
      promiseMs: () => this.#policy.promiseMs,
      after: (delayMs, run) => {
        watch?.onArmed()
        return deferral.after(delayMs, run)
      },
    }
  }

  #makePooled(method: string, sizeBytes: number, alignBytes: number): ArenaBuffer & Owner {
    this.#debug?.noteAllocation()
    // Taking a stack may have run script that closed the arena.
    this.#requireGiving(method)
    const buffer = this.#allocate(sizeBytes, alignBytes, false) as ArenaBuffer & Owner
    const block = watchedBlock(blockOf(buffer))
    // A pool samples for itself, anew each time that it hands the Buffer out.
    this.#leaks.end(block)
    restore(buffer, block)
    return buffer
  }

  /** Ends a Buffer that was idle in a pool, within a change. */
  #endIdle(owner: Uint8Array & Owner): void {
    const { moving } = this.#buffers
    const block = blockOf(owner)
    const sizeBytes = sizeOf(owner)
    spend(owner)
    this.#frees++
    this.#liveBytes -= sizeBytes
    if (lengthOf(owner) === 0) this.#buffers.notice(block, sizeBytes)
    if (moving === null) this.#buffers.end(block, sizeBytes)
    else moving.endMoved(block, sizeBytes)
    this.#releaser.noteFree()
  }

  #makeLeaks(onForgotten: () => void): Leaks {
    const { options, environment } = partsOf(this)
    return new Leaks(options.leaks, this.name, environment.now, {
      wrapIdOf: (block, sizeBytes) => this.#buffers.wrapIdOf(block, sizeBytes),
      forget: (block, sizeBytes, wrapId) => {
        this.#forget(block, sizeBytes, wrapId)
        onForgotten()
      },
      report: publishBlockLeak,
    })
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
    if (this.#ownership.isClosed) throw closedError(this.#identity, method)
  }
}

// The stack of a sampled allocation begins above these methods. They are kept here, because a program may
// replace the methods of the prototype.
const { allocUnsafe, realloc, relocate } = Arena.prototype

function partsFor(options: ArenaOptions, surroundings: Surroundings | undefined): Parts {
  const resolved = resolveOptions(options)
  return assemble(resolved, surroundings ?? surroundingsFor(resolved.source, resolved.nativeBinding))
}

// Outside of the class: a closure made in the constructor would share its context, and so hold the arena.
function publishBlockLeak({ arenaName, sizeBytes, stack }: Leak): void {
  publishLeak({ arena: arenaName, kind: 'block', blocks: 1, bytes: sizeBytes, stack })
}
