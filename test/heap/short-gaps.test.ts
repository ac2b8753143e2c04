import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { plainStorage } from '../../src/heap/columns.js'
import type { GranuleMap } from '../../src/heap/granule-map.js'
import { BINS, FIRST_BIT, FRAME_SHIFT } from '../../src/heap/layout.js'
import type { PageTable } from '../../src/heap/page-table.js'
import { ShortGaps } from '../../src/heap/short-gaps.js'
import { coverMap, layOut, PAGE, PG, type Stretch } from './books.js'

interface Gaps {
  short: ShortGaps
  map: GranuleMap
  table: PageTable
  starts: number[]
  raise(gap: number): void
  /** Checks the books, and that each short gap of the map can be found. */
  check(): void
}

function makeShortGaps(frames: number): ShortGaps {
  const short = new ShortGaps(PAGE, plainStorage)
  coverMap(short, frames)
  return short
}

/** Stretches from granule 0 on, of which all short gaps are known; a live block behind them. */
function makeGaps(stretches: Stretch[], frames = 64): Gaps {
  const map = makeShortGaps(frames)
  const table = map
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const starts = layOut(map, 0, [...stretches, ['live', frames * PG - length]])
  const short = map
  const raise = (gap: number) => {
    if (map.next(gap) - gap < PG) short.raiseTop(gap >>> FRAME_SHIFT, map.next(gap) - gap)
  }
  for (const [at, start] of starts.entries()) if (stretches[at]?.[0] === 'gap') raise(start)
  const check = () => {
    map.checkFrames(0, frames)
    for (let at = 0; at < frames * PG; at = map.next(at)) {
      map.checkStretch(at, map.next(at))
      if (map.isGap(at) && map.next(at) - at < PG) short.checkShortGap(at, map.next(at) - at)
    }
    short.checkShortGaps()
  }
  check()
  return { short, map, table, starts, raise, check }
}

/** The end of a frame of which `used` granules are covered. */
function restOf(used: number): Stretch {
  return ['live', PG - used]
}

