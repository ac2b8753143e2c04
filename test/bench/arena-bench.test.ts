import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

interface Figure {
  readonly median: number
  readonly low: number
  readonly high: number
}

describe('npm run bench:arena', () => {
  it('measures every case on both sides', async () => {
    const main = fileURLToPath(new URL('../../bench/arena/main.mjs', import.meta.url))
    const { code, stdout, stderr } = await runNode([main, '--rounds', '1', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { machine, results } = JSON.parse(stdout) as {
      machine: string
      results: { name: string; buffer: Figure; arena: Figure }[]
    }
    expect(machine).toContain(process.version)
    expect(new Set(results.map(result => result.name)).size).toBe(8)
    for (const { buffer, arena } of results) {
      for (const { median, low, high } of [buffer, arena]) {
        expect(low).toBeGreaterThan(0)
        expect(median).toBeGreaterThanOrEqual(low)
        expect(high).toBeGreaterThanOrEqual(median)
      }
    }
  })
})
