/**
 * Slots: where each record of a store is. A record is named by a *ref*, a small integer, so that a program which holds a
 * million records holds no object for them:
 *
 *      bit   30 ......... 25 | 24 ............... 0
 *            generation      | slot
 *
 * Slot 0 has no record, so no ref is 0. The first records of a store have a generation that those of other stores rarely
 * have, so that most refs of another store name no record.
 *
 * A slot has three words: the record's block, the bytes that were asked for, and its *life*. They come in chunks of 65,536
 * slots, so that no growth copies anything. A slot that came free has another generation, so that an old ref names no
 * record. After 64 records of one slot generations repeat. So that this takes long, freed slots are used in the order in
 * which they came free, and not before a thousand of a chunk are free. The lowest chunk that has room is used first.
 *
 * Invariants, checked by `check()`:
 *  1. `liveCount` is the number of slots whose life is that of a record
 *  2. each other slot that was ever used is free, and on the list of its chunk once, or is *ending*: its record was freed
 *     while it is pinned
 *  3. no chunk before `#open` has a free slot
 */
import { invariant } from '../base/assert.js'
import { type Block, NONE } from '../base/units.js'

const { min } = Math

declare const brand: unique symbol

/**
 * Names a record of a `Store`: an integer from 1 to 2^31 - 1, without an object behind it. A `Map<string, Ref>` holds a
 * million of them as it holds a million small numbers.
 *
 * - A ref is never 0, so `!ref` says that there is none.
 * - A ref means something to its own store only. Another store mostly refuses it, but it may have a record of its own under
 *   the same number.
 * - After `free` it names nothing: `has` returns false, other methods throw `ERR_ARENA_DOUBLE_FREE`. It may name another
 *   record when its number comes up again, which is after 64 records in the same place.
 *
 * To the compiler a plain number is no ref. What was saved as a number is one again by `has(saved)`, or by `as Ref`.
 */
export type Ref = number & {
  /** Tells refs from other numbers. Exists for the compiler only. */
  readonly [brand]: true
}

/** The most bytes of a record: sizes are words. */
export const MAX_RECORD_BYTES = 2 ** 31 - 1

/** `ref >>> SLOT_BITS` is the generation of a ref. */
export const SLOT_BITS = 25
const CHUNK_SHIFT = 16
export const CHUNK_SLOTS = 1 << CHUNK_SHIFT
const MAX_CHUNKS = 1 << (SLOT_BITS - CHUNK_SHIFT)
const GENERATIONS = 64
/** The first slot that has a record: with slot 0, a ref could be 0. */
const FIRST_SLOT = 1
const MAX_RECORDS = 2 ** SLOT_BITS - FIRST_SLOT
/** A freed slot is used again when as many of its chunk are free, or none of the chunk is left that never was used. */
const RESTING_SLOTS = 1024

// The words of a slot. `BLOCK` of a free slot is the next slot of the list.
const WORDS = 3
export const BLOCK = 0
export const SIZE = 1
const LIFE = 2
const CHUNK_BYTES = CHUNK_SLOTS * WORDS * 4

// The life of a slot: 0 if it was never used, generation + 1 while its record is live, and else one of these. They are
// above 128, which is the most that a number compares with: also a negative one, which is no ref.
/** The slot is free. Its lower bits are its next generation. */
const FREE = 256
/** The record was freed, and stays until the last unpin. */
const ENDING = 512
/** The units of `nextIn` for records anywhere: one unit, which has its bit set. */
const EVERYWHERE = Int32Array.of(-1)
/** Stands for no slot at the ends of the lists. */
const NO_SLOT = -1

/** Where the memory of the slots comes from. */
export interface SlotStorage {
  allocate(lengthBytes: number): ArrayBuffer
  dispose(storage: ArrayBuffer): void
  /** Gives back the whole pages within a range of bytes that is zero. */
  purge?(storage: ArrayBuffer, offsetBytes: number, lengthBytes: number): void
}

