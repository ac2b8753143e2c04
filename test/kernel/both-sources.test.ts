/** The recordings on each source of pages: the same results, and nothing left of any. */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { runFile } from '../support/process.js'
import { strangerPath } from '../support/stranger.js'

const MIB = 2 ** 20
const TRACES = new URL('../../bench/traces/', import.meta.url)
const names = readdirSync(TRACES).filter(name => name.endsWith('.trace.gz'))

describe('a recording on mappings, on the program break and on the heap of the runtime', () => {
  // One of the recordings in a sample.
  it.concurrent.each(someOf(names, 1))(
    '%s: the same contents and results, and the break comes back',
    async name => {
      const path = fileURLToPath(new URL(name, TRACES))
      const args = [path, strangerPath()]
      const outcome = await runFile('children/both-sources.mjs', import.meta.url, args, ['--expose-gc'])
      expect(outcome).toMatchObject({ code: 0, signal: null, stderr: '' })
      const { mmap, sbrk, heap, grownBytes } = JSON.parse(outcome.stdout)
      const { checks, allocations, frees } = mmap
      expect(checks).toBeGreaterThan(0)
      expect(sbrk).toMatchObject({ checks, allocations, frees, liveBlocks: 0 })
      expect(heap).toMatchObject({ checks, allocations, frees, liveBlocks: 0, left: { arenaBytes: 0 } })
      expect(sbrk.left).toEqual({ breakBytes: 0, arenaBytes: 0, closedBreakBytes: 0 })
      expect(mmap.left.arenaBytes).toBe(0)
      expect(grownBytes).toBeLessThan(2 * MIB)
    },
  )
})