describe('take', () => {
  it('takes any size from the gap of exactly that size, and then has no other', () => {
    for (let size = 1; size < PG; size++) {
      const { short, map, check } = makeGaps([
        ['live', 100],
        ['gap', size],
      ])
      expect(short.takeShort(size + 1)).toBe(NONE)
      expect(short.takeShort(size)).toBe(100)
      expect([map.isLive(100), map.next(100)]).toEqual([true, 100 + size])
      expect(short.takeShort(1)).toBe(NONE)
      check()
    }
  })

  it('leaves the rest as a gap that can be taken in turn', () => {
    const { short, check } = makeGaps([
      ['live', 3],
      ['gap', 100],
    ])
    expect([short.takeShort(60), short.takeShort(30), short.takeShort(9), short.takeShort(1)]).toEqual([
      3, 63, 93, 102,
    ])
    expect(short.takeShort(1)).toBe(NONE)
    check()
  })

  it('takes the gap of a frame that fits best', () => {
    const { short, starts, check } = makeGaps([
      ['gap', 40],
      ['live', 1],
      ['gap', 12],
      ['live', 1],
      ['gap', 10],
      ['live', 1],
      ['gap', 13],
      ['live', 1],
      ['gap', 9],
    ])
    expect(short.takeShort(10)).toBe(starts[4])
    expect(short.takeShort(10)).toBe(starts[2])
    expect(short.takeShort(10)).toBe(starts[6])
    expect(short.takeShort(10)).toBe(starts[0])
    check()
  })

  it('takes the frame whose longest gap is the least that will do, before a lower one', () => {
    const { short, check } = makeGaps([
      ['gap', 90],
      restOf(90),
      ['gap', 30],
      restOf(30),
      ['gap', 60],
      restOf(60),
    ])
    expect([short.takeShort(20), short.takeShort(50), short.takeShort(70)]).toEqual([PG, 2 * PG, 0])
    check()
  })

  it('takes a gap of exactly that size, however short, before a longer one', () => {
    const { short, check } = makeGaps([['gap', 30], restOf(30), ['gap', 10], restOf(10), ['gap', 90]])
    expect([short.takeShort(10), short.takeShort(10), short.takeShort(10)]).toEqual([PG, 0, 10])
    check()
  })

  it.each([1, 31, 32, 33, 1023, 1024, 1025, 2048])(
    'takes the lowest of frames with the same longest gap, %i frames apart',
    distance => {
      const { short, check } = makeGaps(
        [['gap', 20], ['live', distance * PG - 20], ['gap', 20], restOf(20)],
        2 * distance + 2,
      )
      expect([short.takeShort(20), short.takeShort(20), short.takeShort(20)]).toEqual([
        0,
        distance * PG,
        NONE,
      ])
      check()
    },
  )

  it('finds a single gap in the last of 32 Ki frames and more', () => {
    const frames = 2 ** 15 + 70
    const { short, map } = makeMapOnly(frames)
    layOut(map, (frames - 1) * PG, [['gap', 20], restOf(20)])
    short.raiseTop(frames - 1, 20)
    short.checkShortGaps()
    expect(short.takeShort(20)).toBe((frames - 1) * PG)
    expect(short.takeShort(1)).toBe(NONE)
    short.checkShortGaps()
  })

  it('takes a gap of a wide bin that is long enough, but only after longer bins', () => {
    // 33 to 39 granules share a bin.
    const { short, check } = makeGaps([['gap', 38], restOf(38), ['gap', 60], restOf(60)])
    expect([short.takeShort(36), short.takeShort(36), short.takeShort(36)]).toEqual([PG, 0, NONE])
    check()
  })

  it('does not take a gap of a wide bin that is too short', () => {
    const { short, check } = makeGaps([['gap', 35], restOf(35)])
    expect(short.takeShort(36)).toBe(NONE)
    expect(short.takeShort(35)).toBe(0)
    check()
  })

  it('takes a gap that reaches into the next frame, and knows the rest there', () => {
    const { short, map, check } = makeGaps([
      ['live', 250],
      ['gap', 100],
    ])
    expect(short.takeShort(50)).toBe(250)
    expect([map.isGap(300), map.next(300)]).toEqual([true, 350])
    check()
    expect(short.takeShort(50)).toBe(300)
    check()
  })

  it('takes a gap up to the end of its frame', () => {
    const { short, check } = makeGaps([
      ['live', 250],
      ['gap', 26],
    ])
    expect(short.takeShort(6)).toBe(250)
    check()
    expect(short.takeShort(20)).toBe(256)
    expect(short.takeShort(1)).toBe(NONE)
    check()
  })

  it('takes neither held blocks nor gaps of a frame and longer', () => {
    const { short, check } = makeGaps([
      ['held', 50],
      ['gap', 20],
      ['live', 1],
      ['gap', PG],
    ])
    expect(short.takeShort(50)).toBe(NONE)
    expect(short.takeShort(20)).toBe(50)
    expect(short.takeShort(1)).toBe(NONE)
    check()
  })

  it('finds out where a gap has coalesced with one in an earlier frame', () => {
    const { short, map, raise, check } = makeGaps([
      ['live', 200],
      ['gap', 10],
      ['live', 60],
      ['gap', 100],
      ['live', PG],
      ['gap', 100],
    ])
    map.coalesce(210, 270)
    raise(200)
    // The second frame has no gap any more.
    check()
    expect(short.takeShort(90)).toBe(626)
    expect(short.takeShort(90)).toBe(200)
    expect(short.takeShort(90)).toBe(NONE)
    check()
  })

  it('fills many gaps in many frames without losing one', () => {
    const { short, check } = makeGaps(
      Array.from({ length: 200 }, (_, n): Stretch[] => [
        ['gap', 1 + ((n * 37) % 70)],
        ['live', 5],
      ]).flat(),
      64,
    )
    for (let size = 70; size > 0; size--) {
      while (short.takeShort(size) !== NONE);
      check()
    }
    expect(short.takeShort(1)).toBe(NONE)
  })
})

