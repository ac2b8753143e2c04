import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { processorMs } from '../../bench/process/memory.mjs'
import { readOptions } from '../../bench/service/options.mjs'
import { plotServices, renderService } from '../../bench/service/report.mjs'
import { barsOf, figuresOf, roundOf } from '../../bench/service/summary.mjs'
import { runNode } from '../support/process.js'

const MIB = 2 ** 20
const main = fileURLToPath(new URL('../../bench/service/main.mjs', import.meta.url))
const plot = fileURLToPath(new URL('../../bench/service/plot.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

const SERVICES = ['upload-proxy', 'cache', 'transformer', 'broker']

const wave = (growthMib: number, requestsPerSecond = 1000, p99Ms = 10) => ({
  requests: 3 * requestsPerSecond,
  requestsPerSecond,
  p50Ms: 5,
  p99Ms,
  processorMs: 0.2,
  collections: 4,
  pauseMs: 12,
  longestPauseMs: 5,
  idleBytes: (40 + growthMib) * MIB,
})

const measurement = (...waves: ReturnType<typeof wave>[]) => ({
  startBytes: 40 * MIB,
  peakBytes: 140 * MIB,
  waves,
  samples: [
    [0.1, 41 * MIB],
    [0.2, 52 * MIB],
  ] as [number, number][],
})

const row = (name: string, ...measurements: ReturnType<typeof measurement>[]) => ({ name, measurements })

describe('npm run bench:service', () => {
  it('puts load on each service in both forms, and writes and draws all figures', async () => {
    const file = join(folder, 'result.json')
    const svg = join(folder, 'memory.svg')
    const args = ['--only', 'buffers,arena+idle', '--rounds', '1', '--seconds', '1', '--waves', '1']
    const { code, stdout, stderr } = await runNode([main, ...args, '--json', file, '--plot', svg])
    // Whether the bars hold after a second is not the question.
    expect([0, 1]).toContain(code)
    expect(stderr).toBe('')
    const { server, parts, waves } = JSON.parse(readFileSync(file, 'utf8'))
    expect({ server, waves }).toEqual({ server: process.version, waves: 1 })
    expect(parts.map(({ service }: { service: string }) => service)).toEqual(SERVICES)
    for (const { service, rows, bars } of parts) {
      expect(stdout).toContain(`| ${service} | start, MiB |`)
      expect(bars).toHaveLength(3)
      expect(rows.map(({ name }: { name: string }) => name)).toEqual(['buffers', 'arena+idle'])
      for (const { measurements } of rows) {
        const [{ startBytes, peakBytes, waves: measured, samples }] = measurements
        expect(startBytes).toBeGreaterThan(20 * MIB)
        expect(peakBytes).toBeGreaterThan(startBytes)
        // A second of load and two of rest, in steps of a tenth; fewer on a machine that is busy with others.
        expect(samples.length).toBeGreaterThan(10)
        expect(measured).toHaveLength(1)
        expect(measured[0].requests).toBeGreaterThan(0)
        expect(measured[0].processorMs).toBeGreaterThan(0)
        expect(measured[0].idleBytes).toBeGreaterThan(20 * MIB)
        expect(measured[0].p99Ms).toBeGreaterThanOrEqual(measured[0].p50Ms)
      }
    }
    const drawn = readFileSync(svg, 'utf8')
    for (const service of SERVICES) expect(drawn).toContain(`${service}: resident memory`)
    const again = join(folder, 'again.svg')
    const { code: plotCode } = await runNode([plot, '--from', file, '--to', again])
    expect({ plotCode, drawn: readFileSync(again, 'utf8') }).toEqual({ plotCode: 0, drawn })
  })
})

describe('readOptions', () => {
  it('takes all variants and services unless some are named', () => {
    const all = readOptions([])
    expect(all.services.map(({ name }) => name)).toEqual(SERVICES)
    expect(all.variants.map(({ name }) => name).sort()).toEqual(
      ['arena', 'arena+idle', 'arena-max-2', 'buffers', 'jemalloc', 'mimalloc', 'tcmalloc'].sort(),
    )
    expect(all).toMatchObject({ isChosen: false, rounds: 5, seconds: 3, waves: 3 })
    const some = readOptions(['--only', 'cache,arena'])
    expect(some.services.map(({ name }) => name)).toEqual(['cache'])
    expect(some.variants.map(({ name }) => name)).toEqual(['arena'])
  })

  it.each([
    [['--only', 'buffers+idle'], "no 'buffers+idle': there are "],
    [['--waves', '0'], '--waves must be a whole number'],
  ])('refuses %j', (args, message) => {
    expect(() => readOptions(args)).toThrow(message)
  })
})

describe('roundOf and figuresOf', () => {
  it('take waves together: sums, means of memory, medians of percentiles', () => {
    const one = measurement(wave(10, 1000, 10), wave(20, 3000, 30), wave(30, 2000, 20))
    expect(roundOf(one)).toMatchObject({
      idleBytes: 60 * MIB,
      requests: 18_000,
      requestsPerSecond: 2000,
      p99Ms: 20,
      collections: 12,
      pauseMs: 36,
      longestPauseMs: 5,
    })
    const { idleGrowthBytes, idleBytes } = figuresOf([one, measurement(wave(40))])
    expect(idleGrowthBytes).toEqual({ median: 30 * MIB, min: 20 * MIB, max: 40 * MIB, rounds: 2 })
    expect(idleBytes.max).toBe(80 * MIB)
  })
})

describe('barsOf', () => {
  const plain = row('buffers', measurement(wave(60)))

  it('asks a half of an arena, and a third of one that reclaims when it is idle', () => {
    const bars = barsOf([
      plain,
      row('arena', measurement(wave(30))),
      row('arena+idle', measurement(wave(20))),
    ])
    expect(bars.map(({ holds }) => holds)).toEqual([true, true, true, true, true, true])
    expect(bars[0].figures).toBe('30.0 MiB against 60.0 MiB / 2 = 30.0 MiB')
    expect(bars[3].figures).toBe('20.0 MiB against 60.0 MiB / 3 = 20.0 MiB')
  })

  it('does not hold what is beyond it, and judges nobody else', () => {
    const slow = row('arena', measurement(wave(31, 960, 10.4)))
    const bars = barsOf([plain, slow, row('jemalloc', measurement(wave(90)))])
    expect(bars.map(({ holds }) => holds)).toEqual([false, false, false])
    expect(barsOf([slow])).toEqual([])
  })
})

describe('renderService and plotServices', () => {
  it('have a line for each variant, each bar, and each reason', async () => {
    const rows = [
      row('buffers', measurement(wave(30)), measurement(wave(36))),
      { name: 'jemalloc', reason: 'jemalloc is not installed', measurements: [] },
    ]
    const text = renderService('cache', rows, [{ what: 'less', figures: '2 against 1', holds: false }])
    expect(text.split('\n')).toEqual([
      expect.stringMatching(/^\| cache \| start, MiB \| /),
      `|${' --- |'.repeat(12)}`,
      expect.stringMatching(/^\| `buffers` \| 40 \(40–40\) \| 73 \(70–76\) \| 33\.0 \(30\.0–36\.0\) \| /),
      '',
      'not measured: jemalloc: jemalloc is not installed',
      'NO   less: 2 against 1',
    ])
    const svg = await plotServices([{ service: 'cache', rows }])
    expect(svg).toContain('buffers')
    expect(svg).not.toContain('jemalloc')
  })
})

describe('processorMs', () => {
  it('grows with what a process computes', () => {
    const before = processorMs(process.pid)
    const endMs = performance.now() + 60_000
    while (processorMs(process.pid) < before + 30 && performance.now() < endMs);
    expect(processorMs(process.pid)).toBeGreaterThanOrEqual(before + 30)
  })
})
