/**
 * One sum over all arenas of the process, in all threads: how many bytes of pages they may hold together. Counts and
 * compares; who gives pages back when there is no room is decided above.
 */
export interface Ledger {
  /** Most bytes that may be taken; `Infinity` where there is no limit. Setting it takes nothing back. */
  limitBytes: number
  /** Bytes taken now, by all threads. */
  readonly takenBytes: number
  /** Takes bytes. Returns false, and takes nothing, where that would be more than the limit. */
  take(lengthBytes: number): boolean
  /** Gives back what was taken. What a thread has not given back when it ends is given back then. */
  give(lengthBytes: number): void
}
