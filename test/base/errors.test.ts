import { describe, expect, it } from 'vitest'
import { ArenaError, invalidArgType, invalidArgValue, outOfRange } from '../../src/base/errors.js'

describe('ArenaError', () => {
  const cause = new Error('ENOMEM')
  const error = new ArenaError('ERR_ARENA_OUT_OF_MEMORY', 'no memory', { cause })

  it('is an Error with a code, a message and a cause', () => {
    expect(error).toBeInstanceOf(Error)
    expect(error).toBeInstanceOf(ArenaError)
    expect(error).toMatchObject({ code: 'ERR_ARENA_OUT_OF_MEMORY', message: 'no memory', cause })
  })

  it('is named ArenaError', () => {
    expect(error.name).toBe('ArenaError')
    expect(String(error)).toBe('ArenaError: no memory')
  })

  it('has no cause where none was given', () => {
    expect('cause' in new ArenaError('ERR_ARENA_CLOSED', 'closed')).toBe(false)
  })
})

describe('invalidArgType', () => {
  it('is a TypeError with Node’s code, that names the argument and what is expected', () => {
    const error = invalidArgType('sizeBytes', 'of type number', 'ten')
    expect(error).toBeInstanceOf(TypeError)
    expect(error.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(error.message).toBe(
      `The "sizeBytes" argument must be of type number. Received type string ('ten')`,
    )
  })

  it.each([
    [undefined, 'Received undefined'],
    [null, 'Received null'],
    [true, 'Received type boolean (true)'],
    [10n, 'Received type bigint (10n)'],
    [Symbol('s'), 'Received type symbol (Symbol(s))'],
    [function size() {}, 'Received function size'],
    [[1, 2], 'Received an instance of Array'],
    [new Uint8Array(1), 'Received an instance of Uint8Array'],
    [Object.create(null), 'Received [Object: null prototype] {}'],
  ])('says what came: %#', (value, expected) => {
    expect(invalidArgType('x', 'an object', value).message).toBe(
      `The "x" argument must be an object. ${expected}`,
    )
  })

  it('cuts long values short', () => {
    expect(invalidArgType('x', 'an object', 'y'.repeat(1000)).message.length).toBeLessThan(120)
  })

  it('says it as Node itself does', () => {
    for (const value of [undefined, null, true, 10n, 'text', {}, [], new Map(), function named() {}]) {
      let expected: unknown
      try {
        Buffer.alloc(value as unknown as number)
      } catch (error) {
        expected = error
      }
      expect(invalidArgType('size', 'of type number', value).message).toBe((expected as Error).message)
    }
  })
})

describe('outOfRange', () => {
  it('is a RangeError with Node’s code, that gives the range and the value', () => {
    const error = outOfRange('sizeBytes', '>= 0', -1)
    expect(error).toBeInstanceOf(RangeError)
    expect(error.code).toBe('ERR_OUT_OF_RANGE')
    expect(error.message).toBe('The value of "sizeBytes" is out of range. It must be >= 0. Received -1')
  })
})

describe('invalidArgValue', () => {
  it('is a TypeError with Node’s code, that gives the reason and the value', () => {
    const error = invalidArgValue('source', "must be 'mmap' or 'sbrk'", 'disk')
    expect(error).toBeInstanceOf(TypeError)
    expect(error.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(error.message).toBe(`The argument "source" must be 'mmap' or 'sbrk'. Received 'disk'`)
  })
})
