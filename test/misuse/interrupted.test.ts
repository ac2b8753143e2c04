/** Calls that do not come to their end, for a full stack or because the script that makes them is terminated. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fuzzSeed } from '../fuzz/random.js'
import { IS_ALL, partOf, someOf } from '../support/extent.js'
import { possibleHere } from '../support/libc.js'
import { COMPILED, NODES, runNode } from '../support/process.js'

const INTERRUPTER = fileURLToPath(new URL('interrupter.mjs', import.meta.url))
const OPTIONS = possibleHere([
  '{}',
  '{"debug":true}',
  '{"releaseAfterMs":0}',
  '{"detachFromBytes":0,"leaks":"all"}',
  '{"source":"sbrk"}',
  '{"source":"heap"}',
])
const MORE_OPTIONS = possibleHere([
  '{"source":"sbrk","releaseAfterMs":0}',
  '{"trackOwners":true,"wipeOnFree":true,"limitBytes":3000000,"softLimitBytes":1000000}',
  '{"source":"heap","releaseAfterMs":0,"wipeOnFree":true}',
  '{"source":"heap","debug":true}',
  '{"prefault":true}',
  '{"hugePages":true}',
])
/** In a sample one of the options of each kind. */
const CASES = [
  ...['overflow', 'terminate'].flatMap(kind => someOf(OPTIONS, 1).map(options => ({ kind, options }))),
  ...['thrown', 'cut'].flatMap(kind =>
    someOf([...OPTIONS, ...MORE_OPTIONS], 1).map(options => ({ kind, options })),
  ),
]
/** Rounds of each kind in a sample. The interrupter itself says how many there are in all. */
const SAMPLED_ROUNDS: Record<string, string> = { overflow: '4', terminate: '30', thrown: '80', cut: '80' }

describe.each(NODES.map((node, line) => ({ ...node, line })))('on Node $version', ({ path, line }) => {
  it.concurrent.each(IS_ALL ? partOf(CASES, line, NODES.length) : CASES)(
    'calls interrupted by $kind leave no arena with wrong books, with $options',
    async ({ kind, options }) => {
      const seed = String(fuzzSeed >>> 0)
      const args = ['--no-warnings', INTERRUPTER, new URL('index.js', COMPILED).href, kind, seed, options]
      const variables = IS_ALL ? undefined : { ROUNDS: SAMPLED_ROUNDS[kind] }
      const { code, signal, stdout, stderr } = await runNode(args, '', path, variables)
      expect({ seed, code, signal, stderr }).toEqual({ seed, code: 0, signal: null, stderr: '' })
      expect(stdout).toBe('never twice, interrupted often\n')
    },
  )
})
