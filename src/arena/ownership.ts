/**
 * Which Buffers are owners of live blocks of an arena, and which error a call with any other Buffer gets. The warm path of `free`
 * recognises an owner by itself. All other calls ask here.
 */
import { lengthOf } from '../base/primordials.js'
import { type Block, NONE } from '../base/units.js'
import type { Blocks, Debugging } from '../buffers/blocks.js'
import {
  type ArenaIdentity,
  blockOf,
  type Epoch,
  epochOf,
  isIdle,
  isOwner,
  type Owner,
  SPENT,
  sizeOf,
} from '../buffers/owner.js'
import type { Pins } from '../buffers/pins.js'
import { reachOf } from '../buffers/view-reach.js'
import { pooledError, releasedError } from '../pools/errors.js'
import { bufferMisuse, closedError, detachedError, notPinnedError } from './errors.js'

export class Ownership {
  readonly #arena: ArenaIdentity
  readonly #buffers: Blocks
  readonly #debug: Debugging | null
  readonly #pins: Pins
  /** The epoch of all live owners. */
  #epoch: Epoch
  /** Whether the arena was closed: then every misuse is a call after `close`. */
  isClosed = false

  constructor(arena: ArenaIdentity, buffers: Blocks, debug: Debugging | null, pins: Pins) {
    this.#arena = arena
    this.#buffers = buffers
    this.#debug = debug
    this.#pins = pins
    this.#epoch = { arena }
  }

  get epoch(): Epoch {
    return this.#epoch
  }

  /** Begins another epoch, so that no owner is live any more. Returns it. */
  renew(): Epoch {
    this.#epoch = { arena: this.#arena }
    return this.#epoch
  }

  isLive(buffer: unknown): buffer is Uint8Array & Owner {
    if (!isOwner(buffer) || blockOf(buffer) === SPENT) return false
    const epoch = epochOf(buffer)
    return epoch === this.#epoch || (epoch.pool?.within === this.#epoch && !isIdle(buffer))
  }

  /** Whether a Buffer belongs to a pool: it is idle there, or was handed out. */
  isPooled(buffer: unknown): boolean {
    return isOwner(buffer) && blockOf(buffer) !== SPENT && epochOf(buffer).pool?.within === this.#epoch
  }

  /** Does what `requireLive` does. Throws if `buffer` belongs to a pool, too. */
  requireOwn(method: string, buffer: Uint8Array): Uint8Array & Owner {
    if (this.isPooled(buffer)) throw pooledError(this.#arena, method)
    return this.requireLive(method, buffer)
  }

  /** Returns `buffer` if it is a live owner. Throws the error of `free` otherwise. */
  requireLive(method: string, buffer: Uint8Array): Uint8Array & Owner {
    if (this.isLive(buffer)) return buffer
    throw this.misuse(method, buffer)
  }

  /** Does what `requireLive` does. Throws if other code took the `ArrayBuffer` of the block away, too. */
  requireAttached(method: string, buffer: Uint8Array): Uint8Array & Owner {
    const owner = this.requireLive(method, buffer)
    if (sizeOf(owner) > 0 && lengthOf(buffer) === 0) throw detachedError(this.#arena, method)
    return owner
  }

  /** Returns the live block with a live owner in which `view` lies, or NONE. */
  blockUnder(view: unknown): Block {
    const reach = reachOf(view)
    const block = reach === null ? NONE : this.#buffers.blockUnder(reach)
    return block !== NONE && this.#pins.isEnding(block) ? NONE : block
  }

  /** Returns the error that says why `buffer` is not a live owner. */
  misuse(method: string, buffer: unknown): Error {
    if (this.isClosed) return closedError(this.#arena, method)
    if (this.isPooled(buffer)) return releasedError(this.#arena, method)
    return bufferMisuse(
      this.#arena,
      method,
      buffer,
      memory => this.#buffers.has(memory),
      this.#debug?.historyOf(buffer),
    )
  }

  /** Returns the error that says why `buffer` cannot be unpinned. */
  unpinMisuse(buffer: unknown): Error {
    if (this.isClosed || !isOwner(buffer) || epochOf(buffer).arena !== this.#arena) {
      return this.misuse('unpin', buffer)
    }
    return notPinnedError(this.#arena, this.#pins.isLent(buffer as Uint8Array & Owner))
  }
}
