/** The demo at full length: that it finishes, and that what it shows is so. */
import { describe, expect, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { isMusl } from '../support/libc.js'
import { offheap } from './run.js'

const UNITS: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

/** The byte figures in a line, in bytes. */
function bytesIn(line: string): number[] {
  return [...line.matchAll(/([\d.]+) (B|KiB|MiB|GiB)\b/g)].map(
    ([, value, unit]) => Number(value) * UNITS[unit],
  )
}

describe('offheap demo', () => {
  // One of them in a sample.
  it.each(someOf(['mmap', 'sbrk'], 1))(
    'shows both cases within 30 s, the arena (%s) holding less than the Buffers after the last free',
    async source => {
      const start = performance.now()
      const { code, stdout, stderr } = await offheap(['demo', '--source', source])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(performance.now() - start).toBeLessThan(30_000)

      const lines = stdout.split('\n')
      expect(lines.filter(line => /^\[\d\/4\] .* …$/.test(line))).toHaveLength(4)
      expect(stdout).not.toContain('\r')
      for (const name of ['recorded service', 'keep 1 block in 64']) {
        const row = (allocator: string) =>
          bytesIn(lines.find(line => line.startsWith(name) && line.includes(`  ${allocator}  `)) ?? '')
        const [buffer, arena] = [row('Buffer'), row('Arena')]
        // Peak live, live now, most held, held right after, held later, of that the arena's pages, and after reclaim().
        expect(buffer).toHaveLength(6)
        expect(arena).toHaveLength(7)
        // The Buffers' share of the process goes back only by reclaim(). Unknown mallocs, and musl's, give nothing back.
        if (!isMusl) expect(buffer[5]).toBeLessThan(buffer[4] / 2)
        expect(arena[6]).toBeLessThanOrEqual(arena[4])
        expect(arena.slice(0, 2)).toEqual(buffer.slice(0, 2))
        expect(arena[4]).toBeLessThan(buffer[4])
        // Figures are rounded to a tenth of a MiB.
        expect(arena[4]).toBeGreaterThanOrEqual(arena[5])
        expect(arena[5]).toBeGreaterThanOrEqual(arena[1])
      }
      expect(lines.filter(line => /(live|held) .*[▁▂▃▄▅▆▇█]{56}/.test(line))).toHaveLength(8)
      expect(lines.at(-2)).toMatch(
        /^With .* still live, Buffers held .*, an Arena .* reclaim\(\) left .* Next, try: npx offheap replay .*node-json-scope/,
      )
    },
    40_000,
  )
})
