import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { Books } from '../../src/heap/books.js'
import { checkFrames, checkShortGap, checkShortGaps, checkStretch } from '../../src/heap/check.js'
import { plainStorage } from '../../src/heap/columns.js'
import { carve, endOf, isGap, isLive } from '../../src/heap/granule-map.js'
import { BINS, FIRST_BIT, FRAME_SHIFT } from '../../src/heap/layout.js'
import { forgetTops, raiseTop, takeShort, takeShortOfAll } from '../../src/heap/short-gaps.js'
import { coalesce, coverMap, layOut, PAGE, PG, type Stretch } from './books.js'

interface Filed {
  books: Books
  starts: number[]
  raise(gap: number): void
  /** Checks the books, and that each short gap of the map can be found. */
  check(): void
}

function makeShortGaps(frames: number): Books {
  const books = new Books(PAGE, plainStorage)
  coverMap(books, frames)
  return books
}

/** Stretches from granule 0 on, of which all short gaps are known; a live block behind them. */
function makeGaps(stretches: Stretch[], frames = 64): Filed {
  const books = makeShortGaps(frames)
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const starts = layOut(books, 0, [...stretches, ['live', frames * PG - length]])
  const raise = (gap: number) => {
    if (endOf(books, gap) - gap < PG) raiseTop(books, gap >>> FRAME_SHIFT, endOf(books, gap) - gap)
  }
  for (const [at, start] of starts.entries()) if (stretches[at]?.[0] === 'gap') raise(start)
  const check = () => {
    checkFrames(books, 0, frames)
    for (let at = 0; at < frames * PG; at = endOf(books, at)) {
      checkStretch(books, at, endOf(books, at))
      if (isGap(books, at) && endOf(books, at) - at < PG) checkShortGap(books, at, endOf(books, at) - at)
    }
    checkShortGaps(books)
  }
  check()
  return { books, starts, raise, check }
}

/** The end of a frame of which `used` granules are covered. */
function restOf(used: number): Stretch {
  return ['live', PG - used]
}

