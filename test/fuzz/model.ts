/**
 * The obvious heap, to compare the real one with: a map of blocks, one byte a granule for "somebody's", one byte a page
 * for what the page is. Slow, without any structure, and with every rule written down once.
 *
 * A page is used exactly while a live block touches it; it is dirty from then until it is used again or purged. What a
 * block touches is told by its offset and its `sizeOf`. The model does not choose places; it judges those chosen.
 */
import { GRANULE_BYTES } from '../../src/base/units.js'

const UNMANAGED = 0
const CLEAN = 1
const DIRTY = 2
const USED = 3

/** The counts that the model and the heap must agree on. */
export interface Counts {
  liveBlocks: number
  usedPages: number
  dirtyPages: number
  committedPages: number
  peakUsedPages: number
  peakCommittedPages: number
}

/** Half-open. */
export interface Stretch {
  first: number
  end: number
}

export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what)
}

export class HeapModel {
  readonly pageBytes: number
  readonly spacePages: number
  limitPages = Number.MAX_SAFE_INTEGER
  managedPages = 0
  usedPages = 0
  dirtyPages = 0
  peakUsedPages = 0
  peakCommittedPages = 0
  refaultedPages = 0
  readonly #state: Uint8Array
  readonly #aged: Uint8Array
  readonly #purged: Uint8Array
  readonly #livePerPage: Int32Array
  readonly #owned: Uint8Array
  /** Usable bytes of each live block. */
  readonly #sizes = new Map<number, number>()
  readonly #list: number[] = []
  readonly #positions = new Map<number, number>()

  constructor(pageBytes: number, spacePages: number) {
    this.pageBytes = pageBytes
    this.spacePages = spacePages
    this.#state = new Uint8Array(spacePages)
    this.#aged = new Uint8Array(spacePages)
    this.#purged = new Uint8Array(spacePages)
    this.#livePerPage = new Int32Array(spacePages)
    this.#owned = new Uint8Array((spacePages * pageBytes) / GRANULE_BYTES)
  }

  get spaceGranules(): number {
    return this.#owned.length
  }

  get liveBlocks(): number {
    return this.#list.length
  }

  get committedPages(): number {
    return this.usedPages + this.dirtyPages
  }

  // ---- blocks ----------------------------------------------------------------------------------------------------

  isLive(block: number): boolean {
    return this.#sizes.has(block)
  }

  sizeOf(block: number): number {
    const size = this.#sizes.get(block)
    must(size !== undefined, `the model has no block ${block}`)
    return size
  }

  /** The `index`-th live block, in no particular order. */
  blockAt(index: number): number {
    return this.#list[index]
  }

