/** `reclaim` in real processes: under each malloc, with live blocks between what is free, many times and in many threads. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { reclaim } from '../../src/index.js'
import type { ReclaimReport } from '../../src/process/reclaim.js'
import { isMusl } from '../support/libc.js'
import { PRELOADED } from '../support/mallocs.js'
import { NODES, runNode } from '../support/process.js'

const MIB = 2 ** 20
const MALLOCS = fileURLToPath(new URL('../kernel/children/mallocs.c', import.meta.url))

interface Fragmented {
  startBytes: number
  byteSum: number
  liveBytes: number
  beforeBytes: number
  afterBytes: number
  leftBytes: number
  grownBytes: number
  torn: number
  report: ReclaimReport | null
}

async function fragmented(
  args: (number | string)[],
  variables: Record<string, string> = {},
  node = process.execPath,
): Promise<Fragmented> {
  const child = fileURLToPath(new URL('children/fragmented.mjs', import.meta.url))
  const outcome = await runNode(['--expose-gc', child, ...args.map(String)], '', node, variables)
  expect(outcome).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(outcome.stdout)
}

async function run(name: string, args: string[] = [], node = process.execPath): Promise<string> {
  const child = fileURLToPath(new URL(`children/${name}`, import.meta.url))
  const outcome = await runNode([child, ...args], '', node)
  expect(outcome).toMatchObject({ code: 0, stderr: '' })
  return outcome.stdout
}

/** Sizes of blocks, and the share of their free bytes that lies in whole pages: what can go back. */
const SIZES = [
  ['4 to 128 KiB', 4096, 131_072, 0.9],
  ['64 KiB', 65_536, 65_537, 0.9],
  ['8 KiB', 8192, 8193, 0.45],
  ['1 to 12 KiB', 1024, 12_288, 0.4],
] as const

describe.each(NODES.map(line => [line.version, line.path]))(
  'free memory of malloc on %s',
  (_version, node) => {
    it.skipIf(isMusl).each(SIZES)(
      'goes back between live blocks of %s',
      async (_name, least, most, share) => {
        const found = await fragmented([least, most, 160, 2, 'reclaim'], {}, node)
        const { report, byteSum, liveBytes, beforeBytes, afterBytes, leftBytes, torn } = found
        expect(report?.malloc.name).toBe('glibc')
        expect(beforeBytes - afterBytes).toBeGreaterThan(share * (byteSum - liveBytes))
        expect(report?.malloc.releasedBytes).toBeGreaterThan(share * (byteSum - liveBytes))
        expect(torn).toBe(0)
        // As much as glibc's own trim would give back, with the lock of the arena held.
        expect(leftBytes).toBeLessThan(2 * MIB)
      },
    )
  },
)

describe.skipIf(isMusl)('the arena that malloc has for a Worker', () => {
  it.each(SIZES)('goes back between live blocks of %s', async (_name, least, most, share) => {
    const found = await fragmented([least, most, 160, 2, 'reclaim', 'worker'])
    const { report, byteSum, liveBytes, leftBytes, torn } = found
    expect(report?.malloc.releasedBytes).toBeGreaterThan(share * (byteSum - liveBytes))
    expect(leftBytes).toBeLessThan(6 * MIB)
    expect(torn).toBe(0)
  })
})

describe.skipIf(isMusl)('where an arena has the program break', () => {
  it.each(SIZES)('free memory between blocks of %s goes back', async (_name, least, most, share) => {
    // malloc has mappings of its own for its arena then. Else it would map each block.
    const variables = { MALLOC_MMAP_THRESHOLD_: '33554432' }
    const found = await fragmented([least, most, 160, 2, 'again', 'break'], variables)
    const first = await fragmented([least, most, 160, 2, 'reclaim', 'break'], variables)
    const { report, byteSum, liveBytes, torn } = first
    expect(report?.malloc.releasedBytes).toBeGreaterThan(0.8 * share * (byteSum - liveBytes))
    expect(torn).toBe(0)
    // glibc reserves 64 MiB of addresses for each thread of the pool. Beyond that nothing new is taken.
    for (const { grownBytes } of [first, found]) expect(grownBytes).toBeLessThan(400 * MIB)
  })
})

