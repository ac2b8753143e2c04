import { describe, expect, it } from 'vitest'
import type { AllocOptions } from '../../src/arena/arguments.js'
import { Scope, type ScopeArena } from '../../src/arena/scope.js'
import { isMarked, isZero, mark, open, thrownBy } from '../support/world.js'

const SIZES = [0, 1, 64, 1_000, 20_000, 64 * 1024, 300_000]

describe('a scope', () => {
  it.each([undefined, 0, Number.POSITIVE_INFINITY])(
    'frees what it handed out, and nothing else (detachFromBytes %s)',
    detachFromBytes => {
      const { arena } = open(detachFromBytes === undefined ? {} : { detachFromBytes })
      const others = SIZES.map((size, index) => {
        const block = arena.allocUnsafe(size)
        mark(block, index)
        return block
      })
      const before = arena.stats()
      const scope = arena.scope()
      const blocks: Buffer[] = []
      for (const size of SIZES) {
        const zeroed = [scope.alloc(size), scope.tryAlloc(size) as Buffer]
        expect(zeroed.every(isZero)).toBe(true)
        blocks.push(...zeroed, scope.allocUnsafe(size), scope.tryAllocUnsafe(size, { align: 64 }) as Buffer)
      }
      expect(blocks.map(block => block.length)).toEqual(SIZES.flatMap(size => [size, size, size, size]))
      scope.end()
      arena.check()
      const { liveBlocks, liveBytes } = before
      expect(arena.stats()).toMatchObject({ liveBlocks, liveBytes })
      for (const block of blocks)
        expect(thrownBy(() => arena.free(block))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
      others.forEach((block, index) => {
        expect(isMarked(block, index)).toBe(true)
      })
    },
  )

  it('gives everything back', () => {
    const { arena } = open()
    const scope = arena.scope()
    for (let i = 0; i < 5_000; i++) scope.allocUnsafe(i)
    scope.end()
    arena.trim()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, usedBytes: 0, dirtyBytes: 0 })
  })

  it('passes over what was freed by hand, and what came there since', () => {
    const { arena } = open()
    const scope = arena.scope()
    const blocks = [64, 1_000, 100_000, 0].map(size => scope.alloc(size))
    for (const block of blocks) arena.free(block)
    const since = [64, 1_000, 100_000, 0].map(size => arena.allocUnsafe(size).fill(7))
    scope.end()
    arena.check()
    expect(arena.stats().liveBlocks).toBe(4)
    expect(since.every(block => block.every(byte => byte === 7))).toBe(true)
  })

  it('that has ended says so, whatever is asked of it, and ends again in silence', () => {
    const { arena } = open({ name: 'subject' })
    const scope = arena.scope()
    const block = arena.alloc(64)
    scope[Symbol.dispose]()
    scope.end()
    const before = arena.stats()
    const calls: (() => unknown)[] = [
      () => scope.alloc(64),
      () => scope.allocUnsafe(64),
      () => scope.tryAlloc(64),
      () => scope.tryAllocUnsafe(64),
      () => scope.realloc(block, 64),
      () => scope.keep(block),
      () => scope.scope(),
    ]
    for (const call of calls) {
      const error = thrownBy(call)
      expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_SCOPE_ENDED' })
      expect(error?.message).toContain("arena 'subject'")
    }
    expect(arena.stats()).toEqual(before)
  })

  it('throws what the arena throws, and holds what it held', () => {
    const { arena } = open({ limitBytes: 2 ** 20 })
    const scope = arena.scope()
    scope.alloc(64)
    const before = arena.stats()
    expect(thrownBy(() => scope.alloc(-1))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(thrownBy(() => scope.allocUnsafe(64, { align: 3 }))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(thrownBy(() => scope.alloc(2 ** 21))?.code).toBe('ERR_ARENA_LIMIT')
    expect(scope.tryAlloc(2 ** 21)).toBeUndefined()
    expect(scope.tryAllocUnsafe(2 ** 21)).toBeUndefined()
    expect(thrownBy(() => scope.realloc(Buffer.alloc(5), 6))?.code).toBe('ERR_ARENA_FOREIGN_BUFFER')
    expect(arena.stats()).toEqual(before)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('frees pinned blocks at their last unpin', () => {
    const { arena } = open()
    const scope = arena.scope()
    const blocks = [0, 64, 100_000].map(size => scope.alloc(size))
    for (const block of blocks) arena.pin(block)
    arena.free(blocks[1])
    scope.alloc(5_000)
    scope.end()
    arena.check()
    expect(arena.stats()).toMatchObject({ liveBlocks: 3, pinnedBlocks: 3 })
    expect(blocks[2].length).toBe(100_000)
    for (const block of blocks) arena.unpin(block)
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
  })

  it.each(['reset', 'close'] as const)('ends in silence after the arena’s %s', how => {
    const { arena } = open()
    const scope = arena.scope()
    const child = scope.scope()
    for (const size of SIZES) child.alloc(size)
    scope.alloc(64)
    arena[how]()
    if (how === 'close') {
      expect(thrownBy(() => scope.alloc(64))?.code).toBe('ERR_ARENA_CLOSED')
      expect(thrownBy(() => scope.scope())?.code).toBe('ERR_ARENA_CLOSED')
      expect(thrownBy(() => arena.scope())?.code).toBe('ERR_ARENA_CLOSED')
    } else {
      arena.alloc(64)
      scope.alloc(64)
    }
    scope.end()
    arena.check()
    expect(arena.stats().liveBlocks).toBe(how === 'close' ? 0 : 1)
  })

  it('gives out nothing while the arena waits to close, and ends', async () => {
    const { arena } = open()
    const scope = arena.scope()
    const block = scope.alloc(64)
    arena.pin(block)
    const closed = arena.closeWhenIdle()
    for (const call of [() => scope.alloc(64), () => scope.scope(), () => scope.realloc(block, 5)]) {
      expect(thrownBy(call)?.code).toBe('ERR_ARENA_CLOSED')
    }
    scope.end()
    arena.check()
    arena.unpin(block)
    await closed
  })

  it('forgets what was freed by hand: a long one does not grow', () => {
    const { arena } = open()
    // Whatever a scope remembers, it asks about at its end.
    let asked = 0
    const scope = new Scope({
      arena,
      requireGiving: () => {},
      requireLive: () => {},
      isLive: () => {
        asked++
        return false
      },
    })
    for (let i = 0; i < 10_000; i++) arena.free(scope.allocUnsafe(64))
    asked = 0
    scope.end()
    expect(asked).toBeLessThanOrEqual(256)
  })
})

describe('nested scopes', () => {
  it('end with their parent, or before it', () => {
    const { arena } = open()
    const parent = arena.scope()
    const [first, second] = [parent.scope(), parent.scope()]
    const grandchild = second.scope()
    for (const scope of [parent, first, second, grandchild]) scope.alloc(100_000)
    first.end()
    expect(arena.stats().liveBlocks).toBe(3)
    parent.end()
    expect(arena.stats().liveBlocks).toBe(0)
    for (const scope of [first, second, grandchild]) {
      expect(thrownBy(() => scope.alloc(1))?.code).toBe('ERR_ARENA_SCOPE_ENDED')
      scope.end()
    }
    arena.check()
  })
})

describe('keep', () => {
  it('takes a block out of the scope, wherever in it', () => {
    const { arena } = open()
    const scope = arena.scope()
    const blocks = Array.from({ length: 5 }, (_, i) => scope.allocUnsafe(1_000 * i).fill(i))
    for (const index of [4, 0, 2]) expect(scope.keep(blocks[index])).toBe(blocks[index])
    scope.end()
    arena.check()
    expect(arena.stats().liveBlocks).toBe(3)
    for (const index of [0, 2, 4]) {
      expect(blocks[index].every(byte => byte === index)).toBe(true)
      arena.free(blocks[index])
    }
    for (const index of [1, 3]) {
      expect(thrownBy(() => arena.free(blocks[index]))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    }
  })

  it('leaves a block of a nested scope to no scope', () => {
    const { arena } = open()
    const parent = arena.scope()
    const child = parent.scope()
    const block = child.keep(child.alloc(64))
    parent.end()
    expect(arena.stats().liveBlocks).toBe(1)
    arena.free(block)
  })

  it('refuses what the scope does not hold', () => {
    const { arena } = open()
    const scope = arena.scope()
    const [held, kept, spent] = [64, 64, 64].map(size => scope.alloc(size))
    scope.keep(kept)
    arena.free(spent)
    const before = arena.stats()
    const misuses: [unknown, string][] = [
      [kept, 'ERR_INVALID_ARG_VALUE'],
      [Buffer.alloc(8), 'ERR_ARENA_FOREIGN_BUFFER'],
      [spent, 'ERR_ARENA_DOUBLE_FREE'],
      [held.subarray(0), 'ERR_ARENA_NOT_OWNER'],
      [{}, 'ERR_INVALID_ARG_TYPE'],
      [undefined, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [buffer, code] of misuses) {
      expect(thrownBy(() => scope.keep(buffer as Buffer))?.code).toBe(code)
    }
    expect(arena.stats()).toEqual(before)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(1)
    arena.free(kept)
  })
})

describe('realloc', () => {
  it('leaves the new block to the scope', () => {
    const { arena } = open()
    const scope = arena.scope()
    let block = scope.allocUnsafe(64)
    mark(block, 5)
    for (const size of [80, 5_000, 100_000, 200_000]) {
      block = scope.realloc(block, size)
      expect(isMarked(block, 5, 64)).toBe(true)
    }
    const elsewhere = arena.alloc(100)
    scope.realloc(elsewhere, 1_000)
    expect(arena.stats().liveBlocks).toBe(2)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('of the arena takes the block out of the scope', () => {
    const { arena } = open()
    const scope = arena.scope()
    const block = arena.realloc(scope.alloc(64), 100)
    scope.end()
    expect(arena.stats().liveBlocks).toBe(1)
    arena.free(block)
  })
})

describe('the end of a scope', () => {
  it('frees all that can be freed before it throws', () => {
    const freed: Uint8Array[] = []
    const faults = [new Error('one'), new Error('two')]
    const arena = {
      name: 'subject',
      allocUnsafe: (size: number) => Buffer.alloc(size),
      free: (buffer: Uint8Array) => {
        if (faults[buffer.length] !== undefined) throw faults[buffer.length]
        freed.push(buffer)
      },
    } as unknown as ScopeArena
    const scopeWith = (sizes: number[]) => {
      const host = { arena, requireGiving: () => {}, requireLive: () => {}, isLive: () => true }
      const scope = new Scope(host)
      const child = scope.scope()
      for (const [index, size] of sizes.entries()) (index % 2 === 0 ? scope : child).allocUnsafe(size)
      return scope
    }
    expect(thrownBy(() => scopeWith([5, 0, 6, 7]).end())).toBe(faults[0])
    expect(freed.splice(0).map(buffer => buffer.length)).toEqual([7, 5, 6])
    const scope = scopeWith([5, 0, 1, 7])
    const error = thrownBy(() => scope.end())
    expect(error).toBeInstanceOf(AggregateError)
    expect((error as AggregateError).errors).toEqual(faults)
    expect(freed.splice(0).map(buffer => buffer.length)).toEqual([7, 5])
    // Those that were refused are still there: nothing is lost, and nothing is freed twice.
    expect((thrownBy(() => scope.end()) as AggregateError).errors).toEqual(faults)
    faults.length = 0
    scope.end()
    expect(freed.splice(0).map(buffer => buffer.length)).toEqual([0, 1])
    scope.end()
    expect(freed).toEqual([])
  })

  it('nests as deep, and as wide, as there is memory for', () => {
    const { arena } = open()
    for (const depth of [20_000, 200_000]) {
      const outermost = arena.scope()
      let innermost = outermost
      for (let i = 0; i < depth; i++) {
        if (i % 10 === 0) innermost.allocUnsafe(16)
        innermost = innermost.scope()
      }
      outermost.end()
      expect(arena.stats().liveBlocks).toBe(0)
      expect(thrownBy(() => innermost.alloc(1))?.code).toBe('ERR_ARENA_SCOPE_ENDED')
      expect(thrownBy(() => innermost.scope())?.code).toBe('ERR_ARENA_SCOPE_ENDED')
      innermost.end()
    }
    const parent = arena.scope()
    for (let i = 0; i < 200_000; i++) parent.scope()
    parent.scope().alloc(64)
    parent.end()
    expect(arena.stats().liveBlocks).toBe(0)
    arena.check()
  })

  it('that does not come to its end frees the rest when it is called again', () => {
    const { arena } = open()
    const outer = arena.scope()
    const inner = outer.scope()
    for (let i = 0; i < 1_000; i++) (i % 2 === 0 ? outer : inner).allocUnsafe(64)
    const free = arena.free
    let left = 0
    arena.free = buffer => {
      if (left-- <= 0) throw new RangeError('Maximum call stack size exceeded')
      free.call(arena, buffer)
    }
    let liveBlocks = 1_000
    for (const scope of [inner, outer, outer, inner]) {
      left = 100
      expect((thrownBy(() => scope.end()) as AggregateError).errors[0]).toBeInstanceOf(RangeError)
      liveBlocks -= 100
      expect(arena.stats().liveBlocks).toBe(liveBlocks)
      expect(thrownBy(() => scope.alloc(1))?.code).toBe('ERR_ARENA_SCOPE_ENDED')
    }
    arena.free = free
    outer.end()
    expect(arena.stats().liveBlocks).toBe(0)
    arena.check()
  })
})

/** Options of which one is an accessor that runs script. */
function optionsThatRun(script: () => void): AllocOptions {
  return {
    get align() {
      script()
      return 64
    },
  }
}

describe('script that ends a scope in the middle of a call', () => {
  it.each([0, 64, 100_000])('leaves no block behind (%i bytes)', size => {
    const { arena } = open()
    for (const method of ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const) {
      for (const depth of [0, 1, 2]) {
        const outer = arena.scope()
        let scope = outer
        for (let i = 0; i < depth; i++) scope = scope.scope()
        outer.allocUnsafe(64)
        const error = thrownBy(() =>
          scope[method](
            size,
            optionsThatRun(() => outer.end()),
          ),
        )
        expect(error).toMatchObject({ name: 'ArenaError', code: 'ERR_ARENA_SCOPE_ENDED' })
        expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0 })
      }
    }
    arena.check()
  })

  it.each(['reset', 'close'] as const)('and the arena, by its %s', how => {
    const { arena } = open()
    const scope = arena.scope()
    const options = optionsThatRun(() => {
      scope.end()
      arena[how]()
    })
    const code = how === 'close' ? 'ERR_ARENA_CLOSED' : 'ERR_ARENA_SCOPE_ENDED'
    expect(thrownBy(() => scope.alloc(64, options))?.code).toBe(code)
    expect(arena.stats().liveBlocks).toBe(0)
  })

  it('by a formatter of stacks, too', () => {
    const { arena } = open({ leaks: 'all' })
    const { prepareStackTrace } = Error
    for (const method of ['alloc', 'allocUnsafe', 'realloc'] as const) {
      const elsewhere = arena.allocUnsafe(64)
      const scope = arena.scope()
      let endings = 0
      Error.prepareStackTrace = () => {
        endings++
        scope.end()
        return ''
      }
      let error: Error | undefined
      try {
        error = thrownBy(() =>
          method === 'realloc' ? scope.realloc(elsewhere, 5_000) : scope[method](100, { align: 64 }),
        )
      } finally {
        Error.prepareStackTrace = prepareStackTrace
      }
      if (endings > 0) expect(error?.name).toBe('ArenaError')
      if (method !== 'realloc') arena.free(elsewhere)
      scope.end()
      expect(arena.stats().liveBlocks).toBe(0)
    }
    arena.check()
  })
})

describe('keep of many', () => {
  const orders: Record<string, (count: number) => number[]> = {
    'newest first': count => Array.from({ length: count }, (_, i) => count - 1 - i),
    'oldest first': count => Array.from({ length: count }, (_, i) => i),
    'every other one first': count => Array.from({ length: count }, (_, i) => (i * 2) % (count | 1)),
    'in no order': count => {
      const indexes = Array.from({ length: count }, (_, i) => i)
      let state = 1
      for (let i = count - 1; i > 0; i--) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        const other = state % (i + 1)
        ;[indexes[i], indexes[other]] = [indexes[other], indexes[i]]
      }
      return indexes
    },
  }

  it.each(Object.keys(orders))('takes time in proportion to them, %s', order => {
    const { arena } = open()
    const millisecondsFor = (count: number): number => {
      const scope = arena.scope()
      const blocks = Array.from({ length: count }, () => scope.allocUnsafe(16))
      const indexes = orders[order](count)
      const start = performance.now()
      for (const index of indexes) scope.keep(blocks[index % count])
      const taken = performance.now() - start
      scope.end()
      expect(arena.stats().liveBlocks).toBe(count)
      for (const block of blocks) arena.free(block)
      return taken
    }
    millisecondsFor(5_001)
    // Ten times as many took a hundred times as long. Once is enough: others run on this machine, and the collector here.
    const ratios: number[] = []
    for (let run = 0; run < 10 && !ratios.some(ratio => ratio < 40); run++)
      ratios.push(millisecondsFor(50_001) / Math.max(millisecondsFor(5_001), 0.2))
    expect(Math.min(...ratios), `ratios of ten runs: ${ratios}`).toBeLessThan(40)
  })

  it('ends and frees what it still holds in the order of asking', () => {
    const { arena } = open()
    const scope = arena.scope()
    const blocks = Array.from({ length: 3_000 }, () => scope.allocUnsafe(16))
    const kept = new Set(blocks.filter((_, index) => index % 3 === 0))
    for (const block of kept) scope.keep(block)
    for (const block of kept) {
      expect(thrownBy(() => scope.keep(block))?.code).toBe('ERR_INVALID_ARG_VALUE')
      break
    }
    const later = Array.from({ length: 500 }, () => scope.allocUnsafe(16))
    const freed: Uint8Array[] = []
    const free = arena.free
    arena.free = buffer => {
      freed.push(buffer)
      free.call(arena, buffer)
    }
    scope.end()
    expect(freed).toHaveLength(2_500)
    const expected = [...blocks.filter(block => !kept.has(block)), ...later]
    expect(freed.every((block, index) => block === expected[index])).toBe(true)
    expect(arena.stats().liveBlocks).toBe(kept.size)
    arena.check()
  })
})
