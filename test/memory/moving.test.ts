/** `Kernel.move`: many ranges of bytes are copied in one call, or none is. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import type { MappingId } from '../../src/memory/kernel.js'
import { hasNoBreak } from '../support/break.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { isFilled, isZero, thrownBy, turns } from '../support/world.js'

const kernel = loadAddon()
const PAGE = kernel.pageBytes
const UNKNOWN_MAPPING = 2 ** 40

/** The numbers of one move: mapping and offset of the source, the same of the target, the length. */
type Move = readonly [MappingId, number, MappingId, number, number]

interface Area {
  readonly mapping: MappingId
  readonly bytes: Uint8Array<ArrayBuffer>
}

const areas: Area[] = []

function show(mapping: MappingId, lengthBytes: number): Area {
  const area = { mapping, bytes: new Uint8Array(kernel.wrap(mapping, 0, lengthBytes, kernel.newWrapId())) }
  areas.push(area)
  return area
}

const map = (pageCount: number): Area => show(kernel.map(pageCount * PAGE), pageCount * PAGE)
const mapPiece = (): Area => show(kernel.mapPiece(PAGE), PAGE)

afterEach(async () => {
  for (const { bytes } of areas) kernel.detach(bytes.buffer)
  await turns()
  for (const { mapping } of areas.splice(0)) expect(kernel.unmap(mapping)).toBe(true)
})

function moveAll(...moves: Move[]): void {
  kernel.move(Float64Array.from(moves.flat()), moves.length)
}

/** Writes bytes that differ from those at most other places. */
function writePattern(bytes: Uint8Array): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 8)) % 251
  return bytes
}