/** The index of a ref's first word in the words of its chunk. */
export function indexOf(ref: number): number {
  return (ref & (CHUNK_SLOTS - 1)) * WORDS
}

/** 65,536 slots. Its state is in plain fields: V8 reads those faster than typed arrays (docs/v8.md). */
class Chunk {
  readonly index: number
  readonly words: Int32Array
  /** The first and the last free slot of the list, and their number. */
  head = NO_SLOT
  tail = NO_SLOT
  freed = 0
  /** The first slot that may have a record. */
  readonly first: number
  /** The first slot that was never used. */
  unused: number
  /** The generation of a slot's first record. */
  generation: number

  constructor(index: number, words: Int32Array, generation: number) {
    this.index = index
    this.words = words
    this.first = index === 0 ? FIRST_SLOT : 0
    this.unused = this.first
    this.generation = generation
  }
}

export class Slots {
  readonly #storage: SlotStorage
  readonly #generation: number
  readonly #chunks: Chunk[] = []
  /** The words of each chunk. */
  readonly #words: Int32Array[] = []
  /** The lowest chunk that has room, if any has. */
  #open: Chunk = new Chunk(MAX_CHUNKS, new Int32Array(0), 0)
  /** Slots that are free in all chunks together. */
  room = 0
  /** Records that were freed while they are pinned. */
  #ending = 0

  /** `generation`: that of the first records. */
  constructor(storage: SlotStorage, generation = 0) {
    this.#storage = storage
    this.#generation = generation & (GENERATIONS - 1)
  }

