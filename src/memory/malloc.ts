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
   * Gives pages back on a thread of libuv's pool: those of the chunks that this thread has taken, if `hasBegun`, and, if
   * `asksMalloc`, those that malloc itself gives back when it is asked (`native/malloc_purge.h`). Only who has called
   * `beginChunks` may say that it has. Resolves to the bytes of the former.
   */
  purgeMalloc(hasBegun: boolean, asksMalloc: boolean): Promise<number>

  /** Gives chunks back to malloc for about `budgetUs` microseconds. Returns whether all are back. */
  giveChunks(budgetUs: number): boolean

  /**
   * Hands what malloc has set aside for this thread back to where all threads take from. With mimalloc it also gives
   * memory back to the kernel, in the caller's time.
   */
  flushMallocThread(): void
}

/** Names one bell in the process. */
export type BellNumber = number

/** A bell for each thread of the process, or for each copy of this package in it. Others ring it. */
export interface Bells {
  /** From now on a ring runs `onRing` on a turn of this thread's event loop. Keeps nothing alive. */
  hangBell(onRing: () => void): BellNumber

  /** Rings all bells of the process but that one. Does not wait for what they do. */
  ringOthers(bell: BellNumber): void
}
