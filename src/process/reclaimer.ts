/**
 * Gives back all that this process holds in vain: free pages of arenas, free memory of malloc, and V8's if it is asked
 * for. One run at a time in each thread. A thread that reclaims asks the others to do so, too.
 */
import type { Deferral } from '../base/deferral.js'
import type { BellNumber, Bells, MallocName, MallocRelease } from '../memory/malloc.js'
import type { ArenaGroup } from './arena-group.js'
import type { Collection, CollectionReport } from './collect-garbage.js'
import { releaseMalloc } from './malloc-release.js'
import { Pauses } from './pauses.js'

// Taken once at load. A program may replace the globals later.
const { max } = Math

/** What one `reclaim` gave back, and what it cost. */
export interface ReclaimReport {
  /** Resident bytes of the process, as the kernel counts them, before and after. */
  residentBytes: {
    /** Before anything was done. */
    before: number
    /** After all of it. */
    after: number
  }
  /** Bytes by which the process shrank: `before` less `after`, at least 0. Other work of the process counts, too. */
  releasedBytes: number
  /** What the arenas of this thread gave back. */
  arenas: {
    /** Bytes of pages. */
    releasedBytes: number
  }
  /** What malloc gave back. */
  malloc: {
    /** Which one serves this process. `'none'`: musl's or an unknown one, which was left alone. */
    name: MallocName
    /** Bytes by which the process shrank meanwhile, at least 0. */
    releasedBytes: number
  }
  /** What V8 gave back of its heap. What garbage kept alive outside of that counts for `malloc`. */
  v8: {
    /** Which collection ran. `'none'` if none was asked for, or if this runtime lets nobody collect. */
    collected: 'none' | 'minor' | 'major'
    /** Bytes by which the heap of this thread shrank. */
    releasedBytes: number
  }
  /** How long all of it took, in milliseconds. */
  durationMs: number
  /** The longest that the event loop of this thread was held up in one go, in milliseconds. */
  longestPauseMs: number
}

/** What the reclaimer of a thread needs from the outside. */
export interface ReclaimerParts {
  readonly group: ArenaGroup
  readonly deferral: Deferral
  readonly now: () => number
  readonly residentBytes: (addon: MallocRelease | undefined) => Promise<number>
  readonly collectGarbage: (
    collection: 'none' | Collection,
    now: () => number,
    deferral: Deferral,
  ) => Promise<CollectionReport>
  /** The addon, or undefined where there is none. Then only arenas and V8 give memory back. */
  readonly malloc: () => (MallocRelease & Bells) | undefined
  readonly isMainThread: boolean
}

/** A run that has not begun yet. */
interface NextRun {
  collection: 'none' | Collection
  readonly report: Promise<ReclaimReport>
}

const STRENGTH = { none: 0, minor: 1, major: 2 } as const

export class Reclaimer {
  readonly #parts: ReclaimerParts
  /** Settles when all that was asked for is done. Never rejects. */
  #last: Promise<unknown> = Promise.resolve()
  #next: NextRun | undefined
  /** Another thread has asked, and that has not begun. */
  #isRung = false
  /** The bell of this thread, once it hangs. */
  #bell: BellNumber | undefined

  constructor(parts: ReclaimerParts) {
    this.#parts = parts
  }

  /**
   * Reclaims, and asks the other threads to do so. If a run is under way, one more follows it; all calls that come
   * until then share that one, and the strongest collection that any of them wants. The process stays alive until it
   * is done: that takes milliseconds.
   */
  async reclaim(collection: 'none' | Collection): Promise<ReclaimReport> {
    const addon = this.#parts.malloc()
    if (addon !== undefined) {
      addon.ringOthers(this.listen(addon))
    }
    this.#next ??= this.#startNext(collection)
    if (STRENGTH[collection] > STRENGTH[this.#next.collection]) this.#next.collection = collection
    return this.#next.report
  }

  #startNext(collection: 'none' | Collection): NextRun {
    const report = this.#last.then(() => {
      this.#next = undefined
      return this.#run(next.collection)
    })
    const next: NextRun = { collection, report }
    this.#last = report.catch(() => {})
    return next
  }

  /** Lets other threads ask this one from now on. Returns the number of this one's bell. */
  listen(bells: Bells): BellNumber {
    this.#bell ??= bells.hangBell(() => this.onRing())
    return this.#bell
  }

  /** Another thread asks. Nobody waits for the result, and V8 is left alone. */
  onRing(): void {
    if (this.#isRung) return
    this.#isRung = true
    this.#last = this.#last.then(async () => {
      this.#isRung = false
      const pauses = new Pauses(this.#parts.deferral, this.#parts.now)
      await this.#parts.group.reclaim(pauses)
      await this.#releaseMalloc(pauses)
    })
    // A failure has nobody to be told to. Who calls `reclaim` in this thread sees it, too.
    this.#last = this.#last.catch(() => {})
  }

  async #releaseMalloc(pauses: Pauses): Promise<MallocName> {
    const malloc = this.#parts.malloc()
    if (malloc === undefined) return 'none'
    await releaseMalloc(malloc, this.#parts.isMainThread, pauses)
    return malloc.mallocName()
  }

  async #run(collection: 'none' | Collection): Promise<ReclaimReport> {
    const { group, deferral, now, residentBytes, collectGarbage } = this.#parts
    const startMs = now()
    const pauses = new Pauses(deferral, now)
    const addon = this.#parts.malloc()
    const before = await residentBytes(addon)
    // Garbage first: it may hold memory of arenas and of malloc.
    const collected = await collectGarbage(collection, now, deferral)
    const arenaBytes = await group.reclaim(pauses)
    // Reading takes some 10 ms for each GiB, if only on the pool: so it is not done where nothing has changed.
    const hasChanged = arenaBytes > 0 || collected.collected !== 'none'
    const between = hasChanged ? await residentBytes(addon) : before
    const name = await this.#releaseMalloc(pauses)
    const after = await residentBytes(addon)
    return {
      residentBytes: { before, after },
      releasedBytes: max(0, before - after),
      arenas: { releasedBytes: arenaBytes },
      malloc: { name, releasedBytes: max(0, between - after) },
      v8: { collected: collected.collected, releasedBytes: collected.releasedBytes },
      durationMs: now() - startMs,
      longestPauseMs: max(pauses.longestMs, collected.longestPauseMs),
    }
  }
}
