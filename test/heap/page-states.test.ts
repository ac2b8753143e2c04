import { describe, expect, it } from 'vitest'
import { setRange } from '../../src/base/bits.js'
import { NONE } from '../../src/base/units.js'
import { Books } from '../../src/heap/books.js'
import { checkPages } from '../../src/heap/check.js'
import { plainStorage } from '../../src/heap/columns.js'
import {
  age,
  anyDirty,
  cleanIn,
  committedPages,
  dirtyEnd,
  fits,
  forgetPages,
  nextDirty,
  release,
  setPurged,
  useCounted,
} from '../../src/heap/page-states.js'
import { insertRange } from '../../src/heap/page-table.js'

const PAGES = 100

function makeStates(): Books {
  const states = new Books(4096, plainStorage)
  insertRange(states, 0, PAGES)
  return states
}

/** Uses free pages, whatever they are. */
function use(states: Books, firstPage: number, pageCount: number): boolean {
  return useCounted(states, firstPage, pageCount, pageCount - cleanIn(states, firstPage, pageCount))
}

/** Pages 10 to 20 used, 30 to 40 dirty, 50 to 60 purged. */
function mixedStates(): Books {
  const states = makeStates()
  use(states, 10, 10)
  use(states, 30, 10)
  release(states, 30, 10)
  use(states, 50, 10)
  release(states, 50, 10)
  setPurged(states, 50, 10)
  return states
}

describe('useCounted', () => {
  it('commits clean pages', () => {
    const states = makeStates()
    expect(use(states, 5, 7)).toBe(true)
    expect(states).toMatchObject({ usedPages: 7, dirtyPages: 0, refaultedPages: 0 })
    expect(committedPages(states)).toBe(7)
  })

  it('takes dirty pages without committing more', () => {
    const states = mixedStates()
    expect(committedPages(states)).toBe(20)
    use(states, 30, 10)
    expect(states).toMatchObject({ usedPages: 20, dirtyPages: 0 })
    expect(committedPages(states)).toBe(20)
  })

  it('counts clean and dirty pages of one stretch apart', () => {
    const states = mixedStates()
    use(states, 25, 10)
    expect(states).toMatchObject({ usedPages: 20, dirtyPages: 5 })
    expect(committedPages(states)).toBe(25)
  })

  it('counts pages used again after a purge, once', () => {
    const states = mixedStates()
    use(states, 45, 10)
    expect(states.refaultedPages).toBe(5)
    release(states, 45, 10)
    use(states, 45, 10)
    expect(states.refaultedPages).toBe(5)
  })

  it('commits up to the limit and no page more', () => {
    const states = makeStates()
    states.limitPages = 10
    expect(use(states, 0, 10)).toBe(true)
    expect(use(states, 10, 1)).toBe(false)
    expect(states).toMatchObject({ usedPages: 10, peakCommittedPages: 10 })
    expect(committedPages(states)).toBe(10)
  })

  it('takes dirty pages at the limit', () => {
    const states = makeStates()
    states.limitPages = 10
    use(states, 0, 10)
    release(states, 0, 10)
    expect(use(states, 0, 5)).toBe(true)
    expect(use(states, 5, 6)).toBe(false)
    expect(states).toMatchObject({ usedPages: 5, dirtyPages: 5 })
  })

  it('remembers the most pages that were ever used and committed', () => {
    const states = makeStates()
    use(states, 0, 10)
    release(states, 0, 4)
    use(states, 20, 2)
    release(states, 4, 6)
    setPurged(states, 0, 10)
    expect(states).toMatchObject({ usedPages: 2, recentPeakPages: 10, peakCommittedPages: 12 })
  })
})

describe('fits', () => {
  it('is true up to the limit', () => {
    const states = mixedStates()
    states.limitPages = 25
    expect(fits(states, 5)).toBe(true)
    expect(fits(states, 6)).toBe(false)
  })
})

describe('cleanIn', () => {
  it('counts the pages that using a stretch would commit', () => {
    const states = mixedStates()
    expect(cleanIn(states, 25, 10)).toBe(5)
    expect(cleanIn(states, 50, 10)).toBe(10)
    expect(cleanIn(states, 30, 10)).toBe(0)
  })
})

describe('setPurged', () => {
  it('makes pages clean and says how many were dirty', () => {
    const states = mixedStates()
    expect(setPurged(states, 35, 10)).toBe(5)
    expect(states).toMatchObject({ usedPages: 10, dirtyPages: 5 })
    expect(committedPages(states)).toBe(15)
  })
})