describe('frames whose top is too high', () => {
  /** 150 frames with a gap of 20 granules and a top as if it were of `length`; there is one of that length in frame 160. */
  function afterMany(length: number) {
    const frames = Array.from({ length: 150 }, (): Stretch[] => [['gap', 20], restOf(20)])
    const made = makeGaps([...frames.flat(), ['live', 10 * PG], ['gap', length]], 170)
    const { short, table } = made
    for (let frame = 0; frame < 150; frame++) short.raiseTop(frame, length)
    made.check()
    const tooHigh = table.tops[0]
    const countTooHigh = () => table.tops.subarray(0, 150).filter(found => found === tooHigh).length
    return { ...made, countTooHigh }
  }

  // The bin of a gap of 120 has only gaps that fit 100; that of a gap of 110 has shorter ones too.
  it.each([
    [100, 120],
    [100, 110],
  ])('are set right by searches for %i, of which each looks at 64', (size, length) => {
    const { short, countTooHigh, check } = afterMany(length)
    expect([short.takeShort(size), countTooHigh()]).toEqual([NONE, 86])
    expect([short.takeShort(size), countTooHigh()]).toEqual([NONE, 22])
    check()
    expect([short.takeShort(size), countTooHigh()]).toEqual([160 * PG, 0])
    check()
  })

  it.each([
    [100, 120],
    [100, 110],
  ])('are all set right by a search of all for %i', (size, length) => {
    const { short, countTooHigh, check } = afterMany(length)
    expect([short.takeShortOfAll(size), countTooHigh()]).toEqual([160 * PG, 0])
    expect(short.takeShortOfAll(size)).toBe(NONE)
    check()
  })
})

describe('what the last cut left', () => {
  /** A block of 60 granules was cut from a gap of 100 at 3; a gap of 12 is in another frame. */
  function afterCut() {
    const made = makeGaps([
      ['live', 3],
      ['gap', 100],
      ['live', 10],
      ['gap', 30],
      ['live', 2 * PG - 143],
      ['gap', 12],
      ['live', 10],
    ])
    expect(made.short.takeShort(60)).toBe(3)
    return made
  }

  it('is taken before a gap that fits better', () => {
    const { short, check } = afterCut()
    expect([short.takeShort(12), short.takeShort(16), short.takeShort(12)]).toEqual([63, 75, 91])
    check()
    expect([short.takeShort(12), short.takeShort(30), short.takeShort(1)]).toEqual([2 * PG, 113, NONE])
    check()
  })

  it('is not taken where it is too short, and then is left to whoever fits', () => {
    const { short, check } = afterCut()
    expect(short.takeShort(32)).toBe(63)
    expect([short.takeShort(9), short.takeShort(3)]).toEqual([2 * PG, 2 * PG + 9])
    expect([short.takeShort(8), short.takeShort(30), short.takeShort(1)]).toEqual([95, 113, NONE])
    check()
  })

  it('is not taken where it has coalesced with the gap before it', () => {
    const { short, map, raise, check } = afterCut()
    map.coalesce(3, 63)
    raise(3)
    check()
    expect(short.takeShort(12)).toBe(2 * PG)
    check()
  })

  it('is not taken where it has become a block', () => {
    const { short, map, check } = afterCut()
    map.carve(63, 103, 103)
    check()
    expect(short.takeShort(12)).toBe(2 * PG)
    check()
  })

  it('is cut with what it has coalesced with behind it', () => {
    const { short, map, raise, check } = afterCut()
    map.coalesce(103, 113)
    raise(63)
    check()
    expect([short.takeShort(40), short.takeShort(40), short.takeShort(1)]).toEqual([63, 103, 2 * PG])
    check()
  })

  it('is not taken where it has coalesced to a gap of a frame and more', () => {
    const { short, map, check } = makeGaps([
      ['gap', 100],
      ['live', PG - 50],
      ['gap', 30],
    ])
    expect(short.takeShort(60)).toBe(0)
    map.coalesce(100, PG + 50)
    expect([map.isGap(60), map.next(60)]).toEqual([true, PG + 80])
    expect(short.takeShort(40)).toBe(NONE)
    check()
  })

  it('may reach over two frames, and be cut at any granule', () => {
    for (let first = 1; first < 99; first++) {
      for (let second = 1; first + second < 100; second += 7) {
        const { short, map, check } = makeGaps([
          ['live', 200],
          ['gap', 100],
        ])
        const blocks = [first, second, 100 - first - second].map(size => short.takeShort(size))
        expect(blocks).toEqual([200, 200 + first, 200 + first + second])
        expect(blocks.map(block => map.next(block))).toEqual([...blocks.slice(1), 300])
        check()
        expect(short.takeShort(1)).toBe(NONE)
      }
    }
  })
})

