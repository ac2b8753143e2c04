/** The heap, interrupted wherever V8 could: at the start of each function, and in each loop. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { fuzzSeed } from '../fuzz/random.js'
import { DIST, runNode } from '../support/process.js'

const INTERRUPTER = fileURLToPath(new URL('interrupter.mjs', import.meta.url))

it('makes its books anew, and hands no block out twice', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'offheap-interrupted-'))
  try {
    const seed = String(fuzzSeed >>> 0)
    const { code, stdout, stderr } = await runNode([INTERRUPTER, fileURLToPath(DIST), folder, seed, '5000'])
    expect({ seed, code, stdout, stderr }).toEqual({ seed, code: 0, stdout: 'never twice\n', stderr: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
