import { deepStrictEqual } from 'node:assert/strict'
import { Buffer as NodeBuffer } from 'node:buffer'
import { inspect, types } from 'node:util'
import { describe, expect, it } from 'vitest'
import * as owners from '../../src/buffers/owner.js'
import { bareProgramOf } from '../support/child.js'
import { DIST, runNode } from '../support/process.js'
import { thrownBy } from '../support/world.js'

const { blockOf, epochOf, isOwner, makeOwner, sizeOf, spend } = owners
const epoch = { arena: { name: 'owners' } }

function owner(text = 'some bytes', block = 7) {
  const bytes = Buffer.from(text)
  const memory = new ArrayBuffer(bytes.length + 10)
  const buffer = makeOwner(memory, 5, bytes.length, epoch, block)
  bytes.copy(buffer)
  return buffer
}

describe('makeOwner', () => {
  it('is longer than what V8 inlines, for the sake of what it inlines itself', async () => {
    const script = bareProgramOf(async (load, path) => {
      const { Arena } = (await load(path)) as typeof import('../../src/index.js')
      new Arena().allocUnsafe(64)
    }, new URL('index.js', DIST).href)
    const flags = ['--print-bytecode', '--print-bytecode-filter=makeOwner', '--input-type=module', '-e']
    const { stdout } = await runNode([...flags, script])
    const lengths = [...stdout.matchAll(/^Bytecode length: (\d+)$/gm)].map(match => Number(match[1]))
    // V8's --max-inlined-bytecode-size. Methods of that name call it, and are meant to be inlined.
    expect(lengths.filter(length => length > 460)).toHaveLength(1)
  })

  it('makes an ordinary Buffer over the bytes asked for', () => {
    const buffer = owner()
    expect(NodeBuffer.isBuffer(buffer)).toBe(true)
    expect(types.isUint8Array(buffer)).toBe(true)
    expect(Object.getPrototypeOf(buffer)).toBe(Buffer.prototype)
    expect([buffer.length, buffer.byteOffset, buffer.toString()]).toEqual([10, 5, 'some bytes'])
  })

  it('gives nothing away that a plain Buffer does not have', () => {
    const buffer = owner()
    const plain = Buffer.from('some bytes')
    deepStrictEqual(buffer, plain)
    deepStrictEqual(Reflect.ownKeys(buffer), Reflect.ownKeys(plain))
    expect(inspect(buffer)).toBe(inspect(plain))
    expect(JSON.stringify(buffer)).toBe(JSON.stringify(plain))
    expect(buffer.constructor).toBe(Buffer)
  })

  it('throws a TypeError for memory that is detached', () => {
    const memory = new ArrayBuffer(64)
    structuredClone(memory, { transfer: [memory] })
    expect(thrownBy(() => makeOwner(memory, 0, 64, epoch, 1))).toBeInstanceOf(TypeError)
  })
})

describe('an owner', () => {
  it('carries its epoch, block and size', () => {
    const buffer = owner('abc', 41)
    if (!isOwner(buffer)) throw new Error('not an owner')
    expect(epochOf(buffer)).toBe(epoch)
    expect([blockOf(buffer), sizeOf(buffer)]).toEqual([41, 3])
  })

  it('is spent once, and keeps its epoch and size', () => {
    const buffer = owner('abc', 41)
    if (!isOwner(buffer)) throw new Error('not an owner')
    spend(buffer)
    expect([blockOf(buffer), sizeOf(buffer)]).toEqual([owners.SPENT, 3])
    expect(epochOf(buffer)).toBe(epoch)
  })

  it('keeps its size although its memory was detached', () => {
    const memory = new ArrayBuffer(16)
    const buffer = makeOwner(memory, 0, 16, epoch, 1)
    structuredClone(memory, { transfer: [memory] })
    expect(buffer.length).toBe(0)
    if (!isOwner(buffer)) throw new Error('not an owner')
    expect(sizeOf(buffer)).toBe(16)
  })

  it('cannot be forged, copied or inherited', () => {
    const buffer = owner()
    const copy = Object.defineProperties(Buffer.alloc(10), Object.getOwnPropertyDescriptors(buffer))
    for (const other of [
      buffer.subarray(),
      buffer.subarray(0, 3),
      buffer.slice(),
      Buffer.from(buffer),
      Buffer.from(buffer.buffer, 5, 10),
      new Uint8Array(buffer),
      new Proxy(buffer, {}),
      Object.create(buffer),
      structuredClone(buffer),
      copy,
      buffer.buffer,
      {},
      undefined,
      null,
      0,
      'owner',
      Symbol('owner'),
      () => {},
    ]) {
      expect(isOwner(other)).toBe(false)
    }
    expect(isOwner(buffer)).toBe(true)
  })

  it('stays one when it may not be extended, or was given other properties', () => {
    const buffer = owner()
    Object.defineProperty(buffer, 'length', { value: 3 })
    Object.preventExtensions(buffer)
    expect(isOwner(buffer) && sizeOf(buffer)).toBe(10)
  })
})
