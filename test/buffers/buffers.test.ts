/** Which `ArrayBuffer` a block's Buffer is a view of, for how long it lives, and what the rest of Node makes of it. */
import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { deflateSync, inflateSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { isZero, open, turns } from '../support/world.js'

const KIB = 1024
const MIB = 1024 * KIB
const STRIDE_BYTES = MIB
const OVERLAP_BYTES = 64 * KIB
const SIZES = [1, 100, 5_000, 20_000, 64 * KIB, 300_000]

describe.each([0, 64 * KIB, Number.POSITIVE_INFINITY])('a block (detachFromBytes %d)', detachFromBytes => {
  it.each(SIZES)('of %i bytes is what a plain Buffer is', size => {
    const { arena } = open({ detachFromBytes })
    const block = arena.alloc(size)
    const plain = Buffer.alloc(size)
    deepStrictEqual(block, plain)
    strictEqual(Object.getPrototypeOf(block), Buffer.prototype)
    randomFillSync(block)
    block.copy(plain)
    expect(Buffer.isBuffer(block)).toBe(true)
    expect(Buffer.compare(block, plain)).toBe(0)
    expect(block.toString('hex')).toBe(plain.toString('hex'))
    expect(Buffer.isBuffer(block.subarray(1))).toBe(true)
  })

  it('works with hashes, compression, streams and files', async () => {
    const { arena } = open({ detachFromBytes })
    const folder = mkdtempSync(join(tmpdir(), 'offheap-'))
    try {
      for (const size of SIZES) {
        const block = randomFillSync(arena.allocUnsafe(size))
        const plain = Buffer.from(block)
        const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
        expect(hash(block)).toBe(hash(plain))
        expect(inflateSync(deflateSync(block)).equals(plain)).toBe(true)
        expect(Buffer.concat(await Readable.from([block, block]).toArray()).length).toBe(2 * size)
        const path = join(folder, String(size))
        writeFileSync(path, block)
        expect(readFileSync(path).equals(plain)).toBe(true)
        const target = arena.alloc(size)
        const file = await openFile(path)
        expect((await file.read(target, 0, size, 0)).bytesRead).toBe(size)
        await file.close()
        expect(target.equals(plain)).toBe(true)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('a window', () => {
  it('is shared by the small blocks that start in it', () => {
    const { arena, kernel } = open()
    const blocks = Array.from({ length: 200 }, (_, i) => arena.allocUnsafe(1 + i * 37))
    expect(new Set(blocks.map(block => block.buffer)).size).toBeLessThanOrEqual(2)
    expect(kernel.counts.wrap).toBeLessThanOrEqual(2)
  })

  it('lies over one stride and the longest block behind it, so that no block straddles its end', () => {
    const { arena, kernel } = open()
    for (let i = 0; i < 400; i++) {
      const block = arena.allocUnsafe(60_000)
      const { offsetBytes } = kernel.placeOf(block)
      expect(block.buffer.byteLength).toBeLessThanOrEqual(STRIDE_BYTES + OVERLAP_BYTES)
      expect(block.byteOffset).toBe(offsetBytes % STRIDE_BYTES)
    }
    arena.check()
  })

  it('goes when nothing lives in it and its pages were given back, and comes again', () => {
    const { arena, kernel, deferral } = open()
    const block = arena.allocUnsafe(100)
    // The books are wrapped too; a window is longer than its stride.
    const windows = () =>
      kernel.calls.filter(call => call.kind === 'wrap' && Number(call.args[2]) > MIB).length
    expect(windows()).toBe(1)
    const view = block.subarray(1)
    const { buffer } = block
    arena.free(block)
    expect(buffer.byteLength).toBeGreaterThan(0)
    deferral.advance(1_000)
    deferral.advance(1_000)
    expect([buffer.byteLength, view.length]).toEqual([0, 0])
    const again = arena.allocUnsafe(100).fill(3)
    expect(again.every(byte => byte === 3)).toBe(true)
    expect(windows()).toBe(2)
    arena.check()
  })

  it('stays while a block lives in it', () => {
    const { arena, deferral } = open()
    const kept = arena.allocUnsafe(100).fill(4)
    for (let i = 0; i < 100; i++) arena.free(arena.allocUnsafe(1_000 + i))
    deferral.advance(10_000)
    arena.trim()
    expect(kept.every(byte => byte === 4)).toBe(true)
  })

  it('is not wrapped by blocks that have a buffer of their own', () => {
    const { arena, kernel } = open()
    // Now nothing but the block can be wrapped: the first one also made the books.
    arena.allocUnsafe(64 * KIB)
    const before = kernel.calls.length
    arena.allocUnsafe(64 * KIB)
    const wraps = kernel.calls.slice(before).filter(call => call.kind === 'wrap')
    expect(wraps.map(call => call.args[2])).toEqual([64 * KIB])
  })
})

describe('a buffer of its own', () => {
  it.each([
    [64 * KIB, 64 * KIB],
    [64 * KIB + 1, 64 * KIB],
    [1, 0],
    [100_000, 0],
    [MIB, MIB],
    [500, 500],
  ])('covers exactly the bytes of a block of %i (detachFromBytes %d)', (size, detachFromBytes) => {
    const { arena } = open({ detachFromBytes })
    const block = arena.allocUnsafe(size)
    expect([block.buffer.byteLength, block.byteOffset]).toEqual([size, 0])
  })

  it('ends with its block, and overlaps no live one', async () => {
    const { arena } = open({ detachFromBytes: 0 })
    for (let i = 0; i < 300; i++) {
      const block = arena.allocUnsafe(1 + (i % 3) * 40_000).fill(i)
      const { buffer } = block
      arena.free(block)
      expect(buffer.byteLength).toBe(0)
      if (i % 50 === 0) await turns(1)
    }
    arena.check()
  })

  it('stays with its pages where nothing is detached, and serves the next block there', () => {
    const { arena, kernel } = open({ detachFromBytes: Number.POSITIVE_INFINITY })
    const first = arena.allocUnsafe(100_000)
    const { buffer } = first
    const { wrap } = kernel.counts
    arena.free(first)
    const second = arena.allocUnsafe(99_000)
    expect(second.buffer).toBe(buffer)
    expect(second.length).toBe(99_000)
    arena.free(second)
    const third = arena.alloc(100_001)
    expect(isZero(third)).toBe(true)
    expect(kernel.counts.wrap).toBe(wrap)
    arena.check()
  })

  it('that waits is dropped when its pages were given back', () => {
    const { arena, deferral } = open({ detachFromBytes: Number.POSITIVE_INFINITY })
    const block = arena.allocUnsafe(100_000)
    const { buffer } = block
    arena.free(block)
    expect(buffer.byteLength).toBeGreaterThan(0)
    deferral.advance(2_000)
    expect(buffer.byteLength).toBe(0)
    arena.check()
  })

  it('of a block that is too long for the one that waits is made anew', () => {
    const { arena } = open({ detachFromBytes: Number.POSITIVE_INFINITY })
    arena.free(arena.allocUnsafe(100_000))
    const block = arena.allocUnsafe(200_000).fill(5)
    expect(block.every(byte => byte === 5)).toBe(true)
    expect(block.buffer.byteLength).toBeGreaterThanOrEqual(200_000)
    arena.check()
  })
})
