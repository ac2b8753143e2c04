/**
 * The Buffer that a user holds, and how an arena recognises it.
 *
 * The Buffer of a block is an ordinary one. Its prototype is `Buffer.prototype` itself, so
 * `assert.deepStrictEqual`, `inspect` and all other code see what they see of Node's own Buffers. It is an
 * *owner* because this file stamps three private fields on it: the parent's constructor returns the object to
 * be stamped. No other code can read, forge or copy these fields. `subarray` and other views do not inherit
 * them. `free` reads the block from them without a look-up.
 */
import { type Block, NONE } from '../base/units.js'

/**
 * Stands for one life of an arena's blocks. `reset` and `close` begin another epoch, so that all owners of
 * the old one are spent without a walk over them. Epochs are compared by identity.
 */
export interface Epoch {
  readonly arena: ArenaIdentity
  /** What only the epochs of Buffers that belong to a pool have. */
  readonly pool?: PoolMark
}

/** Says that Buffers belong to a pool. */
export interface PoolMark {
  /** The epoch of the arena in which they were made. They are spent when that one is over. */
  readonly within: Epoch
}

/** Names an arena across its epochs. Identities are compared by identity, not by name. */
export interface ArenaIdentity {
  readonly name: string
}

/** The block of an owner that is spent. */
export const SPENT: Block = NONE
/** The block of an owner of zero bytes. It has no memory. */
export const EMPTY: Block = NONE - 1
/**
 * The owner of a *watched* block holds this number minus the block, which is below `EMPTY`. Then the end of
 * the block has more to do. Other owners hold a block >= 0, so their warm path costs nothing more.
 */
const WATCHED: Block = EMPTY - 1

/**
 * The type that `Buffer.alloc` returns: `Buffer<ArrayBuffer>`, or `Buffer` where Node's types have no
 * parameter there. So `Blob`, `Response` and `crypto.subtle` take an arena's Buffers wherever they take
 * Node's.
 */
export type ArenaBuffer = ReturnType<typeof Buffer.alloc>

type BufferConstructor = new (buffer: ArrayBuffer, byteOffset: number, length: number) => ArenaBuffer

// Node's own subclass of `Uint8Array` whose prototype is `Buffer.prototype`. The species protocol makes it
// public.
export const NodeBuffer = (Buffer as unknown as { readonly [Symbol.species]: BufferConstructor })[
  Symbol.species
]

class Stamped {
  constructor(target: object) {
    // biome-ignore lint/correctness/noConstructorReturn: this puts a private field on another object
    return target
  }
}

class Owner extends Stamped {
  #epoch: Epoch
  #block: Block
  #sizeBytes: number

  constructor(buffer: Buffer, epoch: Epoch, block: Block, sizeBytes: number) {
    super(buffer)
    this.#epoch = epoch
    this.#block = block
    this.#sizeBytes = sizeBytes
  }

  static is(value: unknown): value is Owner {
    return typeof value === 'object' && value !== null && #epoch in value
  }

  static epochOf(owner: Owner): Epoch {
    return owner.#epoch
  }

  static blockOf(owner: Owner): Block {
    return owner.#block
  }

  static sizeOf(owner: Owner): number {
    return owner.#sizeBytes
  }

  static spend(owner: Owner): void {
    owner.#block = SPENT
  }

  static restore(owner: Owner, block: Block): void {
    owner.#block = block
  }

  static adopt(owner: Owner, epoch: Epoch): void {
    owner.#epoch = epoch
  }

  static watch(owner: Owner): void {
    if (owner.#block >= 0) owner.#block = WATCHED - owner.#block
  }
}

/** A field that an owner has only if a larger alignment was asked for than every block has. */
class Aligned extends Stamped {
  #alignBytes: number

  constructor(owner: object, alignBytes: number) {
    super(owner)
    this.#alignBytes = alignBytes
  }

  static alignOf(owner: object): number {
    return #alignBytes in owner ? owner.#alignBytes : 0
  }
}

const { isView } = ArrayBuffer

/** A field that only Buffers of pools have: which pool it is, and what the Buffer does there. */
class Pooled extends Stamped {
  #state: PoolState

  constructor(owner: object, state: PoolState) {
    super(owner)
    this.#state = state
  }

  static stateOf(value: unknown): PoolState {
    return isView(value) && #state in value ? value.#state : NO_POOL
  }

  static setState(owner: object, state: PoolState): void {
    if (#state in owner) owner.#state = state
  }
}

/**
 * What a Buffer does in its pool. The lowest two bits are one of the four constants below. The others are a number that no other pool
 * has, and that a pool has only until its arena is reset. So one comparison tells all.
 */
export type PoolState = number

/** It was handed out. */
export const ACQUIRED: PoolState = 0
/** It waits to be handed out. */
export const IDLE: PoolState = 1
/** It was handed out by `use`. */
export const USED: PoolState = 2
/** It was handed out, and its release is no warm one: it was pinned meanwhile, or its end has begun. */
export const PINNED: PoolState = 3
/** The state of what is no Buffer of a pool. */
export const NO_POOL: PoolState = NONE

export type { Owner }

/** Makes an owner one of a pool. It may be called once for an owner. */
export function stampPooled(owner: Owner, state: PoolState): void {
  new Pooled(owner, state)
}

/** The state of a Buffer of a pool; `NO_POOL` for any other value. */
export const poolStateOf = Pooled.stateOf
/** Changes the state of a Buffer of a pool. */
export const setPoolState = Pooled.setState

/** Whether a Buffer waits in a pool. */
export function isIdle(owner: Owner): boolean {
  const state = poolStateOf(owner)
  return state !== NO_POOL && (state & 3) === IDLE
}

/** Records the alignment, in bytes, that was asked for. It may be called once for an owner. */
export function stampAlign(owner: Owner, alignBytes: number): void {
  new Aligned(owner, alignBytes)
}

/** The alignment that `stampAlign` recorded, or 0. */
export const alignOf = Aligned.alignOf

/**
 * Makes a Buffer over `sizeBytes` of `memory` and stamps it as the owner of `block`. Throws a `TypeError`
 * where `memory` is detached.
 *
 * @noinline
 */
export function makeOwner(
  memory: ArrayBuffer,
  offsetBytes: number,
  sizeBytes: number,
  epoch: Epoch,
  block: Block,
): ArenaBuffer {
  const buffer = new NodeBuffer(memory, offsetBytes, sizeBytes)
  new Owner(buffer, epoch, block, sizeBytes)
  return buffer
}

export const isOwner = Owner.is
/** The epoch that an owner was stamped with. */
export const epochOf = Owner.epochOf
/**
 * The block of an owner, `SPENT`, `EMPTY`, or a number below `EMPTY` if it is watched: see `watchedBlock`.
 */
export const blockOf = Owner.blockOf
/** The block of an owner, from what `blockOf` returned, whether the owner is watched or not. */
export const watchedBlock = (block: Block): Block => (block <= WATCHED ? WATCHED - block : block)
/**
 * Makes an owner watched: `blockOf` is below `EMPTY` from now on. Does nothing if it is watched, spent or
 * empty.
 */
export const watch = Owner.watch
/** Puts an owner into another epoch: it comes into a pool. */
export const adopt = Owner.adopt
/** The bytes that were asked for, whatever has been done to the Buffer since. */
export const sizeOf = Owner.sizeOf
/** Marks an owner as freed: `blockOf` is `SPENT` from now on. */
export const spend = Owner.spend
/** Makes a spent or watched owner hold `block` again, as `blockOf` returned it before. */
export const restore = Owner.restore
