/** Pins and unpins that do not match, and `realloc` of what may not be moved. */
import type { MisuseGroup } from './case.js'

export const PINS: MisuseGroup = {
  title: 'pins',
  cases: [
    {
      name: 'unpin of what was never pinned',
      body: `return both(block => kindOf(() => arena.unpin(block)))`,
      expected: ['ERR_ARENA_NOT_PINNED', 'ERR_ARENA_NOT_PINNED'],
    },
    {
      name: 'one unpin too many',
      body: `return both(block => { arena.pin(block); arena.unpin(block); return [kindOf(() => arena.unpin(block)), isAll(block, 0x66)] })`,
      expected: [
        ['ERR_ARENA_NOT_PINNED', true],
        ['ERR_ARENA_NOT_PINNED', true],
      ],
    },
    {
      name: 'one unpin too many of a freed block, when another has its memory',
      body: `return both((block, size) => {
        arena.pin(block)
        arena.free(block)
        arena.unpin(block)
        const next = arena.allocUnsafe(size).fill(5)
        return [kindOf(() => arena.unpin(block)), isAll(next, 5)]
      })`,
      expected: [
        ['ERR_ARENA_NOT_PINNED', true],
        ['ERR_ARENA_NOT_PINNED', true],
      ],
    },
    {
      name: 'one unpin too few: the block stays, and close says so',
      body: `const block = arena.alloc(SMALL)
        arena.pin(block); arena.pin(block); arena.unpin(block)
        arena.free(block)
        return [kindOf(() => arena.close()), kindOf(() => arena.free(block)), arena.stats().pinnedBlocks, block.length]`,
      expected: ['ERR_ARENA_PINNED', 'ERR_ARENA_DOUBLE_FREE', 1, 1_000],
    },
    {
      name: 'pin after free',
      body: `return both(block => { arena.free(block); return [() => arena.pin(block), () => arena.lend(block, () => 0)].map(kindOf) })`,
      expected: [
        ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
        ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'unpin of a loan',
      body: `return both(block => arena.lend(block, () => { arena.free(block); return [kindOf(() => arena.unpin(block)), isAll(block, 0x66)] }))`,
      expected: [
        ['ERR_ARENA_NOT_PINNED', true],
        ['ERR_ARENA_NOT_PINNED', true],
      ],
    },
    {
      name: 'unpin in another arena',
      body: `const other = new Arena()
        return both(block => { arena.pin(block); const code = kindOf(() => other.unpin(block)); arena.unpin(block); return code })`,
      expected: ['ERR_ARENA_FOREIGN_BUFFER', 'ERR_ARENA_FOREIGN_BUFFER'],
    },
    {
      name: 'a pinned block freed twice',
      body: `return both(block => {
        arena.pin(block)
        arena.free(block)
        const code = kindOf(() => arena.free(block))
        const isWhole = isAll(block, 0x66)
        arena.unpin(block)
        return [code, isWhole]
      })`,
      expected: [
        ['ERR_ARENA_DOUBLE_FREE', true],
        ['ERR_ARENA_DOUBLE_FREE', true],
      ],
    },
    {
      name: 'lend to what is no function',
      body: `return both(block => [kindOf(() => arena.lend(block)), kindOf(() => arena.lend(block, {})), arena.stats().pinnedBlocks])`,
      expected: [
        ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_TYPE', 0],
        ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_TYPE', 0],
      ],
    },
    {
      name: 'lend to what throws, and what rejects',
      body: `return bothInTurn(async block => [
          kindOf(() => arena.lend(block, () => { throw new RangeError('mine') })),
          await kindOfAsync(() => arena.lend(block, async () => { throw new RangeError('mine') })),
          arena.stats().pinnedBlocks,
        ])`,
      expected: [
        ['RangeError', 'RangeError', 0],
        ['RangeError', 'RangeError', 0],
      ],
    },
    {
      name: 'lend to a thenable that settles twice, and throws after',
      body: `return bothInTurn(async block => {
          const value = await arena.lend(block, () => ({ then(resolve) { resolve(1); resolve(2); throw new Error('mine') } }))
          return [value, arena.stats().pinnedBlocks, kindOf(() => arena.free(block))]
        })`,
      expected: [
        [1, 0, null],
        [1, 0, null],
      ],
    },
    {
      name: 'lend whose function resets, trims and closes',
      body: `live.length = 0
        return both(block => arena.lend(block, () => {
          arena.trim(); arena.reset(); arena.trim()
          return [kindOf(() => arena.close()), isAll(block, 0x66)]
        }))`,
      expected: [
        ['ERR_ARENA_PINNED', true],
        ['ERR_ARENA_PINNED', true],
      ],
    },
    {
      name: 'realloc of a pinned block',
      body: `return both(block => {
        arena.pin(block)
        const codes = [0, 10, 1_000, 200_000].map(size => kindOf(() => arena.realloc(block, size)))
        arena.unpin(block)
        return [[...new Set(codes)], isAll(block, 0x66), arena.realloc(block, 10).length]
      })`,
      expected: [
        [['ERR_ARENA_PINNED'], true, 10],
        [['ERR_ARENA_PINNED'], true, 10],
      ],
    },
    {
      name: 'a thousand pins, and the end of the arena',
      body: `const blocks = Array.from({ length: 1_000 }, (_, i) => arena.alloc(i))
        for (const block of blocks) arena.pin(block)
        arena.reset()
        const closed = arena.closeWhenIdle()
        const before = kindOf(() => arena.alloc(1))
        for (const block of blocks) arena.unpin(block)
        await closed
        return [before, kindOf(() => arena.unpin(blocks[0])), arena.stats().mappedBytes]`,
      expected: ['ERR_ARENA_CLOSED', 'ERR_ARENA_CLOSED', 0],
    },
  ],
}

export const REALLOC: MisuseGroup = {
  title: 'realloc',
  cases: [
    {
      name: 'of a spent Buffer',
      body: `return both(block => { arena.free(block); return kindOf(() => arena.realloc(block, 10)) })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'of the old Buffer, again',
      body: `return both(block => { arena.realloc(block, 2_000); return kindOf(() => arena.realloc(block, 2_000)) })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'to sizes that are none: the block stays as it is',
      body: `const sizes = [-1, NaN, 1.5, Infinity, 2 ** 53, '10', undefined, null, 10n, {}, { valueOf: () => { arena.reset(); return 1 } }]
        return both(block => [[...new Set(sizes.map(size => kindOf(() => arena.realloc(block, size))))], isAll(block, 0x66)])`,
      expected: [
        [['ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_TYPE'], true],
        [['ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_TYPE'], true],
      ],
    },
    {
      name: 'beyond the limit: the block stays as it is',
      options: '{ limitBytes: 4 * 2 ** 20 }',
      body: `return both(block => [kindOf(() => arena.realloc(block, 2 ** 23)), isAll(block, 0x66), kindOf(() => arena.free(block))])`,
      expected: [
        ['ERR_ARENA_LIMIT', true, null],
        ['ERR_ARENA_LIMIT', true, null],
      ],
    },
    {
      name: 'to nothing and back',
      body: `return both(block => {
        const empty = arena.realloc(block, 0)
        const again = arena.realloc(empty, 10)
        return [empty.length, again.length, kindOf(() => arena.free(block)), kindOf(() => arena.free(empty)), kindOf(() => arena.free(again))]
      })`,
      expected: [
        [0, 10, 'ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE', null],
        [0, 10, 'ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE', null],
      ],
    },
    {
      name: 'when a stream took its memory away',
      // The others of its window go with the small one.
      body: `for (const block of live.splice(0)) arena.free(block)
        return bothInTurn(async block => {
          await takeByStream(block)
          return [kindOf(() => arena.realloc(block, 10)), kindOf(() => arena.pin(block)), kindOf(() => arena.free(block))]
        })`,
      expected: [
        ['ERR_ARENA_DETACHED', 'ERR_ARENA_DETACHED', null],
        ['ERR_ARENA_DETACHED', 'ERR_ARENA_DETACHED', null],
      ],
    },
  ],
}
