/** What the tests of the heap's parts share: the parts wired up, and ways to reach the books. */

import { BlockHeap } from '../../src/heap/block-heap.js'
import { plainStorage } from '../../src/heap/columns.js'
import { PageRuns } from '../../src/heap/page-runs.js'
import { PageStates } from '../../src/heap/page-states.js'
import { PageTable } from '../../src/heap/page-table.js'
import { SizeClasses } from '../../src/heap/size-class.js'
import { SlabRecords } from '../../src/heap/slab-records.js'
import { Slabs } from '../../src/heap/slabs.js'

export const PAGE = 4096

export interface Books {
  table: PageTable
  states: PageStates
  runs: PageRuns
  classes: SizeClasses
  slabs: Slabs
}

/** The parts of a heap over one range of free, clean pages. */
export function makeBooks(pageCount: number, pageBytes = PAGE): Books {
  const table = new PageTable(pageBytes, plainStorage)
  const states = new PageStates(table)
  const runs = new PageRuns(table)
  const classes = new SizeClasses(pageBytes)
  const slabs = new Slabs(table, states, runs, classes, plainStorage)
  if (pageCount > 0) {
    table.addRange(0, pageCount)
    runs.give(0, pageCount)
  }
  return { table, states, runs, classes, slabs }
}

/** A heap over one range, together with the table that it keeps to itself: caught where the heap hands it a range. */
export function openHeap(pageCount: number, pageBytes = PAGE): { heap: BlockHeap; table: PageTable } {
  const heap = new BlockHeap(pageBytes)
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

/** Runs something that makes a slab, and returns the records that the slab's books went to. */
export function catchRecords(run: () => void, meet: (records: SlabRecords) => void = () => {}): SlabRecords {
  const { reserve } = SlabRecords.prototype
  const met: SlabRecords[] = []
  SlabRecords.prototype.reserve = function (this: SlabRecords): boolean {
    met.push(this)
    meet(this)
    return reserve.call(this)
  }
  try {
    run()
  } finally {
    SlabRecords.prototype.reserve = reserve
  }
  return met[0]
}

/** No memory for another record: one has become too long for any array. */
export function exhaust(records: SlabRecords): void {
  ;(records as { words: number }).words = 2 ** 50
}

/** The class that blocks of that size get. */
export function classOf(classes: SizeClasses, sizeBytes: number): number {
  return classes.ofGranules[Math.ceil(sizeBytes / 16)]
}
