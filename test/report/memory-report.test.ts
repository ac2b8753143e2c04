/** Reports of real processes: that they add up, and that what grows is the part that took the memory. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { MemoryReport } from '../../src/index.js'
import { isMusl } from '../support/libc.js'
import { PRELOADED } from '../support/mallocs.js'
import { NODES, runNode } from '../support/process.js'

const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'offheap-report-'))
afterAll(() => rmSync(folder, { recursive: true }))
const childPath = (name: string) => fileURLToPath(new URL(`children/${name}.mjs`, import.meta.url))

interface Look {
  step: string
  report: MemoryReport
  /** What the kernel counted just before and just after. */
  rss: [before: number, after: number]
}

async function looksOf(name: string, args: string[], preload = '', node = process.execPath): Promise<Look[]> {
  const { code, stdout, stderr } = await runNode([childPath(name), ...args], '', node, {
    LD_PRELOAD: preload,
  })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

const partsOf = ({ arenas, malloc, v8, files, stacks, rest }: MemoryReport) => ({
  arenas,
  malloc,
  v8,
  files,
  stacks,
  rest,
})

/** Every number anywhere in it. */
function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(numbersIn) : []
}

/** The sums of a report, and that it says what the kernel counts. */
function checkSums({ step, report, rss }: Look): void {
  const parts = Object.values(partsOf(report)).map(part => part.residentBytes)
  expect(
    parts.reduce((sum, bytes) => sum + bytes, 0),
    step,
  ).toBe(report.residentBytes)
  const { arenas, malloc, v8 } = report
  const listed = arenas.list.reduce((sum, arena) => sum + arena.residentBytes, 0)
  expect(listed + arenas.booksResidentBytes + arenas.otherResidentBytes, step).toBe(arenas.residentBytes)
  expect(malloc.breakResidentBytes + malloc.mappingsResidentBytes, step).toBe(malloc.residentBytes)
  expect(
    v8.spaces.reduce((sum, space) => sum + space.usedBytes, 0),
    step,
  ).toBe(v8.usedBytes)
  for (const number of numbersIn(report)) expect(number, step).toBeGreaterThanOrEqual(0)
  // Between what the kernel counted before and after it, and 2 % around that.
  expect(report.residentBytes, step).toBeGreaterThan(0.98 * Math.min(...rss))
  expect(report.residentBytes, step).toBeLessThan(1.02 * Math.max(...rss))
}

/** How many MiB each part grew by from one look to the next. */
function growth(from: Look, to: Look): Record<string, number> {
  const before = partsOf(from.report)
  const after = partsOf(to.report)
  return Object.fromEntries(
    (Object.keys(after) as (keyof typeof after)[]).map(part => [
      part,
      (after[part].residentBytes - before[part].residentBytes) / MIB,
    ]),
  )
}

/** That this part took the memory, and no other one did. V8 may give garbage of an earlier step back meanwhile. */
function expectGrowth(looks: Look[], step: string, part: string, mib: number): void {
  const index = looks.findIndex(look => look.step === step)
  const grown = growth(looks[index - 1], looks[index])
  expect(grown[part], `${step}: ${JSON.stringify(grown)}`).toBeGreaterThan(0.95 * mib - 2)
  expect(grown[part], `${step}: ${JSON.stringify(grown)}`).toBeLessThan(1.05 * mib + 8)
  for (const [other, grownMib] of Object.entries(grown)) {
    if (other === part) continue
    expect(grownMib, `${step}: ${JSON.stringify(grown)}`).toBeLessThan(8)
    if (other !== 'v8') expect(grownMib, `${step}: ${JSON.stringify(grown)}`).toBeGreaterThan(-8)
  }
}

/** What V8 says that its spaces hold resident. With garbage, of which V8 leaves more or less. */
function heapMib({ report }: Look): number {
  return report.v8.spaces.reduce((sum, space) => sum + space.residentBytes, 0) / MIB
}

const WAYS: [string, string][] = [
  ['', ''],
  ...PRELOADED.map(({ name, file }): [string, string] => [name, file]),
]
const ON_NODES = NODES.flatMap(({ version, path }) =>
  WAYS.map(([malloc, file]) => ({ version, path, malloc: malloc || (isMusl ? 'none' : 'glibc'), file })),
)

