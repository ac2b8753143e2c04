/**
 * Tests of other files once more, for arenas with `source: 'heap'` where they name no source: those that ask for nothing but what
 * an arena does. What only mappings do (addresses, calls of the kernel, guards) is not among them.
 */
import { describe, expect, it, vi } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'

// All else is real. Only the default is another.
vi.mock('../../src/arena/options.js', async importOriginal => {
  const original = await importOriginal<typeof import('../../src/arena/options.js')>()
  const resolveOptions = (options: ArenaOptions) => {
    const isPlain = typeof options === 'object' && options !== null && !('source' in options)
    return original.resolveOptions(isPlain ? { source: 'heap', ...options } : options)
  }
  return { ...original, resolveOptions }
})

describe('what follows', () => {
  it("is about source: 'heap'", () => {
    const arena = new Arena()
    expect(arena.stats().source).toBe('heap')
    arena.close()
  })
})

// Each in a suite of its own, because of what it does after each of its tests.
describe('scopes', () => import('./scope.test.js').then(() => {}))
describe('owners', () => import('./ownership.test.js').then(() => {}))
describe('operations', () => import('./operations.test.js').then(() => {}))
describe('changes', () => import('./changes.test.js').then(() => {}))
describe('limits', () => import('../supply/limits.test.js').then(() => {}))
describe('channels', () => import('../notices/channels.test.js').then(() => {}))
describe('leaks', () => import('../buffers/leaks.test.js').then(() => {}))
