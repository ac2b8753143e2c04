/** Huge pages and prefaulted ones, on real memory. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import { isMarked, mark, open, thrownBy } from '../support/world.js'

const MIB = 2 ** 20
const HUGE = 2 * MIB
const PAGE = loadAddon().pageBytes
const UNIT = HUGE / PAGE

/** Resident pages of each 2 MiB of a mapping. */
function perUnit(residency: Uint8Array): number[] {
  return Array.from({ length: residency.length / UNIT }, (_, i) =>
    residency.subarray(i * UNIT, (i + 1) * UNIT).reduce((sum, bit) => sum + bit, 0),
  )
}

describe('hugePages', () => {
  it('aligns segments to 2 MiB and asks for huge pages', () => {
    const { arena, kernel } = open({ hugePages: true })
    for (const size of [100, 5 * MIB, 9 * MIB + 1]) arena.allocUnsafe(size).fill(1)
    expect([kernel.counts.hugepage, kernel.counts.nohugepage]).toEqual([3, 0])
    expect([...kernel.segments.values()].every(length => length % HUGE === 0)).toBe(true)
    if (/\[(always|madvise)\]/.test(readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1'))) {
      const huge = /^AnonHugePages:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
      expect(Number(huge?.[1]) * 1024).toBeGreaterThanOrEqual(HUGE)
    } else console.log('transparent huge pages are off on this machine: none can be had')
  })

  it('gives back whole 2 MiB only, and all of them when nothing lives there', () => {
    const { arena, kernel, deferral } = open({ hugePages: true })
    const blocks = Array.from({ length: 160 }, () => arena.allocUnsafe(100_000).fill(1))
    const kept = blocks.filter((_, i) => i % 40 === 0)
    for (const [i, block] of kept.entries()) mark(block, i + 1)
    for (const block of blocks) if (!kept.includes(block)) arena.free(block)
    deferral.advance(3_000)
    arena.check()
    const stats = arena.stats()
    expect(stats.purgedBytes).toBeGreaterThan(0)
    for (const mapping of kernel.segments.keys()) {
      for (const pages of perUnit(kernel.residentPages(mapping))) expect([0, UNIT]).toContain(pages)
    }
    expect(
      kernel.calls
        .filter(call => call.kind === 'dontneed')
        .every(call => (call.args[1] as number) % HUGE === 0),
    ).toBe(true)
    // What is left shares its 2 MiB with a live block: no timer waits for that.
    expect(stats.dirtyBytes).toBeGreaterThan(0)
    expect(deferral.pendingTimers).toBe(0)
    for (const [i, block] of kept.entries()) {
      expect(isMarked(block, i + 1)).toBe(true)
      arena.free(block)
    }
    deferral.advance(3_000)
    expect(arena.stats()).toMatchObject({ dirtyBytes: 0, usedBytes: 0 })
    expect(arena.residentBytes()).toBe(0)
    expect(deferral.pendingTimers).toBe(0)
    arena.check()
  })

  it('gives a long run back at once, and everything by trim', () => {
    const { arena, deferral } = open({ hugePages: true, releaseAfterMs: 3_600_000 })
    arena.free(arena.allocUnsafe(32 * MIB).fill(1))
    deferral.advance(50)
    expect(arena.residentBytes()).toBe(0)
    const small = arena.allocUnsafe(1_000).fill(1)
    arena.free(arena.allocUnsafe(1_000_000).fill(1))
    arena.free(small)
    arena.trim()
    expect(arena.residentBytes()).toBe(0)
    arena.check()
  })

  it('gives zeros where memory was used before', () => {
    const { arena } = open({ hugePages: true })
    arena.free(arena.allocUnsafe(6 * MIB).fill(9))
    arena.trim()
    expect(arena.alloc(6 * MIB).every(byte => byte === 0)).toBe(true)
  })
})

describe('prefault', () => {
  it('makes a segment resident when it is mapped, and counts it as dirty', () => {
    const { arena, kernel, deferral } = open({ prefault: true })
    const block = arena.alloc(100)
    const { mappedBytes, committedBytes } = arena.stats()
    expect(arena.residentBytes()).toBe(mappedBytes)
    expect(committedBytes).toBe(mappedBytes)
    expect(kernel.counts.populate).toBe(1)
    expect(block.every(byte => byte === 0)).toBe(true)
    deferral.advance(3_600_000)
    expect(arena.residentBytes()).toBe(mappedBytes)
    arena.check()
  })

  it('faults no more', () => {
    const { arena } = open({ prefault: true, detachFromBytes: Number.POSITIVE_INFINITY })
    arena.free(arena.allocUnsafe(32 * MIB))
    const before = process.resourceUsage().minorPageFault
    arena.allocUnsafe(32 * MIB).fill(1)
    expect(process.resourceUsage().minorPageFault - before).toBeLessThan((32 * MIB) / PAGE / 10)
  })

  it('stops at the limit', () => {
    const { arena } = open({ prefault: true, limitBytes: MIB })
    arena.allocUnsafe(1_000)
    expect(arena.stats()).toMatchObject({ committedBytes: MIB })
    expect(arena.residentBytes()).toBe(MIB)
    arena.free(arena.allocUnsafe(MIB / 2))
    arena.check()
  })

  it('leaves nothing behind where the kernel refuses', () => {
    const { arena, kernel } = open({ prefault: true })
    kernel.failNth('populate', 1)
    expect(thrownBy(() => arena.allocUnsafe(100))).toMatchObject({ code: 'ERR_ARENA_OUT_OF_MEMORY' })
    expect(arena.stats()).toMatchObject({ segments: 0, mappedBytes: 0, liveBlocks: 0 })
    arena.check()
    expect(arena.allocUnsafe(100).length).toBe(100)
    arena.check()
  })
})
