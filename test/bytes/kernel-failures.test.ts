/**
 * The kernel refuses each call in turn while bytes come in or a pool hands out. Whoever waits is told, no block is left, and
 * the next call of the same kind succeeds.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { afterAll, describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { IS_ALL } from '../support/extent.js'
import type { FailingKind, FaultyKernel } from '../support/faulty-kernel.js'
import { realWorldWith, turns } from '../support/world.js'

const MAX_N = 50
const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'offheap-kernel-failures-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'file')
writeFileSync(file, Buffer.alloc(9 * MIB, 7))

const bytes = Buffer.alloc(MIB, 7)
const chunks = Array.from({ length: 40 }, (_, i) => bytes.subarray(0, 1_000 * i))
const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)

/** Each makes one block of so many bytes, all 7, or rejects. */
const CALLS: [string, number, (arena: Arena) => Buffer | Promise<Buffer>][] = [
  ['from', MIB, arena => arena.from(bytes)],
  ['from an iterable', 70_000, arena => arena.from(sevens())],
  ['concat', length, arena => arena.concat(chunks)],
  ['collect of a stream', length, arena => arena.collect(Readable.from(chunks), { maxBytes: 2 * MIB })],
  [
    'collect of a stream of the web',
    length,
    arena => arena.collect(ReadableStream.from(chunks), { maxBytes: 2 * MIB }),
  ],
  ['readFile', 9 * MIB, arena => arena.readFile(file)],
]

function* sevens(): Generator<number> {
  for (let i = 0; i < 70_000; i++) yield 7
}

/** The kinds of calls without which no block can be made. */
const KINDS: FailingKind[] = ['map', 'wrap']

/** Runs `body` with the N-th call of each kind refused, until there is no N-th one. Nothing is mapped afterwards. */
async function forEachRefusal(
  options: ArenaOptions,
  body: (arena: Arena, kernel: FaultyKernel) => Promise<void>,
): Promise<void> {
  for (const kind of KINDS) {
    for (let n = 1; n <= MAX_N; n += IS_ALL ? 1 : 1 + (n % 3)) {
      const { arena, kernel } = realWorldWith(options)
      kernel.failNth(kind, n)
      await body(arena, kernel)
      const hasFailed = kernel.failures > 0
      arena.close()
      await turns()
      expect(kernel.mappings.size).toBe(0)
      if (!hasFailed) break
    }
  }
}

describe.each([
  ['by default', {}],
  ['with every block detached', { detachFromBytes: 0 }],
  ['with debug', { debug: true }],
])('with a kernel that refuses, %s', (_, options) => {
  it.each(CALLS)('%s leaves no block, and succeeds the next time', async (_, size, call) => {
    let failed = 0
    await forEachRefusal(options, async (arena, kernel) => {
      try {
        arena.free(await call(arena))
        // Where no block of the length wanted could be had, a shorter one did.
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_ARENA_OUT_OF_MEMORY' })
        expect(kernel.failures).toBe(1)
        failed++
      }
      arena.check()
      expect(arena.stats().liveBlocks).toBe(0)
      kernel.allow()
      const block = await call(arena)
      expect(block.length).toBe(size)
      expect(block.every(byte => byte === 7)).toBe(true)
    })
    expect(failed).toBeGreaterThan(0)
  })

  it('acquire hands nothing out, and succeeds the next time', async () => {
    let failed = 0
    await forEachRefusal(options, async (arena, kernel) => {
      const pool = arena.pool(100_000)
      const acquired: Buffer[] = []
      for (let i = 0; i < 60; i++) {
        try {
          acquired.push(pool.acquire())
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_ARENA_OUT_OF_MEMORY' })
          expect(kernel.failures).toBe(1)
          failed++
        }
        arena.check()
        expect(arena.stats().liveBlocks).toBe(acquired.length)
        expect(arena.stats().acquiredBlocks).toBe(acquired.length)
      }
      for (const buffer of acquired) pool.release(buffer)
    })
    expect(failed).toBeGreaterThan(0)
  })
})
