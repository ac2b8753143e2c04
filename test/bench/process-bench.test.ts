import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { bytesOf } from '../../bench/process/memory.mjs'
import { readOptions } from '../../bench/process/options.mjs'
import { renderBody, renderDelay } from '../../bench/process/report.mjs'
import { barsOf, delayBarsOf, figuresOf } from '../../bench/process/summary.mjs'
import { runNode } from '../support/process.js'

const MIB = 2 ** 20
const main = fileURLToPath(new URL('../../bench/process/main.mjs', import.meta.url))
const delay = fileURLToPath(new URL('../../bench/process/delay.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Writes a module that stands in for the library. */
function given(name: string, source: string): string {
  const path = join(folder, name)
  writeFileSync(path, source)
  return path
}

const measurement = (growthMib: number, requestsPerSecond = 1000, p99Ms = 10) => ({
  startBytes: 40 * MIB,
  peakBytes: 140 * MIB,
  idleBytes: (40 + growthMib) * MIB,
  requests: 5 * requestsPerSecond,
  requestsPerSecond,
  p50Ms: 5,
  p99Ms,
})

const row = (name: string, ...measurements: ReturnType<typeof measurement>[]) => ({ name, measurements })

const verdicts = (bars: { what: string; holds: boolean }[]) =>
  bars.map(({ what, holds }) => `${what.split(':')[1].trim().split(' ').slice(0, 2).join(' ')} ${holds}`)

describe('npm run bench:process', () => {
  it('measures a server under load and writes all figures', async () => {
    const file = join(folder, 'result.json')
    const args = ['--only', 'buffers,64k', '--rounds', '1', '--seconds', '1', '--json', file]
    const { code, stdout, stderr } = await runNode([main, ...args])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^64k +start +peak growth +idle growth +requests\/s/m)
    const { server, parts } = JSON.parse(readFileSync(file, 'utf8'))
    expect(server).toBe(process.version)
    expect(parts).toHaveLength(1)
    const [{ body, rows, bars }] = parts
    expect({ body, bars }).toEqual({ body: '64k', bars: [] })
    expect(rows.map(({ name }: { name: string }) => name)).toEqual(['buffers'])
    const [one] = rows[0].measurements
    expect(one.startBytes).toBeGreaterThan(20 * MIB)
    expect(one.peakBytes).toBeGreaterThan(one.startBytes)
    expect(one.idleBytes).toBeGreaterThan(20 * MIB)
    expect(one.requests).toBeGreaterThan(0)
    expect(one.requestsPerSecond).toBeGreaterThan(0)
    expect(one.p99Ms).toBeGreaterThanOrEqual(one.p50Ms)
  })

  it('calls the reclaimWhenIdle() that it is given, with the options of the variant', async () => {
    const path = given(
      'ends.mjs',
      'export function reclaimWhenIdle(options) { throw new Error("called with " + JSON.stringify(options)) }',
    )
    const args = ['--only', 'buffers+idle-major,64k', '--rounds', '1', '--seconds', '1', '--given', path]
    const { code, stderr } = await runNode([main, ...args])
    expect(code).toBe(1)
    expect(stderr).toContain('called with {"collectGarbage":"major"}')
  })

  it.each([
    [['--only', 'buffers+idle'], 'buffers+idle: ', ' has no reclaimWhenIdle()'],
    [['--delay'], '--delay: ', ' has no reclaim()'],
  ])('refuses %j if there is no such function', async (args, before, after) => {
    const path = given('empty.mjs', 'export {}')
    const { code, stderr } = await runNode([main, ...args, '--given', path])
    expect(code).toBe(1)
    expect(stderr).toContain(`${before}${path}${after}`)
  })
})

describe('bench/process/delay.mjs', () => {
  it('sees a pause of the event loop, and that nothing went back', async () => {
    const path = given(
      'pause.mjs',
      `export async function reclaim() {
         const end = performance.now() + 40
         while (performance.now() < end);
         return { durationMs: 40, longestPauseMs: 40 }
       }`,
    )
    const wanted = { name: 'few', freeBytes: 64 * MIB, minBytes: 65_536, maxBytes: 65_536 }
    const args = ['--expose-gc', delay, JSON.stringify(wanted), JSON.stringify(path)]
    const { code, stdout, stderr } = await runNode(args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { quiet, reclaim, nothingMs, tookMs, saysPauseMs, beforeBytes, afterBytes } = JSON.parse(stdout)
    expect(nothingMs).toBeGreaterThan(0)
    expect(quiet.ticks).toBeGreaterThan(0)
    expect(reclaim.maxMs).toBeGreaterThan(35)
    expect(tookMs).toBeGreaterThanOrEqual(40)
    expect(saysPauseMs).toBe(40)
    // Half of it is in use, half of it free.
    expect(beforeBytes).toBeGreaterThan(2 * 64 * MIB)
    expect(beforeBytes - afterBytes).toBeLessThan(16 * MIB)
  })
})

describe('readOptions', () => {
  it('takes all variants and bodies unless some are named', () => {
    const all = readOptions([])
    expect(all.bodies.map(({ name }) => name)).toEqual(['64k', '1m', '4m-gzip'])
    expect(all).toMatchObject({ isChosen: false, isDelay: false, rounds: 5, seconds: 10 })
    const some = readOptions(['--only', 'arena,1m'])
    expect(some.variants.map(({ name }) => name)).toEqual(['arena'])
    expect(some.bodies.map(({ name }) => name)).toEqual(['1m'])
    expect(some.isChosen).toBe(true)
    const body = readOptions(['--only', '1m'])
    expect(body.variants).toHaveLength(all.variants.length)
    expect(body.isChosen).toBe(false)
  })

  it.each([
    [['--only', 'nothing'], "no 'nothing': there are buffers, "],
    [['--delay', '--only', 'buffers'], "no 'buffers': there are mixed, all-64k, all-8k"],
    [['--rounds', '0'], '--rounds must be a whole number'],
    [['--seconds', '1.5'], '--seconds must be a whole number'],
  ])('refuses %j', (args, message) => {
    expect(() => readOptions(args)).toThrow(message)
  })
})

describe('bytesOf', () => {
  it('reads the line of that name, and no other', () => {
    const text = 'Pss_Dirty:  1 kB\nRss:   1234 kB\nRssAnon:  5 kB\n'
    expect(bytesOf(text, 'Rss')).toBe(1234 * 1024)
    expect(() => bytesOf(text, 'Pss')).toThrow("no line 'Pss: … kB'")
  })
})

describe('figuresOf', () => {
  it('counts growth from the start of the same round', () => {
    const { idleGrowthBytes, peakGrowthBytes } = figuresOf([
      measurement(10),
      measurement(30),
      measurement(11),
    ])
    expect(idleGrowthBytes).toEqual({ median: 11 * MIB, min: 10 * MIB, max: 30 * MIB, rounds: 3 })
    expect(peakGrowthBytes.median).toBe(100 * MIB)
  })
})

describe('barsOf', () => {
  it('holds what keeps to its bound, to the last byte', () => {
    const rows = [
      row('buffers', measurement(30, 1000, 10), measurement(30, 2000, 12)),
      row('buffers+idle', measurement(10, 970, 11), measurement(10, 1940, 13)),
      row('jemalloc', measurement(11), measurement(11)),
    ]
    expect(verdicts(barsOf('64k', rows))).toEqual([
      'idle growth true',
      'idle growth true',
      'requests per true',
      'p99 not true',
    ])
  })

  it('does not hold what is beyond it', () => {
    const rows = [
      row('buffers', measurement(30, 1000, 10)),
      row('arena+idle', measurement(11, 960, 10.4)),
      row('jemalloc', measurement(50)),
      row('tcmalloc', measurement(11)),
    ]
    const bars = barsOf('1m', rows)
    expect(verdicts(bars)).toEqual([
      'idle growth false',
      'idle growth false',
      'requests per false',
      'p99 not false',
    ])
    expect(bars[0].figures).toBe('11.0 MiB against 30.0 MiB / 3 = 10.0 MiB')
    expect(bars[1].figures).toBe('11.0 MiB against jemalloc 50.0 MiB, tcmalloc 11.0 MiB')
  })

  it('asks for a third of no other body, and for nothing that was not measured', () => {
    const rows = [row('buffers', measurement(30)), row('buffers+idle', measurement(30))]
    expect(barsOf('4m-gzip', rows)).toHaveLength(2)
    expect(barsOf('64k', [rows[0], { name: 'buffers+idle', reason: 'none', measurements: [] }])).toEqual([])
    expect(barsOf('64k', [rows[1]])).toEqual([])
  })
})

describe('renderBody', () => {
  it('has a line for each variant, each bar, and each reason', () => {
    const rows = [
      row('buffers', measurement(30), measurement(36), measurement(33)),
      { name: 'jemalloc', reason: 'jemalloc is not installed', measurements: [] },
    ]
    const text = renderBody('1m', rows, [{ what: 'less', figures: '2 against 1', holds: false }])
    expect(text.split('\n')).toEqual([
      expect.stringMatching(/^1m +start +peak growth +idle growth/),
      expect.stringMatching(/^buffers +40\.0 \(40\.0–40\.0\) .* 33\.0 \(30\.0–36\.0\) /),
      'not measured: jemalloc: jemalloc is not installed',
      'NO   less: 2 against 1',
    ])
  })
})

describe('delayBarsOf and renderDelay', () => {
  const figures = (p99Ms: number, maxMs: number, nothingMs = 0.4) => ({
    quiet: { ticks: 2000, p50Ms: 0.1, p99Ms: 0.2, maxMs: 0.5, allocationMaxMs: 0.1 },
    reclaim: { ticks: 50, p50Ms: 0.1, p99Ms, maxMs, allocationMaxMs: 0.3 },
    nothingMs,
    tookMs: 60,
    saysPauseMs: 0.4,
    beforeBytes: 1000 * MIB,
    afterBytes: 520 * MIB,
  })

  it('takes the median of p99 and the highest of all delays', () => {
    const rounds = [figures(1, 3), figures(1.9, 4), figures(7, 9.9)]
    expect(delayBarsOf('mixed', rounds).map(({ holds }) => holds)).toEqual([true, true, true])
    expect(delayBarsOf('mixed', [...rounds, figures(7, 10)]).map(({ holds }) => holds)).toEqual([
      false,
      false,
      true,
    ])
    expect(delayBarsOf('mixed', [figures(1, 3, 1)]).map(({ holds }) => holds)).toEqual([true, true, false])
  })

  it('shows what happened beside what happens anyway', () => {
    const text = renderDelay([{ name: 'mixed', rounds: [figures(1, 3)] }], [])
    expect(text).toMatch(/^mixed, nothing done +2000 /m)
    expect(text).toMatch(/^mixed, reclaim\(\) +50 .* 60 +480 +0\.40$/m)
  })
})
