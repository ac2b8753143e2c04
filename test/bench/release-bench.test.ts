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

function expectAllBack(idle: { blockBytes: number; [figure: string]: unknown }[]): void {
  expect(idle).toHaveLength(6)
  for (const { blockBytes, ...figures } of idle) {
    const { fullBytes, residentBytes, grownBytes } = figures as Record<string, { min: number; max: number }>
    expect(fullBytes.min).toBeGreaterThan(500 * MIB)
    expect(residentBytes.max).toBe(0)
    // What V8 keeps for 8,192 Buffers of any kind is none of the arena's.
    if (blockBytes > MIB) expect(grownBytes.max).toBeLessThan(2 * MIB)
  }
}

describe('npm run bench:release', () => {
  it('shows that memory goes back, and is spared where it is wanted again', async () => {
    const { idle, bounce, curve } = await measure('mmap', 'idle,bounce,curve')
    expectAllBack(idle)
    const [often, rarely] = bounce
    // The benchmark says how much it is on a machine that does nothing else; here other tests run.
    expect(often.refaultShare.max).toBeLessThan(0.05)
    expect(often.purgesAfterTwo.max).toBeLessThan(4)
    expect(rarely.betweenBytes.max).toBeLessThan(4 * MIB)
    const [live, arena] = curve as { name: string; points: [number, number][] }[]
    expect([live.name, live.points.at(-1)?.[1]]).toEqual(['live', 0])
    expect(arena.points.at(-1)?.[1]).toBeLessThan(20)
    expect(readFileSync(plot, 'utf8')).toMatch(/^<svg[\s\S]*held by Buffers, glibc[\s\S]*<\/svg>$/)
  }, 180_000)

  it('shows the same of the program break', async () => {
    const { idle } = await measure('sbrk', 'idle')
    expectAllBack(idle)
  }, 180_000)
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
