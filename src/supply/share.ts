/**
 * The share: what one arena has taken of the process's limit. It refers to no arena, so that it can be given
 * back after the arena was collected.
 */
import type { PageCount } from '../base/units.js'
import type { Ledger } from '../memory/ledger.js'

export class Share {
  readonly #ledger: Ledger | undefined
  readonly #pageBytes: number
  /** Pages taken. Without a ledger there is no limit, and this is the greatest safe integer. */
  pages: PageCount

  constructor(ledger: Ledger | undefined, pageBytes: number) {
    this.#ledger = ledger
    this.#pageBytes = pageBytes
    this.pages = ledger === undefined ? Number.MAX_SAFE_INTEGER : 0
  }

  /** Whether there is a ledger to take from. */
  get isCounted(): boolean {
    return this.#ledger !== undefined
  }

  /** Takes `pageCount` more pages. Returns false, and takes nothing, if the process has no more. */
  take(pageCount: PageCount): boolean {
    if (this.#ledger?.take(pageCount * this.#pageBytes) !== true) return false
    this.pages += pageCount
    return true
  }

  /** Gives back all but `pageCount` pages. */
  shrinkTo(pageCount: PageCount): void {
    if (this.#ledger === undefined) return
    this.#ledger.give((this.pages - pageCount) * this.#pageBytes)
    this.pages = pageCount
  }
}
