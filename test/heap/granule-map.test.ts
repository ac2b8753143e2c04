import { describe, expect, it } from 'vitest'
import type { Books } from '../../src/heap/books.js'
import { checkFrames, checkStretch } from '../../src/heap/check.js'
import {
  carve,
  endOf,
  isGap,
  isHeld,
  isLive,
  listLiveIn,
  markGap,
  markHeld,
  pairOf,
  span,
  startBefore,
  startOf,
  unmark,
} from '../../src/heap/granule-map.js'
import { ANY, END, FIRST_BIT, GAP, ROW_WORDS, START } from '../../src/heap/layout.js'
import { coalesce, layOut, makeMap, type Stretch } from './books.js'

const FRAMES = 16
const LENGTHS = [1, 2, 31, 32, 33, 63, 64, 65, 223, 224, 255, 256, 257, 511, 512, 513, 1000]
const OFFSETS = [0, 1, 30, 31, 32, 33, 224, 254, 255, 256, 257]
const EVERY_PLACE = LENGTHS.flatMap(length => OFFSETS.map(offset => [length, offset]))

/** Checks that the map is covered by exactly these stretches from `from` on. */
function expectStretches(map: Books, from: number, stretches: Stretch[]): void {
  checkFrames(map, 0, FRAMES)
  let at = from
  for (const [kind, length] of stretches) {
    expect([isLive(map, at), isHeld(map, at), isGap(map, at)]).toEqual([
      kind === 'live',
      kind === 'held',
      kind === 'gap',
    ])
    checkStretch(map, at, at + length)
    at += length
  }
}

describe('isLive, isHeld and isGap', () => {
  it.each(['live', 'held', 'gap'] as const)(
    'say that what starts is %s, and that nothing starts inside',
    kind => {
      for (const offset of OFFSETS) {
        const map = makeMap(FRAMES)
        layOut(map, 0, [
          ['live', offset || 300],
          [kind, 100],
        ])
        const first = offset || 300
        const said = (at: number) => [isLive(map, at), isHeld(map, at), isGap(map, at)]
        expect(said(first)).toEqual([kind === 'live', kind === 'held', kind === 'gap'])
        for (let at = first + 1; at < first + 100; at++) expect(said(at)).toEqual([false, false, false])
      }
    },
  )

  it('take the end of a range for held', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [['gap', 512]])
    expect([isLive(map, 512), isHeld(map, 512), isGap(map, 512)]).toEqual([false, true, false])
  })
})

describe('endOf and startBefore', () => {
  it('find the ends of a stretch of any length wherever it starts', () => {
    for (const [length, offset] of EVERY_PLACE) {
      const map = makeMap(FRAMES)
      const before: Stretch[] = offset === 0 ? [] : [['live', offset]]
      layOut(map, 0, [...before, ['gap', length], ['held', 7]])
      expect(endOf(map, offset)).toBe(offset + length)
      expect(startBefore(map, offset + length)).toBe(offset)
      expect(startBefore(map, offset + length + 7)).toBe(offset + length)
    }
  })

  it('find a held one before the first granule of all', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [['gap', 100]])
    expect(startBefore(map, 0)).toBe(-1)
  })

  it('find blocks of one granule side by side', () => {
    const map = makeMap(FRAMES)
    layOut(
      map,
      0,
      Array.from({ length: 600 }, () => ['live', 1] as Stretch),
    )
    for (let at = 0; at < 600; at++) {
      expect(endOf(map, at)).toBe(at + 1)
      expect(startBefore(map, at + 1)).toBe(at)
    }
  })

  it('find the ends again after a stretch has moved them within the same frames', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['gap', 700],
      ['gap', 600],
    ])
    unmark(map, 700)
    markGap(map, 800)
    span(map, 0, 800)
    span(map, 800, 1300)
    expectStretches(map, 0, [
      ['gap', 800],
      ['gap', 500],
    ])
  })
})

describe('startOf', () => {
  it('finds where a stretch starts from each of its granules', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['live', 5],
      ['gap', 1300],
      ['held', 1],
      ['live', 40],
      ['gap', 700],
    ])
    const starts = [0, 5, 1305, 1306, 1346]
    for (let at = 0; at < 2046; at++) expect(startOf(map, at)).toBe(starts.findLast(start => start <= at))
  })
})

describe('carve', () => {
  it('makes the first granules of a gap live and leaves the rest, wherever it starts', () => {
    for (const [length, offset] of EVERY_PLACE) {
      for (const rest of [1, 40, 300]) {
        const map = makeMap(FRAMES)
        const before: Stretch[] = offset === 0 ? [] : [['held', offset]]
        layOut(map, 0, [...before, ['gap', length + rest], ['live', 9]])
        carve(map, offset, offset + length, offset + length + rest)
        expectStretches(map, 0, [...before, ['live', length], ['gap', rest], ['live', 9]])
      }
    }
  })

  it('makes a whole gap live', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['held', 30],
      ['gap', 500],
      ['live', 9],
    ])
    carve(map, 30, 530, 530)
    expectStretches(map, 0, [
      ['held', 30],
      ['live', 500],
      ['live', 9],
    ])
  })

  it('still knows of another gap in the same pair', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['gap', 3],
      ['live', 3],
      ['gap', 3],
      ['live', 3],
    ])
    carve(map, 0, 3, 3)
    expect(map.occupied[0]).toBe(GAP | ANY)
    expectStretches(map, 0, [
      ['live', 3],
      ['live', 3],
      ['gap', 3],
      ['live', 3],
    ])
  })
})

