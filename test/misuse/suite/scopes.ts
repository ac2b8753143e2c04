/** Scopes ended twice, used after their end, in the wrong order, or for blocks of others. */
import type { MisuseGroup } from './case.js'

export const SCOPES: MisuseGroup = {
  title: 'scopes',
  cases: [
    {
      name: 'end twice',
      body: `const scope = arena.scope()
        scope.alloc(SMALL)
        return [kindOf(() => scope.end()), kindOf(() => scope.end()), kindOf(() => scope[Symbol.dispose]())]`,
      expected: [null, null, null],
    },
    {
      name: 'use after the end',
      body: `const scope = arena.scope()
        const block = scope.alloc(SMALL)
        scope.end()
        const calls = [
          () => scope.alloc(1), () => scope.allocUnsafe(1), () => scope.tryAlloc(1), () => scope.tryAllocUnsafe(1),
          () => scope.realloc(block, 1), () => scope.keep(block), () => scope.scope(),
        ]
        return [...new Set(calls.map(kindOf))]`,
      expected: ['ERR_ARENA_SCOPE_ENDED'],
    },
    {
      name: 'a block used after the end of its scope',
      body: `const scope = arena.scope()
        const blocks = [scope.alloc(SMALL), scope.alloc(LARGE)]
        scope.end()
        return [
          blocks.map(block => kindOf(() => arena.pin(block))), blocks.map(block => kindOf(() => arena.realloc(block, 1))),
          blocks[1].length,
        ]`,
      expected: [
        ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
        ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
        0,
      ],
    },
    {
      name: 'keep of what it does not hold',
      body: `const [scope, other] = [arena.scope(), arena.scope()]
        const kept = scope.alloc(SMALL)
        const freed = scope.alloc(SMALL)
        scope.keep(kept)
        arena.free(freed)
        const things = [arena.alloc(SMALL), other.alloc(SMALL), scope.scope().alloc(SMALL), kept, freed, Buffer.alloc(1), new Arena().alloc(1), kept.subarray(1), 5]
        return things.map(thing => kindOf(() => scope.keep(thing)))`,
      expected: [
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_ARENA_DOUBLE_FREE',
        'ERR_ARENA_FOREIGN_BUFFER',
        'ERR_ARENA_FOREIGN_BUFFER',
        'ERR_ARENA_NOT_OWNER',
        'ERR_INVALID_ARG_TYPE',
      ],
    },
    {
      name: 'free within it, by hand, and the memory in use again at its end',
      body: `return [SMALL, LARGE].map(size => {
        const scope = arena.scope()
        arena.free(scope.alloc(size))
        const next = arena.allocUnsafe(size).fill(5)
        scope.end()
        return isAll(next, 5)
      })`,
      expected: [true, true],
    },
    {
      name: 'nested ones ended in the wrong order',
      body: `const outer = arena.scope()
        const inner = outer.scope()
        const innermost = inner.scope()
        const block = innermost.alloc(LARGE)
        outer.end()
        return [block.length, kindOf(() => innermost.alloc(1)), kindOf(() => inner.end()), kindOf(() => innermost.end())]`,
      expected: [0, 'ERR_ARENA_SCOPE_ENDED', null, null],
    },
    {
      name: 'a reset within it: what came later is not freed with it',
      body: `live.length = 0
        const scope = arena.scope()
        const before = scope.alloc(SMALL)
        arena.reset()
        const next = arena.allocUnsafe(SMALL).fill(5)
        const mine = scope.alloc(LARGE)
        scope.end()
        return [isAll(next, 5), mine.length, kindOf(() => arena.free(before))]`,
      expected: [true, 0, 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'an arena closed within it',
      body: `const scope = arena.scope()
        scope.alloc(SMALL)
        arena.close()
        return [kindOf(() => scope.alloc(1)), kindOf(() => scope.scope()), kindOf(() => scope.end()), kindOf(() => arena.scope())]`,
      expected: ['ERR_ARENA_CLOSED', 'ERR_ARENA_CLOSED', null, 'ERR_ARENA_CLOSED'],
    },
    {
      name: 'pins within it: their blocks end at the last unpin',
      body: `const scope = arena.scope()
        const block = scope.allocUnsafe(LARGE).fill(0x66)
        arena.pin(block)
        scope.end()
        const isWhole = isAll(block, 0x66)
        arena.unpin(block)
        return [isWhole, block.length]`,
      expected: [true, 0],
    },
    {
      name: 'ended by what allocates from it',
      body: `const scope = arena.scope()
        const { liveBlocks } = arena.stats()
        const outcome = kindOf(() => scope.alloc(LARGE, { get align() { scope.end(); return 16 } }))
        return [outcome, kindOf(() => scope.alloc(1)), arena.stats().liveBlocks - liveBlocks]`,
      expected: ['ERR_ARENA_SCOPE_ENDED', 'ERR_ARENA_SCOPE_ENDED', 0],
    },
  ],
}

export const CLOSING: MisuseGroup = {
  title: 'reset, trim and close',
  cases: [
    {
      name: 'close twice, and everything after it',
      body: `const block = arena.alloc(SMALL)
        arena.close(); arena.close(); arena[Symbol.dispose]()
        await arena.closeWhenIdle()
        const calls = [
          () => arena.alloc(1), () => arena.alloc(0), () => arena.allocUnsafe(1), () => arena.tryAlloc(1), () => arena.tryAllocUnsafe(1),
          () => arena.realloc(block, 1), () => arena.free(block), () => arena.pin(block), () => arena.unpin(block),
          () => arena.lend(block, () => 0), () => arena.scope(), () => arena.reset(), () => arena.trim(), () => arena.residentBytes(),
        ]
        return [[...new Set(calls.map(kindOf))], arena.stats().mappedBytes]`,
      expected: [['ERR_ARENA_CLOSED'], 0],
    },
    {
      name: 'bad arguments to a closed arena are said first',
      body: `arena.close()
        return [kindOf(() => arena.alloc(-1)), kindOf(() => arena.alloc(1, { align: 3 })), kindOf(() => arena.free(5))]`,
      expected: ['ERR_OUT_OF_RANGE', 'ERR_OUT_OF_RANGE', 'ERR_ARENA_CLOSED'],
    },
    {
      name: 'close within a call of a Buffer',
      body: `const [block] = both(block => block)
        kindOf(() => block.fill({ valueOf() { arena.close(); return 7 } }))
        return [block.length, kindOf(() => arena.alloc(1))]`,
      expected: [0, 'ERR_ARENA_CLOSED'],
    },
    {
      name: 'close within an option that is being read',
      body: `return [kindOf(() => arena.alloc(1, { get align() { arena.close(); return 16 } })), arena.stats().liveBlocks]`,
      expected: ['ERR_ARENA_CLOSED', 0],
    },
    {
      name: "reset, alloc and close within listeners of 'limit'",
      options: '{ softLimitBytes: 2 ** 20 }',
      body: `live.length = 0
        const codes = []
        arena.on('limit', () => {
          codes.push(kindOf(() => arena.reset()), kindOf(() => arena.alloc(10).length), kindOf(() => arena.close()))
        })
        arena.allocUnsafe(2 ** 21)
        await turn(); await sleep(5)
        return [codes, arena.stats().mappedBytes]`,
      expected: [[null, 10, null], 0],
    },
    {
      name: 'free, trim and close within a subscriber of offheap:purge',
      body: `const { subscribe } = node('diagnostics_channel')
        const codes = []
        const block = arena.allocUnsafe(SMALL)
        subscribe('offheap:purge', () => {
          codes.push(kindOf(() => arena.free(block)), typeof kindOf(() => arena.trim()), kindOf(() => arena.close()))
        })
        arena.free(arena.allocUnsafe(2 ** 20).fill(1))
        arena.trim()
        await turn(); await sleep(5)
        return [codes.slice(0, 3), kindOf(() => arena.alloc(1))]`,
      expected: [[null, 'number', null], 'ERR_ARENA_CLOSED'],
    },
    {
      name: 'trim and reset with pins',
      body: `live.length = 0
        return both(block => {
          arena.pin(block)
          arena.trim(); arena.reset(); arena.trim()
          const isWhole = isAll(block, 0x66)
          arena.unpin(block)
          return [isWhole, kindOf(() => arena.free(block))]
        })`,
      expected: [
        [true, 'ERR_ARENA_DOUBLE_FREE'],
        [true, 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'closeWhenIdle twice, with a pin, and allocations meanwhile',
      body: `const block = arena.alloc(SMALL)
        arena.pin(block)
        const first = arena.closeWhenIdle()
        const codes = [() => arena.alloc(1), () => arena.scope(), () => arena.realloc(live[0], 10), () => arena.close()].map(kindOf)
        const isSame = first === arena.closeWhenIdle()
        arena.unpin(block)
        await first
        return [codes, isSame, block.length]`,
      expected: [['ERR_ARENA_CLOSED', 'ERR_ARENA_CLOSED', 'ERR_ARENA_CLOSED', 'ERR_ARENA_PINNED'], true, 0],
    },
    {
      name: 'unpin that closes while a lend is being set up',
      body: `const block = arena.alloc(SMALL)
        arena.pin(block)
        const closed = arena.closeWhenIdle()
        const value = arena.lend(block, bytes => { arena.unpin(bytes); return isAll(bytes, 0) })
        await closed
        return [value, kindOf(() => arena.lend(block, () => 0))]`,
      expected: [true, 'ERR_ARENA_CLOSED'],
    },
  ],
}
