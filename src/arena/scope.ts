/**
 * A scope: blocks that end together, at the latest when the scope ends. It remembers the owners that it
 * handed out, in the order of the calls, and nothing else. The stamp of an owner says whether its block was
 * freed meanwhile.
 *
 * Script may run in any call of the arena (an accessor among the options, a formatter of stacks), and may end
 * the scope. So a method that allocates asks again, after the arena has returned, whether the scope has
 * ended.
 *
 * Invariants, checked by the arena's fuzz from outside:
 *  1. every live block that the scope handed out and did not keep ends with it
 *  2. from `FORGET_FROM_COUNT` owners on, a scope drops the spent ones whenever it has twice as many as were
 *     live the last time. So a long scope does not grow by freed blocks
 */
import { type InspectOptionsStylized, inspect } from 'node:util'
import { describe } from '../base/description.js'
import { ArenaError, invalidArgValue } from '../base/errors.js'
import { partsOf } from '../base/made-of.js'
import { lastIndexIn, reversed, SafeSet } from '../base/primordials.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import type { Allocating } from '../bytes/allocating.js'
import { BytesIn } from '../bytes/bytes-in.js'
import { type AllocOptions, readOptions } from './arguments.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max } = Math
const { isArray } = Array

/** The methods of an arena that a scope calls. */
export interface ScopeArena {
  readonly name: string
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer
  allocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer
  relocate(buffer: Uint8Array): ArenaBuffer
  free(buffer: Uint8Array): void
  lend<B extends Uint8Array, T>(buffer: B, use: (buffer: B) => T): T
}

/** What a scope needs from its arena besides the public methods. */
export interface ScopeHost {
  readonly arena: ScopeArena
  /** Throws `ERR_ARENA_CLOSED` if the arena does not hand out blocks any more. */
  requireGiving(method: string): void
  /** Throws the error of `free` if `buffer` is not a live owner of the arena. */
  requireLive(method: string, buffer: Uint8Array): void
  /** Whether an owner of the arena is live: neither freed nor reset. */
  isLive(owner: Uint8Array): boolean
}

const FORGET_FROM_COUNT = 256
/**
 * `keep` searches the array of blocks from its end. Once the number of blocks that it passed is more than
 * `PASSED_FOR_EACH` times the blocks in the array, plus `MIN_PASSED`, the blocks move into a set, which
 * finds each at once. The array comes first: for a scope that keeps nothing, or only its newest block, it
 * costs a third of a set.
 */
const PASSED_FOR_EACH = 16
const MIN_PASSED = 1024

/**
 * Blocks that end together: what `arena.scope()` returns.
 *
 * ```ts
 * const scope = arena.scope()
 * try {
 *   const body = scope.allocUnsafe(64 * 1024)
 *   // …
 * } finally {
 *   scope.end() // frees all that it handed out
 * }
 * ```
 *
 * With the `using` syntax: `using scope = arena.scope()`.
 */
export class Scope extends BytesIn<ScopeHost> {
  readonly #host = partsOf(this)
  readonly #parent: Scope | null
  /** The owners that the scope holds, in the order of the calls. Spent ones are dropped from time to time. */
  #blocks: Uint8Array[] | SafeSet<Uint8Array> = []
  #forgetAtCount = FORGET_FROM_COUNT
  /** Blocks that `keep` has passed in the array. */
  #passedCount = 0
  #children: SafeSet<Scope> | null = null
  #isEnded = false
  /** Made at the first `from`, `concat`, `collect` or `readFile`. */
  #allocating: Allocating | undefined

  /** @internal */
  constructor(host: ScopeHost, parent: Scope | null = null) {
    super(host)
    this.#parent = parent
  }

