/**
 * Names of mappings, in real processes with a library before the kernel's `prctl`: this tells what the kernel is asked, and answers
 * as kernels with and without names do.
 */
import { constants as os } from 'node:os'
import { describe, expect, it } from 'vitest'
import { askedBy } from './names-asked.js'

describe('each mapping of an arena', () => {
  it('is named after it, and those of books as books', async () => {
    const asked = await askedBy('one', 0)
    expect(new Set(asked)).toEqual(new Set(['0 offheap: up_loads_', '0 offheap: books']))
  })

  it('is named without what the kernel refuses, and in 79 bytes at most', async () => {
    const asked = (await askedBy('names', 0)).filter(name => name !== '0 offheap: books')
    expect(new Set(asked)).toEqual(
      new Set([
        '0 offheap: a_b_c_d_e_f',
        '0 offheap: tab_nul_del_',
        '0 offheap: Gr__e _',
        `0 offheap: ${'x'.repeat(70)}`,
      ]),
    )
  })

  it('is named in a Worker, too', async () => {
    const asked = await askedBy('worker', 0)
    expect(asked).toEqual(expect.arrayContaining(['0 offheap: of a worker', '0 offheap: main']))
  })

  it('has no name where it is a piece of a slab, which many arenas share', async () => {
    expect(await askedBy('small', 0)).toEqual(['0 offheap: books'])
  })
})

describe('a kernel without names', () => {
  it.each(['EINVAL', 'EPERM', 'ENOSYS'] as const)('is asked once: %s', async code => {
    expect((await askedBy('one', os.errno[code])).length).toBe(1)
    expect((await askedBy('worker', os.errno[code])).length).toBe(1)
  })

  it('is asked again where it only had no room', async () => {
    expect((await askedBy('one', os.errno.ENOMEM)).length).toBeGreaterThan(1)
  })
})
