import { describe, expect, it } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { Books } from '../../src/heap/books.js'
import { checkLongGaps } from '../../src/heap/check.js'
import { plainStorage } from '../../src/heap/columns.js'
import { span } from '../../src/heap/granule-map.js'
import { COLD, EDGE, NEXT, PREV, ROW_WORDS, WARM } from '../../src/heap/layout.js'
import {
  addLong,
  changeLong,
  cleanOf,
  findLastLong,
  findLong,
  followingLong,
  removeLong,
} from '../../src/heap/long-gaps.js'
import { coverMap, PAGE, PG } from './books.js'

const FRAMES = 4096

function makeLongGaps(): Books {
  const books = new Books(PAGE, plainStorage)
  coverMap(books, FRAMES)
  return books
}

/** Long gaps as whoever owns the map would file them. */
class Filed {
  readonly books = makeLongGaps()
  /** Length and clean pages of each gap, by where it starts. */
  readonly gaps = new Map<number, [number, number]>()

  add(start: number, length: number, clean = 0): number {
    span(this.books, start, start + length)
    addLong(this.books, start, length, clean)
    this.gaps.set(start, [length, clean])
    return start
  }

  remove(start: number): void {
    removeLong(this.books, start, ...this.#gap(start))
    this.gaps.delete(start)
  }

  change(from: number, to: number, length: number, clean = 0): void {
    const old = this.#gap(from)
    this.gaps.delete(from)
    span(this.books, to, to + length)
    changeLong(this.books, from, ...old, to, length, clean)
    this.gaps.set(to, [length, clean])
  }

  /** Takes what `find` finds until there is nothing more. */
  drain(set: number, length: number): number[] {
    const found: number[] = []
    for (let at = findLong(this.books, set, length); at !== NONE; at = findLong(this.books, set, length)) {
      found.push(at)
      this.remove(at)
      this.check()
    }
    return found
  }

  check(): void {
    const count = checkLongGaps(
      this.books,
      start => this.gaps.get(start)?.[0] ?? 0,
      start => this.gaps.get(start)?.[1] ?? 0,
    )
    expect(count).toBe(this.gaps.size)
  }

  #gap(start: number): [number, number] {
    return this.gaps.get(start) as [number, number]
  }
}

/** Gaps of those lengths, each at the start of a frame of its own. */
function file(lengths: number[], clean = 0): { filed: Filed; at: number[] } {
  const filed = new Filed()
  let start = 0
  const at: number[] = []
  for (const length of lengths) {
    at.push(filed.add(start, length, clean))
    start += Math.ceil(length / PG) * PG + PG
  }
  filed.check()
  return { filed, at }
}

describe('findLong', () => {
  it('finds nothing where there is no gap', () => {
    const { books } = new Filed()
    for (const length of [1, 255, 256, 2 ** 31]) {
      expect([findLong(books, WARM, length), findLong(books, COLD, length)]).toEqual([NONE, NONE])
    }
  })

  it('finds a gap for every length up to its own, and for no longer one', () => {
    for (let doubling = 8; doubling <= 31; doubling++) {
      for (const by of [-1, 0, 1, 2 ** (doubling - 3)]) {
        const length = 2 ** doubling + by
        if (length < 256 || length > 2 ** 31) continue
        const filed = new Filed()
        filed.add(5 * PG, length)
        for (const size of [1, 255, 256, length >>> 1, length - 1, length]) {
          expect(findLong(filed.books, WARM, Math.max(1, size))).toBe(5 * PG)
        }
        expect(findLong(filed.books, WARM, length + 1)).toBe(NONE)
        filed.check()
      }
    }
  })

  it('takes the shortest of a bin that is long enough', () => {
    const { filed, at } = file([520, 513, 540, 530])
    expect(filed.drain(WARM, 515)).toEqual([0, 3, 2].map(n => at[n]))
  })

  it('takes the oldest of equal length first', () => {
    const { filed, at } = file([300, 300, 300, 300, 300, 300])
    expect(filed.drain(WARM, 300)).toEqual(at)
  })

  it('takes the shortest bin above where the own one has nothing', () => {
    const { filed, at } = file([4000, 700, 90_000, 1200, 513])
    expect(filed.drain(WARM, 600)).toEqual([1, 3, 0, 2].map(n => at[n]))
    expect(filed.drain(WARM, 1)).toEqual([at[4]])
  })

  it('takes the shortest bin of all for less than a frame', () => {
    const { filed, at } = file([90_000, 300, 257])
    expect(filed.drain(WARM, 20)).toEqual([2, 1, 0].map(n => at[n]))
  })

  it('tells gaps with clean pages from those without', () => {
    const filed = new Filed()
    filed.add(0, 600, 0)
    filed.add(10 * PG, 600, 1)
    filed.add(20 * PG, 600, 2)
    filed.check()
    expect(filed.drain(WARM, 256)).toEqual([0])
    expect(filed.drain(COLD, 256)).toEqual([10 * PG, 20 * PG])
  })
})

