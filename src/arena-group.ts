/**
 * The open arenas of one thread: what has to be done to all of them, when the process nears a limit. Holds none of them
 * alive.
 */
import type { PageCount } from './base/units.js'
import type { BlockHeap } from './heap/block-heap.js'
import type { Limits } from './limits.js'
import type { Releaser } from './releaser.js'
import type { ArenaStats } from './stats.js'

/** What a group asks of an arena. */
export interface Member {
  /** Gives every free page back, whatever the kernel says; none in the middle of a change. Returns the bytes. */
  giveBack(reason: 'limit' | 'pressure'): number
  /** Gives back what it took from the process's limit and does not need. */
  yieldShare(): void
  /** Pages that the arena could give back. */
  readonly dirtyPages: PageCount
  /** The arena's statistics, once it is whole. */
  stats?: () => ArenaStats
}

/** An arena as its group sees it. It lives as long as the arena refers to it. */
export function memberOf(heap: BlockHeap, limits: Limits, releaser: Releaser): Member {
  return {
    giveBack: reason => releaser.giveBack(reason) * heap.pageBytes,
    yieldShare: () => limits.yieldShare(),
    get dirtyPages() {
      return heap.dirtyPages
    },
  }
}

export class ArenaGroup {
  readonly #members = new Set<WeakRef<Member>>()

  /** Returns what takes it out again. */
  add(member: Member): () => void {
    const reference = new WeakRef(member)
    this.#members.add(reference)
    return () => this.#members.delete(reference)
  }

  get size(): number {
    return this.#members.size
  }

  /** Every arena but `except` gives back what is free. Returns the bytes. */
  giveBack(reason: 'limit' | 'pressure', except?: Member): number {
    let bytes = 0
    this.#each(member => {
      if (member === except) return
      bytes += member.giveBack(reason)
      member.yieldShare()
    })
    return bytes
  }

  /** Whether any arena has something to give back. */
  get hasDirty(): boolean {
    let hasDirty = false
    this.#each(member => {
      hasDirty ||= member.dirtyPages > 0
    })
    return hasDirty
  }

  /** The statistics of each, in the order in which they were added. */
  listStats(): ArenaStats[] {
    const list: ArenaStats[] = []
    this.#each(member => {
      if (member.stats !== undefined) list.push(member.stats())
    })
    return list
  }

  #each(visit: (member: Member) => void): void {
    for (const reference of this.#members) {
      const member = reference.deref()
      if (member === undefined) this.#members.delete(reference)
      else visit(member)
    }
  }
}
