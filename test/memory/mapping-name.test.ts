import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mappingName } from '../../src/memory/mapping-name.js'

describe('mappingName', () => {
  it('puts the name of the library before that of the arena', () => {
    expect(mappingName('uploads')).toBe('offheap: uploads')
  })

  it('replaces what the kernel refuses', () => {
    expect(mappingName('a\\b`c$d[e]f')).toBe('offheap: a_b_c_d_e_f')
    expect(mappingName('tab\tnul\0del\x7f')).toBe('offheap: tab_nul_del_')
    expect(mappingName('Größe 🦄')).toBe('offheap: Gr__e _')
  })

  it('is cut after 79 bytes', () => {
    expect(mappingName('x'.repeat(128))).toBe(`offheap: ${'x'.repeat(70)}`)
  })

  it('is always one that the kernel takes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 128 }), name => {
        expect(mappingName(name)).toMatch(/^(?=[^\\`$[\]]*$)[\x20-\x7e]{1,79}$/)
      }),
    )
  })
})