describe('findLastLong', () => {
  it('finds the gap in a bin of which the first few are too short', () => {
    const { filed, at } = file([513, 513, 513, 513, 513, 540])
    expect(findLong(filed.books, WARM, 520)).toBe(NONE)
    expect(findLastLong(filed.books, 520, 0)).toBe(at[5])
    expect(findLastLong(filed.books, 541, 0)).toBe(NONE)
  })

  it('finds a gap of either set', () => {
    const { filed, at } = file([513, 513, 513, 513, 513, 540], 1)
    expect(findLastLong(filed.books, 520, 0)).toBe(at[5])
  })

  it('finds room at a multiple in a gap that has no more than that', () => {
    const filed = new Filed()
    const [a, b] = [filed.add(10 * PG + 16, 400), filed.add(20 * PG + 100, 400)]
    expect(findLastLong(filed.books, 160, 255)).toBe(a)
    expect(findLastLong(filed.books, 161, 255)).toBe(b)
    expect(findLastLong(filed.books, 244, 255)).toBe(b)
    expect(findLastLong(filed.books, 245, 255)).toBe(NONE)
    expect(findLastLong(filed.books, 400, 15)).toBe(a)
    expect(findLastLong(filed.books, 400, 31)).toBe(NONE)
  })
})

describe('followingLong', () => {
  it('visits every gap once', () => {
    const { filed, at } = file([300, 300, 5000, 700, 300, 256, 90_000, 700])
    filed.add(2000 * PG, 300, 1)
    filed.add(2010 * PG, 5000, 19)
    const seen: number[] = []
    for (let gap = followingLong(filed.books, NONE); gap !== NONE; gap = followingLong(filed.books, gap))
      seen.push(gap)
    expect(seen.sort((a, b) => a - b)).toEqual([...at, 2000 * PG, 2010 * PG])
  })

  it('has nothing to visit where there is no gap', () => {
    expect(followingLong(new Filed().books, NONE)).toBe(NONE)
  })
})

describe('cleanOf', () => {
  it.each([0, 1, 255, 256, 2 ** 19, 2 ** 23 - 1, 2 ** 23])('says %i clean pages', clean => {
    const filed = new Filed()
    filed.add(3 * PG + 255, 2 ** 31, clean)
    expect(cleanOf(filed.books, 3 * PG + 255)).toBe(clean)
    filed.check()
  })
})

describe('removeLong', () => {
  it.each([0, 1, 2])('takes gap %i out of a bin of three', which => {
    const { filed, at } = file([300, 300, 300])
    filed.remove(at[which])
    filed.check()
    expect(filed.drain(WARM, 300)).toEqual(at.filter((_, n) => n !== which))
  })

  it('leaves an empty bin that can be filled again', () => {
    const { filed, at } = file([300])
    filed.remove(at[0])
    filed.check()
    expect(findLong(filed.books, WARM, 1)).toBe(NONE)
    filed.add(at[0], 300)
    expect(filed.drain(WARM, 1)).toEqual(at)
  })
})

