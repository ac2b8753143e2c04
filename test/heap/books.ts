/** What the tests of the heap's parts share: the parts wired up, and ways to reach the books. */
import { expect } from 'vitest'
import { NONE } from '../../src/base/units.js'
import { BlockHeap, type BlockHeapOptions } from '../../src/heap/block-heap.js'
import { dropFront, take } from '../../src/heap/block-space.js'
import { Books } from '../../src/heap/books.js'
import { checkSpace } from '../../src/heap/check.js'
import { type ColumnStorage, plainStorage } from '../../src/heap/columns.js'
import { give } from '../../src/heap/gaps.js'
import {
  markGap,
  markHeld,
  markLive,
  mergeWithNext,
  mergeWithPrevious,
  span,
} from '../../src/heap/granule-map.js'
import { insertRange } from '../../src/heap/page-table.js'
import { addRange } from '../../src/heap/space-pages.js'

export const PAGE = 4096
/** Granules of such a page, which is also a frame. */
export const PG = PAGE / 16

/** Books over one range of free, clean pages that may be taken without asking. */
export function makeBooks(pageCount: number, pageBytes = PAGE): Books {
  const books = new Books(pageBytes, plainStorage)
  books.growthPages = Number.MAX_SAFE_INTEGER
  if (pageCount > 0) addRange(books, 0, pageCount)
  return books
}

/** A map of that many frames of 256 granules. Nothing starts anywhere yet. */
export function makeMap(frames: number): Books {
  const map = new Books(PAGE, plainStorage)
  coverMap(map, frames)
  return map
}

/** Makes that many frames known, in which nothing starts yet. */
export function coverMap(part: Books, frames: number): void {
  insertRange(part, 0, frames)
  part.bits[0] = 1
}

/** Makes the block [first, end) a gap, with the gaps on both sides. Returns the start and the end of that gap. */
export function coalesce(map: Books, first: number, end: number): [from: number, to: number] {
  const to = mergeWithNext(map, end)
  const from = mergeWithPrevious(map, first)
  span(map, from, to)
  return [from, to]
}

export type Stretch = ['live' | 'held' | 'gap', number]

/** Covers a map with stretches of those lengths, one behind the other, and returns where each starts. */
export function layOut(map: Books, from: number, stretches: Stretch[]): number[] {
  const starts: number[] = []
  let at = from
  for (const [kind, length] of stretches) {
    if (kind === 'gap') markGap(map, at)
    else markHeld(map, at)
    if (kind === 'live') markLive(map, at)
    span(map, at, at + length)
    starts.push(at)
    at += length
  }
  markHeld(map, at)
  return starts
}

export function makeHeap(pageCount: number, options: BlockHeapOptions = {}, pageBytes = PAGE): BlockHeap {
  const heap = new BlockHeap(pageBytes, options)
  heap.addRange(0, pageCount)
  return heap
}

/** Stretches of dirty pages, each as first page and end. */
export function dirtyStretches(heap: BlockHeap): number[][] {
  const stretches: number[][] = []
  for (let page = heap.nextDirty(0, false); page !== NONE; ) {
    const end = heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)
    stretches.push([page, end])
    page = heap.nextDirty(end, false)
  }
  return stretches
}

export function purgeAll(heap: BlockHeap): void {
  heap.flush()
  for (const [page, end] of dirtyStretches(heap)) heap.markPurged(page, end - page)
}

/** Memory for books that is counted, and refused from the `failAt`-th request on, or at that one alone. */
export class CountedStorage implements ColumnStorage {
  /** Buffers handed out and not given back. */
  readonly buffers = new Set<ArrayBuffer>()
  requests = 0
  failAt = Number.POSITIVE_INFINITY

  allocate(lengthBytes: number): ArrayBuffer {
    if (this.requests++ >= this.failAt) throw new RangeError('no memory')
    const buffer = new ArrayBuffer(lengthBytes)
    this.buffers.add(buffer)
    return buffer
  }

  dispose(buffer: ArrayBuffer): void {
    if (!this.buffers.delete(buffer)) throw new Error('gives back what was never handed out')
  }
}

/** Takes a block that there must be room for. */
export function mustTake(books: Books, size: number): number {
  const block = take(books, size)
  if (block === NONE) throw new Error(`no block of ${size} granules, refused for ${books.refusal}`)
  return block
}

/** Each block, live or held back, and its end. Proves that the books are right on the way. */
export function blocksOf(books: Books): number[][] {
  const blocks: number[][] = []
  checkSpace(books, (block, end) => blocks.push([block, end]))
  return blocks
}

/** Everything about the space that a refused call must leave alone. */
export function observeSpace(books: Books): unknown {
  const { usedPages, dirtyPages, refaultedPages, recentPeakPages, peakCommittedPages } = books
  const { cutBlocks, growthPages, zeroedBlock } = books
  return [
    { usedPages, dirtyPages, refaultedPages, recentPeakPages, peakCommittedPages },
    { cutBlocks, growthPages, zeroedBlock, ranges: [...books.ranges] },
    blocksOf(books),
  ]
}

/** Gives all blocks back and proves that the space is one gap again. */
export function expectWholeSpaceFree(books: Books): void {
  for (const [block, end] of blocksOf(books)) give(books, block, end)
  dropFront(books)
  expect(blocksOf(books)).toEqual([])
  expect(books.usedPages).toBe(0)
  books.limitPages = Number.MAX_SAFE_INTEGER
  books.growthPages = Number.MAX_SAFE_INTEGER
  const [{ firstPage, pageCount }] = books.ranges
  const { pageGranules } = books
  expect(mustTake(books, pageCount * pageGranules)).toBe(firstPage * pageGranules)
  expect(books.usedPages).toBe(pageCount)
  expect(blocksOf(books).length).toBe(1)
}

/** Everything about a heap that a refused call must leave alone. */
export function observe(heap: BlockHeap): unknown {
  heap.check()
  const { liveBlocks, usedPages, dirtyPages, managedPages } = heap
  const { refaultedPages, peakUsedPages, peakCommittedPages } = heap
  return [
    { liveBlocks, usedPages, dirtyPages, managedPages, refaultedPages, peakUsedPages, peakCommittedPages },
    [...heap.listLive()].map(block => [block, heap.sizeOf(block)]),
    dirtyStretches(heap),
  ]
}

/** Frees all and proves that the one range of a heap is one gap again. */
export function expectWholeHeapFree(heap: BlockHeap): void {
  heap.limitPages = Number.MAX_SAFE_INTEGER
  for (const block of heap.listLive()) expect(heap.free(block)).toBe(true)
  heap.check()
  heap.flush()
  heap.check()
  expect(heap).toMatchObject({ liveBlocks: 0, usedPages: 0, hasKept: false })
  expect(heap.allocate(heap.managedPages * heap.pageBytes)).not.toBe(NONE)
  expect(heap.usedPages).toBe(heap.managedPages)
  heap.check()
}

/** Takes blocks of that size until there is no more. */
export function fill(heap: BlockHeap, sizeBytes: number): number[] {
  const blocks: number[] = []
  for (let block = heap.allocate(sizeBytes); block !== NONE; block = heap.allocate(sizeBytes))
    blocks.push(block)
  return blocks
}
