/**
 * A scope: blocks that end together, at the latest when the scope does. It remembers what it handed out in the order of
 * asking, and nothing else: whether a block was freed meanwhile, its owner knows.
 *
 * Script may run in any call of the arena (an accessor among the options, a formatter of stacks), and may end the scope. So
 * that is asked after the arena has returned, too.
 *
 * Invariants, checked by the arena's fuzz from outside:
 *  1. every live block that the scope handed out and did not keep ends with it
 *  2. what it remembers is at most twice the live ones and a few, so that a long scope does not grow by what was freed
 */
import { type InspectOptionsStylized, inspect } from 'node:util'
import { ArenaError, invalidArgValue } from '../base/errors.js'
import { lastIndexIn, reversed, SafeSet } from '../base/primordials.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import { type AllocOptions, readOptions } from './arguments.js'
import { describe } from './description.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max } = Math
const { isArray } = Array

/** What a scope asks of its arena. */
export interface ScopeArena {
  readonly name: string
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer
  allocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer
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
 * `keep` looks through the array of blocks from its end. Once it has passed so many of them for each that is there, they move
 * into a set, where each is found at once. An array costs a scope that keeps nothing, or its newest, a third of what a set does.
 */
const PASSED_FOR_EACH = 16
const PASSED_AT_LEAST = 1024

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
  /** In the order of asking. */
  #blocks: Uint8Array[] | SafeSet<Uint8Array> = []
  #forgetAtCount = FORGET_FROM_COUNT
  /** Blocks that `keep` has passed in the array. */
  #passedCount = 0
  #children: SafeSet<Scope> | null = null
  #isEnded = false

  /** @internal */
  constructor(host: ScopeHost, parent: Scope | null = null) {
    this.#host = host
    this.#parent = parent
  }

