/** What `align` promises, through any number of `realloc`s, and what it is for: files opened with `O_DIRECT`. */
import { constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { isMarked, mark, open, thrownBy, type World } from '../support/world.js'

const KINDS: readonly [string, ArenaOptions][] = [
  ['by default', {}],
  ['with no block detached', { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['with every block detached', { detachFromBytes: 0 }],
  ['with debug', { debug: true }],
]

/** Mappings begin on pages, so the place in one tells. */
const isAt = ({ kernel }: World, block: Uint8Array, align: number) =>
  kernel.placeOf(block).offsetBytes % align === 0

describe.each(KINDS)('%s, realloc', (_, options) => {
  it('keeps the alignment, wherever the block goes', () => {
    const world = open(options)
    const { arena } = world
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    for (const align of [32, 64, 512, 4096]) {
      let block: ArenaBuffer = arena.allocUnsafe(64, { align })
      mark(block, align)
      const others: ArenaBuffer[] = []
      for (let i = 0; i < 150; i++) {
        // So that it cannot stay where it is.
        others.push(arena.allocUnsafe(1 + random.below(200)))
        const { length } = block
        block = arena.realloc(block, 1 + random.size(random.oneIn(4) ? 200_000 : 9_000))
        expect(isAt(world, block, align), `OFFHEAP_FUZZ_SEED=${seed}, ${align}`).toBe(true)
        expect(isMarked(block, align, Math.min(length, block.length), length)).toBe(true)
        mark(block, align)
      }
      arena.check()
    }
  })

  it('takes another, which holds from then on', () => {
    const world = open(options)
    const { arena } = world
    arena.allocUnsafe(16)
    let block = arena.realloc(arena.allocUnsafe(100), 120, { align: 256 })
    expect(isAt(world, block, 256)).toBe(true)
    for (const size of [300, 5_000, 100, 90_000]) {
      arena.allocUnsafe(24)
      block = arena.realloc(block, size)
      expect(isAt(world, block, 256)).toBe(true)
    }
    expect(thrownBy(() => arena.realloc(block, 10, { align: 3 }))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(thrownBy(() => arena.realloc(block, 10, 5 as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(block.length).toBe(90_000)
    block = arena.realloc(block, 50_000, { align: 4096 })
    expect(isAt(world, block, 4096)).toBe(true)
    arena.free(block)
    arena.check()
  })

  it('of nothing keeps it too, and so does a scope', () => {
    const world = open(options)
    const { arena } = world
    const scope = arena.scope()
    arena.allocUnsafe(16)
    const empty = scope.allocUnsafe(0, { align: 128 })
    const block = scope.realloc(scope.realloc(empty, 40), 900)
    expect(isAt(world, block, 128)).toBe(true)
    expect(isAt(world, scope.realloc(block, 1_000, { align: 1024 }), 1024)).toBe(true)
    scope.end()
    expect(arena.stats().liveBytes).toBe(16)
  })
})

it('realloc of a block that its options free is refused', () => {
  const { arena } = open()
  const block = arena.allocUnsafe(100)
  const options = {
    get align() {
      arena.free(block)
      return 64
    },
  }
  expect(thrownBy(() => arena.realloc(block, 200, options))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
  expect(arena.stats().liveBlocks).toBe(0)
  arena.check()
})

// Where the build is, since /tmp may be a tmpfs, which knows no O_DIRECT on older kernels.
const directory = mkdtempSync(join(import.meta.dirname, '../../build/direct-'))
const path = join(directory, 'file')
writeFileSync(path, Buffer.alloc(64 * 1024, 0x5a))
const flags = constants.O_RDWR | constants.O_DIRECT
const direct = await openFile(path, flags).catch((error: NodeJS.ErrnoException) => {
  console.log(`O_DIRECT: not tested, the file system of ${directory} says ${error.code}`)
  return null
})

afterAll(async () => {
  await direct?.close()
  rmSync(directory, { recursive: true })
})

describe.skipIf(direct === null)('O_DIRECT', () => {
  const file = direct as FileHandle
  it('reads into and writes from aligned blocks, grown ones too', async () => {
    const { arena } = open()
    let block = arena.allocUnsafe(4096, { align: 4096 })
    for (const size of [4096, 8192, 512, 16_384, 1024, 65_536, 4096]) {
      arena.allocUnsafe(100)
      block = arena.realloc(block, size)
      const { bytesRead } = await arena.lend(block, bytes => file.read(bytes, 0, size, 0))
      expect([bytesRead, block[0], block[size - 1]]).toEqual([size, 0x5a, 0x5a])
      const { bytesWritten } = await arena.lend(block, bytes => file.write(bytes, 0, size, 0))
      expect(bytesWritten).toBe(size)
    }
  })
})
