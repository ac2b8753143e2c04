/**
 * The open arenas of one thread: what has to be done to all of them, when the process nears a limit. Holds none of them
 * alive.
 */
import type { PageCount } from '../base/units.js'

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

  /** All of them, in the order in which they were added. */
  list(): Member[] {
    const list: Member[] = []
    this.#each(member => list.push(member))
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
