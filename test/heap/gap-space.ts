/** What the tests of the heap's middle layers share: a space of blocks and gaps of any shape, and the proof of its books. */
import { expect } from 'vitest'
import type { Gaps } from '../../src/heap/gaps.js'
import { coverMap, layOut, type Stretch } from './books.js'

/** Stretches that cover all pages from 0 on; a gap may have been purged, which makes its whole pages clean. */
export type SpaceStretch = Stretch | ['clean', number]

/**
 * Lays stretches out over as many frames, of 256 granules, as they are long, and files the gaps. Returns where each starts.
 * Whole pages of a `'gap'` are dirty, those of a `'clean'` one are clean.
 */
export function layOutSpace(gaps: Gaps, stretches: SpaceStretch[]): number[] {
  const length = stretches.reduce((sum, stretch) => sum + stretch[1], 0)
  const pages = length / gaps.pageGranules
  expect(Number.isInteger(pages)).toBe(true)
  coverMap(gaps, pages)
  const starts = layOut(
    gaps,
    0,
    stretches.map(([kind, granules]): Stretch => [kind === 'clean' ? 'gap' : kind, granules]),
  )
  // All pages are used first, and come free gap by gap.
  gaps.useCounted(0, pages, 0)
  for (const [at, start] of starts.entries()) {
    const [kind, granules] = stretches[at]
    if (kind === 'live' || kind === 'held') {
      gaps.heldBlocks++
      continue
    }
    const firstPage = Math.ceil(start / gaps.pageGranules)
    const pageCount = Math.floor((start + granules) / gaps.pageGranules) - firstPage
    if (pageCount > 0) gaps.release(firstPage, pageCount)
    if (pageCount > 0 && kind === 'clean') gaps.markPurged(firstPage, pageCount)
    file(gaps, start, start + granules, kind === 'clean' ? Math.max(0, pageCount) : 0)
  }
  gaps.refaultedPages = 0
  checkSpace(gaps)
  return starts
}

function file(gaps: Gaps, first: number, end: number, clean: number): void {
  const { addGap } = gaps as unknown as { addGap(first: number, end: number, clean: number): void }
  addGap.call(gaps, first, end, clean)
}

/** What covers the space: `kind`, first granule and end of each stretch. */
export function stretchesOf(gaps: Gaps): [kind: 'live' | 'held' | 'gap', first: number, end: number][] {
  const [{ pageCount }] = gaps.ranges
  const found: ['live' | 'held' | 'gap', number, number][] = []
  for (let at = 0; at < pageCount * gaps.pageGranules; at = gaps.next(at)) {
    const kind = gaps.isGap(at) ? 'gap' : gaps.isLive(at) ? 'live' : 'held'
    found.push([kind, at, gaps.next(at)])
  }
  return found
}

export function gapsOf(gaps: Gaps): number[][] {
  return stretchesOf(gaps)
    .filter(([kind]) => kind === 'gap')
    .map(([, first, end]) => [first, end])
}

/**
 * Proves the books from the map alone: stretches are found from both ends, no two gaps touch, each gap is filed with its length
 * and its clean pages, and a page is used exactly where a block touches it.
 */
export function checkSpace(gaps: Gaps): void {
  const [{ pageCount }] = gaps.ranges
  const { pageGranules } = gaps
  gaps.checkFrames(0, (pageCount * pageGranules) / 256)
  const isUsed = new Uint8Array(pageCount)
  const cleanPages = new Map<number, number>()
  let blocks = 0
  let wasGap = false
  for (const [kind, first, end] of stretchesOf(gaps)) {
    gaps.checkStretch(first, end)
    if (kind === 'gap') {
      if (wasGap) throw new Error(`gap ${first} touches another`)
      if (end - first < 256) gaps.checkShortGap(first, end - first)
      else cleanPages.set(first, 0)
    } else {
      blocks++
      isUsed.fill(1, Math.floor(first / pageGranules), Math.ceil(end / pageGranules))
    }
    wasGap = kind === 'gap'
  }
  for (const gap of cleanPages.keys()) {
    for (let page = Math.ceil(gap / pageGranules); (page + 1) * pageGranules <= gaps.next(gap); page++) {
      if (!gaps.anyDirty(page, 1)) cleanPages.set(gap, (cleanPages.get(gap) as number) + 1)
    }
  }
  gaps.checkShortGaps()
  const filed = gaps.checkLongGaps(
    gap => (gaps.isGap(gap) ? gaps.next(gap) - gap : 0),
    gap => cleanPages.get(gap) ?? Number.NaN,
  )
  expect(filed, 'long gaps that are filed').toBe(cleanPages.size)
  expect(gaps.heldBlocks, 'blocks that are counted').toBe(blocks)
  gaps.checkPages(page => isUsed[page] === 1)
}
