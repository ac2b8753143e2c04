/** What the arena says of its pages is what the kernel says of them. */
import { afterEach, describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { FaultyKernel } from '../support/faulty-kernel.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { isMarked, isZero, mark, realWorldWith, worldWith } from '../support/world.js'

const MIB = 2 ** 20
const opened: Arena[] = []
afterEach(() => {
  for (const arena of opened.splice(0)) arena.close()
})

interface Block {
  readonly buffer: Buffer
  readonly tag: number
}

/** Bytes of the pages that these blocks touch, counted without the arena. */
function pagesOf(kernel: FaultyKernel, blocks: Iterable<Block>): Map<number, Set<number>> {
  const pages = new Map<number, Set<number>>()
  for (const { buffer } of blocks) {
    const { mapping, offsetBytes } = kernel.placeOf(buffer)
    const ofMapping = pages.get(mapping) ?? new Set<number>()
    pages.set(mapping, ofMapping)
    const end = offsetBytes + buffer.length
    for (let page = Math.floor(offsetBytes / kernel.pageBytes); page * kernel.pageBytes < end; page++)
      ofMapping.add(page)
  }
  return pages
}

/** Every page but those of `live` is not resident. */
function expectAllElseGivenBack(kernel: FaultyKernel, live: Map<number, Set<number>>): void {
  for (const mapping of kernel.segments.keys()) {
    const pages = live.get(mapping) ?? new Set()
    const resident = [...kernel.residentPages(mapping)].flatMap((is, page) => (is ? [page] : []))
    expect(resident.filter(page => !pages.has(page))).toEqual([])
  }
}

/** Every page but those of `live` reads as zero. Reading puts the kernel's zero page there, which counts as resident. */
function expectAllElseZero(kernel: FaultyKernel, live: Map<number, Set<number>>): void {
  for (const mapping of kernel.segments.keys()) {
    const pages = live.get(mapping) ?? new Set()
    kernel.inspect(mapping, bytes => {
      for (let page = 0; page * kernel.pageBytes < bytes.length; page++) {
        if (pages.has(page)) continue
        const start = page * kernel.pageBytes
        if (!isZero(bytes.subarray(start, start + kernel.pageBytes)))
          throw new Error(`page ${page} is not zero`)
      }
    })
  }
}

const SIZES = [64, 100, 256, 1_000, 1_024, 3_000, 4_096, 5_000, 16_384, 20_000, 65_536, 200_000, MIB]

describe.each([0, undefined, Number.POSITIVE_INFINITY])('detachFromBytes %s: trim', detachFromBytes => {
  it.each(SIZES)('gives back every page without a live byte, and no other (blocks of %i bytes)', size => {
    const { arena, kernel } = worldWith(detachFromBytes === undefined ? {} : { detachFromBytes })
    opened.push(arena)
    const count = Math.ceil((4 * MIB) / size / 8) * 8
    const blocks = new Set<Block>()
    for (let tag = 0; tag < Math.min(count, 4_000); tag++) {
      const buffer = arena.allocUnsafe(size)
      mark(buffer, tag)
      blocks.add({ buffer, tag })
    }
    for (const block of blocks) {
      if (block.tag % 8 === 3) continue
      arena.free(block.buffer)
      blocks.delete(block)
    }
    const { dirtyBytes } = arena.stats()
    expect(arena.trim()).toBe(dirtyBytes)
    const pages = pagesOf(kernel, blocks)
    const pageCount = [...pages.values()].reduce((sum, set) => sum + set.size, 0)
    expect(arena.stats()).toMatchObject({ dirtyBytes: 0, usedBytes: pageCount * kernel.pageBytes })
    expect(arena.residentBytes()).toBe(pageCount * kernel.pageBytes)
    expectAllElseGivenBack(kernel, pages)
    expectAllElseZero(kernel, pages)
    for (const { buffer, tag } of blocks) expect(isMarked(buffer, tag)).toBe(true)
    for (const { buffer } of blocks) arena.free(buffer)
    arena.trim()
    expect(arena.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0, liveBlocks: 0 })
    expectAllElseZero(kernel, new Map())
    arena.check()
  })
})

