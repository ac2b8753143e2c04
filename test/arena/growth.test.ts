/**
 * Memory while blocks grow, or each takes the place of another: at every moment, also within one turn of the event loop, an
 * arena holds what is in use, a quarter more, and 8 MiB.
 */
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { hasNoBreak } from '../support/break.js'
import { someOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { isMarked, mark, open } from '../support/world.js'

const KIB = 1024
const MIB = 2 ** 20

/** What takes the place of a block: the longer one, with its contents. */
type Grow = (arena: Arena, block: ArenaBuffer, sizeBytes: number) => ArenaBuffer

const byRealloc: Grow = (arena, block, sizeBytes) => arena.realloc(block, sizeBytes)
const byFree: Grow = (arena, block, sizeBytes) => {
  arena.free(block)
  return arena.allocUnsafe(sizeBytes)
}
const byCopy: Grow = (arena, block, sizeBytes) => {
  const longer = arena.allocUnsafe(sizeBytes)
  longer.set(block)
  arena.free(block)
  return longer
}

/** Grows a block step by step, all of it written; returns the most that was resident over its length, less 8 MiB. */
function growBy(grow: Grow, options: ArenaOptions, from: number, to: number, step: number): number {
  const { arena } = open(options)
  let block = arena.allocUnsafe(from).fill(1)
  let most = 0
  for (let size = from + step; size <= to; size += step) {
    const { length } = block
    block = grow(arena, block, size)
    block.fill(1, grow === byFree ? 0 : length)
    most = Math.max(most, (arena.residentBytes() - 8 * MIB) / size)
  }
  expect(block[0] + block[to >>> 1] + block[block.length - 1]).toBe(3)
  arena.check()
  arena.close()
  return most
}

const KINDS: readonly [string, ArenaOptions][] = [
  ['by default', {}],
  ['with no block detached', { detachFromBytes: Number.POSITIVE_INFINITY }],
  ['released at once', { releaseAfterMs: 0 }],
  ['released by trim only', { releaseAfterMs: Number.POSITIVE_INFINITY }],
  ['with debug', { debug: true }],
  ...(hasNoBreak ? [] : [['over the program break', { source: 'sbrk' }] as [string, ArenaOptions]]),
]

// A sample of the kinds.
describe.each(someOf(KINDS, 2))('%s, within one turn,', (_, options) => {
  // A quarantine is memory in use.
  const quarantine = options.debug === true ? 8 : 0

  it('a block that grows is never twice resident', () => {
    expect(growBy(byRealloc, options, 4 * MIB, 24 * MIB, 512 * KIB)).toBeLessThan(2 + quarantine)
    expect(growBy(byRealloc, options, MIB, 3 * MIB, 16 * KIB)).toBeLessThan(2 + quarantine)
  })

  it('so is one that is freed for a longer one, and hardly more one that is copied', () => {
    expect(growBy(byFree, options, 8 * MIB, 24 * MIB, MIB)).toBeLessThan(1.3 + quarantine)
    // Two are in use.
    expect(growBy(byCopy, options, 8 * MIB, 24 * MIB, MIB)).toBeLessThan(2.5 + quarantine)
  })
})

describe('a block that grows', () => {
  const moves = (bodies: number, from: number, to: number, step: number) => {
    const { arena, kernel } = open()
    const blocks = Array.from({ length: bodies }, () => arena.allocUnsafe(from))
    for (const [tag, block] of blocks.entries()) mark(block, tag)
    let count = 0
    for (let size = from + step; size <= to; size += step) {
      for (let i = 0; i < bodies; i++) {
        const before = kernel.placeOf(blocks[i])
        blocks[i] = arena.realloc(blocks[i], size)
        const after = kernel.placeOf(blocks[i])
        if (before.mapping !== after.mapping || before.offsetBytes !== after.offsetBytes) count++
      }
    }
    for (const [tag, block] of blocks.entries()) expect(isMarked(block, tag, from)).toBe(true)
    arena.check()
    return count / bodies
  }

  it('moves a few times, whatever the step', () => {
    expect(moves(1, 4 * MIB, 64 * MIB, 64 * KIB)).toBeLessThanOrEqual(4)
    expect(moves(1, MIB, 16 * MIB, 8 * KIB)).toBeLessThanOrEqual(6)
    expect(moves(1, 64 * MIB, 512 * MIB, MIB)).toBeLessThanOrEqual(4)
  })

  it('so do several that grow in turn', () => {
    expect(moves(2, MIB, 32 * MIB, 64 * KIB)).toBeLessThanOrEqual(12)
    expect(moves(7, MIB, 16 * MIB, 64 * KIB)).toBeLessThanOrEqual(12)
    expect(moves(40, 128 * KIB, 2 * MIB, 16 * KIB)).toBeLessThanOrEqual(16)
  })

  it('shrinks and grows where it is', () => {
    const { arena, kernel } = open()
    let block = arena.allocUnsafe(16 * MIB)
    arena.allocUnsafe(MIB)
    const place = kernel.placeOf(block)
    for (const size of [4, 12, 3, 16, 1, 16]) {
      block = arena.realloc(block, size * MIB)
      expect(kernel.placeOf(block)).toEqual(place)
    }
  })
})

describe('what is committed', () => {
  // A sample of the promises.
  it.each(someOf([1_000, 200, 0, Number.POSITIVE_INFINITY], 2))(
    'with releaseAfterMs %d is at most 1.25 times the most used of late, and 8 MiB',
    releaseAfterMs => {
      const seed = fuzzSeed()
      const random = randomFrom(seed)
      const { arena, deferral } = open({ releaseAfterMs })
      const blocks: ArenaBuffer[] = []
      const used: { ms: number; bytes: number }[] = []
      for (let step = 0; step < 1_200; step++) {
        const liveBytes = blocks.reduce((bytes, block) => bytes + block.length, 0)
        const size = 1 + random.size(random.oneIn(3) ? 40 * MIB : 2 * MIB)
        const index = random.below(Math.max(1, blocks.length))
        const choice = random.below(10)
        let movedBytes = 0
        if (blocks.length === 0 || (choice < 4 && liveBytes < 150 * MIB)) {
          blocks.push(arena.allocUnsafe(size))
        } else if (choice < 7) {
          arena.free(blocks.splice(index, 1)[0])
        } else if (choice < 9) {
          const old = blocks[index]
          // Where it moves, it is there twice.
          movedBytes = old.length + 65_536
          blocks[index] = arena.realloc(old, random.oneIn(2) ? size : old.length + 65_536)
        } else if (random.oneIn(4)) {
          while (blocks.length > 2) arena.free(blocks.pop() as ArenaBuffer)
        } else {
          deferral.advance(random.below(60))
        }
        if (step % 50 === 0) arena.check()
        const { usedBytes, committedBytes, releaseAfterMs: promiseMs } = arena.stats()
        const ms = deferral.now()
        used.push({ ms, bytes: usedBytes + movedBytes })
        // What traffic wants again and again may stay for a minute.
        const spanMs = promiseMs === 0 ? 0 : Math.max(60_000, promiseMs)
        while (used[0].ms < ms - spanMs) used.shift()
        const most = Math.max(...used.map(({ bytes }) => bytes))
        if (committedBytes > 1.25 * most + 8 * MIB) {
          throw new Error(`OFFHEAP_FUZZ_SEED=${seed}, step ${step}: ${committedBytes} of ${most}`)
        }
      }
    },
  )
})
