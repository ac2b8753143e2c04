/**
 * `BufferPool`: Buffers of one size that were made once and are handed out again.
 *
 * The warm paths of `acquire` and `release` take a Buffer off a stack and put it back: no block is taken or ended, no timer is looked
 * at, and nothing is allocated on V8's heap. Everything else is in `PooledBuffers`, whose fields they read. docs/v8.md says why the
 * paths are as they are.
 */
import { type InspectOptionsStylized, inspect } from 'node:util'
import { requireFunction } from '../base/arguments.js'
import { describe } from '../base/description.js'
import { undefinedIfRefused } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import { type ArenaBuffer, poolStateOf, setPoolState } from '../buffers/owner.js'
import { isThenable } from '../buffers/pin-counts.js'
import type { PoolHost } from './pool-host.js'
import { type OwnerBuffer, PooledBuffers, type PoolSpec } from './pooled-buffers.js'

/** The statistics of a pool, as `pool.stats()` returns them. */
export interface PoolStats {
  /** The name of the arena. */
  arena: string
  /** The length of each Buffer, in bytes. */
  sizeBytes: number
  /** Buffers that wait to be handed out, a count. Their memory counts as live in the arena. */
  idleBuffers: number
  /** Buffers that were handed out and have not come back, a count. */
  acquiredBuffers: number
  /** Buffers that the pool has made, a count. */
  made: number
  /** How often the pool has handed out a Buffer, a count. */
  handedOut: number
}

interface PoolParts {
  readonly host: PoolHost
  readonly sizeBytes: number
  readonly buffers: PooledBuffers
}

/**
 * Buffers of one size that were made once and are handed out again: what `arena.pool()` returns.
 *
 * The contents of a Buffer are undefined when it is handed out: mostly the bytes of its last user. Idle Buffers that recent traffic
 * did without end by themselves, and their pages are back with the kernel within `releaseAfterMs`.
 *
 * ```ts
 * const pool = arena.pool(64 * 1024)
 * const buffer = pool.acquire()
 * try {
 *   const bytesRead = fs.readSync(fd, buffer)
 *   // …
 * } finally {
 *   pool.release(buffer)
 * }
 * ```
 */
export class BufferPool extends MadeOf<PoolParts> {
  readonly #buffers = partsOf(this).buffers

  /** @internal */
  constructor(host: PoolHost, spec: PoolSpec) {
    super({
      host,
      sizeBytes: spec.sizeBytes,
      buffers: new PooledBuffers(host, spec, BufferPool.prototype.acquire),
    })
  }

  /** The length of each Buffer, in bytes. */
  get sizeBytes(): number {
    return partsOf(this).sizeBytes
  }

  /**
   * Returns a Buffer of `sizeBytes` bytes with undefined contents: one that came back lately, or a new one. It belongs to the caller
   * until `release`. It is no Buffer for `arena.free`, `realloc` or `relocate`; `pin` and `lend` work.
   *
   * Throws
   * - the errors of `arena.allocUnsafe`, if it has to make a Buffer
   * - `ERR_ARENA_POOL_CLOSED` after `close` of the pool
   *
   * ```ts
   * const buffer = pool.acquire()
   * ```
   */
  acquire(): ArenaBuffer {
    const buffers = this.#buffers
    // A Buffer has no first byte if other code took its `ArrayBuffer` away.
    const top = buffers.top
    if (top !== null) {
      if (top[0] !== undefined) {
        setPoolState(top, buffers.acquired)
        buffers.top = null
        buffers.handedOut = (buffers.handedOut + 1) | 0
        return top
      }
    } else {
      const last = buffers.idleCount - 1
      if (last >= buffers.warmFrom) {
        const buffer = buffers.stack[last] as OwnerBuffer
        if (buffer[0] !== undefined) {
          setPoolState(buffer, buffers.acquired)
          buffers.stack[last] = undefined
          buffers.idleCount = last
          buffers.handedOut = (buffers.handedOut + 1) | 0
          return buffer
        }
      }
    }
    return buffers.take('acquire')
  }

