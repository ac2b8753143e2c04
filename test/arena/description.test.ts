import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Heap } from '../../src/heap/index.js'
import { Arena, arenas, totals } from '../../src/index.js'
import { open } from '../support/world.js'

describe('inspect of an arena', () => {
  it('is one line of what it holds', () => {
    const { arena } = open({ name: 'uploads', limitBytes: 2 ** 24 })
    const buffer = arena.alloc(1_000)
    arena.pin(buffer)
    const text = inspect(arena)
    expect(text).toMatch(
      /^Arena 'uploads' \{ liveBlocks: 1, liveBytes: 1000, usedBytes: \d+, dirtyBytes: \d+, committedBytes: \d+, mappedBytes: \d+, limitBytes: 16777216, pinnedBlocks: 1 \}$/,
    )
    expect(inspect({ arena }, { depth: 0 })).toBe("{ arena: [Arena 'uploads'] }")
    expect(inspect({ deep: { arena } }, { depth: 0 })).toBe('{ deep: [Object] }')
    expect(inspect(arena, { colors: true })).toContain('\u001b[33m1000\u001b[39m')
    expect(`${inspect([arena, arena])}`.match(/liveBlocks/g)).toHaveLength(2)
    arena.unpin(buffer)
  })

  it('works on a closed one', () => {
    const arena = new Arena({ name: 'gone' })
    arena.alloc(64)
    arena.close()
    expect(inspect(arena)).toMatch(/^Arena 'gone' \{ liveBlocks: 0, .*isClosed: true \}$/)
    expect(JSON.parse(JSON.stringify(arena))).toMatchObject({ name: 'gone', liveBlocks: 0, isClosed: true })
  })
})

describe('JSON of an arena', () => {
  it('is its statistics, with null for what is without end', () => {
    const { arena } = open({ name: 'uploads' })
    arena.alloc(1_000)
    const parsed = JSON.parse(JSON.stringify({ arena })).arena
    expect(parsed).toEqual({
      ...arena.stats(),
      limitBytes: null,
      softLimitBytes: null,
      isClosed: false,
    })
  })
})

describe('a scope, and a heap', () => {
  it('read as well', () => {
    const { arena } = open({ name: 'uploads' })
    const scope = arena.scope()
    scope.scope()
    arena.free(scope.alloc(1))
    scope.alloc(2)
    expect(inspect(scope)).toBe("Scope of arena 'uploads' { liveBlocks: 1, scopes: 1, isEnded: false }")
    expect(inspect([[scope]], { depth: 1 })).toBe("[ [ [Scope of arena 'uploads'] ] ]")
    scope.end()
    expect(JSON.stringify(scope)).toBe('{"arena":"uploads","liveBlocks":0,"scopes":0,"isEnded":true}')
    const heap = new Heap({ capacityBytes: 2 ** 20 })
    heap.allocate(100)
    expect(inspect(heap)).toMatch(/^Heap \{ capacityBytes: 1048576, .*liveBlocks: 1, .*\}$/)
    expect(inspect({ heap }, { depth: 0 })).toBe('{ heap: [Heap] }')
  })
})

describe('arenas', () => {
  it('lists the open ones of the thread, and totals are their sums', () => {
    const before = arenas().length
    const [one, two] = [new Arena({ name: 'one' }), new Arena({ name: 'two' })]
    one.alloc(1_000)
    two.alloc(2_000_000)
    const listed = arenas().slice(before)
    expect(listed).toEqual([one.stats(), two.stats()])
    const sums = totals()
    const committed = arenas().reduce((sum, { committedBytes }) => sum + committedBytes, 0)
    expect(sums).toMatchObject({ arenas: before + 2, committedBytes: committed })
    expect(sums.usedBytes + sums.dirtyBytes + sums.cleanBytes).toBe(sums.mappedBytes)
    expect(sums.processTakenBytes).toBeGreaterThanOrEqual(committed)
    expect(sums.processLimitBytes).toBe(Number.POSITIVE_INFINITY)
    one.close()
    expect(arenas().map(({ name }) => name)).not.toContain('one')
    two.close()
    expect(totals().arenas).toBe(before)
  })
})
