/**
 * The page heap: which runs of whole pages are free, found by length in O(1), split and coalesced at once.
 *
 * A free run is always maximal: both neighbours are used, or not managed. Its length stands at its first and its last
 * page (boundary tags), so `give` meets both neighbours without a search. Free runs are kept in bins by length: one a
 * page up to 63 pages, then eight a doubling, under a two-level bitmap. There are two sets of bins: *warm* runs, wholly
 * dirty, whose pages are resident and cost nothing to take, and all others, where a clean page costs a fault. `take`
 * looks among the warm ones first, best fit first in each set, so warm pages are used before cold ones although
 * dirty and clean neighbours coalesce.
 *
 * It decides nothing about dirty and clean; it reads the bits that `page-states` owns.
 *
 * Invariants, checked by `check()`:
 *  1. no two free runs touch
 *  2. first and last page of a free run carry its length; no page between them carries a tag
 *  3. a free run is in the one bin that its length and its dirty pages name; its dirty count is right
 *  4. a bin's bit is set exactly where the bin is not empty, a summary bit where its word is not zero
 *  5. the free-head bitmap has exactly the first pages of free runs
 */
import { invariant } from '../base/assert.js'
import { countRange, lowestBit, previousSet, setRange, testBit } from '../base/bits.js'
import type { PageCount, PageNumber } from '../base/units.js'
import * as units from '../base/units.js'
import type { PageTable } from './page-table.js'
import * as layout from './page-table.js'

// V8 folds a module's own constants into optimised code, but loads imported ones each time.
const { BIN, DIRTY, freeTag, isFreeTag, lengthOf, LINK_SHIFT, NEXT, PREV, TAG_NONE } = layout
const NONE = units.NONE

const EXACT_BINS = 64 // below this length a bin holds one length, so that its head always fits
const FIRST_DOUBLING = 6 // log2(EXACT_BINS)
const STEPS_SHIFT = 3 // eight bins a doubling above
const WORDS_SHIFT = 3
const WORDS = 1 << WORDS_SHIFT // a set's bins, in bitmap words: 64 + 8 * (30 - 6) bins at most
const BINS = WORDS * 32
const WARM = 0
const OTHER = 1
const SETS = 2
// A run in the request's own wide bin may be too short. That many are tried before a longer bin is cut.
const PROBES = 4

function binOf(pageCount: PageCount): number {
  if (pageCount < EXACT_BINS) return pageCount
  const doubling = 31 - Math.clz32(pageCount)
  return (
    EXACT_BINS + ((doubling - FIRST_DOUBLING) << STEPS_SHIFT) + ((pageCount >>> (doubling - STEPS_SHIFT)) & 7)
  )
}

/** The bin, of both sets, of a run. */
function slotOf(length: PageCount, dirtyCount: PageCount): number {
  return binOf(length) + (dirtyCount === length ? WARM * BINS : OTHER * BINS)
}

export class PageRuns {
  readonly #table: PageTable
  /** First page of each bin's first run, or NONE. Bin `b` of set `s` is `s * BINS + b`. */
  readonly #heads = new Int32Array(SETS * BINS).fill(NONE)
  readonly #bits = new Int32Array(SETS * WORDS)
  readonly #summaries = new Int32Array(SETS)
  /** Pages in free runs. */
  freePages: PageCount = 0
  /** How many of the pages that the last successful `take` returned are dirty. */
  takenDirty: PageCount = 0

  constructor(table: PageTable) {
    this.#table = table
  }

  /**
   * Takes `pageCount` pages out of the free runs and returns the first, or NONE where no free run is that long. The
   * pages keep their dirty bits and carry no tag; the caller tags them.
   */
  take(pageCount: PageCount): PageNumber {
    for (let set = WARM; set <= OTHER; set++) {
      if (this.#summaries[set] === 0) continue
      const run = this.#find(set, pageCount)
      if (run !== NONE) return this.#cut(run, pageCount, set)
    }
    return pageCount < EXACT_BINS ? NONE : this.#takeLast(pageCount)
  }

  /**
   * The last resort before the caller must map more memory: the request's own bin may still hold a fit behind the runs
   * that were probed. Such runs are `EXACT_BINS` pages and longer and of nearly one length, so they are few.
   */
  #takeLast(pageCount: PageCount): PageNumber {
    for (let set = WARM; set <= OTHER; set++) {
      const run = this.#probe(set * BINS + binOf(pageCount), pageCount, Number.MAX_SAFE_INTEGER)
      if (run !== NONE) return this.#cut(run, pageCount, set)
    }
    return NONE
  }

