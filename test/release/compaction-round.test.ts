import { describe, expect, it } from 'vitest'
import { CompactionRound } from '../../src/release/compaction-round.js'

const USED = 10_000
const FEW = 256

function begun(usedPages = USED): CompactionRound {
  const round = new CompactionRound()
  round.begin(usedPages)
  return round
}

describe('surveyed', () => {
  it('is worth a pass from a fiftieth of the pages in use on', () => {
    expect(begun().surveyed(199)).toBe(false)
    expect(begun().surveyed(200)).toBe(true)
    expect(begun(0).surveyed(0)).toBe(false)
  })

  it('keeps the promise of the first survey', () => {
    const round = begun()
    round.surveyed(5_000)
    round.beginPass(5_500)
    round.surveyed(500)
    expect(round.promisedPages).toBe(5_000)
    round.begin(USED)
    expect(round.promisedPages).toBe(-1)
  })
})

describe('passed', () => {
  it('counts what came free and is not in use again', () => {
    const round = begun()
    round.freed(1_500)
    round.freed(500)
    expect(round.passed(USED - 2_000)).toBe(true)
    expect(round.gainedPages).toBe(2_000)
    round.beginPass(USED - 2_000)
    round.freed(1_000)
    expect(round.passed(USED - 2_700)).toBe(true)
    expect(round.gainedPages).toBe(2_700)
    round.check()
  })

  it('counts nothing that came free by others', () => {
    const round = begun()
    round.freed(300)
    expect(round.passed(USED - 5_000)).toBe(true)
    expect(round.gainedPages).toBe(300)
  })

  it('says that another pass is worth it from a fiftieth on', () => {
    for (const [freed, usedPages, goesOn] of [
      [200, USED - 200, true],
      [199, USED - 199, false],
      [5_000, USED - 199, false],
      [5_000, USED, false],
      [5_000, USED + 100, false],
      [-10, USED + 10, false],
    ] as const) {
      const round = begun()
      round.freed(freed)
      expect(round.passed(usedPages)).toBe(goesOn)
      expect(round.gainedPages).toBeGreaterThanOrEqual(0)
    }
  })
})

describe('isInVain', () => {
  it('is true above a quarter of what came free, over all passes', () => {
    const round = begun()
    round.freed(2_000)
    expect(round.isInVain(USED - 2_000 + 500, FEW)).toBe(false)
    expect(round.isInVain(USED - 2_000 + 501, FEW)).toBe(true)
    round.passed(USED - 1_600)
    round.beginPass(USED - 1_600)
    round.freed(1_000)
    expect(round.isInVain(USED - 3_000 + 750, FEW)).toBe(false)
    expect(round.isInVain(USED - 3_000 + 751, FEW)).toBe(true)
  })

  it('needs more than few pages, and more than a hundredth of those in use', () => {
    expect(begun().isInVain(USED + FEW, FEW)).toBe(false)
    expect(begun().isInVain(USED + FEW + 1, FEW)).toBe(true)
    expect(begun(50_000).isInVain(50_500, FEW)).toBe(false)
    expect(begun(50_000).isInVain(50_501, FEW)).toBe(true)
  })
})
