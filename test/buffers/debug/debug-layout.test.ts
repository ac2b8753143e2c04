import { describe, expect, it } from 'vitest'
import { MAX_SPACE_BYTES } from '../../../src/base/units.js'
import { debugLayoutOf } from '../../../src/buffers/debug/debug-layout.js'

const PAGE = 4096

describe('debugLayoutOf', () => {
  it('puts at least 16 bytes behind what is shorter than a page', () => {
    for (const size of [1, 15, 16, 17, 1_000, PAGE - 1]) {
      expect(debugLayoutOf(size, 64, PAGE)).toEqual({
        heldBytes: size + 16,
        alignBytes: 64,
        startBytes: 0,
        hasGuard: false,
      })
    }
  })

  it('ends a page and more right before a guard, as far as its alignment allows', () => {
    for (const size of [PAGE, PAGE + 1, 5_000, 65_536, 100_000, 2 ** 20 + 15]) {
      for (const align of [16, 64, 512, PAGE]) {
        const { heldBytes, alignBytes, startBytes, hasGuard } = debugLayoutOf(size, align, PAGE)
        const guardBytes = heldBytes - PAGE
        expect([alignBytes, hasGuard, heldBytes % PAGE, startBytes % align]).toEqual([PAGE, true, 0, 0])
        expect(startBytes).toBeGreaterThanOrEqual(0)
        expect(startBytes).toBeLessThan(PAGE)
        expect(guardBytes - startBytes - size).toBeGreaterThanOrEqual(0)
        expect(guardBytes - startBytes - size).toBeLessThan(align)
      }
    }
  })

  it('leaves out the guard where there is no space for one', () => {
    expect(debugLayoutOf(MAX_SPACE_BYTES, 16, PAGE)).toMatchObject({
      heldBytes: MAX_SPACE_BYTES,
      hasGuard: false,
    })
    expect(debugLayoutOf(MAX_SPACE_BYTES - PAGE, 16, PAGE)).toMatchObject({
      heldBytes: MAX_SPACE_BYTES,
      hasGuard: true,
    })
  })
})
