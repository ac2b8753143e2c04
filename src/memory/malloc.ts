/**
 * The interface to the malloc that serves this process: the C library's own, or one that was preloaded or linked in
 * instead. The addon implements it.
 */

/** The allocators that are known. `'none'`: musl's, or another one, which is left alone. */
export type MallocName = 'glibc' | 'jemalloc' | 'mimalloc' | 'tcmalloc' | 'none'

export interface Malloc {
  /** Which one serves this process. It never changes. */
  mallocName(): MallocName
}