  /** All live blocks, ascending. */
  sortedBlocks(): number[] {
    return [...this.#list].sort((a, b) => a - b)
  }

  /** Takes in a block that the heap handed out. Returns whether all its pages were clean before. */
  allocate(block: number, sizeBytes: number, usableBytes: number, alignBytes: number): boolean {
    must(Number.isInteger(block) && block >= 0, `block ${block} is a granule index`)
    must(
      usableBytes >= sizeBytes && usableBytes > 0,
      `block ${block} has ${usableBytes} of ${sizeBytes} bytes`,
    )
    must(usableBytes % GRANULE_BYTES === 0, `block ${block} is whole granules: ${usableBytes} bytes`)
    must((block * GRANULE_BYTES) % alignBytes === 0, `block ${block} is aligned to ${alignBytes}`)
    must(!this.isLive(block), `block ${block} was not live already`)
    this.#own(block, block + usableBytes / GRANULE_BYTES)
    const { first, end } = this.#pagesOf(block, usableBytes)
    const wasClean = this.#touch(first, end)
    this.#sizes.set(block, usableBytes)
    this.#positions.set(block, this.#list.length)
    this.#list.push(block)
    return wasClean
  }

  free(block: number): void {
    const usableBytes = this.sizeOf(block)
    this.#owned.fill(0, block, block + usableBytes / GRANULE_BYTES)
    const { first, end } = this.#pagesOf(block, usableBytes)
    this.#untouch(first, end)
    this.#sizes.delete(block)
    const position = this.#positions.get(block) as number
    const last = this.#list.pop() as number
    this.#positions.delete(block)
    if (last !== block) {
      this.#list[position] = last
      this.#positions.set(last, position)
    }
  }

  /** A block keeps its place and now has `usableBytes`. */
  resize(block: number, sizeBytes: number, usableBytes: number): void {
    must(usableBytes >= sizeBytes, `block ${block} has ${usableBytes} of ${sizeBytes} bytes after resizing`)
    const before = this.sizeOf(block)
    if (usableBytes === before) return
    const oldEnd = block + before / GRANULE_BYTES
    const newEnd = block + usableBytes / GRANULE_BYTES
    const oldPages = this.#pagesOf(block, before)
    const newPages = this.#pagesOf(block, usableBytes)
    if (newEnd > oldEnd) {
      this.#own(oldEnd, newEnd)
      this.#touch(oldPages.end, newPages.end)
    } else {
      this.#owned.fill(0, newEnd, oldEnd)
      this.#untouch(newPages.end, oldPages.end)
    }
    this.#sizes.set(block, usableBytes)
  }

  #own(firstGranule: number, endGranule: number): void {
    must(endGranule <= this.#owned.length, `granules ${firstGranule} to ${endGranule} lie in the space`)
    const taken = this.#owned.subarray(firstGranule, endGranule).indexOf(1)
    must(taken < 0, `granule ${firstGranule + taken} belonged to nobody`)
    this.#owned.fill(1, firstGranule, endGranule)
  }

  #pagesOf(block: number, usableBytes: number): Stretch {
    const offset = block * GRANULE_BYTES
    return {
      first: Math.floor(offset / this.pageBytes),
      end: Math.floor((offset + usableBytes - 1) / this.pageBytes) + 1,
    }
  }

