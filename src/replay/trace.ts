/**
 * Reads a recording of allocations into columns, which a replay can walk without an object per operation.
 *
 * The format is plain text, one operation a line. `trace-file.ts` knows the other forms of a file.
 *
 *     a ID SIZE     allocate a block of SIZE bytes and call it ID
 *     r ID SIZE     resize block ID to SIZE bytes; its contents stay, up to the shorter of the two sizes
 *     f ID          free block ID
 *
 * Fields are separated by one space. ID is a whole number up to 2^31 - 1, SIZE one up to 2^53 - 1. Blank
 * lines and lines that begin with `#` mean nothing. An ID may be used again once its block was freed. A
 * recording may end with live blocks. Everything else is a `TraceError` that names the line: a replay of a
 * recording that frees what is not live would measure nothing.
 *
 * IDs are renumbered to *slots*, the smallest numbers that tell the live blocks apart. So a replay's table of
 * blocks is as long as the most blocks that are live at once, whatever the IDs are.
 *
 *  1. The three columns have `operationCount` entries each; `sizes` is 0 at a free.
 *  2. Two blocks that are live at the same time never share a slot, and `0 <= slot < slotCount`.
 *  3. `sizes` is an `Int32Array` unless some size needs more. Timed loops read it, and V8 hands the elements
 *     of a `Float64Array` on as boxed numbers: the allocator under test would be compiled for those.
 */
import { InputError } from './errors.js'

/** The operations, as `Trace.operations` has them. */
export const ALLOCATE = 0
export const RESIZE = 1
export const FREE = 2

/** A recording, read and checked. */
export interface Trace {
  /** `ALLOCATE`, `RESIZE` or `FREE`, in the order of the recording. */
  readonly operations: Uint8Array
  /** The block of each operation, renumbered to its slot (see above). */
  readonly slots: Int32Array
  /** Bytes asked for by an `ALLOCATE` or `RESIZE`. */
  readonly sizes: Int32Array | Float64Array
  readonly operationCount: number
  readonly allocationCount: number
  readonly resizeCount: number
  readonly freeCount: number
  /** The most blocks that are live at once. */
  readonly slotCount: number
  /**
   * The most bytes that are live at once, as asked for, and the index of the first operation after which they
   * are.
   */
  readonly peakLiveBytes: number
  readonly peakOperation: number
  /** The bytes and blocks that are still live after the last operation. */
  readonly endLiveBytes: number
  readonly endLiveBlocks: number
}

/**
 * A recording that breaks the format. `line` counts from 1. It is 0 if the fault has no line (a damaged gzip
 * file).
 */
export class TraceError extends InputError {
  readonly line: number

  constructor(name: string, line: number, message: string) {
    super(line > 0 ? `${name}, line ${line}: ${message}` : `${name}: ${message}`)
    this.line = line
  }
}

const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const TAB = 0x09
const HASH = 0x23
const DIGIT_0 = 0x30
// The position of a letter is the value of its operation.
const LETTERS = 'arf'

const MAX_ID = 2 ** 31 - 1
// The longest meaningful line has 29 bytes; the rest is room for a comment. A file without line ends is not a
// trace.
const MAX_LINE_BYTES = 64 * 1024
const FIRST_CAPACITY = 1024
const NONE = -1

function longer<A extends Uint8Array | Int32Array | Float64Array>(column: A): A {
  const copy = new (column.constructor as new (length: number) => A)(column.length * 2)
  copy.set(column)
  return copy
}

/**
 * The parser: `push` takes the file's bytes in pieces of any length, then `finish` returns the recording.
 *
 * ```ts
 * const reader = new TraceReader('app.trace')
 * reader.push(Buffer.from('a 0 100\nf 0\n'))
 * const trace = reader.finish()
 * ```
 */
export class TraceReader {
  readonly #name: string
  /** Lines seen so far, which is the number of the line that is being read. */
  #line = 0
  /** The beginning of a line whose end has not come yet. */
  #rest: Uint8Array = new Uint8Array(0)
  /** Where `#number` stopped reading. */
  #cursor = 0

  #operations = new Uint8Array(FIRST_CAPACITY)
  #slots = new Int32Array(FIRST_CAPACITY)
  #sizes: Int32Array | Float64Array = new Int32Array(FIRST_CAPACITY)
  #count = 0
  /** How many of each operation there were, by its value. */
  readonly #counts = [0, 0, 0]

  /** Live blocks only: ID to slot. */
  readonly #slotOfId = new Map<number, number>()
  /** Slots whose block was freed. The latest is used first. */
  readonly #freeSlots: number[] = []
  /** Bytes of the block in each slot; valid while it is live. */
  readonly #liveSizes: number[] = []
  #liveBytes = 0
  #peakLiveBytes = 0
  #peakOperation = 0

  /** `name` is the recording's name in error messages. */
  constructor(name: string) {
    this.#name = name
  }

