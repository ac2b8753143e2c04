/**
 * Gives free memory of malloc back to the kernel, without holding up the event loop of this thread.
 *
 * With glibc, this thread takes the free chunks of its arena in slices, the pool purges their pages, and this thread
 * gives the chunks back in slices (`native/free_chunks.h`). What the other allocators do is one call on the pool.
 */
import type { MallocRelease } from '../memory/malloc.js'
import type { Pauses } from './pauses.js'

/** A slice of work between two turns of the event loop. A call of malloc in it may make it longer. */
const SLICE_US = 300

/**
 * Gives free memory back. `isMain` says whether this is the main thread. Only there does glibc's own trim run, for the
 * arenas of threads that nobody can ask: those of V8 and of libuv's pool. It would hold up the main thread
 * if another one called it, because the chunks of the main arena would not be taken.
 *
 * Rejects only if the addon does. Then no chunk is held any more.
 */
export async function releaseMalloc(malloc: MallocRelease, isMain: boolean, pauses: Pauses): Promise<void> {
  const name = malloc.mallocName()
  if (name === 'none') return
  pauses.run(() => malloc.flushMallocThread())
  if (!malloc.readsChunks()) {
    if (name !== 'glibc' || isMain) await malloc.purgeMalloc(false, true)
    return
  }
  // Another copy of this package is at work in this thread, and does the same.
  if (!malloc.beginChunks()) return
  try {
    while (!pauses.run(() => malloc.takeChunks(SLICE_US))) await pauses.turn()
    await malloc.purgeMalloc(true, isMain)
  } finally {
    while (!pauses.run(() => malloc.giveChunks(SLICE_US))) await pauses.turn()
  }
}