function makeMapOnly(frames: number) {
  const map = makeShortGaps(frames)
  return { map, table: map, short: map }
}

describe('forget', () => {
  it('forgets the gaps of frames that are not managed any more, and of no other', () => {
    const { short, table, check } = makeGaps([
      ['gap', 20],
      restOf(20),
      ['gap', 20],
      restOf(20),
      ['gap', 20],
      restOf(20),
    ])
    short.forgetTops(1, 2)
    short.checkShortGaps()
    expect(table.tops[1]).toBe(0)
    expect([short.takeShort(20), short.takeShort(20), short.takeShort(20)]).toEqual([0, 2 * PG, NONE])
    expect(() => check()).toThrow('1: gap 256 of 20')
  })
})

describe('checkGap and check', () => {
  /** A gap of 20 granules in frame 0, one of 60 in frame 40. */
  function fixture() {
    const made = makeGaps([['gap', 20], restOf(20), ['live', 39 * PG], ['gap', 60]])
    return { ...made, low: made.table.tops[0], high: made.table.tops[40] }
  }

  it('finds a gap longer than the top of its frame says (1)', () => {
    const { short, table } = fixture()
    short.checkShortGap(0, 23)
    expect(() => short.checkShortGap(0, 24)).toThrow('1: gap 0 of 24 is not above')
    table.tops[40]--
    expect(() => short.checkShortGap(40 * PG, 60)).toThrow('1: gap 10240 of 60 is not above')
  })

  it('finds a frame that is not in the bin of its top (2)', () => {
    const { short, table, low } = fixture()
    table.leaves[low] = 0
    expect(() => short.checkShortGaps()).toThrow(`2: frames from 0 in bin ${low}`)
  })

  it('finds a frame that is in another bin too (2)', () => {
    const { short, table, low } = fixture()
    table.leaves[low + 1] |= FIRST_BIT >>> 1
    expect(() => short.checkShortGaps()).toThrow(`2: frames from 0 in bin ${low + 1}`)
  })

  it('finds a missing and a superfluous branch (2)', () => {
    for (const word of [0, 1]) {
      const { short, table, high } = fixture()
      table.branches[high] ^= FIRST_BIT >>> word
      expect(() => short.checkShortGaps()).toThrow(`2: tree word ${word} of bin ${high}`)
    }
  })

  it('finds a missing and a superfluous root (2)', () => {
    for (const word of [0, 1]) {
      const { short, table, low } = fixture()
      if (word === 1) table.branches[BINS + low] = 0
      table.roots[low] ^= FIRST_BIT >>> word
      expect(() => short.checkShortGaps()).toThrow(`2: tree word ${word} of bin ${low}`)
    }
  })

  it('finds a bin that it does not know to have frames (2)', () => {
    const { short, table, low } = fixture()
    const bin = low + 1
    table.tops[0] = bin
    table.leaves[low] = 0
    for (const level of [table.leaves, table.branches, table.roots]) level[bin] = FIRST_BIT
    table.branches[low] = 0
    table.roots[low] = 0
    expect(() => short.checkShortGaps()).toThrow(`2: bin ${bin} is known to have frames`)
  })
})