  /** Reads the next piece of the file. Throws `TraceError` at the first line that breaks the format. */
  push(chunk: Uint8Array): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    let from = 0
    for (let end = bytes.indexOf(LF); end !== NONE; end = bytes.indexOf(LF, from)) {
      this.#readLine(bytes, from, end)
      from = end + 1
    }
    if (bytes.length - from > MAX_LINE_BYTES) {
      this.#line++
      this.#fail(bytes, from, bytes.length, `the line has more than ${MAX_LINE_BYTES} bytes`)
    }
    this.#rest = bytes.subarray(from)
  }

  /**
   * Returns the whole recording. Throws `TraceError` if the last line is malformed or there was no operation
   * at all.
   */
  finish(): Trace {
    if (this.#rest.length > 0) this.#readLine(this.#rest, 0, this.#rest.length)
    if (this.#count === 0) throw new TraceError(this.#name, 0, 'the recording has no operation')
    return {
      operations: this.#operations.slice(0, this.#count),
      slots: this.#slots.slice(0, this.#count),
      sizes: this.#sizes.slice(0, this.#count),
      operationCount: this.#count,
      allocationCount: this.#counts[ALLOCATE],
      resizeCount: this.#counts[RESIZE],
      freeCount: this.#counts[FREE],
      slotCount: this.#liveSizes.length,
      peakLiveBytes: this.#peakLiveBytes,
      peakOperation: this.#peakOperation,
      endLiveBytes: this.#liveBytes,
      endLiveBlocks: this.#slotOfId.size,
    }
  }

  #readLine(bytes: Uint8Array, from: number, lineEnd: number): void {
    this.#line++
    let to = lineEnd
    while (to > from && (bytes[to - 1] === CR || bytes[to - 1] === SPACE || bytes[to - 1] === TAB)) to--
    if (to === from || bytes[from] === HASH) return
    const operation = LETTERS.indexOf(String.fromCharCode(bytes[from]))
    if (operation === NONE || bytes[from + 1] !== SPACE) {
      this.#fail(bytes, from, to, 'expected "a ID SIZE", "r ID SIZE" or "f ID"')
    }
    const id = this.#number(bytes, from + 2, to)
    if (!(id <= MAX_ID)) this.#fail(bytes, from, to, `the ID must be a whole number from 0 to ${MAX_ID}`)
    let sizeBytes = 0
    if (operation !== FREE) {
      if (this.#cursor === to) this.#fail(bytes, from, to, 'the SIZE is missing')
      sizeBytes = this.#number(bytes, this.#cursor + 1, to)
      if (!(sizeBytes <= Number.MAX_SAFE_INTEGER)) {
        this.#fail(bytes, from, to, 'the SIZE must be a whole number from 0 to 2^53 - 1')
      }
    }
    if (this.#cursor !== to) this.#fail(bytes, from, to, 'the line has too many fields')
    const slot = this.#follow(operation, id, sizeBytes)
    if (slot === NONE) {
      this.#fail(bytes, from, to, `block ${id} is ${operation === ALLOCATE ? 'live already' : 'not live'}`)
    }
    this.#append(operation, slot, sizeBytes)
  }

  /**
   * Reads digits from `from` up to a space or `to`. Returns their value, or `NaN` if there is anything else.
   * Leaves `#cursor` where it stopped.
   */
  #number(bytes: Uint8Array, from: number, to: number): number {
    let value = from < to ? 0 : Number.NaN
    let at = from
    for (; at < to && bytes[at] !== SPACE; at++) {
      const digit = bytes[at] - DIGIT_0
      value = digit >= 0 && digit <= 9 ? value * 10 + digit : Number.NaN
    }
    this.#cursor = at
    return at === from ? Number.NaN : value
  }

  /**
   * Keeps account of what is live. Returns the slot of the operation, or `NONE` if the operation does not fit
   * what is live.
   */
  #follow(operation: number, id: number, sizeBytes: number): number {
    const known = this.#slotOfId.get(id)
    if ((known === undefined) !== (operation === ALLOCATE)) return NONE
    const slot = known ?? this.#freeSlots.pop() ?? this.#liveSizes.length
    if (known !== undefined) this.#liveBytes -= this.#liveSizes[slot]
    if (operation === ALLOCATE) this.#slotOfId.set(id, slot)
    if (operation === FREE) {
      this.#slotOfId.delete(id)
      this.#freeSlots.push(slot)
    }
    this.#liveSizes[slot] = sizeBytes
    this.#liveBytes += sizeBytes
    if (this.#liveBytes > this.#peakLiveBytes) {
      this.#peakLiveBytes = this.#liveBytes
      this.#peakOperation = this.#count
    }
    return slot
  }

  #append(operation: number, slot: number, sizeBytes: number): void {
    if (this.#count === this.#operations.length) {
      this.#operations = longer(this.#operations)
      this.#slots = longer(this.#slots)
      this.#sizes = longer(this.#sizes)
    }
    if (sizeBytes > MAX_ID && this.#sizes instanceof Int32Array) this.#sizes = Float64Array.from(this.#sizes)
    this.#operations[this.#count] = operation
    this.#slots[this.#count] = slot
    this.#sizes[this.#count] = sizeBytes
    this.#counts[operation]++
    this.#count++
  }

  #fail(bytes: Uint8Array, from: number, to: number, message: string): never {
    // The message must not carry a terminal's control characters, whatever the file holds.
    const shown = Buffer.from(bytes.slice(from, Math.min(to, from + 40)))
      .toString('latin1')
      .replace(/[^ -~]/g, '?')
    throw new TraceError(this.#name, this.#line, `${message}; got ${JSON.stringify(shown)}`)
  }
}
