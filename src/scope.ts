/**
 * A scope: blocks that end together, at the latest when the scope does. It remembers what it handed out in the order of
 * asking, and nothing else: whether a block was freed meanwhile, its owner knows.
 *
 * Invariants, checked by the arena's fuzz from outside:
 *  1. every live block that the scope handed out and did not keep ends with it
 *  2. what it remembers is at most twice the live ones and a few, so that a long scope does not grow by what was freed
 */
import { ArenaError, invalidArgValue } from './base/errors.js'
import type { AllocOptions } from './misuse.js'

/** What a scope asks of its arena. */
export interface ScopeArena {
  readonly name: string
  alloc(sizeBytes: number, options?: AllocOptions): Buffer
  allocUnsafe(sizeBytes: number, options?: AllocOptions): Buffer
  tryAlloc(sizeBytes: number, options?: AllocOptions): Buffer | undefined
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): Buffer | undefined
  realloc(buffer: Uint8Array, sizeBytes: number): Buffer
  free(buffer: Uint8Array): void
}

/** What a scope asks of its arena that is nobody else's business. */
export interface ScopeHost {
  readonly arena: ScopeArena
  /** Throws `ERR_ARENA_CLOSED` where the arena gives out no blocks any more. */
  requireGiving(method: string): void
  /** Throws what `free` would throw where `buffer` is not a live owner of the arena. */
  requireLive(method: string, buffer: Uint8Array): void
  /** Whether one of its owners is neither freed nor reset. */
  isLive(owner: Uint8Array): boolean
}

const FORGET_FROM_COUNT = 256

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
export class Scope {
  readonly #host: ScopeHost
  readonly #parent: Scope | null
  #blocks: Uint8Array[] = []
  #forgetAtCount = FORGET_FROM_COUNT
  #children: Set<Scope> | null = null
  #isEnded = false

  /** @internal */
  constructor(host: ScopeHost, parent: Scope | null = null) {
    this.#host = host
    this.#parent = parent
  }

  /** `arena.alloc`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  alloc(sizeBytes: number, options?: AllocOptions): Buffer {
    if (this.#isEnded) throw this.#ended('alloc')
    return this.#add(this.#host.arena.alloc(sizeBytes, options))
  }

  /** `arena.allocUnsafe`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  allocUnsafe(sizeBytes: number, options?: AllocOptions): Buffer {
    if (this.#isEnded) throw this.#ended('allocUnsafe')
    return this.#add(this.#host.arena.allocUnsafe(sizeBytes, options))
  }

  /** `arena.tryAlloc`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  tryAlloc(sizeBytes: number, options?: AllocOptions): Buffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAlloc')
    const buffer = this.#host.arena.tryAlloc(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer)
  }

  /** `arena.tryAllocUnsafe`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): Buffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAllocUnsafe')
    const buffer = this.#host.arena.tryAllocUnsafe(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer)
  }

  /**
   * `arena.realloc`; what it returns ends with this scope, wherever `buffer` came from. (What `arena.realloc` returns belongs
   * to no scope.) Throws `ERR_ARENA_SCOPE_ENDED` too.
   */
  realloc(buffer: Uint8Array, sizeBytes: number): Buffer {
    if (this.#isEnded) throw this.#ended('realloc')
    return this.#add(this.#host.arena.realloc(buffer, sizeBytes))
  }

  /**
   * Takes a live block out of the scope and returns it: it belongs to no scope then, and `arena.free` ends it. Looks
   * for it from the newest block on.
   *
   * Throws what `arena.free` throws, `ERR_INVALID_ARG_VALUE` for a block that this scope does not hold (a nested one does,
   * or none), `ERR_ARENA_SCOPE_ENDED`.
   */
  keep<B extends Uint8Array>(buffer: B): B {
    if (this.#isEnded) throw this.#ended('keep')
    this.#host.requireLive('keep', buffer)
    const index = this.#blocks.lastIndexOf(buffer)
    if (index < 0) {
      const reason = `must be a block that this scope of arena '${this.#host.arena.name}' holds: it came from elsewhere, or was kept before`
      throw invalidArgValue('buffer', reason, buffer)
    }
    // The newest takes its place.
    const newest = this.#blocks.pop() as Uint8Array
    if (index < this.#blocks.length) this.#blocks[index] = newest
    return buffer
  }

  /**
   * A scope within this one: it ends when this one does, if it has not ended before. Throws `ERR_ARENA_SCOPE_ENDED`,
   * `ERR_ARENA_CLOSED`.
   */
  scope(): Scope {
    if (this.#isEnded) throw this.#ended('scope')
    this.#host.requireGiving('scope')
    const child = new Scope(this.#host, this)
    this.#children ??= new Set()
    this.#children.add(child)
    return child
  }

  /**
   * Ends the scopes within it and frees every block that it still holds; pinned ones at their last `unpin`. Blocks freed
   * before, and those of an arena that was reset or closed meanwhile, are passed over; twice is fine. Afterwards every
   * other method throws `ERR_ARENA_SCOPE_ENDED`.
   *
   * Nothing it frees can be refused. Should one block throw all the same, the others are freed before that is thrown.
   */
  end(): void {
    const failures: unknown[] = []
    this.#end(failures)
    if (failures.length === 1) throw failures[0]
    if (failures.length > 1) throw new AggregateError(failures, 'blocks of a scope could not be freed')
  }

  [Symbol.dispose](): void {
    this.end()
  }

  #end(failures: unknown[]): void {
    if (this.#isEnded) return
    this.#isEnded = true
    if (this.#parent !== null) this.#parent.#forgetChild(this)
    for (const child of this.#children ?? []) child.#end(failures)
    const blocks = this.#blocks
    this.#blocks = []
    const { arena } = this.#host
    for (const block of blocks) {
      if (!this.#host.isLive(block)) continue
      try {
        arena.free(block)
      } catch (error) {
        failures.push(error)
      }
    }
  }

  #forgetChild(child: Scope): void {
    this.#children?.delete(child)
  }

  #add(buffer: Buffer): Buffer {
    if (this.#blocks.push(buffer) >= this.#forgetAtCount) this.#forgetSpent()
    return buffer
  }

  #forgetSpent(): void {
    this.#blocks = this.#blocks.filter(block => this.#host.isLive(block))
    this.#forgetAtCount = Math.max(FORGET_FROM_COUNT, 2 * this.#blocks.length)
  }

  #ended(method: string): ArenaError {
    return new ArenaError(
      'ERR_ARENA_SCOPE_ENDED',
      `arena '${this.#host.arena.name}': ${method}() of a scope that has ended, and its blocks with it: end a scope only ` +
        'after the last work in it, or allocate from the arena itself',
    )
  }
}
