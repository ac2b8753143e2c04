/** One block with the bytes of several views. */

import { types } from 'node:util'
import { invalidArgType } from '../base/errors.js'
import { bufferOf, byteOffsetOf, copyElements, lengthOf, uncurryThis } from '../base/primordials.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import { requireSize } from '../buffers/size.js'
import { type Allocating, discard } from './allocating.js'

// Taken once at load, as in `primordials`.
const Bytes = Uint8Array
const { isUint8Array } = types
const { isArray } = Array
const { min } = Math
const fill = uncurryThis(Bytes.prototype.fill) as (self: Uint8Array, byte: number, from: number) => unknown

/** Copies the bytes of `list`, one view behind the other, into a new block of `totalBytes` bytes. */
export function concat(allocating: Allocating, list: unknown, totalBytes: unknown): ArenaBuffer {
  // A copy: script that runs in the middle cannot change it.
  const views = viewsOf(list)
  let sum = 0
  for (let i = 0; i < views.length; i++) sum += lengthOf(views[i])
  if (totalBytes !== undefined) requireSize(totalBytes, 'totalBytes')
  const sizeBytes = totalBytes ?? sum
  const block = allocating.allocUnsafe(sizeBytes)
  try {
    allocating.requireLive('concat', block)
    let end = 0
    for (let i = 0; i < views.length && end < sizeBytes; i++) end = copyTo(block, end, views[i])
    if (end < sizeBytes) fill(block, 0, end)
  } catch (error) {
    discard(allocating, block)
    throw error
  }
  return block
}

/** Copies `view` to `offset` of the block, as far as it fits. Returns where it ends there. */
function copyTo(block: ArenaBuffer, offset: number, view: Uint8Array): number {
  const lengthBytes = lengthOf(view)
  const count = min(lengthBytes, lengthOf(block) - offset)
  // The memory of a view without bytes may have been taken away, and then it cannot be copied.
  if (count === 0) return offset
  const part = count === lengthBytes ? view : new Bytes(bufferOf(view), byteOffsetOf(view), count)
  copyElements(block, part, offset)
  return offset + count
}

function viewsOf(list: unknown): Uint8Array[] {
  const views: Uint8Array[] = []
  const add = (view: unknown) => {
    const index = views.length
    if (!isUint8Array(view))
      throw invalidArgType(`list[${index}]`, 'an instance of Buffer or Uint8Array', view)
    views[index] = view
  }
  if (isArray(list)) for (let i = 0; i < list.length; i++) add(list[i])
  else if (isIterable(list)) for (const view of list) add(view)
  else throw invalidArgType('list', 'an array or an iterable of Uint8Arrays', list)
  return views
}

/** A `Uint8Array` is one, too, but of numbers: passed alone, it is a mistake. */
function isIterable(list: unknown): list is Iterable<unknown> {
  return typeof list === 'object' && list !== null && !isUint8Array(list) && Symbol.iterator in list
}