describe('takeShort', () => {
  it('takes any size from the gap of exactly that size, and then has no other', () => {
    for (let size = 1; size < PG; size++) {
      const { books, check } = makeGaps([
        ['live', 100],
        ['gap', size],
      ])
      expect(takeShort(books, size + 1)).toBe(NONE)
      expect(takeShort(books, size)).toBe(100)
      expect([isLive(books, 100), endOf(books, 100)]).toEqual([true, 100 + size])
      expect(takeShort(books, 1)).toBe(NONE)
      check()
    }
  })

  it('leaves the rest as a gap that can be taken in turn', () => {
    const { books, check } = makeGaps([
      ['live', 3],
      ['gap', 100],
    ])
    expect([takeShort(books, 60), takeShort(books, 30), takeShort(books, 9), takeShort(books, 1)]).toEqual([
      3, 63, 93, 102,
    ])
    expect(takeShort(books, 1)).toBe(NONE)
    check()
  })

  it('takes the gap of a frame that fits best', () => {
    const { books, starts, check } = makeGaps([
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
    expect(takeShort(books, 10)).toBe(starts[4])
    expect(takeShort(books, 10)).toBe(starts[2])
    expect(takeShort(books, 10)).toBe(starts[6])
    expect(takeShort(books, 10)).toBe(starts[0])
    check()
  })

  it('takes the frame whose longest gap is the least that will do, before a lower one', () => {
    const { books, check } = makeGaps([
      ['gap', 90],
      restOf(90),
      ['gap', 30],
      restOf(30),
      ['gap', 60],
      restOf(60),
    ])
    expect([takeShort(books, 20), takeShort(books, 50), takeShort(books, 70)]).toEqual([PG, 2 * PG, 0])
    check()
  })

  it('takes a gap of exactly that size, however short, before a longer one', () => {
    const { books, check } = makeGaps([['gap', 30], restOf(30), ['gap', 10], restOf(10), ['gap', 90]])
    expect([takeShort(books, 10), takeShort(books, 10), takeShort(books, 10)]).toEqual([PG, 0, 10])
    check()
  })

  it.each([1, 31, 32, 33, 1023, 1024, 1025, 2048])(
    'takes the lowest of frames with the same longest gap, %i frames apart',
    distance => {
      const { books, check } = makeGaps(
        [['gap', 20], ['live', distance * PG - 20], ['gap', 20], restOf(20)],
        2 * distance + 2,
      )
      expect([takeShort(books, 20), takeShort(books, 20), takeShort(books, 20)]).toEqual([
        0,
        distance * PG,
        NONE,
      ])
      check()
    },
  )

  it('finds a single gap in the last of 32 Ki frames and more', () => {
    const frames = 2 ** 15 + 70
    const books = makeShortGaps(frames)
    layOut(books, (frames - 1) * PG, [['gap', 20], restOf(20)])
    raiseTop(books, frames - 1, 20)
    checkShortGaps(books)
    expect(takeShort(books, 20)).toBe((frames - 1) * PG)
    expect(takeShort(books, 1)).toBe(NONE)
    checkShortGaps(books)
  })

  it('takes a gap of a wide bin that is long enough, but only after longer bins', () => {
    // 33 to 39 granules share a bin.
    const { books, check } = makeGaps([['gap', 38], restOf(38), ['gap', 60], restOf(60)])
    expect([takeShort(books, 36), takeShort(books, 36), takeShort(books, 36)]).toEqual([PG, 0, NONE])
    check()
  })

  it('does not take a gap of a wide bin that is too short', () => {
    const { books, check } = makeGaps([['gap', 35], restOf(35)])
    expect(takeShort(books, 36)).toBe(NONE)
    expect(takeShort(books, 35)).toBe(0)
    check()
  })

  it('takes a gap that reaches into the next frame, and knows the rest there', () => {
    const { books, check } = makeGaps([
      ['live', 250],
      ['gap', 100],
    ])
    expect(takeShort(books, 50)).toBe(250)
    expect([isGap(books, 300), endOf(books, 300)]).toEqual([true, 350])
    check()
    expect(takeShort(books, 50)).toBe(300)
    check()
  })

  it('takes a gap up to the end of its frame', () => {
    const { books, check } = makeGaps([
      ['live', 250],
      ['gap', 26],
    ])
    expect(takeShort(books, 6)).toBe(250)
    check()
    expect(takeShort(books, 20)).toBe(256)
    expect(takeShort(books, 1)).toBe(NONE)
    check()
  })

  it('takes neither held blocks nor gaps of a frame and longer', () => {
    const { books, check } = makeGaps([
      ['held', 50],
      ['gap', 20],
      ['live', 1],
      ['gap', PG],
    ])
    expect(takeShort(books, 50)).toBe(NONE)
    expect(takeShort(books, 20)).toBe(50)
    expect(takeShort(books, 1)).toBe(NONE)
    check()
  })

  it('finds out where a gap has coalesced with one in an earlier frame', () => {
    const { books, raise, check } = makeGaps([
      ['live', 200],
      ['gap', 10],
      ['live', 60],
      ['gap', 100],
      ['live', PG],
      ['gap', 100],
    ])
    coalesce(books, 210, 270)
    raise(200)
    // The second frame has no gap any more.
    check()
    expect(takeShort(books, 90)).toBe(626)
    expect(takeShort(books, 90)).toBe(200)
    expect(takeShort(books, 90)).toBe(NONE)
    check()
  })

  it('fills many gaps in many frames without losing one', () => {
    const { books, check } = makeGaps(
      Array.from({ length: 200 }, (_, n): Stretch[] => [
        ['gap', 1 + ((n * 37) % 70)],
        ['live', 5],
      ]).flat(),
      64,
    )
    for (let size = 70; size > 0; size--) {
      while (takeShort(books, size) !== NONE);
      check()
    }
    expect(takeShort(books, 1)).toBe(NONE)
  })
})

describe('frames whose top is too high', () => {
  /** 150 frames with a gap of 20 granules and a top as if it were of `length`; there is one of that length in frame 160. */
  function afterMany(length: number) {
    const frames = Array.from({ length: 150 }, (): Stretch[] => [['gap', 20], restOf(20)])
    const made = makeGaps([...frames.flat(), ['live', 10 * PG], ['gap', length]], 170)
    const { books } = made
    for (let frame = 0; frame < 150; frame++) raiseTop(books, frame, length)
    made.check()
    const tooHigh = books.tops[0]
    const countTooHigh = () => books.tops.subarray(0, 150).filter(found => found === tooHigh).length
    return { ...made, countTooHigh }
  }

  // The bin of a gap of 120 has only gaps that fit 100; that of a gap of 110 has shorter ones too.
  it.each([
    [100, 120],
    [100, 110],
  ])('are set right by searches for %i, of which each looks at 64', (size, length) => {
    const { books, countTooHigh, check } = afterMany(length)
    expect([takeShort(books, size), countTooHigh()]).toEqual([NONE, 86])
    expect([takeShort(books, size), countTooHigh()]).toEqual([NONE, 22])
    check()
    expect([takeShort(books, size), countTooHigh()]).toEqual([160 * PG, 0])
    check()
  })

  it.each([
    [100, 120],
    [100, 110],
  ])('are all set right by a search of all for %i', (size, length) => {
    const { books, countTooHigh, check } = afterMany(length)
    expect([takeShortOfAll(books, size), countTooHigh()]).toEqual([160 * PG, 0])
    expect(takeShortOfAll(books, size)).toBe(NONE)
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
    expect(takeShort(made.books, 60)).toBe(3)
    return made
  }

  it('is taken before a gap that fits better', () => {
    const { books, check } = afterCut()
    expect([takeShort(books, 12), takeShort(books, 16), takeShort(books, 12)]).toEqual([63, 75, 91])
    check()
    expect([takeShort(books, 12), takeShort(books, 30), takeShort(books, 1)]).toEqual([2 * PG, 113, NONE])
    check()
  })

  it('is not taken where it is too short, and then is left to whoever fits', () => {
    const { books, check } = afterCut()
    expect(takeShort(books, 32)).toBe(63)
    expect([takeShort(books, 9), takeShort(books, 3)]).toEqual([2 * PG, 2 * PG + 9])
    expect([takeShort(books, 8), takeShort(books, 30), takeShort(books, 1)]).toEqual([95, 113, NONE])
    check()
  })

  it('is not taken where it has coalesced with the gap before it', () => {
    const { books, raise, check } = afterCut()
    coalesce(books, 3, 63)
    raise(3)
    check()
    expect(takeShort(books, 12)).toBe(2 * PG)
    check()
  })

  it('is not taken where it has become a block', () => {
    const { books, check } = afterCut()
    carve(books, 63, 103, 103)
    check()
    expect(takeShort(books, 12)).toBe(2 * PG)
    check()
  })

  it('is cut with what it has coalesced with behind it', () => {
    const { books, raise, check } = afterCut()
    coalesce(books, 103, 113)
    raise(63)
    check()
    expect([takeShort(books, 40), takeShort(books, 40), takeShort(books, 1)]).toEqual([63, 103, 2 * PG])
    check()
  })

  it('is not taken where it has coalesced to a gap of a frame and more', () => {
    const { books, check } = makeGaps([
      ['gap', 100],
      ['live', PG - 50],
      ['gap', 30],
    ])
    expect(takeShort(books, 60)).toBe(0)
    coalesce(books, 100, PG + 50)
    expect([isGap(books, 60), endOf(books, 60)]).toEqual([true, PG + 80])
    expect(takeShort(books, 40)).toBe(NONE)
    check()
  })

  it('may reach over two frames, and be cut at any granule', () => {
    for (let first = 1; first < 99; first++) {
      for (let second = 1; first + second < 100; second += 7) {
        const { books, check } = makeGaps([
          ['live', 200],
          ['gap', 100],
        ])
        const blocks = [first, second, 100 - first - second].map(size => takeShort(books, size))
        expect(blocks).toEqual([200, 200 + first, 200 + first + second])
        expect(blocks.map(block => endOf(books, block))).toEqual([...blocks.slice(1), 300])
        check()
        expect(takeShort(books, 1)).toBe(NONE)
      }
    }
  })
})

describe('forgetTops', () => {
  it('forgets the gaps of frames that are not managed any more, and of no other', () => {
    const { books, check } = makeGaps([
      ['gap', 20],
      restOf(20),
      ['gap', 20],
      restOf(20),
      ['gap', 20],
      restOf(20),
    ])
    forgetTops(books, 1, 2)
    checkShortGaps(books)
    expect(books.tops[1]).toBe(0)
    expect([takeShort(books, 20), takeShort(books, 20), takeShort(books, 20)]).toEqual([0, 2 * PG, NONE])
    expect(() => check()).toThrow('1: gap 256 of 20')
  })
})

describe('checkShortGap and checkShortGaps', () => {
  /** A gap of 20 granules in frame 0, one of 60 in frame 40. */
  function fixture() {
    const made = makeGaps([['gap', 20], restOf(20), ['live', 39 * PG], ['gap', 60]])
    return { ...made, low: made.books.tops[0], high: made.books.tops[40] }
  }

  it('finds a gap longer than the top of its frame says (1)', () => {
    const { books } = fixture()
    checkShortGap(books, 0, 23)
    expect(() => checkShortGap(books, 0, 24)).toThrow('1: gap 0 of 24 is not above')
    books.tops[40]--
    expect(() => checkShortGap(books, 40 * PG, 60)).toThrow('1: gap 10240 of 60 is not above')
  })

  it('finds a frame that is not in the bin of its top (2)', () => {
    const { books, low } = fixture()
    books.leaves[low] = 0
    expect(() => checkShortGaps(books)).toThrow(`2: frames from 0 in bin ${low}`)
  })

  it('finds a frame that is in another bin too (2)', () => {
    const { books, low } = fixture()
    books.leaves[low + 1] |= FIRST_BIT >>> 1
    expect(() => checkShortGaps(books)).toThrow(`2: frames from 0 in bin ${low + 1}`)
  })

  it('finds a missing and a superfluous branch (2)', () => {
    for (const word of [0, 1]) {
      const { books, high } = fixture()
      books.branches[high] ^= FIRST_BIT >>> word
      expect(() => checkShortGaps(books)).toThrow(`2: tree word ${word} of bin ${high}`)
    }
  })

  it('finds a missing and a superfluous root (2)', () => {
    for (const word of [0, 1]) {
      const { books, low } = fixture()
      if (word === 1) books.branches[BINS + low] = 0
      books.roots[low] ^= FIRST_BIT >>> word
      expect(() => checkShortGaps(books)).toThrow(`2: tree word ${word} of bin ${low}`)
    }
  })

  it('finds a bin that it does not know to have frames (2)', () => {
    const { books, low } = fixture()
    const bin = low + 1
    books.tops[0] = bin
    books.leaves[low] = 0
    for (const level of [books.leaves, books.branches, books.roots]) level[bin] = FIRST_BIT
    books.branches[low] = 0
    books.roots[low] = 0
    expect(() => checkShortGaps(books)).toThrow(`2: bin ${bin} is known to have frames`)
  })
})
