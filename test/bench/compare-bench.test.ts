import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const MIB = 2 ** 20
const main = fileURLToPath(new URL('../../bench/compare/main.mjs', import.meta.url))

interface Row {
  name: string
  reason?: string
  live: number
  late: number
}

describe('npm run bench:compare', () => {
  it('measures each way that is there, and says why another is not', async () => {
    const { code, stdout, stderr } = await runNode([main, '--load', 'keep-1-in-64', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const [{ rows }] = JSON.parse(stdout).results as { rows: Row[] }[]
    const measured = rows.filter(({ reason }) => reason === undefined)
    expect(measured.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['Buffer', '@thi.ng/malloc', 'Arena']),
    )
    for (const { live } of measured) expect(live).toBe(2 * MIB)
    expect(rows.find(({ name }) => name === 'Arena')?.late).toBeLessThan(32 * MIB)
  })

  it('refuses a load that there is not', async () => {
    const { code, stderr } = await runNode([main, '--load', 'nothing'])
    expect(code).toBe(1)
    expect(stderr).toContain('--load: one of drop-all')
  })
})
