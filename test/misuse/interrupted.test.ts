/** Calls that do not come to their end: the stack overflows in their middle, or the script that makes them is terminated. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fuzzSeed } from '../fuzz/random.js'
import { DIST, NODES, runNode } from '../support/process.js'

const INTERRUPTER = fileURLToPath(new URL('interrupter.mjs', import.meta.url))
const OPTIONS = ['{}', '{"debug":true}', '{"releaseAfterMs":0}', '{"detachFromBytes":0,"leaks":"all"}']

describe.each(NODES)('on Node $version', ({ path }) => {
  describe.each(['overflow', 'terminate'])('calls that end by %s', kind => {
    it.each(OPTIONS)('leave no arena with wrong books, with %s', async options => {
      const seed = String(fuzzSeed >>> 0)
      const args = ['--no-warnings', INTERRUPTER, new URL('index.js', DIST).href, kind, seed, options]
      const { code, signal, stdout, stderr } = await runNode(args, '', path)
      expect({ seed, code, signal, stderr }).toEqual({ seed, code: 0, signal: null, stderr: '' })
      expect(stdout).toBe('never twice, interrupted often\n')
    })
  })
})
