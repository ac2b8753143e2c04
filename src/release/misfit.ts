/**
 * How much more memory traffic takes than the pages it has in use. Blocks of uneven lengths leave gaps that the next one does
 * not fit: then clean pages are taken although as many dirty ones are at hand. Counted is by how much committed memory
 * grew between two looks, beyond what the highest demand would have needed had everything fitted.
 *
 * What was missing then will be missing again while such traffic lasts, so it counts for a while, and fades.
 *
 * Invariant, checked by `check()`:
 *  1. what is missing is never negative
 */
import { invariant } from '../base/assert.js'
import type { PageCount } from '../base/units.js'

// Taken once, so that what somebody puts in their place does not run in the middle of a change.
const { max } = Math

const HALF_LIFE_MS = 60_000

export class Misfit {
  #pages: PageCount = 0
  #atMs = 0
  /** Committed pages after the last look, and what it had purged. */
  #committedPages: PageCount = 0

  /** Demand rose to `peakUsedPages` since the last call, and `committedPages` are used or dirty now. */
  observe(nowMs: number, peakUsedPages: PageCount, committedPages: PageCount): void {
    this.#pages *= 2 ** ((this.#atMs - nowMs) / HALF_LIFE_MS)
    this.#atMs = nowMs
    const grownPages = committedPages - this.#committedPages
    const neededPages = max(0, peakUsedPages - this.#committedPages)
    this.#pages += max(0, grownPages - neededPages)
    this.#committedPages = committedPages
  }

  /** So many dirty pages went back since the last look. */
  purged(pageCount: PageCount): void {
    this.#committedPages -= pageCount
  }

  /** Free pages that are worth keeping beyond what demand is expected to want. */
  get pages(): PageCount {
    return this.#pages
  }

  check(): void {
    invariant(this.#pages >= 0, '1: no negative misfit')
  }
}
