/**
 * A body: bytes that come one after the other and of which nobody knows how many there will be. They lie in one block that
 * grows by `realloc`, and nobody else sees the block before it is complete.
 *
 * Between two calls script may run that frees all blocks (`reset`, `close`, the end of a scope). So each call first asks
 * whether the block is still live; its memory may be that of another block by now.
 *
 * How it grows: the first block has the length of the first bytes, or of the hint. Each further one is `GROWTH` times as
 * long, and nearly 64 KiB at least. A hint counts only as far as bytes have come: whoever sends the hint may lie, and should not
 * get memory for a promise.
 */
import { copyElements, lengthOf } from '../base/primordials.js'
import { GRANULE_BYTES } from '../base/units.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import { MAX_SIZE_BYTES } from '../buffers/size.js'
import { type Allocating, discard, trimmed } from './allocating.js'
import { isRefusal, tooLargeError } from './errors.js'

const { ceil, max, min } = Math

/**
 * A block that is full gets so many times its length. Where it has to move each time, all bytes are copied about twice on average; by
 * 2, it would be 2.4 times. Pages that are not written to yet are not resident.
 */
const GROWTH = 2.5
/** A block is at most so many times as long as what has come, on the word of a hint. */
const HINT_TRUST = 16
/** A hint up to this length is believed at once. */
const SMALL_HINT_BYTES = 64 * 1024
/**
 * If a block is too short, the next one has this length at least: the most that a block can have that shrinks in place to
 * any length. (Blocks of 64 KiB are whole pages, and shorter ones lie between others.) So most short bodies move once.
 */
const SHORT_BYTES = 64 * 1024 - GRANULE_BYTES
/** If that much is refused, the block gets what is needed, and this share of it. */
const LITTLE_MORE = 1 / 8

export class Body {
  readonly #allocating: Allocating
  readonly #method: string
  readonly #maxBytes: number
  readonly #hintBytes: number
  #block: ArenaBuffer | undefined
  #capacityBytes = 0
  #lengthBytes = 0
  #isOver = false

  /** `method` is the name of the public method, for messages. More than `maxBytes` are an error. */
  constructor(allocating: Allocating, method: string, maxBytes: number, hintBytes = 0) {
    this.#allocating = allocating
    this.#method = method
    this.#maxBytes = min(maxBytes, MAX_SIZE_BYTES)
    this.#hintBytes = min(hintBytes, this.#maxBytes)
  }

  get lengthBytes(): number {
    return this.#lengthBytes
  }

  /** Copies `bytes` behind what is there. Throws if they are too many, or if there is no memory for them. */
  append(bytes: Uint8Array): void {
    const count = lengthOf(bytes)
    if (count === 0) return
    const needed = this.#lengthBytes + count
    this.requireRoom(needed)
    const block = needed > this.#capacityBytes ? this.#grow(needed, this.#maxBytes) : this.#live()
    copyElements(block, bytes, this.#lengthBytes)
    this.#lengthBytes = needed
  }

  /** Throws if so many bytes in all are too many. */
  requireRoom(lengthBytes: number): void {
    if (lengthBytes > this.#maxBytes) throw this.#tooLarge()
  }

  /**
   * Returns the block, with room for `count` bytes behind what is there, or for one byte more than may come, if that is less.
   * So whoever fills the room notices that more than `maxBytes` come. The caller writes to the block, and then says by
   * `added` how many bytes.
   */
  room(count: number): ArenaBuffer {
    const most = min(this.#maxBytes + 1, MAX_SIZE_BYTES)
    if (this.#lengthBytes >= most) throw this.#tooLarge()
    const needed = min(this.#lengthBytes + count, most)
    return needed > this.#capacityBytes ? this.#grow(needed, most) : this.#live()
  }

  added(count: number): void {
    this.#lengthBytes += count
    this.requireRoom(this.#lengthBytes)
  }

  /** Returns the block, which has exactly the length of what came. If this throws, the block has ended. */
  finish(): ArenaBuffer {
    const block = this.#block === undefined ? this.#allocating.allocUnsafe(0) : this.#live()
    this.#isOver = true
    return trimmed(this.#allocating, block, this.#lengthBytes)
  }

  /** Ends the block. A second call does nothing, nor does one after `finish`. */
  discard(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#block !== undefined) discard(this.#allocating, this.#block)
  }

  #live(): ArenaBuffer {
    const block = this.#block as ArenaBuffer
    this.#allocating.requireLive(this.#method, block)
    return block
  }

  /** Makes the block longer, for `needed` bytes at least and `most` at most. */
  #grow(needed: number, most: number): ArenaBuffer {
    const wanted = min(most, this.#wantedFor(needed))
    let block: ArenaBuffer
    try {
      block = this.#resize(wanted)
    } catch (error) {
      const enough = min(wanted, ceil(needed * (1 + LITTLE_MORE)))
      if (!isRefusal(error) || enough === wanted) throw error
      block = this.#resize(enough)
    }
    this.#block = block
    this.#capacityBytes = lengthOf(block)
    return block
  }

  #wantedFor(needed: number): number {
    const trusted = min(this.#hintBytes, max(SMALL_HINT_BYTES, HINT_TRUST * needed))
    // A hint is mostly right: so the length is just what is said.
    if (trusted >= needed && trusted > this.#capacityBytes) return trusted
    if (this.#capacityBytes === 0) return needed
    return max(needed, SHORT_BYTES, ceil(GROWTH * this.#capacityBytes))
  }

  #resize(sizeBytes: number): ArenaBuffer {
    return this.#block === undefined
      ? this.#allocating.allocUnsafe(sizeBytes)
      : this.#allocating.realloc(this.#live(), sizeBytes)
  }

  #tooLarge(): Error {
    return tooLargeError(this.#allocating.name, this.#method, this.#maxBytes)
  }
}