  /**
   * Does what `acquire` does, but returns `undefined` if memory is refused (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). It throws
   * the other errors of `acquire`.
   *
   * ```ts
   * const buffer = pool.tryAcquire()
   * if (buffer === undefined) return response.writeHead(503).end()
   * ```
   */
  tryAcquire(): ArenaBuffer | undefined {
    try {
      return this.acquire()
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Takes back a Buffer that `acquire` handed out. `buffer` must be that very object, not a view of it. It must not be used any more:
   * the next `acquire` may hand it out.
   *
   * A pinned Buffer does not wait in the pool, because its memory is in use: it ends at its last `unpin`. In an arena with `debug`
   * each Buffer ends here, and is detached, so that a late use shows.
   *
   * Throws
   * - `ERR_ARENA_DOUBLE_FREE` if it was released before, or if its arena was reset
   * - `ERR_ARENA_FOREIGN_BUFFER` if this pool did not hand it out
   * - `ERR_ARENA_NOT_OWNER` for a `subarray` or another view
   * - `ERR_ARENA_POOLED` if `use` has handed it out
   * - `ERR_INVALID_ARG_TYPE` for a value that is no Buffer
   * - `ERR_ARENA_CLOSED` after `close` of the arena
   *
   * ```ts
   * pool.release(buffer)
   * ```
   */
  release(buffer: Uint8Array): void {
    const buffers = this.#buffers
    if (poolStateOf(buffer) === buffers.accepted) {
      if (buffers.top === null) {
        setPoolState(buffer, buffers.idle)
        buffers.top = buffer as OwnerBuffer
        return
      }
      const count = buffers.idleCount
      if (count < buffers.room) {
        setPoolState(buffer, buffers.idle)
        buffers.stack[count] = buffer as OwnerBuffer
        buffers.idleCount = count + 1
        return
      }
    }
    buffers.put('release', buffer)
  }

  /**
   * Calls `use` with a Buffer of the pool, and releases it when `use` is done: after the promise that `use` returns is settled, or,
   * without a promise, after `use` has returned or thrown. `use` must not release it.
   *
   * Returns the result of `use`. If that is a promise, this method returns another promise, which is settled in the same way once the
   * Buffer is released. Throws the errors of `acquire`, `ERR_INVALID_ARG_TYPE` if `use` is no function, and what `use` throws.
   *
   * ```ts
   * const digest = await pool.use(async buffer => {
   *   const { bytesRead } = await file.read(buffer)
   *   return hash(buffer.subarray(0, bytesRead))
   * })
   * ```
   */
  use<T>(use: (buffer: ArenaBuffer) => T): T {
    requireFunction('use', use)
    const buffers = this.#buffers
    const buffer = buffers.beginUse()
    let result: T
    let isPending: boolean
    try {
      result = use(buffer)
      isPending = isThenable(result)
    } catch (error) {
      endAfterFailure(buffers, buffer)
      throw error
    }
    if (isPending) return useUntil(buffers, buffer, result as PromiseLike<unknown>) as T
    buffers.endUse(buffer)
    return result
  }

  /**
   * Closes the pool. Idle Buffers are freed now, acquired ones when they are released. Afterwards `acquire`, `tryAcquire` and `use`
   * throw `ERR_ARENA_POOL_CLOSED`. A second call does nothing. The end of the arena closes its pools, too.
   *
   * ```ts
   * pool.close()
   * ```
   */
  close(): void {
    this.#buffers.close()
  }

  /** Calls `close()`, for `using pool = arena.pool(4096)`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /**
   * Returns what the pool has now, and what it has done since it was made.
   *
   * ```ts
   * const { made, handedOut } = pool.stats()
   * ```
   */
  stats(): PoolStats {
    const { sizeBytes, idleBuffers, acquiredBuffers, made, handedOut } = this.#buffers.counts
    const arena = partsOf(this).host.arena.name
    return { arena, sizeBytes, idleBuffers, acquiredBuffers, made, handedOut }
  }

  /** Returns `stats()` and `isClosed`, for `JSON.stringify`. */
  toJSON(): PoolStats & {
    /** Whether the pool was closed. */
    isClosed: boolean
  } {
    return { ...this.stats(), isClosed: this.#buffers.isClosed }
  }

  /**
   * Serves `util.inspect` and `console.log`: one line with the facts of `toJSON()`.
   *
   * @internal Not declared: the types of Node name its options one way here and another there.
   */
  [inspect.custom](depth: number, options: InspectOptionsStylized, show: typeof inspect): string {
    const { arena, ...facts } = this.toJSON()
    return describe(`BufferPool of arena '${arena}'`, facts, depth, options, show)
  }
}

/** Releases a Buffer after `use` has failed. The error of `use` is the one to be seen. */
function endAfterFailure(buffers: PooledBuffers, buffer: ArenaBuffer): void {
  try {
    buffers.endUse(buffer)
  } catch {
    // The arena is in the middle of a change. The Buffer is lost to the pool, and ends with the arena.
  }
}

async function useUntil(
  buffers: PooledBuffers,
  buffer: ArenaBuffer,
  pending: PromiseLike<unknown>,
): Promise<unknown> {
  let result: unknown
  try {
    result = await pending
  } catch (error) {
    endAfterFailure(buffers, buffer)
    throw error
  }
  buffers.endUse(buffer)
  return result
}