describe('reclaim', () => {
  it.skipIf(isMusl)('gives all back that was once used and is free', async () => {
    const { startBytes, afterBytes } = await fragmented([1024, 131_072, 200, 0, 'reclaim'])
    expect(afterBytes - startBytes).toBeLessThan(12 * MIB)
  })

  it('leaves malloc alone if it is not called', async () => {
    const { beforeBytes, afterBytes, report } = await fragmented([4096, 131_072, 160, 2, 'nothing'])
    expect(report).toBeNull()
    expect(afterBytes).toBeGreaterThan(0.95 * beforeBytes)
  })

  it.skipIf(isMusl)('looks at the clock after each chunk that it takes', async () => {
    const child = fileURLToPath(new URL('children/slices.mjs', import.meta.url))
    const outcome = await runNode(['--expose-gc', child], '')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    const { chunks, slices } = JSON.parse(outcome.stdout)
    expect(slices).toBeGreaterThan(0.9 * chunks)
  })

  it('finds nothing the second time', async () => {
    const { report } = await fragmented([4096, 131_072, 160, 2, 'again'])
    expect(report?.arenas.releasedBytes).toBe(0)
    expect(report?.releasedBytes).toBeLessThan(MIB)
    expect(report?.malloc.releasedBytes).toBeLessThan(MIB)
  })

  it.skipIf(isMusl)('works where malloc fills what it hands out', async () => {
    const { report, byteSum, liveBytes, torn } = await fragmented([4096, 131_072, 160, 2, 'reclaim'], {
      MALLOC_PERTURB_: '85',
    })
    expect(report?.malloc.releasedBytes).toBeGreaterThan(0.9 * (byteSum - liveBytes))
    expect(torn).toBe(0)
  })

  it.skipIf(isMusl).each([
    ['MALLOC_ARENA_MAX', '1'],
    ['MALLOC_ARENA_MAX', '2'],
    ['MALLOC_MMAP_THRESHOLD_', '33554432'],
    ['MALLOC_TRIM_THRESHOLD_', '1073741824'],
    ['MALLOC_TOP_PAD_', '67108864'],
  ])('works with %s=%s', async (name, value) => {
    const found = await fragmented([4096, 131_072, 160, 2, 'reclaim'], { [name]: value })
    const { report, byteSum, liveBytes, leftBytes, torn } = found
    expect(report?.malloc.releasedBytes).toBeGreaterThan(0.9 * (byteSum - liveBytes))
    expect(leftBytes).toBeLessThan(2 * MIB)
    expect(torn).toBe(0)
  })

  for (const { name, file } of PRELOADED) {
    it(`has ${name} give back what is free, where it was preloaded`, async () => {
      const found = await fragmented([4096, 131_072, 160, 0, 'reclaim'], { LD_PRELOAD: file })
      const { report, beforeBytes, afterBytes, startBytes } = found
      expect(report?.malloc.name).toBe(name)
      // mimalloc (2.0.9) gives back what lies in segments that are wholly free, and the rest as the program goes on allocating.
      if (name === 'mimalloc') expect(afterBytes).toBeLessThan(beforeBytes - 8 * MIB)
      else expect(afterBytes - startBytes).toBeLessThan(0.5 * 160 * MIB)
    })
  }

  it('leaves an unknown malloc alone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'offheap-reclaim-'))
    afterAll(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'wrapper.so')
    execFileSync('gcc', ['-shared', '-fPIC', '-O1', '-DWRAPPER', '-o', file, MALLOCS, '-ldl'])
    const { report, byteSum, liveBytes } = await fragmented([4096, 131_072, 160, 2, 'reclaim'], {
      LD_PRELOAD: file,
    })
    expect(report?.malloc).toMatchObject({ name: 'none' })
    expect(report?.releasedBytes).toBeLessThan(0.1 * (byteSum - liveBytes))
  })

  it('can be called ten thousand times while blocks come and go', async () => {
    const { halfBytes, endBytes } = JSON.parse(await run('many-calls.mjs'))
    expect(endBytes - halfBytes).toBeLessThan(16 * MIB)
  }, 300_000)

  it.each(NODES.map(line => [line.version, line.path]))(
    'runs in many threads that end, on %s',
    async (_, node) => {
      expect(Number(await run('many-threads.mjs', ['4'], node))).toBeGreaterThan(8)
    },
  )

  it('has the arenas of other threads give back what is free', async () => {
    const { before, after } = JSON.parse(await run('workers-arena.mjs'))
    expect(before).toBeGreaterThan(2 * MIB)
    expect(after).toBe(0)
  })

  it('refuses options that it does not have', async () => {
    await expect(reclaim({ collectGarbage: 'full' as 'major' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining("'none', 'minor' or 'major'"),
    })
    await expect(reclaim({ collectGarbag: 'major' } as object)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining('collectGarbage'),
    })
    await expect(reclaim(null as unknown as object)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })
})
