/** `from` against `Buffer.from`: the same bytes, and the same faults, whatever it is given. */
import { describe, expect, it } from 'vitest'
import { ArenaError } from '../../src/base/errors.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { open, thrownBy } from '../support/world.js'
import { ENDS, liveBlocksOf, PLACES } from './places.js'

const ENCODINGS: (BufferEncoding | undefined | '')[] = [
  undefined,
  '',
  'utf8',
  'utf-8',
  'UTF8' as BufferEncoding,
  'utf16le',
  'ucs2',
  'latin1',
  'binary',
  'ascii',
  'hex',
  'base64',
  'base64url',
]

const TEXTS = [
  '',
  'a',
  'hello',
  'grüezi',
  '日本語',
  '🙂',
  '\ud800',
  'a\udc00b',
  '\udc00\ud800',
  '\0',
  'ab',
  'abc',
  'abcdefg',
  'zz00',
  '00zz',
  'abXYcd',
  'YQ==',
  'YQ',
  'YW Jj\nZA==',
  'YW=Jj',
  '====',
  '_-_-',
  '+/+/',
  '__8=',
  'é'.repeat(5_000),
  'deadbeef'.repeat(3_000),
  'x'.repeat(100_000),
]

/** Something that `Buffer.from` takes, made anew for each call. */
type Make = () => unknown

const buffers = (): ArrayBuffer => Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10).buffer

const THINGS: [string, Make, ...unknown[]][] = [
  ['an array', () => [1, 2, 3]],
  ['an empty array', () => []],
  // biome-ignore lint/suspicious/noSparseArray: that is what is tested
  ['an array with holes', () => [1, , 3]],
  [
    'an array of other numbers',
    () => [-1, 256, 257, 1.9, -1.9, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32 + 7],
  ],
  ['an array of texts', () => ['1', 'a', '0x10', '', ' 7 ']],
  ['an array of all sorts', () => [null, undefined, true, [5], {}, new Date(9)]],
  ['a long array', () => Array.from({ length: 10_000 }, (_, index) => index)],
  ['an array-like object', () => ({ length: 3, 0: 7, 2: 9 })],
  ['an array-like object with a broken length', () => ({ length: 2.9, 0: 7, 1: 8, 2: 9 })],
  ['an array-like object with a negative length', () => ({ length: -2, 0: 7 })],
  ['an array-like object with length NaN', () => ({ length: Number.NaN, 0: 7 })],
  ['an array-like object with a length of text', () => ({ length: '2', 0: 7 })],
  ['an array-like object with length null', () => ({ length: null })],
  ['what toJSON returns', () => Buffer.from('hello').toJSON()],
  ['what looks like it', () => ({ type: 'Buffer', data: [1, 300, 'x'] })],
  ['a Buffer', () => Buffer.from('some bytes')],
  ['an empty Buffer', () => Buffer.alloc(0)],
  ['a part of a Buffer', () => Buffer.from('some bytes').subarray(3, 6)],
  ['a long Buffer', () => Buffer.alloc(200_000, 'abc')],
  ['a Uint8Array', () => Uint8Array.of(1, 2, 255)],
  ['a Uint8ClampedArray', () => Uint8ClampedArray.of(1, 2, 255)],
  ['an Int8Array', () => Int8Array.of(1, -2, -128)],
  ['a Uint16Array', () => Uint16Array.of(1, 256, 65_535)],
  ['an Int32Array', () => Int32Array.of(1, -256, 65_537)],
  ['a Float32Array', () => Float32Array.of(1.5, -1, Number.NaN, 1e10)],
  ['a Float64Array', () => Float64Array.of(1.5, -1, Number.NaN, 1e300)],
  ['an ArrayBuffer', buffers],
  ['an empty ArrayBuffer', () => new ArrayBuffer(0)],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(10)],
  ['a part of an ArrayBuffer', buffers, 2, 5],
  ['the rest of an ArrayBuffer', buffers, 2],
  ['a range of texts', buffers, '2', '3'],
  ['a broken range', buffers, 2.7, 3.2],
  ['a range with NaN', buffers, Number.NaN, Number.NaN],
  ['a negative length', buffers, 2, -5],
  ['the end of an ArrayBuffer', buffers, 10],
  ['a String object', () => new String('grüezi')],
  ['a String object in hex', () => new String('00ff'), 'hex'],
  ['an object with valueOf', () => ({ valueOf: () => 'text' })],
  ['an object whose valueOf is an array', () => ({ valueOf: () => [1, 2] })],
  ['an object whose valueOf is an ArrayBuffer', () => ({ valueOf: buffers }), 1, 2],
  [
    'an object without prototype, with a length',
    () => Object.assign(Object.create(null), { length: 1, 0: 5 }),
  ],
  ['an object with Symbol.toPrimitive', () => ({ [Symbol.toPrimitive]: (hint: string) => `text ${hint}` })],
  ['the same in hex', () => ({ [Symbol.toPrimitive]: () => '00ff' }), 'hex'],
  ['an object with a buffer', () => ({ buffer: buffers(), length: 1, 0: 5 })],
  [
    'arguments',
    () =>
      (function (..._: unknown[]) {
        // biome-ignore lint/complexity/noArguments: that is what is tested
        return arguments
      })(1, 2, 3),
  ],
  ['a proxy of an array', () => new Proxy([1, 2, 3], {})],
  ['a number as encoding', () => 'text', 5],
  ['null as encoding', () => 'text', null],
  ['a date', () => new Date(0)],
]

