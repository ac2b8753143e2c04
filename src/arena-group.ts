/**
 * The open arenas of one thread: what has to be done to all of them, when the process nears a limit. Holds none of them
 * alive.
 */
import type { Gate } from './base/gate.js'
import type { PageCount } from './base/units.js'
import type { BlockHeap } from './heap/block-heap.js'
import type { Limits } from './limits.js'
import type { Releaser } from './releaser.js'
import type { ArenaStats } from './stats.js'

/** What a group asks of an arena. */
export interface Member {
  /** Gives every free page back, whatever the kernel says; none in the middle of a change. Returns the bytes. */
  giveBack(reason: 'limit' | 'pressure'): number
  /** Gives back what it took from the process's limit and does not need; nothing in the middle of a change. */
  yieldShare(): void
  /** The arena is closed: from now on there is nothing to give back. */
  leave(): void
  /** Pages that the arena could give back. */
  readonly dirtyPages: PageCount
  /** The arena's statistics, once it is whole. */
  stats?: () => ArenaStats
}

interface MemberParts {
  readonly gate: Gate
  readonly heap: BlockHeap
  readonly limits: Limits
  readonly releaser: Releaser
}

/** An arena as its group sees it. It lives as long as the arena refers to it. */
class ArenaMember implements Member {
  /** Null when the arena is closed: V8 keeps a member until the end of the task, but not all the rest. */
  #parts: MemberParts | null

  constructor(parts: MemberParts) {
    this.#parts = parts
  }

  giveBack(reason: 'limit' | 'pressure'): number {
    if (this.#parts === null) return 0
    return this.#parts.releaser.giveBack(reason) * this.#parts.heap.pageBytes
  }

  yieldShare(): void {
    if (this.#parts === null) return
    const { gate, limits } = this.#parts
    gate.attempt(() => limits.yieldShare())
  }

  get dirtyPages(): PageCount {
    return this.#parts?.heap.dirtyPages ?? 0
  }

  leave(): void {
    this.#parts = null
  }
}

export function memberOf(parts: MemberParts): Member {
  return new ArenaMember(parts)
}

export class ArenaGroup {
  readonly #members = new Set<WeakRef<Member>>()

  /** Returns what takes it out again. */
  add(member: Member): () => void {
    const reference = new WeakRef(member)
    this.#members.add(reference)
    return () => {
      member.leave()
      this.#members.delete(reference)
    }
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
