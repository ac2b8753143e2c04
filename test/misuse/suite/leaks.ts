/** Buffers, scopes and arenas that nobody ended, once the collector has run. */
import type { MisuseGroup } from './case.js'

// In functions of their own, so that nothing on the stack still refers to the blocks.
const FORGET = `
  const forget = (count, size) => { for (let i = 0; i < count; i++) arena.allocUnsafe(size).fill(0x66) }
  const found = () => live.length + ' left, ' + (arena.stats().liveBlocks - live.length) + ' more'
`

export const LEAKS: MisuseGroup = {
  title: 'forgotten',
  cases: [
    {
      name: "options that are none, and that have another's form",
      body: `return ['some', true, false, null, 1, {}].map(leaks => kindOf(() => new Arena({ leaks })))`,
      expected: [
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
        'ERR_INVALID_ARG_VALUE',
      ],
    },
    {
      name: 'blocks, all watched: one warning, every message, and their memory comes back',
      options: "{ leaks: 'all' }",
      body: `${FORGET}
        let messages = 0
        node('diagnostics_channel').subscribe('offheap:leak', () => messages++)
        forget(20, SMALL); forget(20, LARGE)
        await collect(); await collect()
        arena.trim()
        await collect()
        return [messages, found()]`,
      expected: [40, '6 left, 0 more'],
      warnings: ['OFFHEAP_LEAK'],
    },
    {
      name: 'blocks that nobody watches: they stay',
      options: "{ leaks: 'off' }",
      body: `${FORGET}
        forget(20, SMALL); forget(20, LARGE)
        await collect()
        return found()`,
      expected: '6 left, 40 more',
    },
    {
      name: 'Buffers of which a view is still in use: nobody gets the bytes',
      options: "{ leaks: 'all' }",
      body: `const views = [SMALL, LARGE].map(size => (() => arena.allocUnsafe(size).fill(0x66).subarray(10, 500))())
        await collect()
        for (let i = 0; i < 50; i++) { arena.allocUnsafe(SMALL).fill(7); arena.allocUnsafe(LARGE).fill(7) }
        arena.trim()
        const areWhole = views.map(view => isAll(view, 0x66))
        warnings.length = 0
        return areWhole`,
      expected: [true, true],
    },
    {
      name: 'pins: the block is never collected',
      options: "{ leaks: 'all' }",
      body: `const forget = () => { for (const size of [SMALL, LARGE]) arena.pin(arena.allocUnsafe(size).fill(0x66)) }
        forget()
        await collect()
        return [arena.stats().pinnedBlocks, kindOf(() => arena.close())]`,
      expected: [2, 'ERR_ARENA_PINNED'],
    },
    {
      name: 'loans: the block is found after the loan, not before',
      options: "{ leaks: 'all' }",
      body: `let finish
        const start = () => { void arena.lend(arena.allocUnsafe(LARGE), () => new Promise(resolve => { finish = resolve })) }
        start()
        await collect()
        const before = warnings.length
        finish()
        await collect(); await collect()
        return before`,
      expected: 0,
      warnings: ['OFFHEAP_LEAK'],
    },
    {
      name: 'scopes that were never ended',
      options: "{ leaks: 'all' }",
      body: `const forget = () => { const scope = arena.scope(); scope.alloc(SMALL); scope.scope().alloc(LARGE) }
        forget()
        await collect(); await collect()
        arena.trim()
        return arena.stats().liveBlocks`,
      expected: 6,
      warnings: ['OFFHEAP_LEAK'],
    },
    {
      name: 'a subscriber of offheap:leak that ends the arena',
      options: "{ leaks: 'all' }",
      body: `const codes = []
        node('diagnostics_channel').subscribe('offheap:leak', () => codes.push(kindOf(() => arena.trim()) >= 0, kindOf(() => arena.close())))
        const forget = () => { arena.allocUnsafe(LARGE) }
        forget()
        await collect(); await collect()
        return [codes, kindOf(() => arena.alloc(1))]`,
      expected: [[true, null], 'ERR_ARENA_CLOSED'],
      warnings: ['OFFHEAP_LEAK'],
    },
    {
      name: 'arenas: what still refers to their blocks keeps its bytes',
      body: `const forget = () => new Arena().allocUnsafe(LARGE).fill(0x66)
        const block = forget()
        await collect(); await collect()
        return [isAll(block, 0x66), kindOf(() => arena.free(block))]`,
      expected: [true, 'ERR_ARENA_FOREIGN_BUFFER'],
      warnings: ['OFFHEAP_LEAK'],
    },
  ],
}
