import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const main = fileURLToPath(new URL('../../bench/use/main.mjs', import.meta.url))

describe('npm run bench:use', () => {
  it('measures a case with its peers, and holds it against its bound', async () => {
    const { code, stdout, stderr } = await runNode([main, '--only', 'spare', '--rounds', '1', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { cases } = JSON.parse(stdout) as {
      cases: { results: { most: number; holds: boolean; peers: Record<string, { median: number }> }[] }[]
    }
    const [{ most, holds, peers }] = cases[0].results
    expect(holds).toBe(peers.arena.median <= most)
    // What it measures may come out at nothing, or less, on a busy machine.
    expect(Number.isFinite(peers.buffer.median)).toBe(true)
  })

  it('refuses a case that there is not', async () => {
    const { code, stderr } = await runNode([main, '--only', 'nothing'])
    expect(code).toBe(1)
    expect(stderr).toContain("no case 'nothing'")
  })
})
