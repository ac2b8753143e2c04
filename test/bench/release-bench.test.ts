import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { lineChart } from '../../bench/release/chart.mjs'
import { runNode } from '../support/process.js'

const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'offheap-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

const plot = join(folder, 'memory.svg')

async function measure(source: string, only: string) {
  const main = fileURLToPath(new URL('../../bench/release/main.mjs', import.meta.url))
  const args = [main, '--rounds', '1', '--json', '--only', only, '--sources', source, '--plot', plot]
  const { code, stdout, stderr } = await runNode(args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout).sources[source]
}

interface Spread {
  readonly min: number
  readonly max: number
}

interface Idle {
  readonly blockBytes: number
  readonly fullBytes: Spread
  readonly residentBytes: Spread
  readonly grownBytes: Spread
}

/** What was left in each case: of the arena, and of the process where there are few Buffers (V8 keeps some of 8,192 of any kind). */
function leftOf(idle: Idle[]): { arena: number[]; process: number[] } {
  expect(idle).toHaveLength(6)
  for (const { fullBytes } of idle) expect(fullBytes.min).toBeGreaterThan(500 * MIB)
  return {
    arena: idle.map(({ residentBytes }) => residentBytes.max),
    process: idle.filter(({ blockBytes }) => blockBytes > MIB).map(({ grownBytes }) => grownBytes.max),
  }
}

/**
 * Expects that nothing of the arena is left in any case, and less than 2 MiB of the process. V8 and malloc keep some pages of
 * their own in one process and not in the next, and where others want the CPU a timer is late; what an arena kept would
 * be left each time. So: the least of a few times.
 */
async function expectAllBack(source: string, first: Idle[]): Promise<void> {
  const left = leftOf(first)
  for (let again = 0; again < 3 && !isAllBack(left); again++) {
    const next = leftOf((await measure(source, 'idle')).idle)
    for (const of of ['arena', 'process'] as const) {
      left[of] = left[of].map((bytes, i) => Math.min(bytes, next[of][i]))
    }
  }
  expect(isAllBack(left), JSON.stringify(left)).toBe(true)
}

function isAllBack({ arena, process }: { arena: number[]; process: number[] }): boolean {
  return Math.max(...arena) === 0 && Math.max(...process) < 2 * MIB
}

interface Bounce {
  readonly refaultShare: Spread
  readonly purgesAfterTwo: Spread
  readonly betweenBytes: Spread
}

/** Whether pages that are wanted again within the promise are spared, and others not. How much it is says the benchmark. */
function isSpared([often, rarely]: Bounce[]): boolean {
  const isKept = often.refaultShare.max < 0.05 && often.purgesAfterTwo.max < 4
  return isKept && rarely.betweenBytes.max < 4 * MIB
}

/** The same, in one of a few runs: where others want the CPU, what is wanted again in time is wanted too late. */
async function expectSpared(first: Bounce[]): Promise<void> {
  let bounce = first
  for (let again = 0; again < 3 && !isSpared(bounce); again++)
    bounce = (await measure('mmap', 'bounce')).bounce
  expect(isSpared(bounce), JSON.stringify(bounce)).toBe(true)
}

describe('npm run bench:release', () => {
  it('shows that memory goes back, and is spared where it is wanted again', async () => {
    const { idle, bounce, curve } = await measure('mmap', 'idle,bounce,curve')
    await expectAllBack('mmap', idle)
    await expectSpared(bounce)
    const [live, arena] = curve as { name: string; points: [number, number][] }[]
    expect([live.name, live.points.at(-1)?.[1]]).toEqual(['live', 0])
    expect(arena.points.at(-1)?.[1]).toBeLessThan(20)
    expect(readFileSync(plot, 'utf8')).toMatch(/^<svg[\s\S]*held by Buffers, glibc[\s\S]*<\/svg>$/)
  }, 300_000)

  it('shows the same of the program break', async () => {
    const { idle } = await measure('sbrk', 'idle')
    await expectAllBack('sbrk', idle)
  }, 300_000)
})

describe('lineChart', () => {
  it('is an SVG with a line for each series', async () => {
    const lines = ['one', 'two'].map(name => ({
      name,
      points: [[0, 1] as [number, number], [1, 2] as [number, number]],
    }))
    const svg = await lineChart({ title: 'of two lines', x: 's', y: 'MiB', lines })
    expect(svg).toContain('of two lines')
    expect(svg.match(/aria-roledescription="line mark"|stroke-width="2"/g)?.length).toBeGreaterThanOrEqual(2)
  })
})
