/** Buffers that are taken away, blocks that are forgotten, and what becomes of their bytes, in random order. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fuzzSeed } from '../fuzz/random.js'
import { IS_ALL, partOf, someOf, stepsOf } from '../support/extent.js'
import { possibleHere } from '../support/libc.js'
import { DIST, NODES, runNode } from '../support/process.js'

const TAKER = fileURLToPath(new URL('taker.mjs', import.meta.url))
const OPTIONS = possibleHere([
  '{"leaks":"all"}',
  '{"leaks":"all","detachFromBytes":0}',
  '{"leaks":"all","detachFromBytes":4294967296}',
  '{"leaks":"all","debug":true}',
  '{"leaks":"all","releaseAfterMs":0}',
  '{"leaks":"all","source":"sbrk"}',
  '{"leaks":"all","source":"heap"}',
  '{"leaks":"all","source":"heap","debug":true}',
  '{"trackOwners":true}',
])
const STEPS = String(stepsOf(800, 3))

describe.each(NODES.map((node, line) => ({ ...node, line })))('on Node $version', ({ path, line }) => {
  // A sample of the options, and of the steps.
  it.concurrent.each(IS_ALL ? partOf(OPTIONS, line, NODES.length) : someOf(OPTIONS, 2))(
    'harm no arena, and no check finds fault, with %s',
    async options => {
      const seed = String(fuzzSeed >>> 0)
      const args = ['--expose-gc', '--no-warnings', TAKER, new URL('index.js', DIST).href, seed, options]
      const { code, signal, stdout, stderr } = await runNode(args, '', path, { STEPS })
      expect({ seed, code, signal, stderr }).toEqual({ seed, code: 0, signal: null, stderr: '' })
      expect(stdout).toMatch(/^unharmed, each more than once: true, /)
    },
  )
})