  /** `arena.alloc`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  alloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('alloc')
    return this.#add(this.#host.arena.alloc(sizeBytes, options), 'alloc')
  }

  /** `arena.allocUnsafe`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  allocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('allocUnsafe')
    return this.#add(this.#host.arena.allocUnsafe(sizeBytes, options), 'allocUnsafe')
  }

  /** `arena.tryAlloc`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  tryAlloc(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAlloc')
    const buffer = this.#host.arena.tryAlloc(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer, 'tryAlloc')
  }

  /** `arena.tryAllocUnsafe`; the block ends with the scope. Throws `ERR_ARENA_SCOPE_ENDED` too. */
  tryAllocUnsafe(sizeBytes: number, options?: AllocOptions): ArenaBuffer | undefined {
    if (this.#isEnded) throw this.#ended('tryAllocUnsafe')
    const buffer = this.#host.arena.tryAllocUnsafe(sizeBytes, options)
    return buffer === undefined ? undefined : this.#add(buffer, 'tryAllocUnsafe')
  }

  /**
   * `arena.realloc`; what it returns ends with this scope, wherever `buffer` came from. (What `arena.realloc` returns belongs
   * to no scope.) Throws `ERR_ARENA_SCOPE_ENDED` too.
   */
  realloc(buffer: Uint8Array, sizeBytes: number, options?: AllocOptions): ArenaBuffer {
    if (this.#isEnded) throw this.#ended('realloc')
    // Read first, and once: script that ends the scope here leaves `buffer` what it was.
    const read = options === undefined ? undefined : readOptions(options)
    if (this.#isEnded) throw this.#ended('realloc')
    return this.#add(this.#host.arena.realloc(buffer, sizeBytes, read), 'realloc')
  }

  /**
   * Takes a live block out of the scope and returns it: it belongs to no scope then, and `arena.free` ends it. Many can be
   * kept in any order: all together take time in proportion to the blocks of the scope.
   *
   * Throws what `arena.free` throws, `ERR_INVALID_ARG_VALUE` for a block that this scope does not hold (a nested one does,
   * or none), `ERR_ARENA_SCOPE_ENDED`.
   */
  keep<B extends Uint8Array>(buffer: B): B {
    if (this.#isEnded) throw this.#ended('keep')
    this.#host.requireLive('keep', buffer)
    if (this.#remove(buffer)) return buffer
    const reason = `must be a block that this scope of arena '${this.#host.arena.name}' holds: it came from elsewhere, or was kept before`
    throw invalidArgValue('buffer', reason, buffer)
  }

  /**
   * A scope within this one: it ends when this one does, if it has not ended before. Throws `ERR_ARENA_SCOPE_ENDED`,
   * `ERR_ARENA_CLOSED`.
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
   * Ends the scopes within it and frees every block that it still holds; pinned ones at their last `unpin`. Nested scopes
   * come first, in the order in which they were made, each after those within it; the blocks of each in the order of asking.
   * Blocks freed before, and those of an arena that was reset or closed meanwhile, are passed over; twice is fine.
   * Afterwards every other method throws `ERR_ARENA_SCOPE_ENDED`.
   *
   * Nothing it frees can be refused. Should one block throw all the same, the others are freed before that is thrown (more
   * than one as an `AggregateError`), and the scope still holds it: `end()` once more tries it again.
   */
  end(): void {
    // No recursion: scopes may be nested deeper than calls can be.
    const scopes = this.#withinAndSelf()
    for (let i = 0; i < scopes.length; i++) scopes[i].#isEnded = true
    const failures: unknown[] = []
    for (let i = 0; i < scopes.length; i++) scopes[i].#freeAll(failures)
    if (failures.length === 1) throw failures[0]
    if (failures.length > 1) throw new AggregateError(failures, 'blocks of a scope could not be freed')
  }

  [Symbol.dispose](): void {
    this.end()
  }

  /** For `JSON.stringify`: the arena's name, live blocks that the scope holds itself, the scopes within it. */
  toJSON(): { arena: string; liveBlocks: number; scopes: number; isEnded: boolean } {
    let liveBlocks = 0
    this.#each(block => {
      if (this.#host.isLive(block)) liveBlocks++
    })
    const scopes = this.#children?.size ?? 0
    return { arena: this.#host.arena.name, liveBlocks, scopes, isEnded: this.#isEnded }
  }

  /**
   * For `util.inspect` and `console.log`: the same.
   *
   * @internal
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    const { arena, ...facts } = this.toJSON()
    return describe(`Scope of arena '${arena}'`, facts, depth, options, show)
  }

  /** The scopes within it, and itself, in the order in which they end. */
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

  /** Whatever script replaced, it does not run between two blocks. */
  #each(visit: (block: Uint8Array) => void): void {
    const blocks = this.#blocks
    if (isArray(blocks)) for (let i = 0; i < blocks.length; i++) visit(blocks[i])
    else blocks.forEach(visit)
  }

  /** Frees its own blocks. What throws stays, and so does all if this does not come to its end. */
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

  /** Remembers a block, unless script that ran while it was made has ended the scope: then the block ends, too. */
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

  /** Returns whether it was there. */
  #remove(buffer: Uint8Array): boolean {
    const blocks = this.#blocks
    if (!isArray(blocks)) return blocks.delete(buffer)
    const index = lastIndexIn(blocks, buffer)
    this.#passedCount += blocks.length - index
    if (index >= 0) removeAt(blocks, index)
    if (this.#passedCount > PASSED_FOR_EACH * blocks.length + PASSED_AT_LEAST) this.#blocks = setOf(blocks)
    return index >= 0
  }

  #forgetSpent(): void {
    const live: Uint8Array[] = []
    this.#each(block => {
      if (this.#host.isLive(block)) live[live.length] = block
    })
    this.#blocks = isArray(this.#blocks) ? live : setOf(live)
    this.#forgetAtCount = max(FORGET_FROM_COUNT, 2 * live.length)
  }

  #ended(method: string): ArenaError {
    return new ArenaError(
      'ERR_ARENA_SCOPE_ENDED',
      `arena '${this.#host.arena.name}': ${method}() of a scope that has ended, and its blocks with it: end a scope only ` +
        'after the last work in it, or allocate from the arena itself',
    )
  }
}

/** Most that are kept are among the newest, at the end. */
function removeAt(blocks: Uint8Array[], index: number): void {
  for (let i = index; i + 1 < blocks.length; i++) blocks[i] = blocks[i + 1]
  blocks.length--
}

function setOf(blocks: readonly Uint8Array[]): SafeSet<Uint8Array> {
  const set = new SafeSet<Uint8Array>()
  for (let i = 0; i < blocks.length; i++) set.add(blocks[i])
  return set
}
