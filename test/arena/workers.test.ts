import { describe, expect, it } from 'vitest'
import { runFile } from '../support/process.js'

const MIB = 2 ** 20

describe('arenas in each of 200 Workers', () => {
  it('survive every end at random moments, and leave no mapping and no memory behind', async () => {
    const seed = (Date.now() ^ process.pid) >>> 0
    // Some of what they leave behind is collected before they end, and told of.
    const nodeArgs = ['--no-warnings']
    const args = [String(seed), '200']
    const { code, signal, stdout, stderr } = await runFile(
      'children/workers.mjs',
      import.meta.url,
      args,
      nodeArgs,
    )
    expect({ code, signal, stderr }, `seed ${seed}`).toEqual({ code: 0, signal: null, stderr: '' })
    const grown = JSON.parse(stdout) as { mappings: number; rssBytes: number }
    // Each Worker has tens of MiB in blocks and a mapping for each segment and large part of the books: several
    // hundred in all. What remains of ended threads is malloc's: arenas of two mappings each, and spare pages of heaps.
    expect(grown.mappings, `seed ${seed}`).toBeLessThan(150)
    expect(grown.rssBytes, `seed ${seed}`).toBeLessThan(100 * MIB)
  }, 180_000)
})