describe('move', () => {
  it('copies a range from one mapping to another, and no byte beside it', () => {
    const [from, to] = [map(2), map(3)]
    writePattern(from.bytes)
    const before = from.bytes.slice()
    moveAll([from.mapping, 100, to.mapping, PAGE + 1, PAGE])
    expect(from.bytes).toEqual(before)
    expect(to.bytes.subarray(PAGE + 1, 2 * PAGE + 1)).toEqual(before.subarray(100, PAGE + 100))
    expect(isZero(to.bytes.subarray(0, PAGE + 1))).toBe(true)
    expect(isZero(to.bytes.subarray(2 * PAGE + 1))).toBe(true)
  })

  it('copies whole mappings, single bytes, and ranges that end with a mapping', () => {
    const [from, to] = [map(2), map(2)]
    writePattern(from.bytes)
    moveAll([from.mapping, 0, to.mapping, 0, 2 * PAGE])
    expect(to.bytes).toEqual(from.bytes)
    moveAll([from.mapping, 5, to.mapping, 2 * PAGE - 1, 1], [from.mapping, 2 * PAGE - 10, to.mapping, 0, 10])
    expect(to.bytes[2 * PAGE - 1]).toBe(from.bytes[5])
    expect(to.bytes.subarray(0, 10)).toEqual(from.bytes.subarray(2 * PAGE - 10))
  })

  it('copies within one mapping, also over itself in either direction', () => {
    const { mapping, bytes } = map(2)
    const before = writePattern(bytes).slice()
    moveAll([mapping, 0, mapping, PAGE, 64])
    expect(bytes.subarray(PAGE, PAGE + 64)).toEqual(before.subarray(0, 64))
    moveAll([mapping, 1000, mapping, 1010, 500], [mapping, 2010, mapping, 2000, 500])
    expect(bytes.subarray(1010, 1510)).toEqual(before.subarray(1000, 1500))
    expect(bytes.subarray(2000, 2500)).toEqual(before.subarray(2010, 2510))
  })

  it('copies in order: what an earlier move wrote is what a later one reads', () => {
    const [first, second] = [map(1), map(1)]
    first.bytes.fill(1, 0, 32)
    moveAll(
      [first.mapping, 0, second.mapping, 64, 32],
      [second.mapping, 64, first.mapping, 512, 32],
      [first.mapping, 0, second.mapping, 128, 32],
      [second.mapping, 0, first.mapping, 0, 32],
    )
    expect(isFilled(first.bytes.subarray(512, 544), 1)).toBe(true)
    expect(isFilled(second.bytes.subarray(128, 160), 1)).toBe(true)
    expect(isZero(first.bytes.subarray(0, 32))).toBe(true)
  })

  it('copies between pieces of a slab, and leaves the pieces beside them alone', () => {
    const pieces = Array.from({ length: 5 }, mapPiece)
    pieces.forEach(({ bytes }, i) => {
      bytes.fill(i + 1)
    })
    moveAll(
      [pieces[1].mapping, 0, pieces[3].mapping, 0, PAGE],
      [pieces[0].mapping, PAGE - 16, pieces[4].mapping, 16, 16],
    )
    expect(pieces.slice(0, 4).map(({ bytes }) => bytes[0])).toEqual([1, 2, 3, 2])
    for (const { bytes } of pieces.slice(0, 4)) expect(isFilled(bytes, bytes[0])).toBe(true)
    expect([...pieces[4].bytes.subarray(15, 33)]).toEqual([5, ...Array(16).fill(1), 5])
    // A piece ends where the next one begins, and is a mapping of its own all the same.
    const error = thrownBy(() => moveAll([pieces[1].mapping, 16, pieces[3].mapping, 0, PAGE]))
    expect(error).toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
    expect(isFilled(pieces[3].bytes, 2)).toBe(true)
  })

  it('takes the numbers as they are at the call, although a move writes over them', () => {
    const { mapping, bytes } = map(2)
    writePattern(bytes.subarray(PAGE))
    const moves = new Float64Array(bytes.buffer, 0, 10)
    moves.set([mapping, PAGE, mapping, 0, 80, mapping, PAGE, mapping, 1024, 80])
    kernel.move(moves, 2)
    expect(bytes.subarray(0, 80)).toEqual(bytes.subarray(PAGE, PAGE + 80))
    expect(bytes.subarray(1024, 1104)).toEqual(bytes.subarray(PAGE, PAGE + 80))
  })

  it('takes a part of an array, one that threads share, and as many moves as there are', () => {
    const { mapping, bytes } = map(2)
    writePattern(bytes.subarray(0, PAGE))
    const moveCount = PAGE / 4
    const moves = new Float64Array(new SharedArrayBuffer(8 * (5 * moveCount + 3)), 8, 5 * moveCount)
    for (let i = 0; i < moveCount; i++) moves.set([mapping, 4 * i, mapping, 2 * PAGE - 4 * (i + 1), 4], 5 * i)
    kernel.move(moves, 1)
    expect(isZero(bytes.subarray(PAGE, 2 * PAGE - 4))).toBe(true)
    kernel.move(moves, moveCount)
    const words = new Uint32Array(bytes.buffer)
    expect(words.slice(PAGE / 4).reverse()).toEqual(words.slice(0, PAGE / 4))
  })

  it('does nothing for no move', () => {
    kernel.move(new Float64Array(0), 0)
    kernel.move(Float64Array.of(UNKNOWN_MAPPING, 0, 0, 0, 0), 0)
  })
})

describe.skipIf(hasNoBreak)('move, over the program break', () => {
  const { programBreak } = kernel

  it('copies into the memory of the break, out of it, and as far as its fence reaches', async () => {
    const mapping = programBreak.take('subject')
    programBreak.closeFence(mapping, 8 * PAGE)
    programBreak.openFence(mapping, 2 * PAGE)
    expect(programBreak.sbrk(mapping, 2 * PAGE)).toBe(true)
    programBreak.closeFence(mapping, 0)
    const bytes = new Uint8Array(kernel.wrap(mapping, 0, 2 * PAGE, kernel.newWrapId()))
    const other = map(1)
    writePattern(other.bytes)
    moveAll(
      [other.mapping, 0, mapping, PAGE, PAGE],
      [mapping, PAGE, mapping, 16, 100],
      [mapping, 0, other.mapping, 0, 116],
    )
    expect(bytes.subarray(16, 116)).toEqual(bytes.subarray(PAGE, PAGE + 100))
    expect(bytes.subarray(PAGE + 116)).toEqual(other.bytes.subarray(116))
    expect(other.bytes.subarray(0, 116)).toEqual(bytes.subarray(0, 116))
    for (const offset of [8 * PAGE, 2 ** 46]) {
      expect(thrownBy(() => moveAll([mapping, offset, other.mapping, 0, 1]))).toMatchObject({
        code: 'ERR_OUT_OF_RANGE',
      })
    }
    kernel.detach(bytes.buffer)
    programBreak.leave(mapping, false)
    await turns()
    expect(kernel.unmap(mapping)).toBe(true)
  })
})

