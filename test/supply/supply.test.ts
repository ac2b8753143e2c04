import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest'
import { MIB } from '../../src/base/units.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { open, thrownBy } from '../support/world.js'

let asked: MockInstance<(sizeBytes: number) => number>

beforeEach(() => {
  asked = vi.spyOn(BlockHeap.prototype, 'allocate')
})

afterEach(() => {
  asked.mockRestore()
})

describe('a block that the heap has refused', () => {
  it('is asked for again once there are more pages, not before', () => {
    const { arena } = open()
    arena.allocUnsafe(1_000)
    expect(asked).toHaveBeenCalledTimes(2)
    arena.check()
    arena.close()
  })

  it('is not asked for again where a limit allows no more', () => {
    const { arena } = open({ limitBytes: MIB })
    arena.allocUnsafe(MIB)
    asked.mockClear()
    expect(thrownBy(() => arena.allocUnsafe(1_000))?.code).toBe('ERR_ARENA_LIMIT')
    expect(asked).toHaveBeenCalledTimes(1)
    arena.check()
    arena.close()
  })

  it('is asked for again after an interrupted change was finished', () => {
    const { arena } = open()
    const kept = arena.allocUnsafe(1_000)
    vi.spyOn(BlockHeap.prototype, 'listLive').mockImplementationOnce(() => {
      throw new Error('interrupted')
    })
    expect(() => arena.reset()).toThrow('interrupted')
    arena.allocUnsafe(1_000)
    expect(thrownBy(() => arena.free(kept))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, liveBytes: 1_000 })
    arena.check()
    arena.close()
  })
})
