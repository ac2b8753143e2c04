import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { isMarked, mark, thrownBy } from '../support/world.js'

const SIZES = [0, 1, 64, 1_000, 5_000, 64 * 1024 - 1, 64 * 1024, 300_000]

let arenas: Arena[] = []
afterEach(() => {
  for (const arena of arenas) arena.close()
  arenas = []
})

/** An arena with live blocks of every size, and what proves that a misuse did them no harm. */
function arenaWithBlocks(detachFromBytes?: number) {
  const arena = new Arena({ name: 'subject', ...(detachFromBytes === undefined ? {} : { detachFromBytes }) })
  arenas.push(arena)
  const blocks = SIZES.map((size, index) => {
    const block = arena.allocUnsafe(size)
    mark(block, index)
    return block
  })
  const before = arena.stats()
  const expectUnharmed = (): void => {
    arena.check()
    expect(arena.stats()).toEqual(before)
    blocks.forEach((block, index) => {
      expect(block.length).toBe(SIZES[index])
      expect(isMarked(block, index)).toBe(true)
    })
  }
  return { arena, blocks, expectUnharmed }
}

describe.each([undefined, 0, 1024 * 1024, Number.POSITIVE_INFINITY])(
  'detachFromBytes %s',
  detachFromBytes => {
    it.each(SIZES)('refuses the second free of %i bytes', size => {
      const { arena, blocks } = arenaWithBlocks(detachFromBytes)
      const block = arena.allocUnsafe(size)
      arena.free(block)
      const before = arena.stats()
      for (const method of ['free', 'realloc'] as const) {
        const error = thrownBy(() => arena[method](block, 10))
        expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_DOUBLE_FREE' })
        expect(error?.message).toContain("arena 'subject'")
        expect(error?.message).toContain(method)
      }
      expect(arena.stats()).toEqual(before)
      arena.free(blocks.pop() as Buffer)
      expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      arena.check()
    })

    it('refuses the second free after the slot was handed out again', () => {
      const { arena } = arenaWithBlocks(detachFromBytes)
      const first = arena.allocUnsafe(64)
      arena.free(first)
      const second = arena.allocUnsafe(64)
      mark(second, 5)
      expect(thrownBy(() => arena.free(first))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(isMarked(second, 5)).toBe(true)
      arena.free(second)
      arena.check()
    })

    it.each(SIZES)('refuses a realloc result freed twice, and the spent buffer (%i bytes)', size => {
      const { arena } = arenaWithBlocks(detachFromBytes)
      const old = arena.allocUnsafe(size)
      const grown = arena.realloc(old, size + 1)
      expect(thrownBy(() => arena.free(old))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      arena.free(grown)
      expect(thrownBy(() => arena.free(grown))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      arena.check()
    })

    it('refuses views of a block, which are not its owner', () => {
      const { arena, blocks, expectUnharmed } = arenaWithBlocks(detachFromBytes)
      for (const block of blocks.slice(1)) {
        const views = [
          block.subarray(),
          block.subarray(1),
          block.slice(0, 1),
          Buffer.from(block.buffer, block.byteOffset, block.length),
          new Uint8Array(block.buffer, block.byteOffset, block.length),
          new DataView(block.buffer, block.byteOffset, block.length) as unknown as Uint8Array,
        ]
        for (const view of views) {
          for (const method of ['free', 'realloc'] as const) {
            const error = thrownBy(() => arena[method](view, 1))
            expect(error?.code).toBe('ERR_ARENA_NOT_OWNER')
            expect(error?.message).toContain("arena 'subject'")
          }
        }
      }
      expectUnharmed()
    })

    it('refuses copies, plain Buffers and objects made to look like a block', () => {
      const { arena, blocks, expectUnharmed } = arenaWithBlocks(detachFromBytes)
      const block = blocks[3]
      const forged = Object.assign(Buffer.alloc(block.length), Object.getOwnPropertyDescriptors(block))
      for (const foreign of [
        Buffer.alloc(64),
        Buffer.allocUnsafe(64),
        Buffer.from(block),
        new Uint8Array(block),
        Buffer.alloc(0),
        forged,
      ]) {
        expect(thrownBy(() => arena.free(foreign))?.code).toBe('ERR_ARENA_FOREIGN_BUFFER')
        expect(thrownBy(() => arena.realloc(foreign, 1))?.code).toBe('ERR_ARENA_FOREIGN_BUFFER')
      }
      const proxy = new Proxy(block, {})
      expect(thrownBy(() => arena.free(proxy))?.code).toBe('ERR_INVALID_ARG_TYPE')
      expect(thrownBy(() => arena.free(Object.create(block)))?.code).toBe('ERR_INVALID_ARG_TYPE')
      expectUnharmed()
    })

    it.each([undefined, null, 0, 64, '64', true, {}, [], new ArrayBuffer(8), () => {}, Symbol('block')])(
      'refuses what is no view at all: %s',
      value => {
        const { arena, expectUnharmed } = arenaWithBlocks(detachFromBytes)
        for (const method of ['free', 'realloc'] as const) {
          const error = thrownBy(() => arena[method](value as unknown as Buffer, 1))
          expect(error).toBeInstanceOf(TypeError)
          expect(error?.code).toBe('ERR_INVALID_ARG_TYPE')
        }
        expectUnharmed()
      },
    )

    it("refuses another arena's blocks and names both arenas", () => {
      const { arena, expectUnharmed } = arenaWithBlocks(detachFromBytes)
      const other = new Arena({ name: 'elsewhere' })
      arenas.push(other)
      for (const size of SIZES) {
        const block = other.allocUnsafe(size)
        for (const method of ['free', 'realloc'] as const) {
          const error = thrownBy(() => arena[method](block, 1))
          expect(error?.code).toBe('ERR_ARENA_FOREIGN_BUFFER')
          expect(error?.message).toMatch(/'subject'.*'elsewhere'/)
        }
        other.free(block)
      }
      expectUnharmed()
      other.check()
    })

    it('refuses buffers from before reset, even where their slot is in use again', () => {
      const { arena, blocks } = arenaWithBlocks(detachFromBytes)
      arena.reset()
      const again = SIZES.map((size, index) => {
        const block = arena.allocUnsafe(size)
        mark(block, index)
        return block
      })
      const before = arena.stats()
      for (const stale of blocks) {
        expect(stale.length).toBe(0)
        expect(thrownBy(() => arena.free(stale))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
        expect(thrownBy(() => arena.realloc(stale, 64))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      }
      expect(arena.stats()).toEqual(before)
      again.forEach((block, index) => {
        expect(isMarked(block, index)).toBe(true)
      })
      arena.check()
    })

    it('refuses every call but stats, check and close after close', () => {
      const { arena, blocks } = arenaWithBlocks(detachFromBytes)
      arena.close()
      const calls: [string, () => unknown][] = [
        ['alloc', () => arena.alloc(0)],
        ['alloc', () => arena.alloc(64)],
        ['allocUnsafe', () => arena.allocUnsafe(64)],
        ['tryAlloc', () => arena.tryAlloc(64)],
        ['tryAllocUnsafe', () => arena.tryAllocUnsafe(64)],
        ['realloc', () => arena.realloc(blocks[2], 64)],
        ['free', () => arena.free(blocks[2])],
        ['free', () => arena.free(blocks[0])],
        ['reset', () => arena.reset()],
        ['trim', () => arena.trim()],
        ['residentBytes', () => arena.residentBytes()],
      ]
      for (const [name, call] of calls) {
        const error = thrownBy(call)
        expect(error?.code, name).toBe('ERR_ARENA_CLOSED')
        expect(error?.message, name).toContain("arena 'subject'")
      }
      expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, mappedBytes: 0, segments: 0 })
      arena.close()
      arena.check()
    })
  },
)

it('leaves a block whose Buffer was given other properties as it is', () => {
  const { arena } = arenaWithBlocks()
  const block = arena.allocUnsafe(100)
  for (const name of ['length', 'byteLength', 'byteOffset', 'buffer']) {
    Object.defineProperty(block, name, { value: 1 })
  }
  arena.free(block)
  expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
  expect(arena.stats().liveBlocks).toBe(SIZES.length)
  arena.check()
})

it('zero-fills a block although Buffer.prototype.fill was replaced', () => {
  const { arena } = arenaWithBlocks()
  const dirty = arena.allocUnsafe(1_000)
  dirty.fill(7)
  arena.free(dirty)
  const { fill } = Uint8Array.prototype
  const bufferFill = Buffer.prototype.fill
  const doNothing = function (this: Buffer) {
    return this
  } as never
  Uint8Array.prototype.fill = doNothing
  Buffer.prototype.fill = doNothing
  try {
    expect(arena.alloc(1_000).every(byte => byte === 0)).toBe(true)
  } finally {
    Uint8Array.prototype.fill = fill
    Buffer.prototype.fill = bufferFill
  }
})
