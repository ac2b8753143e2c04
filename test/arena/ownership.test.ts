import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { reachOf } from '../../src/buffers/view-reach.js'
import { open, thrownBy } from '../support/world.js'

const SIZES = [1, 16, 64, 1_000, 4_096, 40_000, 65_535, 65_536, 100_000, 300_000]

const viewsOf = (buffer: Buffer): ArrayBufferView[] => [
  buffer.subarray(0),
  buffer.subarray(buffer.length >> 1),
  buffer.subarray(buffer.length - 1),
  new Uint8Array(buffer.buffer, buffer.byteOffset, 1),
  new DataView(buffer.buffer, buffer.byteOffset, buffer.length),
  ...(buffer.length >= 8 ? [new Float64Array(buffer.buffer, buffer.byteOffset, 1)] : []),
]

describe.each<ArenaOptions>([
  {},
  { detachFromBytes: 0 },
  { detachFromBytes: Number.POSITIVE_INFINITY },
  { debug: true },
])('an arena that tracks owners (%o)', options => {
  it('finds the very owner from any view', () => {
    const { arena } = open({ ...options, trackOwners: true })
    const buffers = SIZES.flatMap(size => [arena.alloc(size), arena.allocUnsafe(size, { align: 64 })])
    for (const buffer of buffers) {
      expect(arena.ownerOf(buffer)).toBe(buffer)
      for (const view of viewsOf(buffer)) {
        expect(arena.owns(view)).toBe(true)
        expect(arena.ownerOf(view)).toBe(buffer)
      }
    }
    for (const buffer of buffers) arena.free(arena.ownerOf(buffer.subarray(0)) as Buffer)
    arena.check()
    expect(arena.stats().liveBlocks).toBe(0)
    for (const buffer of buffers) expect(arena.ownerOf(buffer)).toBeUndefined()
  })

  it('follows realloc, in place and not', () => {
    const { arena } = open({ ...options, trackOwners: true })
    for (const size of SIZES) {
      let buffer = arena.alloc(size)
      for (const next of [size + 8, size * 2 + 1, size]) {
        buffer = arena.realloc(buffer, next)
        expect(arena.ownerOf(buffer.subarray(next >> 1))).toBe(buffer)
      }
    }
    arena.check()
  })

  it('knows no block that ended, and none of another', () => {
    const { arena } = open({ ...options, trackOwners: true })
    const other = open({ ...options, trackOwners: true }).arena
    for (const size of SIZES) {
      const buffers = [arena.alloc(size), arena.alloc(size), arena.alloc(size)]
      const views = buffers.map(buffer => buffer.subarray(0))
      arena.free(buffers[0])
      arena.pin(buffers[1])
      arena.free(buffers[1])
      for (const view of [views[0], views[1], other.alloc(size).subarray(0), Buffer.alloc(size)]) {
        expect(arena.owns(view)).toBe(false)
        expect(arena.ownerOf(view)).toBeUndefined()
      }
      arena.unpin(buffers[1])
      expect(arena.ownerOf(views[2])).toBe(buffers[2])
    }
    const left = arena.alloc(64)
    const view = left.subarray(0)
    arena.reset()
    expect([arena.owns(left), arena.owns(view)]).toEqual([false, false])
    const after = arena.alloc(64)
    expect(arena.ownerOf(after.subarray(1))).toBe(after)
    const late = after.subarray(0)
    arena.close()
    expect([arena.owns(after), arena.owns(late)]).toEqual([false, false])
    expect(arena.ownerOf(late)).toBeUndefined()
  })
})

describe('ownerOf', () => {
  it('says what to do where owners are not tracked; owns works there too', () => {
    const { arena } = open({ name: 'subject' })
    for (const size of SIZES) {
      const buffer = arena.alloc(size)
      expect(arena.ownerOf(buffer)).toBe(buffer)
      for (const view of viewsOf(buffer)) {
        expect(arena.owns(view)).toBe(true)
        const error = thrownBy(() => arena.ownerOf(view))
        expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_NOT_SUPPORTED' })
        expect(error?.message).toMatch(/'subject'.*trackOwners: true/)
      }
      arena.free(buffer)
      expect(arena.ownerOf(buffer)).toBeUndefined()
    }
  })

  it('takes anything, and runs no script', () => {
    const { arena } = open({ trackOwners: true })
    const buffer = arena.alloc(64)
    const view = buffer.subarray(3)
    for (const name of ['buffer', 'byteOffset', 'byteLength', 'length']) {
      Object.defineProperty(view, name, {
        get() {
          throw new Error('script')
        },
      })
    }
    expect(arena.ownerOf(view)).toBe(buffer)
    for (const value of [null, undefined, 1, 'x', {}, [], new Proxy(buffer, {}), buffer.buffer, () => {}]) {
      expect(arena.owns(value)).toBe(false)
      expect(arena.ownerOf(value)).toBeUndefined()
    }
  })

  it('knows no view of two blocks, nor of what lies between', () => {
    const { arena } = open({ trackOwners: true })
    const [one, two, three] = [arena.alloc(64), arena.alloc(64), arena.alloc(64)]
    const both = new Uint8Array(one.buffer, Math.min(one.byteOffset, two.byteOffset), 128)
    expect(arena.owns(both)).toBe(false)
    expect(arena.owns(new Uint8Array(one.buffer))).toBe(false)
    const { byteOffset } = two
    arena.free(two)
    expect(arena.owns(new Uint8Array(one.buffer, byteOffset, 64))).toBe(false)
    expect(arena.owns(new Uint8Array(one.buffer, one.buffer.byteLength - 1, 1))).toBe(false)
    expect(arena.ownerOf(new Uint8Array(three.buffer, three.byteOffset + 5, 0))).toBe(three)
    const empty = arena.alloc(0)
    expect(arena.ownerOf(empty)).toBe(empty)
    expect(arena.owns(empty.subarray(0))).toBe(false)
  })

  it('holds owners that nobody else does, and not those that are spent', () => {
    const { arena } = open({ trackOwners: true })
    const views = Array.from({ length: 1_000 }, () => arena.alloc(64).subarray(1, 5))
    for (let i = 0; i < 10_000; i++) arena.free(arena.alloc(16 + (i % 4_000)))
    arena.check()
    for (const view of views) arena.free(arena.ownerOf(view) as Buffer)
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('is not to be had with leaks', () => {
    expect(thrownBy(() => open({ trackOwners: true, leaks: 'all' }))?.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(thrownBy(() => open({ trackOwners: 1 as never }))?.code).toBe('ERR_INVALID_ARG_TYPE')
    open({ trackOwners: true, leaks: 'off' })
  })
})

describe('reachOf', () => {
  it('is null for a view of memory that was taken away', () => {
    const memory = new ArrayBuffer(8)
    const view = new DataView(memory)
    structuredClone(memory, { transfer: [memory] })
    expect(reachOf(view)).toBeNull()
  })
})
