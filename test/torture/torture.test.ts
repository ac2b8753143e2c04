import { describe, expect, it } from 'vitest'
import { runFile } from '../support/process.js'

describe('npm run torture', () => {
  it('verifies every byte for 5 s, and leaves nothing', async () => {
    const { code, signal, stdout, stderr } = await runFile('main.mjs', import.meta.url, ['--seconds', '5'])
    expect({ code, signal, stderr }, stdout).toEqual({ code: 0, signal: null, stderr: '' })
    expect(stdout).toMatch(/^seed \d+, 5 s, 8 chains\n.*\n[1-9]\d* MiB verified, nothing left\n$/)
  })

  it('says what its arguments may be', async () => {
    for (const args of [
      ['--seconds', '0'],
      ['--seed', 'x'],
      ['--minutes', '1'],
    ]) {
      const { code, stderr } = await runFile('main.mjs', import.meta.url, args)
      expect(code).toBe(1)
      expect(stderr).toContain(args[0])
    }
  })
})
