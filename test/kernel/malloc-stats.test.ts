/** What malloc says of itself, and which memory is its own, in real processes under each allocator. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import type { MallocStats } from '../../src/memory/malloc.js'
import { isMusl } from '../support/libc.js'
import { libraryOf, PRELOADED } from '../support/mallocs.js'
import { NODES, runNode } from '../support/process.js'

const CHILD = fileURLToPath(new URL('children/malloc-stats.mjs', import.meta.url))
const MIB = 2 ** 20

type Stats = Record<'before' | 'during' | 'after', MallocStats>

async function statsUnder(preload: string, node = process.execPath): Promise<Stats> {
  const variables = { LD_PRELOAD: preload }
  const { code, stdout, stderr } = await runNode(['--expose-gc', CHILD], '', node, variables)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

function difference(from: MallocStats, to: MallocStats, of: keyof MallocStats): number {
  return ((to[of] as number) - (from[of] as number)) / MIB
}

describe.each(NODES.map(line => [line.version, line.path]))('mallocStats on %s', (_version, node) => {
  it.skipIf(isMusl)("tells of glibc's", async () => {
    const { before, during, after } = await statsUnder('', node)
    expect(difference(before, during, 'inUseBytes')).toBeGreaterThan(63)
    expect(difference(before, during, 'inUseBytes')).toBeLessThan(80)
    expect(difference(before, during, 'mappedBytes')).toBeGreaterThan(55)
    expect(difference(during, after, 'inUseBytes')).toBeLessThan(-30)
  })

  for (const { name, file } of PRELOADED) {
    it(`tells of ${name}'s`, async () => {
      const { before, during, after } = await statsUnder(file, node)
      expect(difference(before, during, 'mappedBytes')).toBeGreaterThan(30)
      if (name === 'mimalloc') return expect(during).toMatchObject({ inUseBytes: null, freeBytes: null })
      expect(difference(before, during, 'inUseBytes')).toBeGreaterThan(60)
      expect(difference(during, after, 'inUseBytes')).toBeLessThan(-30)
      for (const { inUseBytes, freeBytes, mappedBytes } of [before, during, after])
        expect((inUseBytes as number) + (freeBytes as number)).toBe(mappedBytes)
    })
  }
})

describe('mallocStats', () => {
  const debug = libraryOf('c_malloc_debug.so.0')
  const hasDebug = existsSync(debug)
  if (!hasDebug) console.warn(`a case is left out: ${debug} comes with glibc 2.34 and later`)
  it.skipIf(!hasDebug)('tells nothing of a malloc that is not known', async () => {
    const { during } = await statsUnder(debug)
    expect(during).toEqual({ inUseBytes: null, freeBytes: null, mappedBytes: null })
  })
})

describe('mallocBytesIn', () => {
  const addon = loadAddon()

  function bounds(): Float64Array {
    const lines = readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)
    return new Float64Array([...lines].flatMap(([, start, end]) => [parseInt(start, 16), parseInt(end, 16)]))
  }

  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, each) => total + each, 0)

  it.skipIf(isMusl)('finds chunks with mappings of their own, and no other memory', () => {
    const before = sum(addon.mallocBytesIn(bounds()))
    // Longer than the threshold can get (32 MiB), so that each has a mapping of its own.
    const chunks = Array.from({ length: 3 }, () => Buffer.allocUnsafeSlow(40 * MIB))
    const own = addon.map(40 * MIB)
    const after = sum(addon.mallocBytesIn(bounds()))
    addon.unmap(own)
    expect(chunks.length * 40).toBe(120)
    expect((after - before) / MIB).toBeGreaterThan(119)
    expect((after - before) / MIB).toBeLessThan(130)
  })

  it('finds nothing where nothing is mapped, and in what is no stretch of pages', () => {
    const isGlibc = addon.mallocName() === 'glibc'
    expect([
      ...addon.mallocBytesIn(new Float64Array([0, 0, 4096, 8192, 4097, 9000, -1, 5, 5, Number.NaN])),
    ]).toEqual([0, isGlibc ? 0 : 4096, 0, 0, 0])
    expect(() => addon.mallocBytesIn([0, 1] as unknown as Float64Array)).toThrow(TypeError)
  })
})