describe('stats().committedBytes', () => {
  it.each([0, undefined, Number.POSITIVE_INFINITY])(
    'is never below what is resident while everything allocated is touched (detachFromBytes %s)',
    detachFromBytes => {
      const seed = fuzzSeed()
      const random = randomFrom(seed)
      const { arena, kernel, deferral } = worldWith(detachFromBytes === undefined ? {} : { detachFromBytes })
      kernel.isRecording = false
      opened.push(arena)
      const blocks: Buffer[] = []
      for (let step = 0; step < 4_000; step++) {
        const choice = random.below(100)
        if (choice < 50) blocks.push(arena.alloc(random.size(300_000)).fill(1))
        else if (choice < 90 && blocks.length > 0) {
          arena.free(blocks.splice(random.below(blocks.length), 1)[0])
        } else if (choice < 96 && blocks.length > 0) {
          const index = random.below(blocks.length)
          blocks[index] = arena.realloc(blocks[index], random.size(300_000)).fill(2)
        } else if (choice < 98) deferral.advance(random.below(600))
        else if (choice < 99) arena.trim()
        else if (random.oneIn(4)) {
          arena.reset()
          blocks.length = 0
        }
        if (step % 8 === 0) {
          const resident = arena.residentBytes()
          const { committedBytes } = arena.stats()
          expect(resident, `seed ${seed}, step ${step}`).toBeLessThanOrEqual(committedBytes)
        }
      }
      arena.trim()
      const touched = pagesOf(
        kernel,
        blocks.filter(buffer => buffer.length > 0).map(buffer => ({ buffer, tag: 0 })),
      )
      const touchedBytes =
        [...touched.values()].reduce((sum, pages) => sum + pages.size, 0) * kernel.pageBytes
      const { usedBytes } = arena.stats()
      expect(arena.residentBytes(), `seed ${seed}`).toBeGreaterThanOrEqual(touchedBytes)
      expect(arena.residentBytes(), `seed ${seed}`).toBeLessThanOrEqual(usedBytes)
      // The length of a block is rounded up, which in the middle of a page may reach another one: of nobody's bytes.
      expect(usedBytes, `seed ${seed}`).toBeLessThanOrEqual(touchedBytes + blocks.length * kernel.pageBytes)
    },
  )
})

describe('warm allocUnsafe and free', () => {
  it.each([
    [64, undefined],
    [1_024, undefined],
    [32 * 1024, undefined],
    [64 * 1024, Number.POSITIVE_INFINITY],
    [MIB, Number.POSITIVE_INFINITY],
  ])('make no kernel call in 10,000 pairs (%i bytes, detachFromBytes %s)', (size, detachFromBytes) => {
    const { arena, kernel } = realWorldWith(detachFromBytes === undefined ? {} : { detachFromBytes })
    opened.push(arena)
    arena.free(arena.allocUnsafe(size))
    const before = kernel.callCount
    expect(before).toBeGreaterThan(0)
    for (let i = 0; i < 10_000; i++) arena.free(arena.allocUnsafe(size))
    expect(kernel.callCount).toBe(before)
    const many = Array.from({ length: 50 }, () => arena.allocUnsafe(size))
    for (const buffer of many) arena.free(buffer)
    let warm = 0
    for (let round = 0; round < 22; round++) {
      // Which blocks are kept for the next of their size has settled by then.
      if (round === 2) warm = kernel.callCount
      const blocks = many.map(() => arena.allocUnsafe(size))
      for (const buffer of blocks) arena.free(buffer)
    }
    expect(kernel.callCount).toBe(warm)
  })
})

describe('a new arena', () => {
  it('maps nothing before its first block', () => {
    const { arena, kernel } = realWorldWith()
    opened.push(arena)
    arena.free(arena.alloc(0))
    arena.stats()
    arena.trim()
    arena.reset()
    expect(arena.residentBytes()).toBe(0)
    expect(kernel.callCount).toBe(0)
    arena.alloc(1)
    // A segment, and the books of it.
    expect(kernel.counts.map).toBe(2)
  })

  it('does not touch the pages that it maps', () => {
    const { arena, kernel } = realWorldWith()
    opened.push(arena)
    arena.allocUnsafe(1)
    arena.alloc(300_000)
    expect(arena.residentBytes()).toBeLessThanOrEqual(kernel.pageBytes)
  })
})
