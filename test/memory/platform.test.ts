/** What is said where the addon cannot work. On other systems: arena/heap-arena.test.ts. */
import { describe, expect, it } from 'vitest'
import { loadAddon, requireWraps } from '../../src/memory/addon.js'
import { runFunction } from '../support/child.js'
import { thrownBy } from '../support/world.js'

describe('a runtime that allows no ArrayBuffer over memory of an addon', () => {
  it('is refused, before any arena is made', () => {
    const error = thrownBy(() => requireWraps({ allowsWraps: () => false }))
    expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_UNSUPPORTED_PLATFORM' })
    expect(error?.message).toMatch(/sandbox.*source: 'heap'/)
  })
})

describe('the trial', () => {
  it('passes here', () => {
    expect(thrownBy(() => requireWraps(loadAddon()))).toBeUndefined()
  })

  it.each([
    ['small', 64],
    ['detached', 100_000],
  ])(
    'detaches nothing: V8 notes the first buffer that is detached only with blocks that are %s',
    async (_, size) => {
      const { code, stdout } = await runFunction(
        ({ Arena }, size) => {
          const arena = new Arena()
          arena.free(arena.alloc(size))
          console.log('at work')
          // The end of the process detaches buffers, too.
          process.exit()
        },
        size,
        { nodeArgs: ['--trace-protector-invalidation'] },
      )
      const [before] = stdout.split('at work')
      expect(code).toBe(0)
      expect(before.includes('ArrayBufferDetaching')).toBe(size === 100_000)
    },
  )
})
