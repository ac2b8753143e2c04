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
    'shows its cases within 60 s, an arena and a store (%s) holding less than the Buffers after the last free',
    async source => {
      const start = performance.now()
      const { code, stdout, stderr } = await offheap(['demo', '--source', source])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(performance.now() - start).toBeLessThan(60_000)

      const lines = stdout.split('\n')
      expect(lines.filter(line => /^\[\d\/7\] .* …$/.test(line))).toHaveLength(7)
      expect(stdout).not.toContain('\r')
      const row = (name: string, allocator: string) =>
        bytesIn(lines.find(line => line.startsWith(name) && line.includes(`  ${allocator}  `)) ?? '')
      for (const name of ['recorded service', 'keep 1 block in 64', 'keep 1 record in 64']) {
        const buffer = row(name, 'Buffer')
        // Peak live, live now, most held, held right after, held later, of that own pages, and after reclaim().
        expect(buffer).toHaveLength(6)
        // The Buffers' share of the process goes back only by reclaim(). Unknown mallocs, and musl's, give nothing back.
        if (!isMusl) expect(buffer[5]).toBeLessThan(buffer[4] / 2)
        for (const allocator of name.includes('record in') ? ['Arena', 'Store'] : ['Arena']) {
          const own = row(name, allocator)
          expect(own).toHaveLength(7)
          expect(own[6]).toBeLessThanOrEqual(own[4])
          expect(own.slice(0, 2)).toEqual(buffer.slice(0, 2))
          expect(own[4]).toBeLessThan(buffer[4])
          // Figures are rounded to a tenth of a MiB.
          expect(own[4]).toBeGreaterThanOrEqual(own[5])
          expect(own[5]).toBeGreaterThanOrEqual(own[1])
        }
      }
      const [arena, store] = ['Arena', 'Store'].map(allocator => row('keep 1 record in 64', allocator))
      // A page of an arena has a record in four; a store promises 1.2 times what is live, and 1 MiB.
      expect(arena[5]).toBeGreaterThan(10 * arena[1])
      expect(store[5]).toBeLessThan(1.2 * store[1] + UNITS.MiB)
      expect(lines.filter(line => /(live|held) .*[▁▂▃▄▅▆▇█]{56}/.test(line))).toHaveLength(14)
      expect(lines.at(-2)).toMatch(
        /^With .* still live, Buffers held .*, an Arena .* reclaim\(\) left .* those of a Store .* Next, try: npx offheap replay .*node-json-scope/,
      )
    },
    90_000,
  )
})
