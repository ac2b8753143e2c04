/** `concat` against `Buffer.concat`. */
import { describe, expect, it } from 'vitest'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { open, thrownBy } from '../support/world.js'
import { ENDS, liveBlocksOf, PLACES } from './places.js'

describe.each(PLACES)('concat, %s', (_, place) => {
  it('has the bytes that Buffer.concat has', () => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const { arena, by } = place()
    for (let i = 0; i < stepsOf(500, 10); i++) {
      const list = Array.from({ length: 1 + random.below(6) }, () => {
        const bytes = Buffer.alloc(random.size(random.oneIn(10) ? 100_000 : 3_000), random.below(256))
        return random.oneIn(2) ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
      })
      const sum = list.reduce((total, { length }) => total + length, 0)
      for (const totalBytes of [undefined, sum, random.below(sum + 1), sum + random.below(5_000)]) {
        const block = by.concat(random.oneIn(2) ? list : new Set(list), totalBytes)
        expect(block.equals(Buffer.concat(list, totalBytes)), variablesOf(seed)).toBe(true)
        arena.free(block)
      }
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('has as many bytes as were asked for, also of an empty list', () => {
    const { by } = place()
    expect(by.concat([]).length).toBe(0)
    expect([...by.concat([], 3)]).toEqual([0, 0, 0])
    expect([...by.concat([Uint8Array.of(1)], 0)]).toEqual([])
  })

  it('refuses what is no list of bytes, and leaves no block', () => {
    const { arena, by } = place()
    const faults: [unknown, unknown, string][] = [
      [undefined, undefined, 'ERR_INVALID_ARG_TYPE'],
      ['text', undefined, 'ERR_INVALID_ARG_TYPE'],
      [5, undefined, 'ERR_INVALID_ARG_TYPE'],
      [Buffer.from('one Buffer'), undefined, 'ERR_INVALID_ARG_TYPE'],
      [{ length: 1, 0: Buffer.alloc(1) }, undefined, 'ERR_INVALID_ARG_TYPE'],
      [[Buffer.alloc(1), 'text'], undefined, 'ERR_INVALID_ARG_TYPE'],
      [[Buffer.alloc(1), undefined], undefined, 'ERR_INVALID_ARG_TYPE'],
      [[Uint16Array.of(1)], undefined, 'ERR_INVALID_ARG_TYPE'],
      [[new ArrayBuffer(1)], undefined, 'ERR_INVALID_ARG_TYPE'],
      [[new Proxy(Buffer.alloc(1), {})], undefined, 'ERR_INVALID_ARG_TYPE'],
      [[], '5', 'ERR_INVALID_ARG_TYPE'],
      [[], null, 'ERR_INVALID_ARG_TYPE'],
      [[], -1, 'ERR_OUT_OF_RANGE'],
      [[], 1.5, 'ERR_OUT_OF_RANGE'],
      [[], Number.NaN, 'ERR_OUT_OF_RANGE'],
      [[], 2 ** 40, 'ERR_OUT_OF_RANGE'],
    ]
    for (const [index, [list, totalBytes, code]] of faults.entries()) {
      const call = () => by.concat(list as Buffer[], totalBytes as number)
      expect(thrownBy(call)?.code, `fault ${index}`).toBe(code)
      expect(thrownBy(() => by.tryConcat(list as Buffer[], totalBytes as number))?.code).toBe(code)
    }
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it.each(ENDS)('goes on after script that %s, or says so', (_, end) => {
    const here = place()
    const list = [Buffer.from('a'), Buffer.from('b')]
    Object.defineProperty(list, 1, {
      get() {
        end(here)
        return Buffer.from('c')
      },
    })
    // The list is read before the block is made.
    const thrown = thrownBy(() => expect(here.by.concat(list).toString()).toBe('ac'))
    expect([undefined, 'ERR_ARENA_CLOSED']).toContain(thrown?.code)
  })
})

describe('concat', () => {
  it('reads each length once, whatever the list says later', () => {
    const { arena } = open()
    const bytes = Buffer.from('abc')
    Object.defineProperty(bytes, 'length', { value: 1_000 })
    expect(arena.concat([bytes, bytes]).toString()).toBe('abcabc')
    const growing = [Buffer.from('a')]
    function* list() {
      yield growing[0]
      growing.push(Buffer.from('b'))
      yield growing[0]
    }
    expect(arena.concat(list()).toString()).toBe('aa')
  })

  it('passes over memory that was taken away', () => {
    const { arena } = open()
    const memory = new ArrayBuffer(10)
    const taken = new Uint8Array(memory)
    structuredClone(memory, { transfer: [memory] })
    expect(arena.concat([Buffer.from('a'), taken, Buffer.from('b')]).toString()).toBe('ab')
  })

  it('throws at the limit, where tryConcat returns undefined', () => {
    const { arena } = open({ limitBytes: 2 ** 20 })
    const list = Array.from({ length: 20 }, () => Buffer.alloc(100_000))
    for (const by of [arena, arena.scope()]) {
      expect(thrownBy(() => by.concat(list))?.code).toBe('ERR_ARENA_LIMIT')
      expect(by.tryConcat(list)).toBeUndefined()
      expect(by.tryConcat(list, 1_000)?.length).toBe(1_000)
    }
    expect(liveBlocksOf(arena)).toBe(2)
  })
})
