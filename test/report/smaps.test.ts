import { describe, expect, it } from 'vitest'
import { hasFlag, parseSmaps } from '../../src/report/smaps.js'
import { RECORDINGS, recording } from './recordings.js'

const HEAP = `32401000-37e7d000 rw-p 00000000 00:00 0                                  [heap]
Size:              92656 kB
KernelPageSize:        4 kB
Rss:               92468 kB
Pss:               92468 kB
Swap:                 12 kB
SwapPss:               3 kB
VmFlags: rd wr mr mw me ac 
`
const LIBRARY = `7f9424c1e000-7f9424c44000 r--p 00000000 08:01 1234                       /opt/a b/lib (x).so (deleted)
Rss:                 152 kB
`

describe('parseSmaps', () => {
  it('reads what a mapping is', () => {
    expect(parseSmaps(HEAP + LIBRARY)).toEqual([
      {
        start: 0x32401000,
        end: 0x37e7d000,
        permissions: 'rw-p',
        path: '[heap]',
        residentBytes: 92468 * 1024,
        swappedBytes: 12 * 1024,
        flags: 'rd wr mr mw me ac',
      },
      {
        start: 0x7f9424c1e000,
        end: 0x7f9424c44000,
        permissions: 'r--p',
        path: '/opt/a b/lib (x).so (deleted)',
        residentBytes: 152 * 1024,
        swappedBytes: 0,
        flags: '',
      },
    ])
  })

  it('reads the last address of the 64-bit space, and a text that was cut', () => {
    const [vsyscall] = parseSmaps(
      'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]\nRss: 0 kB',
    )
    expect(vsyscall).toMatchObject({ path: '[vsyscall]', residentBytes: 0 })
    expect(parseSmaps('')).toEqual([])
    expect(parseSmaps('no such thing\n\nRss: 4 kB\n')).toEqual([])
    expect(parseSmaps(HEAP.slice(0, 20))).toEqual([])
    expect(parseSmaps(HEAP.slice(0, 90))).toMatchObject([{ path: '[heap]', residentBytes: 0 }])
  })

  it('counts a mapping once that grew while the text was written', () => {
    const grown = HEAP.replace('32401000-37e7d000', '32401000-40000000').replace(/92468/g, '95000')
    const [only, ...others] = parseSmaps(HEAP + grown)
    expect(others).toEqual([])
    expect(only).toMatchObject({ end: 0x40000000, residentBytes: 95000 * 1024 })
    // It was joined with the two before it.
    const before = LIBRARY.replace('7f9424c1e000-7f9424c44000', '30000000-31000000')
    const joined = HEAP.replace('32401000-37e7d000', '30000000-40000000')
    expect(parseSmaps(before + HEAP + joined)).toMatchObject([{ start: 0x30000000, end: 0x40000000 }])
  })

  it('counts a part of a mapping within which another one began', () => {
    const inside = LIBRARY.replace('7f9424c1e000-7f9424c44000', '3513f000-37e7d000')
    expect(parseSmaps(HEAP + inside)).toMatchObject([
      { start: 0x32401000, end: 0x3513f000, residentBytes: 46234 * 1024, swappedBytes: 6 * 1024 },
      { start: 0x3513f000, end: 0x37e7d000, residentBytes: 152 * 1024 },
    ])
  })

  it.each(RECORDINGS)('reads every mapping of a real process: %s', name => {
    const text = recording(name)
    const mappings = parseSmaps(text)
    expect(mappings.length).toBe([...text.matchAll(/^Size:/gm)].length)
    for (const [field, of] of [
      ['Rss', 'residentBytes'],
      ['Swap', 'swappedBytes'],
    ] as const) {
      const kilobytes = [...text.matchAll(new RegExp(`^${field}: +(\\d+) kB$`, 'gm'))].map(([, number]) =>
        Number(number),
      )
      expect(mappings.map(mapping => mapping[of])).toEqual(kilobytes.map(number => number * 1024))
    }
    for (const { start, end, permissions, flags } of mappings) {
      expect(end).toBeGreaterThan(start)
      expect(permissions).toMatch(/^[r-][w-][x-][ps]$/)
      expect(flags).toMatch(/^[a-z]{2}(?: [a-z]{2})*$/)
    }
    expect(mappings.map(({ start }) => start)).toEqual(
      mappings.map(({ start }) => start).sort((a, b) => a - b),
    )
  })
})

describe('hasFlag', () => {
  it('takes a whole flag', () => {
    const [heap] = parseSmaps(HEAP)
    expect([hasFlag(heap, 'ac'), hasFlag(heap, 'me'), hasFlag(heap, 'dc'), hasFlag(heap, 'r m')]).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})
