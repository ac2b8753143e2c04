/**
 * The pools of one arena that have Buffers: what an arena does to all of them at once. A pool joins when it makes a Buffer, and
 * leaves when it has none any more. So a pool that the program drops is collected once its idle Buffers have ended.
 */
import { SafeSet } from '../base/primordials.js'

/** What an arena calls on a pool. */
export interface PoolMember {
  readonly counts: PoolCounts
  /**
   * Forgets all Buffers, because every block of the arena ends. The arena has begun its new epoch.
   */
  endAll(): void
  /** Ends all idle Buffers, within a change. */
  endIdle(): void
  /** Ends idle Buffers in slices: see `Pools.endIdleSlice`. */
  endIdleSlice(hasTime: () => boolean, isFirst: boolean): boolean
  /** Hands out nothing more from now on, because the arena does not. Idle Buffers end, now or soon. */
  stop(): void
  check(): void
}

/** What the Buffers of a pool do. */
export interface PoolCounts {
  /** The length of each, in bytes. */
  readonly sizeBytes: number
  /** Those that wait to be handed out, a count. */
  readonly idleBuffers: number
  /** Those that were handed out and have not come back, a count. */
  readonly acquiredBuffers: number
}

/** Sums over the pools of an arena. */
export interface PoolSums {
  pools: number
  idleBlocks: number
  idleBytes: number
  acquiredBlocks: number
  acquiredBytes: number
}

export class Pools {
  readonly #members = new SafeSet<PoolMember>()

  add(pool: PoolMember): void {
    this.#members.add(pool)
  }

  delete(pool: PoolMember): void {
    this.#members.delete(pool)
  }

  endAll(): void {
    // Each is left only when it is done: if this is interrupted, the rest is ended by the next call.
    this.#members.forEach(pool => {
      pool.endAll()
      this.#members.delete(pool)
    })
  }

  endIdle(): number {
    const { idleBlocks } = this.sums()
    if (idleBlocks > 0) {
      this.#members.forEach(pool => {
        pool.endIdle()
      })
    }
    return idleBlocks
  }

  /**
   * Ends the Buffers that are idle in the first slice, while `hasTime()` is true. Runs within a change. Returns whether all of them
   * have ended.
   */
  endIdleSlice(hasTime: () => boolean, isFirst: boolean): boolean {
    let isDone = true
    this.#members.forEach(pool => {
      isDone = pool.endIdleSlice(hasTime, isFirst) && isDone
    })
    return isDone
  }

  stop(): void {
    this.#members.forEach(pool => {
      pool.stop()
    })
  }

  /** The bytes that idle Buffers hold. */
  get idleBytes(): number {
    return this.sums().idleBytes
  }

  sums(): PoolSums {
    const sums: PoolSums = { pools: 0, idleBlocks: 0, idleBytes: 0, acquiredBlocks: 0, acquiredBytes: 0 }
    this.#members.forEach(({ counts: { sizeBytes, idleBuffers, acquiredBuffers } }) => {
      sums.pools++
      sums.idleBlocks += idleBuffers
      sums.idleBytes += idleBuffers * sizeBytes
      sums.acquiredBlocks += acquiredBuffers
      sums.acquiredBytes += acquiredBuffers * sizeBytes
    })
    return sums
  }

  check(): void {
    this.#members.forEach(pool => {
      pool.check()
    })
  }
}
