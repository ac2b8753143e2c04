/** What is said where the addon cannot work. On other systems: arena/heap-arena.test.ts. */
import { describe, expect, it } from 'vitest'
import { requireWraps } from '../../src/memory/addon.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { thrownBy, turns } from '../support/world.js'

/** A runtime that refuses what the binary asks of it, with the error that the binary then throws. */
class Sandbox extends FaultyKernel {
  override wrap(): never {
    throw Object.assign(new Error('This runtime does not allow it'), { code: 'ERR_ARENA_NOT_SUPPORTED' })
  }
}

describe('a runtime that allows no ArrayBuffer over memory of an addon', () => {
  it('is noticed when the addon is loaded, and leaves nothing mapped', async () => {
    const kernel = new Sandbox()
    const error = thrownBy(() => requireWraps(kernel))
    expect(error).toMatchObject({
      name: 'ArenaError',
      code: 'ERR_ARENA_UNSUPPORTED_PLATFORM',
      cause: { code: 'ERR_ARENA_NOT_SUPPORTED' },
    })
    expect(error?.message).toMatch(/sandbox.*source: 'heap'/)
    await turns(4)
    expect(kernel.mappings.size).toBe(0)
  })
})

describe('the trial', () => {
  it('passes here, and leaves nothing mapped', async () => {
    const kernel = new FaultyKernel()
    requireWraps(kernel)
    expect(kernel.counts.wrap).toBe(1)
    await turns(4)
    expect(kernel.mappings.size).toBe(0)
  })

  it.each(['map', 'wrap'] as const)(
    'says nothing where memory is short (%s), and leaves nothing mapped',
    async kind => {
      const kernel = new FaultyKernel()
      kernel.refuse(kind)
      requireWraps(kernel)
      expect(kernel.failures).toBe(1)
      await turns(4)
      expect(kernel.mappings.size).toBe(0)
    },
  )
})
