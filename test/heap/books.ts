/** What the tests of the heap's inside share: a heap with its table in reach, and ways to fill and empty it. */
import { NONE } from '../../src/base/units.js'
import { BlockHeap, type BlockHeapOptions } from '../../src/heap/block-heap.js'
import { PageTable } from '../../src/heap/page-table.js'

export const PAGE = 4096
export const PAGE_GRANULES = PAGE / 16

/** A heap over one range, together with the table that it keeps to itself: caught where the heap hands it a range. */
export function openHeap(
  pageCount: number,
  options: BlockHeapOptions = {},
  pageBytes = PAGE,
): { heap: BlockHeap; table: PageTable } {
  const heap = new BlockHeap(pageBytes, options)
  const { addRange } = PageTable.prototype
  const tables: PageTable[] = []
  PageTable.prototype.addRange = function (this: PageTable, first: number, count: number): void {
    tables.push(this)
    addRange.call(this, first, count)
  }
  try {
    heap.addRange(0, pageCount)
  } finally {
    PageTable.prototype.addRange = addRange
  }
  return { heap, table: tables[0] }
}

/** Purges all dirty pages, as the owner of the pages would. */
export function purgeAll(heap: BlockHeap): void {
  heap.flush()
  for (let page = heap.nextDirty(0, false); page !== NONE; ) {
    const end = heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)
    heap.markPurged(page, end - page)
    page = heap.nextDirty(end, false)
  }
}

/** Takes blocks of that size until there is no more. */
export function fill(heap: BlockHeap, sizeBytes: number): number[] {
  const blocks: number[] = []
  for (let block = heap.allocate(sizeBytes); block !== NONE; block = heap.allocate(sizeBytes))
    blocks.push(block)
  return blocks
}