describe('forgetPages', () => {
  it('refuses pages that are dirty', () => {
    expect(() => forgetPages(mixedStates(), 20, 11)).toThrow('only clean pages are forgotten')
  })

  it('lets pages come back as never purged', () => {
    const states = mixedStates()
    forgetPages(states, 50, 10)
    use(states, 50, 10)
    expect(states.refaultedPages).toBe(0)
  })
})

describe('age', () => {
  it('marks what is dirty now, and not what comes free later', () => {
    const states = mixedStates()
    age(states)
    release(states, 10, 5)
    expect(nextDirty(states, 0, true)).toBe(30)
    expect(dirtyEnd(states, 30, PAGES, true)).toBe(40)
    expect(nextDirty(states, 0, false)).toBe(10)
  })

  it('is undone by using a page again', () => {
    const states = mixedStates()
    age(states)
    use(states, 30, 5)
    release(states, 30, 5)
    expect(nextDirty(states, 0, true)).toBe(35)
  })

  it('forgets the marks of pages that were purged', () => {
    const states = mixedStates()
    age(states)
    setPurged(states, 30, 10)
    expect(nextDirty(states, 0, true)).toBe(NONE)
  })
})

describe('nextDirty and dirtyEnd', () => {
  it('find stretches from any page on', () => {
    const states = mixedStates()
    expect(nextDirty(states, 0, false)).toBe(30)
    expect(nextDirty(states, 34, false)).toBe(34)
    expect(nextDirty(states, 40, false)).toBe(NONE)
    expect(dirtyEnd(states, 30, PAGES, false)).toBe(40)
  })

  it('cut a stretch to the longest that is wanted', () => {
    const states = mixedStates()
    expect(dirtyEnd(states, 30, 3, false)).toBe(33)
    expect(dirtyEnd(states, 30, Number.MAX_SAFE_INTEGER, false)).toBe(40)
  })
})

describe('anyDirty', () => {
  it('looks at the range only', () => {
    const states = mixedStates()
    expect(anyDirty(states, 0, 30)).toBe(false)
    expect(anyDirty(states, 0, 31)).toBe(true)
    expect(anyDirty(states, 39, 1)).toBe(true)
    expect(anyDirty(states, 40, 1000)).toBe(false)
  })
})

describe('checkPages', () => {
  const isUsed = (page: number) => page >= 10 && page < 20

  it('passes books that are right', () => {
    checkPages(mixedStates(), isUsed)
  })

  it('finds a wrong count of used pages (1)', () => {
    const states = mixedStates()
    states.usedPages--
    expect(() => checkPages(states, isUsed)).toThrow('1: 9 pages used, found 10')
  })

  it('finds more used and dirty pages than there are (1)', () => {
    const states = mixedStates()
    states.managedPages = 19
    expect(() => checkPages(states, isUsed)).toThrow('1: no more used and dirty pages than managed ones')
  })

  it('finds a wrong count of dirty pages (2)', () => {
    const states = mixedStates()
    states.dirtyPages++
    expect(() => checkPages(states, isUsed)).toThrow('2: 11 pages dirty, found 10')
  })

  it('finds a used page that is dirty (2)', () => {
    const states = mixedStates()
    setRange(states.dirty, 15, 16)
    expect(() => checkPages(states, isUsed)).toThrow('2: used page 15 is not dirty')
  })

  it('finds a used page that is purged (2)', () => {
    const states = mixedStates()
    setRange(states.purged, 15, 16)
    expect(() => checkPages(states, isUsed)).toThrow('2: used page 15 is not purged')
  })

  it('finds a dirty page that is purged (2)', () => {
    const states = mixedStates()
    setRange(states.purged, 35, 36)
    expect(() => checkPages(states, isUsed)).toThrow('2: purged page 35 is not dirty')
  })

  it('finds an aged page that is not dirty (2)', () => {
    const states = mixedStates()
    setRange(states.aged, 70, 71)
    expect(() => checkPages(states, isUsed)).toThrow('2: aged page 70 is dirty')
  })

  it('finds a dirty page that is not managed (2)', () => {
    const states = mixedStates()
    insertRange(states, 120, 1)
    setRange(states.dirty, 110, 111)
    expect(() => checkPages(states, isUsed)).toThrow('2: no unmanaged page is dirty')
  })

  it('finds more committed pages than the limit (3)', () => {
    const states = mixedStates()
    states.limitPages = 19
    expect(() => checkPages(states, isUsed)).toThrow('3: committed pages within the limit')
  })
})
