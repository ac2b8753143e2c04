/**
 * The interface to the operating system: the system calls that this library makes, and three loops over mapped
 * bytes. It does not decide when to make them. It makes no `ArrayBuffer`: `runtime.ts` does.
 *
 * The addon implements it (`addon.ts`). Tests wrap the real implementation, to count its calls or to make the
 * N-th one fail; no test replaces it by an imitation. A mapping is named by a small integer of this
 * environment (the main thread or one Worker), never by its address. Native code checks every offset and
 * length against the mapping. So a mistake in script cannot reach memory outside of the mapping.
 */

import type { PageCount, PageNumber } from '../base/units.js'

/** Names one mapping while it exists. The number is never used again in the same environment. */
export type MappingId = number

/** Names the arena that gave up addresses and may have them again. 0: no arena may. */
export type OwnerId = number

/** What `advise` asks of the kernel for a range of whole pages. */
export type Advice = 'dontneed' | 'nohugepage' | 'hugepage' | 'populate' | 'guard' | 'unguard' | 'dontdump'

/** A failed system call, as the addon throws it. `errno` is negative, as everywhere in Node. */
export interface SystemError extends Error {
  code: string
  errno: number
  syscall: string
}

/**
 * What `take` throws where the break has an owner already. `owner` is the name that the present owner gave.
 */
export interface BreakInUse extends SystemError {
  code: 'EBUSY'
  owner: string
}

/**
 * The program break: the calls that move it and its fence. They do not decide when to move it.
 * `native/program_break.h` has the whole contract.
 *
 * The memory of the break is a mapping like others: `advise`, `residency`, `unmap` and `Runtime.wrap` take
 * it. It is as long as the fence reaches. Offsets count from where the owner's pages begin. Script sees no address.
 */
export interface ProgramBreak {
  /**
   * Makes the caller the owner of the break of this process, for all threads, and puts the fence above it. No
   * page is taken yet. In reports it counts as `owner`'s. Throws `BreakInUse`, or the `SystemError` for which
   * the break cannot be moved or fenced here.
   */
  take(name: string, owner?: OwnerId): MappingId

  /**
   * Whether no other code has moved the break. It first waits for every call of malloc that might still move
   * it.
   */
  isOurs(mapping: MappingId): boolean

  /** Opens the fence, so that the break can rise by `lengthBytes` (whole pages). Throws a `SystemError`. */
  openFence(mapping: MappingId, lengthBytes: number): void

  /**
   * Waits for calls of malloc that are under way. Then moves the break by whole pages: up into the opening,
   * or down. Where there ever were buffers, the pages that it leaves read as zero and take any write, at
   * every instant. Elsewhere they are unmapped until the fence is closed. Returns false where other code has
   * moved the break: memory that this call gained must not be used then, and the break never belongs to this
   * owner again. Throws a `SystemError` where the kernel refuses; then nothing has changed.
   */
  sbrk(mapping: MappingId, incrementBytes: number): boolean

  /** How many bytes the break is above the start of the owner's pages, after all moves that succeeded. */
  heldBytes(mapping: MappingId): number

  /**
   * Whether the break can move over memory that ever had buffers. It can where the kernel lets it move as a
   * number. Where it cannot, `sbrk` throws a `SystemError` (`EPERM`) for such memory.
   */
  canMoveViewed(mapping: MappingId): boolean

  /**
   * Closes the opening of the fence: its addresses read as zero and take any write. Then makes the fence
   * reach at least to `reachBytes`. Throws a `SystemError`.
   */
  closeFence(mapping: MappingId, reachBytes: number): void

  /**
   * Ends the ownership. Lowers the break to where it was found, unless `keeps` is true or other code has
   * moved the break. Views of that memory then show the fence. Returns whether the break is back. `unmap`
   * removes the fence.
   */
  leave(mapping: MappingId, keeps: boolean): boolean
}

/**
 * The operating system: it maps memory, takes pages back and says which are resident. A call throws a
 * `SystemError` where the operating system refuses, and a `RangeError` where there is no such mapping or
 * range.
 */
export interface Kernel {
  /** The break of this process, and its fence. */
  readonly programBreak: ProgramBreak

  /** Bytes of one page, a power of two: 4,096 on most systems, 16 or 64 KiB on some arm64 ones. */
  readonly pageBytes: number

  /**
   * `mmap` of `lengthBytes` bytes (whole pages) of zeroed, private, anonymous memory. It is not charged
   * before it is touched. A forked child does not have it (`MADV_DONTFORK`), so that forking does not copy
   * its page tables. It starts at a multiple of `alignBytes`, a power of two; without it, at a page. `owner`
   * may get addresses that it gave up. Throws a `SystemError` (`ENOMEM`: no address space, or a limit on
   * memory or on the number of mappings).
   */
  map(lengthBytes: number, alignBytes?: number, owner?: OwnerId): MappingId

