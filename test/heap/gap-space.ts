/** What tests of gaps and blocks share: a space of blocks and gaps of any shape, and the proof of its books. */
import { expect } from 'vitest'
import type { Books } from '../../src/heap/books.js'
import {
  checkFrames,
  checkLongGaps,
  checkPages,
  checkShortGap,
  checkShortGaps,
  checkStretch,
} from '../../src/heap/check.js'
import { addGap } from '../../src/heap/gaps.js'
import { endOf, isGap, isLive } from '../../src/heap/granule-map.js'
import { anyDirty, release, setPurged, useCounted } from '../../src/heap/page-states.js'
import { coverMap, layOut, type Stretch } from './books.js'

/** Stretches that cover all pages from 0 on; a gap may have been purged, which makes its whole pages clean. */
export type SpaceStretch = Stretch | ['clean', number]

/**
 * Lays stretches out over as many frames, of 256 granules, as they are long, and files the gaps. Returns where each starts.
 * Whole pages of a `'gap'` are dirty, those of a `'clean'` one are clean.
 */
export function layOutSpace(gaps: Books, stretches: SpaceStretch[]): number[] {
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
  useCounted(gaps, 0, pages, 0)
  for (const [at, start] of starts.entries()) {
    const [kind, granules] = stretches[at]
    if (kind === 'live' || kind === 'held') {
      gaps.cutBlocks++
      continue
    }
    const firstPage = Math.ceil(start / gaps.pageGranules)
    const pageCount = Math.floor((start + granules) / gaps.pageGranules) - firstPage
    if (pageCount > 0) release(gaps, firstPage, pageCount)
    if (pageCount > 0 && kind === 'clean') setPurged(gaps, firstPage, pageCount)
    file(gaps, start, start + granules, kind === 'clean' ? Math.max(0, pageCount) : 0)
  }
  gaps.refaultedPages = 0
  checkSpace(gaps)
  return starts
}

function file(gaps: Books, first: number, end: number, clean: number): void {
  addGap(gaps, first, end, clean)
}

/** What covers the space: `kind`, first granule and end of each stretch. */
export function stretchesOf(gaps: Books): [kind: 'live' | 'held' | 'gap', first: number, end: number][] {
  const [{ pageCount }] = gaps.ranges
  const found: ['live' | 'held' | 'gap', number, number][] = []
  for (let at = 0; at < pageCount * gaps.pageGranules; at = endOf(gaps, at)) {
    const kind = isGap(gaps, at) ? 'gap' : isLive(gaps, at) ? 'live' : 'held'
    found.push([kind, at, endOf(gaps, at)])
  }
  return found
}

export function gapsOf(gaps: Books): number[][] {
  return stretchesOf(gaps)
    .filter(([kind]) => kind === 'gap')
    .map(([, first, end]) => [first, end])
}

/**
 * Proves the books from the map alone: stretches are found from both ends, no two gaps touch, each gap is filed with its length
 * and its clean pages, and a page is used exactly where a block touches it.
 */
export function checkSpace(gaps: Books): void {
  const [{ pageCount }] = gaps.ranges
  const { pageGranules } = gaps
  checkFrames(gaps, 0, (pageCount * pageGranules) / 256)
  const isUsed = new Uint8Array(pageCount)
  const cleanPages = new Map<number, number>()
  let blocks = 0
  let wasGap = false
  for (const [kind, first, end] of stretchesOf(gaps)) {
    checkStretch(gaps, first, end)
    if (kind === 'gap') {
      if (wasGap) throw new Error(`gap ${first} touches another`)
      if (end - first < 256) checkShortGap(gaps, first, end - first)
      else cleanPages.set(first, 0)
    } else {
      blocks++
      isUsed.fill(1, Math.floor(first / pageGranules), Math.ceil(end / pageGranules))
    }
    wasGap = kind === 'gap'
  }
  for (const gap of cleanPages.keys()) {
    for (let page = Math.ceil(gap / pageGranules); (page + 1) * pageGranules <= endOf(gaps, gap); page++) {
      if (!anyDirty(gaps, page, 1)) cleanPages.set(gap, (cleanPages.get(gap) as number) + 1)
    }
  }
  checkShortGaps(gaps)
  const filed = checkLongGaps(
    gaps,
    gap => (isGap(gaps, gap) ? endOf(gaps, gap) - gap : 0),
    gap => cleanPages.get(gap) ?? Number.NaN,
  )
  expect(filed, 'long gaps that are filed').toBe(cleanPages.size)
  expect(gaps.cutBlocks, 'blocks that are counted').toBe(blocks)
  checkPages(gaps, page => isUsed[page] === 1)
}
