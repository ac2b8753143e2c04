import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

interface Figure {
  readonly median: number
  readonly low: number
  readonly high: number
}

describe('npm run bench:debug', () => {
  it('measures every size on both sides', async () => {
    const main = fileURLToPath(new URL('../../bench/debug/main.mjs', import.meta.url))
    const { code, stdout, stderr } = await runNode([main, '--rounds', '1', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { machine, results } = JSON.parse(stdout) as {
      machine: string
      results: { name: string; plain: Figure; debug: Figure }[]
    }
    expect(machine).toContain(process.version)
    expect(results.map(({ name }) => name)).toEqual(['64 B', '1 KiB', '64 KiB', '1 MiB'])
    for (const { plain, debug } of results) {
      for (const { median, low, high } of [plain, debug]) {
        expect(low).toBeGreaterThan(0)
        expect(median).toBeGreaterThanOrEqual(low)
        expect(high).toBeGreaterThanOrEqual(median)
      }
    }
  })
})