describe.each(ON_NODES)('memoryReport on $version with $malloc', ({ path, malloc, file }) => {
  it('adds up, and says what grew', async () => {
    const steps = 'start,short Buffers,long Buffers,objects,arena,Worker'
    const looks = await looksOf('growth', [steps], file, path)
    for (const look of looks) {
      checkSums(look)
      expect(look.report.malloc.name).toBe(malloc)
      // What nobody explains is little.
      expect(look.report.rest.residentBytes / MIB, look.step).toBeLessThan(2)
    }
    expectGrowth(looks, 'short Buffers', 'malloc', 64)
    expectGrowth(looks, 'long Buffers', 'malloc', 64)
    expectGrowth(looks, 'objects', 'v8', heapMib(looks[3]) - heapMib(looks[2]))
    expectGrowth(looks, 'arena', 'arenas', 64)

    const [{ report: first }, , , , { report: withArena }, { report: withWorker }] = looks
    expect(first.arenas.list).toEqual([])
    expect(withArena.arenas.list).toMatchObject([
      { name: 'grown', isHere: true, usedBytes: 63 * MIB, freeBytes: MIB, residentBytes: 64 * MIB },
    ])
    expect(withWorker.arenas.list).toMatchObject([
      { name: 'grown', isHere: true, residentBytes: 64 * MIB },
      { name: 'of the Worker', isHere: false, usedBytes: null, freeBytes: null, residentBytes: 32 * MIB },
    ])
    // 16 MiB in Buffers, 16 in objects, 32 in its arena, and what a Worker takes by itself.
    const grown = growth(looks[4], looks[5])
    expect(grown.malloc).toBeGreaterThan(15)
    expect(grown.v8).toBeGreaterThan(15)
    expect(grown.arenas).toBeGreaterThan(31)
    // Spaces are of this thread.
    expect(withWorker.v8.usedBytes - withArena.v8.usedBytes).toBeLessThan(8 * MIB)
  })

  it('adds up under load', async () => {
    const looks = await looksOf('server', [], file, path)
    expect(looks.length).toBe(20)
    expect(looks.filter(({ step }) => !step.startsWith('0 ')).length).toBeGreaterThan(15)
    for (const look of looks) {
      checkSums(look)
      expect(look.report.rest.residentBytes / MIB, look.step).toBeLessThan(2)
    }
  })
})

describe('memoryReport', () => {
  it.skipIf(isMusl)('tells an arena above the program break from malloc below it', async () => {
    const looks = await looksOf('growth', ['start,short Buffers,sbrk arena,long Buffers'])
    for (const look of looks) checkSums(look)
    expectGrowth(looks, 'sbrk arena', 'arenas', 64)
    expectGrowth(looks, 'long Buffers', 'malloc', 64)
    expect(looks[2].report.arenas.list).toMatchObject([{ name: 'break', residentBytes: 64 * MIB }])
  })

  it.skipIf(isMusl)("takes memory that a library mapped for itself for nobody's", async () => {
    const library = join(folder, 'foreign.so')
    const source = fileURLToPath(new URL('children/foreign.c', import.meta.url))
    execFileSync('gcc', ['-shared', '-fPIC', '-o', library, source])
    const [own] = await looksOf('growth', ['start'], library)
    checkSums(own)
    expect(own.report.rest.residentBytes / MIB).toBeGreaterThan(31)
    expect(own.report.rest.residentBytes / MIB).toBeLessThan(34)
  })

  it('says what to do where there is no /proc', async () => {
    const text = `
      const fs = require('node:fs')
      const read = fs.readFileSync
      fs.readFileSync = (path, ...rest) => read(path === '/proc/self/smaps' ? '/no/smaps' : path, ...rest)
      require('node:module').syncBuiltinESMExports()
      import('offheap').then(({ memoryReport }) => {
        try { memoryReport() } catch ({ name, code, message, cause }) { console.log([name, code, message, cause.code].join('|')) }
      })`
    const { stdout, stderr } = await runNode(['-e', text])
    expect({ stdout, stderr }).toEqual({
      stdout:
        'ArenaError|ERR_ARENA_NOT_SUPPORTED|memoryReport(): /proc/self/smaps cannot be read. ' +
        'Call it on Linux, with /proc mounted|ENOENT\n',
      stderr: '',
    })
  })
})
