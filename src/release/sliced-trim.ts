/**
 * `trim` in slices of a millisecond at most, one in a turn of the event loop. It keeps the process alive
 * until it is done, because a caller waits for its promise.
 *
 * Calls wait for one another, so that each gives back all that was free when it was made.
 */
import type { Deferral } from '../base/deferral.js'
import type { PageCount, PageNumber } from '../base/units.js'
import type { Releaser, TrimSlice } from './releaser.js'

export interface TrimResult {
  readonly pageCount: PageCount
  /** The system error if the kernel refused something, else null. */
  readonly failure: unknown
}

export class SlicedTrim {
  readonly #releaser: Releaser
  readonly #deferral: Deferral
  readonly #now: () => number
  #last: Promise<unknown> = Promise.resolve()

  constructor(releaser: Releaser, deferral: Deferral, now: () => number) {
    this.#releaser = releaser
    this.#deferral = deferral
    this.#now = now
  }

  /** Runs one trim after those that were asked for before. Rejects with the error that a slice threw. */
  run(): Promise<TrimResult> {
    const run = this.#last.then(() => this.#runOne())
    this.#last = run.catch(() => {})
    return run
  }

  async #runOne(): Promise<TrimResult> {
    const releaser = this.#releaser
    let pageCount = 0
    let failure: unknown = null
    let page: PageNumber = 0
    let slice: TrimSlice | null
    do {
      await this.#turn()
      slice = releaser.trimSlice(page, this.#now())
      if (slice === null) continue
      pageCount += slice.pageCount
      failure ??= slice.failure
      page = slice.nextPage
    } while (slice === null || page !== 0)
    for (let isDone = false; !isDone; ) {
      await this.#turn()
      const slice = releaser.endTrimSlice()
      failure ??= slice.failure
      isDone = slice.isDone
    }
    return { pageCount, failure }
  }

  #turn(): Promise<void> {
    return new Promise(resolve => this.#deferral.awaitedTurn(resolve))
  }
}