const FAULTS: [string, Make, ...unknown[]][] = [
  ['undefined', () => undefined],
  ['null', () => null],
  ['a number', () => 5],
  ['a bigint', () => 5n],
  ['a symbol', () => Symbol('x')],
  ['true', () => true],
  ['a function', () => () => 1],
  ['an empty object', () => ({})],
  ['a Number object', () => new Number(5)],
  ['an object whose valueOf is a number', () => ({ valueOf: () => 5 })],
  ['an object whose toPrimitive is a number', () => ({ [Symbol.toPrimitive]: () => 5 })],
  ['a BigInt64Array', () => BigInt64Array.of(1n)],
  ['an array of bigints', () => [1n]],
  ['an array of symbols', () => [Symbol('x')]],
  ['an unknown encoding', () => 'x', 'utf-7'],
  ['an unknown encoding of nothing', () => '', 'utf-7'],
  ['an offset beyond the end', buffers, 11],
  ['a length beyond the end', buffers, 2, 9],
  ['a negative offset', buffers, -1],
  [
    'an endless valueOf',
    () => {
      const make = (): object => ({ valueOf: make })
      return make()
    },
  ],
]

const nodeFrom = Buffer.from as (...args: unknown[]) => Buffer

describe.each(PLACES)('from, %s', (_, place) => {
  it('encodes text as Buffer.from does', () => {
    const { arena, by } = place()
    for (const text of TEXTS) {
      for (const encoding of ENCODINGS) {
        const block = by.from(text, encoding as BufferEncoding)
        const expected = nodeFrom(text, encoding)
        expect(block.equals(expected), `${text.slice(0, 20)} ${encoding}`).toBe(true)
        arena.free(block)
      }
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('has the bytes that Buffer.from has', () => {
    const { arena, by } = place()
    for (const [name, make, ...rest] of THINGS) {
      const block = (by.from as typeof nodeFrom)(make(), ...rest)
      expect(block.equals(nodeFrom(make(), ...rest)), name).toBe(true)
      arena.free(block)
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('throws where Buffer.from throws, with the same class and code, and leaves no block', () => {
    const { arena, by } = place()
    for (const [name, make, ...rest] of FAULTS) {
      const thrown = thrownBy(() => (by.from as typeof nodeFrom)(make(), ...rest))
      const expected = thrownBy(() => nodeFrom(make(), ...rest))
      expect([thrown?.constructor, thrown?.code], name).toEqual([expected?.constructor, expected?.code])
      expect(thrownBy(() => (by.tryFrom as typeof nodeFrom)(make(), ...rest))?.code, name).toBe(
        expected?.code,
      )
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('copies what Buffer.from does not', () => {
    const { arena, by } = place()
    function* numbers(count: number) {
      for (let i = 0; i < count; i++) yield i
    }
    expect([...by.from(new Set([1, 2, 300]))]).toEqual([1, 2, 44])
    expect(by.from(numbers(0)).length).toBe(0)
    for (const count of [1, 4095, 4096, 4097, 50_000])
      expect(by.from(numbers(count)).equals(Uint8Array.from(numbers(count)))).toBe(true)
    expect([...by.from(new Map<number, number>([[1, 2]]).values())]).toEqual([2])
    expect([...by.from(new DataView(buffers(), 2, 3))]).toEqual([3, 4, 5])
    arena.reset()
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it.each(ENDS)('notices script that %s', (_, end, code) => {
    const calls: ((end: () => undefined) => unknown)[] = [
      end => ({
        length: 3,
        0: 1,
        get 1() {
          end()
          return 2
        },
        2: 3,
      }),
      end => [1, { valueOf: () => end() ?? 2 }, 3],
      end =>
        (function* () {
          for (let i = 0; i < 10_000; i++) {
            if (i === 5_000) end()
            yield i
          }
        })(),
      end =>
        new Proxy([1, 2, 3], {
          get(target, key, receiver) {
            if (key === '1') end()
            return Reflect.get(target, key, receiver)
          },
        }),
    ]
    for (const make of calls) {
      const here = place()
      const call = () => here.by.from(make(() => void end(here) as undefined) as number[])
      expect(thrownBy(call)?.code).toBe(code)
      expect(liveBlocksOf(here.arena)).toBe(0)
    }
  })

  it('throws what script of the argument throws, and leaves no block', () => {
    const { arena, by } = place()
    const fault = new Error('mine')
    const fail = (): never => {
      throw fault
    }
    const makes: (() => unknown)[] = [
      () => ({
        length: 2,
        0: 1,
        get 1() {
          return fail()
        },
      }),
      () => ({
        get length() {
          return fail()
        },
      }),
      () => ({ valueOf: fail }),
      () => ({
        get valueOf() {
          return fail()
        },
      }),
      () => ({ [Symbol.toPrimitive]: fail }),
      () => ({ [Symbol.iterator]: fail }),
      () => ({ [Symbol.iterator]: () => ({ next: fail }) }),
      () =>
        (function* () {
          for (let i = 0; i < 9_000; i++) yield i
          fail()
        })(),
      () => [1, { valueOf: fail }],
      () => new Proxy([1], { get: fail }),
    ]
    for (const make of makes) expect(thrownBy(() => by.from(make() as number[]))).toBe(fault)
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('has random text and bytes as Buffer.from has them', () => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const { arena, by } = place()
    for (let i = 0; i < stepsOf(2_000, 10); i++) {
      const [data, encoding] = randomData(random)
      const block = by.from(data as string, encoding as BufferEncoding)
      expect(block.equals(nodeFrom(data, encoding)), variablesOf(seed)).toBe(true)
      arena.free(block)
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })
})

const ALPHABETS = ['0123456789abcdefABCDEF', 'ABCDwxyz0189+/=-_ \n', 'aé日\u{1f642}\ud800\udc00\0', '0f g']

function randomData(random: Random): [unknown, unknown] {
  if (random.oneIn(3))
    return [Array.from({ length: random.size(3_000) }, () => random.below(2_000) - 700), undefined]
  const letters = [...random.pick(ALPHABETS)]
  const text = Array.from({ length: random.size(random.oneIn(20) ? 100_000 : 300) }, () =>
    random.pick(letters),
  ).join('')
  return [text, random.pick(ENCODINGS)]
}

describe('from', () => {
  it('copies, also of an ArrayBuffer, and at once', () => {
    const { arena } = open()
    const memory = Uint8Array.of(1, 2, 3)
    const blocks = [arena.from(memory.buffer), arena.from(memory), arena.from(new DataView(memory.buffer))]
    memory.fill(9)
    for (const block of blocks) expect([...block]).toEqual([1, 2, 3])
  })

  it('copies a block of the same arena', () => {
    const { arena } = open()
    for (const size of [10, 100_000]) {
      const block = arena.alloc(size).fill('abc')
      expect(arena.from(block).equals(block)).toBe(true)
    }
  })

  it('of memory that was taken away has what Buffer.from has', () => {
    const { arena } = open()
    const memory = new ArrayBuffer(10)
    const [bytes, view] = [new Uint8Array(memory), new DataView(memory)]
    structuredClone(memory, { transfer: [memory] })
    expect(arena.from(bytes).length).toBe(0)
    expect(arena.from(view).length).toBe(0)
    expect(thrownBy(() => arena.from(memory))).toBeInstanceOf(TypeError)
    expect(liveBlocksOf(arena)).toBe(2)
  })

  it('of memory that can be resized has the bytes that are there', () => {
    const { arena } = open()
    const Resizable = ArrayBuffer as unknown as new (
      length: number,
      options: object,
    ) => ArrayBuffer & {
      resize(length: number): void
    }
    const memory = new Resizable(10, { maxByteLength: 100 })
    const [bytes, part] = [new Uint8Array(memory), new Uint8Array(memory, 5, 5)]
    memory.resize(8)
    expect([bytes, part, memory].map(data => arena.from(data).length)).toEqual([8, 0, 8])
  })

  it('throws at the limit, where tryFrom returns undefined', () => {
    const { arena } = open({ limitBytes: 2 ** 20 })
    const scope = arena.scope()
    const big = 'x'.repeat(2 ** 21)
    const endless = {
      *[Symbol.iterator]() {
        for (;;) yield 1
      },
    }
    for (const by of [arena, scope]) {
      for (const data of [big, Buffer.from(big), [...big], endless]) {
        expect(thrownBy(() => by.from(data as string))).toBeInstanceOf(ArenaError)
        expect(thrownBy(() => by.from(data as string))?.code).toBe('ERR_ARENA_LIMIT')
        expect(by.tryFrom(data as string)).toBeUndefined()
      }
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('refuses more than a block can have', () => {
    const { arena } = open()
    for (const length of [2 ** 40, Number.POSITIVE_INFINITY])
      expect(thrownBy(() => arena.from({ length }))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('says by its own name that the arena is closed, or the scope has ended', () => {
    const { arena } = open({ name: 'mine' })
    const scope = arena.scope()
    scope.end()
    expect(thrownBy(() => scope.from('x'))?.message).toMatch(/^arena 'mine': from\(\): the scope has ended/)
    expect(thrownBy(() => scope.tryFrom('x'))?.message).toMatch(
      /^arena 'mine': tryFrom\(\): the scope has ended/,
    )
    arena.close()
    expect(thrownBy(() => arena.from('x'))?.message).toMatch(/^arena 'mine': from\(\): the arena is closed/)
    expect(thrownBy(() => arena.from('x'))?.code).toBe('ERR_ARENA_CLOSED')
  })
})
