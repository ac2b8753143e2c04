import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const FOLDER = new URL('../../bench/compaction/', import.meta.url)
const MAIN = fileURLToPath(new URL('main.mjs', FOLDER))
const PLOT = fileURLToPath(new URL('page-map.mjs', FOLDER))

/** What the benchmark prints as JSON for these arguments. */
async function resultsOf(...args: string[]) {
  const { code, stdout, stderr } = await runNode([MAIN, '--rounds', '1', '--json', ...args])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout).results
}

describe('bench:compaction', () => {
  it('measures how little is resident after a compaction', { timeout: 240_000 }, async () => {
    const { sparse, stays } = await resultsOf('--only', 'sparse,stays', '--mib', '4')
    expect(sparse).toHaveLength(10)
    for (const { name, rounds } of sparse) {
      const [{ before, after, afterTrim, moved, overAllocFree, touchesOfPage, longestSliceMs }] = rounds
      // Little is live here, so that the last page, which is half full, counts much.
      expect(after, name).toBeLessThan(1.5)
      expect(after, name).toBeLessThan(before)
      expect(afterTrim, name).toBeLessThanOrEqual(after)
      expect(moved, name).toBeLessThan(1.02)
      for (const cost of [moved, overAllocFree, touchesOfPage, longestSliceMs]) {
        expect(cost, name).toBeGreaterThan(0)
      }
    }
    expect(stays).toHaveLength(6)
    // A pinned record keeps its page.
    expect(stays[2].rounds[0].after).toBeGreaterThan(stays[0].rounds[0].after)
  })

  it('measures how far the program break comes down', async () => {
    const results = await resultsOf('--only', 'break', '--mib', '8')
    expect(results.break).toHaveLength(4)
    for (const { name, rounds } of results.break) {
      const [{ liveBytes, fullBytes, beforeBytes, afterBytes }] = rounds
      expect(beforeBytes, name).toBeLessThanOrEqual(fullBytes)
      expect(beforeBytes, name).toBeGreaterThan(1.5 * liveBytes)
      // Records are moved down until the highest one finds no lower place.
      expect(afterBytes, name).toBeLessThan(1.1 * liveBytes)
    }
  })

  it('measures recordings, a cache by what holds its values, and single uses', {
    timeout: 240_000,
  }, async () => {
    const args = ['--only', 'recordings,cache,access', '--trace', 'redis-bench', '--values', '2000']
    const { recordings, cache, access } = await resultsOf(...args)
    expect(recordings.map(({ name }: { name: string }) => name)).toEqual(['redis-bench'])
    const [points] = recordings[0].rounds
    expect(points.length).toBeGreaterThan(0)
    for (const { before, after, ofPeak } of points) {
      expect(after).toBeLessThanOrEqual(before)
      expect(after).toBeGreaterThanOrEqual(1)
      expect(ofPeak).toBeLessThanOrEqual(1)
    }
    expect(cache).toHaveLength(4)
    // The same values, whoever holds them.
    const payloads = cache.map(({ rounds }: { rounds: { payloadBytes: number }[] }) => rounds[0].payloadBytes)
    expect(new Set(payloads).size).toBe(1)
    expect(access[0].rounds[0]).toHaveLength(4)
  })

  it('refuses what it does not know', async () => {
    const { code, stderr } = await runNode([MAIN, '--only', 'nothing'])
    expect(code).toBe(1)
    expect(stderr).toContain("'nothing' is none of sparse, stays")
  })
})

describe('plot:compaction', () => {
  it('draws the pages of a real run, before and after', async () => {
    const { code, stdout, stderr } = await runNode([PLOT, '--mib', '1', '--out', '-'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
    expect(stdout.match(/MiB live, .*MiB resident/g)).toHaveLength(4)
  })
})
