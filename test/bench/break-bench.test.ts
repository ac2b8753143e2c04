import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const MAIN = fileURLToPath(new URL('../../bench/break/main.mjs', import.meta.url))

describe('bench:break', () => {
  it('sets the models side by side, and each gives all of it back in the end', () => {
    const args = [MAIN, '--trace', 'git-log-p', '--points', '10', '--json']
    const { results } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
    expect(results).toHaveLength(1)
    const [{ liveBytes, breakAloneBytes, breakBytes, mappingsBytes, loweredShare, freed }] = results
    // What is held can only grow from one model to the next.
    expect(liveBytes).toBeLessThan(breakBytes)
    expect(breakBytes).toBeLessThanOrEqual(breakAloneBytes)
    expect(mappingsBytes).toBeGreaterThan(liveBytes)
    expect(loweredShare).toBeGreaterThanOrEqual(0)
    expect(loweredShare).toBeLessThanOrEqual(1)
    expect(freed).toEqual({ break: 0, mappings: 0 })
  })
})