  #touch(first: number, end: number): boolean {
    let wasClean = true
    for (let page = first; page < end; page++) {
      must(this.#state[page] !== UNMANAGED, `page ${page} of a block is managed`)
      if (this.#state[page] !== CLEAN) wasClean = false
      if (this.#livePerPage[page]++ === 0) this.#use(page)
    }
    this.peakUsedPages = Math.max(this.peakUsedPages, this.usedPages)
    this.peakCommittedPages = Math.max(this.peakCommittedPages, this.committedPages)
    must(
      this.committedPages <= this.limitPages,
      `${this.committedPages} pages committed, limit ${this.limitPages}`,
    )
    return wasClean
  }

  #use(page: number): void {
    if (this.#state[page] === DIRTY) this.dirtyPages--
    this.refaultedPages += this.#purged[page]
    this.#state[page] = USED
    this.#aged[page] = 0
    this.#purged[page] = 0
    this.usedPages++
  }

  #untouch(first: number, end: number): void {
    for (let page = first; page < end; page++) {
      if (--this.#livePerPage[page] > 0) continue
      this.#state[page] = DIRTY
      this.usedPages--
      this.dirtyPages++
    }
  }

  // ---- pages -----------------------------------------------------------------------------------------------------

  addRange(first: number, end: number): void {
    this.#state.fill(CLEAN, first, end)
    this.managedPages += end - first
  }

  removeRange(first: number, end: number): void {
    for (let page = first; page < end; page++) must(this.#state[page] === CLEAN, `page ${page} is clean`)
    this.#state.fill(UNMANAGED, first, end)
    this.#purged.fill(0, first, end)
    this.managedPages -= end - first
  }

  /** Clean pages right before `end`, none below `first`. */
  cleanTail(first: number, end: number): number {
    let page = end
    while (page > first && this.#state[page - 1] === CLEAN) page--
    return end - page
  }

  isManaged(page: number): boolean {
    return page < this.spacePages && this.#state[page] !== UNMANAGED
  }

  anyUsed(first: number, end: number): boolean {
    return this.#state.subarray(first, end).includes(USED)
  }

  anyDirty(first: number, end: number): boolean {
    return this.#state.subarray(first, end).includes(DIRTY)
  }

  /** Whether every page of a stretch is managed and touched by no block. */
  isIdle(first: number, end: number): boolean {
    for (let page = first; page < end; page++) {
      if (!this.isManaged(page) || this.#state[page] === USED) return false
    }
    return true
  }

  cleanPages(first: number, end: number): number {
    let count = 0
    for (let page = first; page < end; page++) if (this.#state[page] === CLEAN) count++
    return count
  }

  /** The most managed pages in a row that no block touches. */
  longestIdle(): number {
    let longest = 0
    let length = 0
    for (let page = 0; page < this.spacePages; page++) {
      length = this.#state[page] === CLEAN || this.#state[page] === DIRTY ? length + 1 : 0
      longest = Math.max(longest, length)
    }
    return longest
  }

  /** The most granules in a row that belong to no block, in the whole space. */
  longestFree(): number {
    let longest = 0
    for (let granule = 0; granule < this.#owned.length; ) {
      const taken = this.#owned.indexOf(1, granule)
      const end = taken < 0 ? this.#owned.length : taken
      longest = Math.max(longest, end - granule)
      const free = this.#owned.indexOf(0, end)
      granule = free < 0 ? this.#owned.length : free
    }
    return longest
  }

  // ---- purging ---------------------------------------------------------------------------------------------------

  age(): void {
    for (let page = 0; page < this.spacePages; page++) this.#aged[page] = this.#state[page] === DIRTY ? 1 : 0
  }

  #isWanted(page: number, agedOnly: boolean): boolean {
    return agedOnly ? this.#aged[page] === 1 : this.#state[page] === DIRTY
  }

  /** The next stretch of dirty (aged) pages at or above `from`, cut to `maxPages`, or undefined. */
  nextDirty(from: number, maxPages: number, agedOnly: boolean): Stretch | undefined {
    let first = from
    while (first < this.spacePages && !this.#isWanted(first, agedOnly)) first++
    if (first >= this.spacePages) return undefined
    let end = first
    while (end < this.spacePages && end - first < maxPages && this.#isWanted(end, agedOnly)) end++
    return { first, end }
  }

  markPurged(first: number, end: number): void {
    for (let page = first; page < end; page++) {
      must(this.#state[page] === DIRTY, `page ${page} is dirty`)
      this.#state[page] = CLEAN
      this.#aged[page] = 0
      this.#purged[page] = 1
    }
    this.dirtyPages -= end - first
  }

  // ---- comparison ------------------------------------------------------------------------------------------------

  compare(counts: Counts): void {
    this.#same('liveBlocks', counts.liveBlocks, this.liveBlocks)
    this.#same('usedPages', counts.usedPages, this.usedPages)
    this.#same('dirtyPages', counts.dirtyPages, this.dirtyPages)
    this.#same('committedPages', counts.committedPages, this.committedPages)
    must(counts.peakUsedPages >= this.peakUsedPages, `at most ${counts.peakUsedPages} pages were used`)
    this.#same('peakCommittedPages', counts.peakCommittedPages, this.peakCommittedPages)
  }

  /** Where freed blocks are kept, their pages count as used, not as dirty. */
  compareKept(counts: Counts): void {
    this.#same('liveBlocks', counts.liveBlocks, this.liveBlocks)
    this.#same('committedPages', counts.committedPages, this.committedPages)
    this.#same('peakCommittedPages', counts.peakCommittedPages, this.peakCommittedPages)
    must(counts.usedPages >= this.usedPages, `${counts.usedPages} pages used, ${this.usedPages} at least`)
    must(counts.peakUsedPages >= this.peakUsedPages, `at most ${counts.peakUsedPages} pages were used`)
  }

  #same(what: string, actual: number, expected: number): void {
    if (actual !== expected) throw new Error(`${what} is ${actual}, the model says ${expected}`)
  }
}