describe('move refuses', () => {
  let from: Area
  let to: Area
  beforeEach(() => {
    from = map(1)
    to = map(2)
    writePattern(from.bytes)
  })

  /** The error of a call that must not have copied anything. */
  function refusalOf(call: () => void): unknown {
    const before = from.bytes.slice()
    const error = thrownBy(call)
    expect(from.bytes).toEqual(before)
    expect(isZero(to.bytes)).toBe(true)
    return error
  }

  const MAPPING = 'the id of a mapping that exists'
  const NOT_A_NUMBER = [Number.NaN, Infinity, -Infinity]
  const OFFSETS = [
    -1,
    -PAGE,
    0.5,
    PAGE - 0.5,
    2 ** 52,
    2 ** 53,
    2 ** 63,
    2 ** 64,
    -(2 ** 63),
    1e300,
    ...NOT_A_NUMBER,
  ]
  // By the place of the number: what is allowed there, and what is not.
  const REFUSED: [number, string, number[]][] = [
    [0, MAPPING, [0, -1, 0.5, UNKNOWN_MAPPING, 2 ** 53, 2 ** 64, ...NOT_A_NUMBER]],
    [1, `an integer >= 0 && <= ${PAGE - 1}`, [PAGE, ...OFFSETS]],
    [2, MAPPING, [0, -1, 0.5, UNKNOWN_MAPPING, 2 ** 53, 2 ** 64, ...NOT_A_NUMBER]],
    [3, `an integer >= 0 && <= ${2 * PAGE - 1}`, [2 * PAGE, ...OFFSETS]],
    [4, `an integer >= 1 && <= ${PAGE}`, [0, PAGE + 1, ...OFFSETS]],
  ]
  const cases = REFUSED.flatMap(([place, allowed, values]) =>
    values.map(value => [place, value, allowed] as const),
  )

  it.each(cases)(
    'the number %i of a move if it is %d, and copies nothing of the others',
    (place, value, allowed) => {
      const good: Move = [from.mapping, 0, to.mapping, 0, PAGE]
      // The bad one comes last, first, and between good ones.
      for (const at of [0, 1, 2]) {
        const moves = Float64Array.from([good, good, good].flat())
        moves[5 * at + place] = value
        const index = 5 * at + place
        expect(refusalOf(() => kernel.move(moves, 3))).toMatchObject({
          name: 'RangeError',
          code: 'ERR_OUT_OF_RANGE',
          message: expect.stringContaining(
            `The value of "moves[${index}]" is out of range. It must be ${allowed}.`,
          ),
        })
      }
    },
  )

  it.each([
    ['source', 1],
    ['target', 3],
  ])('a length that reaches beyond the %s', (_, place) => {
    const move = [from.mapping, 0, to.mapping, 0, PAGE]
    move[place] = place === 1 ? 1 : PAGE + 1
    expect(refusalOf(() => kernel.move(Float64Array.from(move), 1))).toMatchObject({
      message: expect.stringMatching(new RegExp(`"moves\\[4\\]".*<= ${PAGE - 1}\\. Received ${PAGE}$`)),
    })
    move[4] = PAGE - 1
    kernel.move(Float64Array.from(move), 1)
  })

  it('the id of a mapping that is gone', () => {
    const gone = kernel.map(PAGE)
    const moves = Float64Array.of(from.mapping, 0, to.mapping, 0, 1, gone, 0, to.mapping, 8, 1)
    kernel.unmap(gone)
    expect(refusalOf(() => kernel.move(moves, 2))).toMatchObject({
      message: expect.stringMatching(/^The value of "moves\[5\]".*exists\. Received \d+$/),
    })
  })

  it.each([-1, 0.5, 3, 2 ** 32, 2 ** 53, ...NOT_A_NUMBER])('%d moves of an array that has two', moveCount => {
    const moves = Float64Array.from([
      from.mapping,
      0,
      to.mapping,
      0,
      1,
      from.mapping,
      0,
      to.mapping,
      0,
      1,
      7,
      7,
      7,
      7,
    ])
    expect(refusalOf(() => kernel.move(moves, moveCount))).toMatchObject({
      name: 'RangeError',
      code: 'ERR_OUT_OF_RANGE',
      message: expect.stringContaining('"count" is out of range. It must be an integer >= 0 && <= 2.'),
    })
  })

  it('moves of an array that was detached', () => {
    const moves = Float64Array.of(from.mapping, 0, to.mapping, 0, 1)
    structuredClone(moves, { transfer: [moves.buffer] })
    expect(refusalOf(() => kernel.move(moves, 1))).toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
      message: expect.stringContaining('<= 0. Received 1'),
    })
    kernel.move(moves, 0)
  })

  const OTHERS = [undefined, null, [1, 0, 2, 0, 1], new Float32Array(5), new BigInt64Array(5)]
  it.each([...OTHERS, new DataView(new ArrayBuffer(40)), new ArrayBuffer(40), new Uint8Array(40)])(
    'what is no Float64Array: %o',
    moves => {
      expect(refusalOf(() => kernel.move(moves as never, 1))).toMatchObject({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: 'The "moves" argument must be an instance of Float64Array.',
      })
    },
  )

  it.each([undefined, null, '1', 1n, {}])('a count that is no number: %o', moveCount => {
    const moves = Float64Array.of(from.mapping, 0, to.mapping, 0, 1)
    expect(refusalOf(() => kernel.move(moves, moveCount as never))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
    })
  })
})

