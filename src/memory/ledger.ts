/**
 * One sum over all arenas of the process, in all threads: how many bytes of pages they hold together. It
 * counts and compares. The layers above decide who gives pages back when there is no room.
 */
export interface Ledger {
  /** The most bytes that may be taken; `Infinity` where there is no limit. Setting it takes nothing back. */
  limitBytes: number
  /** Bytes that are taken now, by all threads. */
  readonly takenBytes: number
  /** Takes bytes. Returns false, and takes nothing, where the sum would pass the limit. */
  take(lengthBytes: number): boolean
  /** Gives back bytes that were taken. When a thread ends, all that it has taken is given back. */
  give(lengthBytes: number): void
}
