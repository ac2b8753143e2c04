/**
 * The interface to the malloc that serves this process: the C library's own, or one that was preloaded or linked in
 * instead. The addon implements it.
 */

/** The allocator that serves a process. `'none'`: musl's, or one that is not known, which is left alone. */
export type MallocName = 'glibc' | 'jemalloc' | 'mimalloc' | 'tcmalloc' | 'none'

/** What the allocator says of itself, in bytes. Null: it does not tell. */
export interface MallocStats {
  /** In blocks that somebody has. */
  readonly inUseBytes: number | null
  /** What it has from the kernel, and nobody uses. A part of it may not be resident. */
  readonly freeBytes: number | null
  /** All that it has from the kernel. */
  readonly mappedBytes: number | null
}

/** What has malloc give free memory back. */
export interface MallocRelease {
  /** Which one serves this process. It never changes. */
  mallocName(): MallocName

  /**
   * Whether free memory can be given back in slices: malloc is glibc's, and the sizes that it writes before its chunks can
   * be read. It never changes.
   */
  readsChunks(): boolean

  /**
   * Begins to give back free memory of the calling thread's arena in slices: the next calls are `takeChunks` until it
   * returns true, `purgeMalloc`, and `giveChunks` until it returns true. `native/free_chunks.h` says how that
   * works. Returns false if `readsChunks` is false, or if somebody in this thread has begun already.
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
   * Resolves to the resident bytes of the process, which the kernel sums now. A thread of libuv's pool reads them. 0 where
   * they cannot be read.
   */
  processResidentBytes(): Promise<number>

  /**
   * Hands what malloc has set aside for this thread back to where all threads take from. With mimalloc it also gives
   * memory back to the kernel, in the caller's time.
   */
  flushMallocThread(): void
}

/** The malloc of this process, as it tells of itself. */
export interface Malloc extends MallocRelease {
  /** glibc walks its lists of free memory, with the lock of each of its arenas in turn. */
  mallocStats(): MallocStats

  /**
   * Says for each stretch of whole pages how many of its bytes are glibc's: heaps of its threads, and chunks with
   * a mapping of their own. All of them where another malloc serves: then nobody can tell. `bounds` has starts
   * and ends by turns.
   */
  mallocBytesIn(bounds: Float64Array): Float64Array
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
