/**
 * The open arenas of one thread, and what is done to all of them when the process nears a limit. It refers to
 * arenas weakly.
 */
import type { PageCount } from '../base/units.js'
import type { Pauses } from './pauses.js'

/** How long arenas are gone through in one turn of the event loop, unless a slice of one of them takes longer. */
const SLICE_MS = 0.5

/** What a group calls on an arena. */
export interface Member {
  /**
   * Gives every free page back, and does not throw if the kernel refuses. Gives nothing back in the middle of
   * a change. Returns the bytes that went back.
   */
  giveBack(reason: 'limit' | 'pressure'): number
  /**
   * Gives back the part of the arena's share that it does not need. Does nothing in the middle of a change.
   */
  yieldShare(): void
  /**
   * Runs one slice of a trim for `reclaim`, in which pages go back until about a millisecond after `turnStartMs`.
   * Returns the bytes that went back, and whether this was the last slice. Throws nothing if the kernel refuses.
   */
  reclaimSlice(turnStartMs: number): { releasedBytes: number; isDone: boolean }
  /** The arena is closed: from now on there is nothing to give back. */
  leave(): void
  /** Pages that the arena could give back. */
  readonly dirtyPages: PageCount
}

export class ArenaGroup {
  readonly #members = new Set<WeakRef<Member>>()

  /** Adds an arena. Returns a function that removes it. */
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

  /** Has every arena but `except` give back what is free. Returns the bytes that went back. */
  giveBack(reason: 'limit' | 'pressure', except?: Member): number {
    let bytes = 0
    this.#each(member => {
      if (member === except) return
      bytes += member.giveBack(reason)
      member.yieldShare()
    })
    return bytes
  }

  /**
   * Has every arena give back what is free, in slices of about a millisecond with a turn of the event loop between
   * them. Resolves to the bytes that went back.
   */
  async reclaim(pauses: Pauses): Promise<number> {
    let bytes = 0
    const members = this.list()
    let next = 0
    while (next < members.length) {
      pauses.run(startMs => {
        do {
          const { releasedBytes, isDone } = members[next].reclaimSlice(startMs)
          bytes += releasedBytes
          if (isDone) next++
        } while (next < members.length && pauses.now() - startMs < SLICE_MS)
      })
      if (next < members.length) await pauses.turn()
    }
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

  /** Returns all open arenas, in the order in which they were added. */
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
