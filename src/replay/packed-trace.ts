/**
 * The packed form of a recording: some eight times shorter than the text gzip'd. The package contains one for
 * `offheap demo`.
 *
 * After `PACKED_MAGIC`, compressed by brotli:
 *
 *  - the number of operations
 *  - one byte for each operation: `ALLOCATE`, `RESIZE` or `FREE`
 *  - for each `RESIZE` and `FREE`, how many allocations ago its block was allocated; 1 is the last one
 *  - for each `ALLOCATE` and `RESIZE`, the bytes asked for
 *
 * Numbers have seven bits in each byte, the lowest first. All but the last byte of a number have the highest
 * bit set.
 */
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib'
import { ALLOCATE, FREE, RESIZE, type Trace } from './trace.js'

/** How a packed recording begins. No line of a text does. */
export const PACKED_MAGIC = Buffer.from('offheap-trace-1\n')

const MAX_UNPACKED_BYTES = 2 ** 30
const LETTERS = ['a', 'r', 'f']
const TEXT_PIECE_BYTES = 2 ** 16

/** Returns `trace` in its packed form. */
export function packTrace({ operations, slots, sizes, slotCount }: Trace): Buffer {
  const distances: number[] = []
  const asked: number[] = []
  const allocationOf = new Int32Array(slotCount)
  let allocations = 0
  for (const [i, operation] of operations.entries()) {
    if (operation === ALLOCATE) allocationOf[slots[i]] = allocations++
    else distances.push(allocations - allocationOf[slots[i]])
    if (operation !== FREE) asked.push(sizes[i])
  }
  const columns = [varints([operations.length]), operations, varints(distances), varints(asked)]
  const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
  return Buffer.concat([PACKED_MAGIC, brotliCompressSync(Buffer.concat(columns), { params })])
}

function varints(numbers: readonly number[]): Buffer {
  const bytes: number[] = []
  for (let rest of numbers) {
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
    bytes.push(rest)
  }
  return Buffer.from(bytes)
}

/**
 * Yields the text of a packed recording, in pieces. Throws a `RangeError` if the columns end too early or are
 * too long, and zlib's error if they cannot be decompressed. It does not check what the operations mean:
 * whoever parses the text does.
 */
export function* unpackedText(packed: Buffer): Generator<Buffer> {
  const columns = brotliDecompressSync(packed.subarray(PACKED_MAGIC.length), {
    maxOutputLength: MAX_UNPACKED_BYTES,
  })
  const numbers = new Numbers(columns)
  const count = numbers.next()
  const operations = columns.subarray(numbers.at, numbers.at + count)
  const references = operations.reduce((sum, operation) => sum + Number(operation !== ALLOCATE), 0)
  const distances = new Numbers(columns, numbers.at + count)
  const sizes = new Numbers(columns, distances.at)
  for (let i = 0; i < references; i++) sizes.next()
  let allocations = 0
  let text = ''
  for (let i = 0; i < count; i++) {
    const operation = operations[i]
    const id = operation === ALLOCATE ? allocations++ : allocations - distances.next()
    const size = operation === ALLOCATE || operation === RESIZE ? ` ${sizes.next()}` : ''
    text += `${LETTERS[operation] ?? '?'} ${id}${size}\n`
    if (text.length < TEXT_PIECE_BYTES) continue
    yield Buffer.from(text)
    text = ''
  }
  yield Buffer.from(text)
}

/** Reads numbers, one behind the other. */
class Numbers {
  readonly #bytes: Uint8Array
  /** The index of the next byte. */
  at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes
    this.at = at
  }

  next(): number {
    let value = 0
    for (let unit = 1; ; unit *= 0x80) {
      if (this.at >= this.#bytes.length) throw new RangeError('the columns end too early')
      const byte = this.#bytes[this.at++]
      value += (byte & 0x7f) * unit
      if (byte < 0x80) return value
    }
  }
}