  /** Gives pages that no block uses: they join the free runs on both sides. Their tags must be cleared. */
  give(firstPage: PageNumber, pageCount: PageCount): void {
    this.giveCounted(firstPage, pageCount, countRange(this.#table.dirty, firstPage, firstPage + pageCount))
  }

  /** The same where the caller knows how many of the pages are dirty. */
  giveCounted(firstPage: PageNumber, pageCount: PageCount, dirtyPages: PageCount): void {
    const { tags, links } = this.#table
    this.freePages += pageCount
    const left = firstPage > 0 ? tags[firstPage - 1] : TAG_NONE
    const right = tags[firstPage + pageCount]
    let first = firstPage
    let length = pageCount
    let dirtyCount = dirtyPages
    if (isFreeTag(right)) {
      length += lengthOf(right)
      dirtyCount += links[((firstPage + pageCount) << LINK_SHIFT) + DIRTY]
    }
    if (isFreeTag(left)) {
      first -= lengthOf(left)
      length += lengthOf(left)
      dirtyCount += links[(first << LINK_SHIFT) + DIRTY]
      if (isFreeTag(right)) this.#unlink(firstPage + pageCount)
      this.#change(first, first, length, dirtyCount)
    } else if (isFreeTag(right)) {
      this.#change(firstPage + pageCount, first, length, dirtyCount)
    } else {
      this.#link(first, length, dirtyCount)
    }
  }

  /**
   * Takes the `pageCount` pages at `firstPage` exactly, which must be the head of a free run at least that long:
   * growth in place.
   */
  takeAt(firstPage: PageNumber, pageCount: PageCount): void {
    const { tags, links, dirty } = this.#table
    const length = lengthOf(tags[firstPage])
    const dirtyCount = links[(firstPage << LINK_SHIFT) + DIRTY]
    this.freePages -= pageCount
    if (length === pageCount) {
      this.#unlink(firstPage)
      return
    }
    const taken = countRange(dirty, firstPage, firstPage + pageCount)
    this.#change(firstPage, firstPage + pageCount, length - pageCount, dirtyCount - taken)
  }

  /** Length of the free run that starts at `page`, or 0 where none does. */
  freeRunAt(page: PageNumber): PageCount {
    const { tags, freeHeads, columnPages } = this.#table
    return page < columnPages && testBit(freeHeads, page) ? lengthOf(tags[page]) : 0
  }

  /** First page of the free run that the free page `page` lies in. */
  headOf(page: PageNumber): PageNumber {
    return previousSet(this.#table.freeHeads, page)
  }

  /** Counts a run's dirty pages again and moves it to the set they name: its pages were purged. */
  refresh(firstPage: PageNumber): void {
    const { tags, dirty } = this.#table
    const length = lengthOf(tags[firstPage])
    this.#change(firstPage, firstPage, length, countRange(dirty, firstPage, firstPage + length))
  }

  /** A run of `set` with at least `pageCount` pages: the best of the exact bins, a good one of the wide ones. */
  #find(set: number, pageCount: PageCount): PageNumber {
    const bin = binOf(pageCount)
    if (pageCount < EXACT_BINS) return this.#headFrom(set, bin)
    const near = this.#probe(set * BINS + bin, pageCount, PROBES)
    return near !== NONE ? near : this.#headFrom(set, bin + 1)
  }

  #probe(bin: number, pageCount: PageCount, probes: number): PageNumber {
    const { tags, links } = this.#table
    let run = this.#heads[bin]
    for (let n = 0; n < probes && run !== NONE; n++) {
      if (lengthOf(tags[run]) >= pageCount) return run
      run = links[(run << LINK_SHIFT) + NEXT]
    }
    return NONE
  }

  /** The head of the first bin of `set` at or above `bin` that is not empty, or NONE. */
  #headFrom(set: number, bin: number): PageNumber {
    const word = bin >>> 5
    const bits = this.#bits[set * WORDS + word] & (-1 << (bin & 31))
    if (bits !== 0) return this.#heads[set * BINS + (word << 5) + lowestBit(bits)]
    const later = this.#summaries[set] & (-2 << word)
    if (later === 0) return NONE
    const next = lowestBit(later)
    return this.#heads[set * BINS + (next << 5) + lowestBit(this.#bits[set * WORDS + next])]
  }

