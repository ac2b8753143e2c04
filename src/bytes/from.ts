/**
 * Copies of what `Buffer.from` takes, with the same bytes, and of iterables.
 *
 * Arguments may run script: accessors, proxies, `valueOf`, iterators. It may free the block that is being filled, or all.
 * So no block is written to while script runs, and before each store this asks whether the block is still live.
 */
import { types } from 'node:util'
import { invalidArgType } from '../base/errors.js'
import {
  bufferOf,
  byteOffsetOf,
  copyBytes,
  copyElements,
  fillBytes,
  lengthOf,
  uncurryThis,
} from '../base/primordials.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import { reachOf } from '../buffers/view-reach.js'
import { type Allocating, discard, trimmed } from './allocating.js'
import { Body } from './body.js'

// Taken once at load, as in `primordials`.
const Bytes = Uint8Array
const { from: viewFrom, byteLength, isEncoding } = Buffer
const write = uncurryThis(Buffer.prototype.write) as unknown as (
  self: Uint8Array,
  text: string,
  offset: number,
  length: number,
  encoding: BufferEncoding,
) => number
const { isAnyArrayBuffer, isTypedArray, isUint8Array } = types
const { min, trunc } = Math
const { isView } = ArrayBuffer
const { isArray } = Array

/** So many bytes of a list are gathered at a time, in memory of V8, before they go into the block. */
const GATHERED = 4096

/** An object whose properties are read. */
type Properties = Record<PropertyKey, unknown>

/** Copies `data` into a new block. The other arguments are those of `Buffer.from`. */
export function copyOf(
  allocating: Allocating,
  data: unknown,
  second?: unknown,
  third?: unknown,
): ArenaBuffer {
  if (typeof data === 'string') return ofText(allocating, data, second)
  if (isUint8Array(data)) return ofElements(allocating, data)
  if (typeof data === 'object' && data !== null) {
    const block = ofObject(allocating, data as Properties, second, third)
    if (block !== undefined) return block
  }
  throw invalidArgType(
    'data',
    'a string, an ArrayBuffer, a view of one, or an array, an iterable or an array-like object of bytes',
    data,
  )
}

function ofObject(
  allocating: Allocating,
  data: Properties,
  second: unknown,
  third: unknown,
): ArenaBuffer | undefined {
  if (isAnyArrayBuffer(data)) {
    // Node makes a view of it, and checks the range.
    return ofElements(allocating, viewFrom(data as ArrayBuffer, second as number, third as number))
  }
  if (isView(data)) return ofView(allocating, data)
  const value = typeof data.valueOf === 'function' ? data.valueOf() : undefined
  if (value !== data && (typeof value === 'string' || (typeof value === 'object' && value !== null))) {
    return copyOf(allocating, value, second, third)
  }
  const { length } = data
  if (length !== undefined) return ofArrayLike(allocating, data as never, length)
  const { data: list } = data
  if (data.type === 'Buffer' && isArray(list)) return ofArrayLike(allocating, list as never, list.length)
  const toPrimitive = data[Symbol.toPrimitive]
  if (typeof toPrimitive === 'function') {
    const text = toPrimitive.call(data, 'string')
    if (typeof text === 'string') return ofText(allocating, text, second)
  }
  if (typeof data[Symbol.iterator] === 'function') return ofIterable(allocating, data as never)
  return undefined
}

function ofText(allocating: Allocating, text: string, encoding: unknown): ArenaBuffer {
  const used = encodingOf(encoding)
  const mostBytes = byteLength(text, used)
  const block = allocating.allocUnsafe(mostBytes)
  if (mostBytes === 0) return block
  allocating.requireLive('from', block)
  // Fewer for text that is not all base64 or hex.
  return trimmed(allocating, block, write(block, text, 0, mostBytes, used))
}

/** Throws the error of Node for an encoding that does not exist. */
function encodingOf(encoding: unknown): BufferEncoding {
  if (typeof encoding !== 'string' || encoding === '') return 'utf8'
  if (!isEncoding(encoding)) viewFrom('', encoding as BufferEncoding)
  return encoding as BufferEncoding
}

function ofView(allocating: Allocating, view: ArrayBufferView): ArenaBuffer {
  if (isTypedArray(view)) return ofElements(allocating, view)
  const reach = reachOf(view)
  // A `DataView` of memory that was taken away reaches nothing.
  const bytes = reach === null ? new Bytes(0) : new Bytes(reach.memory, reach.offsetBytes, reach.lengthBytes)
  return ofElements(allocating, bytes)
}

/** Copies a typed array of any kind: each element becomes a byte. */
function ofElements(allocating: Allocating, elements: ArrayBufferView): ArenaBuffer {
  const count = lengthOf(elements)
  const block = allocating.allocUnsafe(count)
  // It may be of memory that was taken away, which cannot be copied.
  if (count === 0) return block
  try {
    allocating.requireLive('from', block)
    if (lengthOf(elements) === count) copyBytes(block, elements as Uint8Array)
    else copyRest(block, elements, count)
  } catch (error) {
    discard(allocating, block)
    throw error
  }
  return block
}

/** Script of the allocation has changed the length of a typed array. What is missing is zero. */
function copyRest(block: ArenaBuffer, elements: ArrayBufferView, count: number): void {
  fillBytes(block, 0)
  const left = min(count, lengthOf(elements))
  if (!isUint8Array(elements) || left === 0) return
  copyBytes(block, new Bytes(bufferOf(elements), byteOffsetOf(elements), left))
}

function ofArrayLike(allocating: Allocating, list: ArrayLike<number>, length: unknown): ArenaBuffer {
  // As `Buffer.from` has it: what has no length as a number is empty.
  const count = typeof length === 'number' && length > 0 ? trunc(length) : 0
  const block = allocating.allocUnsafe(count)
  const gathered = new Bytes(min(count, GATHERED))
  try {
    for (let start = 0; start < count; start += GATHERED) {
      const end = min(count, start + GATHERED)
      for (let i = start; i < end; i++) gathered[i - start] = list[i]
      const isWhole = end - start === lengthOf(gathered)
      allocating.requireLive('from', block)
      copyElements(block, isWhole ? gathered : new Bytes(bufferOf(gathered), 0, end - start), start)
    }
  } catch (error) {
    discard(allocating, block)
    throw error
  }
  return block
}

function ofIterable(allocating: Allocating, items: Iterable<number>): ArenaBuffer {
  const body = new Body(allocating, 'from', Number.POSITIVE_INFINITY)
  const gathered = new Bytes(GATHERED)
  let count = 0
  try {
    for (const item of items) {
      gathered[count++] = item
      if (count < GATHERED) continue
      body.append(gathered)
      count = 0
    }
    body.append(new Bytes(bufferOf(gathered), 0, count))
    return body.finish()
  } catch (error) {
    body.discard()
    throw error
  }
}