describe('changeLong', () => {
  it.each([0, 1, 2])('keeps the place of gap %i in a bin of three, also in another frame', which => {
    for (const by of [0, 3, PG, -PG, 5 * PG + 17]) {
      const filed = new Filed()
      const at = [20 * PG, 40 * PG, 60 * PG]
      for (const start of at) filed.add(start, 300)
      filed.change(at[which], at[which] + by, 300)
      filed.check()
      at[which] += by
      expect(filed.drain(WARM, 300)).toEqual(at)
    }
  })

  it('files a gap of another length behind those of its bin', () => {
    const { filed, at } = file([300, 300, 600, 600])
    filed.change(at[0], at[0], 600)
    filed.check()
    expect(filed.drain(WARM, 600)).toEqual([2, 3, 0].map(n => at[n]))
    expect(filed.drain(WARM, 300)).toEqual([at[1]])
  })

  it('moves a gap to the other set with its first clean page, and back with its last', () => {
    const { filed, at } = file([600])
    filed.change(at[0], at[0], 600, 2)
    filed.check()
    expect([findLong(filed.books, WARM, 600), findLong(filed.books, COLD, 600)]).toEqual([NONE, at[0]])
    filed.change(at[0], at[0], 600, 1)
    expect(cleanOf(filed.books, at[0])).toBe(1)
    filed.change(at[0], at[0], 600, 0)
    filed.check()
    expect([findLong(filed.books, WARM, 600), findLong(filed.books, COLD, 600)]).toEqual([at[0], NONE])
  })
})

describe('checkLongGaps', () => {
  /** Three gaps of 300 granules, each with a clean page. */
  function fixture() {
    const { filed, at } = file([300, 300, 300], 1)
    return { filed, at, rows: filed.books.rows, row: (at[1] / PG) * ROW_WORDS }
  }

  it('finds a link that does not go both ways (1)', () => {
    const { filed, at, rows, row } = fixture()
    rows[row + PREV] = NONE
    expect(() => filed.check()).toThrow(`1: gap ${at[1]} is linked`)
  })

  it('finds a first gap that does not know the last (1)', () => {
    const { filed, at, rows } = fixture()
    rows[(at[0] / PG) * ROW_WORDS + PREV] = at[1] / PG
    expect(() => filed.check()).toThrow('1: the last gap of bin 257')
  })

  it('finds a bin that loses its last gaps (1)', () => {
    const { filed, rows, row } = fixture()
    rows[row + NEXT] = NONE
    expect(() => filed.check()).toThrow('1: the last gap of bin')
  })

  it('finds a wrong count of clean pages (1)', () => {
    const { filed, at, rows, row } = fixture()
    rows[row + EDGE] += 1 << 8
    expect(() => filed.check()).toThrow(`1: gap ${at[1]} counts its clean pages`)
  })

  it('finds a row that says another start (1)', () => {
    const { filed, at, rows, row } = fixture()
    rows[row + EDGE] += 1
    filed.gaps.set(at[1] + 1, [0, 1])
    expect(() => filed.check()).toThrow(`1: gap ${at[1] + 1} is in its bin`)
  })

  it('finds a gap of another length than its bin has (1)', () => {
    const { filed, at } = fixture()
    filed.gaps.set(at[1], [320, 1])
    expect(() => filed.check()).toThrow(`1: gap ${at[1]} is in its bin`)
  })

  it('finds a bin that has gaps although its bit says not (2)', () => {
    const { filed } = fixture()
    const { binBits } = filed.books
    binBits.fill(0)
    expect(() => filed.check()).toThrow('2: bit of bin 257')
  })
})