describe('random moves', () => {
  it('do what the same copies do in ordinary arrays, and those with a bad number do nothing', () => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const subjects = [map(1), map(4), map(32), mapPiece(), mapPiece(), mapPiece()]
    for (const { bytes } of subjects) for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256)
    const models = subjects.map(({ bytes }) => bytes.slice())
    const moves = new Float64Array(5 * 256)
    let refused = 0
    for (let call = 0; call < 1_000; call++) {
      const moveCount = random.below(random.oneIn(8) ? 257 : 8)
      // As a rule all of a call are between few mappings.
      const some = [random.below(subjects.length), random.below(subjects.length)]
      const indexOf = () => (random.oneIn(4) ? random.below(subjects.length) : random.pick(some))
      const copies: (() => void)[] = []
      for (let i = 0; i < moveCount; i++) {
        const [from, to] = [indexOf(), indexOf()]
        const [fromOffset, toOffset] = [from, to].map(index => random.below(models[index].length))
        const most = Math.min(models[from].length - fromOffset, models[to].length - toOffset)
        const length = Math.max(1, random.size(most))
        moves.set([subjects[from].mapping, fromOffset, subjects[to].mapping, toOffset, length], 5 * i)
        copies.push(() => models[to].set(models[from].slice(fromOffset, fromOffset + length), toOffset))
      }
      if (moveCount > 0 && random.oneIn(4)) {
        moves[random.below(5 * moveCount)] = random.pick([
          -1,
          0.5,
          2 ** 53,
          Number.NaN,
          33 * PAGE,
          UNKNOWN_MAPPING,
        ])
        const error = thrownBy(() => kernel.move(moves, moveCount))
        expect(error?.code, `seed ${seed}, call ${call}`).toBe('ERR_OUT_OF_RANGE')
        refused++
      } else {
        kernel.move(moves, moveCount)
        for (const copy of copies) copy()
      }
      for (const [index, { bytes }] of subjects.entries()) {
        const isSame = Buffer.compare(bytes, models[index]) === 0
        expect(isSame, `seed ${seed}, call ${call}, mapping ${index}`).toBe(true)
      }
    }
    expect(refused, `seed ${seed}`).toBeGreaterThan(50)
  })
})
