/**
 * The interface to the malloc that serves this process: the C library's own, or one that was preloaded or linked in
 * instead. The addon implements it.
 */

/** The allocators that are known. `'none'`: musl's, or another one, which is left alone. */
export type MallocName = 'glibc' | 'jemalloc' | 'mimalloc' | 'tcmalloc' | 'none'

export interface Malloc {
  /** Which one serves this process. It never changes. */
  mallocName(): MallocName

  /**
   * Begins to give back free memory of the calling thread's arena in slices: the next calls are `takeChunks` until it
   * returns true, `purgeMalloc`, and `giveChunks` until it returns true. `native/free_chunks.h` says how that
   * works. Returns false if nothing can be given back so: malloc is not glibc's, or somebody in this thread has begun
   * already. Then only `purgeMalloc` is left.
   */
  beginChunks(): boolean

  /**
   * Takes free chunks for about `budgetUs` microseconds; one call of malloc may take longer. Returns whether all are
   * taken.
   */
  takeChunks(budgetUs: number): boolean

  /**
   * Gives pages back on a thread of libuv's pool: those of the chunks that this thread has taken, and, if `asksMalloc`,
   * those that malloc itself gives back when it is asked (`native/malloc_purge.h`). Resolves to the bytes of the former.
   */
  purgeMalloc(asksMalloc: boolean): Promise<number>

  /** Gives chunks back to malloc for about `budgetUs` microseconds. Returns whether all are back. */
  giveChunks(budgetUs: number): boolean

  /**
   * Hands what malloc has set aside for this thread back to where all threads take from. With mimalloc it also gives
   * memory back to the kernel, in the caller's time.
   */
  flushMallocThread(): void
}

/** Rings the other threads of the process that have loaded the addon. */
export interface Bell {
  /** From now on a ring of another thread runs `onRing` on a turn of this one's event loop. Keeps nothing alive. */
  hangBell(onRing: () => void): void

  /** Rings all other threads that have hung a bell. Does not wait for them. */
  ringOthers(): void
}
