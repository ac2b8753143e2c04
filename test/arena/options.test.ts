import { describe, expect, it } from 'vitest'
import type { AllocOptions } from '../../src/arena/arguments.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { Heap } from '../../src/heap/index.js'
import { open, thrownBy, worldWith } from '../support/world.js'

describe('options that do not exist', () => {
  const wrong: [options: object, key: string, meant: RegExp][] = [
    [{ limit: 1 }, 'options.limit', /did you mean 'limitBytes'/],
    [{ limitbytes: 1 }, 'options.limitbytes', /did you mean 'limitBytes'/],
    [{ softLimit: 1 }, 'options.softLimit', /did you mean 'softLimitBytes'/],
    [{ releaseAfter: 1 }, 'options.releaseAfter', /did you mean 'releaseAfterMs'/],
    [{ Debug: true }, 'options.Debug', /did you mean 'debug'/],
    [{ leak: 'all' }, 'options.leak', /did you mean 'leaks'/],
    [{ hugepages: true }, 'options.hugepages', /did you mean 'hugePages'/],
    [{ name: 'x', colour: undefined }, 'options.colour', /Known options: name, source/],
    [{ debug: { quarantineBlock: 1 } }, 'options.debug.quarantineBlock', /did you mean 'quarantineBlocks'/],
    [Object.create({ limit: 1 }), 'options.limit', /did you mean 'limitBytes'/],
  ]

  it.each(wrong)('are refused by an arena, by name: %o', (options, key, meant) => {
    const error = thrownBy(() => worldWith(options as ArenaOptions))
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(error?.message).toContain(`'${key}'`)
    expect(error?.message).toMatch(meant)
  })

  it.each([{ alignment: 64 }, { align: 64, zero: true }, { offset: undefined }])(
    'are refused by all that allocates: %o',
    options => {
      const { arena } = open()
      const scope = arena.scope()
      const before = arena.stats()
      for (const from of [arena, scope]) {
        for (const method of ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const) {
          for (const size of [0, 64, 100_000]) {
            const error = thrownBy(() => from[method](size, options as AllocOptions))
            expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
          }
        }
      }
      expect(arena.stats()).toEqual(before)
    },
  )

  it('are refused by a heap', () => {
    const options = { capacityBytes: 2 ** 20, pagebytes: 4096 }
    const error = thrownBy(() => new Heap(options))
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    expect(error?.message).toMatch(/'options\.pagebytes' .*did you mean 'pageBytes'/)
  })

  it.each([[[]], [['mmap']], [64], ['x'], [null], [() => {}]])('nor is %o an object of options', options => {
    const { arena } = open()
    for (const call of [
      () => worldWith(options as ArenaOptions),
      () =>
        worldWith({ debug: options === null || Array.isArray(options) ? (options as object) : 1 } as object),
      () => arena.alloc(64, options as AllocOptions),
      () => new Heap(options as unknown as { capacityBytes: number }),
    ]) {
      expect(thrownBy(call)?.code).toBe('ERR_INVALID_ARG_TYPE')
    }
  })
})