  /** Makes room for at least one record. Throws what the storage throws, or a `RangeError` at the most records. */
  grow(): void {
    if (this.room > 0) return
    const index = this.#chunks.length
    if (index === MAX_CHUNKS) throw new RangeError(`a store can have at most ${MAX_RECORDS} records`)
    const words = new Int32Array(this.#storage.allocate(CHUNK_BYTES), 0, CHUNK_SLOTS * WORDS)
    const chunk = new Chunk(index, words, this.#generation)
    this.#chunks[index] = chunk
    this.#words[index] = words
    this.#open = chunk
    this.room += CHUNK_SLOTS - chunk.first
  }

  /** Records that are live. */
  get liveCount(): number {
    const chunkCount = this.#chunks.length
    return chunkCount === 0 ? 0 : chunkCount * CHUNK_SLOTS - FIRST_SLOT - this.room - this.#ending
  }

  /** Returns the ref of a new record. There must be room. Does all or nothing where it is interrupted. */
  take(block: Block, sizeBytes: number): Ref {
    let chunk = this.#open
    // Nothing is called after the first change.
    if (chunk.unused === CHUNK_SLOTS && chunk.freed === 0) chunk = this.#openNext(chunk.index)
    const { words, unused } = chunk
    let slot = unused
    if (unused === CHUNK_SLOTS || chunk.freed >= RESTING_SLOTS) {
      slot = chunk.head
      chunk.head = words[slot * WORDS]
      chunk.freed--
    } else {
      chunk.unused = unused + 1
    }
    const at = slot * WORDS
    const life = words[at + LIFE]
    const generation = life === 0 ? chunk.generation : life & (GENERATIONS - 1)
    words[at] = block
    words[at + SIZE] = sizeBytes
    words[at + LIFE] = generation + 1
    this.room--
    return ((generation << SLOT_BITS) | (chunk.index << CHUNK_SHIFT) | slot) as Ref
  }

  /** Opens the next chunk with room behind the full one at `index`. */
  #openNext(index: number): Chunk {
    let next = index + 1
    while (this.#chunks[next].unused === CHUNK_SLOTS && this.#chunks[next].freed === 0) next++
    this.#open = this.#chunks[next]
    return this.#open
  }

  /** The words of the chunk of a live record, from `indexOf(ref)` on its own; null for any other value. */
  wordsOf(ref: unknown): Int32Array | null {
    if (typeof ref !== 'number' || (ref | 0) !== ref) return null
    const words = this.#words[(ref >>> CHUNK_SHIFT) & (MAX_CHUNKS - 1)]
    return words !== undefined && words[indexOf(ref) + LIFE] === (ref >>> SLOT_BITS) + 1 ? words : null
  }

  /** Whether a value names a live record. */
  has(ref: unknown): ref is Ref {
    return this.wordsOf(ref) !== null
  }

  /** Whether a value named a record once that has ended. After 64 records of a slot that is not known any more. */
  wasUsed(ref: unknown): boolean {
    if (typeof ref !== 'number' || (ref | 0) !== ref || ref < 0) return false
    const words = this.#chunkOf(ref)
    return words !== undefined && words[indexOf(ref) + LIFE] !== 0
  }

  #chunkOf(ref: number): Int32Array {
    return this.#words[(ref >>> CHUNK_SHIFT) & (MAX_CHUNKS - 1)]
  }

  blockOf(ref: Ref): Block {
    return this.#chunkOf(ref)[indexOf(ref)]
  }

  sizeOf(ref: Ref): number {
    return this.#chunkOf(ref)[indexOf(ref) + SIZE]
  }

  /** Points a live record to another block, and gives it another size. */
  set(ref: Ref, block: Block, sizeBytes: number): void {
    const words = this.#chunkOf(ref)
    const at = indexOf(ref)
    words[at] = block
    words[at + SIZE] = sizeBytes
  }

  /** Ends a live record, or one that is ending: its ref names nothing, and its slot is free. */
  free(ref: Ref): void {
    const chunk = this.#chunks[(ref >>> CHUNK_SHIFT) & (MAX_CHUNKS - 1)]
    const { words } = chunk
    const slot = ref & (CHUNK_SLOTS - 1)
    const at = slot * WORDS
    if (words[at + LIFE] === ENDING) this.#ending--
    words[at + LIFE] = FREE | (((ref >>> SLOT_BITS) + 1) & (GENERATIONS - 1))
    words[at] = NO_SLOT
    if (chunk.freed++ === 0) chunk.head = slot
    else words[chunk.tail * WORDS] = slot
    chunk.tail = slot
    if (this.room++ === 0 || chunk.index < this.#open.index) this.#open = chunk
  }

  /** Ends a live record whose memory stays for now: its ref names nothing, and its slot is not free before `free`. */
  endLater(ref: Ref): void {
    const words = this.#chunkOf(ref)
    const at = indexOf(ref)
    this.#ending++
    words[at + LIFE] = ENDING
  }

  /** Whether the record of a ref that was given out has ended by `endLater`, and its slot is not free yet. */
  isEnding(ref: Ref): boolean {
    return this.#chunkOf(ref)[indexOf(ref) + LIFE] === ENDING
  }

  /** Slots from 0 up to, but not including, this one may have records. */
  get end(): number {
    const last = this.#chunks.length - 1
    return last < 0 ? 0 : last * CHUNK_SLOTS + this.#chunks[last].unused
  }

  /**
   * The first slot in [slot, end) that has a live record, and one whose block starts in a unit of `1 << unitShift` granules
   * that has its bit set in `units`. Returns `end` if there is none. About a nanosecond a slot, and less for empty chunks.
   */
  nextIn(units: Int32Array, unitShift: number, slot: number, end: number): number {
    for (let from = slot; from < end; ) {
      const { words, freed, unused, first: firstUsed } = this.#chunks[from >>> CHUNK_SHIFT]
      const first = from & -CHUNK_SLOTS
      const stop = min(end, first + CHUNK_SLOTS)
      if (freed === unused - firstUsed) {
        from = stop
        continue
      }
      const stopAt = (stop - first) * WORDS
      for (let at = (from - first) * WORDS; at < stopAt; at += WORDS) {
        const life = words[at + LIFE]
        if (life === 0 || life >= FREE) continue
        const unit = words[at + BLOCK] >>> unitShift
        if ((units[unit >>> 5] >>> (unit & 31)) & 1) return first + at / WORDS
      }
      from = stop
    }
    return end
  }

  /** The first slot in [slot, end) that has a live record, or `end`. */
  nextLive(slot: number, end: number): number {
    return this.nextIn(EVERYWHERE, 31, slot, end)
  }

  /** The ref of the live record in a slot, or NONE. */
  refAt(slot: number): Ref | typeof NONE {
    const life = this.#words[slot >>> CHUNK_SHIFT][indexOf(slot) + LIFE]
    return life === 0 || life >= FREE ? NONE : ((((life - 1) << SLOT_BITS) | slot) as Ref)
  }

  /**
   * Gives back the memory of chunks without a record. Their slots begin with a generation that none of them had lately, so
   * that no old ref names a new record.
   */
  shrink(): void {
    for (const chunk of this.#chunks) {
      const { words, first, unused } = chunk
      if (unused === first || chunk.freed < unused - first) continue
      chunk.generation = latestOf(words, first, unused)
      chunk.head = NO_SLOT
      chunk.tail = NO_SLOT
      chunk.freed = 0
      chunk.unused = first
      words.fill(0)
      this.#storage.purge?.(words.buffer as ArrayBuffer, 0, CHUNK_BYTES)
    }
  }

  /** Bytes of memory that the slots take, whether they were touched or not. */
  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES
  }

  /** Gives up all slots. */
  drop(): void {
    const storages = this.#words.map(({ buffer }) => buffer as ArrayBuffer)
    this.#chunks.length = 0
    this.#words.length = 0
    this.room = 0
    this.#ending = 0
    for (const storage of storages) this.#storage.dispose(storage)
  }

  /** Throws an `Error` if an invariant does not hold. `endingCount`: the records that end at their last unpin. */
  check(endingCount: number): void {
    let live = 0
    let ending = 0
    let room = 0
    for (const { index, words, first, unused, freed, head } of this.#chunks) {
      let free = 0
      for (let slot = first; slot < unused; slot++) {
        const life = words[slot * WORDS + LIFE]
        if (life === ENDING) ending++
        else if (life >= FREE) free++
        else live++
      }
      const listed = new Set<number>()
      for (let slot = head; listed.size < freed; slot = words[slot * WORDS]) {
        const life = slot === NO_SLOT ? 0 : words[slot * WORDS + LIFE]
        const isFree = life >= FREE && life !== ENDING && !listed.has(slot)
        invariant(isFree, `2: slot ${slot} of chunk ${index} is listed once and free`)
        listed.add(slot)
      }
      invariant(listed.size === free, `2: chunk ${index} lists ${listed.size} of ${free} free slots`)
      const left = free + CHUNK_SLOTS - unused
      invariant(left === 0 || index >= this.#open.index, `3: chunk ${index} has room, and is not looked at`)
      room += left
    }
    invariant(live === this.liveCount, `1: ${this.liveCount} live records, found ${live}`)
    invariant(ending === endingCount, `2: ${endingCount} records end later, found ${ending}`)
    invariant(room === this.room, `2: room for ${this.room} records, found ${room}`)
  }
}

/**
 * The generation with which all slots from `first` up to, but not including, `end`, which are free, may begin: of those that are next in one of
 * them, the one that is the longest ago in all. Generations go round, so the highest number need not be the latest.
 */
function latestOf(words: Int32Array, first: number, end: number): number {
  const isNext = new Array<boolean>(GENERATIONS).fill(false)
  for (let slot = first; slot < end; slot++) isNext[words[slot * WORDS + LIFE] & (GENERATIONS - 1)] = true
  let latest = 0
  let longest = -1
  for (let generation = 0; generation < GENERATIONS; generation++) {
    if (!isNext[generation]) continue
    // Of the slot that had this generation last: how many lives ago that was.
    let lives = 1
    while (!isNext[(generation + lives) & (GENERATIONS - 1)]) lives++
    if (lives <= longest) continue
    longest = lives
    latest = generation
  }
  return latest
}
