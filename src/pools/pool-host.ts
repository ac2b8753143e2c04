/** What a pool needs from its arena. */
import type { Timer } from '../base/deferral.js'
import type { PageCount } from '../base/units.js'
import type { Leaks } from '../buffers/leaks.js'
import type { ArenaBuffer, ArenaIdentity, Epoch, Owner } from '../buffers/owner.js'
import type { Pools } from './pools.js'

export interface PoolHost {
  readonly arena: ArenaIdentity
  readonly pools: Pools
  /** Whether bytes are set to zero before anybody gets them again. */
  readonly wipes: boolean
  /** Whether each Buffer is sampled, each time that it is handed out. */
  readonly samplesAll: boolean

  // ---- Buffers --------------------------------------------------------------------------------------------

  /** The present epoch of the arena. */
  epoch(): Epoch
  /**
   * Allocates a Buffer whose owner is neither watched nor sampled. Throws the errors of `allocUnsafe`; `method` is the method in
   * their messages.
   */
  make(method: string, sizeBytes: number, alignBytes: number): ArenaBuffer & Owner
  /** Whether Buffers may wait in pools: not with `debug`, with `releaseAfterMs: 0`, and once the arena hands out none. */
  keepsIdle(): boolean
  isPinned(owner: Uint8Array & Owner): boolean
  /**
   * Ends a live Buffer as `free` does: a pinned one ends at its last unpin. Throws the errors of `free`, and nothing has changed
   * then.
   */
  end(owner: Uint8Array & Owner): void
  /** Ends a Buffer that nobody uses, within a change. Its memory is not kept for its size. */
  endIdle(owner: Uint8Array & Owner): void
  /** Returns the error that says why `buffer` is no live owner of the arena. */
  misuse(method: string, buffer: unknown): Error
  isArenaClosed(): boolean
  /** Makes what samples Buffers. `onForgotten` is called when one was collected. */
  makeLeaks(onForgotten: () => void): Leaks

  // ---- changes and time -----------------------------------------------------------------------------------

  /** Runs `change` as a change of its own. Returns false, and does not run it, in the middle of another one. */
  attempt(change: () => void): boolean
  dirtyPages(): PageCount
  /** Gives back about so many dirty pages. */
  purge(pageCount: PageCount): void
  hasTime(turnStartMs: number): boolean
  readonly now: () => number
  /** The promise of the arena that is in force, in milliseconds. */
  readonly promiseMs: () => number
  /** Runs `run` after `delayMs` milliseconds. Something can be given back until then. */
  after(delayMs: number, run: (turnStartMs: number) => void): Timer
}