  /** Takes `pageCount` pages from an end of a free run; the rest stays free. */
  #cut(run: PageNumber, pageCount: PageCount, set: number): PageNumber {
    const { tags, links, dirty } = this.#table
    const length = lengthOf(tags[run])
    const dirtyCount = links[(run << LINK_SHIFT) + DIRTY]
    this.freePages -= pageCount
    const rest = length - pageCount
    if (rest === 0) {
      this.takenDirty = dirtyCount
      this.#unlink(run)
      return run
    }
    if (set === WARM || dirtyCount === 0) {
      this.takenDirty = set === WARM ? pageCount : 0
      this.#change(run, run + pageCount, rest, dirtyCount - this.takenDirty)
      return run
    }
    // From the low end, unless only the high end is warm.
    const high = !testBit(dirty, run) && testBit(dirty, run + length - 1)
    const first = high ? run + rest : run
    this.takenDirty = countRange(dirty, first, first + pageCount)
    this.#change(run, high ? run : run + pageCount, rest, dirtyCount - this.takenDirty)
    return first
  }

  /**
   * The free run that started at `run` is now another stretch of its former pages, or one that it is part of. Stays in its
   * place in its bin where that is still the right one: the longest runs nearly always do.
   */
  #change(run: PageNumber, first: PageNumber, length: PageCount, dirtyCount: PageCount): void {
    const { tags, links, freeHeads } = this.#table
    const from = run << LINK_SHIFT
    const slot = links[from + BIN]
    if (slot !== slotOf(length, dirtyCount)) {
      this.#unlink(run)
      this.#link(first, length, dirtyCount)
      return
    }
    tags[run + lengthOf(tags[run]) - 1] = TAG_NONE
    tags[run] = TAG_NONE
    const tag = freeTag(length)
    tags[first + length - 1] = tag
    tags[first] = tag
    const to = first << LINK_SHIFT
    links[to + DIRTY] = dirtyCount
    if (run === first) return
    const next = links[from + NEXT]
    const previous = links[from + PREV]
    links[to + NEXT] = next
    links[to + PREV] = previous
    links[to + BIN] = slot
    if (next !== NONE) links[(next << LINK_SHIFT) + PREV] = first
    if (previous !== NONE) links[(previous << LINK_SHIFT) + NEXT] = first
    else this.#heads[slot] = first
    freeHeads[run >>> 5] &= ~(1 << run)
    freeHeads[first >>> 5] |= 1 << first
  }

  #link(first: PageNumber, length: PageCount, dirtyCount: PageCount): void {
    const { tags, links, freeHeads } = this.#table
    const slot = slotOf(length, dirtyCount)
    const head = this.#heads[slot]
    const link = first << LINK_SHIFT
    const tag = freeTag(length)
    tags[first + length - 1] = tag
    tags[first] = tag
    links[link + NEXT] = head
    links[link + PREV] = NONE
    links[link + DIRTY] = dirtyCount
    links[link + BIN] = slot
    if (head !== NONE) links[(head << LINK_SHIFT) + PREV] = first
    this.#heads[slot] = first
    const word = slot >>> 5
    this.#bits[word] |= 1 << slot
    this.#summaries[word >>> WORDS_SHIFT] |= 1 << (word & (WORDS - 1))
    freeHeads[first >>> 5] |= 1 << first
  }

  #unlink(first: PageNumber): void {
    const { tags, links, freeHeads } = this.#table
    const link = first << LINK_SHIFT
    const next = links[link + NEXT]
    const previous = links[link + PREV]
    if (next !== NONE) links[(next << LINK_SHIFT) + PREV] = previous
    if (previous !== NONE) links[(previous << LINK_SHIFT) + NEXT] = next
    else this.#setHead(links[link + BIN], next)
    tags[first + lengthOf(tags[first]) - 1] = TAG_NONE
    tags[first] = TAG_NONE
    freeHeads[first >>> 5] &= ~(1 << first)
  }

  #setHead(slot: number, run: PageNumber): void {
    this.#heads[slot] = run
    if (run !== NONE) return
    const word = slot >>> 5
    this.#bits[word] &= ~(1 << slot)
    if (this.#bits[word] === 0) this.#summaries[word >>> WORDS_SHIFT] &= ~(1 << (word & (WORDS - 1)))
  }

  check(): void {
    const { tags, links, dirty, freeHeads } = this.#table
    const found = new Int32Array(freeHeads.length)
    let free = 0
    for (let slot = 0; slot < SETS * BINS; slot++) {
      const isSet = testBit(this.#bits, slot)
      invariant(isSet === (this.#heads[slot] !== NONE), `4: bit of bin ${slot}`)
      let previous = NONE
      for (let run = this.#heads[slot]; run !== NONE; run = links[(run << LINK_SHIFT) + NEXT]) {
        const link = run << LINK_SHIFT
        invariant(isFreeTag(tags[run]) && links[link + PREV] === previous, `3: run ${run} is linked`)
        const length = lengthOf(tags[run])
        const end = run + length
        invariant(tags[end - 1] === tags[run], `2: run ${run} has one length at both ends`)
        for (let page = run + 1; page < end - 1; page++) {
          invariant(tags[page] === TAG_NONE, `2: no tag inside run ${run}`)
        }
        invariant(!isFreeTag(tags[end]), `1: run ${run} touches no free run`)
        const dirtyCount = countRange(dirty, run, end)
        invariant(links[link + DIRTY] === dirtyCount, `3: run ${run} counts its dirty pages`)
        invariant(
          slot === slotOf(length, dirtyCount) && links[link + BIN] === slot,
          `3: run ${run} is in its bin`,
        )
        setRange(found, run, run + 1)
        free += length
        previous = run
      }
    }
    for (let word = 0; word < SETS * WORDS; word++) {
      const summary = (this.#summaries[word >>> WORDS_SHIFT] >>> (word & (WORDS - 1))) & 1
      invariant((summary === 1) === (this.#bits[word] !== 0), `4: summary of word ${word}`)
    }
    invariant(free === this.freePages, `3: ${this.freePages} pages free, found ${free}`)
    for (let w = 0; w < found.length; w++) invariant(found[w] === freeHeads[w], '5: free heads are exact')
  }
}
