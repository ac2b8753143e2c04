/** The heap, interrupted wherever V8 could. */
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { fuzzSeed } from '../fuzz/random.js'
import { COMPILED, runNode } from '../support/process.js'

const INTERRUPTER = fileURLToPath(new URL('interrupter.mjs', import.meta.url))

it('makes its books anew, and hands no block out twice', async () => {
  const seed = String(fuzzSeed >>> 0)
  const args = ['--no-warnings', INTERRUPTER, new URL('index.js', COMPILED).href, seed, '5000']
  const { code, stdout, stderr } = await runNode(args)
  expect({ seed, code, stdout, stderr }).toEqual({ seed, code: 0, stdout: 'never twice\n', stderr: '' })
})
