/**
 * Misfit: how much more memory traffic takes than the pages it has in use. Blocks of uneven lengths leave
 * gaps that the next block does not fit. Then clean pages are taken although as many dirty ones are free.
 *
 * Misfit is counted between two calls of `observe`: the growth of committed memory, less the growth that the
 * highest demand would have needed if every block had fitted. Such growth will come again while such traffic
 * lasts, so it is remembered, and fades by half in a minute.
 *
 * Invariant, checked by `check()`:
 *  1. misfit is never negative
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max } = Math

const HALF_LIFE_MS = 60_000

export class Misfit {
  #pages: PageCount = 0
  #atMs = 0
  /** Committed pages at the last `observe`, less those purged since. */
  #committedPages: PageCount = 0

  /**
   * Notes that demand rose to `peakUsedPages` since the last call, and that `committedPages` are used or
   * dirty now.
   */
  observe(nowMs: number, peakUsedPages: PageCount, committedPages: PageCount): void {
    this.#pages *= 2 ** ((this.#atMs - nowMs) / HALF_LIFE_MS)
    this.#atMs = nowMs
    const grownPages = committedPages - this.#committedPages
    const neededPages = max(0, peakUsedPages - this.#committedPages)
    this.#pages += max(0, grownPages - neededPages)
    this.#committedPages = committedPages
  }

  /** Notes that `pageCount` dirty pages went back. */
  purged(pageCount: PageCount): void {
    this.#committedPages -= pageCount
  }

  /** The misfit: free pages that are worth keeping beyond those that demand is expected to need. */
  get pages(): PageCount {
    return this.#pages
  }

  check(): void {
    invariant(this.#pages >= 0, '1: no negative misfit')
  }
}
