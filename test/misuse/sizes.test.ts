import { constants } from 'node:buffer'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import { loadAddon } from '../../src/memory/addon.js'
import type { FaultyKernel } from '../support/faulty-kernel.js'
import { isMarked, mark, realWorldWith, thrownBy } from '../support/world.js'

const PAGE = loadAddon().pageBytes
const MAX_SIZE_BYTES = Math.min(constants.MAX_LENGTH, 2 ** 35)

let arena: Arena
let kernel: FaultyKernel
let block: Buffer
let callsBefore: number

beforeEach(() => {
  ;({ arena, kernel } = realWorldWith({ name: 'subject' }))
  block = arena.allocUnsafe(5_000)
  mark(block, 1)
  callsBefore = kernel.callCount
})

afterEach(() => {
  arena.close()
})

function expectRefused(call: () => unknown, type: typeof TypeError | typeof RangeError, code: string): void {
  const before = arena.stats()
  const error = thrownBy(call)
  expect(error).toBeInstanceOf(type)
  expect(error?.code).toBe(code)
  expect(arena.stats()).toEqual(before)
  expect(kernel.callCount).toBe(callsBefore)
  expect(isMarked(block, 1)).toBe(true)
  arena.check()
}

const METHODS = ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const

describe('a size', () => {
  it.each([
    Number.NaN,
    -1,
    -0.5,
    1.5,
    2 ** 53,
    MAX_SIZE_BYTES + 1,
    MAX_SIZE_BYTES * 2,
    Number.MAX_VALUE,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ])('may not be %d', size => {
    for (const method of METHODS) expectRefused(() => arena[method](size), RangeError, 'ERR_OUT_OF_RANGE')
    expectRefused(() => arena.realloc(block, size), RangeError, 'ERR_OUT_OF_RANGE')
    arena.free(block)
  })

  it.each<unknown>([
    '64',
    null,
    undefined,
    {},
    [64],
    5n,
    true,
    Symbol('64'),
    () => 64,
    { valueOf: () => 64 },
  ])('may not be %o', size => {
    for (const method of METHODS)
      expectRefused(() => arena[method](size as number), TypeError, 'ERR_INVALID_ARG_TYPE')
    expectRefused(() => arena.realloc(block, size as number), TypeError, 'ERR_INVALID_ARG_TYPE')
    arena.free(block)
  })

  it('may be minus zero, and a number object may not', () => {
    expect(arena.alloc(-0).length).toBe(0)
    expectRefused(() => arena.alloc(new Number(8) as number), TypeError, 'ERR_INVALID_ARG_TYPE')
  })
})

describe('align', () => {
  it.each([3, 0, -16, -1, 24, 0.5, 2 * PAGE, 2 ** 31, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])(
    'may not be %d',
    align => {
      for (const method of METHODS)
        expectRefused(() => arena[method](64, { align }), RangeError, 'ERR_OUT_OF_RANGE')
    },
  )

  it.each<unknown>(['16', null, {}, [16], 16n, true, Symbol('16')])('may not be %o', align => {
    for (const method of METHODS) {
      const options = { align: align as number }
      expectRefused(() => arena[method](64, options), TypeError, 'ERR_INVALID_ARG_TYPE')
    }
  })

  it.each<unknown>([null, 16, '16', true, 5n])('may not come in options that are %o', options => {
    for (const method of METHODS)
      expectRefused(() => arena[method](64, options as object), TypeError, 'ERR_INVALID_ARG_TYPE')
  })

  it('is checked for zero bytes too', () => {
    expectRefused(() => arena.alloc(0, { align: 3 }), RangeError, 'ERR_OUT_OF_RANGE')
  })

  it('that closes the arena when it is read makes the call fail as closed', () => {
    const options = {
      get align() {
        arena.close()
        return 16
      },
    }
    expect(thrownBy(() => arena.alloc(64, options))?.code).toBe('ERR_ARENA_CLOSED')
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, segments: 0 })
  })
})