  /**
   * Maps at most 64 KiB as a piece of a slab, which costs a fraction of `map`. `unmap` purges the piece. Its
   * addresses are never used again before the whole slab is given up. It has no huge pages.
   */
  mapPiece(lengthBytes: number, owner?: OwnerId): MappingId

  /**
   * Gives up a whole mapping. Returns false, and does nothing, while the finalizer of an `ArrayBuffer` over
   * it has not run.
   *
   * Without `owner` it is `munmap`. Throws a `SystemError`; then the mapping is still there. With `owner`,
   * and where there ever was an `ArrayBuffer`, the pages go back and the addresses are kept, mapped and
   * empty, for code that may still hold one. Only a `map` for the same owner uses them again, and 0 is an
   * owner that never asks.
   */
  unmap(mapping: MappingId, owner?: OwnerId): boolean

  /**
   * A number that is unique in the process. Two copies of this package may share the addon. What is mapped for
   * this owner counts as `name` in reports, and the kernel shows it under a similar name where it can.
   */
  newOwner(name?: string): OwnerId

  /** Says that this owner maps nothing more. */
  closeOwner(owner: OwnerId): void

  /** Says that this owner will not ask again for the addresses that it gave up. */
  disown(owner: OwnerId): void

  /** How many bytes of given-up addresses all threads of the process keep, and in how many pieces. */
  kept(): { bytes: number; entries: number }

  /**
   * `madvise` over whole pages. Throws a `SystemError`.
   *
   * - `'dontneed'`: the pages go back now and read as zero from now on.
   * - `'hugepage'`: the kernel uses huge pages there where it can. `'nohugepage'`: it does not. Neither has
   *   an effect, and neither throws, on kernels without huge pages and where a filter (seccomp) refuses.
   * - `'populate'`: all pages are resident and writable from now on (`EINVAL` before Linux 5.14).
   * - `'guard'`: the pages go back, and every access to them is a fault from now on. This splits no kernel
   *   mapping (`EINVAL` before Linux 6.13, or where the memory is locked). `'unguard'`: they read as zero
   *   again.
   * - `'dontdump'`: core files leave the pages out.
   */
  advise(mapping: MappingId, offsetBytes: number, lengthBytes: number, advice: Advice): void

  /**
   * `'dontneed'` for many stretches of pages of one mapping. It is one native call and, where the kernel can
   * do it (Linux 6.13), few system calls. `stretches[2 * i]` is the first page of stretch `i`, and
   * `stretches[2 * i + 1]` its number of pages, at least 1. The call is about the stretches from index `from`
   * up to, but not including, `end`. Page numbers are the caller's own: `firstPage` is the number of the
   * mapping's first page.
   *
   * Returns how many pages went back, in order. These are not all where the kernel refused one, even in the
   * middle of a stretch. Throws a `SystemError` where it refused the first (`EINVAL`: locked pages before
   * Linux 5.18; `EPERM`: a filter).
   */
  purge(
    mapping: MappingId,
    firstPage: PageNumber,
    stretches: Uint32Array,
    from: number,
    end: number,
  ): PageCount

  /**
   * Whether pages that were given back read as zero. It is false under an emulator that accepts the call and
   * does nothing (qemu-user before 7.1); code that promises zeros must write them then. The first call tries
   * it on a page of its own.
   */
  purgesToZero(): boolean

  /**
   * `mprotect` over whole pages: from now on every access to them is a fault, or none is. Their contents
   * stay. A page in the middle of a mapping splits it into three kernel mappings. Throws a `SystemError`
   * (`ENOMEM`: no room for more of them).
   */
  protect(mapping: MappingId, offsetBytes: number, lengthBytes: number, isAccessible: boolean): void

  /** Writes `byte` to a range of bytes. The range must hold no guard. */
  fill(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): void

  /**
   * Returns the index, within a range of bytes, of the first one that is not `byte`, or -1. The range must
   * hold no guard.
   */
  firstOther(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): number

  /**
   * Copies many ranges of bytes, in the order of the array. Each move is five numbers of `moves`, from index
   * `5 * i` on:
   *
   * - the mapping and the offset in bytes of the source
   * - the mapping and the offset in bytes of the target
   * - the length in bytes, at least 1
   *
   * The call is about the first `count` moves. A source and its target may overlap. A source may be the target
   * of an earlier move: it is copied with the new bytes. No range may hold a guard.
   *
   * All numbers are checked before the first byte is copied. So nothing has changed where it throws: a
   * `RangeError` (`ERR_OUT_OF_RANGE`) that names the number in question, also if `moves` is detached or has
   * fewer than `count` moves; a `TypeError` (`ERR_INVALID_ARG_TYPE`) for another kind of array.
   */
  move(moves: Float64Array, count: number): void

  /**
   * `mincore`: writes one byte for each page of the range into `residency`, 1 where the page is resident now.
   * `residency` must have exactly that length. Throws a `SystemError`.
   */
  residency(mapping: MappingId, offsetBytes: number, lengthBytes: number, residency: Uint8Array): void
}