describe('mergeWithNext and mergeWithPrevious', () => {
  const sizes = [1, 20, 32, 250, 256, 600]

  it.each([
    ['neither neighbour', false, false],
    ['the gap before', true, false],
    ['the gap behind', false, true],
    ['both neighbours', true, true],
  ])('coalesces with %s', (_, hasBefore, hasBehind) => {
    for (const before of sizes) {
      for (const size of sizes) {
        for (const behind of sizes) {
          const map = makeMap(FRAMES)
          const first = 5 + before
          const end = first + size
          layOut(map, 0, [
            ['live', 5],
            [hasBefore ? 'gap' : 'live', before],
            ['live', size],
            [hasBehind ? 'gap' : 'live', behind],
            ['held', 3],
          ])
          const from = hasBefore ? 5 : first
          const to = hasBehind ? end + behind : end
          expect(coalesce(map, first, end)).toEqual([from, to])
          const left: Stretch[] = hasBefore ? [] : [['live', before]]
          const right: Stretch[] = hasBehind ? [] : [['live', behind]]
          expectStretches(map, 0, [['live', 5], ...left, ['gap', to - from], ...right, ['held', 3]])
        }
      }
    }
  })

  it('does not coalesce with held blocks, nor over the ends of a range', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['held', 10],
      ['held', 10],
      ['held', 10],
    ])
    expect(coalesce(map, 10, 20)).toEqual([10, 20])
    expectStretches(map, 0, [
      ['held', 10],
      ['gap', 10],
      ['held', 10],
    ])
    coalesce(map, 0, 10)
    expect(coalesce(map, 20, 30)).toEqual([0, 30])
    expectStretches(map, 0, [['gap', 30]])
  })
})

describe('markHeld and unmark', () => {
  it('make a gap held, and forget it', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['live', 40],
      ['gap', 100],
      ['live', 4],
    ])
    markHeld(map, 40)
    expectStretches(map, 0, [
      ['live', 40],
      ['held', 100],
      ['live', 4],
    ])
    unmark(map, 40)
    span(map, 0, 140)
    expectStretches(map, 0, [
      ['live', 140],
      ['live', 4],
    ])
    expect(map.bits[pairOf(40)] | map.bits[pairOf(40) + 1]).toBe(0)
  })

  it('leave what else starts in the same pair', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['gap', 5],
      ['live', 5],
      ['gap', 5],
      ['held', 5],
      ['live', 5],
    ])
    markHeld(map, 0)
    unmark(map, 5)
    expectStretches(map, 0, [
      ['held', 10],
      ['gap', 5],
      ['held', 5],
      ['live', 5],
    ])
    unmark(map, 15)
    expectStretches(map, 0, [
      ['held', 10],
      ['gap', 10],
      ['live', 5],
    ])
  })
})

describe('listLiveIn', () => {
  it('lists live blocks only, in ascending order, within the window', () => {
    const map = makeMap(FRAMES)
    layOut(map, 0, [
      ['live', 31],
      ['live', 1],
      ['gap', 8],
      ['held', 8],
      ['live', 400],
      ['gap', 1],
      ['live', 63],
    ])
    const blocks = new Int32Array(10)
    expect(listLiveIn(map, 0, 512, blocks, 0)).toBe(4)
    expect([...blocks.subarray(0, 4)]).toEqual([0, 31, 48, 449])
    expect(listLiveIn(map, 32, 448, blocks, 0)).toBe(1)
    expect(blocks[0]).toBe(48)
  })
})

describe('checkFrames and checkStretch', () => {
  function fixture() {
    const made = makeMap(FRAMES)
    layOut(made, 0, [
      ['live', 100],
      ['gap', 700],
      ['live', 10],
    ])
    checkFrames(made, 0, FRAMES)
    checkStretch(made, 100, 800)
    return made
  }

  it.each([
    ['a pair that has bits and is not known', 0, ANY],
    ['a pair that is known and has no bits', 0, ANY >>> 2],
    ['a gap that is not known', 0, GAP >>> 3],
    ['a gap that is known and is none', 0, GAP],
    ['a live block for a gap', 3, GAP >>> 1],
  ])('find %s (1)', (_, frame, bit) => {
    const map = fixture()
    map.occupied[frame] ^= bit
    expect(() => checkFrames(map, 0, FRAMES)).toThrow(`1: pairs of frame ${frame}`)
  })

  it('finds a bit that nobody knows of (1)', () => {
    const map = fixture()
    map.bits[pairOf(300)] |= FIRST_BIT >>> 300
    expect(() => checkFrames(map, 0, FRAMES)).toThrow('1: pairs of frame 1')
  })

  it('finds a row with a wrong end (2)', () => {
    const map = fixture()
    map.rows[END]--
    expect(() => checkStretch(map, 100, 800)).toThrow('2: what starts at 100 ends at 800')
  })

  it('finds a row with a wrong start (2)', () => {
    const map = fixture()
    map.rows[3 * ROW_WORDS + START]++
    expect(() => checkStretch(map, 100, 800)).toThrow('2: what ends at 800 starts at 100')
  })
})
