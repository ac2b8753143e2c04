/**
 * The seam to the program break: the calls that move it and its fence, and nothing that decides when. The addon implements
 * it (`native/program_break.h` has the whole contract); it is part of `Kernel`.
 *
 * The break's memory is a mapping like others: `wrap`, `advise`, `residency` and `unmap` of `Kernel` take it. It is as
 * long as the fence reaches. Offsets count from where the owner's pages begin; addresses never come up here.
 */
import type { MappingId, SystemError } from './kernel.js'

/** What `take` throws where the break has an owner already: `code` is `'EBUSY'`, and `owner` the name that one gave. */
export interface BreakInUse extends SystemError {
  code: 'EBUSY'
  owner: string
}

export interface ProgramBreak {
  /**
   * Makes the caller the owner of the break of this process, for all threads, and puts the fence above it. No page is
   * taken yet. Throws a `SystemError`: `BreakInUse`, or why the break cannot be moved or fenced here.
   */
  take(name: string): MappingId

  /** Whether nobody else has moved the break, once every call of malloc's that might still do so has ended. */
  isOurs(mapping: MappingId): boolean

  /** Opens the fence so that the break can rise by that many bytes (whole pages). Throws a `SystemError`. */
  openFence(mapping: MappingId, lengthBytes: number): void

  /**
   * Waits for calls of malloc's under way, then moves the break by whole pages: up into what was opened, or down. Where there were
   * buffers, what it leaves reads as zero and takes any write, at every instant; elsewhere it is unmapped until the fence is
   * closed. Returns false where somebody else has moved the break: nothing that was gained by this call may be used then,
   * and the break is never ours again. Throws a `SystemError` where the kernel refuses; nothing has changed then.
   */
  sbrk(mapping: MappingId, incrementBytes: number): boolean

  /** How far the break is above where the owner's pages begin, by all moves that succeeded. */
  heldBytes(mapping: MappingId): number

  /**
   * Whether the break can move over memory over which there were buffers: where the kernel lets us move it as a number.
   * Elsewhere `sbrk` throws a `SystemError` (`EPERM`) for that.
   */
  canMoveViewed(mapping: MappingId): boolean

  /**
   * Closes what is open of the fence: those addresses read as zero and take any write. Then lets the fence reach to
   * `reachBytes`, if it does not reach so far. Throws a `SystemError`.
   */
  closeFence(mapping: MappingId, reachBytes: number): void

  /**
   * Ends the ownership: lowers the break to where it was found, unless `keeps`, or somebody else has moved it. Views of what
   * was there find the fence. Returns whether the break is back. `unmap` removes the fence.
   */
  leave(mapping: MappingId, keeps: boolean): boolean
}
