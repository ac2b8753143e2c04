/**
 * What happens to an arena that is collected without `close()`.
 *
 * Its free pages go back at once. Its Buffers stay valid as long as the program refers to them. Each segment
 * is unmapped when the last buffer over it is gone. The books go at once, and the share of the process's
 * limit goes with the last segment.
 *
 * Timers, groups and the pressure watch refer to an arena weakly, so it is collected as soon as the program
 * does not refer to it. The parts that are held here for that moment must not refer to it either.
 */
import { register, unregister } from '../base/primordials.js'
import type { Debugging, LeftBlocks } from '../buffers/blocks.js'
import type { LeakMode } from '../buffers/leaks.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { BookStorage } from '../memory/book-storage.js'
import type { PageSource } from '../memory/page-source.js'
import { endOf, type Segment } from '../memory/segment.js'
import { publishLeak } from '../notices/notices.js'
import type { Scavenger } from '../release/scavenger.js'
import type { Share } from '../supply/share.js'

/** The parts of an arena that outlive it. */
export interface Remains {
  readonly kind: 'arena' | 'store'
  readonly name: string
  readonly leaks: LeakMode
  readonly heap: BlockHeap
  readonly source: PageSource
  readonly buffers: LeftBlocks
  readonly debug: Debugging | null
  readonly scavenger: Scavenger
  readonly storage: BookStorage | null
  readonly share: Share
}

const arenas = new FinalizationRegistry<Remains>(endRemains)

/** Registers `arena`: if it is collected, its remains end. */
export function endIfDropped(arena: object, remains: Remains): void {
  register(arenas, arena, remains, arena)
}

/** Removes `arena` after it was closed: nothing is left to end. */
export function wasClosed(arena: object): void {
  unregister(arenas, arena)
}

function endRemains(remains: Remains): void {
  const { kind, name, leaks, heap, source, buffers, debug, scavenger, storage, share } = remains
  buffers.recoverSetAside()
  buffers.noticeTaken()
  const blocks = heap.liveBlocks - buffers.setAsideBlocks
  if (blocks > 0 && leaks !== 'off') {
    const bytes = heap.usedPages * heap.pageBytes
    publishLeak({ arena: name, kind, blocks, bytes, stack: '' })
  }
  debug?.emptyQuarantine()
  // If the kernel refuses, unmapping gives these pages back.
  scavenger.purgeAll()
  share.shrinkTo(heap.committedPages)
  const { reaches } = buffers
  buffers.abandonSetAside()
  const { pageBytes } = source
  const isIn = (segment: Segment, startBytes: number): boolean =>
    startBytes >= segment.firstPage * pageBytes && startBytes < endOf(segment) * pageBytes
  let left = source.segments.length
  source.abandon(segment => {
    const wrapIds = reaches.filter(({ startBytes }) => isIn(segment, startBytes)).map(({ wrapId }) => wrapId)
    return {
      isReached: () => wrapIds.some(wrapId => source.isWrapped(wrapId)),
      whenGone: () => {
        left--
        if (left <= 0) share.shrinkTo(0)
      },
    }
  })
  heap.dropBooks()
  storage?.disposeAll()
}
