import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

describe('npm run bench:pool', () => {
  it('measures three sizes on both sides', async () => {
    const main = fileURLToPath(new URL('../../bench/pool/main.mjs', import.meta.url))
    const { code, stdout, stderr } = await runNode([main, '--rounds', '1', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const [{ node, cases }] = JSON.parse(stdout) as {
      node: string
      cases: { name: string; pool: { low: number }; buffer: { low: number } }[]
    }[]
    expect(node).toBe(process.version)
    expect(cases.map(({ name }) => name)).toEqual(['64 B', '1 KiB', '64 KiB'])
    for (const { pool, buffer } of cases) expect(Math.min(pool.low, buffer.low)).toBeGreaterThan(0)
  })
})