  /**
   * Calls `arena.alloc`: returns a zero-filled Buffer of `sizeBytes` bytes. The block ends with the scope.
   *
   * Throws the errors of `arena.alloc`, and `ERR_ARENA_SCOPE_ENDED`.
   */
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('alloc')
    return this.#add(this.#host.arena.alloc(sizeBytes, options), 'alloc')
  }

  /**
   * Calls `arena.allocUnsafe`: returns a Buffer of `sizeBytes` bytes with undefined contents. The block ends
   * with the scope.
   *
   * Throws the errors of `arena.allocUnsafe`, and `ERR_ARENA_SCOPE_ENDED`.
   *
   * ```ts
   * const body = scope.allocUnsafe(64 * 1024)
   * ```
   */
  allocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('allocUnsafe')
    return this.#add(this.#host.arena.allocUnsafe(sizeBytes, options), 'allocUnsafe')
  }

  /**
   * Calls `arena.tryAlloc`: returns a zero-filled Buffer of `sizeBytes` bytes, or `undefined` if memory is
   * refused. The block ends with the scope.
   *
   * Throws the errors of `arena.tryAlloc`, and `ERR_ARENA_SCOPE_ENDED`.
   */
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAlloc')
    const buffer = this.#host.arena.tryAlloc(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer, 'tryAlloc')
  }

  /**
   * Calls `arena.tryAllocUnsafe`: returns a Buffer of `sizeBytes` bytes with undefined contents, or
   * `undefined` if memory is refused. The block ends with the scope.
   *
   * Throws the errors of `arena.tryAllocUnsafe`, and `ERR_ARENA_SCOPE_ENDED`.
   */
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAllocUnsafe')
    const buffer = this.#host.arena.tryAllocUnsafe(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer, 'tryAllocUnsafe')
  }

  /**
   * Calls `arena.realloc`: returns a Buffer of `sizeBytes` bytes in the place of `buffer`. Its block ends with
   * this scope, even if `buffer` came from another scope or from the arena itself. (A Buffer that `arena.realloc` returns belongs to no
   * scope.)
   *
   * Throws the errors of `arena.realloc`, and `ERR_ARENA_SCOPE_ENDED`.
   *
   * ```ts
   * body = scope.realloc(body, 128 * 1024)
   * ```
   */
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('realloc')
    // The options are read first, and once. If reading them runs script that ends the scope, `buffer` stays
    // as it was.
    const read = options === undefined ? undefined : readOptions(options)
    if (this.#isEnded) throw this.#ended('realloc')
    return this.#add(this.#host.arena.realloc(buffer, sizeBytes, read), 'realloc')
  }

  /**
   * Takes a live block out of the scope, so that it outlives the scope. Returns `buffer`. The block belongs
   * to no scope from then on; `arena.free` ends it. Blocks can be kept in any order: all `keep` calls
   * together take time in proportion to the number of blocks of the scope.
   *
   * Throws
   * - the errors of `arena.free` if `buffer` is not a live owner of the arena
   * - `ERR_INVALID_ARG_VALUE` if this scope does not hold the block (another scope does, or none)
   * - `ERR_ARENA_SCOPE_ENDED`
   *
   * ```ts
   * const cached = scope.keep(body)
   * ```
   */
  keep<B extends Uint8Array>(buffer: B): B {
    if (this.#isEnded) throw this.#ended('keep')
    this.#host.requireLive('keep', buffer)
    if (this.#remove(buffer)) return buffer
    throw this.#notHeld(buffer)
  }

  /**
   * Calls `arena.relocate`. This scope must hold `buffer`, and holds the Buffer that is returned.
   *
   * Throws the errors of `arena.relocate`, and of `keep`.
   *
   * ```ts
   * body = scope.relocate(body)
   * ```
   */
  relocate(buffer: Uint8Array): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('relocate')
    this.#host.requireLive('relocate', buffer)
    if (!this.#holds(buffer)) throw this.#notHeld(buffer)
    const moved = this.#host.arena.relocate(buffer)
    return moved === buffer ? moved : this.#add(moved, 'relocate')
  }

  /**
   * Makes a scope within this one. It ends when this one ends, or before.
   *
   * Throws `ERR_ARENA_SCOPE_ENDED`, and `ERR_ARENA_CLOSED` after `close` or `closeWhenIdle` of the arena.
   *
   * ```ts
   * const inner = scope.scope()
   * ```
   */
  scope(): Scope {
    if (this.#isEnded) throw this.#ended('scope')
    this.#host.requireGiving('scope')
    const child = new Scope(this.#host, this)
    this.#children ??= new SafeSet()
    this.#children.add(child)
    return child
  }

  /**
   * Ends the scope: first ends the scopes within it, then frees every block that it still holds. A pinned
   * block ends at its last `unpin`. Nested scopes end in the order in which they were made, each after the
   * scopes within it. Blocks are freed in the order in which they were allocated. Blocks that were freed
   * before are passed over, and so are those of an arena that was reset or closed meanwhile. A second call
   * does nothing. Afterwards every method but `end` and `toJSON` throws `ERR_ARENA_SCOPE_ENDED`.
   *
   * The arena has no reason to refuse any of these frees. If one throws all the same, the other blocks are
   * freed before the error is thrown (several errors as one `AggregateError`). The scope still holds that
   * block, and the next `end()` tries again.
   *
   * ```ts
   * scope.end()
   * ```
   */
  end(): void {
    // No recursion: scopes may be nested deeper than the stack allows.
    const scopes = this.#withinAndSelf()
    for (let i = 0; i < scopes.length; i++) scopes[i].#isEnded = true
    const failures: unknown[] = []
    for (let i = 0; i < scopes.length; i++) scopes[i].#freeAll(failures)
    if (failures.length === 1) throw failures[0]
    if (failures.length > 1) throw new AggregateError(failures, 'blocks of a scope could not be freed')
  }

  /** @internal */
  protected override allocating(): Allocating {
    const { arena } = this.#host
    this.#allocating ??= {
      name: arena.name,
      allocUnsafe: sizeBytes => this.allocUnsafe(sizeBytes),
      realloc: (buffer, sizeBytes) => this.realloc(buffer, sizeBytes),
      free: buffer => arena.free(buffer),
      lend: (buffer, use) => arena.lend(buffer, use),
      requireGiving: method => {
        this.#requireOpen(method)
        this.#host.requireGiving(method)
      },
      isLive: buffer => this.#host.isLive(buffer),
      requireLive: (method, buffer) => {
        this.#requireOpen(method)
        this.#host.requireLive(method, buffer)
      },
    }
    return this.#allocating
  }

  #requireOpen(method: string): void {
    if (this.#isEnded) throw this.#ended(method)
  }

  /** Calls `end()`, for `using scope = arena.scope()`. */
  [Symbol.dispose](): void {
    this.end()
  }

  /**
   * Returns, for `JSON.stringify`, the arena's name, the number of live blocks that the scope itself holds,
   * the number of scopes within it, and whether it has ended.
   */
  toJSON(): {
    /** The name of the arena. */
    arena: string
    /** Live blocks that the scope itself holds, a count. */
    liveBlocks: number
    /** Scopes within this one that have not ended, a count. */
    scopes: number
    /** Whether the scope has ended. */
    isEnded: boolean
  } {
    let liveBlocks = 0
    this.#each(block => {
      if (this.#host.isLive(block)) liveBlocks++
    })
    const scopes = this.#children?.size ?? 0
    return { arena: this.#host.arena.name, liveBlocks, scopes, isEnded: this.#isEnded }
  }

  /**
   * Serves `util.inspect` and `console.log`: one line with the facts of `toJSON()`.
   *
   * @internal
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    const { arena, ...facts } = this.toJSON()
    return describe(`Scope of arena '${arena}'`, facts, depth, options, show)
  }

  /** Returns this scope and all scopes within it, in the order in which they end. */
  #withinAndSelf(): Scope[] {
    const found: Scope[] = []
    const waiting: Scope[] = [this]
    while (waiting.length > 0) {
      const scope = waiting[waiting.length - 1]
      waiting.length--
      found[found.length] = scope
      scope.#children?.forEach(child => {
        waiting[waiting.length] = child
      })
    }
    return reversed(found)
  }

  /** Visits each block. No built-in method that a program may have replaced runs between two blocks. */
  #each(visit: (block: Uint8Array) => void): void {
    const blocks = this.#blocks
    if (isArray(blocks)) for (let i = 0; i < blocks.length; i++) visit(blocks[i])
    else blocks.forEach(visit)
  }

  /**
   * Frees the blocks that the scope itself holds. A block whose `free` throws stays in the scope. If this is
   * interrupted, all blocks stay, and the next `end()` passes over those that are spent.
   */
  #freeAll(failures: unknown[]): void {
    const { arena } = this.#host
    const refused: Uint8Array[] = []
    this.#each(block => {
      if (!this.#host.isLive(block)) return
      try {
        arena.free(block)
      } catch (error) {
        failures[failures.length] = error
        refused[refused.length] = block
      }
    })
    this.#blocks = refused
    const isOver = refused.length === 0 && (this.#children === null || this.#children.size === 0)
    if (isOver && this.#parent !== null) this.#parent.#children?.delete(this)
  }

  /**
   * Remembers a block. If script that ran while it was made has ended the scope, the block ends here instead.
   */
  #add(buffer: ArenaBuffer, method: string): ArenaBuffer {
    if (this.#isEnded) {
      if (this.#host.isLive(buffer)) this.#host.arena.free(buffer)
      throw this.#ended(method)
    }
    const blocks = this.#blocks
    if (!isArray(blocks)) blocks.add(buffer)
    else blocks[blocks.length] = buffer
    const count = isArray(blocks) ? blocks.length : blocks.size
    if (count >= this.#forgetAtCount) this.#forgetSpent()
    return buffer
  }

  /** Removes a block from those that the scope holds. Returns whether it was there. */
  #remove(buffer: Uint8Array): boolean {
    const blocks = this.#blocks
    if (!isArray(blocks)) return blocks.delete(buffer)
    const index = this.#indexIn(blocks, buffer)
    if (index >= 0) removeAt(blocks, index)
    this.#pass(blocks)
    return index >= 0
  }

  #holds(buffer: Uint8Array): boolean {
    const blocks = this.#blocks
    if (!isArray(blocks)) return blocks.has(buffer)
    const index = this.#indexIn(blocks, buffer)
    this.#pass(blocks)
    return index >= 0
  }

  #indexIn(blocks: Uint8Array[], buffer: Uint8Array): number {
    const index = lastIndexIn(blocks, buffer)
    this.#passedCount += blocks.length - index
    return index
  }

  /** Makes a set of the array if searches have passed too many blocks. */
  #pass(blocks: Uint8Array[]): void {
    if (this.#passedCount > PASSED_FOR_EACH * blocks.length + MIN_PASSED) this.#blocks = setOf(blocks)
  }

  #forgetSpent(): void {
    const live: Uint8Array[] = []
    this.#each(block => {
      if (this.#host.isLive(block)) live[live.length] = block
    })
    this.#blocks = isArray(this.#blocks) ? live : setOf(live)
    this.#forgetAtCount = max(FORGET_FROM_COUNT, 2 * live.length)
  }

  #notHeld(buffer: Uint8Array): Error {
    const reason = `must be a Buffer that this scope of arena '${this.#host.arena.name}' allocated and that was not kept before`
    return invalidArgValue('buffer', reason, buffer)
  }

  #ended(method: string): ArenaError {
    return new ArenaError(
      'ERR_ARENA_SCOPE_ENDED',
      `arena '${this.#host.arena.name}': ${method}(): the scope has ended, and its blocks with it. End a scope only after ` +
        'the last work in it, or allocate from the arena itself',
    )
  }
}

/**
 * Removes the element at `index`. Shifting the rest is cheap: most blocks that are kept are among the newest,
 * at the end.
 */
function removeAt(blocks: Uint8Array[], index: number): void {
  for (let i = index; i + 1 < blocks.length; i++) blocks[i] = blocks[i + 1]
  blocks.length--
}

function setOf(blocks: readonly Uint8Array[]): SafeSet<Uint8Array> {
  const set = new SafeSet<Uint8Array>()
  for (let i = 0; i < blocks.length; i++) set.add(blocks[i])
  return set
}
