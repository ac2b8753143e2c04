import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { thrownBy } from '../support/world.js'

const opened: Arena[] = []
afterEach(() => {
  for (const arena of opened.splice(0)) arena.close()
})

function open(options?: unknown): Arena {
  const arena = new Arena(options as ArenaOptions)
  opened.push(arena)
  return arena
}

describe('new Arena', () => {
  it.each([null, 1, 'uploads', true, 5n, () => {}, Symbol('options')])('refuses %o for options', options => {
    expect(thrownBy(() => open(options))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })

  it.each([
    [{ name: 1 }],
    [{ name: null }],
    [{ name: {} }],
    [{ limitBytes: '1' }],
    [{ limitBytes: null }],
    [{ limitBytes: 1n }],
    [{ softLimitBytes: '1' }],
    [{ softLimitBytes: null }],
    [{ releaseAfterMs: '0' }],
    [{ releaseAfterMs: null }],
    [{ releaseAfterMs: false }],
    [{ detachFromBytes: '65536' }],
    [{ detachFromBytes: null }],
    [{ detachFromBytes: {} }],
    [{ debug: 1 }],
    [{ debug: 'true' }],
    [{ debug: null }],
    [{ debug: () => {} }],
    [{ hugePages: 0 }],
    [{ hugePages: null }],
    [{ prefault: 1 }],
    [{ prefault: null }],
  ])('refuses the wrong kind in %o', options => {
    const error = thrownBy(() => open(options))
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    expect(error?.message).toContain(`"options.${Object.keys(options)[0]}"`)
  })

  it.each(['quarantineBlocks', 'quarantineBytes'])('checks debug.%s', name => {
    for (const value of [null, '1', 1n]) {
      const error = thrownBy(() => open({ debug: { [name]: value } }))
      expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
      expect(error?.message).toContain(`"options.debug.${name}"`)
    }
    for (const value of [-1, Number.NaN]) {
      expect(thrownBy(() => open({ debug: { [name]: value } }))?.code).toBe('ERR_OUT_OF_RANGE')
    }
  })

  it.each([
    [{ name: '' }, 'ERR_INVALID_ARG_VALUE'],
    [{ name: 'n'.repeat(129) }, 'ERR_INVALID_ARG_VALUE'],
    [{ source: 'brk' }, 'ERR_INVALID_ARG_VALUE'],
    [{ source: 1 }, 'ERR_INVALID_ARG_VALUE'],
    [{ source: null }, 'ERR_INVALID_ARG_VALUE'],
    [{ limitBytes: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ limitBytes: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ limitBytes: Number.NEGATIVE_INFINITY }, 'ERR_OUT_OF_RANGE'],
    [{ softLimitBytes: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ softLimitBytes: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ releaseAfterMs: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ releaseAfterMs: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ releaseAfterMs: 2 ** 31 }, 'ERR_OUT_OF_RANGE'],
    [{ detachFromBytes: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ prefault: true, releaseAfterMs: 1_000 }, 'ERR_INVALID_ARG_VALUE'],
    [{ detachFromBytes: Number.NaN }, 'ERR_OUT_OF_RANGE'],
  ])('refuses the value in %o', (options, code) => {
    expect(thrownBy(() => open(options))).toMatchObject({ code })
  })

  it.each([
    { hugePages: true, source: 'sbrk' },
    { prefault: true, source: 'sbrk' },
  ])('says that it does not support %o yet, and what to do', options => {
    const error = thrownBy(() => open({ name: 'subject', ...options }))
    expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_NOT_SUPPORTED' })
    expect(error?.message).toContain("arena 'subject'")
    expect(error?.message).toContain(Object.keys(options)[0])
    expect(error?.message).toContain('Leave it out')
  })

  it('takes every option at its borders, and undefined for the default', () => {
    for (const options of [
      undefined,
      {},
      { name: undefined, limitBytes: undefined, releaseAfterMs: undefined, detachFromBytes: undefined },
      { source: 'mmap', debug: false, hugePages: false },
      { name: 'n'.repeat(128), limitBytes: 0, releaseAfterMs: 0, detachFromBytes: 0 },
      { limitBytes: Number.POSITIVE_INFINITY, releaseAfterMs: Number.POSITIVE_INFINITY },
      { detachFromBytes: Number.POSITIVE_INFINITY, releaseAfterMs: 2 ** 31 - 1 },
      { debug: true, detachFromBytes: Number.POSITIVE_INFINITY },
      { debug: {} },
      { debug: { quarantineBlocks: 0, quarantineBytes: undefined } },
      { debug: { quarantineBlocks: Number.POSITIVE_INFINITY, quarantineBytes: Number.POSITIVE_INFINITY } },
      { limitBytes: 1.5, releaseAfterMs: 0.25, detachFromBytes: 0.5 },
    ]) {
      open(options).check()
    }
  })
})
